"""Pods that somebody names, looked into by commands in their own containers; nobody else's are."""

import json
from collections.abc import Callable

import msgspec
import pytest
from tests.support import commanded, example
from tests.support.commanded import Answer

from kubemtu.core import errors, net
from kubemtu.core.cluster import layout
from kubemtu.core.objects import Object
from kubemtu.core.rules import inner as rule
from kubemtu.core.snapshot import Snapshot
from kubemtu.flows.agentless import commands, named_pods
from kubemtu.kube import errors as kube_errors
from kubemtu.kube.exec import CommandOutput, Place

LINKS = json.dumps(
    [
        {"ifindex": 1, "ifname": "lo", "flags": ["UP"], "mtu": 65536, "link_type": "loopback"},
        {"ifindex": 3, "link_index": 10, "ifname": "eth0", "flags": ["UP"], "mtu": 1450, "link_type": "ether",
         "link_netnsid": 0, "linkinfo": {"info_kind": "veth"}},
        {"ifindex": 4, "ifname": "docker0", "flags": ["UP"], "mtu": 1500, "link_type": "ether",
         "linkinfo": {"info_kind": "bridge"}},
        {"ifindex": 6, "link_index": 5, "ifname": "veth1", "flags": ["UP"], "mtu": 1500, "master": "docker0",
         "link_type": "ether", "link_netnsid": 1, "linkinfo": {"info_kind": "veth", "info_slave_kind": "bridge"}},
    ]
).encode()  # fmt: skip
ROUTES = b"default via 169.254.1.1 dev eth0 mtu 1400 \n172.17.0.0/16 dev docker0 scope link \n"
SYSFS = b"".join(
    f"/sys/class/net/{name}/{file}:{value}\n".encode()
    for name, facts in {
        "eth0": {"mtu": 1450, "ifindex": 3, "iflink": 10, "type": 1, "flags": "0x1003"},
        "docker0": {"mtu": 1500, "ifindex": 4, "iflink": 4, "type": 1, "flags": "0x1003", "uevent": "DEVTYPE=bridge"},
        "veth1": {"mtu": 1500, "ifindex": 6, "iflink": 5, "type": 1, "flags": "0x1003", "master/ifindex": 4},
    }.items()
    for file, value in facts.items()
)
PROC = (
    b"/proc/net/route:Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"
    b"/proc/net/route:eth0\t00000000\t0101FEA9\t0003\t0\t0\t0\t00000000\t0\t0\t0\n"
)


def by_ip(_place: Place, command: tuple[str, ...]) -> CommandOutput:
    return CommandOutput(output=LINKS if command == commands.LINKS else ROUTES)


def by_files(_place: Place, command: tuple[str, ...]) -> CommandOutput:
    if command[0] == "ip":
        return CommandOutput(output=b"", complaint=b"ip: invalid option -- 'd'", code=1)
    return CommandOutput(output=PROC if command == commands.PROC else SYSFS)


def cluster(*, addressed: bool = True, pod_index: int = 3) -> tuple[Snapshot, Object]:
    """A node of which only host ends were seen, with one pod; `addressed`: a route tells whose its host end is."""
    port = msgspec.structs.replace(example.port("ci-1", "10.42.1.10"), pod_mtu=None, pod_link="", pod_index=pod_index)
    seen = example.node("n1", ports=(port,))
    snapshot = example.cluster((seen,))
    if not addressed:
        port = msgspec.structs.replace(port, addresses=())
        snapshot = msgspec.structs.replace(snapshot, nodes=(msgspec.structs.replace(seen, ports=(port,)),))
    pod = snapshot.find("Pod", "ci-1", "default")
    assert pod is not None
    pod.body["spec"] = {"nodeName": "n1", "containers": [{"name": "job"}, {"name": "dind"}]}
    pod.body["status"] = {
        **pod.mapping("status"),
        "containerStatuses": [{"name": "dind", "state": {"running": {}}}],
    }
    return snapshot, pod


async def looked(answer: Answer, snapshot: Snapshot, pod: Object, *names: str) -> tuple[Snapshot, commanded.Commanded]:
    api = commanded.api(answer, [pod])
    return await named_pods.looked_into(api, snapshot, names or ("default/ci-1",)), api


@pytest.mark.parametrize("answer", [by_ip, by_files])
@pytest.mark.parametrize(("addressed", "pod_index"), [(True, 3), (True, 0), (False, 0)])
async def test_docker_in_it_is_seen_and_judged(answer: Answer, addressed: bool, pod_index: int) -> None:
    snapshot, pod = cluster(addressed=addressed, pod_index=pod_index)
    found, api = await looked(answer, snapshot, pod)
    (port,) = found.nodes[0].ports
    assert (port.pod_link, port.pod_index, port.pod_mtu, port.others) == ("eth0", 3, 1450, ("docker0", "veth1"))
    assert port.inner == (net.InnerDevice(name="docker0", kind="bridge", mtu=1500, ports=1, port_mtu=1500),)
    assert {place.container for place, _ in api.ran} == {"dind"}  # the one that runs
    assert {command for _, command in api.ran} <= {argv for _, argvs in commands.FORMS for argv in argvs}
    assert found.unread == ()
    (wrong,) = rule.find(layout.model(found, example.state()))
    assert (wrong.code, wrong.place) == ("MTU131", "node n1, pod default/ci-1, docker0")


def _refusing(error: Exception) -> Answer:
    return lambda _place, _command: error


@pytest.mark.parametrize(
    ("answer", "why", "says"),
    [
        (commanded.with_nothing, "unreachable", "no container of it runs that has the tools which show a network"),
        (_refusing(errors.Forbidden("pods/exec is forbidden")), "forbidden", "kubectl create clusterrole"),
        (_refusing(kube_errors.CommandCutOff("it did not end within 10 s")), "unreachable", "did not end within 10 s"),
    ],
)
async def test_what_cannot_be_seen_is_said(answer: Answer, why: str, says: str) -> None:
    snapshot, pod = cluster()
    found, _ = await looked(answer, snapshot, pod)
    (entry,) = found.unread
    assert (entry.what, entry.why) == ("pod default/ci-1", why)
    assert says in entry.message
    assert found.nodes == snapshot.nodes


async def test_a_pod_of_a_node_that_nobody_has_seen() -> None:
    snapshot, pod = cluster()
    found, _ = await looked(by_ip, msgspec.structs.replace(snapshot, nodes=()), pod)
    assert "its node shows no interface of it" in found.unread[0].message


def _on_host(pod: Object) -> None:
    pod.body["spec"] = {"nodeName": "n1", "hostNetwork": True}


@pytest.mark.parametrize(
    ("name", "change", "says"),
    [
        ("ci-1", None, "name it as NAMESPACE/NAME"),
        ("default/", None, "name it as NAMESPACE/NAME"),
        ("default/nobody", None, "no pod default/nobody was read"),
        ("default/ci-1", _on_host, "nothing inside it to look at"),
    ],
)
async def test_what_is_no_pod_is_a_sentence(name: str, change: Callable[[Object], None] | None, says: str) -> None:
    snapshot, pod = cluster()
    if change is not None:
        change(pod)
    with pytest.raises(errors.UsageError, match=says):
        await looked(by_ip, snapshot, pod, name)
