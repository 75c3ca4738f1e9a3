"""Whatever is sent to a store, it answers with an object or a refusal."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.api_samples import STATUS, WIDGETS, pod

from kubemtu_lab.api.errors import Refusal
from kubemtu_lab.api.resources import Object
from kubemtu_lab.api.store import Store

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
