"""MTU132: pods and nodes against what a change in force gives them, and what is right under it."""

import msgspec
import pytest
from tests.support import example
from tests.support.pools import networked

from kubemtu.core import codes, net
from kubemtu.core.cluster import layout
from kubemtu.core.objects import Object
from kubemtu.core.planning import apart
from kubemtu.core.rules import overlay, report, trail
from kubemtu.core.snapshot import Snapshot
from kubemtu.core.why import endpoints
from kubemtu.flows import decide, network

NAME = "canal-8950-1"
IN_FORCE = Object.of(
    {
        "kind": "MTUMigration",
        "metadata": {"name": NAME},
        "spec": {"direction": "forward"},
        "status": {"progress": {"finished": True, "held": True, "step": 1}},
    }
)
SMALL = (net.NetworkMtu(network="10.42.3.0/24", mtu=1450), net.NetworkMtu(network="192.168.77.3/32", mtu=1500))
ALL_OF_IT = {"10.42.3.0/24": 1450, "192.168.77.3": 1500}


def big(name: str, routes: dict[str, int], *, pod: int = 8950, out: int | None = None) -> net.NodeObservation:
    """A node with a jumbo NIC in the change; its pods have these routes, and that MTU of their default route.

    Its own route into the tunnel towards the small node's pods says less, as agents make it.
    """
    into = net.Route(family=4, destination="10.42.3.0/24", device="flannel.1", gateway="10.42.3.0", mtu=1450)
    seen = example.node(name, nic=9000, pod=pod, routes=(into,))
    given = tuple(
        net.Route(family=4, destination=to, device="eth0", gateway="169.254.1.1", mtu=mtu)
        for to, mtu in ({"default": out} | routes).items()
    )
    ports = tuple(msgspec.structs.replace(port, routes=given) for port in seen.ports)
    held = net.HeldSizes(migration=NAME, pod_mtu=8950, network_mtus=SMALL, default_route_mtu=out)
    return msgspec.structs.replace(seen, ports=ports, held=held)


def small(name: str = "n3", *, joined: bool = False, nic: int = 1500) -> net.NodeObservation:
    held = None if joined else net.HeldSizes(migration=NAME, pod_mtu=1450)
    return msgspec.structs.replace(example.node(name, nic=nic, tunnel=1450, pods=1), held=held)


def cluster(*nodes: net.NodeObservation, held: bool = True, configured: int = 1450) -> Snapshot:
    made = networked(example.story(configured, nodes), {})
    return msgspec.structs.replace(made, objects=(*made.objects, IN_FORCE)) if held else made


def found(snapshot: Snapshot) -> list[codes.Finding]:
    return [one for one in decide.check(snapshot).findings if one.severity != "note"]


def judged(*nodes: net.NodeObservation) -> codes.Finding:
    (one,) = found(cluster(*nodes))
    assert one.code == "MTU132"
    return one


def test_a_default_route_with_less_of_its_own_lacks_nothing() -> None:
    """An agent lowers what is not kubemtu's, and never raises it: no `apply` would end such a warning."""

    def born_with(mtu: int, *, locked: bool = False) -> net.NodeObservation:
        seen = big("n1", ALL_OF_IT, out=1500)
        held = {"mtu": mtu, "locked": locked}
        ports = tuple(
            msgspec.structs.replace(
                port,
                routes=tuple(
                    msgspec.structs.replace(route, **held) if route.destination == "default" else route
                    for route in port.routes
                ),
            )
            for port in seen.ports
        )
        return msgspec.structs.replace(seen, ports=ports)

    assert found(cluster(born_with(1400), small())) == []
    assert "a route is missing here: default mtu 1500" in judged(born_with(1501), small()).message


