"""Labs from outside: start one, find one, run programs in it, end it.

async with kubemtu_lab.cluster(scenes.named("canal-1500")) as cluster:
    cluster.exec("pod-1a", ["ping", "-c1", cluster.address("pod-2a")])
"""

import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Literal, Self

import msgspec

import kubemtu
from kubemtu.core.errors import KubemtuError
from kubemtu_lab import errors, exec_faults, kernel, owners, scene, state, underlay
from kubemtu_lab.scene import ExecFault

UP_SECONDS, NODE_SECONDS = 180.0, 4.0  # and so much more for each node, on a machine that is busy
DOWN_SECONDS = 60.0
FABRIC = "fabric"
"""The place that is the switch: the lab's own namespace, which holds the switch ports."""
_launching = threading.Lock()  # whether orphans are adopted is a setting of the whole process
_ENTER = Path(__file__).with_name("enter.py")
_KINDS: dict[str, type[KubemtuError]] = {
    each.__name__: each for each in (errors.Impossible, errors.StartFailed, errors.NameTaken)
}


class Lab:
    """A running lab. As a context manager it ends with the block."""

    def __init__(self, folder: Path, *, tether: int | None = None, child: int | None = None) -> None:
        self.folder = folder
        self.unready: tuple[str, ...] = ()
        self._tether = tether
        self._child = child  # the supervisor's pid, where it is this process's own child

    @classmethod
    def up(cls, blueprint: scene.Scene, name: str | None = None, *, tethered: bool = True) -> Self:
        """Start a lab and wait until its pods are ready; `tethered`: it ends with this process, however that ends.

        Raises:
            NameTaken: a lab of that name runs.
            Impossible: this machine does not let us.
            StartFailed: it did not come up; the sentence quotes the end of its log.
        """
        folder = state.make(name or blueprint.name)
        (folder / "scene.json").write_bytes(msgspec.json.encode(blueprint))
        report, told = os.pipe()
        tether, kept = os.pipe() if tethered else (-1, None)
        # The launcher ends at once, and its child, the supervisor, would be left to init, which in many containers
        # never asks how its children ended. So whoever starts a lab adopts it, and asks in `down`. A lab that outlives
        # the one who started it, as `kubemtu lab up` has it, is init's in the end: its supervisor stays a zombie there.
        with (folder / "log").open("ab") as log, _launching, kernel.adopting():
            launcher = subprocess.Popen(
                [sys.executable, "-m", state.MODULE, folder.name, str(folder), str(told), str(tether)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                env=os.environ | {state.MARKER: folder.name, "PYTHONPATH": os.pathsep.join(_python_path())},
                pass_fds=[told] + ([tether] if tethered else []),
                start_new_session=True,
            )
            launcher.wait()
        os.close(told)
        if tethered:
            os.close(tether)
        outcome = _read_line(report, UP_SECONDS + NODE_SECONDS * len(blueprint.nodes))
        pid = outcome.get("pid")
        lab = cls(folder, tether=kept, child=pid if isinstance(pid, int) and pid else None)
        told_error = outcome.get("error") or ("" if outcome else _end_of_log(folder))
        if told_error:
            lab.down()
            raise _KINDS.get(str(outcome.get("kind")), errors.StartFailed)(str(told_error))
        unready = outcome.get("unready")
        lab.unready = tuple(map(str, unready)) if isinstance(unready, list) else ()
        return lab

    @classmethod
    def find(cls, name: str | None = None) -> Self:
        """Return the running lab of that name, or the only one. Raises NoSuchLab."""
        return cls(state.find(name))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.down()

    def down(self) -> None:
        """End the lab and wait until nothing of it is left; one that has ended already is fine."""
        if self._child is not None:
            kill(self._child, state.start_time(self._child))
            with contextlib.suppress(ChildProcessError):  # somebody asked after all children of this process
                os.waitpid(self._child, 0)
            self._child = None
        end(self.folder)
        if self._tether is not None:
            os.close(self._tether)
            self._tether = None

    @property
    def name(self) -> str:
        """The name of the lab."""
        return self.folder.name

    @property
    def kubeconfig(self) -> Path:
        """The file with which kubectl and kubemtu reach the lab from outside."""
        return self.folder / "kubeconfig"

    @property
    def record(self) -> state.Record:
        """Pids and addresses. Raises NoSuchLab when the lab has ended."""
        found = state.read(self.folder)
        if found is None:
            raise errors.NoSuchLab(f"the lab {self.name} has ended")
        return found

    @property
    def scene(self) -> scene.Scene:
        """The scene that the lab was made of."""
        return msgspec.json.decode((self.folder / "scene.json").read_bytes(), type=scene.Scene)

    def node_pid(self, node: str) -> int:
        """Return the pid, on the machine, of a node's PID 1. Raises NoSuchPlace."""
        nodes = self.record.nodes
        if node not in nodes:
            raise errors.NoSuchPlace(f"the lab {self.name} has no node {node}; it has {', '.join(nodes)}")
        return nodes[node]

    def node_root(self, node: str) -> Path:
        """Return the root folder of a node, as seen from outside: node_root("node-1") / "etc/cni/net.d"."""
        return Path(f"/proc/{self.node_pid(node)}/root")

    def pod(self, pod: str) -> state.PodLocation:
        """Say where a pod is, "POD" or "NAMESPACE/POD". Raises NoSuchPlace."""
        found = state.place(self.folder, pod)
        if found is None:
            raise errors.NoSuchPlace(
                f"the lab {self.name} has neither a node nor a pod with a network of its own called {pod}; "
                "`kubectl get pods -A` lists them, write pods of other namespaces as NAMESPACE/POD"
            )
        return found

    def address(self, pod: str) -> str:
        """Return the first address of a pod. Raises NoSuchPlace."""
        return self.pod(pod).addresses[0]

    def executed(self) -> list[state.Executed]:
        """Return the commands that were executed in containers by way of the API, such as `kubectl exec`, in order."""
        return state.executed(self.folder)

    def break_exec(self, node: str, how: ExecFault | None, container: str = "") -> None:
        """Let commands in the containers of a node go wrong, as `scene.ExecBroken` has it, until None ends it."""
        exec_faults.strike(self.folder, node, how, container)
        self.exec(node, ["nft", "-f", "-"], text=exec_faults.firewall(how or ""))

    def reconcile(self) -> None:
        """Have the owner of the CNI's configuration write it as it rendered it, as an upgrade does; returns after it.

        Raises StartFailed where nobody does.
        """
        if not owners.tell(self.folder, UP_SECONDS):
            raise errors.StartFailed(f"the lab {self.name} has no owner that writes (Scene.owner)")

    def command(self, place: str, argv: Sequence[str]) -> list[str]:
        """Return the command line that runs `argv` at a place: a node, a pod, or "fabric", the switch."""
        head = [sys.executable, "-I", "-S", str(_ENTER)]
        if place == FABRIC:
            return [*head, str(self.record.pid), *argv]
        if place in self.record.nodes:
            return [*head, str(self.node_pid(place)), *argv]
        found = self.pod(place)
        return [*head, "--net", f"/run/netns/{found.netns}", str(self.node_pid(found.node)), *argv]

    def spawn(
        self,
        place: str,
        argv: Sequence[str],
        *,
        stdin: int | IO[bytes] | None = subprocess.DEVNULL,
        stdout: int | IO[bytes] | None = None,
        stderr: int | IO[bytes] | None = None,
        env: dict[str, str] | None = None,
        pass_fds: Sequence[int] = (),
    ) -> subprocess.Popen[bytes]:
        """Start a program at a place: in a node's namespaces, or in those with a pod's network.

        It sees the machine's files but for the folders that a node keeps for itself. Ending the process that this
        returns ends the program.
        """
        command = self.command(place, argv)
        return subprocess.Popen(command, stdin=stdin, stdout=stdout, stderr=stderr, env=env, pass_fds=pass_fds)

    def exec(
        self,
        place: str,
        argv: Sequence[str],
        *,
        timeout: float | None = 120.0,
        check: bool = True,
        text: str | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run a program at a place and return what it wrote; `text` is its standard input.

        Raises:
            subprocess.CalledProcessError: it failed, and `check`.
            subprocess.TimeoutExpired: it took longer than `timeout` seconds.
        """
        return subprocess.run(
            self.command(place, argv), input=text or "", capture_output=True, text=True, timeout=timeout, check=check
        )

    def python(self, place: str, program: str, *arguments: str, timeout: float = 120.0) -> str:
        """Run a Python program, with kubemtu importable, at a place; returns what it wrote."""
        command = [sys.executable, "-c", f"import sys; sys.path[:0] = {_python_path()!r}\n{program}", *arguments]
        return self.exec(place, command, timeout=timeout).stdout

    def set_mtu(self, place: str, device: str, mtu: int) -> None:
        """Set the MTU of a device at a place by hand; of a switch port: place "fabric", device "port-N"."""
        self.python(place, _SET_MTU, device, str(mtu))

    def set_port(
        self, node: str, mtu: int | None, way: Literal["both", "to-node", "from-node"] = "both", nic: int = 0
    ) -> None:
        """Let the switch port of a node's NIC take so much from now on, as `scene.Nic` has it; None corrects it.

        Raises UsageError where the scene has no such node.
        """
        place = self.scene.number(node)
        changed = msgspec.structs.replace(self.scene.nodes[place - 1].nics[nic], port_mtu=mtu, port_way=way)
        self.python(FABRIC, _SET_PORT, underlay.port(place, nic), msgspec.json.encode(changed).decode())

    def mtu(self, place: str, device: str = "eth0") -> int:
        """Return the MTU of a device at a place, bytes of the IP packet."""
        return int(self.python(place, _GET_MTU, device))


_SET_MTU = "from kubemtu_lab.rtnl import Rtnl; Rtnl().set_mtu(sys.argv[1], int(sys.argv[2]))"
_SET_PORT = """
import msgspec

import kubemtu
from kubemtu_lab import scene, underlay
from kubemtu_lab.rtnl import Rtnl
underlay.set_port(Rtnl(), sys.argv[1], msgspec.json.decode(sys.argv[2], type=scene.Nic))
"""
_GET_MTU = "from kubemtu_lab.rtnl import Rtnl; print(Rtnl().device(sys.argv[1]).mtu)"


@contextlib.asynccontextmanager
async def cluster(blueprint: scene.Scene, name: str | None = None) -> AsyncIterator[Lab]:
    """Start a lab for a block of asynchronous code, without stopping the loop meanwhile."""
    import asyncio  # noqa: PLC0415  # the command line needs it not

    lab = await asyncio.to_thread(Lab.up, blueprint, name)
    try:
        yield lab
    finally:
        await asyncio.to_thread(lab.down)


def end(folder: Path) -> bool:
    """Kill the supervisor that a folder knows, wait for its end, remove the folder. False: there was none."""
    pid = state.supervisor_of(folder)
    if pid is not None:
        kill(pid, state.start_time(pid))
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(folder)
    return pid is not None


def end_all() -> list[str]:
    """End all labs of this user, and what is left of others; returns the names of what was found."""
    found = []
    for folder in state.folders():
        end(folder)
        found.append(folder.name)
    for pid, name in state.strays():
        kill(pid, state.start_time(pid))
        found.append(name)
    return found


def kill(pid: int, started: int | None) -> None:
    """Kill a supervisor and wait until the kernel has ended all below it. Does nothing to a pid that was used again.

    The descriptor is taken before the start time is compared, so that the process cannot change in between.
    Raises StartFailed when it does not end.
    """
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        if started is None or state.start_time(pid) != started:
            return
        signal.pidfd_send_signal(process, signal.SIGKILL)
        if not select.select([process], [], [], DOWN_SECONDS)[0]:
            raise errors.StartFailed(f"the lab's process {pid} does not end; look at /proc/{pid}/stack")
    finally:
        os.close(process)


def _read_line(descriptor: int, seconds: float) -> dict[str, object]:
    received = b""
    deadline = time.monotonic() + seconds
    with os.fdopen(descriptor, "rb", buffering=0) as pipe:
        while not received.endswith(b"\n"):
            if not select.select([pipe], [], [], max(0.0, deadline - time.monotonic()))[0]:
                return {"error": f"the lab did not come up within {seconds:g} s; its log tells more"}
            block = pipe.read(1 << 16)
            if not block:
                return {}
            received += block
    found: dict[str, object] = json.loads(received)
    return found


def _end_of_log(folder: Path) -> str:
    with contextlib.suppress(FileNotFoundError):
        lines = (folder / "log").read_text(errors="replace").strip().splitlines()
        if lines:
            return f"the lab ended before it was up: {lines[-1]}"
    return "the lab ended before it was up, and wrote nothing"


def _python_path() -> list[str]:
    """Say where the lab and the product are imported from, wherever they are installed."""
    return [str(Path(__file__).parents[1]), str(Path(kubemtu.__file__).parents[1])]
