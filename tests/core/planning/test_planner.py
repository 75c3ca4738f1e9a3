"""The number, and the steps in the order that loses no packet."""

import msgspec
import pytest
from tests.support import example

from kubemtu.core import codes, errors, net
from kubemtu.core.change.plan import EditValue, Live, NodeTarget, Plan, Rollout
from kubemtu.core.cluster import layout, policy, topology
from kubemtu.core.cluster.cni_state import CniState
from kubemtu.core.planning import diff, notes, planner

EDIT = EditValue(ref=example.CONFIG_MAP, path=("data", "veth_mtu"), before="1500", after="1450", why="new pods")
ROLLOUT = Rollout(ref=example.DAEMONSET, why="to render it", conflist=example.CONFLIST, mtu=1450)


def nodes(**changed: object) -> tuple[net.NodeObservation, ...]:
    return tuple(example.node(name, **changed) for name in ("n1", "n2", "n3"))  # type: ignore[arg-type]  # node's fields


def laid_out(
    seen: tuple[net.NodeObservation, ...], state: CniState | None = None, *, silent: tuple[str, ...] = ()
) -> topology.Topology:
    return layout.model(example.cluster(seen, silent=silent), state or example.state())


def held(mtu: int | None) -> Rollout:
    """The restart, as the plan keeps it: with what the nodes hold before it."""
    return Rollout(ref=ROLLOUT.ref, why=ROLLOUT.why, conflist=ROLLOUT.conflist, mtu=ROLLOUT.mtu, held=(mtu,))


def live_of(made: Plan) -> Live:
    """The live change, whole: a decrease has its two halves."""
    first, *rest = (step for step in made.steps if isinstance(step, Live))
    assert [(one.nodes, one.pin_mtu, one.highest_mtu, one.underlay) for one in rest] == [
        (first.nodes, first.pin_mtu, first.highest_mtu, first.underlay) for _ in rest
    ]
    return first


def phases(made: Plan) -> list[tuple[str, str]]:
    """From which phase to which each live step leads."""
    return [(step.start.value, step.until.value) for step in made.steps if isinstance(step, Live)]


# The number


def test_auto_is_what_the_path_carries() -> None:
    assert planner.target(laid_out(nodes(pod=1500)), None) == 1450


def test_a_number_that_fits_is_taken() -> None:
    assert planner.target(laid_out(nodes()), 1400) == 1400


@pytest.mark.parametrize(
    ("wanted", "ipv6", "refusal"),
    [
        (
            1480,
            False,
            "an MTU of 1480 does not fit: the smallest NIC between the nodes has 1500 bytes (eth0 of node n1), ",
        ),
        (1279, True, "an MTU of 1279 would take IPv6 off every pod, for good: IPv6 needs 1280 on every link"),
        (575, False, "an MTU of 575 is too small: IPv4 needs the 576 bytes that every host must take whole"),
        (0, False, "an MTU of 0 is too small: IPv4 needs the 576 bytes"),
    ],
)
def test_a_number_that_cannot_be_is_refused_with_the_reason(wanted: int, ipv6: bool, refusal: str) -> None:
    with pytest.raises(errors.UsageError) as refused:
        planner.target(laid_out(nodes(), example.state(ipv6=ipv6)), wanted)
    assert str(refused.value).startswith(refusal)


@pytest.mark.parametrize(("wanted", "ipv6"), [(1280, True), (576, False), (1450, True)])
def test_the_bounds_themselves_are_allowed(wanted: int, ipv6: bool) -> None:
    assert planner.target(laid_out(nodes(), example.state(ipv6=ipv6)), wanted) == wanted


def test_auto_without_any_nic_asks_for_one() -> None:
    with pytest.raises(errors.UsageError, match="give --mtu N for the pods, or --nic-mtu N"):
        planner.target(laid_out(()), None)


