"""A change in force that is asked for again: the same is nothing to do, however it is asked for; all else waits."""

from typing import NamedTuple

import msgspec
import pytest
from tests.support import example
from tests.support.pools import networked

from kubemtu.core import net
from kubemtu.core.change import extension, plan, storage
from kubemtu.core.objects import Object
from kubemtu.core.planning import apart
from kubemtu.core.snapshot import Snapshot
from kubemtu.flows import decide, shapes
from kubemtu.flows.change import force, preconditions

NAME = "canal-8950-1"
AWS = "aws:///eu-west-1a/i-1"  # whose way out takes 1500, by AWSEC2/latest/UserGuide/network_mtu
DONE, REFUSED = "nothing to do", "refused"


class Flags(NamedTuple):
    """What is asked for on the command line."""

    mtu: int | None = None
    nic_mtu: int | None = None
    per_node: bool = False
    egress: int | str | None = None

    def __str__(self) -> str:
        said = f"--mtu {self.mtu} " if self.mtu else ""
        said += f"--nic-mtu {self.nic_mtu} " if self.nic_mtu else ""
        said += "--per-node " if self.per_node else ""
        return (said + (f"--egress-mtu {self.egress}" if self.egress else "")).strip() or "no flag"

    @property
    def asked(self) -> apart.Asked:
        number = self.egress if isinstance(self.egress, int) else None
        return apart.Asked(per_node=self.per_node, egress=number, documented=self.egress == "auto")


def placed(snapshot: Snapshot) -> Snapshot:
    def in_aws(found: Object) -> Object:
        spec = {**found.mapping("spec"), "providerID": AWS}
        return Object.of({**found.body, "spec": spec}) if found.kind == "Node" else found

    return msgspec.structs.replace(snapshot, objects=tuple(map(in_aws, snapshot.objects)))


def cluster(*nics: int) -> Snapshot:
    """Nodes n1, n2, ... with these NICs in AWS, and pods of 1450, which VXLAN leaves of 1500."""
    nodes = tuple(example.node(f"n{number}", nic=nic) for number, nic in enumerate(nics, 1))
    return placed(networked(example.story(1450, nodes), {}))


def planned(snapshot: Snapshot, flags: Flags) -> plan.Plan:
    return decide.plan(snapshot, flags.mtu, flags.nic_mtu, flags.asked)[0]


def carried_out(snapshot: Snapshot, made: plan.Plan, *joined: net.NodeObservation) -> Snapshot:
    """The cluster once the agents have done it: every pod has its size and its routes, and the record is in force.

    Nodes that joined since are as they were born.
    """
    live = next(step for step in reversed(made.steps) if isinstance(step, plan.Live))
    assert live.hold
    targets = {to.node: to for to in live.nodes}

    def pod(port: net.PodPort, to: plan.NodeTarget) -> net.PodPort:
        ways = {"default": to.default_route_mtu} | {one.network: one.mtu for one in to.network_mtus}
        given = tuple(
            net.Route(family=4, destination=network, device="eth0", gateway="169.254.1.1", mtu=mtu)
            for network, mtu in ways.items()
        )
        return msgspec.structs.replace(port, pod_mtu=to.pod_mtu, host_mtu=to.pod_mtu, routes=given)

    def node(seen: net.NodeObservation) -> net.NodeObservation:
        to = targets[seen.node]
        ports = tuple(pod(port, to) for port in seen.ports)
        links = tuple(
            msgspec.structs.replace(link, mtu=to.tunnel_mtu or link.mtu) if link.name == to.tunnel else link
            for link in seen.links
        )
        held = net.HeldSizes(
            migration=NAME,
            pod_mtu=to.pod_mtu,
            network_mtus=to.network_mtus,
            default_route_mtu=to.default_route_mtu,
        )
        return msgspec.structs.replace(seen, ports=ports, links=links, held=held, files=(conflist,))

    edited = next((step.after for step in made.steps if isinstance(step, plan.EditValue)), "1450")
    conflist = net.NodeFile(path=example.CONFLIST, text=example.rendered(int(str(edited))), modified=1.0)
    spec = {"direction": "forward", "plan": msgspec.json.decode(msgspec.json.encode(storage.written(made)))}
    status = {"progress": {"finished": True, "held": True, "step": len(made.steps)}}
    record = Object.of({"kind": "MTUMigration", "metadata": {"name": NAME}, "spec": spec, "status": status})
    after = (*map(node, snapshot.nodes), *joined)
    story = placed(networked(example.story(str(edited), after), {}))
    objects = (*story.objects, shapes.slim(record))
    return msgspec.structs.replace(story, objects=objects)


