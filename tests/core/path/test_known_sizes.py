"""The list holds the sizes that pod networks have, and none that cannot be sent."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubemtu.core.path import known_sizes, search


@pytest.mark.parametrize(
    ("size", "why"),
    [
        (1450, "VXLAN over IPv4: RFC 7348 gives 50 bytes"),
        (1454, "the same at a veth, which takes a VLAN tag more"),
        (1430, "VXLAN over IPv6"),
        (1440, "WireGuard over IPv4"),
        (1420, "WireGuard over IPv6, and wg-quick's default"),
        (1480, "IP in IP"),
        (1476, "GRE"),
        (1492, "PPPoE"),
        (1460, "Google Cloud"),
        (1410, "VXLAN in Google Cloud"),
        (1400, "VXLAN in VXLAN"),
        (1390, "VXLAN in WireGuard"),
        (1442, "Geneve with OVN's 8 bytes of options"),
        (1280, "IPv6's smallest"),
    ],
)
def test_sizes_of_real_networks_are_asked_for(size: int, why: str) -> None:
    assert size in known_sizes.likely(1500), why
    assert size in known_sizes.likely(9000), why


def test_a_jumbo_interface_asks_for_plain_ethernet_too() -> None:
    assert {1500, 1504, 8950, 8896, 8846} <= set(known_sizes.likely(9000))
    assert {8951, 8941, 9000} <= set(known_sizes.likely(9001))
    assert {8950, 1450, 1500} <= set(known_sizes.hypotheses(9000))


def test_what_the_caller_knows_comes_first() -> None:
    assert 3950 in known_sizes.likely(9000, also=(4000,))
    assert known_sizes.hypotheses(9000, also=(4000,))[:3] == (3950, 3954, 4000)


@given(st.integers(0, 65535), st.lists(st.integers(-100, 70_000), max_size=3))
def test_nothing_reaches_the_interface_and_rounds_stay_small(top: int, also: list[int]) -> None:
    sizes, first = known_sizes.likely(top, also), known_sizes.hypotheses(top, also)
    assert list(sizes) == sorted(set(sizes))
    assert all(68 < size < top for size in (*sizes, *first))
    assert len(sizes) <= 130
    assert len(set(first)) == len(first) <= 7
    assert len(sizes) + 7 * len(first) <= 180  # packets of a round, without the small ones: a burst has room for 200


@pytest.mark.parametrize(("top", "packets"), [(1500, 84), (9000, 110), (65535, 119)])
def test_a_round_of_known_sizes_is_short(top: int, packets: int) -> None:
    """What is sent to a black hole in its second round, with 19 small packets in between and at the end."""
    machine = search.Search(
        search.Question(top=top, expected=top, likely=known_sizes.likely(top), hypotheses=known_sizes.hypotheses(top))
    )
    machine.feed(machine.burst(), [search.ARRIVED, search.LOST, *[search.ARRIVED] * 3])
    assert len(machine.burst()) == packets
