"""A tunnel that is too large for what is below it.

RFC 7348: 14 bytes of inner Ethernet, 8 of VXLAN, 8 of UDP, and 20 of IPv4 or 40 of IPv6, so 50 or 70.
"""

import socket
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from kubemtu.node.probe import channel, outer

if TYPE_CHECKING:
    from tests.support.lines import Net

pytestmark = pytest.mark.netns
ENDS = {4: ("10.9.1.1", "10.9.3.1"), 6: ("fd09:1::1", "fd09:3::1")}


def tunnel(net: "Net", family: int, mtu: int, df: str = "unset") -> None:
    for last, place in ((1, "a"), (2, "b")):
        own, other = ENDS[family] if place == "a" else ENDS[family][::-1]
        device = f"link add vx type vxlan id 7 local {own} remote {other} dstport 4789 df {df}"
        net.ip(place, device, f"link set dev vx mtu {mtu} up", f"addr add 10.77.0.{last}/24 dev vx")


@pytest.fixture
def sender(bare: "Net") -> Iterator[outer.Send]:
    one = bare.inside("a", lambda: channel.Channel(4))
    yield lambda size: one.send(b"", size, ("10.77.0.2", 9))
    one.close()


@pytest.mark.parametrize(
    ("family", "df", "mtu", "does", "each"),
    [
        pytest.param(4, "unset", 1450, "cuts", 2, id="v4"),  # one byte too large makes two fragments
        pytest.param(4, "set", 1450, "loses", 1, id="v4-df"),
        pytest.param(6, "unset", 1430, "loses", 1, id="v6"),
    ],
)
def test_a_tunnel_left_at_1500_is_found_exactly(
    bare: "Net", sender: outer.Send, family: int, df: str, mtu: int, does: str, each: int
) -> None:
    tunnel(bare, family, 1500, df)
    found = bare.inside("a", lambda: outer.largest(sender, top=1500))
    assert (found.mtu, found.does, found.note) == (mtu, does, "")
    assert (found.counted, found.others) == (each * found.copies, 0)


@pytest.mark.parametrize(("family", "mtu"), [(4, 1450), (6, 1430)], ids=["v4", "v6"])
def test_a_tunnel_that_fits_does_nothing(bare: "Net", sender: outer.Send, family: int, mtu: int) -> None:
    tunnel(bare, family, mtu)
    found = bare.inside("a", lambda: outer.largest(sender, top=mtu))
    assert (found.mtu, found.does, found.counted, found.note) == (mtu, None, 0, "")


def test_what_a_pod_sends_is_seen_in_the_counts_of_its_node(bare: "Net") -> None:
    """Node a routes for a pod, which for once is in the namespace of r2; the count is a's."""
    tunnel(bare, 4, 1500)
    bare.ip("a", f"link add cali1 type veth peer name eth1 netns {bare.spaces['r2']}", "link set dev cali1 up")
    bare.ip("a", "addr add 10.78.0.1/24 dev cali1", "link set dev cali1 mtu 1500")
    bare.ip("r2", "link set dev eth1 up", "addr add 10.78.0.2/24 dev eth1", "route add 10.77.0.0/24 via 10.78.0.1")
    one = bare.inside("r2", lambda: channel.Channel(4))
    try:
        found = bare.inside("a", lambda: outer.largest(lambda size: one.send(b"", size, ("10.77.0.2", 9)), top=1500))
    finally:
        one.close()
    assert (found.mtu, found.does, found.note) == (1450, "cuts", "")


def test_more_than_the_device_takes_is_refused_and_no_answer(bare: "Net", sender: outer.Send) -> None:
    tunnel(bare, 4, 1450)
    found = bare.inside("a", lambda: outer.largest(sender, top=1500))
    assert found.mtu is None
    assert found.note == "1500 bytes cannot be sent: Message too long"


@pytest.mark.parametrize("pause", [0.002, 0.0], ids=["some", "many"])
def test_the_fragments_of_others_never_make_a_wrong_answer(bare: "Net", sender: outer.Send, pause: float) -> None:
    tunnel(bare, 4, 1500)
    done = threading.Event()

    def others() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            while not done.wait(pause):
                sock.sendto(bytes(4000), ("10.9.3.1", 9))

    thread = threading.Thread(target=lambda: bare.inside("a", others))
    thread.start()
    try:
        found = {bare.inside("a", lambda: outer.largest(sender, top=1500)).mtu for _ in range(5)}
    finally:
        done.set()
        thread.join()
    assert found <= {1450, None}
    if pause:
        assert 1450 in found
