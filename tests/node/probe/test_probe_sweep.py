"""A sweep says of each of many peers what a search would say, and takes one packet where all is well.

a measures; b has one address for each peer, in ranges that fare differently on their way through r1.
"""

import gc
import ipaddress
import json
import random
import select
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from kubemtu.node.probe import channel, measurement, paths, station, sweep, wire
from kubemtu_lab.line import faults, network, stations

if TYPE_CHECKING:
    from tests.support.lines import Net

KEY = wire.Key(stations.SECRET)
A = {4: "10.9.1.1", 6: "fd09:1::1"}
BIG = 1_000_000  # answers a second: as many as it can
HEALTHY, HOLE, LOWER, DEAD = 1, 2, 3, 4  # the third number of an address
pytestmark = pytest.mark.netns


@contextmanager
def crowded(rtt: float = 0.0) -> Iterator["Net"]:
    """A line whose far end has 65536 addresses more of each family."""
    from tests.support.lines import Net

    with Net(rtt=rtt) as net:
        far = stations.serve(net, rate=BIG)
        net.sysctl("b", {"ipv6/ip_nonlocal_bind": 1})  # to answer from an address that only a route makes its own
        net.ip("b", "route add local 10.64.0.0/16 dev lo", "route add local fd64::/64 dev lo")
        for place, last in (("r1", "2.2"), ("r2", "3.1")):
            four, six = f"10.9.{last}", "fd09:" + last.replace(".", "::")
            net.ip(place, f"route add 10.64.0.0/16 via {four}", f"route add fd64::/64 via {six}")
        stations.wait(far)
        yield net


def spoil(net: "Net") -> None:
    """Make the ranges fare as their names say."""
    net.ip(
        "r1", "route add 10.64.3.0/24 via 10.9.2.2 mtu lock 1450", "route add fd64::3:0/112 via fd09:2::2 mtu lock 1450"
    )
    rules = (
        "ip daddr 10.64.2.0/24 ip length > 1450",
        "ip6 daddr fd64::2:0/112 ip6 length > 1410",
    )  # of what it carries
    net.nft("r1", "forward", *(f"{rule} drop" for rule in (*rules, "ip daddr 10.64.4.0/24", "ip6 daddr fd64::4:0/112")))


def peer(kind: int, number: int, family: channel.Family = 4, *, expected: int = 1500, via: str = "") -> paths.Target:
    address = f"10.64.{kind}.{number + 1}" if family == 4 else f"fd64::{kind}:{number + 1:x}"
    return paths.Target(address=address, source=A[family], expected=expected, enough=True, via=via)


def swept(net: "Net", targets: list[paths.Target], *, pps: float = 0.0) -> list[paths.Path]:
    def work() -> list[paths.Path]:
        with station.Station(KEY, answers=False) as asking:
            return asking.measure(targets, pps=pps)

    found = net.inside("a", work)
    assert [path.target for path in found] == targets
    return found


