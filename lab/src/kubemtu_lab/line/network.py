"""The four namespaces of a line, built with `ip`, and what faults need to change them while they run.

a [e0] --- [l] r1 [m] --- [m] r2 [r] --- [e0] b        10.9.1.0/24, 10.9.2.0/24, 10.9.3.0/24 and fd09:N::/64

The middle link is a veth, or, when it has a round-trip time, a TUN device at each router with a relay between. They
differ where packets are received: a veth drops what is larger than its MTU + 4, a TUN device takes everything.
"""

import itertools
import os
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, Literal, Self, TypeVar

from kubemtu.node.evidence import gather
from kubemtu.node.kernel import netns
from kubemtu_lab import errors
from kubemtu_lab.line import relay

T = TypeVar("T")
Place = Literal["a", "r1", "r2", "b"]
PLACES: Final[tuple[Place, ...]] = ("a", "r1", "r2", "b")
A: Final = {4: "10.9.1.1", 6: "fd09:1::1"}
B: Final = {4: "10.9.3.1", 6: "fd09:3::1"}
ROUTER: Final = {4: "10.9.1.254", 6: "fd09:1::254"}  # r1, as a meets it
NETS: Final = {"a": ("10.9.1.0/24", "fd09:1::/64"), "b": ("10.9.3.0/24", "fd09:3::/64")}
EDGES: Final = (("a", "e0", "r1", "l"), ("b", "e0", "r2", "r"))
KEEPER: Final = 'read -r _; printf "netns del %s\\n" "$@" | ip -force -batch -'
"""Deletes the namespaces once its standard input ends, so that they end with this process, however that does."""

_SERIAL = itertools.count()


def run(*command: str, stdin: str | None = None) -> str:
    """Run a command and return what it prints. Raises StartFailed with what it said when it fails."""
    try:
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise errors.StartFailed(f"a line needs the command `{command[0]}`, which is not installed here") from error
    if done.returncode:
        raise errors.StartFailed(f"`{' '.join(command)}` failed: {done.stderr.strip()}")
    return done.stdout


