"""Addresses replaced: which lie in one network is the same before and after, and nothing tells what they were."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubemtu.core.disclosure.addresses import Replaced

KEY = b"k"


def common(one: str, other: str) -> int:
    first, second = ipaddress.ip_address(one), ipaddress.ip_address(other)
    return first.max_prefixlen - (int(first) ^ int(second)).bit_length()


V4 = st.ip_addresses(v=4).map(str)
V6 = st.ip_addresses(v=6).map(str)
SAME_V4 = [ipaddress.ip_network(each) for each in ("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3")]


def ordinary(text: str) -> bool:
    address = ipaddress.ip_address(text)
    if address.version == 4:
        return not any(address in each for each in SAME_V4)
    return not address.is_multicast and int(address) > 1


@given(pair=st.one_of(st.tuples(V4, V4), st.tuples(V6, V6), V4.map(lambda one: (one, one))), key=st.binary(max_size=8))
def test_prefixes_in_common_stay_as_long_as_they_are(pair: tuple[str, str], key: bytes) -> None:
    if all(map(ordinary, pair)):
        made = [Replaced(key).text(each) for each in pair]
        assert common(*made) == common(*pair)
        assert [ipaddress.ip_address(each).version for each in made] == [
            ipaddress.ip_address(each).version for each in pair
        ]


@pytest.mark.parametrize(
    ("text", "network"),
    [
        ("10.244.1.7", "10.0.0.0/8"),
        ("172.20.0.1", "172.16.0.0/12"),
        ("192.168.77.1", "192.168.0.0/16"),
        ("100.64.3.4", "100.64.0.0/10"),
        ("fe80::5eff:fe00:101", "fe80::/64"),
        ("fd00:10:244::1", "fc00::/7"),
        ("2001:db8::7", "2000::/3"),
    ],
)
def test_what_kind_of_network_it_is_of_stays(text: str, network: str) -> None:
    made = Replaced(KEY).text(text)
    assert made != text
    assert ipaddress.ip_address(made) in ipaddress.ip_network(network)


def test_a_network_stays_one_and_holds_what_it_held() -> None:
    replaced = Replaced(KEY)
    network = ipaddress.ip_network(replaced.text("10.244.0.0/16"))
    assert network != ipaddress.ip_network("10.244.0.0/16")
    assert ipaddress.ip_address(replaced.text("10.244.3.9")) in network
    assert ipaddress.ip_address(replaced.text("10.245.3.9")) not in network
    assert ipaddress.ip_interface(replaced.text("10.244.3.9/24")).ip == ipaddress.ip_address(
        replaced.text("10.244.3.9")
    )


@pytest.mark.parametrize(
    "text",
    [
        *("0.0.0.0/0", "127.0.0.1", "::1", "::/0", "255.255.255.255", "169.254.1.1", "224.0.0.251", "ff02::1"),
        *("ee:ee:ee:ee:ee:ee", "00:00:00:00:00:00", "ff:ff:ff:ff:ff:ff", "33:33:00:00:00:01"),
        *("v3.26.1", "1.2.3", "12:34:56", "2026-01-02T10:20:30Z", "sha256:abcd", "a::b::c", "999.1.1.1", "10.0.0.0/40"),
        *("kube-system/canal:1450", "mtu 1450", "1.2.3.4.5", "image:v1.2.3.4-build", "0:"),
    ],
)
def test_what_means_the_same_everywhere_or_is_no_address_stays(text: str) -> None:
    assert Replaced(KEY).text(text) == text


def test_an_address_of_ipv4_within_one_of_ipv6_is_one_address() -> None:
    made = Replaced(KEY).text("::ffff:192.0.2.7")
    assert ipaddress.ip_address(made) in ipaddress.ip_network("::ffff:0:0/96")
    assert "192.0.2.7" not in made


def test_ethernet_addresses_are_replaced_alike_in_their_own_form() -> None:
    replaced = Replaced(KEY)
    made = replaced.text("link/ether 52:54:00:12:34:56 and 52:54:00:12:34:57, 52-54-00-12-34-56")
    words = made.replace(",", "").split()
    assert words[1] != words[3]
    assert words[4] == words[1].replace(":", "-")
    assert words[1].startswith("02:")
    assert "52:54" not in made


def test_another_key_gives_others_and_the_same_the_same() -> None:
    assert Replaced(b"a").text("10.1.2.3") == Replaced(b"a").text("10.1.2.3") != Replaced(b"b").text("10.1.2.3")


@given(st.text(alphabet="0123456789abcdef:./ -", max_size=60))
def test_any_text_keeps_what_is_no_address(text: str) -> None:
    made = Replaced(KEY).text(text)
    assert made.count(" ") == text.count(" ")
