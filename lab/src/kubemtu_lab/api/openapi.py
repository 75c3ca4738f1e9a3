"""The few lines of OpenAPI v3 that kubectl looks for before it writes, and the schemas that it explains.

Every PATCH takes `fieldValidation`: with that kubectl leaves validation to the server; without, `kubectl apply` fails
for want of a schema. Of custom kinds, which describe their fields themselves, there are schemas: `kubectl explain`.
Source: kubernetes/cli-runtime `pkg/resource/query_param_verifier_v3.go`, kubectl `pkg/explain/v2`.
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
        "components": {"schemas": {f"{each.group}.{each.version}.{each.kind}": _schema(each) for each in here}},
    }


def _root(resource: Resource) -> str:
    return f"apis/{resource.api_version}" if resource.group else f"api/{resource.version}"


def _path(resource: Resource) -> str:
    scope = "/namespaces/{namespace}" if resource.namespaced else ""
    return f"/{_root(resource)}{scope}/{resource.plural}/{{name}}"


def _schema(resource: Resource) -> Object:
    schema = resource.schema or {"type": "object"}
    return schema | {"x-kubernetes-group-version-kind": [_kind(resource)]}


def _kind(resource: Resource) -> Object:
    return {"group": resource.group, "version": resource.version, "kind": resource.kind}


def _patch(resource: Resource) -> Object:
    return {
        "parameters": [_FIELD_VALIDATION],
        "responses": {"200": {"description": "OK"}},
        "x-kubernetes-action": "patch",
        "x-kubernetes-group-version-kind": _kind(resource),
    }
