"""Measure everybody to everybody, both directions apart, and say what is at fault: the nodes, and the pods on them.

What should arrive is what all members have: where interfaces differ, the smallest of them, for no path between them
carries more than the smaller end takes, and that says nothing of what is between.

Up to a thousand members all pairs are measured; above that a few peers each, so that no node's NIC is missed, and the
exceptions are measured again, more closely. What comes back is exceptions and counts, never a million numbers.
"""

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec

from kubemtu.core import errors, mesh, order, policy, proof, sampling
from kubemtu.core.blame import remedies
from kubemtu.core.blame.faults import Fault, infer
from kubemtu.core.blame.follow import follow_up
from kubemtu.core.snapshot import Snapshot
from kubemtu.core.words import count, names
from kubemtu.flows import patience
from kubemtu.flows.asking import Asking
from kubemtu.kube import api as kube_api

PROBES = "kubemtu-probe"  # app.kubernetes.io/name of the probe pods
ZONE = "topology.kubernetes.io/zone"
FOLLOWED = 200  # pairs that are measured once more, by several flows
FLOWS = 20
PATIENCE = 60.0
LONGEST = 300.0  # seconds of a round: what is asked for much longer is taken away by whoever asks next
INSTALL = "kubectl apply -f deploy/crds -f deploy/agent.yaml -f deploy/probe.yaml"
CUT = 4  # fragments of a node's own packets for each full-size probe: above half of that, tunnels cut what they carry

Tell = Callable[[str], None]


