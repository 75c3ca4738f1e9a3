"""Commands in containers by way of the API, as `kubectl exec` has them run: streams, rights, and the record."""

import os
import subprocess
import time
from collections.abc import Callable

import httpx2
import pytest
import yaml
from tests.support.lab_api import Kubectl, installed
from tests.support.labs import ANSWERED, Body, Kube, reached, until

from kubemtu_lab import manifests, scene, scenes
from kubemtu_lab.cluster import Lab

pytestmark = pytest.mark.lab
RBAC = "/apis/rbac.authorization.k8s.io/v1"
EXEC = "/api/v1/namespaces/default/pods/pod-1a/exec"
PROTOCOLS = {"v5.channel.k8s.io": "true", "SPDY/3.1": "false"}
"""What kubectl is told by KUBECTL_REMOTE_COMMAND_WEBSOCKETS, and what comes of it."""


@pytest.fixture(scope="module")
def lab(start: Callable[..., Lab]) -> Lab:
    found = scene.resized(scenes.named("flannel"), nodes=2, pods=1)
    return start(found.replace(name="exec"))


@pytest.fixture(params=PROTOCOLS)
def protocol(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def execute(kubectl: Kubectl, protocol: str) -> Kubectl:
    """Run `kubectl exec` by one protocol."""

    def run(*arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        return kubectl("exec", *arguments, stdin=stdin, KUBECTL_REMOTE_COMMAND_WEBSOCKETS=PROTOCOLS[protocol])

    return run


def test_a_host_network_pod_shows_the_devices_of_its_node(
    lab: Lab, kubectl: Kubectl, execute: Kubectl, protocol: str
) -> None:
    lab.set_mtu("node-2", "flannel.1", 1333)
    found = kubectl(
        *("get", "pods", "-n", "kube-flannel", "--field-selector", "spec.nodeName=node-2"),
        *("-o", "jsonpath={.items[*].metadata.name}"),
    )
    name = found.stdout.decode()
    found = execute("-n", "kube-flannel", name, "--", "cat", "/sys/class/net/flannel.1/mtu")
    assert (found.stdout, found.returncode) == (b"1333\n", 0)
    last = lab.executed()[-1]
    assert (last.user, last.node, last.namespace, last.pod) == ("admin", "node-2", "kube-flannel", name)
    assert (last.container, last.protocol) == ("kube-flannel", protocol)
    assert last.command == ("cat", "/sys/class/net/flannel.1/mtu")


def test_a_pod_shows_its_own_devices(execute: Kubectl) -> None:
    assert execute("pod-1a", "--", "ls", "/sys/class/net").stdout == b"eth0\nlo\n"


def test_exit_code_and_both_outputs_come_through(execute: Kubectl) -> None:
    found = execute("pod-1a", "--", "sh", "-c", "echo told; echo why >&2; exit 3")
    assert (found.stdout, found.returncode) == (b"told\n", 3)
    assert found.stderr == b"why\ncommand terminated with exit code 3\n"
    assert execute("pod-1a", "--", "sh", "-c", "kill -9 $$").returncode == 137


def test_a_command_reads_what_the_client_sends_to_its_end(execute: Kubectl) -> None:
    assert execute("-i", "pod-1a", "--", "cat", stdin=b"one\ntwo\n").stdout == b"one\ntwo\n"
    assert execute("-i", "pod-1a", "--", "wc", "-c", stdin=b"x" * 3_000_000).stdout == b"3000000\n"


def test_a_command_that_reads_has_nothing_to_read_where_the_client_sends_nothing(execute: Kubectl) -> None:
    assert execute("pod-1a", "--", "cat").stdout == b""


def test_ten_million_bytes_arrive_whole(execute: Kubectl) -> None:
    found = execute("pod-1a", "--", "sh", "-c", "yes 123456789 | head -c 10000000")
    assert found.stdout == b"123456789\n" * 1_000_000


def test_what_is_not_there_cannot_be_executed(execute: Kubectl) -> None:
    found = execute("pod-1a", "--", "nosuch")
    assert found.returncode == 1
    assert b'exec: "nosuch": executable file not found in $PATH' in found.stderr
    assert b'exec: "/no/such": stat /no/such: no such file or directory' in execute("pod-1a", "--", "/no/such").stderr


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("no-pod", "--", "ls"), 'pods "no-pod" not found'),
        (("pod-1a", "-c", "other", "--", "ls"), "container other is not valid for pod pod-1a"),
    ],
)
def test_where_there_is_nothing_the_api_says_so(kubectl: Kubectl, arguments: tuple[str, ...], told: str) -> None:
    found = kubectl("exec", *arguments)
    assert found.returncode == 1
    assert told in found.stderr.decode()


def test_a_container_that_does_not_run_is_not_found(lab: Lab, execute: Kubectl, protocol: str) -> None:
    name = f"ends-{protocol[0].lower()}"
    with Kube(lab.kubeconfig) as kube:
        kube.create("/api/v1/namespaces/default/pods", manifests.program(name, "node-1", ["false"]))
        until(lambda: "CrashLoopBackOff" in str(kube.pods().get(name, {}).get("status")))
    found = execute(name, "--", "ls")
    assert found.returncode == 1
    assert b'unable to upgrade connection: container not found ("main")' in found.stderr


def test_a_terminal_is_one(lab: Lab) -> None:
    """`script` gives kubectl the terminal without which it asks for none."""
    script, kubectl = installed("script"), installed("kubectl")
    if script is None or kubectl is None:
        pytest.skip("there is no script or no kubectl")
    command = f"{kubectl} exec -it pod-1a -- sh -c 'tty; test -t 0 && stty size'"
    environment = os.environ | {"KUBECONFIG": str(lab.kubeconfig)}
    ended = subprocess.run(
        [script, "-qec", command, "/dev/null"], env=environment, input=b"", capture_output=True, timeout=60, check=False
    )
    assert b"/dev/pts/" in ended.stdout


