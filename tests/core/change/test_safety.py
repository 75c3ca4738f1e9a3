"""The barriers: what stops a phase, and that without them the invariant breaks.

The model below is the kernel's part, written down once more and independently: what each sender may send, what each
receiver takes, which of them a phase changes. It knows nothing of how kubemtu decides.
"""

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from kubemtu.core import net
from kubemtu.core.change import safety
from kubemtu.core.change.migration import ORDER, TABLE, Applied, Phase


def told(phase: Phase, **changed: object) -> Applied:
    fields: dict[str, object] = {"phase": phase, "restore": False, "done": True, "pods": 3, "settings_changed": 0}
    return Applied(**(fields | changed))  # type: ignore[arg-type]


def test_the_first_phase_needs_nobody() -> None:
    assert safety.may_enter(Phase.RECORD, {}, ["n1"]) == []


def test_every_node_must_have_reported() -> None:
    applied = {"n1": told(Phase.RECORD)}
    assert safety.may_enter(Phase.PIN_PODS, applied, ["n1", "n2"]) == ["node n2 has not reported Record"]


def test_every_node_must_be_done() -> None:
    applied = {"n1": told(Phase.RECORD), "n2": told(Phase.RECORD, done=False)}
    assert safety.may_enter(Phase.PIN_PODS, applied, ["n1", "n2"]) == ["node n2 is not done with Record"]


def test_a_failure_stops_everything() -> None:
    applied = {"n1": told(Phase.PIN_PODS, failures=("EPERM on cali1",))}
    assert safety.may_enter(Phase.PIN_OVERLAY, applied, ["n1"]) == ["node n1 failed in PinPods: EPERM on cali1"]


def test_no_phase_is_jumped_over() -> None:
    applied = {"n1": told(Phase.PIN_PODS)}
    assert safety.may_enter(Phase.DEVICES, applied, ["n1"]) == [
        "node n1 reported PinPods, and Devices follows PinPorts"
    ]


def test_a_node_that_is_there_already_holds_nobody_up() -> None:
    applied = {"n1": told(Phase.PIN_OVERLAY, done=False), "n2": told(Phase.PIN_PODS)}
    assert safety.may_enter(Phase.PIN_OVERLAY, applied, ["n1", "n2"]) == []


def test_devices_do_not_move_while_somebody_sends_more_than_they_will_take() -> None:
    applied = {
        "n1": told(Phase.PIN_PORTS, largest_sent=1450, smallest_accepted=1500),
        "n2": told(Phase.PIN_PORTS, largest_sent=1500, smallest_accepted=1500),
    }
    assert safety.may_enter(Phase.DEVICES, applied, ["n1", "n2"], pin_mtu=1450) == [
        "node n2 still sends 1500 bytes, and devices go down to 1450"
    ]


def test_pins_do_not_go_while_a_pod_takes_less_than_is_sent() -> None:
    applied = {
        "n1": told(Phase.UNPIN_PORTS, largest_sent=1500, smallest_accepted=1500),
        "n2": told(Phase.UNPIN_PORTS, largest_sent=1450, smallest_accepted=1450),
    }
    assert safety.may_enter(Phase.UNPIN_OVERLAY, applied, ["n1", "n2"]) == [
        "node n1 still sends 1500 bytes, and a pod of node n2 takes 1450"
    ]


def test_before_all_are_pinned_old_misfits_are_no_reason_to_stop() -> None:
    applied = {"n1": told(Phase.RECORD, largest_sent=1500, smallest_accepted=1450)}
    assert safety.may_enter(Phase.PIN_PODS, applied, ["n1"]) == []


def test_a_rollback_may_return_to_what_did_not_fit_before() -> None:
    applied = {"n1": told(Phase.UNPIN_OVERLAY, restore=True, largest_sent=1500, smallest_accepted=1450)}
    assert safety.may_enter(Phase.UNPIN_PODS, applied, ["n1"]) == []


def test_nobody_goes_forward_while_others_go_back() -> None:
    applied = {"n1": told(Phase.DEVICES, restore=True), "n2": told(Phase.DEVICES)}
    assert safety.may_enter(Phase.UNPIN_PORTS, applied, ["n1", "n2"]) == [
        "some nodes go back while node n2 still goes forward"
    ]


# The model: each pod has a device with two ends, each node a tunnel; pins are routes.


class Pod(msgspec.Struct):
    """The two ends of one veth."""

    host: int
    inside: int


