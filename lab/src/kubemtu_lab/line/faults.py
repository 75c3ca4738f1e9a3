"""What can be wrong with a line: each fault is a value, and committing it makes it true on the running network."""

from typing import ClassVar, Final, Literal

import msgspec

from kubemtu_lab.line import network
from kubemtu_lab.line.network import Line

PORT: Final = 7843
OVERLAY: Final = {4: "10.77.0.2", 6: "fd77::2"}  # b, inside the hosts' own VXLAN
SERVICE: Final = {4: "10.96.0.10", 6: "fd96::10"}  # b, behind r1, at SERVICE_PORT
SERVICE_PORT: Final = 80


class Fault(msgspec.Struct, frozen=True):
    """Something that is not as it should be; raises StartFailed when the network cannot be made so."""

    fleeting: ClassVar[bool] = False  # whether it ends when the hosts forget what they learned

    def commit(self, line: Line) -> None:
        """Make it true; the bare kind is no fault, and does nothing."""


class Middle(Fault, frozen=True):
    """The link between the routers carries this much, in bytes."""

    mtu: int

    def commit(self, line: Line) -> None:
        """Set it at both ends."""
        for place in ("r1", "r2"):
            line.ip(place, f"link set dev m mtu {self.mtu}")


class Edges(Fault, frozen=True):
    """Both hosts and what they are plugged into carry this much."""

    mtu: int

    def commit(self, line: Line) -> None:
        """Set it at both ends of both links."""
        for host, device, router, port in network.EDGES:
            line.ip(router, f"link set dev {port} mtu {self.mtu}")
            line.ip(host, f"link set dev {device} mtu {self.mtu}")


class Device(Fault, frozen=True):
    """One interface alone has another MTU than the other end of its link, or is down."""

    place: network.Place
    device: str
    mtu: int | None  # None: down

    def commit(self, line: Line) -> None:
        """Set it."""
        line.ip(self.place, f"link set dev {self.device} {'down' if self.mtu is None else f'mtu {self.mtu}'}")


class Narrow(Fault, frozen=True):
    """One way carries less than the other: the router's route has an MTU, which only those honour that send by it.

    Locked, because a router forwards by the device's MTU otherwise (include/net/ip.h ip_dst_mtu_maybe_forward).
    """

    towards: Literal["a", "b"]
    mtu: int

    def commit(self, line: Line) -> None:
        """Change the routes of both families."""
        place, last = ("r1", 2) if self.towards == "b" else ("r2", 1)
        ways = zip(network.NETS[self.towards], (f"10.9.2.{last}", f"fd09:2::{last}"), strict=True)
        line.ip(place, *(f"route change {net} via {gateway} mtu lock {self.mtu}" for net, gateway in ways))


class Filtered(Fault, frozen=True):
    """No router's "too big" gets through, as behind a careless firewall (RFC 2923 2.1); all other ICMP does."""

    def commit(self, line: Line) -> None:
        """Drop it where the routers send it."""
        for place in ("r1", "r2"):
            line.nft(
                place, "output", "icmp type destination-unreachable icmp code frag-needed drop", "icmpv6 type 2 drop"
            )


class Muted(Fault, frozen=True):
    """The routers say nothing at all to the hosts. Policy rules do it, so that no nft is needed."""

    def commit(self, line: Line) -> None:
        """Send what they say themselves nowhere."""
        for place, host in (("r1", "a"), ("r2", "b")):
            net4, net6 = network.NETS[host]
            line.ip(place, f"rule add pref 10 iif lo to {net4} blackhole")
            network.run(*f"ip -n {line.spaces[place]} -6 rule add pref 10 iif lo to {net6} blackhole".split())


class Limited(Fault, frozen=True):
    """The routers say "too big" once a second and no more, as many do (RFC 1812 4.3.2.8, RFC 4443 2.4 f)."""

    def commit(self, line: Line) -> None:
        """Limit it where the routers send it."""
        most = "limit rate over 1/second burst 1 packets drop"
        for place in ("r1", "r2"):
            line.nft(place, "output", f"icmp type destination-unreachable {most}", f"icmpv6 type 2 {most}")


class Lossy(Fault, frozen=True):
    """Packets are lost at random, so many of a hundred, each way."""

    percent: int

    def commit(self, line: Line) -> None:
        """Drop them at r1."""
        line.nft("r1", "forward", f"numgen random mod 100 < {self.percent} drop")


