"""Who may do what: bearer tokens, and the RBAC objects in the store, as a Kubernetes API server reads them.

Source: kubernetes `plugin/pkg/auth/authorizer/rbac/rbac.go`, `pkg/apis/rbac/v1/evaluation_helpers.go`.
"""

import secrets
import uuid
from collections.abc import Iterator, Mapping

import msgspec

from kubemtu_lab.api.errors import Refusal, bad_request, conflict, forbidden, unauthorized
from kubemtu_lab.api.resources import PODS, RBAC, Object, Resource
from kubemtu_lab.api.store import Store

MASTERS = "system:masters"
"""The group that no rule binds."""
AUTHENTICATED = "system:authenticated"
_USERS = Resource(plural="users", kind="User", namespaced=False)
_BINDINGS, _KINDS = {each.plural: each for each in RBAC}, {each.kind: each for each in RBAC}


class Identity(msgspec.Struct, frozen=True):
    """The user behind a token, and the groups besides `system:authenticated`."""

    user: str
    groups: tuple[str, ...] = ()
    extra: Mapping[str, tuple[str, ...]] = {}
    """What a token tells besides, such as the node of the pod that it is bound to."""

    def info(self) -> Object:
        """Return the UserInfo (authentication.k8s.io/v1) that admission sees; without `extra` where there is none."""
        found: Object = {"username": self.user, "groups": [*self.groups, AUTHENTICATED]}
        return found | ({"extra": {key: [*held] for key, held in self.extra.items()}} if self.extra else {})


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """One wish, in the terms of RBAC; of a path outside the resources only `path` and `verb` are set."""

    verb: str
    resource: Resource | None = None
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""

    @property
    def resource_name(self) -> str:
        plural = self.resource.plural if self.resource else ""
        return f"{plural}/{self.subresource}" if self.subresource else plural


class Tokens:
    """The tokens that one server accepts: those of its users, and those made for ServiceAccounts while it runs."""

    def __init__(self, identities: Mapping[str, Identity]) -> None:
        self._identities = dict(identities)

    def add(self, identity: Identity) -> str:
        """Return a new token for a user."""
        token = secrets.token_urlsafe(24)
        self._identities[token] = identity
        return token

    def identify(self, authorization: str) -> Identity:
        """Return who sends this Authorization header.

        Raises:
            Refusal: 401.
        """
        scheme, _, token = authorization.partition(" ")
        identity = self._identities.get(token.strip()) if scheme.lower() == "bearer" else None
        if identity is None:
            raise unauthorized()
        return identity


def service_account(namespace: str, name: str, pod: Object | None = None) -> Identity:
    """Return the identity that a token of a ServiceAccount has; one that is bound to a pod tells of it and of its node.

    Source: kubernetes/apiserver `pkg/authentication/serviceaccount/util.go`.
    """
    groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}")
    told = {"credential-id": f"JTI={uuid.uuid4()}"}
    if pod is not None:
        told |= {"pod-name": pod["metadata"]["name"], "pod-uid": pod["metadata"]["uid"]}
        node = (pod.get("spec") or {}).get("nodeName")
        told |= {"node-name": node} if node else {}
    extra = {f"authentication.kubernetes.io/{key}": (value,) for key, value in told.items()}
    return Identity(f"system:serviceaccount:{namespace}:{name}", groups, extra)


def bound_pod(store: Store, namespace: str, request: Object) -> Object | None:
    """Return the pod that a token is to be bound to, as a kubelet asks for it (TokenRequest, spec.boundObjectRef).

    Raises:
        Refusal: 404 for a pod that is not there, 409 for a namesake of it.
    """
    bound = (request.get("spec") or {}).get("boundObjectRef") or {}
    if bound.get("kind") != "Pod":
        return None
    pod = store.get(PODS, namespace, bound.get("name", ""))
    if bound.get("uid") not in (None, "", pod["metadata"]["uid"]):
        told = f"the UID in the bound object reference ({bound['uid']}) does not match the UID in record. "
        told += "The object might have been deleted and then recreated"
        raise conflict(PODS, pod["metadata"]["name"], told)
    return pod