class Line:
    """A line that runs; every change is made to the running network."""

    def __init__(self, *, rtt: float = 0.0, meanwhile: Callable[[Self], object] | None = None) -> None:
        """Build it, all with an MTU of 1500; `rtt` in seconds is what the middle link takes there and back.

        `meanwhile` is called once the namespaces are there and before they have links, to start what takes its time.

        Raises StartFailed, or Impossible where this machine has no TUN devices; then nothing is left of it.
        """
        tag = f"kmtest-{os.getpid()}-line{next(_SERIAL)}"
        self.rtt = rtt
        self.spaces: dict[str, str] = {place: f"{tag}-{place}" for place in PLACES}
        self.descriptors: dict[str, int] = {}
        self.processes: list[subprocess.Popen[str]] = []
        self.middles: dict[str, int] = {}  # the links between the routers: the third number of their addresses
        self._relays: list[subprocess.Popen[bytes]] = []
        words = ("sh", "-c", KEEPER, "keeper", *self.spaces.values())
        quiet = subprocess.DEVNULL
        self._keeper = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=quiet, stderr=quiet, process_group=0)
        try:
            self._open()
            if meanwhile is not None:
                meanwhile(self)
            self._build()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """End it."""
        self.close()

    def _open(self) -> None:
        _batch(*(f"netns add {space}" for space in self.spaces.values()))
        for place, space in self.spaces.items():
            self.descriptors[place] = os.open(f"/run/netns/{space}", os.O_RDONLY | os.O_CLOEXEC)
            sysctls = {"ipv6/conf/default/accept_dad": 0, "ipv4/ip_forward": 1, "ipv6/conf/all/forwarding": 1}
            self.sysctl(place, sysctls)

    def _build(self) -> None:
        _batch(*(self._veth(*edge) for edge in EDGES))
        for number, (host, _, router, device) in zip((1, 3), EDGES, strict=True):
            self.ip(host, "link set dev lo up", "link set dev e0 up", *_addresses("e0", number, "1"))
            self.ip(host, f"route add default via 10.9.{number}.254", f"route add default via fd09:{number}::254")
            self.ip(router, "link set dev lo up", f"link set dev {device} up", *_addresses(device, number, "254"))
        self.connect({"m": 2})
        self.spread()

    def _veth(self, place: str, device: str, other: str, peer: str) -> str:
        ends = f"name {device} netns {self.spaces[place]} type veth peer name {peer} netns {self.spaces[other]}"
        return f"link add {ends}"

    def connect(self, devices: Mapping[str, int]) -> None:
        """Put more links between the routers, each by its name with the third number of its addresses."""
        if self.rtt:
            ends = [(self._tun("r1", device), self._tun("r2", device)) for device in devices]
            self._relays.append(relay.start(self.rtt / 2, ends))
        else:
            _batch(*(self._veth("r1", device, "r2", device) for device in devices))
        queue = " txqueuelen 10000" if self.rtt else ""
        for place, last in (("r1", "1"), ("r2", "2")):
            lines = []
            for device, number in devices.items():
                lines += [f"link set dev {device} up{queue}", *_addresses(device, number, last)]
            self.ip(place, *lines)
        self.middles |= devices

    def _tun(self, place: str, device: str) -> int:
        try:
            return self.inside(place, lambda: relay.tun(device))
        except OSError as error:
            raise errors.Impossible(f"a line with a round-trip time needs TUN devices: {error.strerror}") from error

    def spread(self) -> None:
        """Route both ways over all middle links alike, flow by flow."""
        for place, other, last in (("r1", "b", 2), ("r2", "a", 1)):
            for prefix, via in zip(NETS[other], ("10.9.{}.{}", "fd09:{}::{}"), strict=True):
                hops = [f"nexthop via {via.format(number, last)}" for number in self.middles.values()]
                ways = " ".join(hops) if len(hops) > 1 else hops[0].removeprefix("nexthop ")
                self.ip(place, f"route replace {prefix} {ways}")

    def sysctl(self, place: str, values: Mapping[str, int | str]) -> None:
        """Set sysctls below /proc/sys/net in one namespace."""

        def work() -> None:
            for name, value in values.items():
                Path("/proc/sys/net", name).write_text(str(value))

        self.inside(place, work)

    def ip(self, place: str, *lines: str) -> None:
        """Run `ip` commands in one namespace."""
        run("ip", "-n", self.spaces[place], "-batch", "-", stdin="\n".join(lines))

    def nft(self, place: str, hook: str, *rules: str, kind: str = "filter", priority: int = -300) -> None:
        """Add nftables rules for both families in one namespace; the chain of each hook is made once."""
        chain = f"{kind}_{hook}"
        lines = [
            "add table inet line",
            f"add chain inet line {chain} {{ type {kind} hook {hook} priority {priority}; }}",
        ]
        lines += [f"add rule inet line {chain} {rule}" for rule in rules]
        run(*self.command(place, "nft", "-f", "-"), stdin="\n".join(lines))

    def command(self, place: str, *words: str) -> tuple[str, ...]:
        """Return a command as it is run inside one of the namespaces."""
        return ("ip", "netns", "exec", self.spaces[place], *words)

    def inside(self, place: str, work: Callable[[], T]) -> T:
        """Run something in one of the namespaces."""
        return netns.inside(self.descriptors[place], work)

    def forget(self) -> None:
        """Have the hosts forget every path MTU that they learned."""
        for place in ("a", "b"):
            self.inside(place, gather.flush)

    def close(self) -> None:
        """End the processes and delete the namespaces."""
        for process in self.processes:
            process.kill()
            process.communicate()
        for descriptor in self.descriptors.values():
            os.close(descriptor)
        self.descriptors = {}
        children = (*self._relays, self._keeper)
        for one in children:
            assert one.stdin is not None
            one.stdin.close()
        for one in children:
            one.wait()


def _batch(*lines: str) -> None:
    run("ip", "-batch", "-", stdin="\n".join(lines))


def _addresses(device: str, number: int, last: str) -> list[str]:
    return [f"addr add 10.9.{number}.{last}/24 dev {device}", f"addr add fd09:{number}::{last}/64 dev {device} nodad"]