class DfCleared(Fault, frozen=True):
    """Something clears DF on its way, so that a router fragments what it should refuse (IPv4)."""

    def commit(self, line: Line) -> None:
        """Clear it at r1."""
        line.nft("r1", "prerouting", "ip frag-off set 0")


class Clamped(Fault, frozen=True):
    """A router lowers the MSS of TCP connections to what the path carries (RFC 4459 3.2); other protocols notice."""

    mtu: int

    def commit(self, line: Line) -> None:
        """Lower it at r1, both ways: 40 bytes of headers over IPv4, 60 over IPv6 (RFC 6691 2)."""
        for family, headers in (("ipv4", 40), ("ipv6", 60)):
            change = f"tcp option maxseg size set {self.mtu - headers}"
            line.nft("r1", "forward", f"meta nfproto {family} tcp flags & (syn | rst) == syn {change}")


class Masqueraded(Fault, frozen=True):
    """r1 puts its own address in the place of a's."""

    def commit(self, line: Line) -> None:
        """Do so for all that leaves towards b."""
        line.nft("r1", "postrouting", 'oifname "m" masquerade', kind="nat", priority=100)


class Service(Fault, frozen=True):
    """b is reached behind r1 at another address and port, as a Service is."""

    def commit(self, line: Line) -> None:
        """Put b's address and port in the place of the Service's."""
        rules = (
            f"{name} daddr {SERVICE[family]} meta l4proto {{ tcp, udp }} th dport {SERVICE_PORT} dnat {name} to {to}"
            for family, name, to in (
                (4, "ip", f"{network.B[4]}:{PORT}"),
                (6, "ip6", f"[{network.B[6]}]:{PORT}"),
            )
        )
        line.nft("r1", "prerouting", *rules, kind="nat", priority=-100)


class HostTunnel(Fault, frozen=True):
    """The hosts have a VXLAN of their own, left at 1500 over a network that carries 1500."""

    df: Literal["unset", "set", "inherit"]

    def commit(self, line: Line) -> None:
        """Make it at both hosts."""
        for last, place, own, other in ((1, "a", network.A[4], network.B[4]), (2, "b", network.B[4], network.A[4])):
            ends = f"local {own} remote {other} dstport 4789 df {self.df}"
            line.ip(place, *_vxlan(ends, f"10.77.0.{last}/24", f"fd77::{last}/64"))


class RouterTunnel(Fault, frozen=True):
    """The routers carry the hosts' packets in a VXLAN, left at 1500 over 1500; its outer packets are fragmented."""

    def commit(self, line: Line) -> None:
        """Make it between the routers, and route through it."""
        for place, own, other, host in (("r1", 1, 2, "b"), ("r2", 2, 1, "a")):
            ends = f"local 10.9.2.{own} remote 10.9.2.{other} dstport 4789 df unset"
            vias = zip(network.NETS[host], (f"10.78.0.{other}", f"fd78::{other}"), strict=True)
            routes = (f"route replace {net} via {via}" for net, via in vias)
            line.ip(place, *_vxlan(ends, f"10.78.0.{own}/24", f"fd78::{own}/64"), *routes)


def _vxlan(ends: str, address4: str, address6: str) -> tuple[str, ...]:
    made = f"link add vx type vxlan id 7 {ends}"
    up = ("link set dev vx mtu 1500", "link set dev vx up")
    return (made, *up, f"addr add {address4} dev vx", f"addr add {address6} dev vx nodad")


class EqualPaths(Fault, frozen=True):
    """More links between the routers, each with an MTU; flows are spread over all of them by addresses and ports."""

    mtus: tuple[int, ...]  # of the links beside the first

    def commit(self, line: Line) -> None:
        """Make them; the policy 1 hashes ports too (Documentation/networking/ip-sysctl.rst)."""
        made = {f"m{number}": number for number in range(4, 4 + len(self.mtus))}
        line.connect(made)
        for place in ("r1", "r2"):
            line.sysctl(place, {f"ipv{family}/fib_multipath_hash_policy": 1 for family in (4, 6)})
            line.ip(place, *(f"link set dev {name} mtu {mtu}" for name, mtu in zip(made, self.mtus, strict=True)))
        line.spread()
