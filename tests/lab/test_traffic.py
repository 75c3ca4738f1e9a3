"""Traffic in namespaces of its own: what it counts must be what the kernel did, packet by packet.

        kmtest-*-n (node)                                kmtest-*-m (second node)
    cali-a  cali-b  ── trunk (MTU 1500 or less) ── trunk  cali-c
      │       │                                            │
     eth0    eth0                                         eth0
    kmtest-*-a  -b                                       kmtest-*-c

Calico style: the host ends have no address and answer ARP for everybody; pods route through 169.254.1.1.
"""

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence

import pytest

from kubemtu.lab.traffic import plan, run, tally

ADDRESSES = {"a": "10.99.0.1", "b": "10.99.0.2", "c": "10.99.1.3"}
ADDRESSES6 = {"a": "fd99::1", "b": "fd99::2", "c": "fd99:1::3"}
PODS_OF = {"n": ("a", "b"), "m": ("c",)}
RATES = plan.Rates(udp=600, udp_from_nodes=100, established=60, connect=12, bulk=6)


class Rig:
    """Two nodes and three pods, made of namespaces."""

    def __init__(self) -> None:
        self.prefix = f"kmtest-{os.getpid()}-"

    def ip(self, namespace: str, *lines: str) -> None:
        """Runs lines of ip(8) inside a namespace, "" for the machine's own."""
        argv = ["ip", *(["-n", self.prefix + namespace] if namespace else []), "-batch", "-"]
        subprocess.run(argv, input="\n".join(lines), text=True, check=True, capture_output=True)

    def sysctl(self, namespace: str, **values: str) -> None:
        """Writes settings below net/; "__" stands for "/"."""
        script = "".join(f"echo {value} > /proc/sys/net/{key.replace('__', '/')}\n" for key, value in values.items())
        argv = ["ip", "netns", "exec", self.prefix + namespace, "sh", "-ec", script]
        subprocess.run(argv, check=True, capture_output=True)

    def build(self) -> None:
        """Makes everything, at an MTU of 1500."""
        for name in "nmabc":
            self.ip("", f"netns add {self.prefix}{name}")
        self.ip("n", f"link add trunk type veth peer name trunk netns {self.prefix}m")
        for node, mine in (("n", 1), ("m", 2)):
            self.sysctl(
                node, ipv4__ip_forward="1", ipv6__conf__all__forwarding="1", ipv6__conf__default__accept_dad="0"
            )
            self.ip(
                node,
                "link set lo up",
                "link set trunk up",
                f"addr add 10.98.0.{mine}/24 dev trunk",
                f"addr add fd98::{mine}/64 dev trunk nodad",
                f"route add 10.99.{2 - mine}.0/24 via 10.98.0.{3 - mine}",
                f"route add fd99:{2 - mine}::/64 via fd98::{3 - mine}",
                f"route add default via 10.98.0.{3 - mine}",
            )
            for pod in PODS_OF[node]:
                self._pod(node, pod)

    def _pod(self, node: str, pod: str) -> None:
        self.sysctl(pod, ipv6__conf__default__accept_dad="0")
        self.ip(node, f"link add cali-{pod} type veth peer name eth0 netns {self.prefix}{pod}")
        self.ip(
            node,
            f"link set cali-{pod} address ee:ee:ee:ee:ee:ee up",
            f"route add {ADDRESSES[pod]}/32 dev cali-{pod}",
            f"route add {ADDRESSES6[pod]}/128 dev cali-{pod}",
            f"addr add fe80::ecee:eeff:feee:eeee/64 dev cali-{pod} nodad",
        )
        self.sysctl(node, **{f"ipv4__conf__cali-{pod}__proxy_arp": "1", f"ipv4__neigh__cali-{pod}__proxy_delay": "0"})
        self.ip(
            pod,
            "link set lo up",
            "link set eth0 up",
            f"addr add {ADDRESSES[pod]}/32 dev eth0",
            f"addr add {ADDRESSES6[pod]}/128 dev eth0 nodad",
            "route add 169.254.1.1 dev eth0 scope link",
            "route add default via 169.254.1.1 dev eth0",
            "route add default via fe80::ecee:eeff:feee:eeee dev eth0",
        )

    def reset(self) -> None:
        """Brings every MTU back to 1500 and forgets what was learned."""
        for node, pods in PODS_OF.items():
            self.ip(node, "link set trunk mtu 1500", *(f"link set cali-{pod} mtu 1500" for pod in pods))
            for pod in pods:
                self.ip(pod, "link set eth0 mtu 1500", "route flush cache")
                subprocess.run(["ip", "-6", "-n", self.prefix + pod, "route", "flush", "cache"], check=True)

    def remove(self) -> None:
        """Deletes all namespaces that are there."""
        there = subprocess.run(["ip", "netns"], text=True, check=True, capture_output=True).stdout
        for name in (line.split()[0] for line in there.splitlines()):
            if name.startswith(self.prefix):
                subprocess.run(["ip", "netns", "del", name], check=True)

    async def spawn(self, place: str, argv: Sequence[str]) -> asyncio.subprocess.Process:
        """Starts a program inside a namespace, as the lab does."""
        pipe = asyncio.subprocess.PIPE
        return await asyncio.create_subprocess_exec(
            "ip", "netns", "exec", self.prefix + place, *argv, stdin=pipe, stdout=pipe, stderr=pipe
        )

    def drops(self) -> dict[str, tally.PortDrops]:
        """Both ends' counters of every pod's veth."""
        found = {}
        for node, pods in PODS_OF.items():
            for pod in pods:
                host, mine = self._counters(node, f"cali-{pod}"), self._counters(pod, "eth0")
                found[pod] = tally.PortDrops(
                    host_rx_dropped=host[0], host_tx_dropped=host[1], pod_rx_dropped=mine[0], pod_tx_dropped=mine[1]
                )
        return found

    def _counters(self, namespace: str, device: str) -> tuple[int, int]:
        argv = ["ip", "netns", "exec", self.prefix + namespace, "grep", f"{device}:", "/proc/self/net/dev"]
        columns = subprocess.run(argv, text=True, check=True, capture_output=True).stdout.split()
        return int(columns[4]), int(columns[12])

    def traffic(self, flows: plan.Plan) -> run.Traffic:
        """Traffic between the pods of this rig."""
        return run.Traffic(self.spawn, flows, drops=self.drops)


