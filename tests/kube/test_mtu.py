"""NodeMTU and MTUMigration: what is written comes back the same, and two writers never lose each other's words."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager

import httpx2
import msgspec
import pytest

from kubemtu.core import errors, net
from kubemtu.core.change import migration as phases
from kubemtu.core.change import plan, undo
from kubemtu.core.evidence import records as evidence_records
from kubemtu.core.mesh import rounds
from kubemtu.core.objects import Object, Ref
from kubemtu.core.path import search, verdict
from kubemtu.core.probe import request
from kubemtu.flows.agents import retry
from kubemtu.flows.change import driver
from kubemtu.kube import crd, mtu, records
from kubemtu.kube import errors as kube_errors
from kubemtu.kube.api import Api

Scripted = Callable[..., tuple[Api, list[httpx2.Request]]]
As = Callable[[str], AbstractAsyncContextManager[Api]]

BARE = phases.Desired(
    migration="m",
    phase=phases.Phase.RECORD,
    pin_mtu=1400,
    highest_mtu=1450,
    ports=net.PortRule(bridge="cni0"),
    pod_mtu=1400,
    origin_mtu=1450,
)
FULL = phases.Desired(
    migration="m",
    phase=phases.Phase.DEVICES,
    pin_mtu=1400,
    highest_mtu=1450,
    ports=net.PortRule(prefixes=("cali",)),
    pod_mtu=1400,
    origin_mtu=1450,
    tunnel="flannel.1",
    tunnel_mtu=1400,
    bridge="cni0",
    pod_networks=("10.42.0.0/16",),
    restore=True,
)
APPLIED = phases.Applied(
    phase=phases.Phase.DEVICES,
    restore=False,
    done=True,
    pods=3,
    settings_changed=2,
    largest_sent=1400,
    smallest_accepted=1450,
    duration_seconds=0.5,
)
SEEN = net.NodeObservation(
    node="n1",
    links=(
        net.Link(index=2, name="cali1", mtu=1450, kind="veth", peer_netnsid=0),
        net.Link(index=1, name="lo", mtu=65536),
    ),
    ports=(
        net.PodPort(
            netns="a",
            inode=7,
            host_link="cali1",
            host_index=2,
            host_mtu=1450,
            pod_link="eth0",
            pod_index=3,
            pod_mtu=1450,
        ),
    ),
    observed_at=1795435200.25,
)
FOUND = search.SearchResult(
    ending="unreachable",
    mtu=0,
    limit=None,
    next_size_losses=0,
    fitting_packets=0,
    fitting_lost=0,
    rounds=2,
    packets=8,
    interface_mtu=1450,
)
TOLD = request.ProbeReport(
    ready=True,
    done=True,
    results=(
        request.PathResult(
            path="a > b",
            verdict=verdict.Verdict(kind="black hole", mtu=1400, sentence="it vanishes", evidence=("x",)),
            protocol="ICMP echo",
            forward=verdict.Direction(search=FOUND),
            packets=8,
            notes=("a note",),
        ),
        request.PathResult(path="b > a", verdict=verdict.Verdict(kind="ok", mtu=1450, sentence=""), both_ways=True),
    ),
    readings=(
        request.PassiveReading(link="cali1", before=evidence_records.Evidence(established=3), flushed=2),
        request.PassiveReading(link="cali2", error="the pod behind cali2 is gone"),
    ),
    mesh_row=rounds.MeshRow(
        sender=1, measured=3, ok=1, groups=(rounds.PeerGroup(kind="lower", mtu=1400, receivers=(0, 2)),)
    ),
    errors=("one",),
)
BARE_TOLD = request.ProbeReport()
EDIT = plan.EditValue(
    ref=Ref(api_version="v1", kind="ConfigMap", plural="configmaps", name="canal-config", namespace="kube-system"),
    path=("data", "veth_mtu"),
    before=None,
    after="1400",
    why="why",
)
SINCE = "2026-11-23T12:00:00Z"
PLAN = plan.Plan(
    cni="canal",
    target=1400,
    current=1450,
    steps=(
        EDIT,
        plan.Rollout(ref=EDIT.ref, why="why", conflist="/etc/cni/net.d/10-canal.conflist", mtu=1400),
        plan.Live(
            nodes=(plan.NodeTarget(node="n1", ports=net.PortRule(prefixes=("cali",)), pod_mtu=1400, origin_mtu=1450),),
            pin_mtu=1400,
            highest_mtu=1450,
            underlay=1450,
            why="why",
        ),
    ),
    remains=("that",),
)


@pytest.fixture
async def api(as_user: As) -> AsyncIterator[Api]:
    async with as_user("admin") as open_api:
        await crd.install(open_api)
        yield open_api


# NodeMTU


async def test_desired_comes_back_as_it_went(api: Api) -> None:
    assert await mtu.node(api, "n1") is None
    for desired in (FULL, BARE, FULL):  # what the one has and the other lacks must go, and come again
        assert (await mtu.set_desired(api, "n1", desired)).desired == desired
        assert [one.desired for one in await mtu.nodes(api)] == [desired]
    assert (await mtu.set_desired(api, "n1", None)).desired is None


async def test_asking_for_the_same_again_changes_nothing(api: Api) -> None:
    first = await mtu.set_desired(api, "n1", FULL)
    assert await mtu.set_desired(api, "n1", FULL) == first


async def test_who_was_overtaken_writes_nothing(api: Api) -> None:
    first = await mtu.set_desired(api, "n1", BARE)
    second = await mtu.set_desired(api, "n1", FULL, resource_version=first.resource_version)
    with pytest.raises(errors.Conflict):
        await mtu.set_desired(api, "n1", BARE, resource_version=first.resource_version)
    assert (await mtu.node(api, "n1")) == second


async def test_asking_nothing_of_a_node_makes_no_object(api: Api) -> None:
    assert await mtu.set_desired(api, "n1", None) == mtu.NodeMtu(name="n1")
    assert await mtu.nodes(api) == []


async def test_status_comes_back_as_it_went(api: Api) -> None:
    agent = mtu.AgentIdentity(version="0.1.0", pid=7, started_at="2026-11-23T12:00:00Z")
    answers = {"p1": TOLD, "p2": BARE_TOLD}
    made = await mtu.set_status(api, "n1", applied=APPLIED, probes=answers, observation=SEEN, agent=agent)
    assert (made.applied, made.probes, made.observation, made.agent) == (APPLIED, answers, SEEN, agent)
    assert made.observed_at == 1795435200.25
    assert made.desired is None
    assert await mtu.node(api, "n1") == made


async def test_status_is_about_one_generation_of_the_spec(api: Api) -> None:
    asked = await mtu.set_desired(api, "n1", BARE)
    assert not asked.current
    assert (await mtu.set_status(api, "n1", generation=asked.generation, applied=APPLIED)).current
    again = await mtu.set_desired(api, "n1", FULL)
    assert not again.current
    assert again.applied == APPLIED


async def test_what_is_not_given_stays_and_none_takes_away(api: Api) -> None:
    await mtu.set_status(api, "n1", applied=APPLIED, probes={"p1": TOLD})
    bare = phases.Applied(
        phase=phases.Phase.RECORD, restore=False, done=False, pods=0, settings_changed=0, failures=("x",)
    )
    found = await mtu.set_status(api, "n1", applied=bare)
    assert (found.applied, found.probes) == (bare, {"p1": TOLD})
    found = await mtu.set_status(api, "n1", probes=None)
    assert (found.applied, found.probes) == (bare, {})


async def test_answers_come_and_go_by_their_names(api: Api) -> None:
    await mtu.set_status(api, "n1", probes={"p1": BARE_TOLD, "p2": BARE_TOLD})
    found = await mtu.set_status(api, "n1", probes={"p2": TOLD, "p3": BARE_TOLD})
    assert found.probes == {"p1": BARE_TOLD, "p2": TOLD, "p3": BARE_TOLD}
    found = await mtu.set_status(api, "n1", probes={"p2": None, "p4": None})
    assert found.probes == {"p1": BARE_TOLD, "p3": BARE_TOLD}
    assert (await mtu.set_status(api, "n1", probes={})).probes == found.probes


async def test_a_later_answer_takes_the_place_of_the_whole_earlier_one(api: Api) -> None:
    await mtu.set_status(api, "n1", probes={"p1": TOLD})
    less = request.ProbeReport(ready=True, done=True, results=TOLD.results[1:])
    assert (await mtu.set_status(api, "n1", probes={"p1": less})).probes == {"p1": less}


async def test_a_node_owns_its_object(api: Api) -> None:
    node = await api.create({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}})
    await mtu.set_desired(api, "n1", BARE)
    found = await api.find("kubemtu.io/v1alpha1", "nodemtus", "n1")
    assert found is not None
    owners = [
        (one.text("kind"), one.text("name"), one.text("uid")) for one in found.each("metadata", "ownerReferences")
    ]
    assert owners == [("Node", "n1", node.text("metadata", "uid"))]


async def test_without_the_definitions(as_user: As) -> None:
    async with as_user("admin") as bare:
        assert await mtu.nodes(bare) == []
        with pytest.raises(kube_errors.Absent, match=r"does not serve the kind NodeMTU of kubemtu\.io/v1alpha1"):
            await mtu.set_desired(bare, "n1", BARE)


def node_mtu(**parts: object) -> Object:
    return Object.of({"kind": "NodeMTU", "metadata": {"name": "n1"}, **parts})


@pytest.mark.parametrize(
    ("found", "sentence"),
    [
        (
            node_mtu(spec={"phase": "Record"}),
            "NodeMTU n1: spec cannot be read: Object missing required field `migration`",
        ),
        (
            node_mtu(status={"applied": {"phase": "Later"}}),
            "NodeMTU n1: status.applied cannot be read: Invalid enum value",
        ),
        (node_mtu(status={"observation": []}), "NodeMTU n1: status.observation cannot be read: Expected `object`"),
        (node_mtu(status={"observedAt": "soon"}), "NodeMTU n1: status.observedAt is no time ('soon'); delete it"),
        (node_mtu(status="x"), ""),
        (node_mtu(status={"probes": "x"}), "NodeMTU n1: status.probes must be a mapping but is a string"),
    ],
)
def test_a_node_that_cannot_be_read(found: Object, sentence: str) -> None:
    if not sentence:
        assert records.node_of(found).applied is None
        return
    with pytest.raises(errors.Malformed) as caught:
        records.node_of(found)
    assert caught.value.exit_code == 5
    assert str(caught.value).startswith(sentence)


def test_an_answer_that_cannot_be_read_hides_neither_the_others_nor_the_node() -> None:
    answers = {"good": {"ready": True}, "bad": {"ready": "perhaps"}, "worse": 7}
    found = records.node_of(node_mtu(status={"probes": answers, "applied": records.encoded(APPLIED)}))
    assert (found.applied, found.probes["good"]) == (APPLIED, request.ProbeReport(ready=True))
    for name in ("bad", "worse"):
        assert found.probes[name].done
        (trouble,) = found.probes[name].errors
        assert trouble.startswith("a report cannot be read: Expected `")


# MTUMigration


async def test_a_migration_comes_back_as_it_went(api: Api) -> None:
    made = await mtu.create_migration(api, "m", PLAN)
    assert (made.plan, made.direction, made.progress, made.journal) == (PLAN, "forward", undo.Progress(), ())
    assert await mtu.migration(api, "m") == made
    assert await mtu.migrations(api) == [made]
    with pytest.raises(kube_errors.AlreadyThere):
        await mtu.create_migration(api, "m", PLAN)
    assert await mtu.delete_migration(api, "m")
    assert not await mtu.delete_migration(api, "m")


async def test_a_plan_of_thousands_of_nodes_comes_back_as_it_went(api: Api) -> None:
    names = [f"ip-10-0-{number}.eu-central-1.compute.internal" for number in range(4000)]
    targets = tuple(
        plan.NodeTarget(node=name, ports=net.PortRule(prefixes=("cali",)), pod_mtu=1400, origin_mtu=1450, running=30)
        for name in names
    )
    halves = plan.Live(nodes=targets, pin_mtu=1400, highest_mtu=1450, underlay=1450, why="as born").halves()
    large = plan.Plan(cni="canal", target=1400, current=1450, steps=halves)
    assert (await mtu.create_migration(api, "m", large)).plan == large
    assert (await mtu.set_plan(api, "m", PLAN, "forward")).plan == PLAN
    assert (await mtu.set_plan(api, "m", large, "forward")).plan == large


async def test_changes_come_in_the_order_in_which_they_were_begun(api: Api) -> None:
    """Within one second the server's clock cannot tell, and a second process may think that it is 30 ms earlier."""
    for name in ("calico-1450-1a2241e19aa", "canal-1500-1a2241e19ab", "m", "canal-1404-1a2241e19ac"):
        await mtu.create_migration(api, name, PLAN)
    found = await mtu.migrations(api)
    assert [one.name for one in found] == [
        "m",  # whatever is not of our making
        "calico-1450-1a2241e19aa",
        "canal-1500-1a2241e19ab",
        "canal-1404-1a2241e19ac",
    ]
    assert records.next_number(found, 0x1A2241E198C / 1000) == 0x1A2241E19AD
    assert records.next_number(found, 0x1A2241E1A00 / 1000) == 0x1A2241E1A00
    assert records.next_number([], 1000.5) == 1000500


