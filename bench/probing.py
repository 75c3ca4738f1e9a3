"""How long an exact path MTU takes over two routers, beside what a user would run instead; needs root.

    a [1500] --- r1 --- [the link in question] --- r2 --- [1500] b

Ours is measured inside a running process, as an agent measures; `kubemtu node probe` adds the start of Python. The
others are whole commands, and answer for one size (ping) or by listening to routers (tracepath): in a black hole they
wait.
"""

import contextlib
import functools
import os
import shutil
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence

from kubemtu.core import proof
from kubemtu.node import echo, netns
from kubemtu.node.probe import paths, station, wire

ROUNDS = 30
PEER_ROUNDS = 3
PEERS: dict[str, list[str]] = {
    "ping -M do, 1 packet of 1500": ["ping", "-M", "do", "-c", "1", "-W", "1", "-s", "1472", "10.9.3.1"],
    "tracepath": ["tracepath", "-n", "10.9.3.1"],
}
SECRET = "a secret for the benchmark"
STATION = (
    "from kubemtu.node.probe import station, wire; "
    f"station.Station(wire.Key(b'{SECRET}'), port=7843, families=(4,)).serve(lambda: True)"
)
BATCHES: dict[str, Sequence[str]] = {
    "a": ("addr add 10.9.1.1/24 dev e0", "route add default via 10.9.1.254"),
    "r1": (
        "addr add 10.9.1.254/24 dev l",
        "addr add 10.9.2.1/24 dev m",
        "route add 10.9.3.0/24 via 10.9.2.2",
    ),
    "r2": (
        "addr add 10.9.3.254/24 dev r",
        "addr add 10.9.2.2/24 dev m",
        "route add 10.9.1.0/24 via 10.9.2.1",
    ),
    "b": ("addr add 10.9.3.1/24 dev e0", "route add default via 10.9.3.254"),
}


def ip(*words: str) -> None:
    """Run one `ip` command."""
    subprocess.run(("ip", *words), check=True)


@contextlib.contextmanager
def network() -> Iterator[dict[str, str]]:
    """Four namespaces in a row, by place."""
    spaces = {place: f"kmtest-{os.getpid()}-{place}" for place in BATCHES}
    try:
        for space in spaces.values():
            ip("netns", "add", space)
            ip("netns", "exec", space, "sysctl", "-qw", "net.ipv4.ip_forward=1")
        for left, one, right, other in (("a", "e0", "r1", "l"), ("r1", "m", "r2", "m"), ("r2", "r", "b", "e0")):
            names = ("name", one, "type", "veth", "peer", "name", other, "netns", spaces[right])
            ip("-n", spaces[left], "link", "add", *names)
            ip("-n", spaces[left], "link", "set", "dev", one, "up")
            ip("-n", spaces[right], "link", "set", "dev", other, "up")
        for place, lines in BATCHES.items():
            for line in lines:
                ip("-n", spaces[place], *line.split())
        yield spaces
    finally:
        for space in spaces.values():
            subprocess.run(("ip", "netns", "del", space), check=False, stderr=subprocess.DEVNULL)


def shape(spaces: dict[str, str], mtu: int, *, silent: bool) -> None:
    """Give the link in question its MTU, let routers speak or not, and forget what was learned."""
    for place, prefix in (("r1", "10.9.1.0/24"), ("r2", "10.9.3.0/24")):
        rule = ("rule", "add" if silent else "del", "pref", "10", "iif", "lo", "to", prefix, "blackhole")
        subprocess.run(("ip", "-n", spaces[place], *rule), check=False, stderr=subprocess.DEVNULL)
        ip("-n", spaces[place], "link", "set", "dev", "m", "mtu", str(mtu))
    ip("-n", spaces["a"], "route", "flush", "cache")


def timed(rounds: int, work: Callable[[], object]) -> list[float]:
    """The seconds of each round."""
    seconds = []
    for _ in range(rounds):
        began = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - began)
    return seconds