def test_pods_that_have_what_is_held_are_right() -> None:
    made: report.Report = decide.check(cluster(big("n1", ALL_OF_IT), big("n2", ALL_OF_IT), small()))
    assert (made.verdict, [one.code for one in made.findings]) == ("healthy", [])
    assert made.summary == (
        "The pod network's MTU is right: 7 pods on 3 nodes, and every packet that they can send fits the path to where "
        f"it goes, as MTUMigration {NAME} gives it to them and the agents keep it: at most 8950, 1450 towards nodes "
        "with less, by what the NICs say."
    )
    assert made.remedy is not None
    assert made.remedy.cause == "none"


def test_the_same_pods_without_the_change_are_an_error() -> None:
    assert {"MTU101"} <= {one.code for one in found(cluster(big("n1", {}), small(), held=False))}


def test_a_default_route_that_is_smaller_on_purpose() -> None:
    assert found(cluster(big("n1", {"10.42.0.0/16": 8950} | ALL_OF_IT, out=1500), small())) == []


def test_a_pod_that_lacks_a_route_towards_a_node_with_less() -> None:
    one = judged(big("n1", {"192.168.77.3": 1500}), small())
    assert (one.severity, one.place) == (
        "error",
        "node n1, 3 pods: default/web-1-0, default/web-1-1 and default/web-1-2",
    )
    assert f"MTUMigration {NAME} is in force, and a route is missing here: 10.42.3.0/24 mtu 1450." in one.message
    assert "Packets of 1451-8950 bytes to pods of n3 (10.42.3.0/24) vanish on the way" in one.message
    assert one.remedy.endswith("run `kubemtu apply --per-node`, which takes this into what is in force.")


def test_a_pod_that_was_not_raised_is_slow_and_not_broken() -> None:
    one, above = found(cluster(big("n1", ALL_OF_IT, pod=1450), small()))
    assert (one.code, one.severity) == ("MTU132", "warning")
    assert (above.code, "192.168.77.3" in above.place) == ("MTU115", True)  # a route of 1500 over a device of 1450
    assert "the ends here have 1450 where it gives 8950. What it sends fits all the same" in one.message


@pytest.mark.parametrize(("nic", "severity"), [(1500, "error"), (9000, "warning")])
def test_a_node_that_joined_later_is_named(nic: int, severity: str) -> None:
    one = judged(big("n1", ALL_OF_IT), small(), small("n4", joined=True, nic=nic))
    assert (one.severity, one.place) == (severity, "node n4")
    assert ("packets of 1451-8950 bytes vanish in front of its NIC" in one.message) == (severity == "error")
    assert one.remedy == "Run `kubemtu apply --per-node`, which takes this into what is in force."


def test_the_tunnel_of_a_node_that_joined_later_is_no_finding_of_its_own() -> None:
    joined = example.node("n4", nic=9000, tunnel=8950)
    assert judged(big("n1", ALL_OF_IT), small(), joined).place == "node n4"


def test_a_route_into_the_tunnel_that_was_made_anew_without_its_mtu() -> None:
    """What flanneld makes when it starts has no MTU; agents of nodes in the change give it one again."""
    anew = msgspec.structs.replace(big("n1", ALL_OF_IT), routes=())
    (lost,) = found(cluster(anew, big("n2", ALL_OF_IT), small()))
    assert (lost.code, lost.place) == ("MTU145", "node n1, flannel.1")


def left_alone(name: str = "n2", routes: dict[str, int] | None = None, **changed: int) -> net.NodeObservation:
    """A node with a jumbo NIC that the change asks nothing of; its pods have these routes, and 8950 unless changed."""
    pod = changed.get("pod", 8950)
    return msgspec.structs.replace(big(name, ALL_OF_IT if routes is None else routes, pod=pod), held=None)


