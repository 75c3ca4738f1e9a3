"""Taking a change back, from wherever it stopped."""

import msgspec
import pytest

from kubemtu.core import net, objects
from kubemtu.core.change import migration, plan, undo

CONFIG = objects.Ref(
    api_version="v1", kind="ConfigMap", plural="configmaps", namespace="kube-system", name="canal-config"
)
CANAL = objects.Ref(api_version="apps/v1", kind="DaemonSet", plural="daemonsets", namespace="kube-system", name="canal")
IFACE = plan.EditValue(ref=CONFIG, path=("data", "canal_iface"), before=None, after="", why="the pods need it")
MTU = plan.EditValue(ref=CONFIG, path=("data", "cni_network_config"), before="{}", after='{"mtu": 1450}', why="1450")
ROLLOUT = plan.Rollout(ref=CANAL, why="read it", conflist="/etc/cni/net.d/10-calico.conflist", mtu=1450, held=(None,))
NODE = plan.NodeTarget(node="n1", ports=net.PortRule(prefixes=("cali",)), pod_mtu=1450, origin_mtu=1500)
LIVE = plan.Live(nodes=(NODE,), pin_mtu=1450, highest_mtu=1500, underlay=1500, why="running pods")
PINS, DEVICES = LIVE.halves()


def whole(*steps: plan.Step) -> plan.Plan:
    return plan.Plan(cni="canal", target=1450, current=None, steps=steps)


def kinds(steps: tuple[plan.Step, ...]) -> list[str]:
    return [
        "live" if isinstance(step, plan.Live) else "rollout" if isinstance(step, plan.Rollout) else str(step.path[-1])
        for step in steps
    ]


def test_a_finished_decrease_goes_back_pods_first_and_the_needed_key_last() -> None:
    back = undo.undo(whole(PINS, IFACE, MTU, ROLLOUT, DEVICES), 5, None)
    assert kinds(back) == ["live", "cni_network_config", "rollout", "canal_iface"]
    live, edit, rollout, key = back
    assert isinstance(live, plan.Live)
    assert live.restore
    assert (live.start, live.until) == (migration.Phase.PIN_PODS, migration.Phase.SETTLE)
    assert isinstance(edit, plan.EditValue)
    assert (edit.before, edit.after) == ('{"mtu": 1450}', "{}")
    assert isinstance(rollout, plan.Rollout)
    assert rollout.mtu is None
    assert isinstance(key, plan.EditValue)
    assert (key.before, key.after) == ("", None)


def test_a_plan_of_an_earlier_kubemtu_goes_back_as_well() -> None:
    assert kinds(undo.undo(whole(MTU, ROLLOUT, LIVE), 3, None)) == ["live", "cni_network_config", "rollout"]
    assert kinds(undo.undo(whole(MTU, ROLLOUT, LIVE), 1, None)) == ["cni_network_config", "rollout"]


def test_a_finished_increase_goes_back_as_a_decrease_pins_first() -> None:
    back = undo.undo(whole(LIVE, MTU, ROLLOUT), 3, None)
    assert kinds(back) == ["live", "cni_network_config", "rollout", "live"]
    pins, devices = back[0], back[-1]
    assert isinstance(pins, plan.Live)
    assert isinstance(devices, plan.Live)
    assert pins.restore
    assert devices.restore
    assert (pins.start, pins.until) == (migration.Phase.PIN_PODS, migration.Phase.PIN_PORTS)
    assert (devices.start, devices.until) == (migration.Phase.DEVICES, migration.Phase.SETTLE)


def test_an_increase_that_came_to_no_configuration_goes_back_in_one_go() -> None:
    assert kinds(undo.undo(whole(LIVE, MTU, ROLLOUT), 0, migration.Phase.UNPIN_PODS)) == ["live"]


def test_stopped_among_moving_devices_the_undo_keeps_every_pin() -> None:
    live = undo.undo(whole(PINS, MTU, ROLLOUT, DEVICES), 3, migration.Phase.DEVICES)[0]
    assert isinstance(live, plan.Live)
    assert live.start is migration.Phase.DEVICES


def test_stopped_while_the_pods_of_the_cni_restart_the_undo_begins_at_the_pins() -> None:
    for step, kept in ((1, ["cni_network_config"]), (2, ["cni_network_config", "rollout"])):
        back = undo.undo(whole(PINS, MTU, ROLLOUT, DEVICES), step, None)
        assert kinds(back) == ["live", *kept]
        live = back[0]
        assert isinstance(live, plan.Live)
        assert (live.start, live.until) == (migration.Phase.PIN_PORTS, migration.Phase.SETTLE)


def test_before_the_devices_move_the_undo_begins_at_the_pins_too() -> None:
    live = undo.undo(whole(PINS, DEVICES), 1, None)[0]
    assert isinstance(live, plan.Live)
    assert live.start is migration.Phase.PIN_PORTS


