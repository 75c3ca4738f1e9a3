"""A change in force, asked for again: what is due becomes part of it, and the way back stays that of the change."""

import msgspec

from kubemtu.core import net, objects
from kubemtu.core.change import extension, migration, plan, undo

CONFIG = objects.Ref(
    api_version="v1", kind="ConfigMap", plural="configmaps", namespace="kube-system", name="canal-config"
)
CANAL = objects.Ref(api_version="apps/v1", kind="DaemonSet", plural="daemonsets", namespace="kube-system", name="canal")
CONFLIST = "/etc/cni/net.d/10-canal.conflist"


def edit(before: objects.Value, after: objects.Value, key: str = "veth_mtu", **more: objects.Value) -> plan.EditValue:
    made = plan.EditValue(ref=CONFIG, path=("data", key), before=before, after=after, why="new pods")
    return msgspec.structs.replace(made, **more)


def restart(*held: int, mtu: int = 8950) -> plan.Rollout:
    return plan.Rollout(ref=CANAL, why="read it", conflist=CONFLIST, mtu=mtu, held=held)


def target(node: str, pod_mtu: int, **more: object) -> plan.NodeTarget:
    made = plan.NodeTarget(node=node, ports=net.PortRule(prefixes=("cali",)), pod_mtu=pod_mtu, origin_mtu=1450)
    return msgspec.structs.replace(made, **more)


def live(*nodes: plan.NodeTarget, pin: int = 1450, highest: int = 8950) -> plan.Live:
    return plan.Live(nodes=nodes, pin_mtu=pin, highest_mtu=highest, underlay=highest + 50, why="pods", hold=True)


def whole(*steps: plan.Step, target: int = 8950) -> plan.Plan:
    return plan.Plan(cni="canal", target=target, current=1450, steps=steps, per_node=True)


N1 = target("n1", 8950)
GROWN = whole(live(N1), edit("1450", "8950"), restart(1450))
PINS, DEVICES = live(target("n1", 1450)).halves()
SHRUNK = whole(PINS, DEVICES, target=1450)


def test_nothing_due_leaves_the_plan_as_it_is() -> None:
    assert extension.extended(GROWN, whole()) is GROWN


def test_what_was_put_back_is_led_there_again_and_goes_back_as_before() -> None:
    """The nodes' files say 8950 still, and the way back must not look for that."""
    found = extension.extended(GROWN, whole(edit("1450", "8950"), restart(8950)))
    assert found.steps == GROWN.steps
    back = undo.undo(found, 3, None)
    assert [one.mtu for one in back if isinstance(one, plan.Rollout)] == [1450]


def test_what_somebody_else_has_written_meanwhile_is_where_the_way_back_leads() -> None:
    found = extension.extended(GROWN, whole(edit("1400", "8950"), restart(8950)))
    assert found.steps == (live(N1), edit("1400", "8950"), restart())
    back = [one for one in undo.undo(found, 3, None) if not isinstance(one, plan.Live)]
    assert [(one.before, one.after) for one in back if isinstance(one, plan.EditValue)] == [("8950", "1400")]
    assert [one.conflist for one in back if isinstance(one, plan.Rollout)] == [None]  # what that brings nobody knows


def test_what_the_change_itself_has_written_is_no_way_back() -> None:
    """The smallest node has left, so more is due where the change had written less."""
    first = whole(live(N1), edit("1400", "1450"), restart(1400, mtu=1450))
    found = extension.extended(first, whole(edit("1450", "8950"), restart(1450)))
    assert found.steps == (live(N1), edit("1400", "8950", found="1450"), restart(1400))
    (_, value, _) = found.steps
    assert isinstance(value, plan.EditValue)
    assert (value.over_found.before, value.over_found.after) == ("1450", "8950")
    assert (value.undo().before, value.undo().after, value.undo().found) == ("8950", "1400", None)
    # It comes back: the record's own value again, and what was found is of no matter any more.
    again = extension.extended(found, whole(edit("8950", "1450"), restart(8950, mtu=1450)))
    assert again.steps == (live(N1), edit("1400", "1450", found="8950"), restart(1400, mtu=1450))


