"""One lab and the real command against it: what `kubemtu check` says, as JSON, once the agents have seen the change."""

import contextlib
import io
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from tests.support.labs import Kube, until

from kubemtu.cli import main
from kubemtu_lab.cluster import Lab

T = TypeVar("T")
SECONDS = 120.0  # an agent looks every second, and on every change of a link at once; on a busy machine it gets late
CONFIG = "/api/v1/namespaces/kube-system/configmaps/canal-config"
NODE_MTUS = "/apis/kubemtu.io/v1alpha1/nodemtus"
FLANNEL_CONFIG = "/api/v1/namespaces/kube-flannel/configmaps/kube-flannel-cfg"


class Ended(msgspec.Struct, frozen=True):
    """What a command left behind."""

    code: int
    out: str
    err: str


class Finding(msgspec.Struct, frozen=True):
    """One finding of the JSON."""

    code: str
    severity: str
    place: str
    message: str
    remedy: str

    @property
    def mark(self) -> str:
        """What a test expects of it, in one line."""
        return f"{self.code} {self.severity}: {self.place}"


class Layer(msgspec.Struct, frozen=True):
    """One step of the picture."""

    name: str
    size: int


class Told(msgspec.Struct, frozen=True, rename="camel"):
    """What `kubemtu check -o json` says, and its exit code."""

    verdict: str
    summary: str
    cni: str
    variant: str
    encapsulation: str
    recommended_mtu: int | None
    current: list[int]
    layers: list[Layer]
    findings: list[Finding]
    missing: list[str]
    schema: str
    code: int = -1

    @property
    def marks(self) -> list[str]:
        """All findings, in their order."""
        return [found.mark for found in self.findings]

    def one(self, code: str) -> Finding:
        """Return the first finding of that code. Raises LookupError."""
        for found in self.findings:
            if found.code == code:
                return found
        raise LookupError(f"{code} is not among {self.marks}")


def run(*words: str | Path) -> Ended:
    """Run the command line in this process."""
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2))
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main.run([str(word) for word in words])
    for each in (out, err):
        each.seek(0)
    return Ended(code, out.read(), err.read())


def told(ended: Ended) -> Told:
    """Read the JSON of a check."""
    assert ended.code in (0, 1), ended.err
    return msgspec.structs.replace(msgspec.json.decode(ended.out, type=Told), code=ended.code)


def measured(look: Callable[[], T]) -> T:
    """Return what a look at a stable state gives that measures; where it fails once, it must hold twice in a row.

    A machine that is busy lets answers be late, now these and now those; what is wrong stays wrong.
    """
    with contextlib.suppress(AssertionError):
        return look()
    look()
    return look()


class Step(msgspec.Struct, frozen=True, rename="camel"):
    """One step of a plan's JSON."""

    type: str
    path: list[str | int] = []
    before: str | int | dict[str, str] | None = None
    after: str | int | dict[str, str] | None = None

    def __str__(self) -> str:
        if self.type != "edit":
            return self.type
        return f"{self.path[-1]}: {' -> '.join(stretch(self.before, self.after))}"


class Planned(msgspec.Struct, frozen=True, rename="camel"):
    """What `kubemtu plan -o json` says."""

    target: int
    steps: list[Step]
    warnings: list[str]

    @property
    def lines(self) -> list[str]:
        """Every step in a line; an edit as the one stretch of text that it changes."""
        return [str(step) for step in self.steps]


def stretch(before: object, after: object) -> tuple[str, str]:
    """Return what is taken out and put in, word by word and without blanks: one stretch, whatever is between."""
    if before is None or after is None or not before or not after:
        return repr(before), repr(after)
    old, new = (re.findall(r'"[^"]*"|\w+|\s+|[^\w\s]', str(each)) for each in (before, after))
    head = tail = 0
    while head < min(len(old), len(new)) and old[head] == new[head]:
        head += 1
    while tail < min(len(old), len(new)) - head and old[-1 - tail] == new[-1 - tail]:
        tail += 1
    old, new = old[head : len(old) - tail], new[head : len(new) - tail]
    return "".join("".join(old).split()), "".join("".join(new).split())