async def test_progress_and_journal(api: Api) -> None:
    await mtu.create_migration(api, "m", PLAN)
    there = undo.Progress(step=2, phase=phases.Phase.DEVICES)
    await mtu.advance(api, "m", there, "begin: live", result="ok")
    found = await mtu.advance(api, "m", undo.Progress(step=3, finished=True), "finished", expected=there)
    assert found.progress == undo.Progress(step=3, finished=True)
    assert [(entry.what, entry.result) for entry in found.journal] == [("begin: live", "ok"), ("finished", "")]
    assert found.journal[0].time < found.journal[1].time
    back = undo.turn(found.progress, PLAN.steps)
    assert (await mtu.advance(api, "m", back, "turned")).progress == back
    assert (await mtu.set_direction(api, "m", "backward")).direction == "backward"


async def test_no_line_of_the_journal_is_lost_to_another_writer(api: Api) -> None:
    await mtu.create_migration(api, "m", PLAN)
    await asyncio.gather(*(mtu.advance(api, "m", undo.Progress(), f"line {number}") for number in range(4)))
    found = await mtu.migration(api, "m")
    assert sorted(entry.what for entry in found.journal) == ["line 0", "line 1", "line 2", "line 3"]


async def test_two_drivers(api: Api) -> None:
    await mtu.create_migration(api, "m", PLAN)
    await mtu.advance(api, "m", undo.Progress(step=2), "by the other")
    with pytest.raises(kube_errors.DrivenElsewhere) as caught:
        await mtu.advance(api, "m", undo.Progress(step=1), "by us", expected=undo.Progress(step=0))
    assert caught.value.exit_code == 7
    assert str(caught.value) == (
        "MTUMigration m is driven by another kubemtu, which has taken it over: it goes forward and is at step 3 now; "
        "let that one finish"
    )
    assert [entry.what for entry in (await mtu.migration(api, "m")).journal] == ["by the other"]


