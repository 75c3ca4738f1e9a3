"""Addresses and networks as texts. RFC 4291: fe80::/10 is of one link (2.5.6), ff00::/8 is multicast (2.7)."""

import ipaddress

import pytest

from kubemtu.core import networks


@pytest.mark.parametrize("text", ["10.42.0.1", "10.42.0.0/24", "default", "fd00:10::1", "::/0", "fe8::1", "ff::1"])
def test_these_lead_beyond_their_link(text: str) -> None:
    assert networks.beyond_link(text)


@pytest.mark.parametrize("text", ["fe80::1", "FE80::/64", "fe90::1", "febf::1", "ff00::/8", "ff02::1"])
def test_these_stay_on_their_link(text: str) -> None:
    assert not networks.beyond_link(text)


def test_a_family_is_told_by_the_colon_and_ipv6_of_the_link_alone_is_none() -> None:
    assert [networks.family(text) for text in ("10.42.0.1", "10.42.0.0/24", "fd00::1", "::/0")] == [4, 4, 6, 6]
    assert not networks.has_ipv6(["10.42.0.1", "fe80::1"])
    assert networks.has_ipv6(["10.42.0.1", "fe80::1", "fd00::1"])


@pytest.mark.parametrize(
    ("text", "spelled"),
    [
        ("10.42.0.0/24", "10.42.0.0/24"),
        ("10.42.0.7", "10.42.0.7/32"),
        ("fd00:0:0::/64", "fd00::/64"),
        ("fd00::7", "fd00::7/128"),
        ("10.42.0.7/24", ""),
        ("node-1.example", ""),
        ("", ""),
    ],
)
def test_a_network_is_spelled_as_the_kernel_does(text: str, spelled: str) -> None:
    assert networks.canonical(text) == spelled


def test_a_default_route_is_of_its_family_and_what_is_no_network_is_none() -> None:
    assert networks.parsed("default", 4) == ipaddress.ip_network("0.0.0.0/0")
    assert networks.parsed("default", 6) == ipaddress.ip_network("::/0")
    assert networks.parsed("10.42.0.7/24", 4) == ipaddress.ip_network("10.42.0.0/24")
    assert networks.parsed("blackhole", 4) is None


def test_a_network_is_within_itself_and_a_wider_one_of_its_own_family() -> None:
    around = [ipaddress.ip_network("10.42.0.0/16"), ipaddress.ip_network("fd00::/48")]
    inside = ("10.42.0.0/16", "10.42.7.0/24", "fd00::7/128")
    assert all(networks.within(ipaddress.ip_network(one), around) for one in inside)
    assert not any(networks.within(ipaddress.ip_network(one), around) for one in ("10.0.0.0/8", "10.43.0.0/24", "::/0"))
