"""Traffic in namespaces of its own: what it counts must be what the kernel did, packet by packet.

        kmtest-*-n (node)                                kmtest-*-m (second node)
    cali-a  cali-b  ── trunk (MTU 1500 or less) ── trunk  cali-c
      │       │                                            │
     eth0    eth0                                         eth0
    kmtest-*-a  -b                                       kmtest-*-c

Calico style: the host ends have no address and answer ARP for everybody; pods route through 169.254.1.1.
"""

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import pytest

from kubemtu_lab.traffic import errors, plan, run, sockets, tally

pytestmark = pytest.mark.netns

ADDRESSES = {"a": "10.99.0.1", "b": "10.99.0.2", "c": "10.99.1.3"}
ADDRESSES6 = {"a": "fd99::1", "b": "fd99::2", "c": "fd99:1::3"}
PODS_OF = {"n": ("a", "b"), "m": ("c",)}
RATES = plan.Rates(udp=600, udp_from_nodes=100, established=60, connect=12, bulk=6)


class Rig:
    """Two nodes and three pods, made of namespaces."""

    def __init__(self) -> None:
        self.prefix = f"kmtest-{os.getpid()}-"

    def ip(self, namespace: str, *lines: str) -> None:
        """Run lines of ip(8) inside a namespace, "" for the machine's own."""
        argv = ["ip", *(["-n", self.prefix + namespace] if namespace else []), "-batch", "-"]
        subprocess.run(argv, input="\n".join(lines), text=True, check=True, capture_output=True)

    def sysctl(self, namespace: str, **values: str) -> None:
        """Write settings below net/; "__" stands for "/"."""
        script = "".join(f"echo {value} > /proc/sys/net/{key.replace('__', '/')}\n" for key, value in values.items())
        argv = ["ip", "netns", "exec", self.prefix + namespace, "sh", "-ec", script]
        subprocess.run(argv, check=True, capture_output=True)

    def build(self) -> None:
        """Make everything, at an MTU of 1500."""
        for name in "nmabc":
            self.ip("", f"netns add {self.prefix}{name}")
        for name in "nmabc":  # duplicate address detection would keep IPv6 out for the first seconds
            self.sysctl(name, ipv6__conf__default__accept_dad="0", ipv6__conf__all__forwarding=str(int(name in "nm")))
        self.ip("n", f"link add trunk type veth peer name trunk netns {self.prefix}m")
        for node, mine in (("n", 1), ("m", 2)):
            self.sysctl(node, ipv4__ip_forward="1")
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
        """Delete all namespaces that are there."""
        for path in sorted(Path("/run/netns").glob(f"{self.prefix}*")):
            subprocess.run(["ip", "netns", "del", path.name], check=True)

    async def spawn(self, place: str, argv: Sequence[str]) -> asyncio.subprocess.Process:
        """Start a program inside a namespace, as the lab does."""
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

    def python(self, namespace: str, program: str) -> str:
        """Run a Python program inside a namespace; return what it printed."""
        argv = ["ip", "netns", "exec", self.prefix + namespace, sys.executable, "-c", program]
        return subprocess.run(argv, text=True, check=True, capture_output=True).stdout

    def traffic(self, flows: plan.Plan) -> run.Traffic:
        """Traffic between the pods of this rig."""
        return run.Traffic(self.spawn, flows, drops=self.drops)


