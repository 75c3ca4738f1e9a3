"""What can be wrong on a path, made live in a lab and taken back; each is a context.

What is dropped is dropped by rules of nftables, at a switch port or on a node, by a packet's size and to the byte.
"""

import contextlib
import json
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence

from tests.support.labs import programs, until
from tests.support.scenes.cluster import NODE_MTUS, Cluster

from kubemtu_lab import nft, underlay
from kubemtu_lab.cluster import FABRIC, Lab


@contextlib.contextmanager
def rules(cluster: Cluster, place: str, hook: str, *lines: str, priority: int = -300) -> Iterator[None]:
    """Rules of nftables at a hook of a place: before what others have there, so that a drop is a drop.

    A `priority` below -400 is before fragments are put together (include/uapi/linux/netfilter_ipv4.h).
    """
    name = f"situation-{hook}"
    body = "\n".join(f"    {line}" for line in (f"type filter hook {hook} priority {priority};", *lines))
    text = f"table inet {name} {{\n  chain one {{\n{body}\n  }}\n}}\n"
    cluster.lab.exec(place, ["nft", "-f", "-"], text=text)
    try:
        yield
    finally:
        cluster.lab.exec(place, ["nft", "delete", "table", "inet", name])


@contextlib.contextmanager
def hole(cluster: Cluster, node: str, size: int, *, way: str = "to", only: str = "") -> Iterator[None]:
    """Have the switch port of a node drop what is larger without a word, `way` "to" it, "from" it or "both" ways.

    Whatever it is, the API's traffic too. `only`: nothing but what has to do with that underlay address.
    """
    port = underlay.port(cluster.lab.scene.number(node), 0)
    chains = ""
    for one, hook, of, link in (("to", "postrouting", "saddr", "oifname"), ("from", "prerouting", "daddr", "iifname")):
        if way in {one, "both"}:
            rule = f'{link} "{port}" {f"ip {of} {only}" if only else ""} meta length > {size} drop'
            chains += f"  chain {one} {{\n    type filter hook {hook} priority 0;\n    {rule}\n  }}\n"
    cluster.lab.exec(FABRIC, [nft.program(), "-f", "-"], text=nft.table("bridge", f"hole-{port}", chains))
    try:
        yield
    finally:
        cluster.lab.exec(FABRIC, [nft.program(), "-f", "-"], text=nft.table("bridge", f"hole-{port}", ""))


@contextlib.contextmanager
def pinned(lab: Lab, node: str, size: int) -> Iterator[None]:
    """Do what an operator does by hand to a node that is cut off: its routes to others take so much, its SYNs say so.

    (The MSS that a SYN announces follows from the route's MTU: net/ipv4/tcp_output.c, tcp_advertise_mss.)
    """
    own = f"192.168.77.{lab.scene.number(node)}"
    route = ["ip", "route", "change", "192.168.77.0/24", "dev", "eth0", "proto", "kernel", "scope", "link", "src", own]
    lab.exec(node, [*route, "mtu", "lock", str(size)])
    try:
        yield
    finally:
        lab.exec(node, route)


@contextlib.contextmanager
def everywhere(cluster: Cluster, *contexts: contextlib.AbstractContextManager[None]) -> Iterator[None]:
    """Several at once."""
    with contextlib.ExitStack() as stack:
        for one in contexts:
            stack.enter_context(one)
        yield


@contextlib.contextmanager
def veth(cluster: Cluster, pod: str, *, inside: int, outside: int) -> Iterator[None]:
    """Give the two ends of a pod's veth these MTUs, once its node's agent has seen it; forget what that taught."""
    place = cluster.lab.pod(pod)
    before = cluster.links(pod)["eth0"], cluster.links(place.node)[place.host_link]
    _ends(cluster, pod, inside, outside)
    try:
        yield
    finally:
        _ends(cluster, pod, *before)
        forget(cluster, *cluster.lab.record.nodes)