@pytest.mark.parametrize(
    ("node", "severity", "said"),
    [
        (left_alone(), "warning", "Pods born there keep what the configuration gives them."),
        (left_alone(routes={}, pod=1450), "warning", "Pods born there keep what the configuration gives them."),
        (
            left_alone(routes={"192.168.77.3": 1500}),
            "error",
            "Packets of 1451-8950 bytes that pods there send to those of n3 (10.42.3.0/24) vanish on the way",
        ),
    ],
    ids=["has all of it", "as it was born", "lacks a route"],
)
def test_a_node_that_is_not_in_it_is_judged_by_what_it_has_and_will_get(
    node: net.NodeObservation, severity: str, said: str
) -> None:
    """Its NodeMTU was deleted, or it joined: one finding, and its remedy is the one that takes it in."""
    one = judged(big("n1", ALL_OF_IT), node, small())
    assert (one.severity, one.place) == (severity, "node n2")
    assert said in one.message
    assert one.remedy == "Run `kubemtu apply --per-node`, which takes this into what is in force."


def test_when_every_nodemtu_was_deleted_nothing_else_is_said_of_the_nodes() -> None:
    nodes = (left_alone("n1"), left_alone("n2"), small(joined=True))
    told = found(cluster(*nodes))
    assert [(one.code, one.place, one.severity) for one in told] == [
        ("MTU132", "node n1", "warning"),
        ("MTU132", "node n2", "warning"),
        ("MTU132", "node n3", "warning"),
    ]
    assert {one.remedy for one in told} == {"Run `kubemtu apply`, which takes this into what is in force."}


def test_a_node_that_was_left_out_comes_in_by_another_change_alone() -> None:
    steps = [{"type": "live", "without": ["n2"]}]
    record = Object.of({**IN_FORCE.body, "spec": {"plan": {"target": 8950, "perNode": True, "steps": steps}}})
    made = cluster(big("n1", ALL_OF_IT), left_alone(), small(), held=False)
    (one,) = found(msgspec.structs.replace(made, objects=(*made.objects, record)))
    assert "this node is not in it: it was left out (`--without`)." in one.message
    assert one.remedy == "Take it back with `kubemtu rollback`, then make it anew: `kubemtu apply --per-node`."


def test_a_node_that_joined_with_less_than_any_size_in_force_comes_in_by_another_change_alone() -> None:
    """1400 - 50 of VXLAN leaves 1350, and its pods were born with the 1450 of the configuration."""
    told = found(cluster(big("n1", ALL_OF_IT), small(), example.node("n4", nic=1400)))
    (one,) = (each for each in told if each.code == "MTU132" and each.place == "node n4")
    assert "its NIC leaves pods 1350, and none of the sizes in force is that small." in one.message
    assert one.remedy == "Take it back with `kubemtu rollback`, then make it anew: `kubemtu apply --per-node`."
    assert {each.code for each in told} == {"MTU119", "MTU132"}
    (key,) = (each for each in told if each.code == "MTU119")
    assert key.remedy.endswith("`kubemtu apply` leaves that as it is: `kubemtu rollback` comes first.")


def test_apply_is_a_remedy_where_it_takes_the_change_in_force_further() -> None:
    """The configuration was put back to 1400, which MTU103 tells of: `apply` brings it there again."""
    told = found(cluster(big("n1", ALL_OF_IT), big("n2", ALL_OF_IT), small(), configured=1400))
    remedies = [one.remedy for one in told if one.code in {"MTU103", "MTU119"}]
    assert any("`kubemtu apply`" in one for one in remedies)
    assert not any("leaves that as it is" in one for one in remedies)


def test_pods_of_a_node_without_an_agent_are_right_where_what_they_send_fits() -> None:
    """Looked into by a command: another finding may say that new pods get less, and none that these lose anything."""
    seen = msgspec.structs.replace(left_alone(), seen_by="exec")
    told = found(cluster(big("n1", ALL_OF_IT), seen, small()))
    assert [(one.code, one.severity) for one in told if "n2" in one.place] == [("MTU104", "warning")]
    loses = msgspec.structs.replace(left_alone(routes={}), seen_by="exec")
    assert "MTU101" in {one.code for one in found(cluster(big("n1", ALL_OF_IT), loses, small()))}


