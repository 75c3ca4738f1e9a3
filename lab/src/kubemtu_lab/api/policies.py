"""What ValidatingAdmissionPolicies refuse of a write that RBAC has granted.

Of a policy those parts are heeded that kubemtu's own have: resource rules, match conditions, validations with message
and reason, and bindings that deny; one that has more, or whose expressions `expressions` does not know, is refused when
it is written, so that no rule is stored here that does not hold. Source: kubernetes/apiserver
`pkg/admission/plugin/policy/validating/{validator,dispatcher}.go`, kubernetes/api `admissionregistration/v1/types.go`.
"""

from collections.abc import Iterator, Mapping

import msgspec

from kubemtu_lab.api import errors, expressions
from kubemtu_lab.api.errors import Cause, Refusal
from kubemtu_lab.api.objects import Objects
from kubemtu_lab.api.resources import POLICIES, POLICY_BINDINGS, Object, Resource

_CODES = {"Unauthorized": 401, "Forbidden": 403, "Invalid": 422, "RequestEntityTooLarge": 413}


class _MatchRule(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True, kw_only=True):
    api_groups: tuple[str, ...]
    api_versions: tuple[str, ...]
    operations: tuple[str, ...]
    resources: tuple[str, ...]
    scope: str = "*"


class _Constraints(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True, kw_only=True):
    resource_rules: tuple[_MatchRule, ...]
    match_policy: str = "Equivalent"
    namespace_selector: dict[str, object] = {}
    object_selector: dict[str, object] = {}


class _MatchCondition(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True, kw_only=True):
    name: str
    expression: str


class _PolicyValidation(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True, kw_only=True):
    expression: str
    message: str = ""
    reason: str = "Invalid"


class _Policy(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True, kw_only=True):
    match_constraints: _Constraints
    validations: tuple[_PolicyValidation, ...]
    match_conditions: tuple[_MatchCondition, ...] = ()
    failure_policy: str = "Fail"


class _Binding(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True, kw_only=True):
    policy_name: str
    validation_actions: tuple[str, ...]


def causes(resource: Resource, item: Object) -> Iterator[Cause]:
    """Tell what of a policy or of a binding this server cannot hold anybody to."""
    if resource.key not in (POLICIES.key, POLICY_BINDINGS.key):
        return
    texts: list[str] = []
    try:
        if resource.key == POLICY_BINDINGS.key:
            msgspec.convert(item.get("spec") or {}, _Binding)
        else:
            policy = msgspec.convert(item.get("spec") or {}, _Policy)
            texts += [each.expression for each in policy.match_conditions]
            texts += [each.expression for each in policy.validations]
    except msgspec.ValidationError as wrong:
        yield "spec", f"Invalid value: the lab's API does not know this: {wrong}"
        return
    for text in texts:
        try:
            expressions.compiled(text)
        except expressions.Unknown as unknown:
            yield "spec", f"Invalid value: {unknown}"


def check(
    objects: Objects, user: Object, resource: Resource, subresource: str, fresh: Object, old: Object | None
) -> None:
    """Let a write pass that no bound policy refuses: `fresh` is what would be, `old` what is, None for nothing.

    `user` is a UserInfo (authentication.k8s.io/v1).

    Raises:
        Refusal: in Kubernetes' words, with the first validation that does not hold.
    """
    bindings = objects.page(POLICY_BINDINGS).items
    if not bindings:
        return
    operation = "UPDATE" if old is not None else "CREATE"
    name = f"{resource.plural}/{subresource}" if subresource else resource.plural
    given: Mapping[str, object] | None = None
    for binding in bindings:
        bound = msgspec.convert(binding["spec"], _Binding)
        policy = _policy(objects, bound.policy_name)
        if policy is None or "Deny" not in bound.validation_actions:
            continue
        if not any(_covers(rule, resource, name, operation) for rule in policy.match_constraints.resource_rules):
            continue
        given = given or {"object": fresh, "oldObject": old, "request": _request(user, resource, fresh, operation)}
        _hold(policy, given, resource, fresh, f"'{bound.policy_name}' with binding '{binding['metadata']['name']}'")


def _policy(objects: Objects, name: str) -> _Policy | None:
    found = objects.find(POLICIES, "", name)
    return msgspec.convert(found["spec"], _Policy) if found is not None else None


def _covers(rule: _MatchRule, resource: Resource, name: str, operation: str) -> bool:
    return all(
        wanted in listed or "*" in listed
        for wanted, listed in (
            (resource.group, rule.api_groups),
            (resource.version, rule.api_versions),
            (operation, rule.operations),
            (name, rule.resources),
        )
    )


def _request(user: Object, resource: Resource, fresh: Object, operation: str) -> dict[str, object]:
    """Return the AdmissionRequest, as far as expressions here may ask for it."""
    metadata = fresh["metadata"]
    return {
        "operation": operation,
        "name": metadata.get("name", ""),
        "namespace": metadata.get("namespace", ""),
        "resource": {"group": resource.group, "version": resource.version, "resource": resource.plural},
        "userInfo": user,
    }


def _hold(policy: _Policy, variables: Mapping[str, object], resource: Resource, fresh: Object, who: str) -> None:
    try:
        if not all(expressions.compiled(each.expression)(variables) is True for each in policy.match_conditions):
            return
    except expressions.EvaluationFailed as failed:
        if policy.failure_policy == "Fail":
            raise _refusal(resource, fresh, f"{who} denied request: {failed}", "Forbidden") from None
        return
    for each in policy.validations:
        try:
            if expressions.compiled(each.expression)(variables) is True:
                continue
            told, reason = each.message or f"failed expression: {each.expression}", each.reason
        except expressions.EvaluationFailed as failed:
            if policy.failure_policy != "Fail":
                continue
            told, reason = f"expression '{each.expression}' resulted in error: {failed}", "Invalid"
        raise _refusal(resource, fresh, f"{who} denied request: {told}", reason)


def _refusal(resource: Resource, fresh: Object, sentence: str, reason: str) -> Refusal:
    """Return 403, or what else a validation says, worded as apiserver's admission.NewForbidden."""
    forbidden = errors.forbidden(resource, fresh["metadata"].get("name", ""), f"ValidatingAdmissionPolicy {sentence}")
    return Refusal(_CODES.get(reason, 403), reason, forbidden.message, forbidden.details)
