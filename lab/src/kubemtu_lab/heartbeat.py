"""How a node says that it is there: its status when that changes, and its Lease four times in the grace period.

One thing after the other, and all of it given up when an answer does not come: a real kubelet's requests share one
HTTP/2 connection, where an answer that never arrives holds up whatever is behind it. When that happens twice in a row,
every connection is hung up, watches too, as a kubelet does. Source: kubernetes `pkg/kubelet/kubelet_node_status.go`
(onRepeatedHeartbeatFailure), `component-helpers/apimachinery/lease/controller.go`, `cmd/kubelet/app/server.go`
(heartbeatClientConfig.Timeout: ten seconds, or as long as the Lease lasts where that is less).
"""

import asyncio
import contextlib
import datetime as dt
import os
import platform
import socket
import time
from collections.abc import Awaitable, Callable

from kubemtu.core.errors import KubemtuError
from kubemtu.core.objects import NODES, Object
from kubemtu.kube.api import Api
from kubemtu.kube.errors import Absent
from kubemtu_lab import attach, containers, informer, scene
from kubemtu_lab.api import kubelets

NAMESPACE = "kube-node-lease"
LOOK_SECONDS = 1.0
PATIENCE_SECONDS = 10.0
_NOT_READY = (
    "runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady "
    "message:docker: network plugin is not ready: cni config uninitialized"
)


class Heartbeat:
    """One node's; `addresses` are what it is reached by, `wait` waits until its CNI configuration may have changed."""

    def __init__(
        self,
        api: Api,
        node: str,
        *,
        addresses: tuple[str, ...],
        version: str,
        grace_seconds: float,
        wait: Callable[[float], Awaitable[None]],
    ) -> None:
        self._api, self._node = api, node
        self._addresses, self._version = addresses, version
        self._grace = grace_seconds
        self._wait = wait

    async def run(self) -> None:
        """Tell for ever, and at once when that has changed."""
        said, due, failed = None, 0.0, 0
        while True:
            ready = attach.load_chain() is not None
            if ready != said or time.monotonic() >= due:
                due = time.monotonic() + self._grace / 4
                failed += 1
                # Not wait_for: before Python 3.12 it may swallow a cancellation (python/cpython#86296).
                with contextlib.suppress(KubemtuError, TimeoutError):
                    async with asyncio.timeout(min(PATIENCE_SECONDS, self._grace)):
                        await self._beat(ready=ready, first=said is None)
                        said, failed = ready, 0
                if failed > 1:
                    hang_up(scene.API_PORT)
            await self._wait(min(LOOK_SECONDS, self._grace / 8))

    async def _beat(self, *, ready: bool, first: bool) -> None:
        where = informer.at(NODES, self._node)
        found = None if first else await self._api.get(where)
        held = ready_condition(found).text("status") if found else None
        if held != str(ready):
            await self._api.patch(where, {"status": self._status(ready=ready)}, subresource="status")
        await self._renew()

    async def _renew(self) -> None:
        spec = {"holderIdentity": self._node, "leaseDurationSeconds": max(1, round(self._grace)), "renewTime": _now()}
        try:
            await self._api.patch(informer.at(informer.LEASES, self._node, NAMESPACE), {"spec": spec})
        except Absent:
            metadata = {"name": self._node, "namespace": NAMESPACE}
            await self._api.create(
                {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": spec}
            )

    def _status(self, *, ready: bool) -> dict[str, object]:
        condition = {
            "type": "Ready",
            "status": str(ready),
            "reason": "KubeletReady" if ready else "KubeletNotReady",
            "message": "kubelet is posting ready status" if ready else _NOT_READY,
            "lastHeartbeatTime": containers.now(),
            "lastTransitionTime": containers.now(),
        }
        told = [{"type": "InternalIP", "address": each} for each in self._addresses]
        return {
            "addresses": [*told, {"type": "Hostname", "address": self._node}],
            "conditions": [condition],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": kubelets.PORT}},
            "capacity": {"pods": "110"},
            "allocatable": {"pods": "110"},
            "nodeInfo": {
                "kernelVersion": platform.release(),
                "kubeletVersion": self._version,
                "kubeProxyVersion": self._version,
                "operatingSystem": "linux",
                "architecture": {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine()),
                "osImage": "kubemtu lab",
                "containerRuntimeVersion": "lab://1",
                "machineID": "",
                "systemUUID": "",
                "bootID": "",
            },
        }


def hang_up(port: int) -> None:
    """End every TCP connection of this process to that port, whoever waits for what on it."""
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208  # names alone
        with contextlib.suppress(OSError):  # closed in between, no socket, or one that is connected to nobody
            descriptor = os.dup(int(name))
            try:
                with socket.socket(fileno=descriptor) as found:
                    descriptor = -1
                    if found.family in (socket.AF_INET, socket.AF_INET6) and found.getpeername()[1] == port:
                        found.shutdown(socket.SHUT_RDWR)
            finally:
                if descriptor >= 0:
                    os.close(descriptor)


def ready_condition(node: Object) -> Object:
    """Return the Ready condition of a node or a pod; an empty object where it has none."""
    return next((each for each in node.each("status", "conditions") if each.text("type") == "Ready"), Object.of({}))


def _now() -> str:
    return dt.datetime.now(dt.UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
