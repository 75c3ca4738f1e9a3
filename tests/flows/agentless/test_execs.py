"""Nodes seen by commands in pods: which pod, which command, what is made of the answers, and what of refusals."""

import asyncio
from collections.abc import Sequence

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support import commanded
from tests.support.commanded import Answer, Commanded, cluster, pod

from kubemtu.core import errors, net
from kubemtu.core.objects import Object
from kubemtu.core.snapshot import Snapshot, Unread
from kubemtu.flows.agentless import commands, execs, sources
from kubemtu.kube import errors as kube_errors
from kubemtu.kube.exec import CommandOutput, Place

FOLDERS = {
    "volumes": [
        {"name": "net", "hostPath": {"path": "/etc/cni/net.d"}},
        {"name": "run", "hostPath": {"path": "/run/flannel/"}},
        {"name": "config", "configMap": {"name": "canal-config"}},
    ],
    "containers": [
        {"name": "agent", "volumeMounts": [{"name": "config", "mountPath": "/etc/config"}]},
        {
            "name": "files",
            "volumeMounts": [
                {"name": "net", "mountPath": "/host/etc/cni/net.d"},
                {"name": "run", "mountPath": "/host/flannel"},
            ],
        },
    ],
}


async def looked(answer: Answer, pods: Sequence[Object], nodes: int = 1) -> tuple[Snapshot, Commanded]:
    """Look at all nodes; returns the snapshot and the API that was asked."""
    api = commanded.api(answer, pods)
    snapshot = cluster(pods, nodes)
    return await sources.filled(snapshot, [lambda known, names: execs.observe(api, known, names)]), api


def programs(api: Commanded) -> list[str]:
    return [command[0] for _, command in api.ran]


async def test_a_node_as_ip_shows_it() -> None:
    snapshot, api = await looked(commanded.with_ip, [pod("canal-1", "n1")], 2)
    (seen,) = snapshot.nodes
    assert (seen.node, seen.seen_by, seen.kernel) == ("n1", "exec", "6.1.0")
    assert [(link.name, link.mtu, link.kind) for link in seen.links] == [
        ("lo", 65536, ""),
        ("eth0", 1500, ""),
        ("flannel.1", 1450, "vxlan"),
        ("cali1234567890a", 1450, "veth"),
    ]
    (port,) = seen.ports
    assert (port.host_link, port.host_mtu, port.pod_mtu, port.pod_index) == ("cali1234567890a", 1450, None, 3)
    assert port.addresses == ("10.42.1.5",)
    assert seen.uplinks == (net.Uplink(peer="192.0.2.2", device="eth0", mtu=1500),)
    assert (
        net.Route(family=4, destination="10.42.1.5/32", device="cali1234567890a", mtu=1400, locked=True) in seen.routes
    )
    assert {command for _, command in api.ran} == {commands.LINKS, commands.ROUTES}
    assert [entry.what for entry in snapshot.unread] == ["node n2"]  # no pod runs there


@pytest.mark.parametrize("answer", [commanded.with_busybox, commanded.with_grep])
async def test_an_image_without_iproute2(answer: Answer) -> None:
    snapshot, _ = await looked(answer, [pod("canal-1", "n1")], 2)
    (seen,) = snapshot.nodes
    assert [(link.name, link.mtu, link.kind) for link in seen.links] == [
        ("eth0", 1500, ""),
        ("flannel.1", 1450, "vxlan"),
        ("cali1234567890a", 1450, "veth"),
    ]
    assert [(port.host_link, port.host_mtu, port.addresses) for port in seen.ports] == [
        ("cali1234567890a", 1450, ("10.42.1.5",))
    ]
    assert [(way.device, way.mtu) for way in seen.uplinks] == [("eth0", 1500)]
    assert any("MTUs of routes" in sentence for sentence in seen.errors)  # "?", not "none"


async def test_what_an_image_has_is_learned_once() -> None:
    pods = [pod(f"canal-{number}", f"n{number}") for number in range(1, 41)]
    snapshot, api = await looked(commanded.with_busybox, pods, 40)
    assert len(snapshot.nodes) == 40
    assert programs(api).count("ip") <= 2 * execs.PARALLEL  # of those that began together
    assert api.most <= 3 * execs.PARALLEL


async def test_of_thousands_of_nodes_one_of_each_network_stands_for_it() -> None:
    names = {f"n{number}": (f"10.{number // 250}.{number % 10}.{number % 250}",) for number in range(1000)}
    peers = execs._peers(names)
    assert len(peers) == 40  # four times ten networks of 256 addresses
    assert execs._peers({"a": ("192.0.2.1",), "b": ("2001:db8::1", "192.0.2.2"), "c": ()}) == {
        "a": "192.0.2.1",
        "b": "2001:db8::1",
    }


async def test_a_pod_without_tools_is_followed_by_the_next() -> None:
    def answer(place: Place, command: tuple[str, ...]) -> CommandOutput:
        tools = commanded.with_nothing if place.pod.startswith("kube-proxy") else commanded.with_busybox
        return tools(place, command)

    pods = [pod("aa", "n1", "other"), pod("exporter-1", "n1", "node-exporter"), pod("kube-proxy-1", "n1", "kube-proxy")]
    snapshot, api = await looked(answer, pods)
    assert [node.node for node in snapshot.nodes] == ["n1"]
    order = list(dict.fromkeys(place.pod for place, _ in api.ran))
    assert order == ["kube-proxy-1", "exporter-1"]  # nobody else was touched


