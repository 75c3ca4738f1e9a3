"""Who may do what, asked of an API server for every verb on every kind: nothing here is read off the table of rights.

What people may (`view`, `edit`, `admin` with our role added, `kubemtu-operator`) is a user's; what an agent may is
asked with tokens as a kubelet takes them, bound to a pod. Writes are tried dry, or on what is not there.
"""

import asyncio
import base64
import contextlib
import json
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any, Self

import httpx2
import pytest
from tests.support.labs import ANSWERED, Reached, reached

from kubemtu.core import rights
from kubemtu.kube import crd, shipped
from kubemtu_lab import api as lab_api

pytestmark = pytest.mark.timeout(180)

Body = dict[str, Any]
RBAC = "/apis/rbac.authorization.k8s.io/v1"
OURS = "/apis/kubemtu.io/v1alpha1"
ADMISSION = "/apis/admissionregistration.k8s.io/v1"
KINDS: Mapping[str, str] = {
    "nodemtus": f"{OURS}/nodemtus",
    "mtumigrations": f"{OURS}/mtumigrations",
    "mtuprobes": f"{OURS}/mtuprobes",
    "mtupolicies": f"{OURS}/mtupolicies",
    "secrets": "/api/v1/namespaces/kubemtu/secrets",
    "configmaps": "/api/v1/namespaces/kube-system/configmaps",
    "daemonsets": "/apis/apps/v1/namespaces/kube-system/daemonsets",
    "nodes": "/api/v1/nodes",
    "pods": "/api/v1/namespaces/kube-system/pods",
    "clusterroles": f"{RBAC}/clusterroles",
    "policies": f"{ADMISSION}/validatingadmissionpolicies",
}
API_VERSIONS = {
    "nodemtus": "NodeMTU",
    "mtumigrations": "MTUMigration",
    "mtuprobes": "MTUProbe",
    "mtupolicies": "MTUPolicy",
}
PARTS = ("nodemtus/status", "mtumigrations/status")  # the subresources that our kinds have
VERBS = ("get", "list", "watch", "create", "update", "patch", "delete", "deletecollection")
ALL = " ".join(VERBS)
READ = "get list watch"
EDIT = "create update patch delete deletecollection"

