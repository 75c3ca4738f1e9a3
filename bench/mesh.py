"""How long a full mesh takes: 200 nodes on one switch, every ordered pair, healthy or not quite; needs root.

    node-1 [e0] --- [p1]
    node-2 [e0] --- [p2] switch         each node is a namespace; one process asks for all of them, on one core;
       ...           ...                another answers for all of them, on the other
    node-N [e0] --- [pN]

The floor stands beside each: the same datagrams from the same sockets to the same answerers, sealed beforehand, sent
and taken in a bare loop of `sendto` and `recv_into` that looks at nothing.

Then one node's own round towards 1,000 and 5,000 peers, which one responder plays under as many addresses.
"""

import contextlib
import os
import resource
import select
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator

from kubemtu.node.kernel import netns
from kubemtu.node.probe import paths, station, sweep, wire

NODES = 200
SECRET = "a secret for the benchmark"
BAD = 77  # the node at fault
TURN = 8  # packets that a node sends when it is its turn, each to another node; as many it receives from others
ANSWER = """
import os, sys
from kubemtu.node.probe import station, wire
serving = station.Station(wire.Key(sys.argv[1].encode()), families=(), rate=1_000_000)
for name in sys.argv[2:]:
    space = os.open(f"/run/netns/{name}", os.O_RDONLY)
    serving.open(name, space, port=7843, families=(4,))
    os.close(space)
print("ready", flush=True)
serving.serve(lambda: True)
"""


def ip(text: str, space: str = "") -> None:
    """Run lines of `ip` commands, in a namespace."""
    where = ("-n", space) if space else ()
    subprocess.run(("ip", *where, "-batch", "-"), input=text, text=True, check=True)


def address(number: int) -> str:
    """Return the address of a node, counted from 1."""
    return f"10.88.{number // 250}.{number % 250 + 1}"


def mac(number: int) -> str:
    """Return the hardware address of a node, counted from 1."""
    return f"02:00:00:00:{number >> 8:02x}:{number & 255:02x}"


@contextlib.contextmanager
def switch(number: int) -> Iterator[list[str]]:
    """Make the namespaces of that many nodes on one switch, whose name comes last.

    Neighbours are written down, because those that are learned share one table of 1,024 among all namespaces.
    """
    tag = f"kmtest-{os.getpid()}"
    names = [f"{tag}-{place}" for place in range(1, number + 1)]
    middle = f"{tag}-s"
    try:
        ip("\n".join(f"netns add {name}" for name in (*names, middle)))
        lines = ["link add name s type bridge forward_delay 0", "link set dev s up"]
        for place, name in enumerate(names, 1):
            lines += [
                f"link add name p{place} type veth peer name e0 address {mac(place)} netns {name}",
                f"link set dev p{place} master s up",
            ]
        ip("\n".join(lines), middle)
        for place, name in enumerate(names, 1):
            own = [f"addr add {address(place)}/16 dev e0", "link set dev e0 up", "link set dev lo up"]
            own += [
                f"neigh add {address(other)} lladdr {mac(other)} nud permanent dev e0"
                for other in range(1, number + 1)
                if other != place
            ]
            ip("\n".join(own), name)
        learned = "\n".join(f"fdb replace {mac(place)} dev p{place} master static" for place in range(1, number + 1))
        subprocess.run(("bridge", "-n", middle, "-batch", "-"), input=learned, text=True, check=True)
        yield [*names, middle]
    finally:
        ip("\n".join(f"netns del {name}" for name in (*names, middle)))


@contextlib.contextmanager
def answering(names: list[str]) -> Iterator[int]:
    """One process that answers in all those namespaces, on the other core."""
    command = ("taskset", "-c", "1", sys.executable, "-c", ANSWER, SECRET, *names)
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        process.stdout.readline()
        yield process.pid
    finally:
        process.kill()
        process.communicate()


def mesh(number: int) -> list[paths.Target]:
    """Every ordered pair, in slots: in each, every node sends one packet and receives one. TURN slots go together.

    A node that sends a few in a row finds its own tables warm, as it does where it sends for itself alone.
    """
    return [
        paths.Target(
            address=address((place + slot) % number + 1),
            via=str(place + 1),
            source=address(place + 1),
            expected=1500,
            enough=True,
        )
        for first in range(1, number, TURN)
        for place in range(number)
        for slot in range(first, min(first + TURN, number))
    ]


