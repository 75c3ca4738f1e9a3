"""Tokens and RBAC, as a user meets them: the rules are objects in the API, on either back end."""

import httpx2
import pytest
from tests.support.lab_api import connect

from kubemtu_lab.api import ApiBackend, EmbeddedApi
from kubemtu_lab.api.resources import Object

RBAC = "/apis/rbac.authorization.k8s.io/v1"
PODS = "/api/v1/namespaces/default/pods"
GROUP: Object = {"kind": "Group", "name": "lab:viewers", "apiGroup": "rbac.authorization.k8s.io"}


def role(kind: str, *rules: Object) -> Object:
    return {"kind": kind, "metadata": {"name": "lab"}, "rules": list(rules)}


def binding(kind: str, of: str, *subjects: Object) -> Object:
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": of, "name": "lab"}
    return {"kind": kind, "metadata": {"name": "lab"}, "roleRef": reference, "subjects": list(subjects)}


def allow(*verbs: str, group: str = "", resources: tuple[str, ...] = ("pods",), **more: object) -> Object:
    return {"verbs": list(verbs), "apiGroups": [group], "resources": list(resources)} | more


async def grant_everywhere(http: httpx2.AsyncClient, *rules: Object, to: Object = GROUP) -> None:
    for path, body in (
        ("clusterroles", role("ClusterRole", *rules)),
        ("clusterrolebindings", binding("ClusterRoleBinding", "ClusterRole", to)),
    ):
        assert (await http.post(f"{RBAC}/{path}", json=body)).status_code == 201


async def grant_in_default(http: httpx2.AsyncClient, *rules: Object) -> None:
    for path, body in (
        ("roles", role("Role", *rules)),
        ("rolebindings", binding("RoleBinding", "Role", {"kind": "User", "name": "viewer"})),
    ):
        assert (await http.post(f"{RBAC}/namespaces/default/{path}", json=body)).status_code == 201


async def code(client: httpx2.AsyncClient, method: str, path: str, **body: object) -> int:
    content = body or None
    headers = {"content-type": "application/merge-patch+json"} if method == "PATCH" else {}
    return (await client.request(method, path, json=content, headers=headers)).status_code


@pytest.mark.parametrize(
    ("method", "path", "told"),
    [
        ("GET", f"{PODS}/x", 'pods "x"|get resource "pods" in API group "" in the namespace "default"'),
        ("GET", "/apis/apps/v1/daemonsets", 'daemonsets.apps|list resource "daemonsets" in API group "apps"'),
        ("GET", "/api/v1/nodes?watch=1", 'nodes|watch resource "nodes" in API group "" at the cluster scope'),
        ("DELETE", PODS, 'pods|deletecollection resource "pods" in API group "" in the namespace "default"'),
    ],
)
async def test_without_a_rule_everything_is_forbidden(api: ApiBackend, method: str, path: str, told: str) -> None:
    async with connect(api.kubeconfig(user="viewer")) as viewer:
        answer = await viewer.request(method, path)
    what, wish = told.split("|")
    assert (answer.status_code, answer.json()["reason"]) == (403, "Forbidden")
    assert answer.json()["message"].startswith(f'{what} is forbidden: User "viewer" cannot {wish}')


async def test_a_cluster_role_holds_in_every_namespace(api: ApiBackend, http: httpx2.AsyncClient) -> None:
    await grant_everywhere(http, allow("get", "list"))
    async with connect(api.kubeconfig(user="viewer")) as viewer:
        assert await code(viewer, "GET", "/api/v1/pods") == 200
        assert await code(viewer, "GET", PODS) == 200
        assert await code(viewer, "GET", f"{PODS}/x") == 404
        assert await code(viewer, "DELETE", f"{PODS}/x") == 403
        assert await code(viewer, "GET", f"{PODS}?watch=1&timeoutSeconds=1") == 403
        assert await code(viewer, "GET", "/api/v1/nodes") == 403