# What the cluster's own roles have of these kinds (kubernetes `bootstrappolicy/policy.go`, system:aggregate-to-*).
CLUSTERS_OWN: Mapping[str, list[Body]] = {
    "view": [
        {"apiGroups": [""], "resources": ["configmaps", "pods"], "verbs": READ.split()},
        {"apiGroups": ["apps"], "resources": ["daemonsets"], "verbs": READ.split()},
    ],
    "edit": [
        {"apiGroups": [""], "resources": ["secrets"], "verbs": READ.split()},
        {"apiGroups": [""], "resources": ["configmaps", "pods", "secrets"], "verbs": EDIT.split()},
        {"apiGroups": ["apps"], "resources": ["daemonsets"], "verbs": EDIT.split()},
    ],
    "admin": [
        {"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["roles", "rolebindings"], "verbs": ALL.split()}
    ],
}
INCLUDED = {"view": ("view",), "edit": ("view", "edit"), "admin": ("view", "edit", "admin")}
PEOPLE = (*INCLUDED, "operator", "nobody")

NOTHING: dict[str, str] = dict.fromkeys((*KINDS, *PARTS), "")
VIEWED = {
    "nodemtus": READ,
    "mtumigrations": READ,
    "mtuprobes": READ,
    "mtupolicies": READ,
    "configmaps": READ,
    "daemonsets": READ,
    "nodes": READ,
    "pods": READ,
}
EDITED = VIEWED | {"configmaps": ALL, "daemonsets": ALL, "pods": ALL, "secrets": ALL}
EXPECTED: Mapping[str, dict[str, str]] = {
    "agent": NOTHING
    | {
        "nodemtus": "get list watch create",
        "nodemtus/status": "patch",
        "mtumigrations": "get",
        "mtuprobes": READ,
        "secrets": "create",
        "nodes": "get list",
    },
    "probe": NOTHING,
    "operator": NOTHING
    | VIEWED
    | {
        "configmaps": "",  # those of CNIs by their names, as below
        "nodemtus": "get list watch create patch",
        "mtumigrations": "get list watch create patch delete",
        "mtumigrations/status": "patch",
        "mtuprobes": "get list watch create delete",
        "mtupolicies": "get list watch create patch",
    },
    "view": NOTHING | VIEWED,
    "edit": NOTHING | EDITED,
    "admin": NOTHING | EDITED,
    "nobody": NOTHING,
}
NAMED = [
    ("agent", "get", f"{KINDS['secrets']}/kubemtu-probe", True),
    ("agent", "get", f"{KINDS['secrets']}/other", False),
    ("agent", "delete", f"{KINDS['secrets']}/kubemtu-probe", False),
    ("agent", "patch", f"{KINDS['secrets']}/kubemtu-probe", False),
    ("agent", "get", "/api/v1/namespaces/kube-system/secrets/kubemtu-probe", False),
    ("operator", "get", f"{KINDS['secrets']}/kubemtu-probe", False),
    ("view", "get", f"{KINDS['secrets']}/kubemtu-probe", False),
    ("view", "get", f"{KINDS['configmaps']}/canal-config", True),
    ("operator", "get", f"{KINDS['configmaps']}/canal-config", True),
    ("operator", "get", f"{KINDS['configmaps']}/kubelet-config", True),
    ("operator", "patch", f"{KINDS['configmaps']}/canal-config", True),
    ("operator", "patch", f"{KINDS['configmaps']}/kubelet-config", False),
    ("operator", "update", f"{KINDS['configmaps']}/canal-config", False),
    ("operator", "delete", f"{KINDS['configmaps']}/canal-config", False),
    ("operator", "patch", f"{KINDS['daemonsets']}/canal", True),
    ("operator", "patch", f"{KINDS['daemonsets']}/kube-proxy", False),
    ("operator", "delete", f"{KINDS['daemonsets']}/canal", False),
    ("operator", "patch", "/apis/apps/v1/namespaces/kubemtu/daemonsets/kubemtu-agent", False),
    ("operator", "patch", "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/kubemtu", True),
    ("operator", "patch", "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/kube-scheduler", False),
    ("agent", "patch", "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/kubemtu", False),
]


class Cluster:
    """One API server with what `install` writes, and those who ask it, by name."""

    def __init__(self, server: lab_api.ApiBackend) -> None:
        self._server = server
        self._of: Reached = reached(server.kubeconfig())
        self.admin = httpx2.Client(**self._of, timeout=ANSWERED)
        self._clients: dict[str, httpx2.Client] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for client in (self.admin, *self._clients.values()):
            client.close()

    def who(self, name: str) -> httpx2.Client:
        """The client of a user, or of an account's token: "agent" (of node-1), "agent-2", "loose" without a pod."""
        return self._clients[name]

    def make(self, path: str, body: Body) -> Body:
        """Create an object, asking again while its kind is not served yet."""
        deadline = time.monotonic() + 60
        while (answer := self.admin.post(path, json=body)).status_code in (404, 429) and time.monotonic() < deadline:
            time.sleep(0.02)
        assert answer.status_code in (201, 409), answer.text
        made: Body = answer.json()
        return made

    def fill(self) -> None:
        """Install, and give everybody what is theirs."""
        for body in shipped.everything("kubemtu:test"):
            plural = PLURALS.get(body["kind"], f"{str(body['kind']).lower()}s")
            metadata: Any = body["metadata"]
            within = f"/namespaces/{metadata['namespace']}" if "namespace" in metadata else ""
            group = str(body["apiVersion"])
            self.make(f"{'/api/v1' if group == 'v1' else f'/apis/{group}'}{within}/{plural}", dict(body))
        for name in ("node-1", "node-2"):
            self.make(KINDS["nodes"], {"metadata": {"name": name}})
            self.make(KINDS["nodemtus"], ours("nodemtus", name) | {"spec": SPEC})
        self._people()
        self.make(f"{RBAC}/clusterroles", {"metadata": {"name": "too-much"}, "rules": TOO_MUCH})
        self._accounts()

    def _people(self) -> None:
        added = [
            rule
            for role in self.admin.get(f"{RBAC}/clusterroles").json()["items"]
            if role["metadata"].get("labels", {}).get("rbac.authorization.k8s.io/aggregate-to-view") == "true"
            for rule in role["rules"] or []
            if "kubemtu" in role["metadata"]["name"]
        ]
        for user, parts in INCLUDED.items():
            rules = [*added, *(rule for part in parts for rule in CLUSTERS_OWN[part])]
            self.make(f"{RBAC}/clusterroles", {"metadata": {"name": f"test-{user}"}, "rules": rules})
        for user, role in (("operator", rights.OPERATOR), *((user, f"test-{user}") for user in INCLUDED)):
            self.bind(user, role, {"kind": "User", "name": f"a-{user}", "apiGroup": "rbac.authorization.k8s.io"})
        for user in PEOPLE:
            self._clients[user] = httpx2.Client(**reached(self._server.kubeconfig(user=f"a-{user}")), timeout=ANSWERED)

    def bind(self, name: str, role: str, subject: Body) -> None:
        """Give a role for the whole cluster."""
        reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role}
        body = {"metadata": {"name": f"test-{name}"}, "roleRef": reference, "subjects": [subject]}
        self.make(f"{RBAC}/clusterrolebindings", body)

    def _accounts(self) -> None:
        self.make("/api/v1/namespaces/kubemtu/serviceaccounts", {"metadata": {"name": "default"}})
        for client, account, node in (
            ("agent", "kubemtu-agent", "node-1"),
            ("agent-2", "kubemtu-agent", "node-2"),
            ("loose", "kubemtu-agent", ""),
            ("probe", "default", "node-1"),
        ):
            token = self._token(account, client, node)
            headers = {"Authorization": f"Bearer {token}"}
            self._clients[client] = httpx2.Client(**(self._of | {"headers": headers}), timeout=ANSWERED)

    def _token(self, account: str, pod: str, node: str) -> str:
        spec: Body = {}
        if node:
            containers = [{"name": "main", "image": "kubemtu:test"}]
            made = self.make(
                "/api/v1/namespaces/kubemtu/pods",
                {
                    "metadata": {"name": pod},
                    "spec": {"nodeName": node, "serviceAccountName": account, "containers": containers},
                },
            )
            bound = {"apiVersion": "v1", "kind": "Pod", "name": pod, "uid": made["metadata"]["uid"]}
            spec = {"boundObjectRef": bound}
        request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
        made = self.make(f"/api/v1/namespaces/kubemtu/serviceaccounts/{account}/token", request)
        token: str = made["status"]["token"]
        return token


