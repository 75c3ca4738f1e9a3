"""A change that has not ended is no check mark: since when, by whom, what holds, and the ways out."""

import msgspec
from tests.support import example

from kubemtu.core import net
from kubemtu.core.cluster import layout, unfinished
from kubemtu.core.objects import Object
from kubemtu.core.rules import report as rules_report
from kubemtu.core.text.wording import span

NOW = 1793527200.0  # date -u -d 2026-11-01T10:00:00Z +%s
LOCKED = net.Route(family=4, destination="default", device="eth0", gateway="169.254.1.1", mtu=1354, locked=True)


def change(
    *,
    moved: str = "2026-11-01T09:48:00.5Z",
    direction: str = "forward",
    driver: dict[str, str] | None = None,
    **progress: object,
) -> Object:
    """A change to 1354 that was begun at nine, driven by two one after the other."""
    made: dict[str, object] = {"begun": True, **progress}
    journal = [
        {"time": "2026-11-01T09:00:01Z", "what": "a driver takes over: alice@laptop (process 12)"},
        {"time": "2026-11-01T09:40:00Z", "what": "a driver takes over: bob@desk (process 7)"},
        {"time": moved, "what": "live: PinPods"},
    ]
    return Object.of(
        {
            "kind": "MTUMigration",
            "metadata": {"name": "canal-1354-1", "creationTimestamp": "2026-11-01T09:00:00Z"},
            "spec": {"direction": direction, "plan": {"target": 1354, "steps": [{"type": "live"}, {"type": "edit"}]}},
            "status": {"progress": made, "journal": journal} | ({"driver": driver} if driver else {}),
        }
    )


def report(found: Object, *, pinned: bool = True) -> rules_report.Report:
    ports = (example.port("a", "10.42.1.10", routes=(LOCKED,) if pinned else ()),)
    there = example.cluster((example.node("n1", ports=ports), example.node("n2")))
    seen = msgspec.structs.replace(there, objects=(*there.objects, found), taken_at=NOW)
    return rules_report.report(layout.model(seen, example.state()))


def test_nobody_drives_it() -> None:
    found = report(change(phase="PinPods"))
    assert found.verdict == "suboptimal"
    (said,) = [one for one in found.findings if one.code == "MTU128"]
    assert (said.place, said.severity) == ("MTUMigration canal-1354-1", "warning")
    assert said.message == (
        "A change to 1354 has not ended. It was begun 60 minutes ago (2026-11-01T09:00:00Z), driven last by bob@desk "
        "(process 7), and stands at step 1 of 2, phase PinPods. It has not moved for 11 minutes: nobody seems to drive "
        "it. Pins hold: 1 pod on 1 node sends at most 1354."
    )
    assert said.remedy == "`kubemtu apply` carries on from here, `kubemtu rollback` takes it back."


def test_somebody_drives_it() -> None:
    (said, *_) = report(change(moved="2026-11-01T09:59:57Z")).findings
    assert "It moved 3 seconds ago: somebody drives it." in said.message
    assert said.remedy.startswith("Wait for its end.")


def test_a_restart_that_takes_minutes_is_driven_as_long_as_its_driver_gives_signs() -> None:
    """No line of the journal for 12 minutes; signs come every ten seconds, and 45 without one are too many."""
    alive = {"identity": "bob@desk (process 7)", "renewTime": "2026-11-01T09:59:52Z"}
    (said, *_) = report(change(driver=alive)).findings
    assert "It moved 11 minutes ago, and its driver gave a sign 8 seconds ago: somebody drives it." in said.message
    assert said.remedy.startswith("Wait for its end.")
    (said, *_) = report(change(driver=alive | {"renewTime": "2026-11-01T09:59:14Z"})).findings
    assert "Its driver has given no sign for 46 seconds: nobody seems to drive it." in said.message
    assert said.remedy == "`kubemtu apply` carries on from here, `kubemtu rollback` takes it back."


def test_a_driver_that_has_let_go_is_not_waited_for() -> None:
    gone = {"renewTime": "2026-11-01T09:59:55Z", "releaseTime": "2026-11-01T09:59:55Z"}
    (said, *_) = report(change(moved="2026-11-01T09:59:55Z", driver=gone)).findings
    assert "Nobody drives it: its driver stopped 5 seconds ago." in said.message
    assert said.remedy == "`kubemtu apply` carries on from here, `kubemtu rollback` takes it back."


def test_signs_that_nobody_can_read_are_none() -> None:
    (said, *_) = report(change(driver={"renewTime": "soon"})).findings
    assert "It has not moved for 11 minutes: nobody seems to drive it." in said.message


def test_one_that_goes_back_is_only_carried_on_backwards() -> None:
    (said, *_) = report(back()).findings
    assert "is being rolled back at step 1" in said.message
    assert said.remedy == "`kubemtu rollback` carries on from here."


def back() -> Object:
    found = change()
    spec = {"direction": "backward", "plan": {"target": 1354, "steps": []}}
    status = found.mapping("status") | {"progress": {"direction": "backward", "begun": True, "turnedStep": 1}}
    return Object.of(found.body | {"spec": spec, "status": status})


def test_pins_that_hold_on_purpose_are_said_to() -> None:
    (said, *_) = report(change(direction="relief", step=1)).findings
    assert said.message.startswith(
        "Held on purpose by `kubemtu relieve`: pins hold: 1 pod on 1 node sends at most 1354. A change to 1354 has not"
    )
    assert said.remedy == "`kubemtu apply` makes the change, `kubemtu rollback` takes the pins off."


def test_pins_of_a_relief_that_was_killed_are_not() -> None:
    (said, *_) = report(change(direction="relief", step=0, phase="PinPods")).findings
    assert "nobody seems to drive it" in said.message


def test_what_is_not_seen_is_not_said() -> None:
    (said, *_) = report(change(), pinned=False).findings
    assert said.message.endswith("No pin is seen on the nodes that report.")


def test_one_that_ended_is_no_finding() -> None:
    assert [one.code for one in report(change(finished=True), pinned=False).findings] == []


def test_a_record_of_another_version_hides_nothing() -> None:
    found = unfinished.of(msgspec.structs.replace(example.cluster(), objects=(change(step="later"),), taken_at=NOW))
    assert (found[0].name, found[0].progress.untouched) == ("canal-1354-1", False)


def test_spans() -> None:
    assert [span(seconds) for seconds in (0.4, 1, 119, 120, 7199, 7200, 200000)] == [
        "0 seconds",
        "1 second",
        "119 seconds",
        "2 minutes",
        "119 minutes",
        "2 hours",
        "2 days",
    ]