def test_a_tunnel_below_what_pods_of_its_node_have_by_the_change() -> None:
    low = msgspec.structs.replace(
        big("n1", ALL_OF_IT),
        links=tuple(
            msgspec.structs.replace(link, mtu=4000) if link.name == "flannel.1" else link
            for link in big("n1", ALL_OF_IT).links
        ),
    )
    (one,) = found(cluster(low, small()))
    assert (one.code, one.place) == ("MTU107", "node n1, flannel.1")
    assert "less than the 8950 that pods of this node have" in one.message


def test_a_tunnel_that_a_change_in_force_made_larger_than_the_configuration_is_as_it_should_be() -> None:
    """The configuration has what the smallest node carries, and the change gives each node's tunnel its own."""
    nodes = big("n1", ALL_OF_IT), big("n2", ALL_OF_IT), small()
    state = example.state(tunnel_mtu=1450)
    assert overlay.find(layout.model(cluster(*nodes), state)) == ()
    over = overlay.find(layout.model(cluster(*nodes, held=False), state))
    assert [(one.code, one.severity) for one in over] == [("MTU107", "warning"), ("MTU107", "warning")]


def test_a_path_from_a_pod_of_a_node_that_is_not_in_it_is_measured_at_what_the_pod_sends_there() -> None:
    start = endpoints.holder("10.42.2.10", cluster(big("n1", ALL_OF_IT), left_alone(), small()))
    assert (start.node, start.mtu, start.sends("10.42.3.10"), start.sends("10.42.1.10")) == ("n2", 8950, 1450, 8950)


def test_one_number_is_recommended_only_where_all_nodes_have_one() -> None:
    mixed = decide.check(cluster(big("n1", ALL_OF_IT), big("n2", ALL_OF_IT), small()))
    assert (mixed.recommended_mtu, mixed.current) == (None, (1450, 8950))
    assert mixed.remedy is not None
    assert mixed.remedy.mtu == 8950  # what `plan` leads to
    alike = decide.check(cluster(big("n1", {}, out=1500), big("n2", {}, out=1500)))
    assert alike.recommended_mtu == 8950


def test_a_nic_that_has_become_smaller_since() -> None:
    """1400 - 50 of VXLAN leaves 1350, and the routes let 1450 through."""
    told = found(cluster(big("n1", ALL_OF_IT), small(nic=1400)))
    one = next(one for one in told if one.code == "MTU132" and one.place.startswith("node n1"))
    assert "its sizes do not fit any more. Packets of 1351-1450 bytes to pods of n3" in one.message


@pytest.mark.parametrize(("pod", "stopped"), [(8950, None), (1450, "host ends")])
def test_the_way_of_the_number_on_a_node_that_is_not_in_it(pod: int, stopped: str | None) -> None:
    """It ends where the change will lead it, and what is said of it is what `check` says."""
    modelled = network.model(cluster(big("n1", ALL_OF_IT), left_alone(pod=pod), small()))
    way = trail.of(modelled, modelled.nodes[1], report.judge(modelled))
    assert way.stopped_at == stopped
    at = next(one for one in way.waypoints if one.where == "host ends")
    assert (at.mtus, at.expected) == ((pod,), 8950)
    assert ("this node is not in it" in at.reason) == (stopped is not None)


@pytest.mark.parametrize(
    ("routes", "stopped", "reason"),
    [(ALL_OF_IT, None, ""), ({"192.168.77.3": 1500}, "pods' routes", "a route is missing here: 10.42.3.0/24 mtu 1450")],
)
def test_the_way_of_the_number_ends_where_the_agents_decide(
    routes: dict[str, int], stopped: str | None, reason: str
) -> None:
    modelled = network.model(cluster(big("n1", routes), small()))
    way = trail.of(modelled, modelled.nodes[0], report.judge(modelled))
    assert way.stopped_at == stopped
    assert reason in way.waypoints[-1].reason