PLURALS: Mapping[object, str] = {
    "ValidatingAdmissionPolicy": "validatingadmissionpolicies",
    "ValidatingAdmissionPolicyBinding": "validatingadmissionpolicybindings",
}
SPEC: Body = {
    "migration": "m",
    "phase": "PinPods",
    "pinMtu": 1450,
    "highestMtu": 1500,
    "ports": {"prefixes": ["cali"]},
    "podMtu": 1450,
    "originMtu": 1500,
    "epoch": 3,
}
# Of more than any shipped role has: what holds where somebody gives the agents too much.
TOO_MUCH = [
    {"apiGroups": ["kubemtu.io"], "resources": ["nodemtus", "nodemtus/status"], "verbs": ["update", "patch"]},
    {"apiGroups": [""], "resources": ["secrets"], "verbs": ["update", "patch"]},
]


@contextlib.contextmanager
def running(server: lab_api.ApiBackend) -> Iterator[lab_api.ApiBackend]:
    """Run a server on a loop of its own, so that one serves all tests of a module."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(server.start(), loop).result(90)
        try:
            yield server
        finally:
            asyncio.run_coroutine_threadsafe(server.stop(), loop).result(60)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(60)
        loop.close()


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with running(lab_api.api(users={f"a-{user}": [] for user in PEOPLE})) as server, Cluster(server) as found:
        found.fill()
        yield found


@pytest.fixture(scope="module")
def binding(cluster: Cluster) -> Cluster:
    """The cluster, once its policies hold: a real server takes them up some time after they are written."""
    if cluster.admin.get(f"{ADMISSION}/validatingadmissionpolicies").status_code == 404:
        pytest.skip("a server before Kubernetes 1.30 has no ValidatingAdmissionPolicy")
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        one = status_of(cluster.who("agent"), "node-2").status_code
        other = secret(cluster.who("agent"), "other").status_code
        if (one, other) == (403, 403):
            return cluster
        time.sleep(0.1)
    pytest.fail("the policies do not hold")


def ours(plural: str, name: str) -> Body:
    return {"apiVersion": "kubemtu.io/v1alpha1", "kind": API_VERSIONS[plural], "metadata": {"name": name}}


def send(client: httpx2.Client, verb: str, path: str, body: Body | None = None) -> int:
    """The status code that answers one wish; a write is dry."""
    name = path if path.count("/") > 3 else f"{path}/absent"
    match verb:
        case "get":
            return client.get(path).status_code
        case "list":
            return client.get(path, params={"limit": 1}).status_code
        case "watch":
            with client.stream("GET", path, params={"watch": "1", "timeoutSeconds": "1"}) as answer:
                return answer.status_code
        case "create":
            return client.post(path, params={"dryRun": "All"}, json=body).status_code
        case "update":
            return client.put(path, params={"dryRun": "All"}, json=body).status_code
        case "patch":
            headers = {"content-type": "application/merge-patch+json"}
            return client.patch(path, params={"dryRun": "All"}, content=b"{}", headers=headers).status_code
        case "delete":
            return client.delete(path, params={"dryRun": "All"}).status_code
        case "deletecollection":
            query = {"dryRun": "All", "fieldSelector": "metadata.name=absent"}
            return client.delete(path, params=query).status_code
    raise ValueError(f"{verb} {name}")


def allowed(client: httpx2.Client, verb: str, kind: str) -> bool:
    """Whether that verb on that kind is answered by anything but 403; on an object that is not there."""
    plural, _, part = kind.partition("/")
    collection = KINDS[plural]
    of_one = verb in ("get", "update", "patch", "delete")
    path = f"{collection}/absent" + (f"/{part}" if part else "") if of_one else collection
    body: Body = {"metadata": {"name": "absent"}}
    if plural in API_VERSIONS:
        body = ours(plural, "absent")
    if verb == "create":  # what an agent makes: its own NodeMTU, and the key
        body["metadata"]["name"] = {"nodemtus": "node-1", "secrets": "kubemtu-probe"}.get(plural, "absent")
    return send(client, verb, path, body) != 403


@pytest.mark.parametrize("who", EXPECTED)
def test_each_verb_on_each_kind(cluster: Cluster, who: str) -> None:
    found = {}
    for kind in (*KINDS, *PARTS):
        verbs = ("get", "update", "patch") if "/" in kind else VERBS
        found[kind] = " ".join(verb for verb in verbs if allowed(cluster.who(who), verb, kind))
    assert found == EXPECTED[who]


@pytest.mark.parametrize(("who", "verb", "path", "may"), NAMED)
def test_where_a_rule_names_objects_the_name_decides(
    cluster: Cluster, who: str, verb: str, path: str, may: bool
) -> None:
    assert (send(cluster.who(who), verb, path, {"metadata": {"name": path.rpartition("/")[2]}}) != 403) is may


def test_every_kind_of_ours_and_every_part_of_one_is_asked_after(cluster: Cluster) -> None:
    served = {each["name"] for each in cluster.admin.get(OURS).json()["resources"]}
    assert (
        served
        == {*crd.plurals(), *PARTS}
        == {kind for kind in (*KINDS, *PARTS) if kind.partition("/")[0] in API_VERSIONS}
    )


# Beyond RBAC: each agent and the objects of its own node


def status_of(client: httpx2.Client, node: str, status: Body | None = None) -> httpx2.Response:
    """Write the status of a node's NodeMTU, as an agent does."""
    return client.patch(
        f"{KINDS['nodemtus']}/{node}/status",
        content=json.dumps({"status": status or {"observedGeneration": 1}}),
        headers={"content-type": "application/merge-patch+json"},
    )