def outcome(snapshot: Snapshot, flags: Flags) -> str:
    """What `plan` and `apply` make of it: both go by decide.in_force."""
    made, found = decide.plan(snapshot, flags.mtu, flags.nic_mtu, flags.asked)
    same = decide.in_force(found, flags.mtu, flags.nic_mtu, flags.asked)
    waits = any("is in force: `kubemtu apply` refuses this plan" in one for one in made.warnings)
    part = any("is in force: `kubemtu apply` carries this out as part of it" in one for one in made.warnings)
    assert waits == (bool(made.steps) and not same)
    assert part == (bool(made.steps) and same)
    return REFUSED if not same else DONE if not made.steps else "steps"


ALIKE, MIXED = (9000, 9000), (9000, 9000, 1500)
EGRESS, BOTH, PER_NODE = Flags(egress=1500), Flags(per_node=True, egress=1500), Flags(per_node=True)
AUTO, BOTH_AUTO = Flags(egress="auto"), Flags(per_node=True, egress="auto")
WIDE = Flags(per_node=True, egress=9000)  # more than any pod sends: no route says it
BOUNDED, ABOVE = Flags(mtu=4000, per_node=True), Flags(mtu=9000, per_node=True)  # less and more than the NICs leave
GIVEN = Flags(nic_mtu=8000, egress=1500)
TABLE = [
    # first, NICs, second, what comes of it
    (EGRESS, ALIKE, Flags(), DONE),
    (EGRESS, ALIKE, EGRESS, DONE),
    (EGRESS, ALIKE, AUTO, DONE),
    (EGRESS, ALIKE, BOTH, DONE),  # each node's own NIC leaves the same
    (EGRESS, ALIKE, Flags(mtu=8950, egress=1500), DONE),
    (EGRESS, ALIKE, Flags(mtu=8950), DONE),
    (EGRESS, ALIKE, Flags(egress=1400), REFUSED),
    (EGRESS, ALIKE, Flags(mtu=1400), REFUSED),
    (EGRESS, ALIKE, Flags(mtu=1400, egress=1400), REFUSED),
    (EGRESS, ALIKE, GIVEN, REFUSED),
    (EGRESS, ALIKE, PER_NODE, REFUSED),  # which says nothing of the way out
    (AUTO, ALIKE, AUTO, DONE),
    (AUTO, ALIKE, Flags(egress=1400), REFUSED),
    (Flags(egress=1400), ALIKE, AUTO, REFUSED),  # 1500 is documented
    (BOTH, ALIKE, Flags(), DONE),
    (BOTH, ALIKE, BOTH, DONE),
    (BOTH, ALIKE, BOTH_AUTO, DONE),
    (BOTH, ALIKE, EGRESS, DONE),
    (BOTH, ALIKE, Flags(mtu=8950, per_node=True, egress=1500), DONE),
    (BOTH, ALIKE, Flags(mtu=4000, per_node=True, egress=1500), REFUSED),
    (GIVEN, ALIKE, GIVEN, DONE),
    (GIVEN, ALIKE, Flags(), DONE),
    (GIVEN, ALIKE, Flags(nic_mtu=8000), DONE),
    (GIVEN, ALIKE, Flags(nic_mtu=7000, egress=1500), REFUSED),
    (Flags(mtu=4000, egress=1500), ALIKE, Flags(mtu=4000, egress=1500), DONE),
    (Flags(mtu=4000, egress=1500), ALIKE, EGRESS, DONE),  # no number is what is in force
    (PER_NODE, MIXED, Flags(), DONE),
    (PER_NODE, MIXED, PER_NODE, DONE),
    (PER_NODE, MIXED, WIDE, DONE),
    (PER_NODE, MIXED, Flags(mtu=8950), DONE),
    (PER_NODE, MIXED, Flags(mtu=1450), REFUSED),
    (PER_NODE, MIXED, BOTH, REFUSED),
    (PER_NODE, MIXED, BOTH_AUTO, REFUSED),
    (PER_NODE, MIXED, EGRESS, REFUSED),
    (BOTH, MIXED, Flags(), DONE),
    (BOTH, MIXED, BOTH, DONE),
    (BOTH, MIXED, BOTH_AUTO, DONE),
    (BOTH, MIXED, PER_NODE, REFUSED),
    (BOTH, MIXED, EGRESS, REFUSED),
    (BOTH_AUTO, MIXED, BOTH_AUTO, DONE),
    (WIDE, MIXED, WIDE, DONE),
    (WIDE, MIXED, PER_NODE, DONE),
    (BOUNDED, MIXED, BOUNDED, DONE),
    (BOUNDED, MIXED, PER_NODE, DONE),
    (BOUNDED, MIXED, Flags(mtu=5000, per_node=True), REFUSED),
    (ABOVE, MIXED, ABOVE, DONE),
    (ABOVE, MIXED, PER_NODE, DONE),
    (ABOVE, MIXED, BOUNDED, REFUSED),
]


