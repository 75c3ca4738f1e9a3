"""The story of one operator, told twice on the built-in lab: once with kubemtu, once with the popular command.

Both tellings start from the same fault, under the same traffic, and are counted the same way: by the senders' and the
receivers' own books and the drop counters of both ends of every veth, from the first change to five seconds after the
last.
"""

import asyncio
import contextlib
import json
import os
import shutil
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Protocol

import msgspec

from kubemtu.core.change import migration, plan
from kubemtu.core.cluster import topology
from kubemtu.core.codes import Finding
from kubemtu.core.objects import Want
from kubemtu.core.probe import proof
from kubemtu.core.rules import report as rules_report
from kubemtu.flows import decide, observe
from kubemtu.flows.agents import events
from kubemtu.flows.change import act, migrations, outcome, prove
from kubemtu.flows.measure import why
from kubemtu.kube import api as kube_api
from kubemtu.kube import connect, mtu, write
from kubemtu_lab import cluster, scenes, state
from kubemtu_lab.traffic import plan as traffic_plan
from kubemtu_lab.traffic import run as traffic_run
from kubemtu_lab.traffic.tally import Counts, PortDrops, Tally

PATH = ("pod-1a", "pod-2a")
SCENE = "canal-1500"
BEFORE = 1.5  # seconds of traffic before the first change
AFTER = 5.0  # seconds after the last change that still count
READY = 60.0  # seconds for the agents to report
PODS = Want(kind="Pod", plural="pods", api_versions=("v1",), namespace="default")
CNI_PODS = Want(
    kind="Pod", plural="pods", api_versions=("v1",), namespace="kube-system", label_selector="k8s-app=canal"
)
IFCONFIG = "ifconfig | grep cali | cut -d' ' -f1 | tr -d : | xargs -n1 -I{} ifconfig {} mtu %d up"
IP = "ip -o link | grep -o 'cali[0-9a-f]*' | sort -u | xargs -n1 -I{} ip link set {} mtu %d up"