class Machine(msgspec.Struct):
    """One node: its devices, and which row of the table it holds."""

    pods: list[Pod]
    tunnel: int
    phase: Phase = Phase.RECORD
    moved: int = 0  # how many of its devices have moved: the agent sets one after the other


class World(msgspec.Struct):
    """All nodes, the target and the size that senders are pinned to."""

    machines: list[Machine]
    target: int
    low: int

    def senders(self) -> list[tuple[str, int]]:
        """Each sender's name and the largest packet that it may send now: pods, nodes by tunnel, nodes to own pods."""
        out = []
        for number, machine in enumerate(self.machines):
            row = TABLE[machine.phase]
            for index, pod in enumerate(machine.pods):
                out.append((f"pod {number}.{index}", min(pod.inside, self.low) if row.pods else pod.inside))
                out.append((f"node {number} to {index}", min(pod.host, self.low) if row.ports else pod.host))
            out.append((f"node {number} over", min(machine.tunnel, self.low) if row.overlay else machine.tunnel))
        return out

    def receivers(self) -> list[tuple[str, int]]:
        """Each pod and the largest packet that both its ends take."""
        return [
            (f"pod {number}.{index}", min(pod.host, pod.inside))
            for number, machine in enumerate(self.machines)
            for index, pod in enumerate(machine.pods)
        ]

    def misfits(self) -> set[tuple[str, str]]:
        """Every pair of which one sends what the other refuses without a word."""
        return {
            (sender, receiver)
            for sender, size in self.senders()
            for receiver, taken in self.receivers()
            if size > taken
        }

    def move_one(self, machine: Machine) -> bool:
        """Move the next device of a machine in its row; False when all have moved."""
        ends = [(pod, end) for pod in machine.pods for end in ("host", "inside")]
        if machine.moved == len(ends):
            machine.tunnel = self.target
            machine.moved += 1
            return True
        if machine.moved > len(ends):
            return False
        pod, end = ends[machine.moved]
        setattr(pod, end, self.target)
        machine.moved += 1
        return True

    def report(self, machine: Machine) -> Applied:
        """What the agent of a machine tells: its own senders' largest, its own pods' smallest."""
        number = self.machines.index(machine)
        sends = [size for name, size in self.senders() if name.startswith((f"pod {number}.", f"node {number} "))]
        accepts = [taken for name, taken in self.receivers() if name.startswith(f"pod {number}.")]
        return Applied(
            phase=machine.phase,
            restore=False,
            done=not TABLE[machine.phase].moved or machine.moved > 2 * len(machine.pods),
            pods=len(machine.pods),
            settings_changed=0,
            largest_sent=max(sends),
            smallest_accepted=min(accepts, default=None),
        )


mtus = st.sampled_from([1280, 1400, 1446, 1450, 1454, 1500, 8950, 9000])


@st.composite
def worlds(draw: st.DrawFn) -> World:
    """Two to four nodes with up to three pods each, every end and tunnel of any MTU."""
    machines = [
        Machine(
            pods=[Pod(host=draw(mtus), inside=draw(mtus)) for _ in range(draw(st.integers(0, 3)))],
            tunnel=draw(mtus),
        )
        for _ in range(draw(st.integers(2, 4)))
    ]
    target = draw(mtus)
    ends = [end for machine in machines for pod in machine.pods for end in (pod.host, pod.inside)]
    return World(machines=machines, target=target, low=min([target, *ends, *(one.tunnel for one in machines)]))


def run(world: World, choices: st.DataObject) -> set[tuple[str, str]]:
    """Lead all nodes through all phases, in any order within a phase; return the misfits that were not there before."""
    before = world.misfits()
    new: set[tuple[str, str]] = set()
    names = [str(number) for number in range(len(world.machines))]
    while any(machine.phase is not Phase.SETTLE or not world.report(machine).done for machine in world.machines):
        able = []
        for number, machine in enumerate(world.machines):
            if TABLE[machine.phase].moved and not world.report(machine).done:
                able.append(number)
                continue
            place = ORDER.index(machine.phase) + 1
            applied = {name: world.report(one) for name, one in zip(names, world.machines, strict=True)}
            if place < len(ORDER) and not safety.may_enter(ORDER[place], applied, names, pin_mtu=world.low):
                able.append(number)
        machine = world.machines[choices.draw(st.sampled_from(able))]
        if TABLE[machine.phase].moved and not world.report(machine).done:
            world.move_one(machine)
        else:
            machine.phase = ORDER[ORDER.index(machine.phase) + 1]
        new |= world.misfits() - before
    return new


