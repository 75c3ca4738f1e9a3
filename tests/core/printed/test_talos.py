"""What `talosctl get links|routes|addresses` prints (siderolabs/talos: pkg/machinery/resources/network)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubemtu.core import net
from kubemtu.core.printed import outputs, talos
from kubemtu.core.printed.values import Address
from kubemtu.core.text import printable


def resource(kind: str, name: str, spec: dict[str, object], node: str = "10.5.0.3") -> dict[str, object]:
    return {
        "node": node,
        "metadata": {"namespace": "network", "type": f"{kind}Statuses.net.talos.dev", "id": name, "phase": "running"},
        "spec": spec,
    }


def link(name: str, index: int, mtu: object, **more: object) -> dict[str, object]:
    spec = {"index": index, "type": "ether", "linkIndex": 0, "flags": "UP,BROADCAST,RUNNING,MULTICAST", "mtu": mtu}
    return resource("Link", name, spec | {"kind": "", "slaveKind": ""} | more)


RESOURCES = [
    link("eth0", 8, 1450, flags="UP,BROADCAST,RUNNING,MULTICAST,LOWER_UP"),
    link("dummy0", 3, 1500, flags="BROADCAST,NOARP", kind="dummy"),
    link("flannel.1", 9, 1400, kind="vxlan"),
    link("cni0", 10, 1400, kind="bridge"),
    link("veth11aa22bb", 11, 1400, kind="veth", linkIndex=3, masterIndex=10, slaveKind="bridge"),
    link("va", 12, 1500, kind="veth", linkIndex=13),
    link("vb", 13, 1500, kind="veth", linkIndex=12),
    resource("Address", "eth0/10.5.0.3/24", {"address": "10.5.0.3/24", "linkName": "eth0", "family": "inet4"}),
    resource(
        "Route",
        "inet4/10.5.0.1//1024",
        {
            "family": "inet4",
            "dst": "",
            "src": "",
            "gateway": "10.5.0.1",
            "outLinkName": "eth0",
            "table": "main",
            "priority": 1024,
            "type": "unicast",
        },
    ),
    resource(
        "Route",
        "inet6//fd00::/64/256",
        {"family": "inet6", "dst": "fd00::/64", "gateway": "", "outLinkName": "eth0", "table": "main", "mtu": 1380},
    ),
    resource("Route", "inet4//127.0.0.1/32/0", {"family": "inet4", "dst": "127.0.0.1/32", "table": "local"}),
    resource("Hostname", "hostname", {"hostname": "worker-1"}),
]


def test_links_addresses_and_routes() -> None:
    (seen,) = talos.parse(enumerate(RESOURCES, 1)).values()
    assert {each.name: (each.mtu, each.kind, each.up, each.master) for each in seen.links} == {
        "eth0": (1450, "", True, None),
        "dummy0": (1500, "dummy", False, None),
        "flannel.1": (1400, "vxlan", True, None),
        "cni0": (1400, "bridge", True, None),
        "veth11aa22bb": (1400, "veth", True, "cni0"),
        "va": (1500, "veth", True, None),
        "vb": (1500, "veth", True, None),
    }
    ends = {each.name: (each.peer_index, each.peer_netnsid) for each in seen.links if each.kind == "veth"}
    assert ends == {"veth11aa22bb": (3, -1), "va": (13, None), "vb": (12, None)}
    assert seen.addresses == (Address(device="eth0", text="10.5.0.3", length=24),)
    assert set(seen.routes) == {
        net.Route(family=4, destination="default", device="eth0", gateway="10.5.0.1"),
        net.Route(family=6, destination="fd00::/64", device="eth0", mtu=1380),
    }
    assert seen.lacks == {"route MTUs"}
    assert seen.remarks == ()


def test_nodes_are_told_apart_by_what_talosctl_calls_them() -> None:
    both = talos.parse([(1, link("eth0", 8, 1450)), (9, {**link("eth0", 8, 1500), "node": "10.5.0.4"})])
    assert {node: [each.mtu for each in output.links] for node, output in both.items()} == {
        "10.5.0.3": [1450],
        "10.5.0.4": [1500],
    }


@pytest.mark.parametrize("mtu", ["1500", None, 0, -1, True, 2**40])
def test_a_link_without_an_mtu_that_one_can_have_is_said(mtu: object) -> None:
    (seen,) = talos.parse([(7, link("eth0", 8, mtu))]).values()
    assert seen.links == ()
    assert seen.remarks[0].startswith("line 7: the link 'eth0' has the MTU ")


def test_a_table_has_no_mtus_and_says_where_they_are() -> None:
    text = "NODE       NAMESPACE   TYPE         ID     VERSION   TYPE\n10.5.0.3   network     LinkStatus   eth0   3\n"
    assert outputs.recognise(text) == "ip"
    seen = outputs.parse(text)
    assert not seen.says
    assert seen.remarks[0] == "`talosctl get` shows no MTUs in a table: `talosctl get links -o yaml` does"


VALUES = st.recursive(st.none() | st.integers() | st.text(max_size=8), lambda inner: st.lists(inner, max_size=2))


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["Link", "Route", "Address", "Other"]),
            st.dictionaries(st.sampled_from(["index", "mtu", "linkIndex", "dst", "address", "flags", "kind"]), VALUES),
        ),
        max_size=5,
    )
)
def test_any_resource_is_read_or_said(listed: list[tuple[str, dict[str, object]]]) -> None:
    for output in talos.parse((1, resource(kind, "x\x1b", spec)) for kind, spec in listed).values():
        assert all(not printable.CONTROL.search(remark) for remark in output.remarks)