def _ends(cluster: Cluster, pod: str, inside: int, outside: int) -> None:
    place = cluster.lab.pod(pod)
    cluster.ip(pod, "link", "set", "eth0", "mtu", str(inside))
    cluster.ip(place.node, "link", "set", place.host_link, "mtu", str(outside))
    cluster.nudge()
    until(lambda: seen_ends(cluster, place.node).get(place.host_link) == (inside, outside))


@contextlib.contextmanager
def bridge(cluster: Cluster, node: str, mtu: int) -> Iterator[None]:
    """Give the bridge of a node's pods another MTU."""
    before = cluster.links(node)["cni0"]
    cluster.ip(node, "link", "set", "cni0", "mtu", str(mtu))
    try:
        yield
    finally:
        cluster.ip(node, "link", "set", "cni0", "mtu", str(before))


def seen_ends(cluster: Cluster, node: str) -> Mapping[str, tuple[int, int]]:
    """Return the MTUs of each pod of a node, in the pod and outside, as its agent tells them."""
    found = json.loads(json.dumps(cluster.kube.get(f"{NODE_MTUS}/{node}")))
    ports = found.get("status", {}).get("observation", {}).get("ports", [])  # a new one is made, then told
    return {port["hostLink"]: (port["podMtu"], port["hostMtu"]) for port in ports}


@contextlib.contextmanager
def nics(cluster: Cluster, mtu: int, nodes: Sequence[str]) -> Iterator[None]:
    """Give the NICs of these nodes another MTU, and not what is above them."""
    for node in nodes:
        cluster.ip(node, "link", "set", "eth0", "mtu", str(mtu))
    cluster.nudge()
    until(lambda: all(_nic(cluster, node) == mtu for node in nodes))
    try:
        yield
    finally:
        for node in nodes:
            cluster.ip(node, "link", "set", "eth0", "mtu", "1500")
        cluster.nudge()
        until(lambda: all(_nic(cluster, node) == 1500 for node in nodes))


def _nic(cluster: Cluster, node: str) -> int:
    found = json.loads(json.dumps(cluster.kube.get(f"{NODE_MTUS}/{node}")))
    uplinks = found.get("status", {}).get("observation", {}).get("uplinks", [])
    return min((int(uplink["mtu"]) for uplink in uplinks), default=0)


@contextlib.contextmanager
def sysctl(cluster: Cluster, place: str, name: str, value: int) -> Iterator[None]:
    """Set a kernel setting of a place to another value than 0."""
    cluster.lab.exec(place, ["sysctl", "-w", f"{name}={value}"])
    try:
        yield
    finally:
        cluster.lab.exec(place, ["sysctl", "-w", f"{name}=0"])


@contextlib.contextmanager
def silent_icmp(cluster: Cluster, *nodes: str) -> Iterator[None]:
    """Have a firewall on these nodes swallow what they themselves say of packets that are too big."""
    drop = ("icmp type destination-unreachable icmp code 4 drop", "icmpv6 type packet-too-big drop")
    with everywhere(cluster, *(rules(cluster, node, "output", *drop) for node in nodes)):
        yield


@contextlib.contextmanager
def policy(cluster: Cluster, node: str, address: str, what: str = "") -> Iterator[None]:
    """Let nobody begin anything with a pod of a node, or nothing of a protocol; answers to the pod itself pass."""
    lines = ("ct direction reply accept", f"ip daddr {address} {what} drop")
    with rules(cluster, node, "forward", *lines):
        yield


def forgotten(cluster: Cluster, node: str) -> None:
    """Delete what an agent that tells nothing any more has told; its last words may be on the way."""
    path = f"{NODE_MTUS}/{node}"
    absent = 0
    while absent < 5:
        absent = absent + 1 if cluster.kube.http.get(path).status_code == 404 else 0
        if not absent:
            cluster.kube.http.delete(path)
        time.sleep(0.1)


