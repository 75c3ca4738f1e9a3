"""The rules of a Kubernetes API server: versions, conflicts, deletion, pages and history."""

from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubemtu.lab.api.errors import Refusal
from kubemtu.lab.api.ownership import Writer
from kubemtu.lab.api.resources import Object, Resource
from kubemtu.lab.api.selectors import parse
from kubemtu.lab.api.store import DeleteOptions, Store

SPEC = Writer(manager="test")
STATUS = Writer(manager="test", subresource="status")
NOON = datetime(2026, 11, 23, 12, 0, 0, tzinfo=UTC)
MODIFIED = (
    'Operation cannot be fulfilled on configmaps "x": the object has been modified; '
    "please apply your changes to the latest version and try again"
)
WIDGETS: Object = {
    "metadata": {"name": "widgets.lab.example"},
    "spec": {
        "group": "lab.example",
        "scope": "Namespaced",
        "names": {"plural": "widgets", "kind": "Widget", "shortNames": ["wd"]},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "subresources": {"status": {}},
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "properties": {
                            "spec": {"type": "object", "properties": {"mtu": {"type": "integer"}}},
                            "status": {"type": "object", "properties": {"phase": {"type": "string"}}},
                        },
                    }
                },
            },
            {
                "name": "v1beta1",
                "served": True,
                "storage": False,
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
            },
        ],
    },
}


@pytest.fixture
def store() -> Store:
    return Store(clock=lambda: NOON)


@pytest.fixture
def configmaps(store: Store) -> Resource:
    return store.resource("", "v1", "configmaps")


@pytest.fixture
def pods(store: Store) -> Resource:
    return store.resource("", "v1", "pods")


def named(name: str, **fields: object) -> Object:
    return {"metadata": {"name": name}, **fields}


def pod(name: str, *, node: str = "n1", grace: int = 30, **metadata: object) -> Object:
    return {"metadata": {"name": name, **metadata}, "spec": {"nodeName": node, "terminationGracePeriodSeconds": grace}}


def refusal(call: object, *args: object, **kwargs: object) -> Refusal:
    assert callable(call)
    with pytest.raises(Refusal) as refused:
        call(*args, **kwargs)
    return refused.value


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
        ("default", {"metadata": {"name": "x", "resourceVersion": "1"}}, 400, "resourceVersion should not be set"),
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
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": []}}
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
        ({"template": {}}, "spec.selector: Required value"),
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
    assert "metadata.resourceVersion: Invalid value: 0x0: must be specified for an update" in refused.message


# Pages and history


def fill(store: Store, resource: Resource, *names: str) -> None:
    for name in names:
        store.create(resource, "default", named(name))


def names_of(items: list[Object]) -> list[str]:
    return [item["metadata"]["name"] for item in items]


def test_pages_show_one_moment(store: Store, configmaps: Resource) -> None:
    fill(store, configmaps, "a", "b", "c", "d", "e")
    first = store.page(configmaps, limit=2)
    assert (names_of(first.items), first.remaining) == (["a", "b"], 3)
    store.delete(configmaps, "default", "c")
    store.update(configmaps, "default", "d", named("d", data={"new": "1"}))
    fill(store, configmaps, "bb")
    second = store.page(configmaps, limit=2, continue_token=first.continue_token)
    assert names_of(second.items) == ["c", "d"]
    assert "data" not in second.items[1]
    third = store.page(configmaps, limit=2, continue_token=second.continue_token)
    assert (names_of(third.items), third.continue_token) == (["e"], "")
    assert first.version == second.version == third.version
    assert names_of(store.page(configmaps).items) == ["a", "b", "bb", "d", "e"]


def test_a_token_expires_with_the_history(store: Store, configmaps: Resource) -> None:
    fill(store, configmaps, "a", "b", "c")
    token = store.page(configmaps, limit=1).continue_token
    fill(store, configmaps, "d")
    store.compact()
    refused = refusal(store.page, configmaps, limit=1, continue_token=token)
    assert (refused.code, refused.reason) == (410, "Expired")
    assert "The provided continue parameter is too old" in refused.message


