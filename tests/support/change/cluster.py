"""A lab with agents, the real command in processes of its own that can be killed at any line, and a picture of
everything that a change touches, taken with tools that are not ours.
"""

import contextlib
import json
import os
import select
import signal
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Self

import msgspec
from tests.support.labs import Kube, until

from kubemtu.cli import main
from kubemtu_lab import scene as scenes
from kubemtu_lab.cluster import Lab

CONFIGS = {
    "canal": "/api/v1/namespaces/kube-system/configmaps/canal-config",
    "flannel": "/api/v1/namespaces/kube-flannel/configmaps/kube-flannel-cfg",
}
NODE_MTUS = "/apis/kubemtu.io/v1alpha1/nodemtus"
MIGRATIONS = "/apis/kubemtu.io/v1alpha1/mtumigrations"
PROBES = "/apis/kubemtu.io/v1alpha1/mtuprobes"

INSTANT = 0.002  # seconds

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


class Ended(msgspec.Struct, frozen=True):
    """What a command left behind; `code` is negative for a signal."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        """What it printed, line by line."""
        return self.out.splitlines()


class Command:
    """The command in a process of its own: forked, because starting Python takes longer than a whole change."""

    def __init__(self, *arguments: str, kubeconfig: Path) -> None:
        out, told = os.pipe()
        err, said = os.pipe()
        self.lines: list[str] = []
        self.heard: list[float] = []  # when each line came
        self.pid = os.fork()
        if self.pid == 0:
            _be_the_command(arguments, kubeconfig, told, said)
        os.close(told)
        os.close(said)
        self._out, self._err = out, err
        self._rest = b""
        self._said = b""
        self.code: int | None = None

    def until_line(self, number: int, seconds: float = 120.0) -> bool:
        """Read until it has printed that many lines; False when it ended before."""
        deadline = time.monotonic() + seconds
        while len(self.lines) < number:
            if not self._read(deadline):
                return False
        return True

    def until_says(self, text: str, seconds: float = 120.0) -> None:
        """Read until a line holds that text. Raises AssertionError when it ends without."""
        deadline = time.monotonic() + seconds
        while not any(text in line for line in self.lines):
            assert self._read(deadline), f"it ended without {text!r}: {self.lines[-3:]} {self.wait().err}"

    def stop_reading(self) -> None:
        """Read no more of what it prints; what it says on stderr is still heard."""
        os.close(self._out)
        self._out = -1

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send it a signal; at SIGUSR1 its stdout is a full device from then on."""
        os.kill(self.pid, number)

    def wait(self, seconds: float = 180.0) -> Ended:
        """Wait for its end, and return all that it said."""
        deadline = time.monotonic() + seconds
        while self._read(deadline):
            pass
        if self.code is None:
            self.code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
            for descriptor in {self._out, self._err} - {-1}:
                os.close(descriptor)
        return Ended(self.code, "\n".join([*self.lines, self._rest.decode()]).strip("\n"), self._said.decode())

    def _read(self, deadline: float) -> bool:
        if self.code is not None:
            return False
        open_ones = [one for one in (self._out, self._err) if one >= 0]
        while True:
            ready = select.select(open_ones, [], [], max(0.0, deadline - time.monotonic()))[0]
            if not ready:
                os.kill(self.pid, signal.SIGKILL)
                raise TimeoutError(f"the command did not go on: {self.lines[-3:]} {self._said.decode()}")
            for descriptor in ready:
                block = os.read(descriptor, 1 << 16)
                if not block:
                    open_ones.remove(descriptor)
                elif descriptor == self._err:
                    self._said += block
                else:
                    *whole, self._rest = (self._rest + block).split(b"\n")
                    self.lines += [line.decode() for line in whole]
                    self.heard += [time.monotonic()] * len(whole)
                    return True
            if not open_ones:
                return False


def _be_the_command(arguments: tuple[str, ...], kubeconfig: Path, told: int, said: int) -> None:
    code = 70
    try:
        os.setsid()
        os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
        os.dup2(told, 1)
        os.dup2(said, 2)
        os.closerange(3, 1024)  # no socket of the tests lives on in here
        sys.stdin, sys.stdout, sys.stderr = (os.fdopen(number, mode) for number, mode in ((0, "r"), (1, "w"), (2, "w")))
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
        signal.signal(signal.SIGUSR1, lambda *_: os.dup2(os.open("/dev/full", os.O_WRONLY), 1))
        signal.setitimer(signal.ITIMER_REAL, 0)
        os.environ["KUBECONFIG"] = str(kubeconfig)
        code = main.run(list(arguments))
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)


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
        folder = self.lab.folder / "pods"
        return [json.loads(path.read_text()) for path in folder.iterdir() if "log" not in path.name]

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
        yield found


def steps(command: Command, first: int) -> list[tuple[int, float]]:
    """Where to kill a command like this finished one: after each line from `first` on, and how many seconds later.

    Of lines that came at the same instant the last counts. Some are followed at once, some while what comes next is
    under way.
    """
    ends = [*(later - heard > INSTANT for heard, later in zip(command.heard, command.heard[1:], strict=False)), True]
    places = [place for place, end in enumerate(ends, 1) if end and place >= first]
    return [(place, (0.0, 0.004, 0.012)[number % 3]) for number, place in enumerate(places)]


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
