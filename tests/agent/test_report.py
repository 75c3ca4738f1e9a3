"""When a report is worth a write, and what a spec says."""

import msgspec
import pytest

from kubemtu.agent import desired, report
from kubemtu.core import net
from kubemtu.core.change import migration
from kubemtu.core.objects import Object
from kubemtu.core.probe import request

PORT = net.PodPort(
    netns="cni-1", inode=1, host_link="cali1", host_index=3, host_mtu=1500, pod_link="eth0", pod_index=2, pod_mtu=1500
)
SEEN = net.NodeObservation(node="n1", ports=(PORT,), observed_at=1000.0)
APPLIED = migration.Applied(
    phase=migration.Phase.DEVICES, restore=False, done=True, pods=1, settings_changed=2, duration_seconds=0.1
)
TOLD = report.NodeReport(generation=3, applied=APPLIED, probes={}, observation=SEEN)


def but(**changes: object) -> report.NodeReport:
    return msgspec.structs.replace(TOLD, **changes)


@pytest.mark.parametrize(
    ("now", "due"),
    [
        (TOLD, 20.0),
        (but(observation=msgspec.structs.replace(SEEN, observed_at=2000.0)), 20.0),
        (but(applied=msgspec.structs.replace(APPLIED, duration_seconds=0.2)), 20.0),
        (
            but(observation=msgspec.structs.replace(SEEN, ports=(msgspec.structs.replace(PORT, host_rx_dropped=9),))),
            3.0,
        ),
        (but(observation=msgspec.structs.replace(SEEN, ports=(msgspec.structs.replace(PORT, pod_mtu=1450),))), 0.3),
        (but(observation=msgspec.structs.replace(SEEN, ports=())), 0.3),
        (but(generation=4), 0.0),
        (but(applied=msgspec.structs.replace(APPLIED, done=False)), 0.0),
        (but(applied=msgspec.structs.replace(APPLIED, settings_changed=3)), 0.0),
        (but(applied=None), 0.0),
        (but(probes={"p1": request.ProbeReport(ready=True)}), 0.0),
        (but(probes={"p1": None}), 0.0),  # whoever asked has taken the question away
    ],
)
def test_how_soon_it_is_told(now: report.NodeReport, due: float) -> None:
    assert report.delay(now, TOLD) == due
    assert report.delay(now, None) == 0.0


DESIRED: dict[str, object] = {
    "migration": "m1",
    "phase": "Devices",
    "pinMtu": 1450,
    "highestMtu": 1500,
    "ports": {"prefixes": ["cali"]},
    "podMtu": 1450,
    "originMtu": 1500,
}


def node_mtu(**parts: object) -> Object:
    return Object.of({"kind": "NodeMTU", "metadata": {"name": "n1", "generation": 7}, **parts})


def test_a_spec_is_read_whatever_stands_in_the_status() -> None:
    found = desired.read(node_mtu(spec=DESIRED, status="nonsense"))
    assert found.generation == 7
    assert found.desired is not None
    assert found.desired.phase is migration.Phase.DEVICES
    assert found.error == ""


@pytest.mark.parametrize("empty", [None, {}])
def test_no_spec_asks_for_nothing(empty: object) -> None:
    assert desired.read(node_mtu(spec=empty)) == desired.DesiredState(generation=7)
    assert desired.read(None) == desired.DesiredState()


@pytest.mark.parametrize("broken", [{"phase": "Sideways"}, {"podMtu": "1450"}, {"ports": [1]}])
def test_a_spec_that_is_none_is_a_trouble(broken: dict[str, object]) -> None:
    found = desired.read(node_mtu(spec=DESIRED | broken))
    assert found.desired is None
    assert found.error.startswith("the spec of NodeMTU n1 cannot be read: ")
    assert "the node is left as it is: correct or remove the spec with `kubectl edit nodemtu n1`" in found.error


def test_a_trouble_is_reported_as_a_failure() -> None:
    progress = desired.SpecProgress()
    assert progress.begin(desired.read(node_mtu(spec=DESIRED | {"podMtu": "1450"})))
    assert progress.failing
    assert progress.applied is not None
    assert not progress.applied.done


def test_rounds_of_one_spec_are_added_up() -> None:
    progress = desired.SpecProgress()
    asked = desired.read(node_mtu(spec=DESIRED))
    assert progress.begin(asked)
    assert not progress.begin(asked)
    for changed in (4, 0, 2):
        progress.take(msgspec.structs.replace(APPLIED, settings_changed=changed))
    assert progress.applied is not None
    assert progress.applied.settings_changed == 6
    assert progress.begin(msgspec.structs.replace(asked, generation=8))
    assert progress.applied is None


def test_an_earlier_driver_is_not_obeyed_even_after_the_spec_was_empty() -> None:
    drivers = desired.DriverEpochs()

    def asks(migration_: str, epoch: int) -> desired.DesiredState:
        return desired.read(node_mtu(spec=DESIRED | {"migration": migration_, "epoch": epoch}))

    assert drivers.obeys(asks("m1", 2))
    assert drivers.obeys(desired.DesiredState(generation=8))
    assert not drivers.obeys(asks("m1", 1))
    assert drivers.obeys(asks("m1", 2))
    assert drivers.obeys(asks("m2", 1))
    assert not drivers.obeys(asks("m1", 1))
    for number in range(20):
        assert drivers.obeys(asks(f"later-{number}", 1))
    assert drivers.obeys(asks("m1", 1))  # forgotten; its MTUMigration is finished long since


def test_a_condition_changes_its_time_with_its_status_alone() -> None:
    refused = msgspec.structs.replace(APPLIED, done=False, failures=("no", "never"), refused_reason="OutOfBounds")
    first = report.accepted(None, 1, None, "2026-01-01T00:00:00Z")
    assert (first.status, first.reason, first.last_transition_time) == ("True", "NothingAsked", "2026-01-01T00:00:00Z")
    obeyed = report.accepted(APPLIED, 2, first, "2026-01-02T00:00:00Z")
    assert (obeyed.reason, obeyed.observed_generation) == ("Obeyed", 2)
    assert obeyed.last_transition_time == "2026-01-01T00:00:00Z"
    told = report.accepted(refused, 3, obeyed, "2026-01-03T00:00:00Z")
    assert (told.status, told.reason, told.message) == ("False", "OutOfBounds", "no; never")
    assert told.last_transition_time == "2026-01-03T00:00:00Z"
    endless = msgspec.structs.replace(refused, failures=("x" * 5000,))
    assert len(report.accepted(endless, 3, told, "2026-01-04T00:00:00Z").message) == 2000  # the definition has 2048