@pytest.mark.parametrize("token", ["x", "e30=", "WzEsMl0=", "é"])
def test_a_token_of_somebody_else_is_a_bad_request(store: Store, configmaps: Resource, token: str) -> None:
    assert refusal(store.page, configmaps, continue_token=token).code == 400


def test_the_window_bounds_the_history(configmaps: Resource) -> None:
    store = Store(window=10)
    fill(store, configmaps, *(f"x{number}" for number in range(40)))
    assert len(store.changes(configmaps, store.version - 10)) == 10
    refused = refusal(store.changes, configmaps, 2)
    assert (refused.code, refused.reason) == (410, "Expired")
    assert refused.message.startswith("too old resource version: 2 (")


def test_a_version_of_the_future_is_too_large(store: Store, configmaps: Resource) -> None:
    refused = refusal(store.changes, configmaps, store.version + 5)
    assert (refused.code, refused.reason) == (504, "Timeout")


def test_objects_enter_and_leave_the_view_of_a_selector(store: Store, configmaps: Resource) -> None:
    selector = parse(configmaps, "app=canal")
    since = store.version

    def label(value: str) -> None:
        store.update(configmaps, "default", "x", {"metadata": {"name": "x", "labels": {"app": value}}})

    fill(store, configmaps, "x")
    label("canal")
    label("other")
    label("canal")
    store.update(
        configmaps, "default", "x", {"metadata": {"name": "x", "labels": {"app": "canal"}}, "data": {"a": "1"}}
    )
    store.delete(configmaps, "default", "x")
    seen = [event.type for event in store.changes(configmaps, since, "default", selector)]
    assert seen == ["ADDED", "DELETED", "ADDED", "MODIFIED", "DELETED"]
    assert store.changes(configmaps, since, "kube-system", selector) == []


def test_a_deletion_carries_the_version_that_ended_it(store: Store, configmaps: Resource) -> None:
    made = store.create(configmaps, "default", named("x"))
    store.delete(configmaps, "default", "x")
    (event,) = store.changes(configmaps, int(made["metadata"]["resourceVersion"]))
    assert int(event.object["metadata"]["resourceVersion"]) == store.version == event.version
    assert made["metadata"]["resourceVersion"] != event.object["metadata"]["resourceVersion"]


def test_listeners_hear_of_their_kind_until_they_leave(store: Store, configmaps: Resource, pods: Resource) -> None:
    heard: list[int] = []
    leave = store.listen(configmaps, lambda: heard.append(store.version))
    fill(store, configmaps, "a")
    store.create(pods, "default", pod("p"))
    leave()
    fill(store, configmaps, "b")
    assert len(heard) == 1


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["put", "delete"])), max_size=30), st.data())
def test_replaying_the_changes_gives_the_present(steps: list[tuple[str, str]], data: st.DataObject) -> None:
    """Whoever lists at any version and then watches from it sees what a list shows now."""
    store = Store()
    configmaps = store.resource("", "v1", "configmaps")
    start = data.draw(st.integers(0, len(steps)))
    mirror: dict[str, Object] = {}
    since = store.version
    for number, (name, action) in enumerate(steps):
        if number == start:
            mirror = {item["metadata"]["name"]: item for item in store.page(configmaps).items}
            since = store.version
        there = name in names_of(store.page(configmaps).items)
        if action == "delete" and there:
            store.delete(configmaps, "default", name)
        elif action == "put":
            body = named(name, data={"step": str(number)})
            if there:
                store.update(configmaps, "default", name, body)
            else:
                store.create(configmaps, "default", body)
    if start == len(steps):
        mirror = {item["metadata"]["name"]: item for item in store.page(configmaps).items}
        since = store.version
    for event in store.changes(configmaps, since):
        if event.type == "DELETED":
            del mirror[event.key[1]]
        else:
            mirror[event.key[1]] = event.object
    assert mirror == {item["metadata"]["name"]: item for item in store.page(configmaps).items}