@pytest.fixture
def uncollected() -> Iterator[None]:
    """Nothing is freed but what nobody holds."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def test_a_round_leaves_nothing_behind(namespaces: None, uncollected: None) -> None:
    """What holds itself waits for a collection, which hardly ever comes: a round of 5,000 left 0.7 MiB each time."""
    with crowded() as net:
        swept(net, [peer(HEALTHY, number) for number in range(20)])
    assert [one for one in gc.get_objects() if isinstance(one, (sweep.Sweep, measurement.Measurement))] == []


def ended(found: list[paths.Path]) -> Counter[tuple[int, int, str, int, str | None]]:
    """How many ended how: by the family, the kind, and what was found."""
    ends: Counter[tuple[int, int, str, int, str | None]] = Counter()
    for path in found:
        address = ipaddress.ip_address(path.target.address)
        one = path.forward.search
        ends[address.version, address.packed[-2] or address.packed[-3], one.ending, one.mtu, one.limit] += 1
    return ends


def counted(net: "Net", match: str) -> Callable[[], int]:
    """Count what r1 forwards from now on of that kind; gives a way to read it, in packets."""
    net.nft("r1", "forward", f"{match} counter")

    def read() -> int:
        words = net.command("r1", "nft", "-j", "list", "chain", "inet", "line", "filter_forward")
        rules = [one["rule"] for one in json.loads(network.run(*words))["nftables"] if "rule" in one]
        return sum(one["counter"]["packets"] for rule in rules for one in rule["expr"] if "counter" in one)

    return read


def test_all_kinds_of_peers_at_once_over_both_families(namespaces: None, nft: None) -> None:
    numbers = {HEALTHY: 150, HOLE: 30, LOWER: 30, DEAD: 10}
    targets = [peer(kind, number, one) for kind, most in numbers.items() for number in range(most) for one in (4, 6)]
    random.Random(7).shuffle(targets)
    with crowded() as net:
        spoil(net)
        found = swept(net, targets)
    for family in (4, 6):
        assert {kind: ends for kind, ends in ended(found).items() if kind[0] == family} == {
            (family, HEALTHY, "exact", 1500, "expected"): 150,
            (family, HOLE, "exact", 1450, "silence"): 30,
            (family, LOWER, "exact", 1450, "router"): 30,
            (family, DEAD, "unreachable", 0, None): 10,
        }


def test_a_healthy_crowd_takes_one_packet_each(namespaces: None, nft: None) -> None:
    with crowded() as net:
        sent = counted(net, "meta l4proto udp udp dport 7843")
        found = swept(net, [peer(HEALTHY, number) for number in range(200)])
        assert ended(found) == {(4, HEALTHY, "exact", 1500, "expected"): 200}
        assert sent() <= 210  # a few that a busy machine answered too late were searched as well


def test_answers_that_come_late_count_and_tell_how_long_to_wait(namespaces: None, nft: None, tun: None) -> None:
    """60 ms is more than is waited for before anything is known: who is asked then is searched as well."""
    with crowded(rtt=0.06) as net:
        large = counted(net, "ip daddr 10.64.0.0/16 ip length > 1400")
        found = swept(net, [peer(HEALTHY + number // 250 * 8, number % 250) for number in range(2000)])
        assert {path.forward.search.mtu for path in found} == {1500}
        assert large() < 3500  # 4000 when all of them are asked twice


def test_loss_both_ways_makes_nothing_wrong(namespaces: None, nft: None) -> None:
    targets = [peer(HEALTHY, number % 250) for number in range(360)] + [peer(HOLE, number) for number in range(40)]
    with crowded() as net:
        spoil(net)
        net.lose(5)
        ends = ended(swept(net, targets))
    assert {end for end in ends if end[2] == "exact"} <= {
        (4, HEALTHY, "exact", 1500, "expected"),
        (4, HEALTHY, "exact", 1500, "own interface"),
        (4, HOLE, "exact", 1450, "silence"),
    }
    assert {end[2] for end in ends} <= {"exact", "overloaded"}
    assert sum(number for end, number in ends.items() if end[2] == "exact") >= 380


@contextmanager
def shuffling(net: "Net") -> Iterator[None]:
    """Something at b that holds answers back until nothing has come for a millisecond, and sends them in any order."""
    sock = net.inside("b", lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    sock.bind(("10.9.3.1", 7843))
    sock.setsockopt(socket.SOL_SOCKET, channel.SO_RCVBUFFORCE, 4 << 20)
    stop = threading.Event()
    chance = random.Random(1)

    def work() -> None:
        held: list[tuple[bytes, object]] = []
        while not stop.is_set():
            if select.select([sock], [], [], 0.001)[0]:
                datagram, address = sock.recvfrom(65535)
                asked = wire.read_request(datagram)
                if asked.kind == wire.PROBE and len(datagram) <= 1450 - 28:
                    answer = wire.ProbeAnswer(asked.nonce, asked.number, len(datagram) + 28, 0, 0, 1500)
                    held.append((KEY.seal(wire.pack_answer(answer)), address))
                continue
            chance.shuffle(held)
            while held:
                sock.sendto(*held.pop())  # type: ignore[call-overload]  # an address as it was received

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        sock.close()


@pytest.mark.parametrize("expected", [1450, 1500])
def test_the_same_target_many_times_and_answers_in_any_order(bare: "Net", expected: int) -> None:
    with shuffling(bare):
        targets = [paths.Target(address="10.9.3.1", source="10.9.1.1", expected=expected, enough=True)] * 60
        found = swept(bare, targets)
    ends = Counter((path.forward.search.ending, path.forward.search.mtu) for path in found)
    assert {end for end in ends if end[0] == "exact"} == {("exact", 1450)}
    # What holds answers back is a thread: where it is not run for long, they come too late and are loss, which is said.
    assert {end[0] for end in ends} <= {"exact", "lossy"}
    assert max(mtu for _, mtu in ends) == 1450
    assert ends["exact", 1450] >= 57


def test_what_the_own_interface_refuses_is_told_of_it(namespaces: None) -> None:
    with crowded() as net:
        found = swept(net, [peer(HEALTHY, number, expected=9000) for number in range(20)])
    assert ended(found) == {(4, HEALTHY, "exact", 1500, "own interface"): 20}
    assert {paths.judge(path).kind for path in found} == {"refused here"}


def test_a_path_mtu_that_was_learned_is_found_and_not_swept_over(namespaces: None) -> None:
    with crowded() as net:
        net.middle(1300)
        assert ended(swept(net, [peer(HEALTHY, 0)])) == {(4, HEALTHY, "exact", 1300, "router"): 1}
        net.middle(1500)
        found = swept(net, [peer(HEALTHY, number) for number in range(50)])
    verdicts = Counter((path.target.address, paths.judge(path).kind) for path in found)
    assert verdicts["10.64.1.1", "stale path MTU"] == 1
    assert Counter(kind for _, kind in verdicts) == {"ok": 49, "stale path MTU": 1}


def test_no_more_packets_a_second_than_are_allowed() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sink:
        sink.bind(("127.0.0.1", 0))
        sink.setblocking(False)
        one = channel.Channel(4)
        where = ("127.0.0.1", int(sink.getsockname()[1]))
        peers = [sweep.Peer(number, one, where, 100, sweep.bound(KEY, "127.0.0.1")) for number in range(500)]
        under_way = sweep.Sweep(peers, KEY, arrived=lambda *_: None, doubtful=lambda *_: None, pps=64)
        came = []
        for moment in (0, 0, 0.5, 1, 1, 4, 64, 64, 65, 128):  # in 64ths of a second
            under_way.give_up(50 + moment / 64)
            under_way.send(50 + moment / 64)
            while select.select([sink], [], [], 0)[0]:
                sink.recv(2048)
                came.append(moment)
        one.close()
    assert Counter(came) == {0: 1, 1: 1, 4: 3, 64: 60, 65: 1, 128: 63}  # 129 within two seconds
    assert under_way.wake(52.0) == 52 + 1 / 64


def test_a_stranger_who_floods_a_sweep_gets_no_more_than_his_turn() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        one = channel.Channel(4)
        under_way = sweep.Sweep([], KEY, arrived=lambda *_: None, doubtful=lambda *_: None)
        for _ in range(1000):
            stranger.sendto(b"kMTU\x01\x02" + bytes(34), ("127.0.0.1", one.port))
        heard = [len(under_way.hear([one], 1.0)) for _ in range(4)]
        one.close()
        assert under_way.hear([one], 1.0) == []  # a place that was left meanwhile
    assert heard == [384, 384, 232, 0]


def test_many_places_at_once_and_one_that_is_left_meanwhile(namespaces: None, nft: None) -> None:
    """r1 and a measure; a is left when the first are known. Whatever was not measured from there says why."""
    with crowded() as net:
        spoil(net)
        from_a = [peer(kind, number, via="a") for number in range(100) for kind in (HEALTHY, DEAD)]
        from_r = [
            paths.Target(address=f"10.64.1.{number + 1}", source="10.9.2.1", expected=1500, enough=True, via="r1")
            for number in range(100)
        ]
        before = len(list(Path("/proc/self/fd").iterdir()))
        with station.Station(KEY, families=(), answers=False) as asking:
            for place in ("a", "r1"):
                asking.open(place, net.descriptors[place])
            found = asking.measure([*from_a, *from_r])
            assert Counter(path.forward.search.mtu for path in found) == {1500: 200, 0: 100}
            found = asking.measure([*from_a, *from_r], tell=lambda _: asking.shut("a"))
            again = asking.measure([*from_a, *from_r])
        assert len(list(Path("/proc/self/fd").iterdir())) == before
    assert [path.target for path in found] == [*from_a, *from_r]
    assert {path.forward.search.mtu for path in found[200:]} == {1500}
    lost = [path.forward for path in found[:200] if path.forward.search.ending != "exact"]
    assert len(lost) >= 100
    assert {one.search.ending for one in lost} == {"unreachable"}
    assert {one.note.partition("10.64")[0] for one in lost} <= {
        "the place that was measured from has been left",
        "no way to ",
    }
    assert Counter(path.forward.search.mtu for path in again) == {1500: 100, 0: 200}


def test_two_hundred_dead_neighbours_hold_up_nobody(namespaces: None) -> None:
    """What waits for their addresses must not fill the socket's queue: others' packets would not leave it then."""
    with crowded() as net:
        dead = [
            paths.Target(address=f"10.9.1.{number + 10}", source="10.9.1.1", expected=1500, enough=True)
            for number in range(200)
        ]
        found = swept(
            net, [one for pair in zip(dead, (peer(HEALTHY, n) for n in range(200)), strict=True) for one in pair]
        )
    assert Counter((path.target.address[:5], path.forward.search.ending) for path in found) == {
        ("10.9.", "unreachable"): 200,
        ("10.64", "exact"): 200,
    }
    assert not any("kernel" in path.forward.note for path in found)


@pytest.mark.parametrize("back", [False, True], ids=["there", "there and back"])
@pytest.mark.parametrize(
    ("fault", "address", "port", "seen"),
    [
        (faults.Masqueraded(), "10.9.3.1", 7843, "10.9.2.1"),
        (faults.Service(), "10.96.0.10", 80, ""),
    ],
    ids=["masquerade", "dnat"],
)
def test_who_is_behind_a_nat_is_measured_all_the_same(
    net: "Net", nft: None, fault: faults.Fault, address: str, port: int, seen: str, back: bool
) -> None:
    fault.commit(net)
    net.middle(1450)
    net.mute()
    target = paths.Target(address=address, port=port, source="10.9.1.1", expected=1500, both_ways=back)

    def work() -> list[paths.Path]:
        with station.Station(KEY, answers=back) as asking:
            return asking.measure([target] * 12)

    found = net.inside("a", work)
    assert {(path.forward.search.mtu, path.forward.nat_address) for path in found} == {(1450, seen)}
    if back:
        assert {(path.backward.state, path.backward.mtu) for path in found if path.backward is not None} == {
            ("exact", 1450)
        }