def secret(client: httpx2.Client, name: str, kind: str = "Opaque") -> httpx2.Response:
    key = base64.b64encode(b"x" * 32).decode()
    body = {"metadata": {"name": name}, "type": kind, "data": {"key": key}}
    return client.post(KINDS["secrets"], json=body, params={"dryRun": "All"})


def test_an_agent_writes_the_status_of_its_own_node_and_of_no_other(binding: Cluster) -> None:
    for own, other, name in (("node-1", "node-2", "agent"), ("node-2", "node-1", "agent-2")):
        assert status_of(binding.who(name), own).status_code == 200
        refused = status_of(binding.who(name), other)
        assert (refused.status_code, refused.json()["reason"]) == (403, "Forbidden")
        assert refused.json()["message"] == (
            f"nodemtus.kubemtu.io \"{other}\" is forbidden: ValidatingAdmissionPolicy 'kubemtu-agent' with binding "
            "'kubemtu-agent' denied request: an agent of kubemtu writes the NodeMTU of its own node alone"
        )


def test_an_agent_makes_the_nodemtu_of_its_own_node_and_asks_nothing_of_it(binding: Cluster) -> None:
    def create(name: str, body: Body) -> httpx2.Response:
        return binding.who(name).post(KINDS["nodemtus"], json=body, params={"dryRun": "All"})

    assert create("agent", ours("nodemtus", "node-1")).status_code == 409  # there already, so nothing forbids it
    assert create("agent", ours("nodemtus", "node-3")).status_code == 403
    generated = ours("nodemtus", "") | {"metadata": {"generateName": "node-"}}
    assert create("agent", generated).status_code == 403
    asked = create("agent", ours("nodemtus", "node-1") | {"spec": SPEC})
    assert asked.status_code == 403
    assert asked.json()["message"].endswith("an agent of kubemtu does not say what a node should be")