def test_an_object_that_the_change_has_made_is_edited_and_taken_away_in_the_end() -> None:
    made = edit(None, "mtu: 1450", creates=True)
    found = extension.extended(whole(live(N1), made), whole(edit("mtu: 1450", "mtu: 8950")))
    (_, value) = found.steps
    assert isinstance(value, plan.EditValue)
    assert (value.before, value.after, value.creates, value.found) == (None, "mtu: 8950", True, "mtu: 1450")
    assert not value.over_found.creates
    assert (value.undo().before, value.undo().after, value.undo().creates) == ("mtu: 8950", None, True)


def test_a_key_that_the_change_did_not_touch_comes_in_where_its_direction_has_the_configuration() -> None:
    up = extension.extended(whole(live(N1)), whole(edit("1450", "8950"), restart(1450)))
    assert up.steps == (live(N1), edit("1450", "8950"), restart(1450))
    down = extension.extended(SHRUNK, whole(edit("8950", "1450"), restart(8950, mtu=1450)))
    assert down.steps == (PINS, edit("8950", "1450"), restart(8950, mtu=1450), DEVICES)
    second = extension.extended(GROWN, whole(edit("no", "yes", "other"), restart(1450)))
    assert second.steps == (live(N1), edit("1450", "8950"), edit("no", "yes", "other"), restart())


TOWARDS_2 = (net.NetworkMtu(network="10.42.2.0/24", mtu=3950),)


def test_a_node_that_joined_is_in_it_with_its_own_size() -> None:
    """It is pinned to the smallest that any device has, also where that is less than before."""
    n1, n2 = target("n1", 8950, network_mtus=TOWARDS_2, origin_mtu=8950), target("n2", 3950, origin_mtu=1400)
    found = extension.extended(GROWN, whole(live(n1, n2, pin=1400)))
    (led, *_) = found.steps
    assert isinstance(led, plan.Live)
    assert (led.pin_mtu, led.highest_mtu, led.underlay) == (1400, 8950, 9000)
    assert {to.node: (to.pod_mtu, to.origin_mtu, to.network_mtus) for to in led.nodes} == {
        "n1": (8950, 1450, TOWARDS_2),  # what it had before the change
        "n2": (3950, 1400, ()),
    }


def test_both_halves_of_a_decrease_lead_there() -> None:
    (pins, devices) = extension.extended(SHRUNK, whole(live(target("n1", 1450), target("n2", 1450)))).steps
    assert isinstance(pins, plan.Live)
    assert isinstance(devices, plan.Live)
    assert [to.node for to in pins.nodes] == [to.node for to in devices.nodes] == ["n1", "n2"]
    assert (pins.until, devices.start) == (migration.Phase.PIN_PORTS, migration.Phase.DEVICES)


def test_a_tunnel_that_has_lost_its_size_gets_it_and_one_that_has_it_keeps_it() -> None:
    tunnel = {"tunnel": "flannel.1", "tunnel_mtu": 8950, "origin_tunnel_mtu": 1450}
    standing = whole(live(target("n1", 8950, **tunnel), target("n2", 8950)))
    right, lost = target("n1", 8950, tunnel="flannel.1"), target("n2", 8950, **tunnel)
    (led,) = extension.extended(standing, whole(live(right, lost))).steps
    assert isinstance(led, plan.Live)
    assert [(to.tunnel_mtu, to.origin_tunnel_mtu) for to in led.nodes] == [(8950, 1450), (8950, 1450)]


def test_a_node_that_is_not_seen_now_stays_in_it_and_one_left_out_stays_out() -> None:
    standing = whole(live(N1, target("n2", 8950)))
    due = msgspec.structs.replace(live(N1), without=("n2", "n3"))
    (led,) = extension.extended(standing, whole(due)).steps
    assert isinstance(led, plan.Live)
    assert [to.node for to in led.nodes] == ["n1", "n2"]
    assert led.without == ("n3",)


def test_the_way_back_of_a_change_that_was_taken_further_takes_all_of_it_back() -> None:
    """Its plan is written first: whoever is killed then has a change that ended with fewer steps."""
    found = extension.extended(whole(live(N1)), whole(edit("1450", "8950"), restart(1450)))
    done = undo.Progress(step=1, finished=True, held=True, epoch=3)
    back = undo.sequence(found, undo.turn(done, found.steps))
    assert [type(step).__name__ for step in back] == ["Live", "EditValue", "Rollout", "Live"]
