"""The rules of a Kubernetes API server: what may be created, versions, conflicts, deletion."""

import pytest
from tests.support.api_samples import SPEC, STATUS, WIDGETS, named, pod, refusal

from kubemtu_lab.api.ownership import Writer
from kubemtu_lab.api.resources import Object, Resource
from kubemtu_lab.api.store import DeleteOptions, Store

MODIFIED = (
    'Operation cannot be fulfilled on configmaps "x": the object has been modified; '
    "please apply your changes to the latest version and try again"
)


# Creating


def test_a_new_object_gets_its_identity_from_the_server(store: Store, configmaps: Resource) -> None:
    made = store.create(configmaps, "default", named("x", data={"a": "1"}))
    metadata = made["metadata"]
    assert (made["apiVersion"], made["kind"]) == ("v1", "ConfigMap")
    assert metadata["namespace"] == "default"
    assert metadata["creationTimestamp"] == "2026-11-23T12:00:00Z"
    assert len(metadata["uid"]) == 36
    assert int(metadata["resourceVersion"]) == store.version
    assert "generation" not in metadata


def test_versions_grow_across_all_kinds(store: Store, configmaps: Resource, pods: Resource) -> None:
    versions = [
        int(store.create(kind, "default", body)["metadata"]["resourceVersion"])
        for kind, body in ((configmaps, named("a")), (pods, pod("b")), (configmaps, named("c")))
    ]
    assert versions == sorted(set(versions))


def test_the_body_that_was_given_stays_as_it_was(store: Store, configmaps: Resource) -> None:
    body = named("x", data={"a": "1"})
    made = store.create(configmaps, "default", body)
    body["data"]["a"] = "2"
    assert body["metadata"] == {"name": "x"}
    assert store.get(configmaps, "default", "x") == made
    assert made["data"] == {"a": "1"}


def test_the_same_name_twice_is_refused(store: Store, configmaps: Resource) -> None:
    store.create(configmaps, "default", named("x"))
    refused = refusal(store.create, configmaps, "default", named("x"))
    assert (refused.code, refused.reason) == (409, "AlreadyExists")
    assert refused.message == 'configmaps "x" already exists'
    store.create(configmaps, "kube-system", named("x"))


def test_generate_name_ends_in_five_letters(store: Store, pods: Resource) -> None:
    body = pod("") | {"metadata": {"generateName": "canal-"}}
    names = {store.create(pods, "default", body)["metadata"]["name"] for _ in range(20)}
    assert len(names) == 20
    assert all(name.startswith("canal-") and len(name) == 11 for name in names)


@pytest.mark.parametrize(
    ("namespace", "body", "code", "message"),
    [
        ("nowhere", named("x"), 404, 'namespaces "nowhere" not found'),
        ("default", {"metadata": {}}, 422, "name or generateName is required"),
        ("default", named("Upper"), 422, "a lowercase RFC 1123 subdomain must consist of"),
        ("default", named("x") | {"kind": "Secret"}, 400, "does not match the expected kind"),
        ("default", named("x") | {"apiVersion": "v2"}, 400, "does not match the expected API version (v1)"),
        ("default", {"metadata": {"name": "x", "namespace": "kube-system"}}, 400, "does not match the namespace"),
        ("default", {"metadata": {"name": "x", "resourceVersion": "1"}}, 500, "resourceVersion should not be set"),
        (
            "default",
            named("x", data={"veth_mtu": 1450}),
            400,
            "json: cannot unmarshal number into Go struct field ConfigMap.data of type string",
        ),
        (
            "default",
            {"metadata": {"name": "x", "labels": {"a": True}}},
            400,
            "cannot unmarshal bool into Go struct field",
        ),
    ],
)
def test_what_cannot_be_created(store: Store, namespace: str, body: Object, code: int, message: str) -> None:
    refused = refusal(store.create, store.resource("", "v1", "configmaps"), namespace, body)
    assert refused.code == code
    assert message in refused.message