async def test_no_more_pods_than_a_few_are_tried() -> None:
    pods = [pod(f"p{number}", "n1", f"owner-{number}") for number in range(20)]
    snapshot, api = await looked(commanded.with_nothing, pods)
    assert snapshot.nodes == ()
    assert len({place.pod for place, _ in api.ran}) == execs.PODS_MOST
    (entry,) = snapshot.unread
    assert "has no tools that show its network" in entry.message


async def test_files_of_the_cni_come_from_where_the_pod_has_them() -> None:
    listing = (
        b"1700000000 /host/etc/cni/net.d/10-canal.conflist\n1700000001 /host/flannel/subnet.env\n"
        b'/host/etc/cni/net.d/10-canal.conflist:{"name": "x", "plugins": [{"type": "calico", "mtu": 1450,\n'
        b'/host/etc/cni/net.d/10-canal.conflist:"k8s_auth_token": "do-not-tell-this-to-anybody"}]}\n'
        b"/host/flannel/subnet.env:FLANNEL_MTU=1450\n/elsewhere/x.conf:{}\n"
    )

    def answer(place: Place, command: tuple[str, ...]) -> CommandOutput:
        if place.container == "files" and "stat" in command:
            return CommandOutput(output=listing, code=1)
        return commanded.with_ip(place, command)

    snapshot, api = await looked(answer, [pod("canal-1", "n1", spec=FOLDERS)])
    (seen,) = snapshot.nodes
    assert [(file.path, file.modified) for file in seen.files] == [
        ("/etc/cni/net.d/10-canal.conflist", 1700000000.0),
        ("/run/flannel/subnet.env", 1700000001.0),
    ]
    assert '"mtu": 1450' in seen.files[0].text
    assert "do-not-tell" not in repr(snapshot)
    (listed,) = [command for place, command in api.ran if place.container == "files" and "stat" in command]
    assert listed == commands.listed(("/host/etc/cni/net.d",), ("/host/flannel/subnet.env",))


async def test_a_node_that_hangs_costs_itself_alone() -> None:
    def answer(place: Place, command: tuple[str, ...]) -> CommandOutput | Exception:
        if place.pod == "kube-proxy-2":
            return kube_errors.CommandCutOff("`ip -d -j link` in pod kube-system/kube-proxy-2 did not end within 10 s")
        return commanded.with_ip(place, command)

    pods = [pod(f"kube-proxy-{number}", f"n{number}", "kube-proxy") for number in (1, 2, 3)]
    snapshot, _ = await looked(answer, [*pods, pod("other", "n2", "zz")], 3)
    assert [node.node for node in snapshot.nodes] == ["n1", "n3"]
    (entry,) = snapshot.unread
    assert (entry.what, entry.why) == ("node n2", "unreachable")
    assert "did not end within 10 s" in entry.message


async def test_a_kubelet_that_is_not_reached_says_nothing_of_the_image() -> None:
    def answer(place: Place, command: tuple[str, ...]) -> CommandOutput:
        if place.pod == "canal-1":
            return CommandOutput(output=b"", code=None, failure="error dialing backend: dial tcp: connection refused")
        return commanded.with_ip(place, command)

    pods = [pod(f"canal-{number}", f"n{number}") for number in (1, 2)]
    api = commanded.api(answer, pods)
    for _ in range(2):  # whichever node is first
        seen, unread = await execs.observe(api, cluster(pods, 2), ["n1", "n2"])
        assert [node.node for node in seen] == ["n2"]
        assert "was not run: error dialing backend" in unread[0].message


async def test_a_kubelet_that_lets_nobody_run_commands_is_quoted() -> None:
    refused = kube_errors.Rejected("https://k8s refused to get pods canal-1 (exec): Debug endpoints are disabled.")
    snapshot, _ = await looked(lambda _place, _command: refused, [pod("canal-1", "n1")])
    assert "Debug endpoints are disabled" in snapshot.unread[0].message


async def test_files_that_cannot_be_read_leave_the_network_seen() -> None:
    def answer(place: Place, command: tuple[str, ...]) -> CommandOutput | Exception:
        if "stat" in command:
            return kube_errors.CommandCutOff("it hangs")
        return commanded.with_ip(place, command)

    snapshot, _ = await looked(answer, [pod("canal-1", "n1", spec=FOLDERS)])
    assert "it hangs" in snapshot.nodes[0].errors