@pytest.mark.parametrize(
    ("first", "nics", "second", "expected"),
    TABLE,
    ids=[f"{first}, on {nics}, then {second}" for first, nics, second, _ in TABLE],
)
def test_what_is_asked_for_again(first: Flags, nics: tuple[int, ...], second: Flags, expected: str) -> None:
    before = cluster(*nics)
    assert outcome(carried_out(before, planned(before, first)), second) == expected


@pytest.mark.parametrize("left", [0, 1], ids=["all", "all but one"])
@pytest.mark.parametrize(
    ("first", "nics", "second", "expected"),
    TABLE,
    ids=[f"{first}, on {nics}, then {second}" for first, nics, second, _ in TABLE],
)
def test_what_is_asked_for_again_when_nodemtus_were_deleted(
    first: Flags, nics: tuple[int, ...], second: Flags, expected: str, left: int
) -> None:
    """The record knows what it was asked for: the same is the same, and nothing else comes in by that."""
    before = cluster(*nics)
    snapshot = carried_out(before, planned(before, first))
    nodes = snapshot.nodes[: len(nics) - left]
    lost = (*(msgspec.structs.replace(one, held=None) for one in nodes), *snapshot.nodes[len(nodes) :])
    assert outcome(msgspec.structs.replace(snapshot, nodes=lost), second) == expected


