"""A lab with agents, and a picture of everything that a change touches, taken with tools that are not ours."""

import contextlib
import json
import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Self

import msgspec
from tests.support.change.command import Command, Ended
from tests.support.labs import Kube, until

from kubemtu_lab import scene as scenes
from kubemtu_lab.cluster import Lab

CONFIGS = {
    "canal": "/api/v1/namespaces/kube-system/configmaps/canal-config",
    "flannel": "/api/v1/namespaces/kube-flannel/configmaps/kube-flannel-cfg",
}
NODE_MTUS = "/apis/kubemtu.io/v1alpha1/nodemtus"
MIGRATIONS = "/apis/kubemtu.io/v1alpha1/mtumigrations"
PROBES = "/apis/kubemtu.io/v1alpha1/mtuprobes"

PICTURE = """
for space in "" $(ls /run/netns); do
  echo "@ $space"
  go="ip ${space:+-n $space}"
  $go -o link | sed -E 's/ mtu /\\n mtu /; s/(qdisc|link\\/).*//' | grep -E '^[0-9]+:|mtu'
  $go -4 route show table all
  $go -6 route show table all
done
"""
"""Links with their MTUs and all routes of all tables, of a node and of every pod on it."""


class Picture(msgspec.Struct, frozen=True):
    """Everything that a change touches: what is compared before and after, byte for byte."""

    config: dict[str, str]
    kernel: dict[str, str]  # by node
    pods: dict[str, tuple[str, int]]  # uid and restarts, by name
    specs: dict[str, object]  # of the NodeMTUs
    unfinished: tuple[str, ...]  # names of MTUMigrations

    def differs(self, other: "Picture") -> str:
        """Return the first difference, for people; empty when there is none."""
        for field in self.__struct_fields__:
            ours, theirs = getattr(self, field), getattr(other, field)
            if ours != theirs:
                return f"{field}: {_first_difference(ours, theirs)}"
        return ""


def _first_difference(ours: object, theirs: object) -> str:
    if isinstance(ours, dict) and isinstance(theirs, dict):
        key = next(key for key in (*ours, *theirs) if ours.get(key) != theirs.get(key))
        return f"{key}: {_first_difference(ours.get(key), theirs.get(key))}"
    if isinstance(ours, str) and isinstance(theirs, str):
        pairs = zip([*ours.splitlines(), ""], [*theirs.splitlines(), ""], strict=False)
        return next((f"{one!r} != {other!r}" for one, other in pairs if one != other), "only in length")
    return f"{ours!r} != {theirs!r}"