class Cluster:
    """A lab with agents."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.kube = Kube(lab.kubeconfig)
        self._nudges = 0

    def close(self) -> None:
        """Close the connection to the API."""
        self.kube.http.close()

    def run(self, *words: str | Path) -> Ended:
        """Run a command of kubemtu against this cluster."""
        return run(*words, "--kubeconfig", self.lab.kubeconfig)

    def shell(self, *words: str) -> Ended:
        """Run a command of kubemtu as a shell does: a process of its own."""
        argv = [sys.executable, "-m", "kubemtu", *words, "--kubeconfig", str(self.lab.kubeconfig)]
        ended = subprocess.run(
            argv, capture_output=True, encoding="utf-8", env=os.environ | {"PYTHONUTF8": "1"}, check=False
        )
        return Ended(ended.returncode, ended.stdout, ended.stderr)

    def check(self) -> Told:
        """Return what `kubemtu check` says now."""
        return told(self.run("check", "-o", "json"))

    def settle(self, marks: Iterable[str], seconds: float = SECONDS) -> Told:
        """Wait until `kubemtu check` finds exactly that; returns what it says. Fails with what it says instead."""
        wanted = sorted(marks)
        return self.until(lambda now: sorted(now.marks) == wanted, f"exactly {wanted}", seconds)

    def until(self, holds: Callable[[Told], bool], what: str, seconds: float = SECONDS) -> Told:
        """Wait until something holds of what `kubemtu check` says."""
        deadline = time.monotonic() + seconds
        while True:
            now = self.check()
            if holds(now):
                return now
            if time.monotonic() > deadline:
                found = "\n".join(f"{each.mark}\n    {each.message}" for each in now.findings)
                raise AssertionError(f"it never found {what}, but:\n{now.verdict}: {now.summary}\n{found}")
            self.nudge()
            time.sleep(0.05)

    def nudge(self) -> None:
        """Make the agents look now and not within the second: a link's alias changes nothing and is an event."""
        self._nudges += 1
        for node in self.lab.record.nodes:
            self.ip(node, "link", "set", "lo", "alias", str(self._nudges))

    def healthy(self) -> Told:
        """Wait until nothing is found any more."""
        return self.settle([])

    def plan(self, *words: str) -> Planned:
        """Return what `kubemtu plan` says now."""
        ended = self.run("plan", "-o", "json", *words)
        assert ended.code == 0, ended.err
        return msgspec.json.decode(ended.out, type=Planned)

    def apply(self, *words: str) -> Ended:
        """Change it, as `kubemtu apply --yes` does."""
        return self.run("apply", "--yes", "-o", "json", *words)

    def rollback(self) -> None:
        """Take the change back, as `kubemtu rollback --yes` does; it must end with 0."""
        ended = self.run("rollback", "--yes")
        assert ended.code == 0, ended.err

    def until_shown(self, *names: str) -> None:
        """Wait until the agents tell of links of these names."""
        until(lambda: all(f'"{name}"' in json.dumps(self.kube.get(NODE_MTUS)) for name in names))

    def links(self, place: str) -> dict[str, int]:
        """Return the links at a place, and their MTUs."""
        return {each["ifname"]: each["mtu"] for each in json.loads(self.ip(place, "-json", "link"))}

    def config(self, key: str, path: str = CONFIG) -> str:
        """Return the value of a key of the CNI's ConfigMap."""
        held = self.kube.get(path)["data"]
        assert isinstance(held, dict)
        return str(held[key])

    def set_config(self, path: str = CONFIG, **keys: str | None) -> None:
        """Set keys of the CNI's ConfigMap (`_` for `-` and `.` where a key has them: net_conf_json); None drops one."""
        names = {"net_conf_json": "net-conf.json", "cni_conf_json": "cni-conf.json"}
        self.kube.merge(path, {"data": {names.get(key, key): value for key, value in keys.items()}})

    def ip(self, place: str, *words: str) -> str:
        """Run iproute2 at a place."""
        return self.lab.exec(place, ["ip", *words]).stdout

    def ready(self, node: str) -> str:
        """Return what the API server believes of a node: True, False, or Unknown when its kubelet is silent."""
        found: Any = self.kube.get(f"/api/v1/nodes/{node}")
        return str(next(one["status"] for one in found["status"]["conditions"] if one["type"] == "Ready"))

    def host_routes(self, node: str, family: str = "-4") -> set[str]:
        """Return the routes to single hosts that kubemtu has added on a node, by their destinations."""
        return {route["dst"] for route in json.loads(self.ip(node, family, "-json", "route", "show", "proto", "109"))}
