"""Whatever a text holds: no exception, time in proportion to its size, and nothing that a terminal would obey."""

import json
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kubemtu.core.printed import ip_json, outputs
from kubemtu.core.text import printable

PIECES = st.sampled_from(
    [
        "2: eth0@if4: <BROADCAST,UP> mtu 1450 qdisc noqueue master cni0 state UP group default",
        "    link/ether 02:00:00:00:00:01 brd ff:ff:ff:ff:ff:ff link-netnsid 0 promiscuity 0",
        "    vxlan id 1 local 10.0.0.1 dev eth0 dstport 8472",
        "    inet 10.0.0.1/24 scope global eth0",
        "default via 10.0.0.1 dev eth0 mtu lock 1400",
        "\tnexthop via 10.0.0.1 dev eth0",
        "    cache expires 1sec mtu 1400",
        "eth0: flags=4163<UP>  mtu 1500",
        "eth0      Link encap:Ethernet",
        "          UP BROADCAST  MTU:1500  Metric:1",
        "          inet addr:10.0.0.1  Mask:255.0.0.0",
        "Kernel IP routing table",
        "0.0.0.0         10.0.0.1        0.0.0.0         UG    0      0        0 eth0",
        '[{"ifindex":1,"ifname":"lo","mtu":65536,"flags":["UP"]}]',
        '[{"dst":"default","dev":"eth0","metrics":[1400 ]}]',
        "root@node-1:~# ip a",
        "[",
        "{",
        "",
    ]
)
LINES = st.lists(st.one_of(PIECES, st.text(max_size=40)), max_size=12)
KEYS = """
ifindex ifname mtu flags link link_index link_netnsid master linkinfo metrics info_kind info_data id port addr_info
local prefixlen family dst dev gateway via nexthops type table advmss promiscuity
""".split()  # noqa: SIM905  # one a line would be thirty
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(KEYS),
            inner,
            max_size=6,
        )
    ),
    max_leaves=25,
)


@given(LINES)
def test_any_lines_are_read_or_said(lines: list[str]) -> None:
    text = "\n".join(lines)
    seen = outputs.parse(text)
    assert all(0 < link.mtu < 2**31 and len(link.name) < 16 for link in seen.links)
    assert all(not printable.CONTROL.search(remark) and "\n" not in remark for remark in seen.remarks)
    assert isinstance(outputs.recognise(text), str)
    assert isinstance(outputs.host(text), str)


@given(st.lists(JSON, max_size=4))
@example([{"ifindex": 1, "ifname": "a", "mtu": 1, "linkinfo": [], "flags": "UP", "addr_info": {}}])
@example([{"dst": "default", "table": [], "type": {}, "dev": []}])
@example([{"ifname": [], "mtu": [], "link": {}, "addr_info": [{"family": [], "local": {}, "prefixlen": []}]}])
@example([{"dst": "default", "dev": None, "nexthops": [None, {}], "metrics": [[]]}])
def test_any_json_is_read_or_said(value: list[object]) -> None:
    seen = ip_json.parse(json.dumps(value))
    assert all(0 < link.mtu < 2**31 for link in seen.links)
    assert all(not printable.CONTROL.search(remark) for remark in seen.remarks)


def test_names_keep_what_they_hold_and_sentences_do_not() -> None:
    seen = outputs.parse("2: e\x07th0: <UP> mtu 15\x1b[31m00\x1b]0;title\x07 qdisc x\nfoo \x1b[2J\x9b31m bar\u202e")
    assert all(not printable.CONTROL.search(remark) for remark in seen.remarks)
    assert [link.mtu for link in seen.links] == [1500]


@pytest.mark.parametrize(
    "line",
    [
        "((((",
        ":::::::",
        "a@a@a@",
        "/a/a/a",
        " MTU: ",
        "      ",
        "inet6 ",
        '"metrics":[1',
        "\x1b]\x1b]",
        "[1,\n",
        "[\n",
        "[{\n",
        "> # $ ",
        "x UP",
        "\\ \\ ",
        "- ip - ip",
        "1: a: <",
        "default default ",
        'node_network_mtu_bytes{device="a"',
        'device="a",',
        "/sys/class/net/",
        "netns: ",
        "nsenter -n ",
    ],
)
def test_what_repeats_without_end_takes_steps_in_proportion(line: str) -> None:
    for text in (line * 20_000, f"  {line * 20_000}", "\n".join([line] * 20_000)):
        outputs.parse(text)  # pytest's timeout ends what takes the square
        outputs.host(text)
        outputs.recognise(text)


def test_what_has_no_end_is_left_out_and_said() -> None:
    one = "netns: n{0}\n2: eth0@if{0}: <UP> mtu 1500 qdisc noqueue group default\n"
    seen = outputs.parse("".join(one.format(number) for number in range(1, 5_100)))
    assert len(seen.inside) == 5_000
    assert seen.remarks == ("line 10002: more than 5,000 namespaces: the rest was left out",)
    seen = outputs.parse("2: eth0: <UP> mtu 1500 qdisc noqueue\n" + "\n" * 250_000)
    assert [link.mtu for link in seen.links] == [1500]
    assert seen.remarks == ("line 200001: more than 200,000 lines: the rest was left out",)


def test_remarks_stay_few_and_links_too() -> None:
    seen = outputs.parse("what\n" * 3)
    assert seen.remarks == tuple(f"line {line}: is not understood: 'what'" for line in (1, 2, 3))
    seen = outputs.parse("what\n" * 5000)
    assert len(seen.remarks) == 21
    assert re.fullmatch(r"and 4980 more lines of this kind", seen.remarks[-1])