def test_auto_on_a_path_too_small_for_its_ipv6_is_refused() -> None:
    small = laid_out(nodes(nic=1300, pod=1250, conflist=1250), example.state(1250, ipv6=True))
    with pytest.raises(errors.UsageError, match=r"no pod MTU suits this cluster.*raise the NICs first"):
        planner.target(small, None)


@pytest.mark.parametrize("wanted", [None, 18, 1000])
@pytest.mark.parametrize(("given", "left"), [(68, 18), (625, 575)])
def test_a_path_that_leaves_less_than_ip_needs_is_refused_whoever_gave_it(
    given: int, left: int, wanted: int | None
) -> None:
    narrow = layout.model(example.cluster(nodes()), example.state(), given)
    with pytest.raises(errors.UsageError) as refused:
        planner.target(narrow, wanted)
    said = f"carries {given} bytes, as was given, of which vxlan takes 50 and leaves {left}, and IPv4 needs the 576"
    assert said in str(refused.value)
    assert "see whether that number is right" in str(refused.value)


def test_the_least_path_that_ip_can_live_on() -> None:
    assert planner.target(layout.model(example.cluster(nodes()), example.state(), 626), None) == 576


def test_what_was_given_is_not_called_a_nic() -> None:
    with pytest.raises(errors.UsageError, match="the path between nodes carries 1404 bytes, as was given") as refused:
        planner.target(layout.model(example.cluster(nodes()), example.state(), 1404), 1400)
    assert str(refused.value).endswith("give --mtu 1354 or less")


# The order


def test_down_pins_first_then_the_configuration_then_the_devices() -> None:
    made = planner.make(laid_out(nodes(pod=1500, conflist=1500), example.state(1500)), 1450, (EDIT, ROLLOUT))
    assert [type(step).__name__ for step in made.steps] == ["Live", "EditValue", "Rollout", "Live"]
    assert phases(made) == [("Record", "PinPorts"), ("Devices", "Settle")]
    assert (made.cni, made.target, made.current) == ("canal", 1450, 1500)
    live = live_of(made)
    assert (live.pin_mtu, live.highest_mtu, live.underlay) == (1450, 1500, 1500)
    assert live.nodes[0] == NodeTarget(
        node="n1",
        ports=net.PortRule(prefixes=("cali",)),
        pod_mtu=1450,
        origin_mtu=1500,
        tunnel="flannel.1",
        tunnel_mtu=None,
        bridge=None,
        pod_networks=("10.42.0.0/16",),
        running=3,
        changing=3,
    )
    assert (made.remains, made.warnings) == ((), ())


def test_a_path_that_is_given_smaller_than_the_nics_is_worth_writing_down_until_it_is() -> None:
    seen = example.cluster(nodes(pod=1450))
    given = layout.model(seen, example.state(), 1404)
    (hint,) = planner.make(given, 1354, (EDIT, ROLLOUT)).warnings
    assert hint == (
        "The path is taken to carry 1404 where NICs have 1500: if it is meant to, `kubemtu policy --path-mtu 1404 "
        "--reason TEXT --apply` writes that down, and no command asks for larger pods afterwards."
    )
    assert notes.unwritten(layout.model(seen, example.state(), 1500)) == ""
    known = (policy.Bound(path_mtu=1404, by="MTUPolicy path", reason="measured"),)
    assert notes.unwritten(layout.model(seen, example.state(), measured=known)) == ""


def test_up_the_running_pods_first_then_the_configuration() -> None:
    edit = EditValue(ref=EDIT.ref, path=EDIT.path, before="1450", after="8950", why="new pods")
    made = planner.make(laid_out(nodes(nic=9000)), 8950, (edit, ROLLOUT))
    assert [type(step).__name__ for step in made.steps] == ["Live", "EditValue", "Rollout"]
    assert phases(made) == [("Record", "Settle")]
    live = live_of(made)
    assert (live.pin_mtu, live.highest_mtu, live.underlay) == (1450, 8950, 9000)
    chosen, warning = made.warnings
    assert chosen.startswith("The configuration says 1450, and this raises it")
    assert warning.startswith("TCP connections that were opened at 1450 keep that segment size until they reconnect")


