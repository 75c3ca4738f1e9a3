"""Two hosts with two routers between them, built with `ip`, and a station in a process of its own at the far end.

a [e0] --- [l] r1 [m] --- [m] r2 [r] --- [e0] b        10.9.1.0/24, 10.9.2.0/24, 10.9.3.0/24 and fd09:N::/64
"""

import itertools
import os
import select
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from kubemtu.core import pathverdict
from kubemtu.node import netns
from kubemtu.node.probe import channel, paths, station, wire

T = TypeVar("T")
_SERIAL = itertools.count()
SECRET = b"a secret that all stations of the cluster share"
B4, B6 = "10.9.3.1", "fd09:3::1"
RESPONDER = """
import sys
from kubemtu.node.probe import station, wire
with station.Station(wire.Key(bytes.fromhex(sys.argv[1])), port=7843) as serving:
    print("ready", flush=True)
    serving.serve(lambda: True)
"""


def run(*command: str, stdin: str | None = None) -> str:
    """Runs a command, and shows what it said when it fails."""
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
    return done.stdout


class Net:
    """The four namespaces; every change is made to the running network."""

    def __init__(self) -> None:
        """Builds them, all with an MTU of 1500."""
        tag = f"kmtest-{os.getpid()}-path{next(_SERIAL)}"
        self.spaces = {name: f"{tag}-{name}" for name in ("a", "r1", "r2", "b")}
        self.descriptors: dict[str, int] = {}
        self.processes: list[subprocess.Popen[str]] = []
        try:
            self._build()
        except BaseException:
            self.close()
            raise

    def _build(self) -> None:
        for space in self.spaces.values():
            run("ip", "netns", "add", space)
            sysctls = ("net/ipv6/conf/default/accept_dad", 0), ("net/ipv4/ip_forward", 1)
            for name, value in (*sysctls, ("net/ipv6/conf/all/forwarding", 1)):
                run("ip", "netns", "exec", space, "sh", "-c", f"echo {value} > /proc/sys/{name}")
            run("ip", "-n", space, "link", "set", "dev", "lo", "up")
        for left, one, right, other in (("a", "e0", "r1", "l"), ("r1", "m", "r2", "m"), ("r2", "r", "b", "e0")):
            pair = f"link add name {one} type veth peer name {other} netns {self.spaces[right]}"
            self.ip(left, pair, f"link set dev {one} up")
            self.ip(right, f"link set dev {other} up")
        self.ip("a", "addr add 10.9.1.1/24 dev e0", "addr add fd09:1::1/64 dev e0 nodad")
        self.ip("a", "route add default via 10.9.1.254", "route add default via fd09:1::254")
        self.ip("b", "addr add 10.9.3.1/24 dev e0", "addr add fd09:3::1/64 dev e0 nodad")
        self.ip("b", "route add default via 10.9.3.254", "route add default via fd09:3::254")
        self.ip("r1", "addr add 10.9.1.254/24 dev l", "addr add fd09:1::254/64 dev l nodad")
        self.ip("r1", "addr add 10.9.2.1/24 dev m", "addr add fd09:2::1/64 dev m nodad")
        self.ip("r1", "route add 10.9.3.0/24 via 10.9.2.2", "route add fd09:3::/64 via fd09:2::2")
        self.ip("r2", "addr add 10.9.2.2/24 dev m", "addr add fd09:2::2/64 dev m nodad")
        self.ip("r2", "addr add 10.9.3.254/24 dev r", "addr add fd09:3::254/64 dev r nodad")
        self.ip("r2", "route add 10.9.1.0/24 via 10.9.2.1", "route add fd09:1::/64 via fd09:2::1")
        for name, space in self.spaces.items():
            self.descriptors[name] = os.open(f"/run/netns/{space}", os.O_RDONLY | os.O_CLOEXEC)

    def ip(self, place: str, *lines: str) -> None:
        """Runs `ip` commands in one namespace."""
        run("ip", "-n", self.spaces[place], "-batch", "-", stdin="\n".join(lines))

    def nft(self, place: str, hook: str, rule: str) -> None:
        """Adds one nftables rule for IPv4 in one namespace."""
        for command in (
            "add table ip rig",
            f"add chain ip rig {hook} {{ type filter hook {hook} priority -300; }}",
            f"add rule ip rig {hook} {rule}",
        ):
            run("ip", "netns", "exec", self.spaces[place], "nft", command)

    def lose(self, percent: int) -> None:
        """Loses packets at random, so many of a hundred, each way."""
        self.nft("r1", "forward", f"numgen random mod 100 < {percent} drop")

    def middle(self, mtu: int) -> None:
        """Gives the link between the routers another MTU."""
        for place in ("r1", "r2"):
            self.ip(place, f"link set dev m mtu {mtu}")

    def second_path(self, mtu: int) -> None:
        """Adds an equal path between the routers, of another MTU and silent; flows are spread by their ports."""
        pair = f"link add name n type veth peer name n netns {self.spaces['r2']}"
        self.ip("r1", pair, f"link set dev n up mtu {mtu}", "addr add 10.9.4.1/24 dev n")
        self.ip("r2", f"link set dev n up mtu {mtu}", "addr add 10.9.4.2/24 dev n")
        for place, prefix, last in (("r1", "10.9.3.0/24", 2), ("r2", "10.9.1.0/24", 1)):
            run("ip", "netns", "exec", self.spaces[place], "sysctl", "-qw", "net.ipv4.fib_multipath_hash_policy=1")
            self.ip(place, f"route replace {prefix} nexthop via 10.9.2.{last} nexthop via 10.9.4.{last}")
        self.mute()

    def allow_ping(self) -> None:
        """Lets everybody at a open ping sockets."""
        command = "echo 0 2147483647 > /proc/sys/net/ipv4/ping_group_range"
        run("ip", "netns", "exec", self.spaces["a"], "sh", "-c", command)

    def mute(self) -> None:
        """Keeps the routers from saying anything to the hosts: a black hole for path MTU discovery."""
        for place, number in (("r1", 1), ("r2", 3)):
            self.ip(place, f"rule add pref 10 iif lo to 10.9.{number}.0/24 blackhole")
            run(
                *f"ip -n {self.spaces[place]} -6 rule add pref 10 iif lo to fd09:{number}::/64 blackhole".split(),
            )

    def serve(self, secret: bytes = SECRET) -> subprocess.Popen[str]:
        """Starts a station at b and waits until it listens."""
        process = subprocess.Popen(
            ("ip", "netns", "exec", self.spaces["b"], sys.executable, "-c", RESPONDER, secret.hex()),
            stdout=subprocess.PIPE,
            text=True,
        )
        self.processes.append(process)
        assert process.stdout is not None
        assert select.select([process.stdout], [], [], 20)[0], "the station did not start"
        assert process.stdout.readline() == "ready\n"
        return process

    def measure(
        self,
        address: str = B4,
        *,
        back: bool = False,
        expected: int | None = None,
        secret: bytes = SECRET,
        over: type[channel.Channel] = channel.Channel,
    ) -> paths.Path:
        """Measures from a to b."""
        target = paths.Target(address=address, back=back, expected=expected)

        def work() -> paths.Path:
            with station.Station(wire.Key(secret), over=over) as asking:
                return asking.measure([target])[0]

        return netns.inside(self.descriptors["a"], work)

    def verdict(self, address: str = B4, *, back: bool = True, expected: int | None = None) -> pathverdict.Verdict:
        """Measures from a to b and judges."""
        return paths.judge(self.measure(address, back=back, expected=expected))

    def inside(self, place: str, work: Callable[[], T]) -> T:
        """Runs something in one of the namespaces."""
        return netns.inside(self.descriptors[place], work)

    def close(self) -> None:
        """Ends the stations and deletes the namespaces."""
        for process in self.processes:
            process.kill()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()
        for descriptor in self.descriptors.values():
            os.close(descriptor)
        for space in self.spaces.values():
            subprocess.run(("ip", "netns", "del", space), capture_output=True, check=False)


def _need(what: str, there: bool) -> None:
    if not there:
        assert not os.environ.get("CI"), f"{what} must be there in CI"
        pytest.skip(f"{what} is not there")


@pytest.fixture
def bare(namespaces: None) -> Iterator[Net]:
    """A fresh network without a station."""
    made = Net()
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def net(namespaces: None) -> Iterator[Net]:
    """A fresh network with a station at its far end."""
    made = Net()
    try:
        made.serve()
        yield made
    finally:
        made.close()


@pytest.fixture
def nft() -> None:
    """Skips where there is no nft to make a network lose and mangle."""
    _need("nft (nftables)", shutil.which("nft") is not None or Path("/usr/sbin/nft").exists())
