"""PID 1 of a node: what kubelet, container runtime and CNI plugins do there, as far as the pod network can tell.

It runs pods that are bound to its node, answers for them in the API, keeps the node's own status, and, while a flannel
container runs, learns the ways to the other nodes. CNI plugins work on one thread of their own, because entering a
namespace moves a thread.
"""

import asyncio
import concurrent.futures
import contextlib
import logging
import os
import signal
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import TypeVar

import msgspec
import yaml

from kubemtu.core.objects import NODES, PODS, Object, Ref
from kubemtu.kube.api import Api
from kubemtu.node.errors import Refused
from kubemtu.node.kernel import links
from kubemtu_lab import (
    addressing,
    attach,
    commands,
    containers,
    daemons,
    felix,
    heartbeat,
    image_tools,
    images,
    informer,
    kernel,
    kubelet_api,
    logs,
    pods,
    programs,
    proxy,
    scene,
    state,
    volumes,
)
from kubemtu_lab.api.backend import NodeFiles
from kubemtu_lab.processes import File, Inside, Processes
from kubemtu_lab.rtnl import Rtnl

log = logging.getLogger(__name__)
Result = TypeVar("Result")
STOP_SECONDS = 2.0


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What the supervisor tells a node once the underlay and the API are there.

    `addresses` by NIC, in the order of the scene's families; `kubeconfigs` by their path on the node; times as in
    `scene.Scene`.
    """

    node: str
    addresses: dict[str, list[str]]
    networks: tuple[str, ...]
    version: str
    kubeconfigs: dict[str, str]
    grace_seconds: float
    daemon_seconds: float
    image: str = ""
    images: dict[str, image_tools.Kind] = {}
    served_with: NodeFiles = NodeFiles()


class Kubelet:
    """One node's kubelet."""

    def __init__(self, settings: Settings, api: Api, folder: int, report: Callable[[int], None]) -> None:
        self.node = settings.node
        self.image = images.load(settings.image) if settings.image else None
        self.settings = settings
        self.api = api
        self.addresses = tuple(next(iter(settings.addresses.values())))
        self.is_docker = tuple(map(int, settings.version.removeprefix("v").split(".")[:2])) < (1, 24)
        self._folder = folder
        self._report = report
        self._rtnl = Rtnl()
        self._thread = concurrent.futures.ThreadPoolExecutor(1, "cni")
        self._plugins = self._thread.submit(attach.Plugins, attach.Addresses(settings.networks)).result()
        self._processes = Processes()
        self._pods: dict[str, pods.Pod] = {}
        self._attached: dict[str, attach.Attachment] = {}
        self._ending: dict[str, asyncio.Task[None]] = {}
        self._logs: dict[tuple[str, str], logs.LogFile] = {}
        self._nodes: dict[str, Object] = {}
        self._overlay: daemons.Flanneld | felix.Felix | None = None
        self._installed = asyncio.Event()
        self._services = asyncio.Event()

    async def run_forever(self) -> None:
        """Be this node's kubelet until the process ends."""
        own = tuple(each for nic in self.settings.addresses.values() for each in nic)
        rules = proxy.ProxyNode(name=self.node, addresses=own, networks=self.settings.networks)
        async with asyncio.TaskGroup() as group:
            group.create_task(proxy.run(self.api, rules, loaded=self._services))
            group.create_task(self._watch_pods())
            group.create_task(self._watch_nodes())
            group.create_task(self._heartbeat().run())
            group.create_task(self._keep_devices())
            families = tuple(map(addressing.family, self.addresses))
            served = kubelet_api.KubeletApi(self, self._folder)
            group.create_task(kubelet_api.serve(served, self.settings.served_with, families))

    def _heartbeat(self) -> heartbeat.Heartbeat:
        return heartbeat.Heartbeat(
            self.api,
            self.node,
            addresses=self.addresses,
            version=self.settings.version,
            grace_seconds=self.settings.grace_seconds,
            wait=self.config_changed,
        )

    # -- pods

    async def _watch_pods(self) -> None:
        # As the real one, which reads the Services once before it makes a pod: a pod that finds no rule for the API's
        # address would wait for an answer that does not come.
        await self._services.wait()
        async for body, is_there in informer.changes(self.api, PODS, f"spec.nodeName={self.node}"):
            key = informer.uid(body)
            if not is_there or body.text("metadata", "deletionTimestamp"):
                if key in self._pods:
                    ending = self._pods.pop(key).end(gone=not is_there)
                    self._ending[key] = asyncio.create_task(self._end(body, ending))
                elif is_there and key not in self._ending:
                    self._ending[key] = asyncio.create_task(self._end(body, pods.remove(self.api, body)))
            elif key not in self._pods and body.text("status", "phase") not in ("Succeeded", "Failed"):
                self._pods[key] = pods.Pod(self, body)
            elif key in self._pods:
                self._pods[key].reconcile(body)

    async def _end(self, pod: Object, ending: Coroutine[None, None, None]) -> None:
        key = informer.uid(pod)
        try:
            await ending
        except Exception:
            log.exception("%s: pod %s did not end well", self.node, pod)
        finally:
            del self._ending[key]
            for each in [each for each in self._logs if each[0] == key]:
                del self._logs[each]

    async def attach(self, pod: Object) -> attach.Attachment:
        """CNI ADD, as the plugin chain on this node's disk says."""

        def add() -> attach.Attachment:
            # Noted where it is made: nobody waits for it any more where the pod is deleted meanwhile.
            found = self._attached[informer.uid(pod)] = self._plugins.add(pod.namespace or "", pod.name)
            return found

        found = await self._on_thread(add)
        self._remember(pod, {"node": self.node, **msgspec.to_builtins(found)})
        return found

    async def detach(self, pod: Object) -> None:
        """CNI DEL; nothing was attached is fine. What the node kept of the pod goes too."""
        volumes.forget(pod)

        def delete() -> None:  # on the one thread: after an ADD that is under way there
            if (found := self._attached.get(informer.uid(pod))) is not None:
                self._remember(pod, None)
                self._plugins.delete(found)
                del self._attached[informer.uid(pod)]

        await self._on_thread(delete)

    async def config_changed(self, seconds: float) -> None:
        """Wait for the next install-cni, at most so long: somebody may write the file by hand too."""
        # Not wait_for: before Python 3.12 it may swallow the cancellation that ends a pod (python/cpython#86296).
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._installed.wait()

    def _remember(self, pod: Object, value: object) -> None:
        """Keep on the lab's disk where a pod is, for those who enter it from outside."""
        name = f"pods/{pod.namespace}.{pod.name}"
        if value is None:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name, dir_fd=self._folder)
            return
        state.write(self._folder, name, msgspec.json.encode(value))

    async def _on_thread(self, act: Callable[[], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._thread, act)

    # -- containers

    async def run(self, pod: Object, spec: Object, argv: list[str], env: Mapping[str, str]) -> containers.Running:
        """Start a real program in the pod's network namespace, its output in the lab's folder."""
        account = await volumes.account(self.api, pod)
        argv, environment = programs.program(pod, spec, argv, env, account, self.image)
        output = self.log(pod, spec).begin()
        try:
            files: dict[int, File] = {0: "/dev/null", 1: output, 2: output}
            pid, ended = await self._processes.start(argv, environment, files, self._inside(pod))
        finally:
            os.close(output)

        async def stop() -> None:
            await self._processes.stop(pid, ended, STOP_SECONDS)

        return containers.Running(asyncio.shield(ended), stop)

    def log(self, pod: Object, spec: Object) -> logs.LogFile:
        """Return the log of a container."""
        key = informer.uid(pod), spec.text("name") or ""
        if key not in self._logs:
            self._logs[key] = logs.LogFile(self._folder, pod.namespace or "", pod.name, key[1])
        return self._logs[key]

    def find(self, namespace: str, name: str) -> pods.Pod | None:
        """Return a pod of this node."""
        wanted = (namespace, name)
        return next((each for each in self._pods.values() if (each.body.namespace, each.body.name) == wanted), None)

    async def execute(
        self, pod: pods.Pod, container: containers.Container, argv: list[str], files: Mapping[int, File]
    ) -> commands.Child:
        """Start a program beside that of a container, with the same files and network. Raises OSError."""
        own_network = informer.uid(pod.body) in self._attached
        account = volumes.written_account(pod.body)
        kinds, name = self.settings.images, pod.host_name()
        place = programs.Place(container=container, kinds=kinds, own_network=own_network, host_name=name)
        become = programs.beside(place, argv, account, self.image)
        pid, ended = await self._processes.fork(become, files, self._inside(pod.body))

        def kill() -> None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)

        return commands.Child(ended, kill)

    def _inside(self, pod: Object) -> Inside:
        attachment = self._attached.get(informer.uid(pod))
        netns = attachment.netns if attachment else None

        async def inside(act: Callable[[], int]) -> int:
            return await self._on_thread(lambda: self._plugins.inside(netns, act))

        return inside

    def address(self, pod: Object) -> str:
        """Return the first address of a pod that is attached, or of this node."""
        attachment = self._attached.get(informer.uid(pod))
        return (attachment.addresses if attachment else self.addresses)[0]

    async def play(self, pod: Object, spec: Object, env: Mapping[str, str]) -> float:
        """Do what the container's program does to this node when it starts; returns after how long it is ready.

        Raises ContainerFailed.
        """
        image = spec.text("image") or ""
        match spec.text("name"):
            case "install-cni" if "CNI_NETWORK_CONFIG" in env:
                daemons.install_calico_cni(env)
                self._poke()
            case "install-cni" if spec.get("args"):
                target = Path(spec.text("args", -1) or "")
                daemons.install_flannel_cni(await self._mounted(pod, "cni-conf.json"), target)
                self._poke()
            case _ if spec.get("args", 0) == scene.DECLARED:
                conflist, source, mtu_file, literal = (spec.text("args", place) or "" for place in range(1, 5))
                number = await self._declared(pod, spec, source, env)
                text = await self._mounted(pod, "conflist")
                daemons.install_declared(number, mtu_file)  # before what makes plugins read it, on their thread
                daemons.install_declared(daemons.with_number(text, number, literal), conflist)
                await self._on_thread(lambda: self._plugins.update(tuple(self._attached.values())))
                self._poke()
            case "kube-multus":
                daemons.copy_for_multus()
                self._poke()
            case "calico-node" if env.get("CALICO_NETWORKING_BACKEND") == "vxlan":
                me, node = await self._own_node()
                overlay = felix.start(self._rtnl, me, env, self.settings.addresses)
                await self._tell_others(node, overlay)
            case "calico-node":
                daemons.felix_mtu_file(image, links.devices(self._rtnl))
            case "kube-flannel":
                is_restart = self._overlay is not None
                await self._start_flanneld(pod, _iface(spec, env))
                self.log(pod, spec).write(f"Wrote subnet file to {attach.SUBNET_FILE}", "Running backend.")
                return self.settings.daemon_seconds if is_restart else 0.0
        return 0.0

    async def _declared(self, pod: Object, spec: Object, source: str, env: Mapping[str, str]) -> str:
        """Return the number of a CNI that is only declared: its NIC's, its flag's, its first variable's, its key's."""
        if source == "nic":
            return str(next(each.mtu for each in links.devices(self._rtnl) if each.name == scene.Nic().name))
        args = spec.get("args")
        words = [word for word in args if isinstance(word, str)] if isinstance(args, list) else []
        flags = (word.removeprefix(f"{source}=") for word in reversed(words) if word.startswith(f"{source}="))
        found = next(flags, None) or next((env[name] for name in source.split(",") if name in env), None)
        return found if found is not None else daemons.number_in(await self._held(pod, source))

    def _poke(self) -> None:
        self._installed.set()
        self._installed = asyncio.Event()

    async def _held(self, pod: Object, source: str) -> str:
        """Return the text of a key of the pod's own ConfigMap, or of another's: NAMESPACE/NAME/KEY."""
        if source.count("/") != 2:
            return await self._mounted(pod, source)
        space, name, key = source.split("/")
        found = await self.api.find("v1", "configmaps", name, space)
        if found is None or (text := found.text("data", key)) is None:
            raise daemons.ContainerFailed(f"ConfigMap {space}/{name} has no key {key}")
        return text

    async def _mounted(self, pod: Object, key: str) -> str:
        for volume in pod.each("spec", "volumes"):
            if name := volume.text("configMap", "name"):
                found = await self.api.find("v1", "configmaps", name, pod.namespace)
                if found is not None and (text := found.text("data", key)) is not None:
                    return text
        raise daemons.ContainerFailed(f"open /etc/kube-flannel/{key}: no such file or directory")

    async def _start_flanneld(self, pod: Object, iface: str) -> None:
        config = await self._mounted(pod, "net-conf.json")
        me, node = await self._own_node()
        await self._tell_others(node, daemons.start_flanneld(self._rtnl, me, config, iface, self.settings.addresses))

    async def _own_node(self) -> tuple[Object, Ref]:
        node = informer.at(NODES, self.node)
        me = await self.api.get(node)
        if me is None:
            raise daemons.ContainerFailed(f'error retrieving node spec for "{self.node}": nodes not found')
        return me, node

    async def _tell_others(self, node: Ref, overlay: daemons.Flanneld | felix.Felix) -> None:
        """Have the overlay of this node from now on: tell the others of it, and learn the ways to them."""
        self._overlay = overlay
        await self.api.patch(node, {"metadata": {"annotations": overlay.annotations}})
        for other in self._nodes.values():
            self._learn(other)

    async def _keep_devices(self) -> None:
        """Give the tunnel its MTU again and again, where the agent that runs does so."""
        while True:
            await asyncio.sleep(felix.SYNC_SECONDS)
            if isinstance(self._overlay, felix.Felix):
                self._overlay.keep(self._rtnl)

    # -- nodes

    async def _watch_nodes(self) -> None:
        async for node, is_there in informer.changes(self.api, NODES):
            if node.name == self.node:
                continue
            if not is_there:
                self._nodes.pop(node.name, None)
                if self._overlay:
                    self._overlay.forget(self._rtnl, node.name)
            else:
                self._nodes[node.name] = node
                self._learn(node)

    def _learn(self, node: Object) -> None:
        if self._overlay is None:
            return
        try:
            if self._overlay.learn(self._rtnl, node):
                self._report(len(self._overlay.peers))
        except Refused as refusal:  # as when somebody deleted flannel.1: the real one logs it and goes on, too
            log.warning("%s: %s", self.node, refusal)


def _iface(spec: Object, env: Mapping[str, str]) -> str:
    words = spec.get("args")
    for word in words if isinstance(words, list) else []:
        if isinstance(word, str) and word.startswith("--iface="):
            return word.removeprefix("--iface=")
    return env.get("FLANNELD_IFACE", "")


async def be_kubelet(settings: Settings, folder: int, report: Callable[[int], None]) -> None:
    """Be the kubelet that `settings` describe; returns never."""
    for path, text in settings.kubeconfigs.items():
        Path(path).touch(mode=0o600)  # the administrator's: no program of a pod that is not root may read it
        Path(path).write_text(text)
    kernel.set_process_name("kubelet")
    async with informer.connect(yaml.safe_load(settings.kubeconfigs[scene.KUBECONFIG])) as api:
        await Kubelet(settings, api, folder, report).run_forever()