def test_some_above_and_some_below_is_a_way_down() -> None:
    seen = (example.node("n1", pod=1500, conflist=1500), example.node("n2", pod=1400, conflist=1500))
    made = planner.make(laid_out(seen, example.state(1500)), 1450, (EDIT, ROLLOUT))
    assert [type(step).__name__ for step in made.steps] == ["Live", "EditValue", "Rollout", "Live"]
    live = live_of(made)
    assert (live.pin_mtu, live.highest_mtu) == (1400, 1500)
    assert [to.origin_mtu for to in live.nodes] == [1500, 1400]


def test_what_is_rolled_out_already_needs_only_the_running_pods() -> None:
    made = planner.make(laid_out(nodes(pod=1500)), 1450, (ROLLOUT,))
    assert [type(step).__name__ for step in made.steps] == ["Live", "Live"]
    assert phases(made) == [("Record", "PinPorts"), ("Devices", "Settle")]


def test_one_end_lowered_counts_in_what_senders_are_pinned_to() -> None:
    live = live_of(planner.make(laid_out(nodes(pod=1500, host=1400)), 1450, ()))
    assert (live.pin_mtu, live.highest_mtu) == (1400, 1500)


def test_a_node_that_did_not_follow_needs_only_the_restart() -> None:
    made = planner.make(laid_out((example.node("n1"), example.node("n2", conflist=1500))), 1450, ())
    (rollout,) = made.steps
    assert rollout == Rollout(
        ref=example.DAEMONSET,
        why="the configuration says 1450 already, and n2 did not follow",
        conflist="/etc/cni/net.d/10-canal.conflist",
        mtu=1450,
        held=(),  # another restart brings 1450 to both, whatever n2 has now
    )


def test_what_nodes_hold_by_another_configuration_is_nothing_that_the_way_back_could_wait_for() -> None:
    """Somebody has set 1400, and restarted nothing: the nodes' files say 1500, and a restart on the way back 1400."""
    value = EditValue(ref=EDIT.ref, path=EDIT.path, before="1400", after="1450", why="new pods get 1450")
    made = planner.make(laid_out(nodes(conflist=1500), example.state(1400)), 1450, (value, ROLLOUT))
    assert [step.held for step in made.steps if isinstance(step, Rollout)] == [()]
    followed = planner.make(laid_out(nodes(conflist=1400), example.state(1400)), 1450, (value, ROLLOUT))
    assert [step.held for step in followed.steps if isinstance(step, Rollout)] == [(1400,)]


def test_what_comes_right_by_itself_is_not_configured_besides() -> None:
    seen = nodes(conflist=None, pod=1500, nic=1550)
    state = example.state(None, conflist_template=None)
    lost = EditValue(ref=EDIT.ref, path=("data", "canal_iface"), before=None, after="", why="pods need it")
    assert planner.make(laid_out(seen, state), 1500, (EDIT, ROLLOUT)).steps == ()
    assert planner.make(laid_out(seen, state), 1500, (lost, EDIT, ROLLOUT)).steps == (lost, held(None))
    assert planner.make(laid_out(seen, state, silent=("n9",)), 1500, (EDIT, ROLLOUT)).steps == (EDIT, held(None))


def test_a_key_that_a_container_does_not_start_without_is_restored_though_nodes_come_right_by_themselves() -> None:
    missing = codes.finding(codes.MTU108, f"{EDIT.ref}, key veth_mtu", "It is missing.", "Put it back.")
    restored = EditValue(ref=EDIT.ref, path=("data", "veth_mtu"), before=None, after="1500", why="new pods get 1500")
    other = EditValue(ref=EDIT.ref, path=("data", "mtu"), before=None, after="1500", why="new pods get 1500")
    state = example.state(None, conflist_template=None, findings=(missing,))
    made = planner.make(laid_out(nodes(conflist=None, pod=1500, nic=1550), state), 1500, (restored, other, ROLLOUT))
    assert made.steps == (restored, held(None))


