"""How soon a decrease stops the losses: `python -m bench.relief [rounds] [nodes ...]`; 20 rounds of 3 and of 30 nodes.

A switch port takes less than the NICs send, pods believe in 1500, and the CNI's pods take seconds to become ready, so
the rollout is the slow part. Under traffic the change is applied; what counts is the time from its first write until
the last pin of all nodes, and what was lost from then on, while the rollout went on. The change is broken off a few
seconds into its rollout; the lab is made anew for each round.
"""

import asyncio
import contextlib
import os
import statistics
import sys
import time
from collections.abc import Sequence

import msgspec

from kubemtu.core.change import migration, plan
from kubemtu.flows import decide, observe
from kubemtu.flows.agents import events
from kubemtu.flows.change import act, migrations
from kubemtu.kube import api as kube_api
from kubemtu_lab import cluster, scene, scenes
from kubemtu_lab.demo import story
from kubemtu_lab.traffic import plan as traffic_plan
from kubemtu_lab.traffic import run as traffic_run

ROUNDS = 20
SIZES = (3, 30)
PORT = 1400  # of node-2's switch port; it forwards what is larger by a VLAN tag, so 1404 bytes pass
CARRIED = 1404
TALKING = 4  # nodes whose pods talk, node-2 among them: more would measure this machine's two cores
BEFORE = 1.0  # seconds of traffic before the first write
AFTER = 5.0  # seconds of traffic after relief
READY_AFTER = 14.0  # seconds until a restarted flanneld is ready, as a real one takes


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """One round; times in seconds from the first write."""

    nodes: int
    relief_seconds: float
    order: tuple[str, ...]  # of what was done: phases, and kinds of the other steps
    lost_before: int  # datagrams, from the first write to relief: the fault's own cost
    lost_after: int
    stuck_after: int  # TCP questions that began after relief and got no answer
    failed_connects_after: int
    sent_after: int


def main() -> int:
    """Print the table; 1 when anything was lost after relief, or relief came after the configuration."""
    words = [int(word) for word in sys.argv[1:]]
    rounds, sizes = (words[0] if words else ROUNDS), tuple(words[1:]) or SIZES
    good = True
    for nodes in sizes:
        runs = []
        for number in range(1, rounds + 1):
            runs.append(asyncio.run(once(nodes)))
            print(f"{nodes} nodes, round {number}: {runs[-1]}", file=sys.stderr, flush=True)
        print(f"{nodes} nodes, {rounds} rounds; least / median / most")
        for field in (
            "relief_seconds",
            "lost_before",
            "lost_after",
            "stuck_after",
            "failed_connects_after",
            "sent_after",
        ):
            print(f"  {field:24}{spread([float(getattr(run, field)) for run in runs]):>30}")
        good = good and all(is_clean(run) for run in runs)
    return 0 if good else 1


def is_clean(run: Run) -> bool:
    """Return True when the pins came first and nothing was lost from then on."""
    return run.order[0] == "PinPorts" and not (run.lost_after or run.stuck_after or run.failed_connects_after)


def spread(values: Sequence[float]) -> str:
    """Least, median and most."""
    return " / ".join(f"{value:g}" for value in (min(values), round(statistics.median(values), 3), max(values)))


async def once(nodes: int) -> Run:
    """Make a lab with a black hole, begin the change in it under traffic, and break it off in its rollout."""
    sick = scene.resized(scenes.named("canal-1500"), nodes=nodes, pods=1).with_nics("node-2", scene.Nic(port_mtu=PORT))
    async with (
        cluster.cluster(sick.replace(agents=True, daemon_seconds=READY_AFTER), f"relief-{nodes}-{os.getpid()}") as lab,
        story.connected(lab) as api,
    ):
        async with asyncio.timeout(120):
            while not await _all_shown(api, nodes):
                await asyncio.sleep(0.2)
        whole, _found = decide.plan(await observe.observe(api), None, CARRIED)
        return await _under_traffic(lab, api, whole, nodes)


async def _all_shown(api: kube_api.Api, nodes: int) -> bool:
    with contextlib.suppress(TimeoutError):
        await story.agents_ready(api, nodes)
        return True
    return False


async def _under_traffic(lab: cluster.Lab, api: kube_api.Api, whole: plan.Plan, nodes: int) -> Run:
    order: list[str] = []
    relieved = asyncio.Event()
    at: list[float] = []

    def tell(event: events.Event) -> None:
        if event.kind == "phase":
            order.append(event.phase)
        elif event.kind == "step" and not isinstance(whole.steps[event.step or 0], plan.Live):
            order.append(type(whole.steps[event.step or 0]).__name__)
        if event.kind == "phase" and event.phase == migration.Phase.PIN_PORTS and not at:
            at.append(time.monotonic())
            relieved.set()

    async def change() -> None:
        name = await migrations.begin(api, whole)
        await act.carry_out(api, name, tell)

    async def spawn(place: str, argv: Sequence[str]) -> asyncio.subprocess.Process:
        pipe = asyncio.subprocess.PIPE
        return await asyncio.create_subprocess_exec(*lab.command(place, argv), stdin=pipe, stdout=pipe, stderr=pipe)

    talking = {node.name for node in lab.scene.nodes[:TALKING]}
    places = [place for place in await story.places(lab, api) if place.node in talking]
    async with traffic_run.Traffic(spawn, traffic_plan.everyone(places)) as traffic:
        await traffic.start("before")
        await asyncio.sleep(BEFORE)
        began = await traffic.mark("change")
        work = asyncio.create_task(change())
        waiting = asyncio.create_task(relieved.wait())
        await asyncio.wait((work, waiting), return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if work.done():
            work.result()
        await traffic.mark("relieved")
        await asyncio.sleep(AFTER)
        work.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await work
        tally = await traffic.stop()
    before, after = tally.interval("change"), tally.interval("relieved")
    return Run(
        nodes=nodes,
        relief_seconds=round(at[0] - began, 3),
        order=tuple(order),
        lost_before=before.udp_lost_silently,
        lost_after=after.udp_lost_silently,
        stuck_after=after.tcp_stuck,
        failed_connects_after=after.connect_failures,
        sent_after=after.udp_sent,
    )


if __name__ == "__main__":
    sys.exit(main())
