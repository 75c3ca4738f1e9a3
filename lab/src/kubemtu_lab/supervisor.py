"""The process that is a lab: PID 1 of the lab's process namespace, its API server, its switch, the parent of its nodes.

    lab up --exec--> launcher --unshare, fork--> supervisor (PID 1) --fork--> node-1 (PID 1 of its own), node-2, ...
                     (the machine's network:     API server, controller,      kubelet, programs of pods
                      binds 127.0.0.1, ends)     switch

When it dies, however it dies, the kernel ends all processes below it, and with the last of them go the namespaces:
nothing else holds them. Run as `python -m kubemtu_lab.supervisor NAME FOLDER REPORT TETHER`, where FOLDER holds
scene.json, REPORT is a descriptor that gets one JSON line when the lab is up or has failed, and TETHER a descriptor at
whose end of file the lab ends (-1: none).
"""

import asyncio
import contextlib
import errno
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Self

import msgspec
import yaml

from kubemtu.core.errors import KubemtuError
from kubemtu.core.objects import PODS
from kubemtu.kube.api import Api
from kubemtu.kube.errors import AlreadyThere
from kubemtu.node.errors import Denied, Refused
from kubemtu_lab import (
    addressing,
    controllers,
    controlplane,
    endpoints,
    errors,
    faults,
    filesystem,
    informer,
    kernel,
    kubelet,
    lifecycle,
    manifests,
    namespaces,
    node,
    owners,
    state,
    underlay,
    waits,
)
from kubemtu_lab import scene as scenes
from kubemtu_lab.api import api as choose_api
from kubemtu_lab.rtnl import Rtnl

log = logging.getLogger("kubemtu_lab")
SETTLE_SECONDS = 90.0
STUCK_SECONDS = 4.0
POLL_SECONDS = 0.03

_NAMESPACES = kernel.CLONE_NEWNS | kernel.CLONE_NEWNET | kernel.CLONE_NEWPID | kernel.CLONE_NEWUTS
_REASONS = {
    errno.EPERM: "not permitted",
    errno.ENOSPC: "the limit in /proc/sys/user/max_*_namespaces is reached",
    errno.EINVAL: "this kernel was built without them",
    errno.EOPNOTSUPP: "this kernel lacks the veth, bridge or vxlan driver",
}


class StartOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """The line that the supervisor reports: who it is, the error if there is one, and who is not ready."""

    pid: int = 0  # of the supervisor, on the machine
    error: str = ""
    kind: str = ""
    unready: tuple[str, ...] = ()

    @classmethod
    def of(cls, error: KubemtuError, pid: int = 0) -> Self:
        """Return what is reported of a lab that does not come up."""
        return cls(pid=pid, error=str(error), kind=type(error).__name__)