def impersonated(store: Store, identity: Identity, headers: Mapping[str, str], wish: Request | None) -> Identity:
    """Return the user that a request is made as (kubectl's `--as`), which is another only if RBAC lets it.

    Raises:
        Refusal: 400 for groups of nobody; 403, in the words of Kubernetes 1.36, that tell of the right which would do
            for this wish alone (apiserver `pkg/endpoints/filters/impersonation`).
    """
    user, groups = headers.get("impersonate-user", ""), headers.get("impersonate-group", "")
    if not user:
        if groups:
            raise bad_request("requested [groups] without impersonating a user")
        return identity
    parts = user.split(":")
    of_account = parts[:2] == ["system", "serviceaccount"] and len(parts) == 4
    legacy = Request(verb="impersonate", resource=_USERS, name=user)
    if not grants(store, identity, legacy):
        if wish is None or wish.resource is None:
            raise _refusal(identity, legacy)
        mode = "serviceaccount" if of_account else "user-info"
        raise _refusal(identity, msgspec.structs.replace(wish, verb=f"impersonate-on:{mode}:{wish.verb}"))
    if of_account:
        return service_account(parts[2], parts[3])
    return Identity(user, tuple(filter(None, groups.split(","))))


def check(store: Store, identity: Identity, wish: Request) -> None:
    """Let a wish pass that RBAC grants.

    Raises:
        Refusal: 403, in Kubernetes' words.
    """
    if not grants(store, identity, wish):
        raise _refusal(identity, wish)


def grants(store: Store, identity: Identity, wish: Request) -> bool:
    """Tell whether a rule, bound for the whole cluster or in the wish's namespace, grants it; discovery is free."""
    if MASTERS in identity.groups or (wish.resource is None and wish.verb == "get"):
        return True
    return any(_rule_grants(rule, wish) for rule in _rules(store, identity, wish.namespace))


def _refusal(identity: Identity, wish: Request) -> Refusal:
    who = f'User "{identity.user}" cannot {wish.verb}'
    if wish.resource is None:
        return forbidden(None, "", f'{who} path "{wish.path}"')
    what = f'{who} resource "{wish.resource_name}" in API group "{wish.resource.group}"'
    where = f'in the namespace "{wish.namespace}"' if wish.namespace else "at the cluster scope"
    return forbidden(wish.resource, wish.name, f"{what} {where}")


def _rules(store: Store, identity: Identity, namespace: str) -> Iterator[Object]:
    bindings = store.page(_BINDINGS["clusterrolebindings"]).items
    if namespace:
        bindings = bindings + store.page(_BINDINGS["rolebindings"], namespace).items
    for binding in bindings:
        if not any(_is_subject(each, identity, binding) for each in binding.get("subjects") or ()):
            continue
        reference = binding["roleRef"]
        home = binding["metadata"].get("namespace", "") if reference["kind"] == "Role" else ""
        try:
            role = store.get(_KINDS[reference["kind"]], home, reference["name"])
        except Refusal:
            continue
        yield from role.get("rules") or ()


def _is_subject(subject: Mapping[str, str], identity: Identity, binding: Object) -> bool:
    match subject.get("kind"):
        case "User":
            return subject["name"] == identity.user
        case "Group":
            return subject["name"] in (*identity.groups, AUTHENTICATED)
        case "ServiceAccount":
            namespace = subject.get("namespace") or binding["metadata"].get("namespace", "")
            return identity.user == f"system:serviceaccount:{namespace}:{subject['name']}"
    return False


def _rule_grants(rule: Mapping[str, list[str]], wish: Request) -> bool:
    if wish.resource is None or not _covers(rule.get("verbs"), wish.verb):
        return False
    resources = rule.get("resources") or []
    named = _covers(resources, wish.resource_name) or f"*/{wish.subresource}" in resources
    names = rule.get("resourceNames")
    return named and _covers(rule.get("apiGroups"), wish.resource.group) and (not names or wish.name in names)


def _covers(listed: list[str] | None, wanted: str) -> bool:
    return wanted in (listed or ()) or "*" in (listed or ())