async def test_a_driver_gives_signs_and_lets_go(api: Api) -> None:
    await mtu.create_migration(api, "m", PLAN)
    here = undo.Progress(epoch=1)
    await mtu.advance(api, "m", here, "begin", driver="alice@desk (process 7)")
    first = (await mtu.migration(api, "m")).driver
    assert first is not None
    assert (first.identity, first.release_time) == ("alice@desk (process 7)", None)
    again = (await mtu.renew(api, "m", "alice@desk (process 7)", epoch=1)).driver
    assert again is not None
    assert again.renew_time > first.renew_time
    gone = await mtu.release(api, "m", "alice@desk (process 7)", epoch=1)
    assert gone.driver is not None
    assert gone.driver.release_time is not None
    assert (gone.progress, len(gone.journal)) == (here, 1)  # signs are no lines of the journal

    # Whoever takes over gives its own, and the one before it none any more.
    taken = await mtu.advance(api, "m", undo.take_over(here), "taken", expected=here, driver="bob@desk (process 8)")
    assert taken.driver is not None
    assert (taken.driver.identity, taken.driver.release_time) == ("bob@desk (process 8)", None)
    for late in (mtu.renew, mtu.release):
        with pytest.raises(kube_errors.DrivenElsewhere):
            await late(api, "m", "alice@desk (process 7)", epoch=1)
    assert (await mtu.migration(api, "m")).driver == taken.driver


