"""The header arithmetic, against literals from RFCs, kernel sources and the field's well-known totals."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubemtu.core import encap, headers
from kubemtu.core.encap import Encapsulation, Stack, parse
from kubemtu.core.errors import UsageError
from kubemtu.core.headers import IPV4, IPV6

KNOWN_COSTS = [
    # name, over IPv4, over IPv6
    ("none", 0, 0),
    ("ipip", 20, 40),
    ("udp", 28, 48),
    ("vxlan", 50, 70),
    ("vxlan:vlan", 54, 74),
    ("geneve", 50, 70),
    ("geneve:8", 58, 78),
    ("geneve:8,vlan", 62, 82),
    ("geneve:252", 302, 322),
    ("gre", 24, 44),
    ("gre:key", 28, 48),
    ("gre:csum,seq", 32, 52),
    ("gre:key,seq,csum", 36, 56),
    ("gretap", 38, 58),
    ("gretap:key", 42, 62),
    ("gretap:vlan", 42, 62),
    ("wireguard", 60, 80),
    ("esp-tunnel", 54, 74),
    ("esp-tunnel:natt", 62, 82),
    ("stt", 72, 92),
    ("esp-transport", 34, 34),
    ("esp-transport:natt", 42, 42),
]
ALL = st.builds(parse, st.sampled_from([name for name, _, _ in KNOWN_COSTS]), st.sampled_from(["ipv4", "ipv6"]))
STACKS = st.lists(ALL, max_size=4).map(lambda layers: Stack(tuple(layers)))
patient = settings(deadline=None)  # a slow machine is no fault of the code

MTUS = st.integers(min_value=68, max_value=63000)


@pytest.mark.parametrize(("name", "over_ipv4", "over_ipv6"), KNOWN_COSTS)
def test_costs_are_the_well_known_totals(name: str, over_ipv4: int, over_ipv6: int) -> None:
    assert parse(name).cost == over_ipv4
    assert parse(name, outer="ipv6").cost == over_ipv6


def test_a_name_reads_back_as_the_same_encapsulation() -> None:
    for name, _, _ in KNOWN_COSTS:
        assert parse(parse(name, "ipv6").name, "ipv6") == parse(name, "ipv6")


def test_options_are_written_in_one_order_whatever_order_they_came_in() -> None:
    assert parse("GRE:csum,key").name == "gre:key,csum"
    assert parse("geneve:vlan,8").name == "geneve:8,vlan"
    assert parse("geneve:8").kind == "geneve"


def test_vxlan_over_ipv6_leaves_1430_of_1500() -> None:
    assert encap.vxlan(IPV6).inner(1500) == 1430


def test_linux_ipip_over_ipv6_costs_48_with_its_default_encapsulation_limit() -> None:
    assert parse("ipip:encaplimit", "ipv6").inner(1500) == 1452
    assert parse("gre:encaplimit", "ipv6").cost == 52


@pytest.mark.parametrize(
    ("name", "outer_family", "outer", "inner"),
    [
        # From net/xfrm/xfrm_state.c xfrm_state_mtu: ((mtu - header - auth - net_adj) & ~3) + net_adj - 2
        ("esp-tunnel", "ipv4", 1500, 1446),
        ("esp-tunnel", "ipv4", 1501, 1446),
        ("esp-tunnel", "ipv4", 1503, 1446),
        ("esp-tunnel", "ipv4", 1504, 1450),
        ("esp-tunnel", "ipv6", 1500, 1426),
        ("esp-tunnel:natt", "ipv4", 1500, 1438),
        ("esp-transport", "ipv4", 1500, 1466),
        ("esp-transport:natt", "ipv4", 1500, 1458),
        ("wireguard", "ipv4", 1500, 1440),
        ("wireguard", "ipv6", 1500, 1420),
        ("wireguard", "ipv4", 1450, 1390),
        # ESP's 1466 for the packet of Geneve or GRE, which loses its own 58, 50 or 38; what is sealed is aligned whole.
        ("esp-transport+geneve:8", "ipv4", 1500, 1408),
        ("esp-transport+gretap", "ipv4", 1500, 1428),
        ("esp-transport+vxlan", "ipv6", 1500, 1396),
        ("wireguard+vxlan", "ipv4", 1500, 1390),
    ],
)
def test_inner_is_what_the_kernel_computes(name: str, outer_family: str, outer: int, inner: int) -> None:
    assert parse(name, outer_family).inner(outer) == inner


@pytest.mark.parametrize(
    ("mode", "inner", "cost"),
    [
        ("esp-transport", 1466, 34),
        ("esp-transport", 1465, 35),
        ("esp-transport", 1464, 36),
        ("esp-transport", 1463, 37),
        ("esp-tunnel", 1446, 54),
        ("esp-tunnel", 1445, 55),
        ("esp-tunnel", 1444, 56),
        ("esp-tunnel", 1443, 57),
    ],
)
def test_esp_pads_payload_and_trailer_to_four(mode: str, inner: int, cost: int) -> None:
    assert parse(mode).outer(inner) - inner == cost
    assert parse(mode).most == {"esp-transport": 37, "esp-tunnel": 57}[mode]


@pytest.mark.parametrize(
    ("outer", "family", "guaranteed"),
    [(1500, "ipv4", 1440), (1500, "ipv6", 1408), (1450, "ipv4", 1376), (9001, "ipv4", 8928), (76, "ipv4", 16)],
)
def test_wireguard_whose_device_does_not_bound_its_padding_needs_multiples_of_16(
    outer: int, family: str, guaranteed: int
) -> None:
    assert parse("wireguard", family).guaranteed(outer) == guaranteed


def _padded_by_the_kernel(size: int, device_mtu: int) -> int:
    """Restate drivers/net/wireguard/send.c calculate_skb_padding for one packet that is no GSO packet."""
    return min(device_mtu, (size + 15) // 16 * 16)


@patient
@given(outer=st.integers(1280, 9216), family=st.sampled_from([("ipv4", 60), ("ipv6", 80)]))
def test_wireguard_never_sends_more_than_its_outer_mtu_when_the_device_has_the_inner_mtu(
    outer: int, family: tuple[str, int]
) -> None:
    inner = parse("wireguard", family[0]).inner(outer)
    assert max(_padded_by_the_kernel(size, inner) for size in range(inner - 16, inner + 1)) + family[1] == outer


@patient
@given(outer=st.integers(1280, 9216), family=st.sampled_from([("ipv4", 60), ("ipv6", 80)]))
def test_wireguard_whose_device_allows_more_still_fits_when_the_pod_keeps_to_the_guaranteed_size(
    outer: int, family: tuple[str, int]
) -> None:
    guaranteed = parse("wireguard", family[0]).guaranteed(outer)
    assert _padded_by_the_kernel(guaranteed, 65535) + family[1] <= outer
    assert _padded_by_the_kernel(guaranteed + 16, 65535) + family[1] > outer


def test_stacks_count_from_the_nic() -> None:
    cilium = Stack((parse("wireguard"), parse("vxlan")))
    assert cilium.mtus(1500) == (1440, 1390)
    assert cilium.inner(1500) == 1390
    assert cilium.cost == 110
    assert cilium.guaranteed(1510) == 1390
    ovn_with_ipsec = Stack((parse("esp-transport"), parse("geneve:8")))
    assert ovn_with_ipsec.inner(1500) == 1408
    nested = Stack((parse("vxlan", "ipv6"), parse("wireguard")))
    assert nested.inner(1500) == 1370
    assert nested.guaranteed(1500) == 1360


def test_an_empty_stack_changes_nothing() -> None:
    assert Stack(()).inner(1500) == Stack(()).outer(1500) == Stack(()).guaranteed(1500) == 1500
    assert Stack(()).cost == 0
    assert Stack(()).working(1500) == ()


def test_the_working_names_what_alignment_makes_unusable() -> None:
    rows = [(header.name, header.size) for header in parse("esp-tunnel").working(1502)]
    assert rows == [
        ("IPv4", 20),
        ("ESP", 8),
        ("AES-GCM IV", 8),
        ("AES-GCM ICV", 16),
        ("ESP trailer", 2),
        ("unused (multiple of 4)", 2),
    ]


@patient
@given(layer=ALL, inner=MTUS)
def test_inner_of_outer_is_the_packet_or_the_next_that_costs_no_more(layer: Encapsulation, inner: int) -> None:
    assert inner <= layer.inner(layer.outer(inner)) < inner + layer.align


@patient
@given(stack=STACKS, nic=st.integers(2000, 65535))
def test_what_fits_fits_and_one_more_does_not(stack: Stack, nic: int) -> None:
    pod = stack.inner(nic)
    assert stack.outer(pod) <= nic
    if nic < 65000 and stack.layers:  # one more than the largest IP packet there is cannot be asked for
        assert stack.outer(pod + 1) > nic
    assert sum(header.size for header in stack.working(nic)) == nic - pod
    assert stack.guaranteed(nic) <= pod


@patient
@given(stack=STACKS, nic=st.integers(2000, 65534))
def test_a_larger_nic_never_gives_a_smaller_pod(stack: Stack, nic: int) -> None:
    assert stack.inner(nic) <= stack.inner(nic + 1)


@patient
@given(
    name=st.sampled_from(["vxlan", "vxlan:vlan", "geneve", "geneve:8", "wireguard", "udp", "gre", "gretap", "ipip"]),
    nic=st.integers(500, 65535),
)
def test_an_ipv6_outer_costs_20_more(name: str, nic: int) -> None:
    assert parse(name).inner(nic) == parse(name, "ipv6").inner(nic) + 20


@pytest.mark.parametrize("text", ["vxlam", "VXLAN6", "", ":", "wireguard over vxlan", "geneve-8"])
def test_an_unknown_name_is_answered_with_the_known_ones(text: str) -> None:
    with pytest.raises(UsageError, match=r"is no encapsulation.*: use one of none, ipip, vxlan, geneve, gre"):
        parse(text)


def test_a_near_miss_is_answered_with_what_was_meant() -> None:
    with pytest.raises(UsageError, match=r"did you mean wireguard\?"):
        parse("wiregard")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("vxlan:key", "vxlan takes vlan"),
        ("wireguard:8", "wireguard takes none"),
        ("geneve:x", "geneve takes vlan, the bytes of its options"),
        ("geneve:", "unknown option ''"),
        ("geneve:8,", "unknown option ''"),
        ("geneve:-4", "unknown option '-4'"),
        ("geneve:999999999", "unknown option"),
        ("geneve:\N{SUPERSCRIPT TWO}", "unknown option"),
        ("geneve:6", "multiple of 4 bytes, at most 252"),
        ("geneve:256", "multiple of 4 bytes, at most 252"),
        ("gre:encaplimit", "Only IPv6 tunnels"),
        ("ipip:encaplimit", "Only IPv6 tunnels"),
    ],
)
def test_a_wrong_option_is_named_with_the_right_ones(text: str, sentence: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(text)
    assert sentence in str(caught.value)


def test_an_unknown_family_is_named() -> None:
    with pytest.raises(UsageError, match="'ipx' is no outer family: use one of ipv4, ipv6"):
        parse("vxlan", "ipx")


@pytest.mark.parametrize("mtu", [-1, 0, 65536, 10**9])
def test_what_no_mtu_can_be_is_refused(mtu: int) -> None:
    for ask in (parse("vxlan").inner, parse("vxlan").outer, Stack(()).inner, Stack(()).outer, Stack(()).guaranteed):
        with pytest.raises(UsageError, match=f"An MTU of {mtu} cannot be"):
            ask(mtu)


def test_a_nic_below_what_the_headers_need_is_refused_with_what_they_need() -> None:
    with pytest.raises(UsageError, match=r"An MTU of 50 is too small for vxlan, whose headers alone take 50: .*118"):
        parse("vxlan").inner(50)
    assert parse("vxlan").inner(51) == 1
    assert parse("wireguard").inner(75) == 15
    with pytest.raises(UsageError, match="too small for wireguard"):
        parse("wireguard").guaranteed(75)
    with pytest.raises(UsageError, match="too small for esp-tunnel"):
        parse("esp-tunnel").inner(55)
    with pytest.raises(UsageError, match="too small for vxlan"):
        Stack((parse("wireguard"), parse("vxlan"))).inner(110)


def test_a_packet_that_no_ip_packet_can_carry_is_refused() -> None:
    assert parse("vxlan").outer(65485) == 65535
    with pytest.raises(UsageError, match="65486 would need 65536 bytes with vxlan"):
        parse("vxlan").outer(65486)


def test_every_header_names_its_source() -> None:
    known = [value for value in vars(headers).values() if isinstance(value, headers.Header)]
    assert len(known) >= 18
    assert all(header.size > 0 and header.source.startswith(("RFC", "IEEE", "WireGuard", "draft-")) for header in known)
    assert parse("vxlan").headers[0] == IPV4