@contextlib.contextmanager
def stopped(cluster: Cluster, node: str) -> Iterator[None]:
    """Have the agent of a node do nothing, and not end either."""
    (agent,) = programs(cluster.lab, node, b"kubemtu\0agent")
    pid = agent.name
    cluster.lab.exec(node, ["kill", f"-{signal.SIGSTOP.name.removeprefix('SIG')}", pid])
    try:
        yield
    finally:
        cluster.lab.exec(node, ["kill", f"-{signal.SIGCONT.name.removeprefix('SIG')}", pid])


@contextlib.contextmanager
def muted(cluster: Cluster, node: str) -> Iterator[None]:
    """Have the agent of a node work and answer probes, and nothing that it says reach the API server."""
    try:
        with rules(cluster, node, "output", "tcp dport != 7843 tcp sport != 7843 drop"):
            forgotten(cluster, node)
            yield
    finally:
        until(lambda: f'"{node}"' in json.dumps(cluster.kube.get(NODE_MTUS)) and bool(seen_ends(cluster, node)))


@contextlib.contextmanager
def cut_off(cluster: Cluster, node: str) -> Iterator[None]:
    """Make a node dead for the others: its agent stands still, and nothing of theirs gets in, nor of the API."""
    others = "ip saddr 192.168.77.0/24 drop"
    with stopped(cluster, node), rules(cluster, node, "prerouting", others):
        yield


def forget(cluster: Cluster, *nodes: str) -> None:
    """Have nodes and their pods forget the path MTUs that earlier tests have taught them."""
    program = "ip route flush cache; for one in $(ls /run/netns); do ip -n $one route flush cache; done"
    for node in nodes:
        cluster.lab.exec(node, ["sh", "-c", program])


class Inside:
    """A container within a pod, as dockerd makes one: behind docker0, and translated to the pod's address."""

    def __init__(self, cluster: Cluster, pod: str, pid: str) -> None:
        self._cluster = cluster
        self._pod = pod
        self.enter = ["nsenter", "-t", pid, "-n"]

    def run(self, *words: str) -> str:
        """Run a command in the container's namespace."""
        return self._cluster.lab.exec(self._pod, [*self.enter, *words]).stdout


@contextlib.contextmanager
def container(cluster: Cluster, pod: str, mtu: int) -> Iterator[Inside]:
    """Run what dockerd makes of a container inside a pod, with an MTU of its own, and take it away again."""
    held = cluster.lab.spawn(pod, ["unshare", "-n", "sh", "-c", "echo $$; exec sleep 900"], stdout=subprocess.PIPE)
    try:
        assert held.stdout is not None
        inside = Inside(cluster, pod, held.stdout.readline().decode().strip())
        pid = inside.enter[2]
        for line in (
            "link add docker0 type bridge",
            f"link set docker0 mtu {mtu} up",
            "addr add 172.17.0.1/16 dev docker0",
            f"link add vethd mtu {mtu} type veth peer name eth0 mtu {mtu} netns {pid}",
            "link set vethd master docker0 up",
        ):
            cluster.ip(pod, *line.split())
        for line in ("link set lo up", "addr add 172.17.0.2/16 dev eth0", "link set eth0 up"):
            inside.run("ip", *line.split())
        inside.run("ip", "route", "add", "default", "via", "172.17.0.1")
        cluster.lab.exec(pod, ["sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"])
        rules = "type nat hook postrouting priority 100;\n    ip saddr 172.17.0.0/16 oifname eth0 masquerade"
        cluster.lab.exec(
            pod, [nft.program(), "-f", "-"], text=f"table ip inner {{\n  chain post {{\n    {rules}\n  }}\n}}\n"
        )
        yield inside
    finally:
        held.kill()
        held.wait()
        assert held.stdout is not None
        held.stdout.close()
        cluster.lab.exec(
            pod, ["sh", "-c", f"ip link del vethd; ip link del docker0; {nft.program()} delete table ip inner; true"]
        )