FIELDS = (
    *("metadata", "spec", "status", "data", "name", "labels", "selector", "matchLabels", "template", "versions"),
    *("names", "group", "scope", "plural", "kind", "schema", "openAPIV3Schema", "storage", "updateStrategy"),
    *("rollingUpdate", "maxUnavailable", "containers", "ownerReferences", "env", "finalizers", "subresources"),
)
scalars = st.none() | st.booleans() | st.integers(-1, 2) | st.sampled_from(["", "x", "v1", "34%"])
bodies = st.recursive(
    scalars,
    lambda inner: st.dictionaries(st.sampled_from(FIELDS), inner, max_size=4) | st.lists(inner, max_size=2),
    max_leaves=12,
)


def mangle(draw: st.DrawFn, value: object) -> object:
    """Put something else in the place of a part, somewhere inside."""
    if isinstance(value, dict) and value and draw(st.integers(0, 3)):
        key = draw(st.sampled_from(sorted(value)))
        return {**value, key: mangle(draw, value[key])}
    if isinstance(value, list) and value:
        return [mangle(draw, value[0]), *value[1:]]
    return draw(bodies)


@st.composite
def mangled(draw: st.DrawFn, good: Object) -> Object:
    found = {key: mangle(draw, value) if draw(st.booleans()) else value for key, value in good.items()}
    return {**found, draw(st.sampled_from(FIELDS)): draw(bodies)} if draw(st.booleans()) else found


GOOD: dict[tuple[str, str], Object] = {
    ("", "configmaps"): {"metadata": {"name": "x", "labels": {"a": "b"}, "finalizers": ["c"]}, "data": {"a": "1"}},
    ("", "pods"): pod("x") | {"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}},
    ("apps", "daemonsets"): {
        "metadata": {"name": "x"},
        "spec": {
            "selector": {"matchLabels": {"a": "b"}},
            "template": {
                "metadata": {"labels": {"a": "b"}},
                "spec": {"containers": [{"name": "c", "env": [{"name": "e"}]}]},
            },
            "updateStrategy": {"rollingUpdate": {"maxUnavailable": 1}},
        },
    },
    ("apiextensions.k8s.io", "customresourcedefinitions"): WIDGETS,
    ("rbac.authorization.k8s.io", "clusterrolebindings"): {
        "metadata": {"name": "x"},
        "roleRef": {"kind": "ClusterRole", "name": "x"},
        "subjects": [{"kind": "User", "name": "x"}],
    },
}


def answered(call: object, *args: object, **kwargs: object) -> int:
    assert callable(call)
    try:
        call(*args, **kwargs)
    except Refusal as refused:
        return refused.code
    return 200


@pytest.mark.parametrize("kind", GOOD)
@settings(max_examples=30, deadline=None)
@given(st.data())
def test_whatever_the_body_the_answer_is_an_object_or_a_refusal(kind: tuple[str, str], data: st.DataObject) -> None:
    store = Store()
    resource = store.resource(kind[0], "v1", kind[1])
    namespace = "default" if resource.namespaced else ""
    name = GOOD[kind]["metadata"]["name"]
    body = data.draw(mangled(GOOD[kind]))
    allowed = {200, 400, 404, 409, 422}
    assert answered(store.create, resource, namespace, body) in allowed
    answered(store.create, resource, namespace, GOOD[kind])
    assert answered(store.patch, resource, namespace, name, lambda now: now | body) in allowed
    assert answered(store.patch, resource, namespace, name, lambda now: now | body, writer=STATUS) in allowed
    assert answered(store.apply, resource, namespace, name, body, manager="a", force=True) in allowed
    before = store.page(resource).items
    assert answered(store.apply, resource, namespace, name, {}, manager="a") in allowed
    assert answered(store.delete, resource, namespace, name) in {200, 404}
    assert len(before) <= 2
