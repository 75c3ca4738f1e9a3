"""How long one node takes to change its running pods, against the usual loops and against the kernel alone.

    one node namespace, 250 pods as Calico makes them: two IPv4 routes in each, a /32 for each on the node
    pod [eth0] --- [caliN] node          (no packet is sent here; tests/node/change/test_traffic.py counts those)

All in one run, in turn, each from the same start:

- kubemtu: finds the pods, records, pins every sender, changes both ends, takes the pins off, reads back what it wrote
- kubemtu, afresh: the same, having forgotten every message that it has unpacked before, as at an agent's first change
- ifconfig: the command that circulates; it changes the host ends only, which loses packets silently
- ip: a shell loop that does to each pod what kubemtu does (pin, both ends, unpin), without finding or reading back
- kernel: the very messages that kubemtu sent, fired again over prepared sockets, with nothing decided in between

Needs root, or a user namespace with network, mount and PID namespaces of its own.
"""

import fcntl
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import ClassVar, TypeVar

import msgspec

from bench import timing
from kubemtu.core import net
from kubemtu.core.change import migration
from kubemtu.core.change.migration import Phase
from kubemtu.node.change import engine as change_engine
from kubemtu.node.change import journal, steps, wanted
from kubemtu.node.kernel import links, netlink, netns, routes

T = TypeVar("T")
PODS = 250
ROUNDS = 5
OLD, NEW = 1500, 1450
RULE = net.PortRule(prefixes=("cali",), bridge="cni0")
IFCONFIG = f"ifconfig | grep cali | cut -d' ' -f1 | cut -d: -f1 | xargs -I{{}} ifconfig {{}} mtu {NEW} up"
PIN = "route replace 169.254.1.1 dev eth0 scope link{0}\nroute replace default via 169.254.1.1 dev eth0{0}"
KUBEMTU = "kubemtu"
SIOCGSKNS = 0x894C
TARGETS = {"ifconfig loop (host ends only)": 8.0, "ip loop (the same work)": 20.0}


def run(*command: str, stdin: str | None = None) -> None:
    """Run a command that must succeed."""
    subprocess.run(command, input=stdin, text=True, check=True, stdout=subprocess.DEVNULL)


class Node:
    """A node namespace and its pods."""

    def __init__(self, pods: int) -> None:
        tag = f"kmtest-bench-{os.getpid()}"
        self.name = f"{tag}-node"
        self.pods = [f"{tag}-p{number}" for number in range(pods)]
        try:
            run("ip", "-batch", "-", stdin="\n".join(f"netns add {space}" for space in (self.name, *self.pods)))
            self._build()
        except BaseException:
            self.close()
            raise

    def _build(self) -> None:
        outside = ["link set lo up"]
        for number, pod in enumerate(self.pods):
            address = f"10.42.{number // 250}.{number % 250 + 1}"
            inside = [
                f"link add eth0 mtu {OLD} type veth peer name cali{number} netns {self.name} mtu {OLD}",
                "link set eth0 up",
                f"addr add {address}/32 dev eth0",
                "route add 169.254.1.1 dev eth0 scope link",
                "route add default via 169.254.1.1 dev eth0",
            ]
            run("ip", "-n", pod, "-batch", "-", stdin="\n".join(inside))
            outside += [f"link set cali{number} up", f"route add {address} dev cali{number} scope link"]
        run("ip", "-n", self.name, "-batch", "-", stdin="\n".join(outside))

    def inside(self, work: Callable[[], T]) -> T:
        """Run something in the node's namespace."""
        descriptor = os.open(f"/run/netns/{self.name}", os.O_RDONLY | os.O_CLOEXEC)
        try:
            return netns.inside(descriptor, work)
        finally:
            os.close(descriptor)

    def reset(self) -> None:
        """Every device back to the old MTU."""
        for space in (*self.pods, self.name):
            descriptor = os.open(f"/run/netns/{space}", os.O_RDONLY | os.O_CLOEXEC)
            netns.inside(descriptor, _old)
            os.close(descriptor)

    def close(self) -> None:
        """Delete everything; the veths go with their namespaces."""
        lines = "\n".join(f"netns del {space}" for space in (*self.pods, self.name))
        subprocess.run(("ip", "-force", "-batch", "-"), input=lines, text=True, check=False, capture_output=True)