def test_a_token_without_a_node_writes_nothing(binding: Cluster) -> None:
    """As one that somebody makes for the account by hand, or that is of a Secret."""
    for refused in (
        status_of(binding.who("loose"), "node-1"),
        binding.who("loose").post(KINDS["nodemtus"], json=ours("nodemtus", "node-1")),
    ):
        assert refused.status_code == 403
        assert "writes by a token that names its node" in refused.json()["message"]
    assert binding.who("loose").get(KINDS["nodemtus"]).status_code == 200


def test_an_agent_makes_no_secret_but_the_probes_key(binding: Cluster) -> None:
    agent = binding.who("agent")
    assert secret(agent, "kubemtu-probe").status_code == 201
    assert secret(agent, "other").status_code == 403
    account = {"kubernetes.io/service-account.name": "kubemtu-agent"}
    body = {
        "metadata": {"name": "kubemtu-probe", "annotations": account},
        "type": "kubernetes.io/service-account-token",
    }
    assert agent.post(KINDS["secrets"], json=body, params={"dryRun": "All"}).status_code == 403


def test_no_right_that_somebody_adds_lets_an_agent_change_a_spec_or_an_epoch(binding: Cluster) -> None:
    subject = {"kind": "ServiceAccount", "name": "kubemtu-agent", "namespace": "kubemtu"}
    path = f"{RBAC}/clusterrolebindings/test-too-much"
    binding.bind("too-much", "too-much", subject)
    agent, merge = binding.who("agent"), {"content-type": "application/merge-patch+json"}

    def patch(node: str, body: Body) -> httpx2.Response:
        query = {"dryRun": "All"}
        return agent.patch(f"{KINDS['nodemtus']}/{node}", content=json.dumps(body), headers=merge, params=query)

    try:
        deadline = time.monotonic() + 60
        while patch("node-1", {}).status_code == 403 and time.monotonic() < deadline:
            time.sleep(0.02)
        assert patch("node-1", {"metadata": {"annotations": {"a": "b"}}}).status_code == 200
        assert patch("node-2", {"metadata": {"annotations": {"a": "b"}}}).status_code == 403
        for spec in (None, {"epoch": 4}, {"tunnel": "eth0", "tunnelMtu": 1280}, {"phase": "Settle"}):
            refused = patch("node-1", {"spec": spec})
            assert refused.status_code == 403
            assert refused.json()["message"].endswith("an agent of kubemtu does not say what a node should be")
    finally:
        binding.admin.delete(path)


def test_whoever_drives_a_change_is_not_held_back(binding: Cluster) -> None:
    merge = {"content-type": "application/merge-patch+json"}
    answer = binding.who("operator").patch(
        f"{KINDS['nodemtus']}/node-2", content=json.dumps({"spec": SPEC | {"epoch": 4}}), headers=merge
    )
    assert (answer.status_code, answer.json()["spec"]["epoch"]) == (200, 4)