def places(names: str, addresses: Sequence[dict[str, str]] = (ADDRESSES,)) -> list[plan.FlowEnd]:
    nodes = {pod: node for node, pods in PODS_OF.items() for pod in pods}
    return [
        plan.FlowEnd(
            name=name, node=name, addresses=tuple(f"10.98.0.{1 + 'nm'.index(name)}" for _ in "x"), network="node"
        )
        if name in PODS_OF
        else plan.FlowEnd(name=name, node=nodes[name], addresses=tuple(each[name] for each in addresses))
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


def udp(*legs: tuple[str, str], addresses: dict[str, str] = ADDRESSES) -> tuple[plan.UdpFlow, ...]:
    return tuple(
        plan.UdpFlow(id=at, source=source, target=target, address=addresses[target], per_second=200)
        for at, (source, target) in enumerate(legs, start=1)
    )


def tcp(style: plan.Style, source: str, target: str, *, flow: int = 101, per_second: float = 20.0) -> plan.TcpFlow:
    return plan.TcpFlow(
        id=flow, source=source, target=target, address=ADDRESSES[target], per_second=per_second, style=style
    )


async def sending(traffic: run.Traffic) -> None:
    """Wait until a flow has sent a hundred datagrams from now on; what it says of 200 a second is half a second old."""
    before = traffic.progress.udp_sent
    async with asyncio.timeout(60):
        while traffic.progress.udp_sent < before + 200:
            await asyncio.sleep(0.05)


async def test_clean_traffic_loses_nothing(rig: Rig) -> None:
    flows = plan.everyone(places("abcn", (ADDRESSES, ADDRESSES6)), RATES)
    async with rig.traffic(flows) as traffic:
        await traffic.start()
        await asyncio.sleep(1.5)
        assert traffic.progress.udp_sent > 0
        result = await traffic.stop()
    assert result.flaws == ()
    assert result.udp_sent == result.udp_received > 50
    assert result.tcp_questions > 6
    assert result.connect_attempts > 1
    assert result.harmless
    assert (result.udp_lost_silently, result.udp_told_icmp, result.udp_told_emsgsize, result.veth_drops) == (0, 0, 0, 0)
    assert result.interval("start").udp_sizes == (1500,)
    staying = [flow for flow in flows.tcp if flow.style != "connect"]
    assert {sample.flow for sample in result.samples} == {flow.id for flow in staying}
    assert {sample.snd_mss for sample in result.samples} == {1448, 1428}  # 1500 - 40 or 60 - 12 (RFC 7323 timestamps)


async def test_host_end_alone_swallows_what_the_counters_say(rig: Rig) -> None:
    four = udp(("a", "b"), ("a", "c"), ("b", "a"), ("c", "b"))
    six = [msgspec.structs.replace(flow, id=flow.id + 10) for flow in udp(("a", "b"), addresses=ADDRESSES6)]
    flows = plan.Plan(places=tuple(places("abc", (ADDRESSES, ADDRESSES6))), udp=(*four, *six))
    before = rig.drops()
    async with rig.traffic(flows) as traffic:
        await traffic.start()
        await asyncio.sleep(0.6)
        await traffic.mark("after the popular command")
        rig.ip("n", "link set cali-a mtu 1450")
        await asyncio.sleep(1.0)
        result = await traffic.stop()
    after = rig.drops()
    quiet, broken = result.intervals
    assert (quiet.udp_lost_silently, quiet.veth_drops) == (0, 0)
    assert quiet.udp_sent == quiet.udp_received > 20
    assert broken.udp_lost_silently > 20
    # The kernel's own count, at both ends of that one veth, is the count of the books: nothing else was lost.
    host_rx = after["a"].host_rx_dropped - before["a"].host_rx_dropped
    pod_tx = after["a"].pod_tx_dropped - before["a"].pod_tx_dropped
    assert result.udp_lost_silently == host_rx == pod_tx == result.veth_drops
    assert result.udp_lost_at_own_port == result.udp_lost_silently
    counted = result.kernel["a"]
    assert counted["Ip.OutDiscards"] + counted["Ip6OutDiscards"] == result.udp_lost_silently
    assert counted["Ip6OutDiscards"] > 10
    # b still sends 1500 to a: routed out of a device of 1450, it is told and sends less from then on.
    assert result.udp_told_icmp > 0
    assert {(one.source, one.target) for one in result.losses} == {("a", "b"), ("a", "c")}
    assert result.interval("after the popular command").udp_sizes == (1450, 1500)
    assert not result.harmless


def test_programs_without_error_queue_are_told_that_all_is_well(rig: Rig) -> None:
    """Why a send that failed with ENOBUFS counts as lost silently: only IP_RECVERR (option 11) makes it visible."""
    rig.ip("n", "link set cali-a mtu 1450")
    program = (
        "import errno, socket\n"
        "for hears in (0, 1):\n"
        "    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
        "    s.setsockopt(socket.IPPROTO_IP, 10, 2)\n"
        "    s.setsockopt(socket.IPPROTO_IP, 11, hears)\n"
        f"    s.connect(('{ADDRESSES['b']}', 9))\n"
        "    try: print(s.send(bytes(1472)))\n"
        "    except OSError as error: print(errno.errorcode[error.errno])\n"
    )
    before = rig.drops()["a"]
    assert rig.python("a", program).split() == ["1472", "ENOBUFS"]
    assert rig.drops()["a"].pod_tx_dropped - before.pod_tx_dropped == 2


async def test_host_end_alone_kills_one_segment_questions(rig: Rig) -> None:
    talk = (
        tcp("established", "a", "b"),
        tcp("connect", "a", "c", flow=102, per_second=5),
        tcp("idle", "a", "b", flow=103),
    )
    flows = plan.Plan(places=tuple(places("abc")), tcp=talk)
    async with rig.traffic(flows) as traffic:
        await traffic.start()
        await asyncio.sleep(0.6)
        await traffic.mark("broken")
        await asyncio.sleep(1.0)  # on a busy machine what was asked before the mark may not be answered yet
        rig.ip("n", "link set cali-a mtu 1450")
        await asyncio.sleep(1.2)
        result = await traffic.stop(patience=3.5)
    quiet, broken = result.intervals
    assert quiet.connect_attempts > 0
    assert (quiet.tcp_stuck, quiet.connect_failures) == (0, 0)
    assert quiet.tcp_longest_stall_ms < 3000
    assert (broken.tcp_stuck, broken.tcp_resets) == (2, 0)  # the busy one, and the idle one when it was used again
    assert broken.tcp_longest_stall_ms > 3000
    assert broken.connect_failures >= 1
    assert result.errors["no answer in 3 s"] == broken.connect_failures
    assert result.veth_drops > 0
    last = {sample.flow: sample for sample in result.samples if sample.mark == 2}
    assert last[101].snd_mss == 1448  # the kernel still believes in 1500


async def test_what_a_router_reports_is_not_lost_silently(rig: Rig) -> None:
    rig.ip("n", "link set trunk mtu 1400")
    rig.ip("m", "link set trunk mtu 1400")
    four = udp(("a", "c"), ("a", "b"))
    six = [msgspec.structs.replace(flow, id=flow.id + 10) for flow in udp(("a", "c"), addresses=ADDRESSES6)]
    flows = plan.Plan(places=tuple(places("abc", (ADDRESSES, ADDRESSES6))), udp=(*four, *six))
    async with rig.traffic(flows) as traffic:
        await traffic.start()
        await asyncio.sleep(0.7)
        result = await traffic.stop()
    assert result.udp_lost_silently == 0
    assert result.udp_told_icmp == result.udp_sent - result.udp_received >= 2
    assert result.errors == {"ICMP 3/4": result.errors["ICMP 3/4"], "ICMPv6 2/0": result.errors["ICMPv6 2/0"]}
    assert result.interval("start").udp_sizes == (1400, 1500)
    assert result.harmless


async def test_black_hole_on_the_way_is_silent_and_not_at_the_own_port(rig: Rig) -> None:
    rig.ip("m", "link set trunk mtu 1400")  # its peer on n still says 1500, so nobody reports anything
    flows = plan.Plan(places=tuple(places("ac")), udp=udp(("a", "c"), ("c", "a")))
    async with rig.traffic(flows) as traffic:
        await traffic.start()
        await asyncio.sleep(0.5)
        result = await traffic.stop()
    assert [(one.source, one.lost == one.sent > 5) for one in result.losses] == [("a", True)]
    assert (result.udp_lost_at_own_port, result.veth_drops) == (0, 0)


async def test_lowering_the_pod_end_first_is_told_and_raising_it_is_noticed(rig: Rig) -> None:
    flows = plan.Plan(places=tuple(places("ab")), udp=udp(("a", "b")), tcp=(tcp("established", "a", "b"),))
    async with rig.traffic(flows) as traffic:
        await traffic.start()
        await sending(traffic)
        await traffic.mark("lower")
        rig.ip("a", "link set eth0 mtu 1450")
        rig.ip("n", "link set cali-a mtu 1450")
        await sending(traffic)
        await traffic.mark("raise")
        rig.ip("n", "link set cali-a mtu 1500")
        rig.ip("a", "link set eth0 mtu 1500")
        await sending(traffic)
        result = await traffic.stop()
    assert [interval.udp_told_emsgsize for interval in result.intervals] == [0, 1, 0]
    assert [interval.udp_sizes for interval in result.intervals] == [(1500,), (1450,), (1500,)]
    assert result.udp_sent == result.udp_received
    assert result.harmless


async def test_marks_divide_by_the_time_of_sending(rig: Rig) -> None:
    flows = plan.Plan(
        places=tuple(places("ab")), udp=udp(("a", "b")), tcp=(tcp("connect", "a", "b"), tcp("idle", "b", "a", flow=102))
    )
    async with rig.traffic(flows) as traffic:
        began = await traffic.start("one")
        await asyncio.sleep(0.3)
        second = await traffic.mark("two")
        await asyncio.sleep(0.9)
        third = await traffic.mark("three")
        with pytest.raises(ValueError, match="'two' was set before"):
            await traffic.mark("two")
        await asyncio.sleep(0.3)
        result = await traffic.stop()
    one, two, three = result.intervals
    assert (one.begins, one.ends, two.ends) == (began, second, third)
    for interval in result.intervals:
        seconds = interval.ends - interval.begins  # a busy machine makes less of it, nothing makes more
        assert 0 < interval.udp_sent <= 200 * seconds + 12
        assert 0 < interval.connect_attempts <= 20 * seconds + 3
    assert (one.tcp_questions, two.tcp_questions, three.tcp_questions) == (1, 0, 1)
    assert result.udp_sent == one.udp_sent + two.udp_sent + three.udp_sent


async def test_offloads_come_back(rig: Rig) -> None:
    program = (
        "from kubemtu_lab.traffic import sockets\n"
        "wanted = {'tso': True, 'gso': True, 'gro': True}\n"
        "print(*sockets.offloads('eth0', wanted).values())\n"
    )
    rig.python("a", program)  # on, all three
    async with rig.traffic(plan.Plan(places=tuple(places("ab")), udp=udp(("a", "b")))) as traffic:
        await traffic.start()
        during = rig.python("a", program.replace("True", "False"))
        await traffic.stop()
    assert during == "False False False\n"
    assert rig.python("a", program) == "True True True\n"


async def test_killed_process_is_a_sentence_and_nothing_is_left(rig: Rig) -> None:
    processes: dict[str, asyncio.subprocess.Process] = {}

    async def spawn(place: str, argv: Sequence[str]) -> asyncio.subprocess.Process:
        processes[place] = await rig.spawn(place, argv)
        return processes[place]

    async with run.Traffic(spawn, plan.Plan(places=tuple(places("ab")), udp=udp(("a", "b")))) as traffic:
        await traffic.start()
        processes["b"].kill()
        await processes["b"].wait()
        await asyncio.sleep(0.1)
        with pytest.raises(errors.TrafficBroken, match=r"^The traffic process of b ended with code -9 in the middle"):
            await traffic.stop()
    assert [process.returncode for process in processes.values()] == [0, -9]


async def test_process_that_cannot_start_says_why(rig: Rig) -> None:
    wrong = msgspec.structs.replace(places("a")[0], device="eth7")
    async with rig.traffic(plan.Plan(places=(wrong, *places("b")))) as traffic:
        with pytest.raises(errors.TrafficBroken, match=r"process of a gave up: .*No such device"):
            await traffic.start()


async def test_program_that_is_no_traffic_process_is_reported() -> None:
    async def spawn(_: str, __: Sequence[str]) -> asyncio.subprocess.Process:
        pipe = asyncio.subprocess.PIPE
        program = "import sys; sys.exit('there is no such pod')"
        return await asyncio.create_subprocess_exec(sys.executable, "-c", program, stdin=pipe, stdout=pipe, stderr=pipe)

    with pytest.raises(errors.TrafficBroken, match="ended with code 1 in the middle of the run: there is no such pod"):
        await run.Traffic(spawn, plan.Plan(places=tuple(places("a")))).start()


async def test_place_that_cannot_be_entered_and_place_without_a_way_are_reported(rig: Rig) -> None:
    async def spawn(_: str, __: Sequence[str]) -> asyncio.subprocess.Process:
        raise FileNotFoundError(2, "No such file or directory", "/run/netns/a")

    with pytest.raises(errors.TrafficBroken, match=r"of a could not be started: .*'/run/netns/a'"):
        await run.Traffic(spawn, plan.Plan(places=tuple(places("a")))).start()
    rig.ip("a", "route del default")
    try:
        async with rig.traffic(plan.Plan(places=tuple(places("ab")), udp=udp(("a", "b")))) as traffic:
            with pytest.raises(errors.TrafficBroken, match=r"of a gave up: .*unreachable: 10\.99\.0\.2"):
                await traffic.start()
    finally:
        rig.ip("a", "route add default via 169.254.1.1 dev eth0")


def test_receivers_own_losses_are_counted_to_the_last() -> None:
    receiver = sockets.datagrams_at(socket.AF_INET, 0, buffer=4096)
    sender = sockets.datagrams_to("127.0.0.1", receiver.getsockname()[1])
    for _ in range(50):
        sender.send(bytes(1000))
    taken = 0
    with contextlib.suppress(BlockingIOError):
        while receiver.recv(2000):
            taken += 1
    assert 0 < taken < 50
    assert sockets.overflow(receiver) == 50 - taken
    sender.close()
    receiver.close()
