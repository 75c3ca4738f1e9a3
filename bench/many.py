"""A cluster of many nodes and pods behind the lab's API server: the few objects of canal are kept by the server, nodes,
pods and what the agents tell are made page by page, as large as real ones are.

    python -m bench.many NODES PODS KUBECONFIG      serves until it is ended, and says "ready"

A second kubeconfig, KUBECONFIG.bare, leads to the same cluster where no agent tells anything.
"""

import asyncio
import datetime as dt
import sys
import urllib.parse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import yaml
from tests.support import example

from kubemtu.core import net
from kubemtu.kube import api as kube_api
from kubemtu.kube import connect, crd
from kubemtu_lab.api import embedded
from kubemtu_lab.api.server import ApiServer


def moment() -> str:
    """Return the time, as the API writes it."""
    return dt.datetime.now(dt.UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


NOW = moment()
BARE = "/bare"  # what the addresses of the cluster without agents begin with
ODD = 7  # the node whose NIC takes less than the others'
OWNED = {"manager": "kubelet", "operation": "Update", "apiVersion": "v1", "time": NOW, "fieldsType": "FieldsV1"}
ROUTES = (
    net.Route(family=4, destination="default", device="eth0", gateway="169.254.1.1"),
    net.Route(family=4, destination="169.254.1.1/32", device="eth0"),
)
FIELDS: dict[str, object] = {
    f"f:{word}{number}": {".": {}, "f:name": {}, "f:value": {}} for word in "abcdef" for number in range(8)
}


def node(number: int) -> dict[str, object]:
    """Return a Node as kubeadm and a cloud make one: 50 images, five conditions, managed fields."""
    name = f"node-{number}"
    return {
        "metadata": {
            "name": name,
            "uid": f"5a4e9f0e-0000-4000-8000-{number:012}",
            "resourceVersion": str(number),
            "creationTimestamp": NOW,
            "labels": {
                "kubernetes.io/hostname": name,
                "topology.kubernetes.io/zone": "abc"[number % 3],
                "node.kubernetes.io/instance-type": "m5.2xlarge",
            },
            "annotations": {"flannel.alpha.coreos.com/public-ip": address(number), "volumes": "true"},
            "managedFields": [OWNED | {"fieldsV1": FIELDS}],
        },
        "spec": {"podCIDR": f"10.{64 + number // 250}.{number % 250}.0/24", "providerID": f"aws:///{name}"},
        "status": {
            "addresses": [{"type": "InternalIP", "address": address(number)}, {"type": "Hostname", "address": name}],
            "capacity": {"cpu": "8", "memory": "32Gi", "pods": "110"},
            "conditions": [
                {
                    "type": each,
                    "status": "False",
                    "reason": "KubeletHasNone",
                    "message": "kubelet has none",
                    "lastHeartbeatTime": NOW,
                }
                for each in ("MemoryPressure", "DiskPressure", "PIDPressure", "NetworkUnavailable")
            ]
            + [{"type": "Ready", "status": "True", "reason": "KubeletReady", "lastHeartbeatTime": NOW}],
            "images": [
                {
                    "names": [
                        f"registry.example/team/image-{each}@sha256:{'ab' * 32}",
                        f"registry.example/team/image-{each}:1.{each}",
                    ],
                    "sizeBytes": 10**8 + each,
                }
                for each in range(50)
            ],
            "nodeInfo": {"kubeletVersion": "v1.30.2", "kernelVersion": "6.1.0", "osImage": "Debian GNU/Linux 12"},
        },
    }


def address(number: int) -> str:
    """Return the address of a node."""
    return f"172.16.{number // 250}.{number % 250 + 1}"


def pod(number: int, on: int, seen: net.PodPort | None) -> dict[str, object]:
    """Return a Pod with one container and a sidecar, and on each node first canal's own."""
    name = seen.netns.removeprefix("cni-") if seen is not None else f"canal-{on}"
    env = [{"name": f"VARIABLE_{each}", "value": f"value-{each}-of-{name}"} for each in range(12)]
    mounts = [{"name": f"volume-{each}", "mountPath": f"/var/data/{each}", "readOnly": True} for each in range(5)]
    containers = [
        {"name": each, "image": f"registry.example/team/{each}:1.0", "env": env, "volumeMounts": mounts}
        for each in ("app", "sidecar")
    ]
    began = f"2026-{number % 12 + 1:02}-{number // 12 % 28 + 1:02}T{number // 336 % 24:02}:{number // 8064 % 60:02}:00Z"
    running = {"running": {"startedAt": began}}
    owner = "DaemonSet" if seen is None else "ReplicaSet"
    done: dict[str, object] = {"terminated": {"finishedAt": example.INSTALLED, "exitCode": 0}}
    return {
        "metadata": {
            "name": name,
            "namespace": "kube-system" if seen is None else "default",
            "uid": f"77777777-0000-4000-8000-{number:012}",
            "resourceVersion": str(number),
            "creationTimestamp": NOW,
            "labels": {"app": "web", "pod-template-hash": "7f9c6d8b5"},
            "ownerReferences": [
                {
                    "apiVersion": "apps/v1",
                    "kind": owner,
                    "name": "canal" if seen is None else "web-7f9c6d8b5",
                    "uid": example.DAEMONSET_UID,
                    "controller": True,
                }
            ],
            "managedFields": [OWNED | {"fieldsV1": FIELDS}],
        },
        "spec": {"nodeName": f"node-{on}", "containers": containers, "volumes": mounts}
        | ({"hostNetwork": True} if seen is None else {}),
        "status": {
            "phase": "Running",
            "podIP": seen.addresses[0] if seen is not None else address(on),
            "podIPs": [{"ip": seen.addresses[0] if seen is not None else address(on)}],
            "hostIP": address(on),
            "conditions": [
                {"type": each, "status": "True", "lastTransitionTime": NOW}
                for each in ("Initialized", "Ready", "ContainersReady", "PodScheduled")
            ],
            "initContainerStatuses": [{"name": "install-cni", "state": done}] if seen is None else [],
            "containerStatuses": [
                {
                    "name": each,
                    "ready": True,
                    "restartCount": 0,
                    "image": f"registry.example/team/{each}:1.0",
                    "imageID": f"sha256:{'cd' * 32}",
                    "containerID": f"containerd://{'ef' * 32}",
                    "state": running,
                }
                for each in ("app", "sidecar")
            ],
        },
    }


class Many:
    """How many of everything, and each by its number."""

    def __init__(self, nodes: int, pods: int) -> None:
        self.nodes = nodes
        self.each = pods // nodes
        self.lists: dict[str, tuple[str, str, int, Callable[[int], dict[str, object]]]] = {
            "/api/v1/nodes": ("NodeList", "v1", nodes, node),
            "/api/v1/pods": ("PodList", "v1", nodes * self.each, self.pod),
            "/apis/kubemtu.io/v1alpha1/nodemtus": ("NodeMTUList", "kubemtu.io/v1alpha1", nodes, self.told),
        }

    def seen(self, number: int) -> net.NodeObservation:
        """Return what the agent of a node tells: every pod but canal's own, and of the routes the default one."""
        network = f"10.{64 + number // 250}.{number % 250}"
        ports = tuple(
            example.port(f"web-{number}-{each}", f"{network}.{each + 10}", routes=ROUTES)
            for each in range(self.each - 1)
        )
        return example.node(f"node-{number}", nic=1450 if number == ODD else 1500, ports=ports)

    def pod(self, number: int) -> dict[str, object]:
        """Return a pod by its number, the first of a node being canal's."""
        on, place = divmod(number - 1, self.each)
        seen = (
            None
            if place == 0
            else example.port(f"web-{on + 1}-{place - 1}", f"10.{64 + (on + 1) // 250}.{(on + 1) % 250}.{place + 9}")
        )
        return pod(number, on + 1, seen)

    def told(self, number: int) -> dict[str, object]:
        """Return the NodeMTU of a node."""
        seen = self.seen(number)
        seen = msgspec.structs.replace(seen, uplinks=seen.uplinks[:1])
        return {
            "metadata": {"name": f"node-{number}", "resourceVersion": str(number), "generation": 1},
            "status": {"observedAt": moment(), "observation": msgspec.to_builtins(seen)},
        }

    def page(self, path: str, query: dict[str, str]) -> bytes:
        """Return a page of a list, its token being the number of the entry before."""
        kind, version, most, make = self.lists[path]
        first = int(query.get("continue", "0")) + 1
        last = min(first + int(query.get("limit", "0") or most) - 1, most)
        metadata = {"resourceVersion": "9"} | ({"continue": str(last)} if last < most else {})
        one = {"apiVersion": version, "kind": kind.removesuffix("List")}
        whole = {"kind": kind, "apiVersion": version, "metadata": metadata}
        items = b",".join(msgspec.json.encode(one | make(number)) for number in range(first, last + 1))
        return msgspec.json.encode(whole)[:-1] + b',"items":[' + items + b"]}"


class Server(ApiServer):
    """The lab's API server, with lists of many."""

    many: Many

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one request (ASGI 3)."""
        query = dict(urllib.parse.parse_qsl(scope.get("query_string", b"").decode()))
        path = scope.get("path", "")
        bare = path.startswith(BARE)
        if bare:
            path = path.removeprefix(BARE)
            scope = {**scope, "path": path, "raw_path": path.encode()}
        listed = path in self.many.lists and not (bare and path.endswith("/nodemtus"))
        if not listed or scope["method"] != "GET" or "watch" in query:
            await super().__call__(scope, receive, send)
            return
        body = self.many.page(path, query)
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})


async def serve(nodes: int, pods: int, kubeconfig: Path) -> None:
    """Serve until cancelled."""
    Server.many = Many(nodes, pods)
    embedded.ApiServer = Server  # type: ignore[attr-defined]  # what `start` makes
    async with embedded.EmbeddedApi() as api:
        config = api.kubeconfig()
        kubeconfig.write_text(yaml.safe_dump(config))
        config["clusters"][0]["cluster"]["server"] += BARE
        kubeconfig.with_suffix(".bare").write_text(yaml.safe_dump(config))
        async with kube_api.Api(connect.settings(str(kubeconfig), environ={})) as client:
            await crd.install(client)
            configmap, daemonset = (each.body for each in example.canal())
            template: Any = daemonset["spec"]
            template["template"]["metadata"] = {"labels": template["selector"]["matchLabels"]}
            for each in (configmap, daemonset):
                await client.create(each)
        print("ready", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])))