class FaultRow(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What the fault cost in the seconds before anything was changed."""

    udp_lost_silently: int
    """Datagrams that were lost without a word to their sender."""
    icmp_errors: int
    """Datagrams that a router answered with "too big"."""
    emsgsize_errors: int
    """Sends that the local kernel refused with EMSGSIZE."""
    tcp_longest_stall_ms: float
    """The longest time in which a connection did not move, in milliseconds."""


class StoryRow(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What one way to change the MTU cost, from the first change to five seconds after the last.

    The first five must be zero for a change that nobody notices.
    """

    udp_lost_silently: int
    """Datagrams that were lost without a word to their sender."""
    tcp_resets: int
    """Connections that were reset."""
    connect_failures: int
    """Connections that could not be made."""
    pods_restarted: int
    """Pods that were restarted."""
    tcp_stuck: int
    """Connections on which nothing moved any more in the end."""
    tcp_longest_stall_ms: float
    """The longest time in which a connection did not move, in milliseconds."""
    seconds: float
    """How long the change took, in seconds."""
    udp_sent: int
    """Datagrams that were sent."""
    emsgsize_errors: int
    """Sends that the local kernel refused with EMSGSIZE: path-MTU discovery at work, not loss."""
    icmp_errors: int
    """Datagrams that a router answered with "too big": path-MTU discovery at work, not loss."""
    veth_drops: int
    """Packets that the ends of veths dropped."""
    retransmits: int
    """TCP segments that were sent again."""
    connect_attempts: int
    """Connections that were tried."""
    before: FaultRow
    """What the fault cost in the seconds before anything was changed."""
    errors: dict[str, int] = {}
    """What programs were told by their sockets over the whole run, by name of the error."""
    flaws: tuple[str, ...] = ()
    """What speaks against the count itself, a sentence each."""


class Story(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The JSON of `kubemtu demo`."""

    findings_before: tuple[Finding, ...]
    """What `check` found in the fault."""
    findings_after: tuple[Finding, ...]
    """What `check` found in the end."""
    proof: proof.Proof | None
    """What full-size packets from pod to pod proved in the end."""
    kubemtu: StoryRow
    """What the change cost with kubemtu."""
    popular_fix: StoryRow | None
    """What it cost with the popular command; null where that was not run."""
    popular_command: str
    """That command."""
    seconds: float
    """How long all of it took, in seconds."""
    relief_seconds: float | None = None
    """Seconds from the first write to the last pin of all nodes."""
    why_before: str = ""
    """What `why` said of one path between two nodes in the fault."""
    why_after: str = ""
    """The same in the end."""
    schema: str = "kubemtu.io/demo/v1"
    """Version of this form."""


class Stage(Protocol):
    """Whoever shows the story while it is told."""

    def heading(self, text: str) -> None: ...
    def report(self, checked: rules_report.Report) -> None: ...
    def answer(self, answered: why.PathReport) -> None: ...
    def planned(self, whole: plan.Plan, as_planned: topology.Topology) -> None: ...
    def tell(self, event: events.Event) -> None: ...
    def row(self, name: str, row: StoryRow) -> None: ...
    def relieved(self, seconds: float) -> None: ...


async def story(stage: Stage, *, contrast: bool = True) -> Story:
    """Tell it; raises Surprise when a change does not do what it must."""
    began = time.monotonic()
    async with (
        cluster.cluster(scenes.named(SCENE).replace(agents=True), f"demo-{os.getpid()}") as lab,
        connected(lab) as api,
    ):
        stage.heading(f"A cluster of {len(lab.scene.nodes)} nodes, made of network namespaces: {lab.scene.summary}")
        await agents_ready(api, len(lab.scene.nodes))
        snapshot = await observe.observe(api)
        before = decide.check(snapshot)
        stage.heading("kubemtu check")
        stage.report(before)
        asked = await ask_why(api, stage)
        whole, found = decide.plan(snapshot)
        stage.heading("kubemtu plan")
        stage.planned(whole, found)
        stage.heading("kubemtu apply, under traffic")
        outcomes: list[outcome.Outcome] = []

        relief: list[float] = []

        async def change() -> None:
            began = time.monotonic()

            def tell(event: events.Event) -> None:
                if event.kind == "phase" and event.phase == migration.Phase.PIN_PORTS:
                    relief.append(round(time.monotonic() - began, 3))
                stage.tell(event)

            name = await migrations.begin(api, whole)
            outcomes.append(await act.carry_out(api, name, tell))

        ours = await measured(lab, api, change)
        stage.row("kubemtu", ours)
        stage.relieved(relief[0])
        after = decide.check(await observe.observe(api))
        stage.heading("kubemtu check")
        stage.report(after)
        answered = await ask_why(api, stage)
    theirs: StoryRow | None = None
    command = popular_command(whole.target)
    if contrast:
        stage.heading(f"The same start, the popular way: edit the ConfigMap, delete the canal pods, then\n  {command}")
        theirs = await popular(whole, command)
        stage.row("the popular way", theirs)
    return Story(
        findings_before=before.findings,
        findings_after=after.findings,
        proof=outcomes[0].proof,
        kubemtu=ours,
        popular_fix=theirs,
        popular_command=command,
        seconds=round(time.monotonic() - began, 1),
        relief_seconds=relief[0],
        why_before=asked,
        why_after=answered,
    )


async def ask_why(api: kube_api.Api, stage: Stage) -> str:
    """Ask whether one path between two nodes suffers from its MTU, show the answer, and return its sentence."""
    stage.heading(f"kubemtu why {' '.join(PATH)}")
    found = await why.why(api, *PATH, namespace="default")
    stage.answer(found)
    return found.diagnosis.sentence


async def popular(whole: plan.Plan, command: str) -> StoryRow:
    """Go the popular way on a lab of its own: the same edit, the pods deleted by hand, the loop on every node."""
    async with cluster.cluster(scenes.named(SCENE), f"demo-{os.getpid()}-popular") as lab, connected(lab) as api:

        async def change() -> None:
            for step in whole.steps:
                if isinstance(step, plan.EditValue):
                    await write.edit(api, step)
            await delete_cni_pods(api, len(lab.scene.nodes))
            for node in lab.scene.nodes:
                await asyncio.to_thread(lab.exec, node.name, ["sh", "-c", command])

        return await measured(lab, api, change)


def popular_command(target: int) -> str:
    """Return the loop that forum answers recommend; with `ip` where this machine has no ifconfig."""
    return (IFCONFIG if shutil.which("ifconfig") else IP) % target


async def measured(
    lab: cluster.Lab, api: kube_api.Api, change: Callable[[], Awaitable[None]], *, after: float = AFTER
) -> StoryRow:
    """Make a change under traffic, and balance the books; `after`: seconds after it that still count."""
    identities = await pod_identities(api)
    tally, seconds = await tallied(lab, api, change, after=after)
    return row(tally, seconds=seconds, restarted=len(identities - await pod_identities(api)))


async def tallied(
    lab: cluster.Lab, api: kube_api.Api, change: Callable[[], Awaitable[None]], *, after: float = AFTER
) -> tuple[Tally, float]:
    """Make a change under traffic; return the balanced books, and how many seconds it took."""
    nodes = [node.name for node in lab.scene.nodes]

    async def spawn(place: str, argv: Sequence[str]) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *lab.command(place, argv),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )

    def drops() -> dict[str, PortDrops]:
        return {name: counted for node in nodes for name, counted in port_drops(lab, node).items()}

    flows = traffic_plan.everyone(await places(lab, api))
    async with traffic_run.Traffic(spawn, flows, drops=drops) as traffic:
        await traffic.start("before")
        await asyncio.sleep(BEFORE)
        began = await traffic.mark("change")
        await change()
        ended = await traffic.mark("after")
        await asyncio.sleep(after)
        return await traffic.stop(), ended - began


def row(tally: Tally, *, seconds: float, restarted: int) -> StoryRow:
    """Return one line of the table from the books of a run."""
    counted: tuple[Counts, ...] = (tally.interval("change"), tally.interval("after"))
    before = tally.interval("before")
    return StoryRow(
        udp_lost_silently=sum(one.udp_lost_silently for one in counted),
        tcp_resets=sum(one.tcp_resets for one in counted),
        connect_failures=sum(one.connect_failures for one in counted),
        pods_restarted=restarted,
        tcp_stuck=sum(one.tcp_stuck for one in counted),
        tcp_longest_stall_ms=round(max(one.tcp_longest_stall_ms for one in counted), 1),
        seconds=round(seconds, 2),
        udp_sent=sum(one.udp_sent for one in counted),
        emsgsize_errors=sum(one.udp_told_emsgsize for one in counted),
        icmp_errors=sum(one.udp_told_icmp for one in counted),
        veth_drops=sum(one.veth_drops for one in counted),
        retransmits=sum(one.retransmits for one in counted),
        connect_attempts=sum(one.connect_attempts for one in counted),
        before=FaultRow(
            udp_lost_silently=before.udp_lost_silently,
            icmp_errors=before.udp_told_icmp,
            emsgsize_errors=before.udp_told_emsgsize,
            tcp_longest_stall_ms=round(before.tcp_longest_stall_ms, 1),
        ),
        errors=tally.errors,
        flaws=tally.flaws,
    )


async def places(lab: cluster.Lab, api: kube_api.Api) -> list[traffic_plan.FlowEnd]:
    """Return every pod, and every node as a sender with hostNetwork."""
    addresses = await prove.node_addresses(api)
    found = [
        traffic_plan.FlowEnd(name=pod, node=node.name, addresses=lab.pod(pod).addresses)
        for node in lab.scene.nodes
        for pod in node.pods
    ]
    found += [
        traffic_plan.FlowEnd(name=node.name, node=node.name, addresses=(addresses[node.name],), network="node")
        for node in lab.scene.nodes
    ]
    return found


_DROPS = """
import json
import os
from kubemtu.core import net
from kubemtu.node import observe
seen = observe.observe("", ports=net.PortRule(prefixes=("cali",)))
print(json.dumps({port.host_link: [port.host_rx_dropped, port.host_tx_dropped, port.pod_rx_dropped, port.pod_tx_dropped]
                  for port in seen.ports}))
"""


def port_drops(lab: cluster.Lab, node: str) -> dict[str, PortDrops]:
    """Return the drop counters of both ends of every pod port of a node, by the name of the host's end."""
    found: dict[str, list[int]] = json.loads(lab.python(node, _DROPS))
    return {
        name: PortDrops(host_rx_dropped=one, host_tx_dropped=two, pod_rx_dropped=three, pod_tx_dropped=four)
        for name, (one, two, three, four) in found.items()
    }


async def pod_identities(api: kube_api.Api) -> set[tuple[str, int]]:
    """Return the uid of every workload pod and how often its containers were restarted."""
    return {
        (
            pod.text("metadata", "uid") or "",
            sum(status.integer("restartCount") or 0 for status in pod.each("status", "containerStatuses")),
        )
        for pod in await api.list(PODS)
    }


async def delete_cni_pods(api: kube_api.Api, nodes: int) -> None:
    """Delete the CNI's pods, as people do, and wait until their successors are ready."""
    old = await api.list(CNI_PODS)
    for pod in old:
        await api.delete(await api.ref(pod.body))
    gone = {pod.text("metadata", "uid") for pod in old}
    async with asyncio.timeout(READY):
        while True:
            new = [pod for pod in await api.list(CNI_PODS) if pod.text("metadata", "uid") not in gone]
            if len(new) == nodes and all(state.is_ready(pod) for pod in new):
                return
            await asyncio.sleep(0.05)


async def agents_ready(api: kube_api.Api, nodes: int) -> None:
    """Wait until every node's agent shows its node, NICs to its peers included."""
    async with asyncio.timeout(READY):
        while True:
            seen = [node.observation for node in await mtu.nodes(api) if node.observation is not None]
            if len(seen) == nodes and all(one.uplinks and one.ports for one in seen):
                return
            await asyncio.sleep(0.05)


@contextlib.asynccontextmanager
async def connected(lab: cluster.Lab) -> AsyncIterator[kube_api.Api]:
    """Return the API of a lab."""
    async with kube_api.Api(connect.settings(str(lab.kubeconfig), None)) as api:
        yield api
