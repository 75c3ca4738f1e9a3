"""The API through kubectl, as the people of the lab use it."""

import asyncio
import json
import os
import re
from collections.abc import Callable, Coroutine
from pathlib import Path

import msgspec
import pytest
from tests.support.lab_api import connect, installed

from kubemtu.kube import crd
from kubemtu_lab import controllers, informer
from kubemtu_lab.api import ApiBackend
from kubemtu_lab.api.resources import Object

Kubectl = Callable[..., Coroutine[None, None, str]]

KUBECTL = str(installed("kubectl") or "")
pytestmark = pytest.mark.skipif(not KUBECTL, reason="there is no kubectl: scripts/setup brings one")

MANIFEST = """
apiVersion: v1
kind: ConfigMap
metadata: {name: canal-config, namespace: kube-system}
data: {veth_mtu: "1450", canal_iface: ""}
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: canal, namespace: kube-system, labels: {k8s-app: canal}}
spec:
  selector: {matchLabels: {k8s-app: canal}}
  template:
    metadata: {labels: {k8s-app: canal}}
    spec:
      hostNetwork: true
      terminationGracePeriodSeconds: 0
      containers:
      - {name: calico-node, image: node:1}
      - {name: kube-flannel, image: flannel:1}
"""


@pytest.fixture
def environment(kubeconfig_file: Path, tmp_path: Path) -> dict[str, str]:
    return os.environ | {"KUBECONFIG": str(kubeconfig_file), "HOME": str(tmp_path)}