async def test_signs_come_while_nothing_is_written_and_end_with_the_driver(api: Api) -> None:
    await mtu.create_migration(api, "m", PLAN)
    found = await mtu.migration(api, "m")

    async def another(before: str) -> str:
        while (there := (await mtu.migration(api, "m")).driver) is None or there.renew_time == before:
            await asyncio.sleep(0.01)
        return there.renew_time

    async def drive() -> None:
        async with driver.driving(api, found, retry.Retry(), every=0.02) as record:
            sign = ""
            for _ in range(3):
                sign = await another(sign)
            await record.note(msgspec.structs.replace(record.progress, begun=True), "begin")  # nobody is in its way
            raise errors.Surprise("it stopped")

    with pytest.raises(errors.Surprise, match="it stopped"):
        await drive()
    ended = await mtu.migration(api, "m")
    assert ended.driver is not None
    assert ended.driver.release_time is not None
    assert [entry.what for entry in ended.journal] == [f"a driver takes over: {driver.me()}", "begin"]
    assert ended.progress.epoch == 1


async def test_a_condition_says_whether_a_change_has_come_to_its_end(api: Api) -> None:
    """And keeps its time until its status changes; what somebody else has set there stays."""
    await mtu.create_migration(api, "m", PLAN)
    theirs = {"type": "Seen", "status": "Unknown", "reason": "R", "message": "", "lastTransitionTime": SINCE}
    await api.patch(mtu.migration_ref("m"), {"status": {"conditions": [theirs]}}, subresource="status")
    first = await mtu.advance(api, "m", undo.Progress(begun=True), "begin")
    second = await mtu.advance(api, "m", undo.Progress(step=1), "done")
    third = await mtu.advance(api, "m", undo.Progress(step=3, finished=True), "done")
    assert [one.type for one in third.conditions] == ["Seen", "Complete"]
    complete = [one.conditions[-1] for one in (first, second, third)]
    assert [(one.status, one.reason) for one in complete] == [
        ("False", "InProgress"),
        ("False", "InProgress"),
        ("True", "Applied"),
    ]
    times = [one.last_transition_time for one in complete]
    assert times[0] == times[1] < times[2]