class Cluster:
    """One lab, its API and the command."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self._kube = Kube(lab.kubeconfig)
        self._asked = time.monotonic()
        self._threads = ThreadPoolExecutor(max_workers=4)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._kube.http.close()
        self._threads.shutdown()

    @property
    def kube(self) -> Kube:
        """A client of the API; a new one after a while, because a server closes connections that are idle."""
        now = time.monotonic()
        if now - self._asked > 2:
            self._kube.http.close()
            self._kube = Kube(self.lab.kubeconfig)
        self._asked = now
        return self._kube

    @property
    def nodes(self) -> list[str]:
        """The names of the nodes."""
        return [node.name for node in self.lab.scene.nodes]

    def start(self, *arguments: str, kubeconfig: Path | None = None) -> Command:
        """Start the command."""
        return Command(*arguments, kubeconfig=kubeconfig or self.lab.kubeconfig)

    def run(self, *arguments: str) -> Ended:
        """Run the command to its end."""
        return self.start(*arguments).wait()

    def done(self, *arguments: str) -> Ended:
        """Run the command, which must end well."""
        ended = self.run(*arguments)
        assert ended.code == 0, f"{arguments}: {ended.err}\n{ended.out}"
        return ended

    def stopped(self, *arguments: str, line: str, step: int | None = None) -> Command:
        """Start a change and stop it at a line, while it is unfinished, and in that `step` (from 0) where one is given.

        On a busy machine a command may be further, or at its end, before it is stopped: then it is led to its end and
        taken back, and begun anew.
        """
        for _ in range(5):
            command = self.start(*arguments)
            command.until_says(line)
            if command.stop() and self._stands_at(step):
                return command
            command.go_on()
            ended = command.wait()
            assert ended.code == 0, ended.err
            if arguments[0] == "rollback":
                self.forget_migrations()
                self.done("apply", "--yes")
            else:
                self.done("rollback", "--yes")
                self.forget_migrations()
        raise AssertionError(f"it could not be stopped at {line!r}")

    def _stands_at(self, step: int | None) -> bool:
        """Say whether a change is unfinished, and in that step."""
        progress = [one.get("status", {}).get("progress", {}) for one in self.migrations()]
        return any(not one.get("finished") and step in {None, one.get("step", 0)} for one in progress)  # type: ignore[attr-defined]  # JSON

    def killed(self, *arguments: str, line: int, later: float = 0.0) -> bool:
        """Run the command and kill it when it has printed that many lines; False when it had ended by then."""
        command = self.start(*arguments)
        if not command.until_line(line):
            command.wait()
            return False
        time.sleep(later)
        command.kill()
        return command.wait().code == -signal.SIGKILL

    def wait_for_agents(self) -> Self:
        """Wait until every node has shown itself, its ways to the others and its pods included."""
        until(lambda: all(self._shown(node) for node in self.nodes))
        return self

    def wait_for_the_kernel(self) -> None:
        """Wait until links and routes stay as they are: those of IPv6 come up to a second after a link has."""
        last: list[str] = []

        def still() -> bool:
            before = last[:]
            time.sleep(1.0)
            last[:] = self._threads.map(self._kernel_of, self.nodes)
            return before == last

        until(still)

    def _shown(self, node: str) -> bool:
        seen = self.observation(node)
        ports = json.dumps(seen.get("ports"))
        return bool(seen.get("uplinks")) and all(
            pod["host_link"] in ports for pod in self._pods() if pod["node"] == node
        )

    def pods(self) -> list[dict[str, str]]:
        """Return the pods of the pod network that the lab's kubelets keep."""
        return self._pods()

    def locked(self) -> list[str]:
        """Every route of a node or a pod that is locked to an MTU, with its node, as `ip` shows it."""
        kernel = dict(zip(self.nodes, self._threads.map(self._kernel_of, self.nodes), strict=True))
        return [f"{node}: {line}" for node, text in kernel.items() for line in text.splitlines() if "mtu lock" in line]

    def _pods(self) -> list[dict[str, str]]:
        found = []
        for path in (self.lab.folder / "pods").iterdir():
            if "log" not in path.name and path.suffix != ".new":  # which is being written
                with contextlib.suppress(FileNotFoundError):  # it goes with its pod
                    found.append(json.loads(path.read_text()))
        return found

    def observation(self, node: str) -> dict[str, object]:
        """Return what the agent of a node told last."""
        found = self.kube.http.get(f"{NODE_MTUS}/{node}")
        status = found.json().get("status", {}) if found.status_code == 200 else {}
        seen = status.get("observation", {})
        assert isinstance(seen, dict)
        return seen

    def node_mtu(self, node: str) -> dict[str, object]:
        """Return a NodeMTU."""
        return self.kube.get(f"{NODE_MTUS}/{node}")

    def config(self) -> dict[str, str]:
        """Return the CNI's ConfigMap."""
        data = self.kube.get(CONFIGS[self.lab.scene.name.partition("-")[0]])["data"]
        assert isinstance(data, dict)
        return data

    def migrations(self) -> list[dict[str, dict[str, object]]]:
        """All MTUMigrations."""
        items = self.kube.get(MIGRATIONS)["items"]
        assert isinstance(items, list)
        return items

    def forget_migrations(self) -> None:
        """Delete all MTUMigrations, as people do who keep their clusters tidy."""
        for one in self.migrations():
            self.kube.delete(f"{MIGRATIONS}/{one['metadata']['name']}")

    def questions(self) -> list[str]:
        """Return the names of all MTUProbes, and those under which any agent still tells something."""
        asked, nodes = self.kube.get(PROBES)["items"], self.kube.get(NODE_MTUS)["items"]
        assert isinstance(asked, list)
        assert isinstance(nodes, list)
        told = {name for node in nodes for name in node.get("status", {}).get("probes") or {}}
        return sorted({*(str(one["metadata"]["name"]) for one in asked), *told})

    def mtus(self) -> set[tuple[int, int]]:
        """Both ends of every pod of the pod network, node's end first, read by `ip`."""
        return {pair for found in self._threads.map(self._mtus_of, self.nodes) for pair in found}

    def _mtus_of(self, node: str) -> list[tuple[int, int]]:
        links = json.loads(self.lab.exec(node, ["ip", "-j", "link"]).stdout)
        hosts = {link["ifname"]: link["mtu"] for link in links}
        return [
            (hosts[pod["host_link"]], self._pod_mtu(node, pod["netns"]))
            for pod in self._pods()
            if pod["node"] == node and pod["host_link"] in hosts
        ]

    def _pod_mtu(self, node: str, netns: str) -> int:
        (link,) = json.loads(self.lab.exec(node, ["ip", "-n", netns, "-j", "link", "show", "eth0"]).stdout)
        return int(link["mtu"])

    def picture(self) -> Picture:
        """Everything that a change touches."""
        kernel = self._threads.map(self._kernel_of, self.nodes)
        pods = {
            name: (pod["metadata"]["uid"], sum(one["restartCount"] for one in pod["status"]["containerStatuses"]))  # type: ignore[index]  # JSON of pods
            for name, pod in self.kube.pods().items()
        }
        items = self.kube.get(NODE_MTUS)["items"]
        assert isinstance(items, list)
        return Picture(
            config=self.config(),
            kernel=dict(zip(self.nodes, kernel, strict=True)),
            pods=pods,
            specs={node["metadata"]["name"]: node.get("spec") for node in items},
            unfinished=tuple(
                str(one["metadata"]["name"])
                for one in self.migrations()
                if not one.get("status", {}).get("progress", {}).get("finished")  # type: ignore[attr-defined]  # JSON
            ),
        )

    def comes_to(self, picture: Picture) -> str:
        """Wait until all is as in that picture; return what still differs, of which the kernel ends links by and by."""
        with contextlib.suppress(TimeoutError):
            until(lambda: picture.differs(self.picture()) == "")
        return picture.differs(self.picture())

    def picture_of_an_agentless_lab(self) -> tuple[dict[str, str], list[str]]:
        """Return the configuration and the kernel's part: without agents there are no kinds of kubemtu."""
        return self.config(), list(self._threads.map(self._kernel_of, self.nodes))

    def _kernel_of(self, node: str) -> str:
        return self.lab.exec(node, ["sh", "-c", PICTURE]).stdout


@contextlib.contextmanager
def cluster(scene: scenes.Scene, name: str, *, agents: bool = True) -> Iterator[Cluster]:
    """Start a lab, with agents that have shown themselves, for a block."""
    with Lab.up(scene.replace(agents=agents), f"{name}-{os.getpid()}") as lab, Cluster(lab) as found:
        if agents:
            found.wait_for_agents()
        found.wait_for_the_kernel()
        yield found


def kill_agent(found: Cluster, node: str, number: int = signal.SIGKILL) -> int:
    """Send a signal to the agent of a node, once it runs; returns its pid on the machine."""

    def there() -> bool:
        return agent_pid(found, node) is not None

    until(there)
    pid = agent_pid(found, node)
    assert pid is not None
    os.kill(pid, number)
    return pid


def agent_pid(found: Cluster, node: str) -> int | None:
    """Return the pid, on the machine, of the agent of a node; None while it is being started again."""
    home = Path(f"/proc/{found.lab.node_pid(node)}/ns/pid").readlink()
    for process in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if process.name.isdigit() and (process / "ns/pid").readlink() == home:
                words = (process / "cmdline").read_bytes().split(b"\0")
                if b"kubemtu" in words and b"agent" in words:
                    return int(process.name)
    return None
