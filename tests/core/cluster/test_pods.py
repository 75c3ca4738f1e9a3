"""Pods of the API: times, owners, and what cannot be read."""

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support import example

from kubemtu.core import net
from kubemtu.core.cluster import pods
from kubemtu.core.objects import Object
from kubemtu.core.snapshot import Snapshot


@given(st.datetimes(min_value=dt.datetime(1970, 1, 1), max_value=dt.datetime(2199, 12, 31)))  # noqa: DTZ001 - made UTC below
def test_times_of_the_api_are_seconds_since_the_epoch(moment: dt.datetime) -> None:
    moment = moment.replace(microsecond=0, tzinfo=dt.UTC)
    assert pods.seconds(moment.isoformat().replace("+00:00", "Z")) == moment.timestamp()


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("1970-01-01T00:00:00Z", 0.0),
        ("2024-02-29T12:00:00Z", 1709208000.0),  # date -u -d 2024-02-29T12:00:00Z +%s
        ("2026-11-01T10:00:00.250Z", 1793527200.25),
        ("2026-11-01", None),
        ("", None),
    ],
)
def test_a_time_is_read_or_is_none(written: str, expected: float | None) -> None:
    assert pods.seconds(written) == expected


def pod(**changed: object) -> Snapshot:
    """A snapshot with one pod, whose spec or status is changed."""
    spec = {"nodeName": "n1"} | changed
    status = {"phase": spec.pop("phase", "Running"), "podIP": spec.pop("ip", "10.42.1.10")}
    body: dict[str, object] = {
        "kind": "Pod",
        "metadata": {"name": "a", "namespace": "b"},
        "spec": spec,
        "status": status,
    }
    return Snapshot(source="a test", objects=(Object.of(body),))


def test_a_running_pod_is_one_of_the_pod_network() -> None:
    (found,) = pods.running(pod())
    assert (str(found), found.node, found.addresses) == ("b/a", "n1", ("10.42.1.10",))


@pytest.mark.parametrize(
    "changed",
    [{"hostNetwork": True}, {"nodeName": None}, {"phase": "Succeeded"}, {"nodeName": 7}, {"ip": ["10.42.1.10"]}],
)
def test_what_has_no_interface_of_its_own_or_cannot_be_read_is_left_out(changed: dict[str, object]) -> None:
    assert pods.running(pod(**changed)) == ()


def test_a_cni_pod_that_cannot_be_read_is_left_out() -> None:
    body: dict[str, object] = {
        "kind": "Pod",
        "metadata": {"name": "canal-x", "namespace": "kube-system", "ownerReferences": "broken"},
    }
    assert pods.cni_pods(Snapshot(source="a test", objects=(Object.of(body),)), example.DAEMONSET) == ()


def test_pods_of_another_owner_are_not_the_cnis() -> None:
    snapshot = example.cluster()
    other = example.DAEMONSET.__class__(
        api_version="apps/v1", kind="DaemonSet", plural="daemonsets", name="other", namespace="kube-system"
    )
    assert pods.cni_pods(snapshot, other) == ()
    assert pods.cni_pods(snapshot, None) == ()


def test_an_address_tells_whose_port_it_is_and_the_name_of_the_link_tells_it_better() -> None:
    first = pods.Pod(namespace="default", name="podA", node="n1", addresses=("10.42.1.10",))
    second = pods.Pod(namespace="default", name="podB", node="n1", addresses=("10.42.1.11",))
    # The vector of projectcalico/calico, libcalico-go/lib/backend/k8s/conversion/conversion_test.go.
    named = net.PodPort(
        netns="x",
        inode=1,
        host_link="cali7f94ce7c295",
        host_index=1,
        host_mtu=1450,
        pod_link="eth0",
        pod_index=2,
        pod_mtu=1450,
        addresses=("10.42.1.11",),
    )
    assert pods.owners((named,), ("cali",), (first, second)) == {"cali7f94ce7c295": "default/podA"}
    assert pods.owners((named,), ("eni",), (first, second)) == {"cali7f94ce7c295": "default/podB"}
    assert pods.owners((named,), (), ()) == {}
