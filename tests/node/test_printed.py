"""What `ip`, `ifconfig` and busybox print of a real namespace, read back, against what the kernel says by netlink."""

import json
import shutil
import subprocess

import msgspec
import pytest
from tests.support.rigs import Rig, RigMaker, run

from kubemtu.cli import output
from kubemtu.core import net
from kubemtu.core.printed import node_show, observation, outputs, values
from kubemtu.node import observe
from kubemtu.node.change import single
from kubemtu.node.kernel import links, netlink

pytestmark = pytest.mark.netns

MORE = (
    "link set flannel.1 mtu 1410",
    "link add cni0 type bridge",
    "link add va type veth peer name vb",
    "link set va master cni0 mtu 1390 up",
    "link set cni0 up",
    "addr add 2001:db8::1/64 dev eth0 nodad",
    "link add vx6 type vxlan id 7 dev eth0 local 2001:db8::1 dstport 4789",
    "tuntap add tun9 mode tun",
    "link property add dev eth0 altname enp1s0",
    "link set eth0 alias looks-like-a-name",
    "route replace default via 192.168.77.254 dev eth0 mtu 1400",
    "route add 198.51.100.0/24 via 192.168.77.254 mtu lock 1300 advmss 1200",
    "route add 203.0.113.0/24 nexthop via 192.168.77.254 weight 1 nexthop via 10.42.3.0 dev flannel.1 onlink",
    "route add blackhole 10.255.0.0/16",
    "route add 2001:db8:1::/64 via 2001:db8::2 mtu 1290",
    "route add default via 2001:db8::2",
)


@pytest.fixture
def rig(rigs: RigMaker) -> Rig:
    """Return a node with two pods, and with a device and a route of each kind."""
    made = rigs(2)
    made.ip_batch(made.node, list(MORE))
    run("ip", "-n", made.node, "link", "set", "cali2", "mtu", "1450")
    return made


def printed(rig: Rig, *command: str) -> str:
    """Return what a command prints in the node's namespace."""
    return run("ip", "netns", "exec", rig.node, *command)


def kernels(rig: Rig) -> net.NodeObservation:
    """Return what our netlink reads there."""
    return rig.inside(lambda: observe.observe("node-1", ports=rig.rule))


def numberless(link: net.Link) -> net.Link:
    """Return a link without the number of its other end's namespace, for which text may have a name."""
    return msgspec.structs.replace(link, peer_netnsid=None if link.peer_netnsid is None else 0)


@pytest.mark.parametrize("command", ["ip -j -d link", "ip -j -d addr", "ip -p -j -d link"])
def test_json_with_details_says_what_the_kernel_says(rig: Rig, command: str) -> None:
    seen = outputs.parse(printed(rig, *command.split()))
    assert seen.links == kernels(rig).links
    assert (seen.remarks, seen.undetailed) == ((), frozenset())


@pytest.mark.parametrize("command", ["ip -d link", "ip -d a", "ip -c -d link", "ip -o -d link", "ip -s -d link"])
def test_text_with_details_says_what_the_kernel_says(rig: Rig, command: str) -> None:
    seen = outputs.parse(printed(rig, *command.split()))
    assert tuple(map(numberless, seen.links)) == tuple(map(numberless, kernels(rig).links))
    assert (seen.remarks, seen.undetailed) == ((), frozenset())
    assert seen.namespaces["cali1"] == rig.pods[0]


@pytest.mark.parametrize("command", ["ip link", "ip a", "ip -s link", "ip -j link", "ip -j a"])
def test_without_details_mtus_masters_and_pods_are_the_kernels(rig: Rig, command: str) -> None:
    seen, truth = outputs.parse(printed(rig, *command.split())), kernels(rig)

    def facts(link: net.Link) -> object:
        return (link.index, link.name, link.mtu, link.up, link.master)

    assert list(map(facts, seen.links)) == list(map(facts, truth.links))
    ends = {link.name: link.peer_index for link in truth.links if link.kind == "veth"}
    assert {link.name: link.peer_index for link in seen.links if link.kind == "veth"} == ends
    assert seen.remarks == ()


@pytest.mark.parametrize("options", [(), ("-j",), ("-d",), ("-c",), ("-j", "-d")])
def test_routes_are_the_kernels(rig: Rig, options: tuple[str, ...]) -> None:
    told = [outputs.parse(printed(rig, "ip", *options, family, "route")) for family in ("-4", "-6")]
    seen = {route for each in told for route in each.routes}
    truth = set(kernels(rig).routes)
    if "-j" in options:  # JSON of ip says nothing of locks
        truth = {msgspec.structs.replace(route, locked=False) for route in truth}
    assert seen == truth
    assert [each.remarks for each in told] == [(), ()]