def test_a_lost_key_is_restored_before_anything_restarts() -> None:
    restored = EditValue(ref=EDIT.ref, path=("data", "canal_iface"), before=None, after="", why="pods need it")
    made = planner.make(laid_out(nodes(pod=1500, conflist=1500), example.state(1500)), 1450, (restored, EDIT, ROLLOUT))
    assert made.steps[1:4] == (restored, EDIT, held(1500))


def test_nothing_to_do_is_an_empty_plan() -> None:
    made = planner.make(laid_out(nodes()), 1450, (ROLLOUT,))
    assert (made.steps, made.remains, made.warnings) == ((), (), ())


# Devices besides the pods'


def test_a_tunnel_that_would_fragment_comes_down_with_the_pods() -> None:
    live = live_of(planner.make(laid_out(nodes(pod=1500, tunnel=1500)), 1450, ()))
    assert [(to.tunnel, to.tunnel_mtu) for to in live.nodes] == [("flannel.1", 1450)] * 3
    assert (live.pin_mtu, live.highest_mtu) == (1450, 1500)


def test_a_tunnel_that_is_too_small_is_raised_with_the_pods() -> None:
    live = live_of(planner.make(laid_out(nodes(nic=9000, tunnel=1450)), 8950, ()))
    assert [to.tunnel_mtu for to in live.nodes] == [8950] * 3


def test_a_tunnel_above_a_smaller_target_comes_down_and_that_it_comes_back_is_said() -> None:
    made = planner.make(laid_out(nodes()), 1350, ())
    assert [to.tunnel_mtu for to in live_of(made).nodes] == [1350] * 3
    assert made.remains[0].startswith("flannel.1 goes to 1350 on n1, n2 and n3 until it is made anew")


def test_room_in_a_tunnel_that_no_pod_uses_is_no_reason_to_act() -> None:
    seen = (example.node("n1", nic=9000), example.node("n2"))
    assert planner.make(laid_out(seen), 1450, ()).steps == ()


def test_room_that_the_configuration_has_taken_away_is_no_room() -> None:
    """MTU107 tells of it and says that `kubemtu apply` mends it."""
    seen = (example.node("n1", nic=9000), example.node("n2"))
    live = live_of(planner.make(laid_out(seen, example.state(tunnel_mtu=1450)), 1450, ()))
    assert [(to.node, to.tunnel_mtu) for to in live.nodes] == [("n1", 1450), ("n2", None)]


def test_a_bridge_is_part_of_the_change() -> None:
    state = example.state(bridge="cni0", ports=net.PortRule(bridge="cni0"))
    live = live_of(planner.make(laid_out(nodes(pod=1500, bridge=1400), state), 1450, ()))
    assert [to.bridge for to in live.nodes] == ["cni0"] * 3
    assert (live.pin_mtu, live.highest_mtu) == (1400, 1500)


def test_a_bridge_alone_is_worth_a_step() -> None:
    state = example.state(bridge="cni0", ports=net.PortRule(bridge="cni0"))
    assert live_of(planner.make(laid_out(nodes(bridge=1500), state), 1450, ())).highest_mtu == 1500


# What is left, and what to mind


def test_without_agents_only_the_configuration_changes_and_that_is_said() -> None:
    made = planner.make(laid_out((), example.state(1500), silent=("n1", "n2")), 1450, (EDIT, ROLLOUT))
    assert [type(step).__name__ for step in made.steps] == ["EditValue", "Rollout"]
    assert made.remains[0].startswith("Running pods and tunnel devices keep the MTU that they have")
    assert "Whether the path between nodes carries pods of 1450 was not checked: no NIC was seen." in made.warnings


def test_nodes_that_were_not_observed_are_named() -> None:
    made = planner.make(laid_out(nodes(pod=1500), silent=("n9",)), 1450, ())
    assert made.remains == ("1 node (n9) is not observed: the running pods and the tunnel there keep what they have.",)