async def test_a_role_holds_in_its_namespace(api: ApiBackend, http: httpx2.AsyncClient) -> None:
    await grant_in_default(http, allow("get", "list", "create"))
    async with connect(api.kubeconfig(user="viewer")) as viewer:
        assert await code(viewer, "GET", PODS) == 200
        assert await code(viewer, "GET", "/api/v1/namespaces/kube-system/pods") == 403
        assert await code(viewer, "GET", "/api/v1/pods") == 403


async def test_names_and_subresources_narrow_a_rule(api: ApiBackend, http: httpx2.AsyncClient) -> None:
    await grant_in_default(
        http,
        allow("get", "patch", resources=("configmaps",), resourceNames=["canal-config"]),
        allow("patch", resources=("pods/status",)),
    )
    pod = {"metadata": {"name": "x"}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    assert await code(http, "POST", PODS, **pod) == 201
    configmaps = "/api/v1/namespaces/default/configmaps"
    for name in ("canal-config", "other"):
        assert await code(http, "POST", configmaps, metadata={"name": name}) == 201
    async with connect(api.kubeconfig(user="viewer")) as viewer:
        assert await code(viewer, "PATCH", f"{configmaps}/canal-config", data={"veth_mtu": "1400"}) == 200
        assert await code(viewer, "PATCH", f"{configmaps}/other", data={"veth_mtu": "1400"}) == 403
        assert await code(viewer, "GET", configmaps) == 403
        assert await code(viewer, "PATCH", f"{PODS}/x/status", status={"phase": "Running"}) == 200
        assert await code(viewer, "PATCH", f"{PODS}/x", metadata={"labels": {"a": "b"}}) == 403


async def test_a_service_account_gets_a_token_of_its_own(api: ApiBackend, http: httpx2.AsyncClient) -> None:
    accounts = "/api/v1/namespaces/default/serviceaccounts"
    assert await code(http, "POST", accounts, metadata={"name": "agent"}) == 201
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"audiences": []}}
    answer = await http.post(f"{accounts}/agent/token", json=request)
    assert answer.status_code == 201
    token = {"authorization": f"Bearer {answer.json()['status']['token']}"}
    refused = await http.get(PODS, headers=token)
    assert refused.status_code == 403
    assert 'User "system:serviceaccount:default:agent" cannot list' in refused.json()["message"]
    subject: Object = {"kind": "ServiceAccount", "name": "agent", "namespace": "default"}
    await grant_everywhere(http, allow("list"), to=subject)
    async with connect(api.kubeconfig()) as anybody:
        for _ in range(100):
            if (answer := await anybody.get(PODS, headers=token)).status_code == 200:
                break
    assert answer.status_code == 200


async def test_a_binding_to_a_role_that_is_not_there_grants_nothing() -> None:
    async with EmbeddedApi(users={"viewer": []}) as api:
        async with connect(api.kubeconfig()) as admin:
            body = binding("ClusterRoleBinding", "ClusterRole", {"kind": "User", "name": "viewer"})
            assert (await admin.post(f"{RBAC}/clusterrolebindings", json=body)).status_code == 201
        async with connect(api.kubeconfig(user="viewer")) as viewer:
            assert await code(viewer, "GET", PODS) == 403
            assert await code(viewer, "GET", "/apis") == 200


async def test_an_administrator_can_look_as_somebody_else(api: ApiBackend, http: httpx2.AsyncClient) -> None:
    await grant_in_default(http, allow("get", "list"))
    somebody = {"impersonate-user": "viewer"}
    assert (await http.get(PODS, headers=somebody)).status_code == 200
    answer = await http.get("/api/v1/pods", headers=somebody)
    assert 'User "viewer" cannot list resource "pods"' in answer.json()["message"]
    account = await http.get(PODS, headers={"impersonate-user": "system:serviceaccount:default:agent"})
    assert 'User "system:serviceaccount:default:agent" cannot list' in account.json()["message"]
    async with connect(api.kubeconfig(user="viewer")) as viewer:
        refused = await viewer.get(PODS, headers={"impersonate-user": "admin"})
    assert refused.status_code == 403
    # 1.36 tells of the right for this wish alone: impersonate-on:user-info:list resource "pods"
    assert 'User "viewer" cannot impersonate' in refused.json()["message"]