def test_a_dry_run_leaves_no_trace(store: Store, configmaps: Resource) -> None:
    before = store.version
    assert store.create(configmaps, "default", named("x"), dry_run=True)["metadata"]["uid"]
    assert store.version == before
    assert refusal(store.get, configmaps, "default", "x").code == 404


def test_a_daemonset_gets_the_defaults_that_clients_count_on(store: Store) -> None:
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    spec = {"selector": {"matchLabels": {"a": "b"}}, "template": template}
    made = store.create(store.resource("apps", "v1", "daemonsets"), "default", named("d", spec=spec))
    assert made["spec"]["updateStrategy"] == {
        "type": "RollingUpdate",
        "rollingUpdate": {"maxUnavailable": 1, "maxSurge": 0},
    }
    assert made["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] == 30
    assert made["metadata"]["generation"] == 1


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"template": {}}, "spec.template.metadata.labels: Invalid value"),
        ({"selector": {}}, "spec.selector: Invalid value: {}: empty selector is invalid for daemonset"),
        (
            {"selector": {"matchLabels": {"a": "b"}}, "template": {"metadata": {"labels": {"a": "c"}}}},
            "spec.template.metadata.labels: Invalid value",
        ),
        (
            {"selector": {}, "updateStrategy": {"rollingUpdate": {"maxUnavailable": "many"}}},
            "spec.updateStrategy.rollingUpdate.maxUnavailable: Invalid value",
        ),
    ],
)
def test_a_daemonset_that_cannot_work_is_refused(store: Store, spec: Object, field: str) -> None:
    refused = refusal(store.create, store.resource("apps", "v1", "daemonsets"), "default", named("d", spec=spec))
    assert refused.code == 422
    assert field in refused.message


# Changing


def test_another_resource_version_is_a_conflict(store: Store, configmaps: Resource) -> None:
    old = store.create(configmaps, "default", named("x", data={"a": "1"}))
    store.update(configmaps, "default", "x", old | {"data": {"a": "2"}})
    refused = refusal(store.update, configmaps, "default", "x", old | {"data": {"a": "3"}})
    assert (refused.code, refused.reason, refused.message) == (409, "Conflict", MODIFIED)
    assert refused.status["details"] == {"name": "x", "kind": "configmaps"}
    patched = refusal(
        store.patch, configmaps, "default", "x", lambda now: now | {"metadata": old["metadata"], "data": {"a": "4"}}
    )
    assert patched.message == MODIFIED
    assert store.get(configmaps, "default", "x")["data"] == {"a": "2"}


def test_without_a_version_the_last_writer_wins(store: Store, configmaps: Resource) -> None:
    store.create(configmaps, "default", named("x", data={"a": "1"}))
    store.update(configmaps, "default", "x", named("x", data={"b": "2"}))
    assert store.get(configmaps, "default", "x")["data"] == {"b": "2"}


def test_another_uid_is_a_conflict(store: Store, configmaps: Resource) -> None:
    store.create(configmaps, "default", named("x"))
    body = {"metadata": {"name": "x", "uid": "another"}, "data": {}}
    assert "Precondition failed: UID" in refusal(store.update, configmaps, "default", "x", body).message