def _old() -> None:
    with netlink.Socket() as sock:
        for seen in links.devices(sock):
            if seen.kind == "veth" and seen.mtu != OLD:
                links.set_mtu(sock, seen, OLD)


def change(folder: Path) -> dict[str, float]:
    """Do what kubemtu does, with a new engine and a new journal; return the seconds by row."""
    known = journal.Journal.open("bench", folder)
    desired = migration.Desired(
        migration="bench",
        phase=Phase.RECORD,
        pin_mtu=min(OLD, NEW),
        highest_mtu=max(OLD, NEW),
        ports=RULE,
        pod_mtu=NEW,
        origin_mtu=OLD,
        pod_networks=("10.42.0.0/16",),
    )
    took: dict[str, float] = {}
    append = known.append

    def timed(entries: Iterable[journal.Entry]) -> None:
        began = time.perf_counter()
        append(entries)
        took["journal"] = took.get("journal", 0.0) + time.perf_counter() - began

    known.append = timed  # type: ignore[method-assign]  # of this one journal
    try:
        with change_engine.Engine(known, trust=1.0) as engine:
            for phase in (Phase.RECORD, Phase.DEVICES, Phase.UNPIN_PODS):  # one node alone has no barriers to wait at
                began = time.perf_counter()
                reached = engine.make_true(msgspec.structs.replace(desired, phase=phase))
                took[str(phase)] = time.perf_counter() - began
                assert reached.done, reached.failures
                assert reached.pods == PODS
    finally:
        known.remove()
    return took


def afresh(folder: Path) -> None:
    """Change the same without what earlier rounds have left in memory."""
    for module in (netlink, links, routes, steps, wanted, journal):
        for part in vars(module).values():
            if hasattr(part, "cache_clear"):
                part.cache_clear()
    change(folder)


def ip_loop(pods: Sequence[str], node: str) -> str:
    """Return the same work as a careful administrator would script it."""
    lines = []
    for number, pod in enumerate(pods):
        pin, unpin = (PIN.format(metrics).split("\n") for metrics in (f" mtu lock {NEW}", ""))
        lines += [f"ip netns exec {pod} ip {line}" for line in pin]
        lines += [f"ip netns exec {pod} ip link set eth0 mtu {NEW}", f"ip -n {node} link set cali{number} mtu {NEW}"]
        lines += [f"ip netns exec {pod} ip {line}" for line in unpin]
    return "\n".join(lines)


class Sent(msgspec.Struct):
    """Messages that went out together, through which namespace's socket, and how often the answer was read."""

    inode: int
    packed: bytes
    reads: int = 0


class Tap(socket.socket):
    """A socket that notes what goes through it."""

    log: ClassVar[list[Sent]] = []
    inode = 0

    def send(self, data: bytes, flags: int = 0) -> int:  # type: ignore[override]  # only bytes are sent here
        if not self.inode:
            self.inode = os.fstat(descriptor := fcntl.ioctl(self.fileno(), SIOCGSKNS)).st_ino
            os.close(descriptor)
        self.log.append(Sent(self.inode, data))
        return super().send(data, flags)

    def recv(self, size: int, flags: int = 0) -> bytes:
        self.log[-1].reads += 1
        return super().recv(size, flags)


def transcript(node: Node, folder: Path) -> list[Sent]:
    """Return what kubemtu sends, without the questions about descriptors, which mean nothing later."""
    real, Tap.log = socket.socket, []
    socket.socket = Tap  # type: ignore[misc]  # for one call, in this process
    try:
        node.inside(lambda: change(folder))
    finally:
        socket.socket = real  # type: ignore[misc]
    return [sent for sent in Tap.log if sent.packed[4:6] != netlink.RTM_GETNSID.to_bytes(2, sys.byteorder)]