@pytest.fixture
def kubectl(environment: dict[str, str]) -> Kubectl:
    async def run(*arguments: str, stdin: str = "", fails: bool = False, **more: str) -> str:
        process = await asyncio.create_subprocess_exec(
            KUBECTL,
            *arguments,
            env=environment | more,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        told = (await process.communicate(stdin.encode()))[0].decode()
        assert bool(process.returncode) is fails, told
        return told

    return run


async def test_apply_three_ways(kubectl: Kubectl) -> None:
    apply = ("apply", "-f", "-")
    assert (await kubectl(*apply, stdin=MANIFEST)).split() == [
        "configmap/canal-config",
        "created",
        "daemonset.apps/canal",
        "created",
    ]
    assert (await kubectl(*apply, stdin=MANIFEST)).count("unchanged") == 2
    await kubectl("patch", "cm", "canal-config", "-n", "kube-system", "-p", '{"data": {"mine": "kept"}}')
    changed = MANIFEST.replace("node:1", "node:2").replace(', canal_iface: ""', "")
    assert (await kubectl(*apply, stdin=changed)).count("configured") == 2
    data = json.loads(await kubectl("get", "cm", "canal-config", "-n", "kube-system", "-o", "json"))["data"]
    assert data == {"veth_mtu": "1450", "mine": "kept"}
    images = await kubectl(
        "get", "ds", "canal", "-n", "kube-system", "-o", "jsonpath={.spec.template.spec.containers[*].image}"
    )
    assert images == "node:2 flannel:1"


async def test_restart_and_wait_for_the_rollout(api: ApiBackend, kubectl: Kubectl) -> None:
    synced = asyncio.Event()
    async with connect(api.kubeconfig()) as http, informer.connect(api.kubeconfig()) as client:
        controller = asyncio.create_task(controllers.run(client, synced=synced))
        await synced.wait()
        await http.post("/api/v1/nodes", json={"metadata": {"name": "n1"}})

        async def kubelet() -> None:
            ready = {"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}}
            path = "/api/v1/namespaces/kube-system/pods"
            while True:
                for pod in (await http.get(path)).json()["items"]:
                    if not pod["status"].get("conditions"):
                        headers = {"content-type": "application/merge-patch+json"}
                        name = pod["metadata"]["name"]
                        await http.patch(f"{path}/{name}/status", json=ready, headers=headers)
                await asyncio.sleep(0.02)

        node = asyncio.create_task(kubelet())
        await kubectl("apply", "-f", "-", stdin=MANIFEST)
        target = ("daemonset/canal", "-n", "kube-system")
        assert "successfully rolled out" in await kubectl("rollout", "status", *target, "--timeout=60s")
        before = await kubectl("get", "pods", "-n", "kube-system", "-o", "name")
        await kubectl("rollout", "restart", *target)
        assert "successfully rolled out" in await kubectl("rollout", "status", *target, "--timeout=60s")
        after = await kubectl("get", "pods", "-n", "kube-system", "-o", "name")
        assert before != after
        assert after.count("pod/canal-") == 1
        assert "restartedAt" in await kubectl("get", *target, "-o", "yaml")
        for task in (node, controller):
            task.cancel()
        await asyncio.gather(node, controller, return_exceptions=True)


async def test_an_edit_that_comes_too_late_is_a_conflict(kubectl: Kubectl, tmp_path: Path) -> None:
    await kubectl("apply", "-f", "-", stdin=MANIFEST)
    target = ("cm", "canal-config", "-n", "kube-system")
    (tmp_path / "editor").write_text('#!/bin/sh\nsed -i s/1450/1400/ "$1"\n')
    (tmp_path / "editor").chmod(0o700)
    editor = {"KUBE_EDITOR": str(tmp_path / "editor")}
    assert await kubectl("edit", *target, **editor) == "configmap/canal-config edited\n"
    stale: Object = json.loads(await kubectl("get", *target, "-o", "json"))
    assert stale["data"]["veth_mtu"] == "1400"
    await kubectl("patch", *target, "--type=merge", "-p", '{"data": {"veth_mtu": "1300"}}')
    stale["data"]["veth_mtu"] = "9000"
    told = await kubectl("replace", "-f", "-", stdin=json.dumps(stale), fails=True)
    assert "the object has been modified; please apply your changes to the latest version and try again" in told


async def test_watch_delete_and_the_rest(kubectl: Kubectl, environment: dict[str, str]) -> None:
    await kubectl("apply", "-f", "-", stdin=MANIFEST)
    target = ("cm", "canal-config", "-n", "kube-system")
    watch = (KUBECTL, "get", *target, "-w", "-o", "name")
    watching = await asyncio.create_subprocess_exec(*watch, env=environment, stdout=asyncio.subprocess.PIPE)
    assert watching.stdout is not None
    try:
        async with asyncio.timeout(60):
            assert await watching.stdout.readline() == b"configmap/canal-config\n"
            await kubectl("annotate", *target, "seen=1")
            assert await watching.stdout.readline() == b"configmap/canal-config\n"
    finally:
        watching.kill()
        await watching.wait()
    assert 'configmap "canal-config" deleted' in await kubectl("delete", *target)
    assert 'configmaps "canal-config" not found' in await kubectl("get", *target, fails=True)
    assert await kubectl("get", "--raw", "/readyz") == "ok"
    assert (await kubectl("get", "daemonsets", "-A")).split()[:5] == [
        "NAMESPACE",
        "NAME",
        "DESIRED",
        "CURRENT",
        "READY",
    ]
    assert "daemonsets" in await kubectl("api-resources", "--api-group=apps")


async def test_a_dump_of_the_cluster_has_every_kind_that_kubectl_asks_for(kubectl: Kubectl) -> None:
    await kubectl("apply", "-f", "-", stdin=MANIFEST)
    dump = await kubectl("cluster-info", "dump", "--all-namespaces")
    kinds = re.findall(r'"kind": "(\w+)List"', dump)
    assert set(kinds) == {
        "DaemonSet",
        "Deployment",
        "Event",
        "Node",
        "Pod",
        "ReplicaSet",
        "ReplicationController",
        "Service",
    }


async def test_server_side_apply_knows_whose_field_it_is(kubectl: Kubectl) -> None:
    await kubectl("apply", "-f", "-", stdin=MANIFEST)
    target = ("cm", "canal-config", "-n", "kube-system")
    other = MANIFEST.partition("---")[0].replace("1450", "1400")
    told = await kubectl("apply", "--server-side", "--field-manager=kubemtu", "-f", "-", stdin=other, fails=True)
    assert 'conflict with "kubectl-client-side-apply" using v1: .data.veth_mtu' in " ".join(told.split())
    forced = ("apply", "--server-side", "--field-manager=kubemtu", "--force-conflicts", "-f", "-")
    assert "serverside-applied" in await kubectl(*forced, stdin=other)
    shown = await kubectl("get", *target, "--show-managed-fields", "-o", "json")
    managers = {each["manager"]: each["operation"] for each in json.loads(shown)["metadata"]["managedFields"]}
    # kubectl hands over what its client-side apply owned (client-go `util/csaupgrade`), and that one owns nothing then.
    assert managers == {"kubemtu": "Apply"}


async def test_explain_tells_of_every_field_of_our_kinds(kubectl: Kubectl) -> None:
    definitions = msgspec.convert(crd.definitions(), tuple[Object, ...])
    for definition in definitions:
        await kubectl("apply", "--server-side", "-f", "-", stdin=json.dumps(definition))
        (version,), names = definition["spec"]["versions"], definition["spec"]["names"]
        for part, schema in version["schema"]["openAPIV3Schema"]["properties"].items():
            if part not in ("apiVersion", "kind", "metadata"):
                told = await kubectl("explain", f"{names['singular']}.{part}")
                assert told.splitlines()[:2] == [
                    f"GROUP:      {definition['spec']['group']}",
                    f"KIND:       {names['kind']}",
                ]
                assert sorted(re.findall(r"^  (\w+)\t<", told, re.MULTILINE)) == sorted(schema["properties"])
                assert "<no description>" not in told