def test_a_change_of_nothing_makes_no_version(store: Store, configmaps: Resource) -> None:
    made = store.create(configmaps, "default", named("x", data={"a": "1"}))
    again = store.update(configmaps, "default", "x", named("x", data={"a": "1"}))
    assert again["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]
    assert store.changes(configmaps, int(made["metadata"]["resourceVersion"])) == []


def test_the_identity_cannot_be_changed(store: Store, configmaps: Resource) -> None:
    made = store.create(configmaps, "default", named("x"))
    metadata = {"name": "x", "creationTimestamp": "1999-01-01T00:00:00Z", "generation": 9, "labels": {"a": "b"}}
    changed = store.update(configmaps, "default", "x", {"metadata": metadata})
    assert changed["metadata"]["uid"] == made["metadata"]["uid"]
    assert changed["metadata"]["creationTimestamp"] == "2026-11-23T12:00:00Z"
    assert "generation" not in changed["metadata"]
    assert changed["metadata"]["labels"] == {"a": "b"}


def test_a_patch_with_wrong_types_is_refused(store: Store, configmaps: Resource) -> None:
    store.create(configmaps, "default", named("x", data={"veth_mtu": "1450"}))
    refused = refusal(store.patch, configmaps, "default", "x", lambda now: now | {"data": {"veth_mtu": 1400}})
    assert refused.code == 422
    assert "cannot unmarshal number" in refused.message


def test_status_and_spec_are_written_apart(store: Store, pods: Resource) -> None:
    made = store.create(pods, "default", pod("p") | {"status": {"phase": "Running"}})
    assert made["status"]["phase"] == "Pending"
    store.update(pods, "default", "p", pod("p", labels={"a": "b"}) | {"status": {"phase": "Running"}})
    assert store.get(pods, "default", "p")["status"]["phase"] == "Pending"
    body = pod("p", node="n2") | {"status": {"phase": "Running"}}
    store.update(pods, "default", "p", body, writer=STATUS)
    now = store.get(pods, "default", "p")
    assert (now["status"]["phase"], now["spec"]["nodeName"]) == ("Running", "n1")
    assert now["metadata"]["labels"] == {"a": "b"}


def test_a_node_brings_its_own_status(store: Store) -> None:
    nodes = store.resource("", "v1", "nodes")
    made = store.create(nodes, "", named("n1", status={"nodeInfo": {"kubeletVersion": "v1.32.4"}}))
    assert made["status"]["nodeInfo"] == {"kubeletVersion": "v1.32.4"}


def test_generation_counts_changes_of_the_spec_only(store: Store) -> None:
    store.create(store.resource("apiextensions.k8s.io", "v1", "customresourcedefinitions"), "", WIDGETS)
    widgets = store.resource("lab.example", "v1", "widgets")
    store.create(widgets, "default", named("w", spec={"mtu": 1500}))

    def generation_after(change: Object, writer: Writer = SPEC) -> int:
        store.patch(widgets, "default", "w", lambda now: now | change, writer=writer)
        found: int = store.get(widgets, "default", "w")["metadata"]["generation"]
        return found

    assert store.get(widgets, "default", "w")["metadata"]["generation"] == 1
    assert generation_after({"status": {"phase": "Ready"}}, STATUS) == 1
    assert generation_after({"spec": {"mtu": 1450}}) == 2
    assert generation_after({"spec": {"mtu": 1450}}) == 2
    metadata = store.get(widgets, "default", "w")["metadata"] | {"labels": {"a": "b"}}
    assert generation_after({"metadata": metadata}) == 2


# Deleting


def test_what_is_not_there_is_not_found(store: Store) -> None:
    daemonsets = store.resource("apps", "v1", "daemonsets")
    for refused in (
        refusal(store.get, daemonsets, "default", "x"),
        refusal(store.delete, daemonsets, "default", "x"),
        refusal(store.update, daemonsets, "default", "x", named("x")),
    ):
        assert refused.status == {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": 'daemonsets.apps "x" not found',
            "reason": "NotFound",
            "code": 404,
            "details": {"name": "x", "group": "apps", "kind": "daemonsets"},
        }


def test_finalizers_keep_an_object_until_they_are_gone(store: Store, configmaps: Resource) -> None:
    store.create(configmaps, "default", {"metadata": {"name": "x", "finalizers": ["lab.example/wait"]}})
    marked, gone = store.delete(configmaps, "default", "x")
    assert not gone
    assert marked["metadata"]["deletionTimestamp"] == "2026-11-23T12:00:00Z"
    assert marked["metadata"]["deletionGracePeriodSeconds"] == 0
    metadata = {**marked["metadata"], "finalizers": []}
    store.update(configmaps, "default", "x", marked | {"metadata": metadata})
    assert refusal(store.get, configmaps, "default", "x").code == 404


@pytest.mark.parametrize(
    ("body", "asked", "gone"),
    [
        (pod("p"), None, False),
        (pod("p"), 0, True),
        (pod("p", grace=0), None, True),
        (pod("p", grace=0), 10, False),
        (pod("p", node=""), None, True),
    ],
)
def test_a_pod_that_runs_takes_its_time(
    store: Store, pods: Resource, body: Object, asked: int | None, gone: bool
) -> None:
    store.create(pods, "default", body)
    last, is_gone = store.delete(pods, "default", "p", DeleteOptions(grace_period_seconds=asked))
    assert is_gone is gone
    if not gone:
        seconds = 30 if asked is None else asked
        assert last["metadata"]["deletionGracePeriodSeconds"] == seconds
        assert last["metadata"]["deletionTimestamp"] == f"2026-11-23T12:00:{seconds}Z"
        assert store.delete(pods, "default", "p", DeleteOptions(grace_period_seconds=0))[1]
    assert refusal(store.get, pods, "default", "p").code == 404


def test_a_failed_pod_needs_no_time(store: Store, pods: Resource) -> None:
    store.create(pods, "default", pod("p"))
    store.patch(pods, "default", "p", lambda now: now | {"status": {"phase": "Failed"}}, writer=STATUS)
    assert store.delete(pods, "default", "p")[1]


def test_a_precondition_protects_the_successor(store: Store, configmaps: Resource) -> None:
    made = store.create(configmaps, "default", named("x"))
    refused = refusal(store.delete, configmaps, "default", "x", DeleteOptions(preconditions={"uid": "old"}))
    assert refused.code == 409
    assert store.delete(configmaps, "default", "x", DeleteOptions(preconditions={"uid": made["metadata"]["uid"]}))[1]


def test_a_namespace_takes_its_objects_along(store: Store, configmaps: Resource) -> None:
    namespaces = store.resource("", "v1", "namespaces")
    store.create(namespaces, "", named("lab"))
    store.create(configmaps, "lab", named("x"))
    store.create(configmaps, "default", named("x"))
    since = store.version
    store.delete(namespaces, "", "lab")
    assert [event.type for event in store.changes(configmaps, since)] == ["DELETED"]
    assert [item["metadata"]["namespace"] for item in store.page(configmaps).items] == ["default"]


# Kinds


def test_a_definition_serves_its_kind_until_it_is_deleted(store: Store) -> None:
    definitions = store.resource("apiextensions.k8s.io", "v1", "customresourcedefinitions")
    assert refusal(store.resource, "lab.example", "v1", "widgets").code == 404
    made = store.create(definitions, "", WIDGETS)
    established = {each["type"]: each["status"] for each in made["status"]["conditions"]}
    assert established == {"NamesAccepted": "True", "Established": "True"}
    widgets = store.resource("lab.example", "v1", "widgets")
    store.create(widgets, "default", named("w", spec={"mtu": 1500}))
    beta = store.get(store.resource("lab.example", "v1beta1", "widgets"), "default", "w")
    assert beta["apiVersion"] == "lab.example/v1beta1"
    assert store.get(widgets, "default", "w")["apiVersion"] == "lab.example/v1"
    since = store.version
    store.delete(definitions, "", "widgets.lab.example")
    assert refusal(store.resource, "lab.example", "v1", "widgets").code == 404
    assert [event.type for event in store.changes(widgets, since)] == ["DELETED"]
    store.create(definitions, "", WIDGETS)
    assert store.page(widgets).items == []


def test_a_custom_object_is_updated_by_version_only(store: Store) -> None:
    store.create(store.resource("apiextensions.k8s.io", "v1", "customresourcedefinitions"), "", WIDGETS)
    widgets = store.resource("lab.example", "v1", "widgets")
    store.create(widgets, "default", named("w"))
    refused = refusal(store.update, widgets, "default", "w", named("w", spec={"mtu": 1}))
    assert refused.code == 422
    assert "metadata.resourceVersion: Invalid value: 0: must be specified for an update" in refused.message