def test_a_client_that_goes_ends_its_command(lab: Lab, protocol: str) -> None:
    seconds = "54321" if protocol == "SPDY/3.1" else "54322"
    environment = os.environ | {"KUBECONFIG": str(lab.kubeconfig)}
    environment["KUBECTL_REMOTE_COMMAND_WEBSOCKETS"] = PROTOCOLS[protocol]
    command = [str(installed("kubectl")), "exec", "pod-1a", "--", "sleep", seconds]
    client = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until(lambda: seconds in lab.exec("node-1", ["ps", "ax"]).stdout)
    finally:
        client.kill()
        client.wait()
    until(lambda: seconds not in lab.exec("node-1", ["ps", "ax"]).stdout)


def allow(kube: Kube, name: str, *verbs: str) -> None:
    """Let a user read pods, and have these verbs on their commands."""
    rules = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]
    if verbs:
        rules.append({"apiGroups": [""], "resources": ["pods/exec"], "verbs": list(verbs)})
    role: Body = {"kind": "ClusterRole", "metadata": {"name": name}, "rules": rules}
    binding: Body = {
        "kind": "ClusterRoleBinding",
        "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name},
        "subjects": [{"kind": "User", "name": name, "apiGroup": "rbac.authorization.k8s.io"}],
    }
    kube.create(f"{RBAC}/clusterroles", role)
    kube.create(f"{RBAC}/clusterrolebindings", binding)


def handshake(lab: Lab, user: str, *, websocket: bool) -> httpx2.Response:
    """Ask for a command, by a WebSocket's GET or by SPDY's POST, with no more than the head of the request."""
    headers = {"Impersonate-User": user, "Connection": "Upgrade", "Upgrade": "websocket" if websocket else "SPDY/3.1"}
    if websocket:
        headers |= {"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version": "13"}
        headers["Sec-WebSocket-Protocol"] = "v5.channel.k8s.io"
    with httpx2.Client(**reached(yaml.safe_load(lab.kubeconfig.read_text())), timeout=ANSWERED) as client:
        return client.request("GET" if websocket else "POST", f"{EXEC}?command=ls&stdout=true", headers=headers)


@pytest.mark.parametrize(
    ("verbs", "websocket", "lacking"),
    [
        ((), True, "get"),
        (("get",), True, "create"),  # since 1.35: AuthorizePodWebsocketUpgradeCreatePermission
        (("create",), True, "get"),
        (("get",), False, "create"),
    ],
)
def test_without_the_right_a_command_is_refused(
    lab: Lab, verbs: tuple[str, ...], websocket: bool, lacking: str
) -> None:
    user = f"user-{'-'.join(verbs) or 'none'}-{'websocket' if websocket else 'spdy'}"
    before = len(lab.executed())
    with Kube(lab.kubeconfig) as kube:
        allow(kube, user, *verbs)
    answer = handshake(lab, user, websocket=websocket)
    assert answer.status_code == 403
    assert answer.json()["message"] == (
        f'pods "pod-1a" is forbidden: User "{user}" cannot {lacking} resource "pods/exec" in API group "" '
        'in the namespace "default"'
    )
    assert answer.json()["details"] == {"name": "pod-1a", "kind": "pods"}
    assert len(lab.executed()) == before


def test_with_the_right_a_command_is_executed_in_its_users_name(lab: Lab, kubectl: Kubectl) -> None:
    with Kube(lab.kubeconfig) as kube:
        allow(kube, "ann", "get", "create")
    assert kubectl("exec", "--as", "ann", "pod-1a", "--", "echo", "yes").stdout == b"yes\n"
    assert lab.executed()[-1].user == "ann"


def test_an_exec_that_asks_for_no_other_protocol_is_refused(lab: Lab) -> None:
    with Kube(lab.kubeconfig) as kube:
        answer = kube.http.get(f"{EXEC}?command=ls&stdout=true")
    assert (answer.status_code, answer.json()["message"]) == (400, "Upgrade request required")


def test_a_kubelet_knows_the_api_server_alone(lab: Lab) -> None:
    program = (
        "import ssl, sys, urllib.request\n"
        "tls = ssl._create_unverified_context()\n"
        "url = 'https://192.168.77.1:10250/exec/default/pod-1a/web?command=ls&output=1'\n"
        "try: urllib.request.urlopen(url, context=tls)\n"
        "except urllib.error.HTTPError as refused: print(refused.code)"
    )
    assert lab.python("pod-2a", program) == "401\n"


def test_what_a_switch_swallows_is_missing_here_too(lab: Lab, kubectl: Kubectl) -> None:
    """The API server stands on node-1; what it hears of node-2 comes through that node's port."""
    script = "for n in 1 2 3 4 5 6 7 8 9; do cat /proc/self/maps; done; echo end"
    assert b"end" in kubectl("exec", "pod-2a", "--", "sh", "-c", script).stdout
    lab.set_port("node-2", 600, "from-node")
    try:
        with pytest.raises(subprocess.TimeoutExpired):
            kubectl("exec", "pod-2a", "--", "sh", "-c", script, timeout=3)
    finally:
        lab.set_port("node-2", None)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if kubectl("exec", "pod-2a", "--", "echo", "back").stdout == b"back\n":
            return
    pytest.fail("the kubelet does not come back")