def floor(asking: station.Station, targets: list[paths.Target]) -> float:
    """Microseconds of CPU that a packet takes at the least: answers that do not come are waited for no longer."""
    key = wire.Key(SECRET.encode())
    bound = {target.source: sweep.bound(key, target.source) for target in targets}
    shots = []
    for number, target in enumerate(targets):
        one = asking.channels[target.via, 4]
        body = bound[target.source].seal(wire.pack_request(wire.ProbePacket(wire.PROBE, 1, number, 1500)))
        shots.append((one.socket.sendto, body, (target.address, target.port)))
    packet, into = bytearray(wire.FILLER[: 1500 - 28]), memoryview(bytearray(2048))
    receivers = {one.socket.fileno(): one.socket.recv_into for one in asking.channels.values()}
    poll = select.epoll()
    for descriptor in receivers:
        poll.register(descriptor, select.EPOLLIN)
    before = time.process_time()
    for start in range(0, len(shots), sweep.WINDOW):
        some = shots[start : start + sweep.WINDOW]
        for send, body, address in some:
            packet[: len(body)] = body
            with contextlib.suppress(OSError):
                send(packet, address)
        left = len(some)
        while left > 0 and (ready := poll.poll(0.05)):
            for descriptor, _ in ready:
                with contextlib.suppress(OSError):
                    receivers[descriptor](into)
                left -= 1
    used = time.process_time() - before
    poll.close()
    return used / len(shots) * 1e6


def round_of(names: list[str], targets: list[paths.Target], wrong: str) -> None:
    """Measure all pairs once and print how long it took, what came out, and what a bare loop takes in this state."""
    with station.Station(wire.Key(SECRET.encode()), families=(), answers=False) as asking:
        for place, name in enumerate(names, 1):
            space = os.open(f"/run/netns/{name}", os.O_RDONLY)
            asking.open(str(place), space, families=(4,))
            os.close(space)
        cpu, began = time.process_time(), time.perf_counter()
        found = asking.measure(targets)
        seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
        least = floor(asking, targets)
    verdicts = Counter(f"{verdict.kind} {verdict.mtu}" for verdict in map(paths.judge, found))
    packets = sum(path.forward.search.packets for path in found)
    print(
        f"{wrong:34}{len(targets):8} pairs{seconds:8.2f} s{cpu / packets * 1e6:8.1f} us of CPU a packet"
        f" (bare loop{least:5.1f}){packets:9} packets   {dict(verdicts)}"
    )


def own_round(number: int) -> None:
    """One node's own round: as many peers, played by one responder that has all addresses."""
    with switch(2) as names:
        ip("route add local 10.64.0.0/12 dev lo", names[1])
        ip(f"route add 10.64.0.0/12 via {address(2)}", names[0])
        with answering(names[1:2]):
            targets = [
                paths.Target(
                    address=f"10.64.{place // 250}.{place % 250 + 1}", source=address(1), expected=1500, enough=True
                )
                for place in range(number)
            ]
            space = os.open(f"/run/netns/{names[0]}", os.O_RDONLY)
            found, seconds = netns.inside(space, lambda: _timed(targets))
            os.close(space)
    right = sum(path.forward.search.mtu == 1500 for path in found)
    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    what = "one node towards as many peers"
    print(f"{what:34}{number:8} pairs{seconds * 1000:8.1f} ms  {right} right, {largest:.0f} MiB")


def _timed(targets: list[paths.Target]) -> tuple[list[paths.Path], float]:
    with station.Station(wire.Key(SECRET.encode()), families=(4,), answers=False) as asking:
        began = time.perf_counter()
        return asking.measure(targets), time.perf_counter() - began


def main() -> None:
    """Print the table."""
    os.sched_setaffinity(0, {0})
    for number in (1000, 5000):
        subprocess.run((sys.executable, "-m", "bench.mesh", str(number)), check=True)
    targets = mesh(NODES)
    with switch(NODES) as names:
        nodes, middle = names[:-1], names[-1]
        with answering(nodes):
            round_of(nodes, targets, "first round: neighbours unknown")
            round_of(nodes, targets, "healthy")
            ip(f"link set dev p{BAD} mtu 1450", middle)
            round_of(nodes, targets, f"the port of node {BAD} takes 1450")
            ip(f"link set dev p{BAD} mtu 1500", middle)
            ip("link set dev e0 down", nodes[BAD - 1])
            round_of(nodes, targets, f"node {BAD} is dead")


if __name__ == "__main__":
    if sys.argv[1:]:
        own_round(int(sys.argv[1]))
    else:
        main()
