"""The evidence of one network namespace as one value, and the way to forget the path MTUs that it has learned."""

import contextlib
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

from kubemtu.core import errors as core_errors
from kubemtu.core import networks
from kubemtu.core.evidence import records
from kubemtu.node import errors
from kubemtu.node.evidence import connections, counters
from kubemtu.node.kernel import links, netlink, netns, routes

MOST: Final = 1024  # connections that are told; those beyond are counted


def read(*, most: int = MOST, proc: Path = counters.PROC) -> records.Evidence:
    """Read the namespace of the calling thread: all connections that are in trouble, and others up to `most` in all.

    What cannot be read is a sentence in `errors`; nothing is raised.
    """
    troubles: list[str] = []
    established: list[records.TcpConnection] = []
    with _trouble(troubles), _socket(connections.NETLINK_SOCK_DIAG) as diag:
        established = list(connections.dump(diag))
    established.sort(key=lambda one: not troubled(one))
    listed = established[: max(most, sum(map(troubled, established)))]
    learned: tuple[records.Learned, ...] = ()
    with _trouble(troubles), _socket() as sock:
        devices = {each.index: each for each in links.devices(sock)}
        learned = tuple(_learned(sock, devices))
        listed = list(_placed(sock, listed, devices))
    return records.Evidence(
        connections=tuple(listed),
        established=len(established),
        counters=counters.read(troubles, proc),
        sysctls=counters.settings(proc),
        learned=learned,
        errors=tuple(troubles),
        at=time.time(),
    )


def within(descriptor: int, *, most: int = MOST, proc: Path = counters.PROC) -> records.Evidence:
    """Read the namespace behind the descriptor, from a thread of its own. Raises Refused or Denied without a way in."""
    return netns.inside(descriptor, lambda: read(most=most, proc=proc))


def flush(sysctl: Path = Path("/proc/sys")) -> int:
    """Make the calling thread's namespace forget every learned path MTU, IPv4 and IPv6; say how many there were.

    This is what `ip route flush cache` and `ip -6 route flush cache` do: a sysctl for IPv4, and the deletion of each
    for IPv6, whose sysctl of the same name does nothing. `sysctl` is where sysctls can be written: not in the /proc/sys
    of a container without privilege. Raises Refused or Denied.
    """
    with _socket() as sock:
        old, new = routes.learned(sock, 4), routes.learned(sock, 6)
        path = sysctl / "net/ipv4/route/flush"
        try:
            path.write_text("1")
        except OSError as error:
            advice = f"let kubemtu write {path}"
            raise errors.refusal("forgetting the learned IPv4 path MTUs", error.errno or 0, advice=advice) from error
        routes.forget(sock, new)
    return sum(_worth(seen) for seen in (*old, *new))


def troubled(connection: records.TcpConnection) -> bool:
    """Say whether something about it is as it should not be."""
    return bool(connection.retransmits or connection.backoff or connection.lost)


def _learned(sock: netlink.Socket, devices: Mapping[int, links.Device]) -> Iterator[records.Learned]:
    for raw in (*routes.learned(sock, 4), *routes.learned(sock, 6)):
        if _worth(raw):
            device = devices.get(raw.devices[0]) if raw.devices else None
            yield records.Learned(
                destination=raw.destination.partition("/")[0],
                mtu=raw.mtu or 0,
                expires=raw.expires // routes.HZ,
                locked=raw.locked,
                device=device.name if device else "",
                device_mtu=_mtu(device, raw.family) if device else 0,
            )


def _worth(raw: routes.Raw) -> bool:
    """Say whether an exception holds a path MTU that still counts: redirects have none, IPv6 keeps expired ones."""
    return raw.mtu is not None and raw.expires > 0


def _placed(
    sock: netlink.Socket, found: Iterable[records.TcpConnection], devices: Mapping[int, links.Device]
) -> Iterator[records.TcpConnection]:
    """Return connections with the devices they leave by, asked once per remote address; local ones are left out."""
    kept = list(found)
    peers = list(dict.fromkeys(connection.remote for connection in kept if networks.beyond_link(connection.remote)))
    ways = dict(zip(peers, routes.lookup(sock, peers), strict=True))
    for connection in kept:
        way = ways.get(connection.remote)
        if way is None or isinstance(way, errors.Refused):
            yield connection
        elif not way.local:
            device = devices.get(way.device)
            name, mtu = (device.name, _mtu(device, connection.family)) if device else ("", 0)
            yield connections.placed(connection, name, mtu, way.mtu or 0)


def _mtu(device: links.Device, family: int) -> int:
    return device.ipv6_mtu or device.mtu if family == 6 else device.mtu


def _socket(protocol: int | None = None) -> netlink.Socket:
    try:
        return netlink.Socket() if protocol is None else netlink.Socket(protocol)
    except OSError as error:
        raise errors.refusal("opening a netlink socket", error.errno or 0) from error


@contextlib.contextmanager
def _trouble(troubles: list[str]) -> Iterator[None]:
    """Turn what cannot be read into a sentence."""
    try:
        yield
    except core_errors.KubemtuError as error:
        troubles.append(str(error))
    except OSError as error:
        troubles.append(f"reading over netlink: {error.strerror}")