@pytest.mark.parametrize(
    ("progress", "status", "reason"),
    [
        (undo.Progress(direction="backward", turned_step=2), "False", "RollingBack"),
        (undo.Progress(direction="backward", turned_step=2, finished=True), "True", "RolledBack"),
        (undo.Progress(direction="backward", turned_step=-1, finished=True), "True", "Abandoned"),
    ],
)
def test_to_which_end_a_rollback_has_come(progress: undo.Progress, status: str, reason: str) -> None:
    found = records.complete(progress, (), SINCE)
    assert (found.status, found.reason, found.last_transition_time) == (status, reason, SINCE)


async def test_an_unknown_migration(api: Api) -> None:
    with pytest.raises(errors.UsageError, match="has no MTUMigration m; `kubectl get mtumigrations` lists") as caught:
        await mtu.migration(api, "m")
    assert caught.value.exit_code == 2


async def test_conflicts_without_an_end(scripted: Scripted) -> None:
    path = "/apis/kubemtu.io/v1alpha1/mtumigrations/m"
    body = {"metadata": {"name": "m"}, "spec": {"plan": {"cni": "canal", "target": 1400, "current": None, "steps": []}}}
    api, asked = scripted({f"GET {path}": body, f"PATCH {path}/status": (409, "Conflict", "modified")})
    async with api:
        with pytest.raises(errors.Conflict) as caught:
            await mtu.advance(api, "m", undo.Progress(), "x")
    assert caught.value.exit_code == 7
    assert len([request for request in asked if request.method == "PATCH"]) == 24


def test_nulls_that_a_server_dropped_are_nulls_again() -> None:
    ref = {"apiVersion": "v1", "kind": "ConfigMap", "plural": "configmaps", "name": "c", "namespace": "n"}
    step = {"type": "edit", "ref": ref, "path": ["data", "k"], "after": "1", "why": "w"}
    body = {"cni": "canal", "target": 1400, "current": 1450, "steps": [step]}
    found = records.migration_of(Object.of({"kind": "MTUMigration", "metadata": {"name": "m"}, "spec": {"plan": body}}))
    edit = found.plan.steps[0]
    assert isinstance(edit, plan.EditValue)
    assert (edit.before, edit.after) == (None, "1")


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        ({}, "MTUMigration m: spec.plan cannot be read: Object missing required field `cni`"),
        ({"plan": {"steps": 3}}, "MTUMigration m: spec.plan.steps must be a list"),
        ({"plan": {"steps": [3]}}, "MTUMigration m: spec.plan.steps[0] must be a mapping"),
        (
            {"plan": {"cni": "c", "target": 1, "current": 2, "steps": [{"type": "dance"}]}},
            "MTUMigration m: spec.plan cannot be read: Invalid value 'dance'",
        ),
    ],
)
def test_a_migration_that_cannot_be_read(spec: dict[str, object], sentence: str) -> None:
    with pytest.raises(errors.Malformed) as caught:
        records.migration_of(Object.of({"kind": "MTUMigration", "metadata": {"name": "m"}, "spec": spec}))
    assert caught.value.exit_code == 5
    assert str(caught.value).startswith(sentence)


@pytest.mark.parametrize(
    ("one", "other", "before"),
    [
        ("9", "10", True),
        ("10", "9", False),
        ("10", "10", False),
        (None, "10", False),
        ("9", None, False),
        ("9", "x", False),
    ],
)
def test_states_are_told_apart_by_their_version(one: str | None, other: str | None, before: bool) -> None:
    states = [mtu.NodeMtu(name="n1", resource_version=version) for version in (one, other)]
    assert states[0].before(states[1]) is before