async def test_a_missing_right_is_named_once_and_other_namespaces_are_tried() -> None:
    def answer(place: Place, command: tuple[str, ...]) -> CommandOutput | Exception:
        if place.namespace == "kube-system":
            return errors.Forbidden("dev may not get pods canal-1 (exec); ask for the rule")
        return commanded.with_ip(place, command)

    pods = [pod(f"canal-{number}", f"n{number}") for number in (1, 2)]
    snapshot, api = await looked(answer, [*pods, pod("exporter", "n1", "node-exporter", "monitoring")], 2)
    assert [node.node for node in snapshot.nodes] == ["n1"]
    refused, left = snapshot.unread
    assert (refused.what, refused.why) == ("pods/exec in namespace kube-system", "forbidden")
    assert "kubectl create clusterrole kubemtu-exec --verb=create,get --resource=pods/exec" in refused.message
    assert left.what == "node n2"
    assert {place.namespace for place, _ in api.ran} == {"kube-system", "monitoring"}


async def test_where_no_websocket_comes_through_that_is_said_once() -> None:
    stripped = kube_errors.NotUpgraded("the proxy takes the headers off")
    pods = [pod(f"canal-{number}", f"n{number}") for number in range(1, 60)]
    snapshot, api = await looked(lambda _place, _command: stripped, pods, 59)
    assert snapshot.nodes == ()
    assert [entry for entry in snapshot.unread if not entry.what.startswith("node ")] == [
        Unread(what="commands in pods (pods/exec)", why="unreachable", message="the proxy takes the headers off")
    ]
    assert len({place.pod for place, _ in api.ran}) <= execs.PARALLEL


async def test_a_pod_that_went_meanwhile_is_followed_by_the_next() -> None:
    pods = [pod("canal-1", "n1"), pod("kube-proxy-1", "n1", "kube-proxy")]
    api = commanded.api(commanded.with_ip, pods[1:])
    seen, unread = await execs.observe(api, cluster(pods), ["n1"])
    assert ([node.node for node in seen], unread) == (["n1"], ())


@pytest.mark.parametrize(
    "output", [b"", b"[]", b"\xff\xfe\x00", b"[" * 5000, b'[{"ifname": "\\u001b[31m x", "ifindex": 1, "mtu": 5}]']
)
async def test_an_answer_that_lies_is_no_node(output: bytes) -> None:
    snapshot, _ = await looked(lambda _place, _command: CommandOutput(output=output), [pod("canal-1", "n1")])
    assert snapshot.nodes == ()
    assert "\x1b" not in repr(snapshot.unread)


LINES = [
    *commanded.IP_ROUTE.splitlines(),
    *commanded.SYSFS.splitlines(),
    *commanded.PROC.splitlines(),
    b"1700000000 /host/etc/cni/net.d/a.conf",
    b'/host/etc/cni/net.d/a.conf:{"type": "bridge", "mtu": 1e999}',
    b"\x1b[2J",
    b"",
]


@given(
    st.lists(
        st.one_of(
            st.lists(st.one_of(st.sampled_from(LINES), st.binary(max_size=60)), max_size=30).map(b"\n".join),
            st.binary(max_size=200),
            st.sampled_from([commanded.IP_LINK, commanded.IP_LINK[:-3], b"[{}]", b'[{"ifname":1,"mtu":[]}]']),
        ),
        min_size=1,
        max_size=5,
    )
)
def test_whatever_is_printed_becomes_values_and_sentences(outputs: list[bytes]) -> None:
    turn = iter(range(10_000))

    def answer(_place: Place, _command: tuple[str, ...]) -> CommandOutput:
        return CommandOutput(output=outputs[next(turn) % len(outputs)])

    snapshot, _ = asyncio.run(looked(answer, [pod("canal-1", "n1", spec=FOLDERS)]))
    assert len(snapshot.nodes) + len([entry for entry in snapshot.unread if entry.what == "node n1"]) == 1
    for one in snapshot.nodes:
        assert all(0 < link.mtu < 2**31 for link in one.links)
        assert all(port.pod_mtu is None for port in one.ports)


async def test_where_pods_may_not_be_read_that_is_said() -> None:
    hidden = Unread(what="pods", why="forbidden", message="dev may not list pods")
    snapshot = msgspec.structs.replace(cluster([]), unread=(hidden,))
    _, (entry,) = await execs.observe(commanded.api(commanded.with_ip, []), snapshot, ["n1"])
    assert entry.message.startswith("pods may not be read")


async def test_pods_that_are_not_on_their_nodes_network_or_end_are_left_alone() -> None:
    ending = Object.of({**pod("canal-1", "n1").body, "metadata": {"name": "canal-1", "deletionTimestamp": "x"}})
    inside = Object.of({**pod("web", "n1").body, "spec": {"nodeName": "n1"}})
    _, api = await looked(commanded.with_ip, [ending, inside])
    assert api.ran == []


async def test_nothing_but_the_fixed_list_is_run() -> None:
    ran: set[tuple[str, ...]] = set()
    for answer in (commanded.with_ip, commanded.with_busybox, commanded.with_grep, commanded.with_nothing):
        _, api = await looked(answer, [pod("canal-1", "n1", spec=FOLDERS)])
        ran |= {command for _, command in api.ran}
    fixed = {command for _, form in commands.FORMS for command in form}
    assert ran <= fixed | {commands.listed(("/host/etc/cni/net.d",), ("/host/flannel/subnet.env",))}
    assert {command[0] for command in ran} == {"ip", "find", "grep"}