def line(name: str, seconds: Sequence[float], says: str) -> str:
    """One row: median and worst in milliseconds, and the answer."""
    middle, worst = statistics.median(seconds) * 1000, max(seconds) * 1000
    return f"  {name:32}{middle:10.2f} ms{worst:10.2f} ms   {says}"


def ours(descriptor: int, back: bool, rounds: int) -> tuple[list[float], set[str]]:
    """Measure again and again in one running station."""
    said: set[str] = set()
    target = paths.Target(address="10.9.3.1", back=back)

    def work() -> list[float]:
        with station.Station(wire.Key(SECRET.encode()), families=(4,)) as asking:

            def once() -> None:
                path = asking.measure([target])[0]
                verdict = paths.judge(path)
                said.add(f"{verdict.mtu} {verdict.kind}, {path.forward.found.packets} packets")

            once()
            return timed(rounds, once)

    return netns.inside(descriptor, work), said


def crowd(descriptor: int, number: int) -> tuple[float, int]:
    """Measure many healthy paths at once; the seconds of all, and how many were right."""

    def work() -> tuple[float, int]:
        with station.Station(wire.Key(SECRET.encode()), families=(4,)) as asking:
            began = time.perf_counter()
            found = asking.measure([paths.Target(address="10.9.3.1")] * number)
            return time.perf_counter() - began, sum(path.forward.found.mtu == 1500 for path in found)

    return netns.inside(descriptor, work)


def bisected(descriptor: int) -> tuple[list[float], int]:
    """The plain way, with the project's own echo probes: one size after the other, each three times with a timeout."""

    def open_in(_port: str, kinds: Sequence[tuple[int, int]]) -> list[socket.socket]:
        return [socket.socket(family, socket.SOCK_RAW, protocol) for family, protocol in kinds]

    def once() -> int:
        low, high = 575, 1501
        size = 1500
        while high - low > 1:
            (answer,) = echo.measure([proof.Probe(to="10.9.3.1", size=size)], open_in)
            low, high = (size, high) if answer.outcome == "arrived" else (low, size)
            size = (low + high) // 2
        return low

    sizes: list[int] = []
    return timed(1, lambda: sizes.append(netns.inside(descriptor, once))), sizes[-1]


def peer(words: list[str]) -> int:
    """Run another tool; its exit code."""
    return subprocess.run(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False).returncode


def main() -> None:
    """Print the table."""
    with network() as spaces:
        far = subprocess.Popen(("ip", "netns", "exec", spaces["b"], sys.executable, "-c", STATION))
        descriptor = os.open(f"/run/netns/{spaces['a']}", os.O_RDONLY | os.O_CLOEXEC)
        try:
            time.sleep(1)
            for mtu, silent in ((1500, False), (1450, False), (1450, True), (1433, True)):
                shape(spaces, mtu, silent=silent)
                print(f"{mtu}{', nobody speaks' if silent else ''}{'':22}median       worst")
                for back, name in ((False, "kubemtu, forwards"), (True, "kubemtu, both ways")):
                    seconds, said = ours(descriptor, back, ROUNDS)
                    print(line(name, seconds, "; ".join(sorted(said))))
                for name, words in PEERS.items():
                    if shutil.which(words[0]) and not (silent and words[0] == "tracepath"):  # that takes 87 s
                        ip("-n", spaces["a"], "route", "flush", "cache")
                        whole = functools.partial(peer, ["ip", "netns", "exec", spaces["a"], *words])
                        print(line(name, timed(PEER_ROUNDS, whole), f"exit code {whole()}"))
                known, size = bisected(descriptor)
                print(line("bisect, ICMP echo, 3 x 0.25 s", known, f"{size}"))
            shape(spaces, 1500, silent=False)
            together, right = crowd(descriptor, 1000)
            print(f"1000 healthy paths, one station: {together * 1000:.0f} ms, {right} right")
        finally:
            os.close(descriptor)
            far.kill()
            far.wait()


if __name__ == "__main__":
    main()
