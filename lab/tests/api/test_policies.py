"""Admission policies of the lab's own API: the part of the language that is known holds, and the rest is refused.

That the same policies mean the same to a real server is shown by tests/kube/test_rights.py, which runs on both.
"""

import pytest

from kubemtu_lab.api import expressions
from kubemtu_lab.api.errors import Refusal
from kubemtu_lab.api.resources import POLICIES, POLICY_BINDINGS, Object
from kubemtu_lab.api.store import Store

GIVEN: dict[str, object] = {"object": {"spec": {"epoch": 3}, "names": ["a"]}, "oldObject": None, "user": "u"}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("object.spec.epoch == 3", True),
        ("object.spec.epoch == '3'", False),
        ("object['spec']['epoch'] != 3", False),
        ("has(object.spec) && !has(object.status)", True),
        ("'epoch' in object.spec && 'a' in object.names", True),
        ("!('b' in object.names) || false", True),
        ("oldObject == null", True),
        ("has(object.spec.epoch)", True),
        ("true || object.nothing.at.all == 1", True),  # langdef.md: one side that decides is enough
        ("object.nothing == 1 || true", True),
        ("object.nothing == 1 && false", False),
        ("user == 'u' && (user == 'v' || user == \"u\")", True),
    ],
)
def test_what_an_expression_says(text: str, value: object) -> None:
    assert expressions.compiled(text)(GIVEN) is value


@pytest.mark.parametrize(
    "text", ["object.nothing == 1", "has(oldObject.spec)", "user && true", "nobody == 1", "'a' in user"]
)
def test_what_cannot_be_evaluated_is_no_answer(text: str) -> None:
    with pytest.raises(expressions.EvaluationFailed):
        expressions.compiled(text)(GIVEN)


@pytest.mark.parametrize(
    "text",
    [
        "user.startsWith('u')",
        "object.names.all(x, x == 'a')",
        "1 + 1 == 2",
        "a ? b : c",
        "(user",
        "has(user)",
        "",
        "1 < 2",
    ],
)
def test_what_the_lab_does_not_know_is_refused_and_never_passed_over(text: str) -> None:
    with pytest.raises(expressions.Unknown):
        expressions.compiled(text)


def policy(**spec: object) -> Object:
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["configmaps"]}
    whole = {"matchConstraints": {"resourceRules": [rule]}, "validations": [{"expression": "false"}]} | spec
    return {"metadata": {"name": "p"}, "spec": whole}


@pytest.mark.parametrize(
    "spec",
    [
        {"paramKind": {"kind": "ConfigMap", "apiVersion": "v1"}},
        {"variables": [{"name": "v", "expression": "true"}]},
        {"validations": [{"expression": "object.metadata.name.size() > 3"}]},
    ],
)
def test_a_policy_that_would_not_hold_is_not_stored(store: Store, spec: Object) -> None:
    with pytest.raises(Refusal) as refused:
        store.create(POLICIES, "", policy(**spec))
    assert (refused.value.code, "the lab's API does not know" in str(refused.value)) == (422, True)
    assert store.create(POLICIES, "", policy())["spec"]["validations"] == [{"expression": "false"}]


def test_a_binding_that_does_not_deny_is_stored_and_denies_nothing(store: Store) -> None:
    body = {"metadata": {"name": "b"}, "spec": {"policyName": "p", "validationActions": ["Warn"]}}
    assert store.create(POLICY_BINDINGS, "", body)["spec"]["validationActions"] == ["Warn"]
