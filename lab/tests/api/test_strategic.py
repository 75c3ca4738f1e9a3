"""Strategic merge: what kubectl sends, and what it must come to."""

import pytest

from kubemtu_lab.api import strategic
from kubemtu_lab.api.errors import Refusal
from kubemtu_lab.api.resources import Object

POD: Object = {
    "containers": [
        {"name": "node", "image": "node:1", "env": [{"name": "MTU", "value": "1450"}, {"name": "A", "value": "1"}]},
        {"name": "flannel", "image": "flannel:1", "args": ["--iface=eth0", "--ip-masq"]},
    ],
    "tolerations": [{"operator": "Exists"}],
    "volumes": [{"name": "run", "hostPath": {"path": "/run"}}, {"name": "cfg", "configMap": {"name": "canal-config"}}],
}


def test_rollout_restart_adds_one_annotation() -> None:
    restart = {"kubectl.kubernetes.io/restartedAt": "2026-11-23T00:00:00Z"}
    target = {"spec": {"template": {"metadata": {"labels": {"a": "b"}, "annotations": {"x": "y"}}, "spec": POD}}}
    patch = {"spec": {"template": {"metadata": {"annotations": restart}}}}
    merged = strategic.merge(target, patch)
    assert merged["spec"]["template"]["metadata"] == {"labels": {"a": "b"}, "annotations": {"x": "y"} | restart}
    assert merged["spec"]["template"]["spec"] == POD


def test_containers_and_their_env_merge_by_name() -> None:
    patch = {"containers": [{"name": "node", "env": [{"name": "MTU", "value": "1400"}, {"name": "B", "value": "2"}]}]}
    node, flannel = strategic.merge(POD, patch)["containers"]
    assert node["image"] == "node:1"
    assert node["env"] == [
        {"name": "MTU", "value": "1400"},
        {"name": "A", "value": "1"},
        {"name": "B", "value": "2"},
    ]
    assert flannel == POD["containers"][1]


def test_delete_removes_an_element_and_null_a_field() -> None:
    patch = {
        "containers": [
            {"name": "flannel", "$patch": "delete"},
            {"name": "node", "image": None, "env": [{"name": "A", "$patch": "delete"}]},
        ],
        "tolerations": None,
    }
    merged = strategic.merge(POD, patch)
    assert merged["containers"] == [{"name": "node", "env": [{"name": "MTU", "value": "1450"}]}]
    assert "tolerations" not in merged


def test_lists_without_a_key_are_replaced() -> None:
    patch = {"tolerations": [{"key": "a"}], "containers": [{"name": "flannel", "args": ["--iface=eth1"]}]}
    merged = strategic.merge(POD, patch)
    assert merged["tolerations"] == [{"key": "a"}]
    assert merged["containers"][1]["args"] == ["--iface=eth1"]


def test_replace_puts_a_list_or_an_object_in_the_place_of_the_old() -> None:
    assert strategic.merge(POD, {"volumes": [{"$patch": "replace"}, {"name": "only"}]})["volumes"] == [{"name": "only"}]
    assert strategic.merge({"a": {"b": 1}}, {"a": {"$patch": "replace", "c": 2}}) == {"a": {"c": 2}}


def test_retain_keys_drops_the_other_kind_of_volume() -> None:
    patch = {"volumes": [{"name": "run", "$retainKeys": ["name", "emptyDir"], "emptyDir": {}}]}
    assert strategic.merge(POD, patch)["volumes"][0] == {"name": "run", "emptyDir": {}}


def test_ports_have_the_key_of_their_kind() -> None:
    service = {"ports": [{"port": 53, "protocol": "UDP"}, {"port": 80}]}
    patch = {"ports": [{"port": 80, "targetPort": 8080}]}
    assert strategic.merge(service, patch)["ports"] == [
        {"port": 53, "protocol": "UDP"},
        {"port": 80, "targetPort": 8080},
    ]
    container = {"ports": [{"containerPort": 9091, "name": "metrics"}]}
    patch = {"ports": [{"containerPort": 9091, "hostPort": 9091}]}
    assert strategic.merge(container, patch)["ports"] == [{"containerPort": 9091, "name": "metrics", "hostPort": 9091}]


def test_set_element_order_sorts_what_it_names_and_keeps_the_rest_in_place() -> None:
    target = {"containers": [{"name": "a"}, {"name": "injected"}, {"name": "b"}]}
    patch = {
        "$setElementOrder/containers": [{"name": "c"}, {"name": "b"}, {"name": "a"}],
        "containers": [{"name": "c"}],
    }
    names = [each["name"] for each in strategic.merge(target, patch)["containers"]]
    assert names.index("c") < names.index("b") < names.index("a")
    assert sorted(names) == ["a", "b", "c", "injected"]


def test_words_are_added_once_and_deleted_by_name() -> None:
    target = {"metadata": {"finalizers": ["x", "y"]}}
    added = strategic.merge(target, {"metadata": {"finalizers": ["y", "z"]}})
    assert added == {"metadata": {"finalizers": ["x", "y", "z"]}}
    deleted = strategic.merge(target, {"metadata": {"$deleteFromPrimitiveList/finalizers": ["x"]}})
    assert deleted == {"metadata": {"finalizers": ["y"]}}


def test_directives_do_not_end_up_in_the_object() -> None:
    patch = {
        "template": {"$retainKeys": ["a"], "a": {"b": None, "c": 1}},
        "$setElementOrder/volumes": [{"name": "v"}],
        "volumes": [{"name": "gone", "$patch": "delete"}, {"name": "v", "$retainKeys": ["name"]}],
    }
    assert strategic.merge({}, patch) == {"template": {"a": {"c": 1}}, "volumes": [{"name": "v"}]}


@pytest.mark.parametrize("patch", [{"a": {"$patch": "jump"}}, {"containers": [{"image": "nameless"}]}])
def test_what_makes_no_sense_is_a_bad_request(patch: Object) -> None:
    with pytest.raises(Refusal) as refused:
        strategic.merge({}, patch)
    assert refused.value.code == 400


def test_an_applied_configuration_merges_keyed_lists_and_replaces_the_others() -> None:
    applied = {"containers": [{"name": "node", "image": "node:2"}, {"name": "new"}], "tolerations": []}
    merged = strategic.apply(POD, applied, keyed=True)
    assert [each["name"] for each in merged["containers"]] == ["node", "flannel", "new"]
    assert merged["containers"][0]["env"] == POD["containers"][0]["env"]
    assert merged["tolerations"] == []
    assert strategic.apply(POD, applied, keyed=False)["containers"] == applied["containers"]
