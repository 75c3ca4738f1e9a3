"""One station measures many paths at once, both ways, and keeps what it was asked apart."""

import contextlib
import json
import threading
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from kubemtu.core import errors
from kubemtu.node.probe import channel, paths, station, wire
from kubemtu_lab.line import network

if TYPE_CHECKING:
    from tests.support.lines import Net

B4, B6 = "10.9.3.1", "fd09:3::1"
SECRET = b"a secret that all stations of the cluster share"
pytestmark = pytest.mark.netns


def measure(net: "Net", targets: list[paths.Target]) -> list[paths.Path]:
    def work() -> list[paths.Path]:
        with station.Station(wire.Key(SECRET)) as asking:
            return asking.measure(targets)

    return net.inside("a", work)


def test_many_paths_at_once_come_back_in_their_order(net: "Net") -> None:
    net.middle(1450)
    net.mute()
    near, dead = "10.9.1.254", "10.9.3.77"
    targets = [paths.Target(address=address) for address in (B4, dead, B6, near) * 10]
    found = measure(net, targets)
    assert [path.target for path in found] == targets
    ends = Counter((path.target.address, path.forward.search.ending, path.forward.search.mtu) for path in found)
    assert ends == {
        (B4, "exact", 1450): 10,
        (B6, "exact", 1450): 10,
        (dead, "unreachable", 0): 10,
        (near, "unreachable", 0): 10,  # a router, where no station listens
    }


def test_more_paths_than_the_window_are_all_measured(net: "Net") -> None:
    found = measure(net, [paths.Target(address=B4, both_ways=number % 8 == 0) for number in range(300)])
    assert Counter(path.forward.search.mtu for path in found) == {1500: 300}
    backs = Counter(path.backward.state for path in found if path.backward is not None)
    assert sum(backs.values()) == 38
    assert set(backs) <= {"exact", "refused"}
    assert backs["exact"] >= 16


