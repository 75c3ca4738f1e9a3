"""What kubectl prints."""

from datetime import UTC, datetime

import pytest

from kubemtu_lab.api import tables
from kubemtu_lab.api.resources import BUILT_IN, Column, Object, Resource

NOW = datetime(2026, 11, 23, 12, 0, 0, tzinfo=UTC)
ACCEPT = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
CREATED = {"creationTimestamp": "2026-11-23T11:35:00Z", "resourceVersion": "7"}


def cells(plural: str, item: Object) -> list[object]:
    resource = next(each for each in BUILT_IN if each.plural == plural)
    item = item | {"metadata": CREATED | item["metadata"]}
    row: list[object] = tables.table(resource, [item], {}, include="None", now=NOW)["rows"][0]["cells"]
    return row


def test_a_table_is_made_for_those_who_ask() -> None:
    assert tables.wants_table(ACCEPT)
    assert not tables.wants_table("application/json")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "0s"),
        (0, "0s"),
        (119, "119s"),
        (120, "2m"),
        (243, "4m3s"),
        (600, "10m"),
        (10799, "179m"),
        (10800, "3h"),
        (18300, "5h5m"),
        (28800, "8h"),
        (172799, "47h"),
        (172800, "2d"),
        (266400, "3d2h"),
        (691200, "8d"),
        (63072000, "2y"),
        (63158400, "2y1d"),
    ],
)
def test_ages_are_written_as_kubectl_does(seconds: int, text: str) -> None:
    assert tables.duration(seconds) == text


def test_a_daemonset_in_one_row() -> None:
    containers = [{"name": "node", "image": "node:1"}, {"name": "flannel", "image": "flannel:1"}]
    template = {"spec": {"nodeSelector": {"os": "linux"}, "containers": containers}}
    status = {"desiredNumberScheduled": 3, "currentNumberScheduled": 3, "numberReady": 2, "updatedNumberScheduled": 1}
    item: Object = {
        "metadata": {"name": "canal"},
        "spec": {"template": template, "selector": {"matchLabels": {"k8s-app": "canal"}}},
        "status": status,
    }
    shown = ["canal", 3, 3, 2, 1, 0, "os=linux", "25m", "node,flannel", "node:1,flannel:1", "k8s-app=canal"]
    assert cells("daemonsets", item) == shown


def test_pods_say_what_they_wait_for() -> None:
    spec = {"containers": [{"name": "a"}, {"name": "b"}], "nodeName": "n1"}
    statuses: list[Object] = [{"ready": True, "restartCount": 1}, {"ready": False, "restartCount": 2}]
    pod: Object = {"metadata": {"name": "p"}, "spec": spec}
    pod["status"] = {"phase": "Running", "podIP": "10.0.0.1", "containerStatuses": statuses}
    assert cells("pods", pod) == ["p", "1/2", "Running", "3", "25m", "10.0.0.1", "n1", "<none>", "<none>"]
    statuses[1]["state"] = {"waiting": {"reason": "CrashLoopBackOff"}}
    assert cells("pods", pod)[2] == "CrashLoopBackOff"
    pod["metadata"]["deletionTimestamp"] = "2026-11-23T12:00:00Z"
    assert cells("pods", pod)[2] == "Terminating"
    assert cells("pods", {"metadata": {"name": "q"}, "spec": {}, "status": {"phase": "Pending"}}) == [
        "q",
        "0/0",
        "Pending",
        "0",
        "25m",
        *("<none>", "<none>", "<none>", "<none>"),
    ]


@pytest.mark.parametrize(
    ("conditions", "unschedulable", "text"),
    [
        ([], False, "Unknown"),
        ([{"type": "Ready", "status": "True"}], False, "Ready"),
        ([{"type": "Ready", "status": "False"}], True, "NotReady,SchedulingDisabled"),
    ],
)
def test_nodes_say_whether_they_are_ready(conditions: list[Object], unschedulable: bool, text: str) -> None:
    node: Object = {"metadata": {"name": "n1", "labels": {"node-role.kubernetes.io/worker": ""}}}
    node["spec"] = {"unschedulable": unschedulable}
    addresses = [{"type": "Hostname", "address": "n1"}, {"type": "InternalIP", "address": "192.0.2.1"}]
    node["status"] = {"conditions": conditions, "addresses": addresses, "nodeInfo": {"kubeletVersion": "v1.32.4"}}
    assert cells("nodes", node)[:6] == ["n1", text, "worker", "25m", "v1.32.4", "192.0.2.1"]


def test_small_kinds() -> None:
    assert cells("configmaps", {"metadata": {"name": "c"}, "data": {"a": "1", "b": "2"}}) == ["c", 2, "25m"]
    assert cells("namespaces", {"metadata": {"name": "n"}, "status": {"phase": "Active"}}) == ["n", "Active", "25m"]
    event: Object = {"metadata": {"name": "e"}, "lastTimestamp": "2026-11-23T11:59:00Z", "type": "Warning"}
    event |= {"reason": "MTU", "message": "too big", "involvedObject": {"kind": "Node", "name": "n1"}}
    assert cells("events", event) == ["e", "60s", "Warning", "MTU", "node/n1", "too big"]
    assert cells("roles", {"metadata": {"name": "r"}}) == ["r", "25m"]
    assert cells("roles", {"metadata": {"name": "r", "creationTimestamp": None}}) == ["r", "<unknown>"]


def test_custom_columns_follow_their_json_path() -> None:
    columns = (
        Column(name="Target", path=".spec.mtu", type="integer"),
        Column(name="Ready", path='.status.conditions[?(@.type=="Ready")].status'),
        Column(name="First", path=".spec.nodes[0].name"),
        Column(name="Owner", path=".metadata.annotations.lab\\.example/owner"),
        Column(name="Same", path=".metadata.annotations['lab.example/owner']"),
        Column(name="All", path=".spec.nodes"),
        Column(name="Began", path=".status.began", type="date"),
        Column(name="Missing", path=".status.nothing.at[3]"),
    )
    resource = Resource(group="lab.example", plural="widgets", kind="Widget", custom=True, columns=columns)
    item: Object = {
        "metadata": {"name": "w", "annotations": {"lab.example/owner": "me"}} | CREATED,
        "spec": {"mtu": 1450, "nodes": [{"name": "n1"}, {"name": "n2"}]},
        "status": {"conditions": [{"type": "Done", "status": "False"}, {"type": "Ready", "status": "True"}]},
    }
    made = tables.table(resource, [item], {"resourceVersion": "9"}, include="", now=NOW)
    assert [each["name"] for each in made["columnDefinitions"]][:3] == ["Name", "Target", "Ready"]
    assert made["metadata"] == {"resourceVersion": "9"}
    (row,) = made["rows"]
    shown = ["w", 1450, "True", "n1", "me", "me", [{"name": "n1"}, {"name": "n2"}], "<unknown>", None]
    assert row["cells"] == shown
    assert row["object"]["kind"] == "PartialObjectMetadata"
    assert tables.table(resource, [item], {}, include="Object", now=NOW)["rows"][0]["object"] == item
