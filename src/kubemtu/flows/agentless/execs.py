"""Nodes seen by commands in pods that run there already: bounded in time, in parallel, and in what is run.

Of each node one container shows the network, and whichever of its pod has the CNI's folder mounted shows that. An
image without the tools is not tried again on other nodes, and a node whose command hangs costs its own time alone.
"""

import asyncio
import shlex
from collections.abc import Mapping, Sequence

import msgspec

from kubemtu.cni import registry
from kubemtu.core import errors, net
from kubemtu.core.disclosure import files as disclosure
from kubemtu.core.objects import NODES, PODS, Object, Ref, node_addresses
from kubemtu.core.printed import file_lines, ip_json, outputs, procnet, sysfs, values
from kubemtu.core.printed import observation as printed
from kubemtu.core.rights import EXEC_ROLE
from kubemtu.core.snapshot import Snapshot, Unread
from kubemtu.flows.agentless import commands, places
from kubemtu.flows.agentless.sources import Shown, unread_node
from kubemtu.kube import api as kube_api
from kubemtu.kube import errors as kube_errors
from kubemtu.kube.exec import CommandOutput

PARALLEL = 20  # nodes at once, with three commands each at most
PODS_MOST = 4  # of a node that are tried
PEERS_MOST = 500
COMMAND_SECONDS = 10.0
ALL_SECONDS = 120.0  # for all nodes: of thousands the last ones are then named as not looked at
_BIG_ENDIAN = frozenset({"s390x"})


async def observe(api: kube_api.Api, snapshot: Snapshot, names: Sequence[str]) -> Shown:
    """Look at these nodes by what runs on them. Each that could not be looked at is an Unread; nothing is raised."""
    reader = NodeReader(api, snapshot)
    turn = asyncio.Semaphore(PARALLEL)
    late = asyncio.get_running_loop().time() + ALL_SECONDS

    async def one(name: str) -> net.NodeObservation | Unread:
        async with turn:
            if asyncio.get_running_loop().time() > late:
                return unread_node(name, f"it was not looked at within {ALL_SECONDS:g} s, which all nodes had together")
            return await reader.node(name)

    shown = await asyncio.gather(*map(one, names))
    seen = tuple(each for each in shown if isinstance(each, net.NodeObservation))
    return seen, (*reader.refused, *(each for each in shown if isinstance(each, Unread)))