def main() -> None:
    """Leave the machine's namespaces, and be a lab."""
    name, folder, report, tether = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("httpx2").setLevel(logging.WARNING)
    try:
        scene = msgspec.json.decode((folder / "scene.json").read_bytes(), type=scenes.Scene)
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        outside = socket.create_server(("127.0.0.1", 0), backlog=256)
        host_proc = os.open("/proc", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        leave_namespaces()
    except KubemtuError as error:
        _report(report, StartOutcome.of(error))
        sys.exit(1)
    if os.fork():
        os._exit(0)  # whoever started us adopts the child: see cluster.Lab.up
    lab = Supervisor(name=name, scene=scene, folder=descriptor, host_proc=host_proc, outside=outside)
    try:
        lab.build()
    except KubemtuError as error:
        _report(report, StartOutcome.of(error, lab.host_pid))
        sys.exit(1)
    asyncio.run(lab.run(report, tether))


def leave_namespaces() -> None:
    """Enter new mount, network, process and UTS namespaces, inside a new user namespace where the user is not root.

    Raises:
        Impossible: the kernel, or its administrator, does not let us.
    """
    try:
        if os.geteuid() != 0 or not _unshared():
            kernel.map_to_root()
            kernel.unshare(_NAMESPACES)
    except OSError as error:
        why = _REASONS.get(error.errno or 0, error.strerror or "")
        raise errors.Impossible(
            f"this machine lets {'root' if os.geteuid() == 0 else 'this user'} make no namespaces ({why}); run the lab "
            "with sudo, or allow unprivileged user namespaces: sysctl user.max_user_namespaces=10000, and on Ubuntu "
            "also kernel.apparmor_restrict_unprivileged_userns=0"
        ) from None


def _unshared() -> bool:
    try:
        kernel.unshare(_NAMESPACES)
    except PermissionError:
        return False  # root of a container without CAP_SYS_ADMIN
    return True


class Supervisor:
    """One lab, from inside."""

    def __init__(self, *, name: str, scene: scenes.Scene, folder: int, host_proc: int, outside: socket.socket) -> None:
        self.scene = scene
        self.host_pid = int(os.readlink("self", dir_fd=host_proc))
        self._name = name
        self._folder = folder
        self._host_proc = host_proc
        self._outside = outside
        self._nodes: list[node.Born] = []
        self._addresses: list[dict[str, list[str]]] = []  # of the nodes, by NIC
        self._peers: dict[str, int] = {}
        self._ended: dict[str, str] = {}  # what is over that should not be, and why
        self._url = f"https://127.0.0.1:{outside.getsockname()[1]}"

    def build(self) -> None:
        """Make the switch and fork the nodes, with their NICs plugged in. Raises Impossible, Refused."""
        try:
            filesystem.detach_from_host()
            filesystem.own_proc()
            kernel.set_hostname(f"lab-{self._name}"[:63])
            kernel.set_process_name(state.PROCESS_NAME)
            self._record()
            with Rtnl() as rtnl:
                underlay.build(rtnl, self.scene)
                underlay.try_vxlan(rtnl, self.scene.families)
                for place, each in enumerate(self.scene.nodes, 1):
                    born = node.fork(each.name, self._folder, self._host_proc)
                    underlay.plug(rtnl, each, place, born.pid)
                    self._addresses.append(node.nic_up(born.pid, each, place, self.scene.families))
                    self._nodes.append(born)
        except (Refused, Denied) as refusal:
            raise errors.Impossible(f"{refusal}; the lab needs a kernel with veth, bridge and vxlan") from None
        except OSError as error:
            raise errors.Impossible(
                f"this machine does not let the lab set up its namespaces ({error}); run it with sudo"
            ) from None

    async def run(self, report: int, tether: int) -> None:
        """Serve the lab until it is told to end."""
        loop = asyncio.get_running_loop()
        done = asyncio.Event()
        loop.add_signal_handler(signal.SIGTERM, done.set)
        loop.add_signal_handler(signal.SIGCHLD, self._bury)
        if tether >= 0:
            loop.add_reader(tether, done.set)
        try:
            async with contextlib.AsyncExitStack() as stack:
                try:
                    unready = await self._start(stack)
                except KubemtuError as error:
                    _report(report, StartOutcome.of(error, self.host_pid))
                    return
                self._record(ready=True)
                _report(report, StartOutcome(pid=self.host_pid, unready=tuple(unready)))
                await done.wait()
        except Exception:
            log.exception("the lab ended")
            raise
        finally:
            # Whatever still runs below us the kernel ends with us.
            os._exit(0)

    async def _start(self, stack: contextlib.AsyncExitStack) -> list[str]:
        families = self.scene.families
        chosen = choose_api(
            sockets=[self._outside, controlplane.listen(self._nodes[0].pid, families)],
            addresses=controlplane.reached_by(families),
            dial=controlplane.dialling(self._nodes[0].pid),
            history=self.scene.history,
            families=families if 4 not in families else addressing.DUAL,
        )
        api = await stack.enter_async_context(chosen)
        within = controlplane.kubeconfigs(api, families)
        state.write(self._folder, "kubeconfig", yaml.safe_dump(api.kubeconfig(self._url)).encode(), mode=0o600)
        calls = await stack.enter_async_context(informer.connect(api.kubeconfig()))
        bodies = list(manifests.objects(self.scene))
        for body in bodies:
            if owners.is_kept(self.scene.owner, body):
                continue
            with contextlib.suppress(AlreadyThere):  # kube-system and default are there from the start
                await waits.created(calls, body)
        if self.scene.owner is not None:
            keeper = owners.keeper(self.scene.owner, api.kubeconfig(), bodies)
            await stack.enter_async_context(keeper.api)
            await keeper.make()
            stack.push_async_callback(_cancel, asyncio.create_task(self._keep("the owner", keeper.run(self._folder))))
        for place, (born, given) in enumerate(zip(self._nodes, self._addresses, strict=True), 1):
            start = kubelet.Settings(
                node=born.name,
                addresses=given,
                networks=addressing.pod_networks(place, families),
                version=self.scene.version,
                kubeconfigs=within,
                grace_seconds=self.scene.grace_seconds,
                daemon_seconds=self.scene.daemon_seconds,
                image=self.scene.image,
                images=self.scene.images,
                served_with=api.node_files,
            )
            await asyncio.get_running_loop().sock_sendall(born.line, msgspec.json.encode(start) + b"\n")
            stack.push_async_callback(_cancel, asyncio.create_task(self._listen(born)))
        for what, keeping in (
            ("the DaemonSet controller", controllers.run(calls)),
            ("the EndpointSlice controller", endpoints.run(calls)),
            ("the namespace controller", namespaces.run(calls)),
            ("the node-lifecycle controller", lifecycle.run(calls, self.scene.grace_seconds)),
        ):
            stack.push_async_callback(_cancel, asyncio.create_task(self._keep(what, keeping)))
        unready = await self._settle(calls)
        for fault in self.scene.faults:
            await faults.commit(fault, calls, {born.name: born.pid for born in self._nodes}, self._folder, families)
        if self.scene.agents:
            await waits.observed(calls, len(self.scene.nodes))
            unready = await waits.answering(calls, unready)
        with Rtnl() as rtnl:  # last, as anywhere: behind such a port no node could have joined
            underlay.strike(rtnl, self.scene)
        return unready

    async def _settle(self, calls: Api) -> list[str]:
        """Wait until every pod is ready, or has been stuck for a while, as some scenes have it; returns who is not.

        Raises StartFailed when a part of the lab ended meanwhile, for which all others would wait in vain.
        """
        deadline = time.monotonic() + SETTLE_SECONDS + 2 * len(self.scene.nodes)
        daemons = 1 + self.scene.agents + self.scene.probes + len(self.scene.daemons)
        wanted = len(self.scene.nodes) * daemons + sum(len(each.pods) for each in self.scene.nodes)
        before: list[str] = []
        since = time.monotonic()
        while True:
            found = await waits.listed(calls, PODS)
            unready = waits.unready(found)
            stuck = sum(1 for pod in found if state.is_stuck(pod))
            linked = all(count >= len(self.scene.nodes) - 1 for count in self._peer_counts())
            now = time.monotonic()
            if unready != before or stuck < len(unready):
                before, since = unready, now
            if len(found) >= wanted and (linked if not unready else now - since > STUCK_SECONDS):
                return unready
            for who, why in self._ended.items():
                raise errors.StartFailed(f"{who} of the lab {self._name} ended before it was up ({why}); try again")
            if now > deadline:
                for pod in found:
                    log.warning(
                        "after %g s: %s %s", SETTLE_SECONDS, pod, msgspec.json.encode(pod.get("status")).decode()
                    )
                log.warning("after %g s: ways to others: %s", SETTLE_SECONDS, self._peers)
                return unready or ["the routes between the nodes"]
            await asyncio.sleep(POLL_SECONDS)

    def _peer_counts(self) -> list[int]:
        return [self._peers.get(born.name, 0) for born in self._nodes]

    async def _keep(self, what: str, keeping: Coroutine[None, None, None]) -> None:
        try:
            await keeping
        except Exception as error:
            log.exception("%s ended", what)
            self._ended[what] = repr(error)

    async def _listen(self, born: node.Born) -> None:
        reader, _ = await asyncio.open_connection(sock=born.line)
        why = "its line broke"
        async for line in reader:
            told = msgspec.json.decode(line, type=node.NodeMessage)
            self._peers[born.name], why = told.peers, told.ended or why
        self._ended[born.name] = why

    def _bury(self) -> None:
        for born in self._nodes:
            with contextlib.suppress(ChildProcessError):
                if os.waitpid(born.pid, os.WNOHANG)[0]:
                    log.error("%s died", born.name)

    def _record(self, *, ready: bool = False) -> None:
        record = state.Record(
            name=self._name,
            scene=self.scene.name,
            pid=self.host_pid,
            started=state.start_time(self.host_pid, self._host_proc) or 0,
            created=time.time(),
            nodes={born.name: born.host_pid for born in self._nodes},
            url=self._url,
            ready=ready,
        )
        state.write(self._folder, "lab.json", msgspec.json.encode(record) + b"\n")


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError, Exception):
        await task


def _report(descriptor: int, outcome: StartOutcome) -> None:
    with contextlib.suppress(OSError):
        os.write(descriptor, msgspec.json.encode(outcome) + b"\n")
        os.close(descriptor)


if __name__ == "__main__":
    main()
