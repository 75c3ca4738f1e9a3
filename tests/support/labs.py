"""Labs as tests speak with them: their API, waits that end, and datagrams between their places."""

import base64
import contextlib
import json
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Self, TypedDict

import httpx2
import yaml

from kubemtu_lab.cluster import Lab

Body = dict[str, object]
MERGE = {"Content-Type": "application/merge-patch+json"}
ANSWERED = 60.0  # seconds for one answer of a lab's API: a hang, not a machine that is busy
ECHO = """
import socket, sys
family = socket.AF_INET6 if sys.argv[1] == "6" else socket.AF_INET
address = ("::", 7006) if sys.argv[1] == "6" else ("0.0.0.0", 7007)
s = socket.socket(family, socket.SOCK_DGRAM); s.bind(address)
print("ready", flush=True)
while True:
    heard, sender = s.recvfrom(65535)
    s.sendto(heard[:4], sender)
"""
"""Answers every datagram with its first four bytes."""
PROBE = """
import errno, json, select, socket, struct, sys, time
def heard(s, size, seconds):
    poll = select.poll(); poll.register(s, select.POLLIN)
    events = poll.poll(seconds * 1000)
    if not events:
        return "lost"
    if events[0][1] & select.POLLERR:
        _, control, _, _ = s.recvmsg(100, 512, 0x2000)
        code, origin, kind, sub, _, mtu, _ = struct.unpack_from("=IBBBBII", control[0][2])
        offender = socket.inet_ntoa(control[0][2][20:24]) if s.family == socket.AF_INET else ""
        return f"icmp {mtu} from {offender}" if offender else f"icmp {mtu}"
    return "arrived" if int.from_bytes(s.recv(100), "big") == size else "strange"
target, headers = sys.argv[1], 48 if ":" in sys.argv[1] else 28
family = socket.AF_INET6 if headers == 48 else socket.AF_INET
told, late = {}, {}
for size in map(int, sys.argv[2:]):
    s = socket.socket(family, socket.SOCK_DGRAM)
    if family == socket.AF_INET:
        s.setsockopt(socket.IPPROTO_IP, 10, 3)   # IP_MTU_DISCOVER = IP_PMTUDISC_PROBE: DF, learned MTUs ignored
        s.setsockopt(socket.IPPROTO_IP, 11, 1)   # IP_RECVERR
    else:
        s.setsockopt(socket.IPPROTO_IPV6, 23, 3)
        s.setsockopt(socket.IPPROTO_IPV6, 25, 1)
    s.connect((target, 7006 if headers == 48 else 7007))
    try:
        s.send(size.to_bytes(4, "big").ljust(size - headers, b"x"))
    except OSError as error:
        told[size] = errno.errorcode[error.errno]
        continue
    told[size] = heard(s, size, 0.3)
    if told[size] == "lost":
        late[size] = s
until = time.monotonic() + 2
for size, s in late.items():  # a busy machine may take longer: they are heard once more in the end
    told[size] = heard(s, size, max(0, until - time.monotonic()))
print(json.dumps(told))
"""
"""Sends one datagram per size (bytes of the IP packet), DF set, and tells what became of each."""


class Reached(TypedDict):
    """What an HTTP client, of either kind, must know of a cluster."""

    base_url: str
    headers: dict[str, str]
    verify: ssl.SSLContext
    trust_env: bool


def reached(kubeconfig: Mapping[str, Any]) -> Reached:
    """Read the first cluster and user of a decoded kubeconfig."""
    cluster, user = kubeconfig["clusters"][0]["cluster"], kubeconfig["users"][0]["user"]
    authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
    return {
        "base_url": cluster["server"],
        "headers": {"Authorization": f"Bearer {user['token']}"},
        "verify": ssl.create_default_context(cadata=authority),
        "trust_env": False,
    }