class NodeReader:
    """Reads nodes of one cluster, and remembers of each image which commands it has."""

    def __init__(self, api: kube_api.Api, snapshot: Snapshot) -> None:
        self._api = api
        self._daemonset = _daemonset(snapshot)
        self._pods = places.host_pods(snapshot, self._daemonset, _daemonsets())
        self._nodes = {node.name: node for node in snapshot.each(NODES.kind)}
        self._addresses = {name: _addresses(node) for name, node in self._nodes.items()}
        self._peers = _peers(self._addresses)
        self._no_pods = any(entry.what == PODS.plural and entry.why == "forbidden" for entry in snapshot.unread)
        self._able: set[tuple[places.Key, str]] = set()  # images, with a form in which they show a network
        self._lacking: set[tuple[places.Key, str]] = set()  # and with one for which they have no tools
        self._denied: dict[str, Unread] = {}  # by namespace
        self._ended: Unread | None = None

    @property
    def refused(self) -> tuple[Unread, ...]:
        """Return what may not be done at all, once each."""
        return (*self._denied.values(), *((self._ended,) if self._ended is not None else ()))

    async def node(self, name: str) -> net.NodeObservation | Unread:
        """Look at one node."""
        tried: list[str] = []
        look = Look(name)
        for pod in self.candidates(name):
            if self._ended is not None:
                return unread_node(name, "it was not looked at, as no command can be run")
            if pod.namespace in self._denied:
                tried.append(f"commands in namespace {pod.namespace} are forbidden")
                continue
            try:
                await self._look(look, pod)
            except kube_errors.Absent:
                tried.append(f"pod {pod.namespace}/{pod.name} does not run any more")
            except kube_errors.Rejected as error:  # its container has just ended, or its kubelet lets nobody do this
                tried.append(str(error).rstrip("."))
            except (errors.Forbidden, kube_errors.NotUpgraded) as error:
                self._refuse(error, pod.namespace)
                tried.append(f"commands in namespace {pod.namespace} are refused")
            except errors.KubemtuError as error:
                if look.output is None:
                    return unread_node(name, str(error).rstrip("."))
                look.remarks.append(str(error))
                break
            if look.output is not None and look.files_done:
                break
            if look.output is None:
                tried.append(f"pod {pod.namespace}/{pod.name} has no tools that show its network")
        if look.output is None:
            none = (
                "pods may not be read"
                if self._no_pods
                else "no pod on its own network runs there, by what the API shows"
            )
            why = "; ".join(dict.fromkeys(tried)) or none
            return unread_node(name, why)
        return self.observation(look)

    def candidates(self, name: str) -> Sequence[places.HostPod]:
        """Return the pods on a node's own network, the likeliest first."""
        return self._pods.get(name, [])[:PODS_MOST]

    async def all_containers(self, name: str) -> list[places.Container]:
        """Return the containers in which commands would be run on a node, in the order in which they would be tried."""
        found: list[places.Container] = []
        for pod in self.candidates(name):
            found += await self._containers(pod)
        return found

    async def _containers(self, pod: places.HostPod) -> list[places.Container]:
        whole = await self._api.find("v1", "pods", pod.name, pod.namespace)
        if whole is None:
            raise kube_errors.Absent(f"pod {pod.namespace}/{pod.name} is gone")
        return places.containers(whole, pod.owner, registry.node_paths())

    async def _look(self, look: "Look", pod: places.HostPod) -> None:
        """Take from the containers of a pod what is missing yet. Raises what `Api.run` does."""
        containers = await self._containers(pod)
        having = sorted((one for one in containers if one.has), key=lambda one: -one.has)
        listing = [] if look.files_done else [self._files(look, one) for one in having[:2]]
        network = [] if look.output is not None else [self._network(look, containers)]
        look.files_done = look.files_done or any(one.folders for one in having) or pod.rank > 0
        # What one of them cannot do ends none of the others: each keeps in `look` what it has seen.
        for result in await asyncio.gather(*network, *listing, return_exceptions=True):
            if isinstance(result, BaseException):
                raise result

    async def _network(self, look: "Look", containers: Sequence[places.Container]) -> None:
        """Take the network from the first container that shows it in the best form that any of the pod has."""
        ways = [(form, argvs, one) for form, argvs in commands.FORMS for one in containers]
        ways.sort(key=lambda way: (way[2].key, way[0]) not in self._able)  # what another node's pod had comes first
        for form, argvs, container in ways:
            if (container.key, form) in self._lacking:
                continue
            results = await asyncio.gather(*(self._run(container, argv) for argv in argvs))
            if (output := read(form, results, big_endian=self.big_endian(look.node))) is not None:
                self._able.add((container.key, form))
                look.output = output
                return
            self._lacking.add((container.key, form))

    async def _files(self, look: "Look", container: places.Container) -> None:
        folders, files = tuple(container.folders.values()), tuple(container.files.values())
        result = await self._run(container, commands.listed(folders, files))
        if not result.missing:
            look.take_files(_text(result), {**container.folders, **container.files})

    async def _run(self, container: places.Container, argv: commands.Command) -> CommandOutput:
        result = await self._api.run(container.place, argv, seconds=COMMAND_SECONDS)
        if result.code is None and not result.missing:  # says nothing of the image
            raise kube_errors.CommandCutOff(f"`{shlex.join(argv)}` in {container.place} was not run: {result.failure}")
        return result

    def _refuse(self, error: errors.KubemtuError, namespace: str) -> None:
        if isinstance(error, errors.Forbidden) and not isinstance(error, kube_errors.Unauthenticated):
            self._denied[namespace] = Unread(
                what=f"pods/exec in namespace {namespace}",
                why="forbidden",
                message=f"{error}. As a ClusterRole: {EXEC_ROLE}",
            )
        else:
            self._ended = Unread(what="commands in pods (pods/exec)", why="unreachable", message=str(error))

    def big_endian(self, name: str) -> bool:
        """Say whether a node has its bytes in network order."""
        node = self._nodes.get(name)
        return node is not None and node.get("status", "nodeInfo", "architecture") in _BIG_ENDIAN

    def observation(self, look: "Look", seen_by: net.SeenBy = "exec") -> net.NodeObservation:
        """Return what was seen of a node as an observation."""
        assert look.output is not None
        node = self._nodes.get(look.node)
        kernel = node.get("status", "nodeInfo", "kernelVersion") if node is not None else ""
        others = [address for name, address in self._peers.items() if name != look.node]
        seen = printed.observed(
            look.node,
            look.output,
            peers=others,
            rules=registry.ports(),
            own=self._addresses.get(look.node, ()),
            files=tuple(sorted(look.files.values(), key=lambda file: file.path)),
            seen_by=seen_by,
            kernel=kernel if isinstance(kernel, str) else "",
        )
        return msgspec.structs.replace(
            seen,
            routes=tuple(route for route in seen.routes if route.tells),
            observed_at=self._api.now(),
            errors=tuple(dict.fromkeys((*seen.errors, *look.remarks))),
        )


