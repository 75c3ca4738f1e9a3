"""Who owns which field, and server-side apply: the examples of the Kubernetes documentation, in this lab's terms."""

from datetime import UTC, datetime

import pytest
from tests.support.api_samples import pod

from kubemtu_lab.api.errors import Refusal
from kubemtu_lab.api.ownership import Writer
from kubemtu_lab.api.resources import Object, Resource
from kubemtu_lab.api.store import Store

EDIT = Writer(manager="kubectl-edit")
TEMPLATE: Object = {
    "metadata": {"labels": {"a": "b"}},
    "spec": {"containers": [{"name": "node", "image": "node:1"}, {"name": "flannel", "image": "flannel:1"}]},
}
SPEC: Object = {"selector": {"matchLabels": {"a": "b"}}, "template": TEMPLATE}


class Clock:
    def __init__(self) -> None:
        self.minute = 0

    def __call__(self) -> datetime:
        return datetime(2026, 11, 23, 12, self.minute, tzinfo=UTC)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(clock: Clock) -> Store:
    return Store(clock=clock)


def configmap(**texts: str) -> Object:
    return {"metadata": {"name": "x"}, "data": texts}


def owners(item: Object) -> dict[str, object]:
    return {
        f"{each['manager']} {each['operation']}": each["fieldsV1"].get("f:data", each["fieldsV1"])
        for each in item["metadata"]["managedFields"]
    }


def apply(store: Store, manager: str, body: Object, *, force: bool = False, plural: str = "configmaps") -> Object:
    group = "apps" if plural == "daemonsets" else ""
    resource = store.resource(group, "v1", plural)
    return store.apply(resource, "default", "x", body, manager=manager, force=force)[0]


def test_the_creator_owns_everything_and_who_changes_a_field_takes_it(
    store: Store, configmaps: Resource, clock: Clock
) -> None:
    made = store.create(configmaps, "default", configmap(a="1", b="2"), writer=Writer(manager="rke"))
    assert made["metadata"]["managedFields"] == [
        {
            "manager": "rke",
            "operation": "Update",
            "apiVersion": "v1",
            "time": "2026-11-23T12:00:00Z",
            "fieldsType": "FieldsV1",
            "fieldsV1": {"f:data": {".": {}, "f:a": {}, "f:b": {}}},
        }
    ]
    clock.minute = 5
    changed = store.patch(configmaps, "default", "x", lambda now: now | {"data": {"a": "1", "b": "3"}}, writer=EDIT)
    assert owners(changed) == {"rke Update": {".": {}, "f:a": {}}, "kubectl-edit Update": {"f:b": {}}}
    assert [each["time"] for each in changed["metadata"]["managedFields"]] == [
        "2026-11-23T12:00:00Z",
        "2026-11-23T12:05:00Z",
    ]
    gone = store.patch(configmaps, "default", "x", lambda now: now | {"data": {"a": "1"}}, writer=EDIT)
    assert owners(gone) == {"rke Update": {".": {}, "f:a": {}}}


def test_a_status_has_owners_of_its_own(store: Store) -> None:
    pods = store.resource("", "v1", "pods")
    store.create(pods, "default", pod("x"), writer=EDIT)
    kubelet = Writer(manager="kubelet", subresource="status")
    now = store.patch(pods, "default", "x", lambda now: now | {"status": {"phase": "Running"}}, writer=kubelet)
    first, second = now["metadata"]["managedFields"]
    assert "f:status" not in first["fieldsV1"]
    assert (second["subresource"], second["fieldsV1"]) == ("status", {"f:status": {"f:phase": {}}})


def test_what_is_applied_no_more_goes_away(store: Store) -> None:
    apply(store, "gitops", configmap(a="1", b="2"))
    changed = apply(store, "gitops", configmap(b="2"))
    assert changed["data"] == {"b": "2"}
    assert owners(changed) == {"gitops Apply": {"f:b": {}}}


def test_what_somebody_else_owns_too_stays(store: Store) -> None:
    apply(store, "gitops", configmap(a="1", b="2"))
    shared = apply(store, "kubemtu", configmap(a="1"))
    assert owners(shared) == {"gitops Apply": {"f:a": {}, "f:b": {}}, "kubemtu Apply": {"f:a": {}}}
    left = apply(store, "gitops", configmap(b="2"))
    assert left["data"] == {"a": "1", "b": "2"}
    assert owners(left) == {"gitops Apply": {"f:b": {}}, "kubemtu Apply": {"f:a": {}}}