@pytest.mark.parametrize(
    ("first", "nics", "joined", "said"),
    [
        (BOTH, ALIKE, 1500, "node n4 leaves pods 1450, and the change gives none less than 8950"),
        (EGRESS, ALIKE, 1500, "node n1 leaves pods 1450 now, and 8950 when the change was made"),
        (BOTH, MIXED, 1500, ""),
        (BOTH, MIXED, 4000, ""),  # between two sizes
        (BOTH, MIXED, 9216, ""),  # above all
    ],
    ids=str,
)
def test_a_node_that_joined_is_given_what_its_nic_leaves_if_that_is_no_less_than_any_has(
    first: Flags, nics: tuple[int, ...], joined: int, said: str
) -> None:
    """`kubemtu plan` says what `apply` will do: carry it out once more, or refuse; and once it has, nothing is left."""
    before = cluster(*nics)
    record = planned(before, first)
    node = example.node("n4", nic=joined)
    snapshot = carried_out(before, record, node)
    made, found = decide.plan(snapshot)
    assert made.steps
    assert apart.outgrown(record, made) == said
    assert any("`kubemtu apply` refuses this plan" in one for one in made.warnings) == bool(said)
    assert apart.in_force(found).options == (" --per-node" if first.per_node else "") + " --egress-mtu 1500"
    if not said:
        whole = extension.extended(record, made)
        sizes = {to.node: to.pod_mtu for step in whole.steps if isinstance(step, plan.Live) for to in step.nodes}
        assert sizes == {"n1": 8950, "n2": 8950, "n3": 1450, "n4": joined - 50}
        assert decide.plan(carried_out(snapshot, whole))[0].steps == ()
        assert force.carries_out(whole, record, ())  # the plan that was saved at first is still what is in force


def test_a_nic_that_carries_more_since_is_taken_there_where_each_node_has_its_own_size() -> None:
    """But one that carries less has left pods with too much, and that is another change."""
    before = cluster(*MIXED)
    record = planned(before, BOTH)
    for nics, node, said in (
        ((9000, 9000, 4000), "n3", ""),
        ((9000, 4000, 1500), "n2", "node n2 leaves pods 3950 now, and 8950 when the change was made"),
    ):
        made, found = decide.plan(renewed(carried_out(before, record), nics))
        assert apart.outgrown(record, made) == said
        assert any("`kubemtu apply` refuses this plan" in one for one in made.warnings) == bool(said)
        sizes = {to.node: to.pod_mtu for step in made.steps if isinstance(step, plan.Live) for to in step.nodes}
        assert sizes[node] == 3950
        assert found.led_further == (not said)


def renewed(snapshot: Snapshot, nics: tuple[int, ...]) -> Snapshot:
    """The same cluster with other NICs; tunnels stay as they were made."""

    def nic(seen: net.NodeObservation, mtu: int) -> net.NodeObservation:
        links = (msgspec.structs.replace(one, mtu=mtu) if one.name == "eth0" else one for one in seen.links)
        ways = (msgspec.structs.replace(way, mtu=mtu) for way in seen.uplinks)
        return msgspec.structs.replace(seen, links=tuple(links), uplinks=tuple(ways))

    return msgspec.structs.replace(snapshot, nodes=tuple(map(nic, snapshot.nodes, nics)))


def test_a_record_of_an_older_kubemtu_does_not_keep_what_was_asked_for() -> None:
    before = cluster(*ALIKE)
    older = msgspec.structs.replace(planned(before, BOTH), per_node=False)
    for flags in (BOTH, EGRESS, Flags()):
        assert outcome(carried_out(before, older), flags) == DONE


def test_a_saved_plan_that_is_carried_out_already() -> None:
    """Also with the pins of the nodes' own traffic, which `apply` adds to it, and without a node."""
    saved = planned(cluster(*MIXED), BOTH)
    pinned = tuple(
        msgspec.structs.replace(step, host_mtu=1500, host_addresses=("192.168.77.1",))
        if isinstance(step, plan.Live)
        else step
        for step in saved.steps
    )
    with_hosts = msgspec.structs.replace(saved, steps=pinned, remains=("pinned",))
    assert force.carries_out(saved, saved, ())
    assert force.carries_out(with_hosts, saved, ())
    assert not force.carries_out(saved, saved, ["n3"])
    less = preconditions.leave_out(saved, ["n3"])
    assert force.carries_out(less, saved, ["n3"])
    assert force.left_out(less) == {"n3"}
    assert not force.carries_out(saved, planned(cluster(*MIXED), PER_NODE), ())
