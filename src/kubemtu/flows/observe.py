"""Everything that can be read of a cluster, as one Snapshot: what cannot be read is an entry in it, not an end."""

import itertools
import secrets
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import msgspec

from kubemtu import files
from kubemtu.cni import registry
from kubemtu.core import errors, net
from kubemtu.core.cluster import attachments, pods, service_networks, windows
from kubemtu.core.disclosure import objects, scrubbing
from kubemtu.core.objects import NODES, Object
from kubemtu.core.packed import Objects, Packed, by_kind
from kubemtu.core.snapshot import Snapshot, Unread
from kubemtu.core.text import printable
from kubemtu.flows import shapes, wants
from kubemtu.kube import api as kube_api
from kubemtu.kube import mtu, read, records, shipped

STALE = 60.0  # seconds; an agent that lives tells again every ten


async def observe(api: kube_api.Api, *, now: float | None = None) -> Snapshot:
    """Read the CNI's objects, the nodes, the pods, and what the agents say of their nodes.

    `now` is the time that a report's age is counted from, in seconds since the epoch; None: the server's. Raises
    Unreachable and Forbidden only when nothing at all can be read.
    """
    began = time.monotonic()
    found, unread = await read.observe(api, wants.of_cluster(), shapes.shapes())
    known = by_kind(found)
    foreign = filter(windows.runs, known.get(NODES.kind, ()))
    telling = (*known.get("DaemonSet", ()), *known.get(attachments.KIND, ())[:1], *itertools.islice(foreign, 1))
    if further := registry.further(telling):
        more, more_unread = await read.observe(api, further)
        found, unread = Objects((*found.parts, *more.parts)), (*unread, *more_unread)
    kept = Objects(part if isinstance(part, Packed) else tuple(_slim(part)) for part in found.parts)
    told = by_kind(found).get(mtu.NODES.kind, ())
    names = [one.name for one in by_kind(kept).get(NODES.kind, ()) if not windows.runs(one)]  # no agent is for those
    taken_at = api.now() if now is None else now
    hidden = any(entry.what == mtu.NODES.plural and entry.why == "forbidden" for entry in unread)
    # Reading a large cluster may take longer than a report lasts: what was fresh when it began is fresh.
    since = taken_at - (time.monotonic() - began) if now is None else now
    seen, silent = observations(told, () if hidden else names, since)  # who is hidden is not silent
    return Snapshot(
        source=f"cluster {api.connection.server}",
        objects=kept,
        nodes=seen,
        unread=(*unread, *silent),
        taken_at=taken_at,
    )


async def with_services(api: kube_api.Api, snapshot: Snapshot) -> Snapshot:
    """Return the snapshot with the networks of the cluster's Services, as far as they may be read."""
    found, _ = await read.observe(api, service_networks.WANTS)
    return msgspec.structs.replace(snapshot, service_networks=service_networks.of((*snapshot.objects, *found)))


def _slim(objects: Iterable[Object]) -> Iterator[Object]:
    """Yield what is kept of objects; of the NodeMTUs it is the observations."""
    return (shapes.slim(one) for one in objects if one.kind != mtu.NODES.kind)


def observations(
    reports: Iterable[Object], names: Sequence[str], now: float
) -> tuple[tuple[net.NodeObservation, ...], tuple[Unread, ...]]:
    """Sort the NodeMTUs into what nodes showed, and entries for the nodes of `names` that showed nothing of late."""
    seen: dict[str, net.NodeObservation] = {}
    why: dict[str, Unread] = {}
    for one in reports:
        try:
            node = records.node_of(one)
        except errors.Malformed as broken:
            why[one.name] = Unread(what=f"node {one.name}", why="malformed", message=f"{broken}.")
            continue
        age = now - node.observed_at if node.observed_at is not None else None
        if node.observation is None or age is None:
            why[one.name] = _no_agent(one.name, "its NodeMTU holds no observation yet")
        elif age > STALE:
            why[one.name] = _no_agent(one.name, f"its agent last told something {age:.0f} seconds ago")
        else:
            seen[one.name] = msgspec.structs.replace(node.observation, refused=node.refused, held=node.held)
    silent = [why.get(name) or _no_agent(name, "it has no NodeMTU") for name in names if name not in seen]
    return tuple(seen[name] for name in sorted(seen)), tuple(silent)


def permitted(snapshot: Snapshot, *whats: str) -> None:
    """Raise Forbidden when one of these may not be read: what may not be seen is not to be taken for absent.

    `whats` as `Unread.what` names them: "nodemtus", "nodes", "pods".
    """
    for what in whats:
        for entry in snapshot.unread:
            if entry.what == what and entry.why == "forbidden":
                raise errors.Forbidden(entry.message)


def save(snapshot: Snapshot, path: Path, *, scrub: bool = False) -> None:
    """Write a snapshot as JSON, readable by its owner only, with no more than the rules need (core.disclosure.objects).

    `scrub` also replaces names and addresses (core.disclosure.scrubbing), each time by others. Raises UsageError when
    the file cannot be written.
    """
    kept = reduced(snapshot)
    if scrub:
        kept = scrubbed(kept, secrets.token_bytes(32))
    try:
        files.write(path, msgspec.json.format(printable.encode(kept), indent=1) + b"\n")
    except OSError as error:
        raise errors.UsageError(f"{path} cannot be written: {error.strerror or error}; name another file") from error


def reduced(snapshot: Snapshot) -> Snapshot:
    """Return a snapshot with no more than the rules need, and without what may be a credential."""
    slimmed = msgspec.structs.replace(snapshot, objects=tuple(shapes.slim(one) for one in snapshot.objects))
    return objects.handed(slimmed, (*wants.of_cluster(), *registry.further(snapshot.objects)))


def scrubbed(snapshot: Snapshot, key: bytes) -> Snapshot:
    """Return a reduced snapshot with other names and addresses, which the key decides."""
    named = {want.namespace for want in (*wants.of_cluster(), *registry.further(snapshot.objects)) if want.namespace}
    kept = scrubbing.Kept(
        namespaces=frozenset({"default", shipped.NAMESPACE, *named}),
        annotations=frozenset(each.rpartition("/")[0] for each in registry.address_annotations()),
        link_suffix=lambda space, name: pods.link_suffix(pods.Pod(namespace=space, name=name, node="")),
    )
    return scrubbing.scrubbed(snapshot, key, kept)


def _no_agent(node: str, reason: str) -> Unread:
    return Unread(
        what=f"node {node}",
        why="no agent",
        message=f"{reason}: NICs, tunnel and running pods of this node are unknown.",
    )
