"""Nodes whose pods run commands, as an API without a cluster: what each image has is a table, and all is recorded."""

import asyncio
from collections.abc import Callable, Mapping, Sequence

from tests.support.scripted_api import CONNECTION

from kubemtu.core.objects import Object
from kubemtu.core.snapshot import Snapshot, Unread
from kubemtu.kube.api import Api
from kubemtu.kube.exec import CommandOutput, Place

Answer = Callable[[Place, tuple[str, ...]], "CommandOutput | Exception | None"]
"""What a command in a container prints, raises, or (None) that it never ends."""

MISSING = CommandOutput(output=b"", code=None, failure='exec: "ip": executable file not found in $PATH')
IP_LINK = (
    b'[{"ifindex":1,"ifname":"lo","flags":["LOOPBACK","UP"],"mtu":65536,"link_type":"loopback","promiscuity":0},'
    b'{"ifindex":2,"ifname":"eth0","flags":["UP"],"mtu":1500,"link_type":"ether","promiscuity":0},'
    b'{"ifindex":4,"ifname":"flannel.1","flags":["UP"],"mtu":1450,"link_type":"ether","promiscuity":0,'
    b'"linkinfo":{"info_kind":"vxlan","info_data":{"id":1,"link":"eth0","port":8472}}},'
    b'{"ifindex":9,"link_index":3,"ifname":"cali1234567890a","flags":["UP"],"mtu":1450,"link_type":"ether",'
    b'"link_netnsid":0,"promiscuity":0,"linkinfo":{"info_kind":"veth"}}]'
)
IP_ROUTE = (
    b"default via 192.0.2.254 dev eth0 proto static \n"
    b"192.0.2.0/24 dev eth0 proto kernel scope link src 192.0.2.1 \n"
    b"10.42.1.5 dev cali1234567890a scope link mtu lock 1400 \n"
    b"local 192.0.2.1 dev eth0 table local proto kernel scope host src 192.0.2.1 \n"
)
SYSFS = b"".join(
    f"/sys/class/net/{name}/{file}:{value}\n".encode()
    for name, facts in {
        "eth0": {"mtu": 1500, "ifindex": 2, "iflink": 2, "type": 1, "flags": "0x1003"},
        "flannel.1": {
            "mtu": 1450, "ifindex": 4, "iflink": 2, "type": 1, "flags": "0x1003", "uevent": "DEVTYPE=vxlan",
        },
        "cali1234567890a": {"mtu": 1450, "ifindex": 9, "iflink": 3, "type": 1, "flags": "0x1003"},
    }.items()
    for file, value in facts.items()
)  # fmt: skip
PROC = (
    b"/proc/net/route:Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"
    b"/proc/net/route:eth0\t00000000\tFE0200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n"
    b"/proc/net/route:eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n"
    b"/proc/net/route:cali1234567890a\t05012A0A\t00000000\t0005\t0\t0\t0\tFFFFFFFF\t0\t0\t0\n"
)


class Commanded(Api):
    """An Api whose pods are a table and whose commands a function answers; `ran` is what was run, in order."""

    def __init__(self, answer: Answer, pods: Mapping[str, Object]) -> None:
        super().__init__(CONNECTION)
        self.ran: list[tuple[Place, tuple[str, ...]]] = []
        self.running = self.most = 0
        self._answer, self._pods = answer, pods

    async def find(self, api_version: str, plural: str, name: str, namespace: str | None = None) -> Object | None:
        """Return a pod."""
        assert (api_version, plural) == ("v1", "pods")
        return self._pods.get(f"{namespace}/{name}")

    async def run(self, place: Place, command: Sequence[str], *, seconds: float) -> CommandOutput:
        """Answer a command."""
        self.ran.append((place, tuple(command)))
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await asyncio.sleep(0)
            answer = self._answer(place, tuple(command))
        finally:
            self.running -= 1
        if isinstance(answer, Exception):
            raise answer
        if answer is None:
            await asyncio.sleep(seconds)
            raise AssertionError("a command that never ends is for kube.exec to cut off")
        return answer


def with_ip(_place: Place, command: tuple[str, ...]) -> CommandOutput:
    """Answer as an image with iproute2."""
    return CommandOutput(output=IP_LINK if command[1] == "-d" else IP_ROUTE) if command[0] == "ip" else MISSING


def with_busybox(_place: Place, command: tuple[str, ...]) -> CommandOutput:
    """Answer as busybox, whose ip knows neither -d nor -j."""
    if command[0] == "ip":
        return CommandOutput(output=b"", complaint=b"ip: invalid option -- 'd'", code=1)
    return CommandOutput(output=SYSFS if command[0] == "find" else PROC)


def with_grep(_place: Place, command: tuple[str, ...]) -> CommandOutput:
    """Answer as an image that has grep and nothing else, as kube-proxy's."""
    if command[0] != "grep":
        return MISSING
    return CommandOutput(output=PROC if "/proc/net/route" in command else SYSFS, code=2)


def with_nothing(_place: Place, _command: tuple[str, ...]) -> CommandOutput:
    """Answer as an image with one program of its own."""
    return MISSING


def pod(
    name: str,
    node: str,
    owner: str = "canal",
    namespace: str = "kube-system",
    *,
    spec: Mapping[str, object] | None = None,
) -> Object:
    """Return a running pod of a DaemonSet on its node's own network, with one container where `spec` says nothing."""
    whole: dict[str, object] = {"containers": [{"name": "main"}], **(spec or {})}
    containers = whole["containers"]
    assert isinstance(containers, list)
    return Object.of(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": name, "namespace": namespace, "ownerReferences": [{"kind": "DaemonSet", "name": owner}],
            },
            "spec": {"nodeName": node, "hostNetwork": True, **whole},
            "status": {
                "phase": "Running",
                "containerStatuses": [{"name": each["name"], "state": {"running": {}}} for each in containers],
            },
        }
    )  # fmt: skip


def node(name: str, address: str, architecture: str = "amd64") -> Object:
    """Return a Node."""
    return Object.of(
        {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": name},
            "status": {
                "addresses": [{"type": "InternalIP", "address": address}],
                "nodeInfo": {"architecture": architecture, "kernelVersion": "6.1.0"},
            },
        }
    )


def cluster(pods: Sequence[Object], nodes: int = 1) -> Snapshot:
    """Return what the API shows of nodes n1, n2 ... with these pods, and no agents."""
    named = [node(f"n{number}", f"192.0.2.{number}") for number in range(1, nodes + 1)]
    silent = tuple(Unread(what=f"node {one.name}", why="no agent", message="it has no NodeMTU.") for one in named)
    return Snapshot(source="test", objects=(*named, *pods), unread=silent)


def api(answer: Answer, pods: Sequence[Object]) -> Commanded:
    """Return an Api with these pods, whose commands are answered so."""
    return Commanded(answer, {f"{one.namespace}/{one.name}": one for one in pods})
