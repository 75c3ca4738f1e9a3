"""The few lines of OpenAPI v3 that kubectl looks for before it writes: every PATCH takes `fieldValidation`.

With them kubectl leaves validation to the server; without, `kubectl apply` fails for want of a schema.
Source: kubernetes/cli-runtime `pkg/resource/query_param_verifier_v3.go`.
"""

from kubemtu_lab.api.errors import no_such_path
from kubemtu_lab.api.resources import Object, Resource
from kubemtu_lab.api.store import Store

PREFIX = "/openapi/v3"
_FIELD_VALIDATION = {"name": "fieldValidation", "in": "query", "schema": {"type": "string"}}


def index(store: Store) -> Object:
    """Return the answer of /openapi/v3: where the description of each version is."""
    roots = dict.fromkeys(_root(each) for each in store.resources)
    return {"paths": {root: {"serverRelativeURL": f"{PREFIX}/{root}"} for root in roots}}


def document(store: Store, root: str) -> Object:
    """Return the description of one version, such as `api/v1` or `apis/apps/v1`.

    Raises:
        Refusal: 404.
    """
    here = [each for each in store.resources if _root(each) == root]
    if not here:
        raise no_such_path()
    return {
        "openapi": "3.0.0",
        "info": {"title": "kubemtu lab", "version": here[0].version},
        "paths": {_path(each): {"patch": _patch(each)} for each in here},
    }


def _root(resource: Resource) -> str:
    return f"apis/{resource.api_version}" if resource.group else f"api/{resource.version}"


def _path(resource: Resource) -> str:
    scope = "/namespaces/{namespace}" if resource.namespaced else ""
    return f"/{_root(resource)}{scope}/{resource.plural}/{{name}}"


def _patch(resource: Resource) -> Object:
    kind = {"group": resource.group, "version": resource.version, "kind": resource.kind}
    return {
        "parameters": [_FIELD_VALIDATION],
        "responses": {"200": {"description": "OK"}},
        "x-kubernetes-action": "patch",
        "x-kubernetes-group-version-kind": kind,
    }