class Layer(msgspec.Struct, frozen=True, kw_only=True):
    """One mesh: between the nodes themselves, or between the probe pods on them, over one family.

    `expected`: the bytes that should arrive. `plan` says who was measured by whom, and what that finds. `cutting` names
    nodes that cut packets of their own into fragments meanwhile. `seconds` from the question to the last answer.
    """

    name: str
    expected: int
    measured: mesh.Mesh
    summary: mesh.Summary
    plan: sampling.Plan
    faults: tuple[Fault, ...] = ()
    cutting: tuple[str, ...] = ()
    seconds: float = 0.0

    @property
    def ok(self) -> bool:
        """Whether all that was measured carries what is expected."""
        return not self.faults and not self.cutting


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What a round of all layers came to; `notes` say what was left out."""

    ok: bool
    layers: tuple[Layer, ...]
    notes: tuple[str, ...] = ()
    schema: str = "kubemtu.io/probe/v1"

    def lines(self) -> tuple[str, ...]:
        """One line for each layer, and for what was left out."""
        told = [
            f"{one.name}: {one.summary.ok} of {one.summary.measured} ordered pairs carry {one.expected} bytes"
            for one in self.layers
        ]
        return (*told, *self.notes)


class Members(msgspec.Struct, frozen=True, kw_only=True):
    """Who takes part in one layer, and the MTU of each one's own interface, in bytes, or less where that is known.

    `bounds`: who says so.
    """

    name: str
    places: tuple[order.Place, ...]
    mtus: tuple[int, ...]
    bounds: tuple[policy.Bound, ...] = ()

    @property
    def expected(self) -> int:
        """What should arrive everywhere: the smallest of the interfaces."""
        return min(self.mtus)


async def run(
    api: kube_api.Api,
    snapshot: Snapshot,
    *,
    layers: Sequence[str] = ("nodes", "pods"),
    expected: int | None = None,
    pps: float = sampling.MOST_PPS,
    round_number: int = 0,
    tell: Tell = lambda _: None,
) -> Report:
    """Measure the layers of a cluster, as `measure` does; who does not tell what it measured is named in the notes."""
    _some(members(snapshot), snapshot, layers)
    async with patience.asking_all(api, patience=PATIENCE) as line:
        made = await measure(
            line, snapshot, layers=layers, expected=expected, pps=pps, round_number=round_number, tell=tell
        )
        return msgspec.structs.replace(made, notes=(*made.notes, *line.troubles))


async def measure(
    asking: Asking,
    snapshot: Snapshot,
    *,
    layers: Sequence[str] = ("nodes", "pods"),
    expected: int | None = None,
    pps: float = sampling.MOST_PPS,
    round_number: int = 0,
    tell: Tell = lambda _: None,
) -> Report:
    """Measure the layers one after the other. `expected` overrides what the members' own interfaces say, in bytes.

    `pps`: packets a second from each member at most; agents bound it (node.measuring.PPS_MOST).

    Raises Unreachable when fewer than two nodes have an agent, UsageError for a rate at which a round takes too long.
    """
    found = _some(members(snapshot), snapshot, layers)
    mixed = [_mixed(one) for one in found if (one.bounds or len({*one.mtus}) > 1) and expected is None]
    done = []
    for one in found:
        size = expected or one.expected
        done.append(await _layer(asking, one, size, pps=pps, round_number=round_number, tell=tell))
    differ = any(len({*one.mtus}) > 1 for one in members(snapshot) if one.name.startswith("nodes"))
    made = tuple(_advised(one, done, mixed=differ) for one in done)
    return Report(ok=all(one.ok for one in made), layers=made, notes=(*_left_out(snapshot, found, layers), *mixed))


def _some(found: Sequence[Members], snapshot: Snapshot, layers: Sequence[str]) -> list[Members]:
    """Those of the layers that were asked for. Raises Unreachable when there is none."""
    wanted = [one for one in found if one.name.partition(",")[0] in layers]
    if not wanted:
        notes = list(_left_out(snapshot, wanted, layers))
        raise errors.Unreachable(
            f"there are no two {' or '.join(layers)} to measure between: install what measures with `{INSTALL}`"
            + (f" ({'; '.join(notes)})" if notes else "")
        )
    return wanted


def _advised(layer: Layer, layers: Sequence[Layer], *, mixed: bool) -> Layer:
    """The layer with what to do about its faults, given what is so between the nodes themselves."""
    kind, _, family = layer.name.partition(",")
    below = next((one for one in layers if one.name == f"nodes,{family}".rstrip(",")), None)
    nodes = below.faults if below is not None else None
    faults = tuple(remedies.advised(fault, kind, layer.expected, nodes, mixed=mixed) for fault in layer.faults)
    return msgspec.structs.replace(layer, faults=faults)


async def _layer(asking: Asking, taking: Members, size: int, *, pps: float, round_number: int, tell: Tell) -> Layer:
    places = sorted(taking.places, key=lambda place: (place.zone, place.node))
    listed = tuple(mesh.Member(name=place.node, zone=place.zone) for place in places)
    plan = sampling.plan(listed, round_number=round_number, most_pps=pps or sampling.MOST_PPS)
    if plan.seconds > LONGEST:
        least = plan.per_member * sampling.PACKETS / LONGEST
        raise errors.UsageError(
            f"at {pps:g} packets a second from each node a round takes {plan.seconds:,.0f} s, and {LONGEST:.0f} s can "
            f"be waited for: --max-pps {math.ceil(least)} or more"
        )
    everybody = plan.per_member == len(listed) - 1
    asked = order.Round(members=tuple(places), expected=size, offsets=() if everybody else plan.offsets, pps=pps)
    began = time.monotonic()
    tell(f"{taking.name}: {len(listed)} measure {count(plan.per_member, 'peer')} each")
    told = await asking.ask(
        order.Order(round=asked, seconds=int(PATIENCE + plan.seconds * 2)),
        tell=lambda have, of: tell(f"{taking.name}: {have} of {of} have measured"),
    )
    rows = [one.row for one in told.values() if one.row is not None]
    whole = mesh.Mesh(
        members=listed,
        expected=size,
        rows=tuple(sorted(rows, key=lambda row: row.sender)),
        offsets=None if everybody else plan.offsets,
    )
    blamed = infer(whole)
    if again := follow_up(whole, blamed, most=FOLLOWED):
        tell(f"{taking.name}: {count(len(again), 'pair')} measured more closely")
        whole = mesh.merged(whole, await _closer(asking, places, whole, again))
        blamed = infer(whole)
    return Layer(
        name=taking.name,
        expected=size,
        measured=whole,
        summary=mesh.summary(whole),
        plan=plan,
        faults=blamed,
        cutting=_cutting(told, rows, listed),
        seconds=round(time.monotonic() - began, 3),
    )


async def _closer(
    asking: Asking, places: Sequence[order.Place], whole: mesh.Mesh, pairs: Iterable[tuple[int, int]]
) -> mesh.Mesh:
    """The same members, and what several flows found between some of them."""
    ways = [
        order.Way(
            name=f"{sender}>{peer}",
            here=order.Spot(node=places[sender].node, port=places[sender].port),
            to=places[peer].address,
            expected=whole.expected,
            enough=True,
            flows=FLOWS,
        )
        for sender, peer in pairs
    ]
    results = await asking.ways(ways)
    rows: dict[int, dict[int, order.Result]] = {}
    for way in ways:
        sender, _, peer = way.name.partition(">")
        if way.name in results:
            rows.setdefault(int(sender), {})[int(peer)] = results[way.name]
    made = tuple(_row(sender, found) for sender, found in sorted(rows.items()))
    return msgspec.structs.replace(whole, rows=made, offsets=())


def _row(sender: int, found: Mapping[int, order.Result]) -> mesh.Row:
    groups: dict[tuple[object, ...], list[int]] = {}
    for peer, result in found.items():
        if not proof.carries(result.verdict):
            groups.setdefault((result.verdict.kind, result.verdict.mtu), []).append(peer)
    return mesh.Row(
        sender=sender,
        measured=len(found),
        ok=len(found) - sum(map(len, groups.values())),
        packets=sum(result.packets for result in found.values()),
        groups=tuple(
            mesh.Group(kind=found[peers[0]].verdict.kind, mtu=found[peers[0]].verdict.mtu, to=tuple(sorted(peers)))
            for peers in groups.values()
        ),
        also=tuple(sorted(found)),
    )


def _cutting(
    told: Mapping[str, order.Told], rows: Iterable[mesh.Row], listed: Sequence[mesh.Member]
) -> tuple[str, ...]:
    """Nodes whose own tunnel cut what their probes became: two fragments or more for each packet."""
    good = {listed[row.sender].name: row.ok for row in rows}
    return tuple(name for name, one in told.items() if good.get(name) and one.cut >= CUT // 2 * good[name])


# Who takes part


def members(snapshot: Snapshot) -> list[Members]:
    """The layers that this cluster has, each with two members or more."""
    zones = {found.name: found.text("metadata", "labels", ZONE) or "" for found in snapshot.each("Node")}
    known = policy.known(snapshot).bounds
    found = []
    for ipv6 in (False, True):
        family = ", IPv6" if ipv6 else ""
        for name, places in (("nodes", _nodes(snapshot, zones, known, ipv6)), ("pods", _pods(snapshot, zones, ipv6))):
            if len(places) > 1:
                where, mtus = zip(*places, strict=True)
                bounds = known if name == "nodes" and {*mtus} & {one.path_mtu for one in known} else ()
                found.append(Members(name=f"{name}{family}", places=where, mtus=mtus, bounds=bounds))
    return sorted(found, key=lambda one: not one.name.startswith("nodes"))


def _nodes(
    snapshot: Snapshot, zones: Mapping[str, str], known: Sequence[policy.Bound], ipv6: bool
) -> list[tuple[order.Place, int]]:
    found = []
    for node in snapshot.each("Node"):
        seen = snapshot.observation(node.name)
        internal = [
            address
            for one in node.each("status", "addresses")
            if one.text("type") == "InternalIP" and (address := one.text("address")) and (":" in address) is ipv6
        ]
        mtus = [min(one.mtu, one.route_mtu or one.mtu) for one in seen.uplinks] if seen is not None else []
        if internal and mtus:
            bound = policy.smallest(known, node.name)
            most = min([*mtus, *((bound.path_mtu,) if bound is not None else ())])
            found.append((order.Place(node=node.name, address=internal[0], zone=zones[node.name]), most))
    return found


def _pods(snapshot: Snapshot, zones: Mapping[str, str], ipv6: bool) -> list[tuple[order.Place, int]]:
    """One probe pod a node, where it is and what its own interface has."""
    wanted = {
        address
        for pod in snapshot.each("Pod")
        if pod.text("metadata", "labels", "app.kubernetes.io/name") == PROBES
        for one in pod.each("status", "podIPs")
        if (address := one.text("ip")) and (":" in address) is ipv6
    }
    found = {}
    for seen in snapshot.nodes:
        for port in seen.ports:
            for address in wanted & set(port.addresses):
                place = order.Place(node=seen.node, address=address, port=port.host_link, zone=zones.get(seen.node, ""))
                found[seen.node] = (place, port.pod_mtu)
    return list(found.values())


def _mixed(one: Members) -> str:
    sizes = sorted({*one.mtus})
    by = next((bound for bound in one.bounds if bound.path_mtu == sizes[0]), None)
    if by is not None:
        return f"{one.name}: {sizes[0]} was expected, as {by.says} says; --expected N shows who takes more"
    return (
        f"{one.name}: their interfaces have {names(map(str, sizes))}, so {sizes[0]} was expected, which all have; "
        f"--expected {sizes[-1]} shows who takes more"
    )


def _left_out(snapshot: Snapshot, found: Sequence[Members], layers: Sequence[str]) -> Iterable[str]:
    listed = [node.name for node in snapshot.each("Node")]
    silent = [name for name in listed if snapshot.observation(name) is None]
    if silent:
        yield f"no agent tells of node {names(silent)}: left out"
    pods = next((one for one in found if one.name == "pods"), None)
    if "pods" in layers:
        there = {place.node for place in pods.places} if pods is not None else set()
        missing = [name for name in listed if name not in there and name not in silent]
        if missing and pods is None:
            yield "no probe pods run, so only the nodes are measured: `kubectl apply -f deploy/probe.yaml` starts them"
        elif missing:
            yield f"no probe pod runs on node {names(missing)}: its pods' network is left out"