@settings(max_examples=150, deadline=None)
@given(world=worlds(), choices=st.data())
def test_with_barriers_nobody_ever_sends_what_a_receiver_refuses(world: World, choices: st.DataObject) -> None:
    assert run(world, choices) == set()
    assert world.misfits() == set()


def two(old: int, target: int) -> World:
    """Two nodes with a pod each, everything at the old MTU."""
    return World(
        machines=[Machine(pods=[Pod(host=old, inside=old)], tunnel=old) for _ in range(2)],
        target=target,
        low=min(old, target),
    )


def pass_phases(world: World, machine: Machine, last: Phase) -> None:
    """Lead one node through all phases up to `last`, as if nobody waited for the other."""
    while machine.phase is not last:
        machine.phase = ORDER[ORDER.index(machine.phase) + 1]
        while TABLE[machine.phase].moved and world.move_one(machine):
            pass


def test_without_the_barrier_before_devices_a_decrease_loses_packets() -> None:
    world = two(1500, 1450)
    pass_phases(world, world.machines[1], Phase.PIN_OVERLAY)  # it still sends 1500 to its own pod
    pass_phases(world, world.machines[0], Phase.DEVICES)
    assert ("node 1 to 0", "pod 0.0") in world.misfits()


def test_without_the_barrier_after_devices_an_increase_loses_packets() -> None:
    world = two(1450, 1500)
    pass_phases(world, world.machines[1], Phase.PIN_PORTS)  # its devices have not moved
    pass_phases(world, world.machines[0], Phase.UNPIN_PODS)
    assert ("pod 0.0", "pod 1.0") in world.misfits()


def test_the_same_steps_with_both_barriers_lose_none() -> None:
    for old, target in ((1500, 1450), (1450, 1500)):
        world = two(old, target)
        for phase in ORDER:
            for machine in world.machines:
                pass_phases(world, machine, phase)
                assert world.misfits() == set()


def test_the_check_itself_refuses_to_run_ahead() -> None:
    world = two(1500, 1450)
    world.machines[0].phase = Phase.PIN_PODS
    applied = {str(number): world.report(machine) for number, machine in enumerate(world.machines)}
    assert safety.may_enter(Phase.PIN_OVERLAY, applied, ["0", "1"], pin_mtu=1450) == [
        "node 1 reported Record, and PinOverlay follows PinPods"
    ]


def test_to_pods_that_take_less_a_node_may_send_less_than_to_others() -> None:
    few = (net.NetworkMtu(network="10.42.2.0/24", mtu=1450),)
    applied = {
        "n1": told(Phase.UNPIN_PODS, largest_sent=8950, smallest_accepted=8950, sent_by_network=few),
        "n2": told(Phase.UNPIN_PODS, largest_sent=1450, smallest_accepted=1450),
    }
    own = {"n1": ("10.42.1.0/24",), "n2": ("10.42.2.0/24",)}
    assert safety.may_enter(Phase.SETTLE, applied, ["n1", "n2"], networks=own) == []
    assert safety.may_enter(Phase.SETTLE, applied, ["n1", "n2"]) == [
        "node n1 still sends 8950 bytes, and a pod of node n2 takes 1450"
    ]
    both = {**own, "n2": ("10.42.2.0/24", "fd42:0:0:2::/64")}  # of the IPv6 network nothing is said
    assert safety.may_enter(Phase.SETTLE, applied, ["n1", "n2"], networks=both) == [
        "node n1 still sends 8950 bytes, and a pod of node n2 takes 1450"
    ]


def test_the_longest_network_around_a_nodes_own_says_what_is_sent_there() -> None:
    sizes = {"10.42.0.0/16": 8950, "10.42.2.0/23": 1450, "10.42.3.0/24": 4000}
    report = told(
        Phase.UNPIN_PODS,
        largest_sent=8950,
        sent_by_network=tuple(net.NetworkMtu(network=network, mtu=mtu) for network, mtu in sizes.items()),
    )
    assert safety.sent(report, ("10.42.2.0/24",)) == 1450
    assert safety.sent(report, ("10.42.3.0/24",)) == 4000
    assert safety.sent(report, ("10.42.2.0/24", "10.42.3.0/24")) == 4000
    assert safety.sent(report, ("10.43.0.0/24",)) == 8950