def test_an_owner_that_writes_back_is_a_warning() -> None:
    made = planner.make(laid_out(nodes(pod=1500), example.state(owner="RKE (cluster.yml network.mtu)")), 1450, ())
    assert made.warnings[0].startswith("RKE (cluster.yml network.mtu) writes the configuration")


def test_edits_that_do_not_reach_the_pods_are_a_warning() -> None:
    made = planner.make(
        laid_out(nodes(pod=1500, conflist=1500), example.state(1500)), 1450, (EDIT, ROLLOUT), example.state(1500)
    )
    assert "After the edits the configuration still gives new pods 1500, not 1450." in made.warnings


def test_a_tunnel_that_the_configuration_keeps_too_small_is_a_warning() -> None:
    made = planner.make(laid_out(nodes(pod=1500)), 1450, (), example.state(1450, tunnel_mtu=1400))
    assert made.warnings[-1].startswith("The configuration gives the tunnel 1400, less than pods of 1450 need")


def test_an_interface_below_1280_has_lost_its_ipv6_already() -> None:
    made = planner.make(laid_out(nodes(pod=1200), example.state(1450, ipv6=True)), 1450, ())
    assert any(warning.startswith("Some interface has 1200, less than IPv6 needs") for warning in made.warnings)


def test_a_change_that_is_under_way_is_a_warning() -> None:
    seen = msgspec.structs.replace(laid_out(nodes(pod=1500)), under_way=("canal-1450-1",))
    assert planner.make(seen, 1450, ()).warnings == ("A change is under way already: canal-1450-1.",)


# The face of a plan


def test_running_pods_that_were_seen_without_an_agent_need_one_to_be_changed() -> None:
    seen = tuple(msgspec.structs.replace(node, seen_by="exec") for node in nodes(pod=1500, conflist=1500))
    made = planner.make(laid_out(seen), 1450, [EDIT, ROLLOUT])
    assert any("`kubemtu install` comes first" in warning for warning in made.warnings)
    made = planner.make(laid_out(nodes(pod=1500, conflist=1500)), 1450, [EDIT, ROLLOUT])
    assert not any("kubemtu install" in warning for warning in made.warnings)


def test_an_edit_is_shown_as_a_unified_diff() -> None:
    assert diff.unified(EDIT).splitlines() == [
        "--- ConfigMap kube-system/canal-config, data.veth_mtu",
        "+++ ConfigMap kube-system/canal-config, data.veth_mtu",
        "@@ -1 +1 @@",
        "-1500",
        "+1450",
    ]


def test_a_text_is_shown_by_the_lines_around_the_change() -> None:
    before = "{\n" + "".join(f'  "key{n}": {n},\n' for n in range(9)) + '  "mtu": 1500\n}\n'
    edit = EditValue(ref=EDIT.ref, path=("data", "conf"), before=before, after=before.replace("1500", "1450"), why="")
    assert diff.unified(edit).splitlines()[2:] == [
        "@@ -8,5 +8,5 @@",
        '   "key6": 6,',
        '   "key7": 7,',
        '   "key8": 8,',
        '-  "mtu": 1500',
        '+  "mtu": 1450',
        " }",
    ]


def test_an_empty_value_is_not_an_absent_key() -> None:
    edit = EditValue(ref=EDIT.ref, path=("data", "canal_iface"), before=None, after="", why="")
    assert diff.unified(edit).splitlines()[2:] == ["@@ -0,0 +1 @@", '+""']


def test_the_reach_of_a_plan_is_who_restarts_and_who_is_changed() -> None:
    seen = laid_out(nodes(pod=1500, conflist=1500), example.state(1500))
    found = diff.reach(planner.make(seen, 1450, (EDIT, ROLLOUT)), seen)
    assert found.restarts == {"n1": "canal-n1", "n2": "canal-n2", "n3": "canal-n3"}
    assert found.touched == {"n1": 3, "n2": 3, "n3": 3}