def test_pods_that_are_born_with_what_their_own_nic_leaves_are_right() -> None:
    """A CNI that follows each node's NIC gives new pods the size that their agents add the routes to."""
    nodes = [msgspec.structs.replace(one, files=()) for one in (big("n1", ALL_OF_IT), big("n2", ALL_OF_IT), small())]
    born = {"n1": 8950, "n2": 8950, "n3": 1450}
    seen = tuple(
        msgspec.structs.replace(
            one, files=(net.NodeFile(path=example.CONFLIST, text=example.rendered(born[one.node])),)
        )
        for one in nodes
    )

    def made(*, held: bool, without: str = "") -> report.Report:
        there = networked(
            example.cluster(
                tuple(msgspec.structs.replace(one, held=None) if one.node == without else one for one in seen)
            ),
            {},
        )
        whole = msgspec.structs.replace(there, objects=(*there.objects, IN_FORCE)) if held else there
        return report.report(layout.model(whole, example.state(None, conflist_template=None)))

    right, wrong = made(held=True), made(held=False)
    assert (right.verdict, [one.code for one in right.findings]) == ("healthy", [])
    assert (right.remedy and right.remedy.cause, wrong.remedy and wrong.remedy.cause) == ("none", "nics")
    assert {"MTU101", "MTU119"} <= {one.code for one in wrong.findings}
    (one,) = made(held=True, without="n2").findings
    assert (one.code, one.place, one.severity) == ("MTU132", "node n2", "error")
    assert "gives them, 8950, and have no route by which they send n3 only 1450." in one.message


def test_a_plan_goes_by_what_is_in_force() -> None:
    right, _ = decide.plan(cluster(big("n1", ALL_OF_IT), big("n2", ALL_OF_IT), small()))
    assert (right.steps, right.target) == ((), 8950)
    wrong, _ = decide.plan(cluster(big("n1", ALL_OF_IT), big("n2", {}), small()))
    assert [type(step).__name__ for step in wrong.steps] == ["Live"]


IN_FORCE_SAID = (
    f"MTUMigration {NAME} is in force: `kubemtu apply` refuses this plan until `kubemtu rollback` has taken that back."
)


@pytest.mark.parametrize(
    ("wanted", "asked"),
    [(1400, apart.Asked()), (8000, apart.Asked(per_node=True)), (None, apart.Asked(per_node=True, egress=1400))],
    ids=["one MTU for all", "another most", "another way out"],
)
def test_another_plan_says_that_apply_will_refuse_it(wanted: int | None, asked: apart.Asked) -> None:
    made, _ = decide.plan(cluster(big("n1", ALL_OF_IT), small()), wanted, asked=asked)
    assert made.steps
    assert made.warnings[0] == IN_FORCE_SAID


def test_a_nic_that_has_changed_since_makes_it_another_plan() -> None:
    made, _ = decide.plan(cluster(big("n1", ALL_OF_IT), small(nic=1400)))
    assert made.warnings[0] == IN_FORCE_SAID


@pytest.mark.parametrize("wanted", [None, 4000])
def test_what_was_bounded_by_hand_asks_for_nothing_more(wanted: int | None) -> None:
    """`apply --per-node --mtu 4000`: asked for once more, no NIC has changed."""
    bounded = big("n1", ALL_OF_IT, pod=4000)
    assert bounded.held is not None
    bounded = msgspec.structs.replace(bounded, held=msgspec.structs.replace(bounded.held, pod_mtu=4000))
    made, _ = decide.plan(cluster(bounded, small()), wanted, asked=apart.Asked(per_node=True))
    assert (made.target, made.steps, made.warnings) == (4000, (), ())


def test_a_tunnel_that_a_bound_was_put_on_has_come_all_the_way() -> None:
    bounded = msgspec.structs.replace(
        example.node("n1", nic=9000, pod=4000, tunnel=4000),
        held=net.HeldSizes(migration=NAME, pod_mtu=4000, network_mtus=SMALL),
    )
    there = network.model(cluster(bounded, small()))
    (at,) = (one for one in trail.of(there, there.nodes[0], ()).waypoints if one.where == "tunnel")
    assert (at.mtus, at.outcome) == ((4000,), "same")