def prepare(node: Node, sent: Sequence[Sent]) -> list[tuple[socket.socket, bytes, int]]:
    """Every message with a socket that is open in its namespace."""
    spaces = {}
    for name in (node.name, *node.pods):
        descriptor = os.open(f"/run/netns/{name}", os.O_RDONLY | os.O_CLOEXEC)
        spaces[os.fstat(descriptor).st_ino] = netns.inside(descriptor, opened)
        os.close(descriptor)
    return [(spaces[each.inode], each.packed, each.reads) for each in sent]


def opened() -> socket.socket:
    """Return a socket with the options of kubemtu's own."""
    sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
    for option in (10, 11, 12):  # NETLINK_CAP_ACK, NETLINK_EXT_ACK, NETLINK_GET_STRICT_CHK
        sock.setsockopt(270, option, 1)
    return sock


def fire(prepared: Sequence[tuple[socket.socket, bytes, int]]) -> None:
    """Send, read the answers, look at nothing."""
    for sock, packed, reads in prepared:
        sock.send(packed)
        for _ in range(reads):
            sock.recv(32768)


def main() -> None:
    """Print the table."""
    memory = Path("/dev/shm")  # as /run usually is: there the journal's fsync costs nothing
    folder = Path(tempfile.mkdtemp(prefix="kubemtu-bench-", dir=memory if os.access(memory, os.W_OK) else None))
    node = Node(PODS)
    inside = ("ip", "netns", "exec", node.name)
    script = ip_loop(node.pods, node.name)
    ours = str(Path(sys.executable).with_name("kubemtu"))
    whole = (*inside, ours, "node", "set", "--mtu", str(NEW), "--yes", "--journal", str(folder))
    times: dict[str, list[float]] = {}
    rows: dict[str, list[float]] = {}
    try:
        sent = transcript(node, folder)
        contenders: dict[str, Callable[[], object]] = {
            KUBEMTU: lambda: node.inside(lambda: change(folder)),
            "kubemtu, afresh": lambda: node.inside(lambda: afresh(folder)),
            "kernel (the same messages)": lambda: fire(prepared),
            "ifconfig loop (host ends only)": lambda: run(*inside, "sh", "-c", IFCONFIG),
            "ip loop (the same work)": lambda: run("sh", stdin=script),
            "kubemtu node set (whole command)": lambda: run(*whole),
        }
        if shutil.which("ifconfig") is None:
            del contenders["ifconfig loop (host ends only)"]
        for _ in range(ROUNDS):
            for name, work in contenders.items():
                node.reset()
                # Afresh, since what a socket was read with decides how the kernel cuts its next dump into pieces.
                prepared = prepare(node, sent)
                began = time.perf_counter()
                took = work()
                times.setdefault(name, []).append(time.perf_counter() - began)
                for sock in {sock for sock, _packed, _reads in prepared}:
                    sock.close()
                for row, seconds in took.items() if isinstance(took, dict) else ():
                    rows.setdefault(row, []).append(seconds)
    finally:
        node.close()
        shutil.rmtree(folder)
    print(f"{PODS} running pods, MTU {OLD} -> {NEW}, {ROUNDS} rounds in turn\n")
    print(timing.table(times, against=KUBEMTU))
    print("\nof which, by phase (the journal's share is part of Record):")
    for row, took in rows.items():
        print(f"  {row:<12} median {statistics.median(took) * 1000:5.1f}  best {min(took) * 1000:5.1f} ms")
    for label, middle in (("median", statistics.median), ("best", min)):
        print(f"\n{label} against {label}:")
        verdict({name: middle(seconds) for name, seconds in times.items()})


def verdict(taken: dict[str, float]) -> None:
    """Print which targets were met."""
    for name, target in TARGETS.items():
        if name in taken:
            ratio = taken[name] / taken[KUBEMTU]
            print(f"{ratio:5.1f} times as fast as the {name}: target {target:.0f} {met(ratio >= target)}")
    ratio = taken[KUBEMTU] / taken["kernel (the same messages)"]
    print(f"{ratio:5.1f} times the kernel's own time: target at most 2 {met(ratio <= 2)}")


def met(good: bool) -> str:
    """In words."""
    return "met" if good else "missed"


if __name__ == "__main__":
    main()