def test_answers_that_wait_unread_are_heard_before_silence_is_judged(
    net: "Net", monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a machine that gives the prober a turn every 1.1 seconds: each burst is over by then, and answered."""
    wait = station.Station._wait

    def late(self: station.Station, seconds: float) -> list[tuple[int, int]]:
        time.sleep(1.1)
        return wait(self, seconds)

    monkeypatch.setattr(station.Station, "_wait", late)
    found = [path.forward.search for path in measure(net, [paths.Target(address=B4)] * 100)]
    assert Counter((one.ending, one.mtu) for one in found) == {("exact", 1500): 100}


def test_two_stations_measure_each_other_at_the_same_time(net: "Net") -> None:
    net.middle(1450)
    ends: list[tuple[int, int]] = []
    threads = [
        threading.Thread(
            target=lambda: ends.extend(
                (path.forward.search.mtu, path.backward.mtu if path.backward else 0)
                for path in measure(net, [paths.Target(address=B4, both_ways=True)])
            )
        )
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ends == [(1450, 1450)] * 4


def test_without_a_key_nobody_measures_back(bare: "Net") -> None:
    bare.serve(b"")

    def work() -> paths.Path:
        with station.Station(wire.Key()) as asking:
            return asking.measure([paths.Target(address=B4, both_ways=True)])[0]

    path = bare.inside("a", work)
    assert path.forward.search.mtu == 1500
    assert path.backward is not None
    assert path.backward.state == "refused"


def test_a_family_that_is_not_there_is_told(net: "Net") -> None:
    def work() -> paths.Path:
        with station.Station(wire.Key(), families=(4,)) as asking:
            return asking.measure([paths.Target(address=B6)])[0]

    assert net.inside("a", work).forward.note == f"no way to {B6}: no IPv6 here"


def test_a_port_that_is_taken_is_told_and_leaves_no_socket_open(net: "Net") -> None:
    def work() -> None:
        before = len(list(Path("/proc/self/fd").iterdir()))
        with pytest.raises(errors.UsageError, match="UDP port 7843 cannot be used"):
            station.Station(wire.Key(), port=7843)
        assert len(list(Path("/proc/self/fd").iterdir())) == before

    net.inside("b", work)


def test_loopback_carries_the_largest_packet_there_is(net: "Net") -> None:
    def work() -> list[int]:
        with station.Station(wire.Key(SECRET)) as asking:
            targets = [paths.Target(address=address) for address in ("127.0.0.1", "::1")]
            return [path.forward.search.mtu for path in asking.measure(targets)]

    assert net.inside("b", work) == [65535, 65535]


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_nothing_is_left_open_by_whatever_fails_or_is_closed_twice(bare: "Net") -> None:
    before = open_files()
    serving = station.Station(wire.Key(SECRET), families=(4,))
    with bare.inside("b", lambda: station.Station(wire.Key(SECRET), port=7843, families=(6,))):
        with pytest.raises(errors.UsageError, match="UDP port 7843 cannot be used"):
            serving.open("b", bare.descriptors["b"], port=7843)  # IPv4 is free, IPv6 is not
        assert set(serving.channels) == {("", 4)}
        with pytest.raises(errors.UsageError, match="none of the station's: 'b'"):
            serving.listen(7843, "b")
    serving.open("b", bare.descriptors["b"], port=7843)
    serving.listen(7843, "b")
    with pytest.raises(errors.UsageError, match="TCP port 7843 cannot be used"):
        serving.listen(7843, "b")
    serving.open("b", bare.descriptors["b"])  # once more, on another port: the place is the same
    serving.shut("b")
    serving.shut("b")
    serving.open("b", bare.descriptors["b"], port=7843)
    serving.close()
    serving.close()
    assert open_files() == before


def test_a_measurement_that_is_broken_off_leaves_a_station_that_measures(net: "Net") -> None:
    class Enough(Exception):
        pass

    def stop(_: int) -> None:
        raise Enough

    def work() -> list[paths.Path]:
        with station.Station(wire.Key(SECRET)) as asking:
            dead = [paths.Target(address="10.9.3.77", both_ways=True)]
            with pytest.raises(Enough):
                asking.measure([*dead, paths.Target(address=B4), *dead * 60], tell=stop)
            return asking.measure([paths.Target(address=B4), paths.Target(address=B6)])

    assert [path.forward.search.mtu for path in net.inside("a", work)] == [1500, 1500]


def test_a_place_that_is_left_while_it_is_measured_from_says_so(net: "Net") -> None:
    def work() -> list[paths.Path]:
        with station.Station(wire.Key(SECRET), families=()) as asking:
            for place in ("a", "r1"):
                asking.open(place, net.descriptors[place])
            asking.call_soon(lambda: asking.call_soon(lambda: asking.shut("a")))
            there = [paths.Target(address="10.9.3.77", via="a", both_ways=True)]
            return asking.measure([*there, paths.Target(address=B4, via="r1", both_ways=True)])

    left, other = net.inside("b", work)
    assert (left.forward.search.ending, left.forward.note) == (
        "unreachable",
        "the place that was measured from has been left",
    )
    assert other.forward.search.mtu == 1500
    assert other.backward is not None
    assert other.backward.mtu == 1500


def test_an_error_that_was_meant_for_another_is_not_believed(net: "Net") -> None:
    """Others use the same socket all the time, towards a path that is too small: none of that is about our packets."""
    net.middle(1450)
    stop = threading.Event()

    def work() -> list[paths.Path]:
        with station.Station(wire.Key(SECRET), families=(4,)) as asking:

            def others() -> None:
                while not stop.is_set():
                    asking.channels["", 4].socket.sendmsg((bytes(1472),), (), 0, (B4, 9))

            def shout() -> None:
                while not stop.is_set():
                    with contextlib.suppress(OSError):
                        others()

            shouting = [threading.Thread(target=shout) for _ in range(2)]
            for thread in shouting:
                thread.start()
            try:
                return [path for _ in range(2) for path in asking.measure([paths.Target(address=B4)] * 20)]
            finally:
                stop.set()
                for thread in shouting:
                    thread.join()

    found = [path.forward.search for path in net.inside("a", work)]
    assert {(one.mtu, one.interface_mtu) for one in found if one.ending == "exact"} == {(1450, 1500)}
    assert {one.ending for one in found} <= {"exact", "lossy", "overloaded"}


def dropped(net: "Net") -> int:
    """What a's device could not send (ip-link(8))."""
    shown = json.loads(network.run("ip", "-n", net.spaces["a"], "-s", "-j", "link", "show", "e0"))
    return int(shown[0]["stats64"]["tx"]["dropped"])


def test_what_a_device_drops_was_sent_once_and_is_lost(net: "Net") -> None:
    """Half of a veth was lowered: the other half drops what is larger and tells the sender's socket (ENOBUFS)."""
    net.ip("r1", "link set dev l mtu 1450")
    before = dropped(net)

    def work() -> paths.Path:
        one = channel.Channel(4)
        refused = [one.send(b"", 1500, (B4, 7843)) for _ in range(10)]
        one.close()
        assert {error is None or error.strerror for error in refused} <= {True, "No buffer space available"}
        assert dropped(net) - before == 10
        with station.Station(wire.Key(SECRET)) as asking:
            return asking.measure([paths.Target(address=B4)])[0]

    found = net.inside("a", work).forward.search
    assert (found.ending, found.mtu, found.limit, found.interface_mtu) == ("exact", 1454, "silence", 1500)


def test_an_answer_that_cannot_be_sent_is_no_overload_for_others(net: "Net", nft: None) -> None:
    net.middle(1450)
    net.mute()
    net.nft("b", "output", "ip daddr 10.9.2.1 udp sport 7843 drop")
    stop = threading.Event()

    def unanswered() -> None:
        with station.Station(wire.Key(SECRET)) as asking:
            while not stop.is_set():
                asking.measure([paths.Target(address=B4)])

    other = threading.Thread(target=lambda: net.inside("r1", unanswered))
    other.start()
    found = [path.forward.search for path in measure(net, [paths.Target(address=B4)] * 40)]
    stop.set()
    other.join()
    assert {(one.ending, one.mtu) for one in found} == {("exact", 1450)}
