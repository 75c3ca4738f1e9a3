"""One station measures many paths at once, both ways, and keeps what it was asked apart."""

import threading
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from kubemtu.core import errors
from kubemtu.node.probe import paths, station, wire

if TYPE_CHECKING:
    from tests.node.probe.conftest import Net

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
    ends = Counter((path.target.address, path.forward.found.ending, path.forward.found.mtu) for path in found)
    assert ends == {
        (B4, "exact", 1450): 10,
        (B6, "exact", 1450): 10,
        (dead, "unreachable", 0): 10,
        (near, "unreachable", 0): 10,  # a router, where no station listens
    }


def test_more_paths_than_the_window_are_all_measured(net: "Net") -> None:
    found = measure(net, [paths.Target(address=B4, back=number % 8 == 0) for number in range(300)])
    assert Counter(path.forward.found.mtu for path in found) == {1500: 300}
    backs = Counter(path.back.state for path in found if path.back is not None)
    assert sum(backs.values()) == 38
    assert set(backs) <= {"exact", "refused"}
    assert backs["exact"] >= 16


def test_two_stations_measure_each_other_at_the_same_time(net: "Net") -> None:
    net.middle(1450)
    ends: list[tuple[int, int]] = []
    threads = [
        threading.Thread(
            target=lambda: ends.extend(
                (path.forward.found.mtu, path.back.mtu if path.back else 0)
                for path in measure(net, [paths.Target(address=B4, back=True)])
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
            return asking.measure([paths.Target(address=B4, back=True)])[0]

    path = bare.inside("a", work)
    assert path.forward.found.mtu == 1500
    assert path.back is not None
    assert path.back.state == "refused"


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
            return [path.forward.found.mtu for path in asking.measure(targets)]

    assert net.inside("b", work) == [65535, 65535]