def test_a_relief_goes_back_alone_from_each_of_its_phases() -> None:
    for phase in (migration.Phase.PIN_PODS, migration.Phase.PIN_OVERLAY, migration.Phase.PIN_PORTS):
        back = undo.undo(whole(PINS, MTU, ROLLOUT, DEVICES), 0, phase)
        assert kinds(back) == ["live"]
        live = back[0]
        assert isinstance(live, plan.Live)
        assert (live.start, live.until) == (phase, migration.Phase.SETTLE)


def test_stopped_after_an_edit_nothing_is_restarted() -> None:
    assert kinds(undo.undo(whole(PINS, MTU, ROLLOUT, DEVICES), 1, None)) == ["live", "cni_network_config"]


def test_only_recorded_leaves_nothing_to_undo_on_the_nodes() -> None:
    assert kinds(undo.undo(whole(LIVE, MTU, ROLLOUT), 0, migration.Phase.RECORD)) == []


def test_no_phase_of_an_undo_drops_a_pin_while_devices_may_differ() -> None:
    """Only DEVICES leaves devices mixed; there the undo starts with all three pins held, wherever else it starts."""
    start = migration.TABLE[migration.UNDO_FROM[migration.Phase.DEVICES]]
    assert start.pods
    assert start.overlay
    assert start.ports
    for phase, start_phase in migration.UNDO_FROM.items():
        held, kept = migration.TABLE[phase], migration.TABLE[start_phase]
        assert kept.pods >= held.pods
        assert kept.overlay >= held.overlay
        assert kept.ports >= (held.ports and phase is not migration.Phase.UNPIN_PORTS)


def test_turning_twice_turns_once() -> None:
    there = undo.Progress(step=2, phase=migration.Phase.DEVICES)
    steps = (PINS, MTU, DEVICES)
    once = undo.turn(there, steps)
    assert (once.turned_step, once.turned_phase) == (2, migration.Phase.DEVICES)
    assert undo.turn(once, steps) == once


@pytest.mark.parametrize(
    ("there", "undone"),
    [
        (undo.Progress(step=1), ["live"]),  # relief: the restart that comes next has not begun
        (undo.Progress(step=1, begun=True), ["live", "rollout"]),
        (undo.Progress(step=2), ["live", "rollout"]),
        (undo.Progress(step=3, finished=True), ["live", "rollout"]),
    ],
)
def test_a_step_that_has_not_begun_is_not_undone(there: undo.Progress, undone: list[str]) -> None:
    steps = (PINS, ROLLOUT, DEVICES)
    assert kinds(undo.sequence(whole(*steps), undo.turn(there, steps))) == undone


def test_the_nodes_own_pins_are_taken_back_after_the_restart_and_after_nothing_where_there_is_none() -> None:
    own = ("192.168.77.2",)
    pins, devices = (msgspec.structs.replace(step, host_mtu=1404, host_addresses=own) for step in (PINS, DEVICES))
    back = undo.undo(whole(pins, MTU, ROLLOUT, devices), 4, None)
    assert kinds(back) == ["live", "cni_network_config", "rollout", "live"]
    first, last = back[0], back[-1]
    assert isinstance(first, plan.Live)
    assert isinstance(last, plan.Live)
    assert (first.host_mtu, first.until) == (None, migration.Phase.SETTLE)  # whose routes are left as they are
    assert (last.host_mtu, last.start, last.until) == (1404, migration.Phase.SETTLE, migration.Phase.SETTLE)
    assert last.lets_hosts_go
    (alone,) = undo.undo(whole(pins), 0, migration.Phase.PIN_PORTS)
    assert isinstance(alone, plan.Live)
    assert (alone.host_mtu, alone.start) == (1404, migration.Phase.PIN_PORTS)


def test_before_the_first_step_nothing_is_undone() -> None:
    fresh = undo.Progress(epoch=3)
    assert fresh.untouched
    back = undo.turn(fresh, (MTU, ROLLOUT, LIVE))
    assert undo.sequence(whole(MTU, ROLLOUT, LIVE), back) == ()
    assert back.epoch == 3
    assert undo.abandon(fresh).abandoned
    for begun in (
        undo.Progress(begun=True),
        undo.Progress(step=1, begun=True),
        undo.Progress(phase=migration.Phase.PIN_PODS),
    ):
        assert not begun.untouched
        assert undo.turn(begun, (MTU, ROLLOUT, LIVE)).turned_step == begun.step
        assert not undo.turn(begun, (MTU, ROLLOUT, LIVE)).abandoned


def test_who_takes_over_counts_on() -> None:
    there = undo.Progress(step=2, begun=True, phase=migration.Phase.DEVICES, epoch=4)
    taken = undo.take_over(there)
    assert (taken.epoch, taken.step, taken.phase) == (5, 2, migration.Phase.DEVICES)
    assert undo.turn(taken, (PINS, MTU, DEVICES)).epoch == 5


def test_nodes_that_held_different_numbers_are_not_looked_at_for_one() -> None:
    mixed = plan.Rollout(
        ref=CANAL, why="read it", conflist="/etc/cni/net.d/10-calico.conflist", mtu=1450, held=(1400, 1500)
    )
    rollout = undo.undo(whole(MTU, mixed), 2, None)[1]
    assert isinstance(rollout, plan.Rollout)
    assert rollout.conflist is None