class Look:
    """What has been seen of one node so far."""

    def __init__(self, node: str) -> None:
        self.node = node
        self.output: values.Output | None = None
        self.files: dict[str, net.NodeFile] = {}
        self.files_done = False
        self.remarks: list[str] = []

    def take_files(self, text: str, inside: Mapping[str, str]) -> None:
        """Take the files that `commands.listed` printed; `inside` says where each path of the node was."""
        shown = file_lines.parse(text, {there: path for path, there in inside.items()})
        for file in shown.files:
            if (kept := disclosure.shown(file.path, file.text)) is not None:
                self.files.setdefault(file.path, msgspec.structs.replace(file, text=kept))
        self.remarks += shown.remarks


def read(form: str, results: Sequence[CommandOutput], *, big_endian: bool) -> values.Output | None:
    """Return what a form of looking showed; None where the image has no such tools, or they showed no device."""
    first, second = (_text(result) for result in results)
    match form:
        case "ip":
            parts = (ip_json.parse(first), outputs.parse(second))
        case _:
            parts = (sysfs.parse(first), procnet.parse(second, big_endian=big_endian))
    return values.together(parts) if parts[0].links else None


def _text(result: CommandOutput) -> str:
    return result.output.decode("utf-8", "replace")


def _daemonset(snapshot: Snapshot) -> Ref | None:
    """Return the CNI's DaemonSet; None where the pod network is not recognised."""
    try:
        return registry.recognise(snapshot).daemonset
    except errors.KubemtuError:
        return None


def _daemonsets() -> frozenset[tuple[str, str]]:
    """Return namespace and name of the DaemonSets that the CNIs ask for."""
    return frozenset(
        (want.namespace or "", want.name) for want in registry.wants() if want.plural == "daemonsets" and want.name
    )


def _peers(addresses: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Return by which address each node is reached; of thousands one in each network of a NIC's usual size.

    Each node's ways to all others would be looked up, which for 5,000 are 25 million; those of one network are alike.
    """
    first = {name: held[0] for name, held in addresses.items() if held}
    if len(first) <= PEERS_MOST:
        return first
    networks: dict[str, str] = {}
    for name, address in first.items():
        networks.setdefault(":".join(address.split(":")[:4]) if ":" in address else address.rpartition(".")[0], name)
    return {name: first[name] for name in networks.values()}


def _addresses(node: Object) -> tuple[str, ...]:
    try:
        return node_addresses(node)
    except errors.Malformed:
        return ()
