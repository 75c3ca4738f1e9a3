"""MTUs alone: files of /sys as grep prints them, and node_exporter's metrics."""

import pytest

from kubemtu.core.printed import outputs

METRICS = """\
# HELP go_goroutines Number of goroutines that currently exist.
# TYPE go_goroutines gauge
go_goroutines 9
# HELP node_network_mtu_bytes Network device property: mtu_bytes
# TYPE node_network_mtu_bytes gauge
node_network_mtu_bytes{device="cali0a1b2c3d4e5"} 1430
node_network_mtu_bytes{device="eth0"} 1450
node_network_mtu_bytes{device="lo"} 65536
node_network_mtu_bytes{device="dummy0"} 1.5e+03
node_network_mtu_bytes{device="bad"} NaN
node_network_mtu_bytes{instance="node-1:9100",device="flannel.1",job="node"} 1.4e+03
# HELP node_nf_conntrack_entries Number of currently allocated flow entries for connection tracking.
"""
SYSFS = """\
$ grep . /sys/class/net/*/mtu
/sys/class/net/eth0/mtu:1450
/sys/class/net/flannel.1/mtu:1400
/sys/class/net/lo/mtu:65536
/sys/class/net/x/mtu:many
"""


def test_metrics_of_node_exporter() -> None:
    assert outputs.recognise(METRICS) == "ip"
    seen = outputs.parse(METRICS)
    assert {link.name: link.mtu for link in seen.links} == {
        "cali0a1b2c3d4e5": 1430,
        "eth0": 1450,
        "lo": 65536,
        "dummy0": 1500,
        "flannel.1": 1400,
    }
    assert seen.endless == {link.name for link in seen.links}
    assert seen.remarks == ("'bad' has the MTU 'NaN', as no link can have",)


def test_files_of_sys() -> None:
    assert outputs.recognise(SYSFS) == "ip"
    seen = outputs.parse(f"{SYSFS}default via 10.0.0.1 dev eth0\n")
    assert {link.name: link.mtu for link in seen.links} == {"eth0": 1450, "flannel.1": 1400, "lo": 65536}
    assert [route.device for route in seen.routes] == ["eth0"]
    assert seen.remarks == ("'x' has the MTU 'many', as no link can have",)


def test_files_of_sys_with_indexes_say_more() -> None:
    text = "".join(
        f"/sys/class/net/{name}/{file}:{value}\n"
        for name, index, peer, mtu in (("eth0", 2, 2, 1450), ("cali1", 5, 3, 1430))
        for file, value in (("mtu", mtu), ("ifindex", index), ("iflink", peer), ("type", 1), ("flags", "0x1003"))
    )
    seen = outputs.parse(text)
    assert [(link.name, link.index, link.mtu, link.kind) for link in seen.links] == [
        ("eth0", 2, 1450, ""),
        ("cali1", 5, 1430, "veth"),
    ]


@pytest.mark.parametrize("number", ["1e+06", "1.000001e+06", "0", "-1", "1e+99", "٣", "1.5"])
def test_numbers_as_go_writes_them(number: str) -> None:
    seen = outputs.parse(f'node_network_mtu_bytes{{device="eth0"}} {number}\n')
    known = {"1e+06": 1_000_000, "1.000001e+06": 1_000_001}
    assert [link.mtu for link in seen.links] == ([known[number]] if number in known else [])
