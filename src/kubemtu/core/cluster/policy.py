"""What is known of the path between nodes and no interface shows: MTUPolicy objects, read, and held against the clock.

A policy states a fact ("the provider's network carries 1404"); it asks for nothing. The smallest of what interfaces
and policies say is what the path carries. One that has expired, or that cannot be read, is a finding and is not used.
"""

import re
from collections.abc import Iterable

import msgspec

from kubemtu.core import encap, errors
from kubemtu.core.change import migration
from kubemtu.core.cluster import pods
from kubemtu.core.objects import NAME, Object, Ref
from kubemtu.core.snapshot import Snapshot

KIND = "MTUPolicy"
PLURAL = "mtupolicies"
REASON_MOST = 500
DAY = 86400.0
OFFSET = re.compile(r"([+-])((?:[01][0-9]|2[0-3]):[0-5][0-9])$")


class Bound(msgspec.Struct, frozen=True, kw_only=True):
    """What a path carries where interfaces say more, and `by` whom that is known; `nodes` by name (none: all of them).

    `path_mtu` in bytes of the IP packet between nodes.
    """

    path_mtu: int
    by: str
    reason: str = ""
    nodes: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.by

    @property
    def says(self) -> str:
        """Say who says so, and why, where there is a reason."""
        return f"{self.by} ({self.reason.rstrip('.')})" if self.reason else self.by

    def holds_for(self, node: str) -> bool:
        """Return whether it is about the paths of that node."""
        return not self.nodes or node in self.nodes


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """One MTUPolicy: `path_mtu` in bytes of the IP packet between nodes, `nodes` by name (none: all of them).

    `expires` is RFC 3339, empty where it holds until it is deleted.
    """

    name: str
    path_mtu: int
    reason: str
    nodes: tuple[str, ...] = ()
    expires: str = ""

    def __str__(self) -> str:
        return f"{KIND} {self.name}"

    @property
    def until(self) -> float | None:
        """When it ends, in seconds since the epoch; None: never. Raises ValueError for what is no RFC 3339 time."""
        return moment(self.expires) if self.expires else None

    @property
    def bound(self) -> Bound:
        """What it says of paths."""
        return Bound(path_mtu=self.path_mtu, by=str(self), reason=self.reason, nodes=self.nodes)


class RefusedPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """A policy that is not used: `why` follows its name in a sentence, `remedy` says what to do."""

    name: str
    why: str
    remedy: str


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """The policies that are used, and those that are not."""

    used: tuple[Policy, ...] = ()
    refused: tuple[RefusedPolicy, ...] = ()

    @property
    def bounds(self) -> tuple[Bound, ...]:
        """What those that are used say of paths."""
        return tuple(one.bound for one in self.used)


def known(snapshot: Snapshot) -> Known:
    """Read every MTUPolicy of a snapshot; a time is held against the snapshot's own, which is the server's."""
    used, refused = [], []
    for found in snapshot.each(KIND):
        try:
            one = read(found)
            until = one.until
        except errors.Malformed as broken:
            refused.append(
                RefusedPolicy(name=found.name, why=f"cannot be used: {broken}", remedy="Correct it, or delete it.")
            )
            continue
        if until is not None and snapshot.taken_at and until <= snapshot.taken_at:
            days = (snapshot.taken_at - until) / DAY
            ago = f"{days:.0f} days ago" if days >= 2 else "less than two days ago"
            refused.append(
                RefusedPolicy(
                    name=one.name,
                    why=f"said that the path carries {one.path_mtu} ({one.reason}); it expired at {one.expires}, {ago}",
                    remedy="Measure again (`kubemtu check --prove`), then give it another time, or delete it: "
                    f"kubectl delete mtupolicy {one.name}.",
                )
            )
            continue
        used.append(one)
    return Known(used=tuple(sorted(used, key=lambda one: one.name)), refused=tuple(refused))


def read(resource: Object) -> Policy:
    """Decode one. Raises Malformed, naming the field."""
    size = resource.integer("spec", "pathMtu")
    if size is None or not encap.IPV4_MINIMUM <= size <= encap.LARGEST_MTU:
        held = "missing" if size is None else f"{size}"
        raise errors.Malformed(
            f"spec.pathMtu is {held}, and a path MTU is a number from {encap.IPV4_MINIMUM} to {encap.LARGEST_MTU}"
        )
    reason = (resource.text("spec", "reason") or "").strip()
    if not reason:
        raise errors.Malformed("spec.reason is missing: say who says so, or how it was measured")
    listed = resource.get("spec", "nodes")
    if listed is not None and not (isinstance(listed, list) and all(isinstance(one, str) and one for one in listed)):
        raise errors.Malformed("spec.nodes is not a list of names")
    expires = resource.text("spec", "expires") or ""
    if expires:
        try:
            moment(expires)
        except ValueError:
            raise errors.Malformed(
                f"spec.expires is no RFC 3339 time ({expires!r:.40}); write it like 2027-01-31T00:00:00Z"
            ) from None
    nodes = tuple(dict.fromkeys(listed)) if isinstance(listed, list) else ()
    return Policy(name=resource.name, path_mtu=size, reason=" ".join(reason.split()), nodes=nodes, expires=expires)


def body(policy: Policy) -> dict[str, object]:
    """Return the object of the API that says this."""
    spec: dict[str, object] = {"pathMtu": policy.path_mtu, "reason": policy.reason}
    if policy.nodes:
        spec["nodes"] = list(policy.nodes)
    if policy.expires:
        spec["expires"] = policy.expires
    return {"apiVersion": migration.API_VERSION, "kind": KIND, "metadata": {"name": policy.name}, "spec": spec}


def ref(name: str) -> Ref:
    """Return the address of the policy of that name."""
    return Ref(api_version=migration.API_VERSION, kind=KIND, plural=PLURAL, name=name)


def moment(written: str) -> float:
    """Read an RFC 3339 time as seconds since the epoch. Raises ValueError, also for a time without a zone."""
    clock, sign, zone = written, 1, ""
    if (found := OFFSET.search(written)) is not None:
        clock, sign, zone = written[: found.start()] + "Z", -1 if found[1] == "-" else 1, found[2]
    seconds = pods.seconds(clock.upper())
    if seconds is None:
        raise ValueError(f"{written!r} is no RFC 3339 time")
    hours, _, minutes = zone.partition(":")
    return seconds - sign * (int(hours or 0) * 3600 + int(minutes or 0) * 60)


def smallest(bounds: Iterable[Bound], node: str | None = None) -> Bound | None:
    """Return what binds the paths of a node most, the first of equals; None for the node: what binds all paths."""
    found = (one for one in bounds if (one.holds_for(node) if node is not None else not one.nodes))
    return min(found, key=lambda one: one.path_mtu, default=None)


def checked(made: Policy, now: float) -> None:
    """Raise UsageError for a policy that could not be used."""
    if not made.reason or len(made.reason) > REASON_MOST:
        raise errors.UsageError(f"--reason takes a sentence of at most {REASON_MOST} characters: who says so, and how")
    if NAME.fullmatch(made.name) is None:
        raise errors.UsageError(f"--name: {made.name!r:.60} is no name; use lower-case letters, digits, '-' and '.'")
    unlike = next((node for node in made.nodes if NAME.fullmatch(node) is None), None)
    if unlike is not None:
        raise errors.UsageError(f"--node: {unlike!r:.60} is no name of a node: `kubectl get nodes` shows them")
    if made.until is not None and made.until <= now:
        raise errors.UsageError(f"--expires: {made.expires} is over already")
