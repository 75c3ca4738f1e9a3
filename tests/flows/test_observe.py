"""What agents told, and of when: an old report is no report."""

import datetime as dt

import msgspec

from kubemtu.core import example, net
from kubemtu.core.objects import Object
from kubemtu.flows import observe

NOW = 1793527200.0  # date -u -d 2026-11-01T10:00:00Z +%s


def told(seen: net.NodeObservation | None, seconds_ago: float, name: str = "n1") -> Object:
    """The NodeMTU of a node whose agent last told something that long ago."""
    status: dict[str, object] = {
        "observedAt": dt.datetime.fromtimestamp(NOW - seconds_ago, dt.UTC).isoformat().replace("+00:00", "Z")
    }
    if seen is not None:
        status["observation"] = msgspec.to_builtins(seen)
    return Object.of(
        {"apiVersion": "kubemtu.io/v1alpha1", "kind": "NodeMTU", "metadata": {"name": name}, "status": status}
    )


def test_a_fresh_report_is_what_the_node_shows() -> None:
    seen, silent = observe.observations([told(example.node("n1"), 59)], ["n1"], NOW)
    assert (seen, silent) == ((example.node("n1"),), ())


def test_an_old_report_is_none() -> None:
    seen, (silent,) = observe.observations([told(example.node("n1"), 61)], ["n1"], NOW)
    assert seen == ()
    assert (silent.what, silent.why) == ("node n1", "no agent")
    assert silent.message.startswith("its agent last told something 61 seconds ago")


def test_a_node_without_a_report_is_named() -> None:
    _seen, (silent,) = observe.observations([], ["n1"], NOW)
    assert (silent.what, silent.why, silent.message[:19]) == ("node n1", "no agent", "it has no NodeMTU: ")


def test_a_report_without_an_observation_is_none() -> None:
    _seen, (silent,) = observe.observations([told(None, 1)], ["n1"], NOW)
    assert silent.message.startswith("its NodeMTU holds no observation yet")


def test_a_broken_report_hides_no_other() -> None:
    broken = Object.of({"kind": "NodeMTU", "metadata": {"name": "n1"}, "status": {"observation": {"node": 7}}})
    seen, (unread,) = observe.observations([broken, told(example.node("n2"), 1, "n2")], ["n1", "n2"], NOW)
    assert [one.node for one in seen] == ["n2"]
    assert (unread.what, unread.why) == ("node n1", "malformed")


def test_a_node_that_has_left_is_not_missed() -> None:
    assert observe.observations([told(example.node("n1"), 1)], [], NOW)[1] == ()


def test_pods_are_kept_without_what_is_nobodys_business() -> None:
    pod = Object.of(
        {
            "kind": "Pod",
            "apiVersion": "v1",
            "metadata": {"name": "web", "namespace": "default", "annotations": {"token": "secret"}},
            "spec": {"nodeName": "n1", "containers": [{"env": [{"name": "PASSWORD", "value": "secret"}]}]},
            "status": {"phase": "Running", "podIP": "10.42.1.10"},
        }
    )
    kept = observe.slim(pod)
    assert "secret" not in str(kept.body)
    assert (kept.name, kept.text("spec", "nodeName"), kept.text("status", "podIP")) == ("web", "n1", "10.42.1.10")


def test_other_objects_are_kept_whole() -> None:
    config, _agent = example.canal()
    assert observe.slim(config) is config