class Kube:
    """A client of a lab's API for tests: dicts in, dicts out, waits that end."""

    def __init__(self, kubeconfig: Path) -> None:
        self.http = httpx2.Client(**reached(yaml.safe_load(kubeconfig.read_text())), timeout=ANSWERED)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.http.close()

    def get(self, path: str) -> Body:
        """Read an object or a list; of a kind that was defined a moment ago a real server has that asked for again."""
        while (answer := self.http.get(path)).status_code == httpx2.codes.TOO_MANY_REQUESTS:
            time.sleep(float(answer.headers["Retry-After"]))
        found: Body = answer.raise_for_status().json()
        return found

    def merge(self, path: str, body: Body) -> Body:
        """Merge-patch an object."""
        found: Body = self.http.patch(path, content=json.dumps(body), headers=MERGE).raise_for_status().json()
        return found

    def create(self, path: str, body: Body) -> None:
        """Make an object."""
        self.http.post(path, json=body).raise_for_status()

    def delete(self, path: str) -> None:
        """Delete an object."""
        self.http.delete(path).raise_for_status()

    def pods(self, namespace: str = "default") -> dict[str, Body]:
        """Return the pods of a namespace, by name."""
        items = self.get(f"/api/v1/namespaces/{namespace}/pods")["items"]
        assert isinstance(items, list)
        return {each["metadata"]["name"]: each for each in items}

    def daemon_pod(self, node: str, namespace: str = "kube-system") -> str:
        """Return the name of the CNI's pod on a node."""
        for name, pod in self.pods(namespace).items():
            spec = pod["spec"]
            assert isinstance(spec, dict)
            if spec["nodeName"] == node:
                return name
        raise LookupError(node)

    def restart_daemon(self, node: str, namespace: str = "kube-system", *, ready: bool = True) -> str:
        """Delete the CNI's pod on a node; returns the next one's name, when that is ready."""
        old = self.daemon_pod(node, namespace)
        self.delete(f"/api/v1/namespaces/{namespace}/pods/{old}")
        until(lambda: self._successor(node, namespace, old) is not None)
        new = self._successor(node, namespace, old)
        assert new is not None
        if ready:
            until(lambda: is_ready(self.pods(namespace)[new]))
        return new

    def _successor(self, node: str, namespace: str, old: str) -> str | None:
        try:
            found = self.daemon_pod(node, namespace)
        except LookupError:
            return None
        return found if found != old else None

    def run_pod(self, name: str, node: str, *, wait: bool = True) -> None:
        """Make an ordinary pod on a node."""
        spec = {"nodeName": node, "containers": [{"name": "main", "image": "registry.example/app:1"}]}
        body: Body = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}
        self.create("/api/v1/namespaces/default/pods", body)
        if wait:
            until(lambda: is_ready(self.pods()[name]))

    def remove_pod(self, name: str) -> None:
        """Delete an ordinary pod and wait until it is gone."""
        self.delete(f"/api/v1/namespaces/default/pods/{name}")
        until(lambda: name not in self.pods())


def is_ready(pod: Body) -> bool:
    """Return True when the pod's Ready condition is."""
    status = pod.get("status")
    assert isinstance(status, dict)
    return any(each["type"] == "Ready" and each["status"] == "True" for each in status.get("conditions") or ())


def container(pod: Body, name: str) -> dict[str, object]:
    """Return the status of a container, also of an init container; empty before the kubelet has told."""
    status = pod["status"]
    assert isinstance(status, dict)
    for part in ("initContainerStatuses", "containerStatuses"):
        for each in status.get(part) or ():
            if each["name"] == name:
                found: dict[str, object] = each
                return found
    return {"restartCount": 0, "state": {}, "lastState": {}, "ready": False}


def waiting(pod: Body, name: str) -> tuple[str, str]:
    """Why a container waits: reason and message; empty when it does not."""
    state = container(pod, name)["state"]
    assert isinstance(state, dict)
    told = state.get("waiting") or {}
    return told.get("reason", ""), told.get("message", "")


def programs(lab: Lab, node: str, words: bytes) -> list[Path]:
    """Return the /proc folders of a node's programs that are called with these words, separated by NUL.

    Others come and go while they are looked through.
    """
    found = []
    for each in (lab.node_root(node) / "proc").iterdir():
        with contextlib.suppress(OSError):
            if each.name.isdigit() and words in (each / "cmdline").read_bytes():
                found.append(each)
    return found


def until(holds: Callable[[], bool], seconds: float = 90.0) -> None:
    """Wait until something holds; a hang ends after so many seconds, on a busy machine too. Raises TimeoutError."""
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            raise TimeoutError("it never held")
        time.sleep(0.02)


@contextlib.contextmanager
def echo(lab: Lab, place: str, family: str = "4") -> Iterator[None]:
    """Answer at a place every datagram of a family with its first four bytes."""
    with lab.spawn(place, [sys.executable, "-I", "-S", "-c", ECHO, family], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            yield
        finally:
            process.kill()


class Probes:
    """Sends datagrams between places of a lab."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._answered: set[tuple[str, str]] = set()
        self._echoes = contextlib.ExitStack()

    def __call__(self, sender: str, receiver: str, *sizes: int, target: str = "") -> dict[int, str]:
        """Tell for each size (bytes of the IP packet, DF set) what became of it."""
        address = target or self._lab.address(receiver)
        family = "6" if ":" in address else "4"
        if (receiver, family) not in self._answered:
            self._echoes.enter_context(echo(self._lab, receiver, family))
            self._answered.add((receiver, family))
        words = [address, *map(str, sizes)]
        told = self._lab.exec(sender, [sys.executable, "-I", "-S", "-c", PROBE, *words]).stdout
        return {int(size): outcome for size, outcome in json.loads(told).items()}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._echoes.close()