def test_a_field_of_somebody_else_is_a_conflict_until_it_is_forced(store: Store, configmaps: Resource) -> None:
    store.create(configmaps, "default", configmap(veth_mtu="1450", other="x"), writer=Writer(manager="rke"))
    with pytest.raises(Refusal) as refused:
        apply(store, "kubemtu", configmap(veth_mtu="1400"))
    assert (refused.value.code, refused.value.reason) == (409, "Conflict")
    assert refused.value.message == 'Apply failed with 1 conflict: conflict with "rke" using v1: .data.veth_mtu'
    assert refused.value.status["details"]["causes"] == [
        {"reason": "FieldManagerConflict", "message": 'conflict with "rke" using v1', "field": ".data.veth_mtu"}
    ]
    assert store.get(configmaps, "default", "x")["data"]["veth_mtu"] == "1450"
    forced = apply(store, "kubemtu", configmap(veth_mtu="1400"), force=True)
    assert forced["data"] == {"veth_mtu": "1400", "other": "x"}
    assert owners(forced) == {"rke Update": {".": {}, "f:other": {}}, "kubemtu Apply": {"f:veth_mtu": {}}}


def test_the_same_configuration_again_makes_no_version(store: Store, clock: Clock) -> None:
    first = apply(store, "gitops", configmap(a="1"))
    clock.minute = 7
    assert apply(store, "gitops", configmap(a="1")) == first


def test_elements_of_a_list_have_owners_of_their_own(store: Store) -> None:
    daemonset: Object = {"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "x"}, "spec": SPEC}
    apply(store, "helm", daemonset, plural="daemonsets")
    env: Object = {"containers": [{"name": "node", "env": [{"name": "MTU", "value": "1400"}]}]}
    mine: Object = daemonset | {"spec": {"template": {"spec": env}}}
    changed = apply(store, "kubemtu", mine, plural="daemonsets")
    node, flannel = changed["spec"]["template"]["spec"]["containers"]
    assert (node["image"], node["env"]) == ("node:1", [{"name": "MTU", "value": "1400"}])
    assert flannel["image"] == "flannel:1"
    entry = changed["metadata"]["managedFields"][1]["fieldsV1"]
    element = entry["f:spec"]["f:template"]["f:spec"]["f:containers"]['k:{"name":"node"}']
    assert element == {
        ".": {},
        "f:name": {},
        "f:env": {'k:{"name":"MTU"}': {".": {}, "f:name": {}, "f:value": {}}},
    }
    env["containers"][0]["env"] = [{"name": "MTU", "value": "9000"}]
    with pytest.raises(Refusal) as refused:
        apply(store, "helm", mine, plural="daemonsets")
    field = '.spec.template.spec.containers[name="node"].env[name="MTU"].value'
    assert refused.value.message == f'Apply failed with 1 conflict: conflict with "kubemtu": {field}'
    emptied = apply(store, "kubemtu", daemonset | {"spec": {}}, plural="daemonsets")
    assert emptied["spec"]["template"]["spec"]["containers"][0] == {"name": "node", "image": "node:1"}
    assert len(emptied["spec"]["template"]["spec"]["containers"]) == 2


def test_a_client_may_hand_fields_to_another_manager(store: Store, configmaps: Resource) -> None:
    """As `kubectl apply --server-side` does with what `kubectl apply` owned."""
    made = store.create(configmaps, "default", configmap(a="1"), writer=EDIT)
    (entry,) = made["metadata"]["managedFields"]
    handed = {**made["metadata"], "managedFields": [entry | {"manager": "kubectl", "operation": "Apply"}]}
    changed = store.update(configmaps, "default", "x", made | {"metadata": handed}, writer=EDIT)
    assert owners(changed) == {"kubectl Apply": {".": {}, "f:a": {}}}


def test_owners_that_are_taken_away_come_back_with_what_is_applied(store: Store, configmaps: Resource) -> None:
    made = store.create(configmaps, "default", configmap(a="1"), writer=EDIT)
    bare = store.update(configmaps, "default", "x", made | {"metadata": {**made["metadata"], "managedFields": []}})
    assert "managedFields" not in bare["metadata"]
    later = store.patch(configmaps, "default", "x", lambda now: now | {"data": {"a": "2"}}, writer=EDIT)
    assert "managedFields" not in later["metadata"]
    assert owners(apply(store, "kubemtu", configmap(b="1"))) == {
        "before-first-apply Update": {".": {}, "f:a": {}},
        "kubemtu Apply": {"f:b": {}},
    }