def places(names: str, addresses: Sequence[dict[str, str]] = (ADDRESSES,)) -> list[plan.Place]:
    nodes = {pod: node for node, pods in PODS_OF.items() for pod in pods}
    return [
        plan.Place(
            name=name, node=name, addresses=tuple(f"10.98.0.{1 + 'nm'.index(name)}" for _ in "x"), network="node"
        )
        if name in PODS_OF
        else plan.Place(name=name, node=nodes[name], addresses=tuple(each[name] for each in addresses))
        for name in names
    ]


@pytest.fixture(scope="module")
def made() -> Iterator[Rig]:
    rig = Rig()
    try:
        try:
            rig.build()
        except (OSError, subprocess.CalledProcessError) as error:
            if os.environ.get("CI"):
                raise
            pytest.skip(f"namespaces cannot be made here: {getattr(error, 'stderr', '') or error}")
        yield rig
    finally:
        rig.remove()


@pytest.fixture
def rig(made: Rig) -> Rig:
    made.reset()
    return made


async def test_clean_traffic_loses_nothing(rig: Rig) -> None:
    flows = plan.everyone(places("abcn", (ADDRESSES, ADDRESSES6)), RATES)
    async with rig.traffic(flows) as traffic:
        await traffic.start()
        await asyncio.sleep(2.0)
        result = await traffic.stop()
    print(result)
    assert result.flaws == ()
    assert result.udp_sent == result.udp_received > 800
    assert result.harmless