def test_all_in_one_paste_says_the_same_as_each_alone(rig: Rig) -> None:
    alone = outputs.parse(printed(rig, "ip", "-d", "a"))
    script = "echo '# ip -d a'; ip -d a; echo; echo root@node-1:~# ip r; ip r; ip -6 route show table all"
    seen = outputs.parse(printed(rig, "sh", "-c", script))
    assert (seen.links, seen.addresses, seen.remarks) == (alone.links, alone.addresses, ())
    assert set(seen.routes) == set(kernels(rig).routes)


@pytest.mark.parametrize("command", ["ip -j a", "ip a", "ip -o a", "busybox ip a", "ifconfig", "busybox ifconfig"])
def test_addresses_are_the_kernels(rig: Rig, command: str) -> None:
    if shutil.which(command.split(maxsplit=1)[0]) is None:
        pytest.skip(f"{command.split(maxsplit=1)[0]} is not installed here")

    def truth() -> set[tuple[str, str]]:
        with netlink.Socket() as sock:
            names = {each.index: each.name for each in links.devices(sock)}
            return {(names[index], text) for index, texts in links.addresses(sock).items() for text in texts}

    seen = outputs.parse(printed(rig, *command.split()))
    assert {(each.device, each.text) for each in seen.addresses if each.routed} == rig.inside(truth)


@pytest.mark.parametrize("command", ["ifconfig -a", "busybox ifconfig -a", "busybox ip a", "busybox ip link"])
def test_small_tools_say_the_kernels_mtus(rig: Rig, command: str) -> None:
    if shutil.which(command.split(maxsplit=1)[0]) is None:
        pytest.skip(f"{command.split(maxsplit=1)[0]} is not installed here")
    done = subprocess.run(
        ("ip", "netns", "exec", rig.node, *command.split()), capture_output=True, text=True, check=False
    )
    seen = outputs.parse(done.stdout)
    assert {link.name: (link.mtu, link.up) for link in seen.links} == {
        link.name: (link.mtu, link.up) for link in kernels(rig).links
    }
    assert seen.remarks == ()
    assert seen.endless == {link.name for link in seen.links}


def test_what_node_show_prints_is_the_kernels_both_ends(rig: Rig) -> None:
    truth = kernels(rig)
    shown = node_show.parse(json.loads(output.WRITERS["json"](single.view(truth, rig.rule, ()))))
    details = outputs.parse(printed(rig, "ip", "-j", "-d", "link"))
    routes = outputs.parse(printed(rig, "sh", "-c", "ip route; ip -6 route"))
    both = values.joined([("show", shown), ("link", details), ("route", routes)])
    seen = observation.observed("node-1", both, peers=("192.168.77.9", "203.0.113.5"), rules=rig.rule)
    facts = [(port.host_link, port.host_index, port.host_mtu, port.netns, port.pod_mtu) for port in seen.ports]
    assert facts == [(port.host_link, port.host_index, port.host_mtu, port.netns, port.pod_mtu) for port in truth.ports]
    assert [facts[0][-1], facts[1][2]] == [1500, 1450]
    assert seen.links == truth.links
    assert set(seen.routes) == set(truth.routes)
    assert seen.errors == ("show: a pin is left on the node: 198.51.100.0/24 dev eth0 mtu lock 1300",)


def test_uplinks_are_those_that_the_kernel_looks_up(rig: Rig) -> None:
    peers = ("192.168.77.9", "198.51.100.7", "8.8.8.8", "2001:db8:1::7", "2001:db8::9")
    truth = rig.inside(lambda: observe.observe("node-1", ports=rig.rule, peers=peers))
    text = printed(rig, "sh", "-c", "ip -d a; ip route; ip -6 route")
    seen = observation.observed("node-1", outputs.parse(text), peers=peers, rules=rig.rule)

    assert {(way.device, way.mtu, way.route_mtu) for way in seen.uplinks} == {
        (way.device, way.mtu, way.route_mtu) for way in truth.uplinks
    }


@pytest.mark.parametrize("tool", ["ip a", "ip -d a", "ip -j -d a"])
def test_with_all_namespaces_both_ends_are_the_kernels(rig: Rig, tool: str) -> None:
    run("ip", "-n", rig.pods[0], "link", "set", "eth0", "mtu", "1320")
    truth = kernels(rig)
    texts = [printed(rig, *tool.split()), printed(rig, "ip", "route")]
    texts += [f"netns: {pod}\n{run('ip', 'netns', 'exec', pod, *tool.split())}" for pod in rig.pods]
    seen = observation.observed("node-1", outputs.parse("\n".join(texts)), peers=(), rules=rig.rule)
    facts = [(port.host_link, port.host_mtu, port.pod_link, port.pod_index, port.pod_mtu) for port in seen.ports]
    assert facts == [
        (port.host_link, port.host_mtu, port.pod_link, port.pod_index, port.pod_mtu) for port in truth.ports
    ]
    assert [port.addresses for port in seen.ports] == [port.addresses for port in truth.ports]
    assert [port.netns for port in seen.ports] == rig.pods
    assert facts[0][-1] == 1320
