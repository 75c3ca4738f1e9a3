"""Disturb a command of the lab at one printed line of it, resume, and look from outside whether it ended right.

Everything is looked at with tools that are not ours (`ip`, the API, files): the end must be what was intended or what
was before, byte for byte, with no route of kubemtu's left, and what was printed must have been true.
"""

import contextlib
import itertools
import json
import os
import re
import resource
import signal
import time
from collections.abc import Callable, Iterator, Sequence

import msgspec
from tests.support.change.cluster import NODE_MTUS, Cluster, Picture, agent_pid
from tests.support.change.command import Command, Ended, steps
from tests.support.labs import until

from kubemtu_lab import scene as scenes
from kubemtu_lab.scenes import named

DAEMONSET = "/apis/apps/v1/namespaces/kube-system/daemonsets/canal"
SCENES = {
    "decrease": scenes.resized(named("canal-1500"), nodes=2, pods=1),
    "increase": scenes.resized(named("canal-jumbo"), nodes=2, pods=1),
    "apart": scenes.Scene(  # sizes by destination: two nodes with jumbo frames and one without
        name="canal-apart",
        summary="",
        nodes=scenes.nodes(3, 1, scenes.Nic(mtu=9000)),
        cni=scenes.Canal(era="C", mtu=1450),
        version="v1.28.12",
    ).with_nics("node-3", scenes.Nic(mtu=1500)),
}
VICTIM = "node-2"
STOPPED = 5.0  # seconds of SIGSTOP: longer than an agent or a watch waits for anything
NOTHING = ("there is nothing to roll back", "no change is recorded any more", "was taken back already")


class Act(msgspec.Struct, frozen=True, kw_only=True):
    """One command that is disturbed: what is run, what makes the state it starts from, and what takes it back."""

    words: tuple[str, ...]
    first: tuple[str, ...] | None = None
    back: bool = False
    first_line: str = ""  # where to begin to disturb
    joins: bool = False  # what `first` has made is asked for once more, when a node has joined


ACTS = {
    "apply": Act(words=("apply", "--yes"), first_line="have written down"),
    "rollback": Act(words=("rollback", "--yes"), first=("apply", "--yes"), back=True, first_line="Taking back"),
    "relieve": Act(words=("relieve", "--yes", "--nic-mtu", "1404", "--hosts"), first_line="Now:"),
    "rollback of relief": Act(
        words=("rollback", "--yes"),
        first=("relieve", "--yes", "--nic-mtu", "1404", "--hosts"),
        back=True,
        first_line="Taking back",
    ),
}
APART = ("apply", "--yes", "--per-node", "--egress-mtu", "1500")
ACTS_APART = {
    "apply": Act(words=APART, first_line="have written down"),
    "rollback": Act(words=("rollback", "--yes"), first=APART, back=True, first_line="Taking back"),
    "apply once more": Act(words=APART, first=APART, joins=True, first_line="is in force"),
}


def acts(scene: str) -> dict[str, Act]:
    """Return the commands to disturb in that scene: an increase has no relief."""
    if scene == "apart":
        return ACTS_APART
    return {name: act for name, act in ACTS.items() if scene != "increase" or "reli" not in name}


class Wrong(Exception):
    """What was seen from outside is neither what was intended nor what was before, or something said is not true."""


# Each is done to a command that has just printed a line, and says whether the command is to go on by itself.


def kill(_lab: Cluster, command: Command) -> bool:
    """Kill the process, so that it is gone at once."""
    command.kill(signal.SIGKILL)
    return False


def terminate(_lab: Cluster, command: Command) -> bool:
    """As a supervisor, or a CI that has waited long enough, ends it."""
    command.kill(signal.SIGTERM)
    return False


def interrupt(_lab: Cluster, command: Command) -> bool:
    """As Ctrl-C does."""
    command.kill(signal.SIGINT)
    return False


def stop(lab: Cluster, command: Command) -> bool:
    """As a laptop that is closed for a while; what was said last is looked at meanwhile."""
    if not command.stop():
        return True
    began = time.monotonic()
    try:
        false = [text for text in untrue(lab, command.lines) if text]
    finally:
        time.sleep(max(0.0, STOPPED - (time.monotonic() - began)))
        command.go_on()
    if false:
        raise Wrong(f"said and not true: {false}")
    return True


def close(_lab: Cluster, command: Command) -> bool:
    """Whoever read the output has gone."""
    command.stop_reading()
    return True


def fill_output(_lab: Cluster, command: Command) -> bool:
    """Fill the device that the output goes to, from now on."""
    command.kill(signal.SIGUSR1)
    return True


def kill_agent(lab: Cluster, _command: Command) -> bool:
    """Kill the agent of a node; its kubelet starts another."""
    pid = agent_pid(lab, VICTIM)
    if pid is not None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return True


def fill_disk(lab: Cluster, _command: Command) -> bool:
    """No file of an agent grows by a byte any more, as on a disk that is full: not even into the room of a block."""
    pid = agent_pid(lab, VICTIM)
    if pid is not None:
        held = journals(lab, VICTIM)
        size = max((len(text.encode()) for text in held.values()), default=0)
        with contextlib.suppress(ProcessLookupError):
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
    return True


DISTURBANCES: dict[str, Callable[[Cluster, Command], bool]] = {
    "SIGKILL": kill,
    "SIGTERM": terminate,
    "SIGINT": interrupt,
    "SIGSTOP": stop,
    "closed stdout": close,
    "full stdout": fill_output,
    "dead agent": kill_agent,
    "full journal": fill_disk,
}


def journals(lab: Cluster, node: str) -> dict[str, str]:
    """Return the journals that lie on a node, by the name of their change."""
    script = 'for file in /run/kubemtu/*.jsonl; do [ -e "$file" ] || continue; echo "@ $file"; cat "$file"; done'
    text = lab.lab.exec(node, ["sh", "-c", script]).stdout
    parts = [part.partition("\n") for part in text.split("@ /run/kubemtu/")[1:]]
    return {name.removesuffix(".jsonl"): rest for name, _, rest in parts}


def ipv4_senders(lab: Cluster) -> dict[str, int]:
    """Return the largest packet that each pod's route and link let out, by pod: read with `ip`."""
    found = {}
    for pod in lab.pods():
        inside = ["ip", "-n", pod["netns"], "-j"]
        routes = json.loads(lab.lab.exec(pod["node"], [*inside, "-4", "route"]).stdout)
        (link,) = json.loads(lab.lab.exec(pod["node"], [*inside, "link", "show", "eth0"]).stdout)
        own = [int(mtu) for route in routes for one in route.get("metrics", ()) if (mtu := one.get("mtu"))]
        found[f"{pod['node']} {pod['netns']}"] = min(link["mtu"], max(own)) if len(own) == len(routes) else link["mtu"]
    return found


def untrue(lab: Cluster, lines: Sequence[str]) -> Iterator[str]:
    """Return what the last of these lines says and the cluster does not show; nothing where all is as it says."""
    last = lines[-1]
    if (found := re.match(r"(\d+) nodes have written down", last)) is not None:
        for node in lab.nodes:
            held = journals(lab, node)
            pods = sum(pod["node"] == node for pod in lab.pods())
            if not any(text.count('"entry":"port"') >= pods and '"entry":"began"' in text for text in held.values()):
                yield f"{last}, and {node} has {held.keys()}"
    elif (found := re.search(r"PinPorts +pods and nodes send at most (\d+)", last)) is not None:
        yield from _larger(lab, last, int(found[1]))
    elif (found := re.search(r"Devices +both ends of every veth go to (\d+)(?: and (\d+))?", last)) is not None:
        if lab.mtus() != {(int(size), int(size)) for size in found.groups() if size}:
            yield f"{last}, and {lab.mtus()}"
    elif "all are ready" in last:
        status = lab.kube.get(DAEMONSET)["status"]
        assert isinstance(status, dict)
        if status["numberReady"] != status["desiredNumberScheduled"]:
            yield f"{last}, and {status}"
    elif "no pin is left" in last and "but those" not in last and (locked := lab.locked()):
        yield f"{last}, and {locked}"
    elif (found := re.match(r"pins hold on \d+ nodes: \d+ pods and the nodes send at most (\d+)", last)) is not None:
        yield from _larger(lab, last, int(found[1]))


def _larger(lab: Cluster, said: str, most: int) -> Iterator[str]:
    if larger := {pod: size for pod, size in ipv4_senders(lab).items() if size > most}:
        yield f"{said}, and {larger}"


def bare(picture: Picture) -> Picture:
    """Return the same without what every run names anew: the change, and how many have driven it."""
    specs = {
        name: {key: value for key, value in spec.items() if key not in {"migration", "epoch"}}
        if isinstance(spec, dict)
        else spec
        for name, spec in picture.specs.items()
    }
    return msgspec.structs.replace(picture, specs=specs, unfinished=tuple("one" for _ in picture.unfinished))


class Subject:
    """One lab and one act in it: what all looks like before and after, and at which lines to disturb."""

    def __init__(self, lab: Cluster, act: Act) -> None:
        self.lab = lab
        self.act = act
        self.untouched = self.picture()
        self._prepare()
        self.before = self.picture()
        command = lab.start(*act.words)
        assert command.wait().code == 0, command.lines
        self.after = self.picture()
        assert self.after.differs(self.before)
        begin = next(place for place, line in enumerate(command.lines) if act.first_line in line)
        self.lines = [place for place, _later in steps(command, begin)]
        self.clean_up()

    def _prepare(self) -> None:
        if self.act.first is not None:
            self.lab.done(*self.act.first)
        if self.act.joins:
            self._join()

    def _join(self) -> None:
        """Make the victim a node that joined now: nothing is asked of it, its pods are as they were born."""
        self.lab.kube.merge(f"{NODE_MTUS}/{VICTIM}", {"spec": None})
        until(lambda: not self.lab.node_mtu(VICTIM).get("status", {}).get("applied"))  # type: ignore[attr-defined]  # JSON
        for pod in self.lab.pods():
            if pod["node"] == VICTIM:
                inside = ("ip", "-n", pod["netns"], "route")
                self.lab.lab.exec(VICTIM, [*inside, "flush", "proto", "109"])
                default = ("default", "via", "169.254.1.1", "dev", "eth0", "proto", "static")
                self.lab.lab.exec(VICTIM, [*inside, "replace", *default])

    def picture(self) -> Picture:
        """Everything that a change touches, now."""
        return bare(self.lab.picture())

    def clean_up(self) -> None:
        """Lead the lab to where it was at first, and let nothing remember."""
        if self.untouched.differs(self.picture()):
            self.lab.done("rollback", "--yes")
        until(lambda: self.untouched.differs(self.picture()) == "", 60)
        self.lab.forget_migrations()

    def trial(self, name: str, line: int, *, forward: bool) -> str:
        """Disturb at that line, resume (forward: by the same command), and judge; say what came of it. Raises Wrong."""
        self._prepare()
        command = self.lab.start(*self.act.words)
        if not command.until_line(line):
            command.wait()
            said = "it had ended"
        else:
            goes_on = DISTURBANCES[name](self.lab, command)
            ended = command.wait(180.0)
            self._judge_words(name, ended, goes_on=goes_on)
            said = f"exit {ended.code}{f', {ended.err.strip().splitlines()[-1][:150]}' if ended.err.strip() else ''}"
        if name == "full journal":
            self._make_room()
        resumed = self._resume(command.wait().code in {0, 74}, forward=forward)
        self.clean_up()
        return f"{said}; {resumed}"

    def _make_room(self) -> None:
        """Take the limit away, or have another agent."""
        pid = agent_pid(self.lab, VICTIM)
        if pid is not None:
            with contextlib.suppress(ProcessLookupError):
                resource.prlimit(pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))

    def _judge_words(self, name: str, ended: Ended, *, goes_on: bool) -> None:
        """Hold the exit code, and the sentence that it comes with, against what the cluster shows."""
        if "Traceback" in ended.err or ended.code == 70:
            raise Wrong(f"a bug: {ended.err}")
        wanted = {
            "SIGKILL": {-signal.SIGKILL, 0},
            "SIGTERM": {130, -signal.SIGTERM, 0},
            "SIGINT": {130, 0},
            "full stdout": {74, 0},
            "full journal": {0, 8},
        }.get(name, {0})
        if ended.code not in wanted:
            raise Wrong(f"exit code {ended.code} after {name}: {ended.err} {ended.lines[-3:]}")
        if goes_on and ended.code not in {0, 74} and not ended.err.startswith("error: "):
            raise Wrong(f"no sentence: {ended.err}")
        if name in {"closed stdout", "full stdout"} and ended.code and "warning: stdout takes no more" not in ended.err:
            raise Wrong(f"not said that nobody reads: {ended.err}")
        if ended.code == 130 and self.act.back and "kubemtu apply" in ended.err:
            raise Wrong(f"what is being taken back is refused to `apply`: {ended.err}")
        if ended.code == 130 and "every pin is on and stays" in ended.err:
            low = min(int(size) for size in re.findall(r"send at most (\d+)", ended.out))
            larger = {pod: size for pod, size in ipv4_senders(self.lab).items() if size > low}
            if larger:
                raise Wrong(f"{ended.err}, and {larger}")
        if ended.code == 8 and "nothing was changed" in ended.err.lower() and "PinP" not in ended.out:
            difference = self.before.differs(self.picture())
            if difference and "unfinished" not in difference and "specs" not in difference:
                raise Wrong(f"{ended.err}, and {difference}")

    def _resume(self, done: bool, *, forward: bool) -> str:
        if not done and (forward or self.act.back):
            again = self.lab.run(*self.act.words)
            if again.code != 0 and not any(text in again.err for text in NOTHING):
                raise Wrong(f"{self.act.words} again: exit {again.code}, {again.err} {again.lines[-3:]}")
            done = True
        if done:
            self._is_at(self.after, "the intended state")
            return "as intended"
        back = self.lab.run("rollback", "--yes")
        if back.code != 0 and not any(text in back.err for text in NOTHING):
            raise Wrong(f"rollback: exit {back.code}, {back.err} {back.lines[-3:]}")
        self._is_at(self.untouched if self.act.joins else self.before, "the state before")
        return "as before"

    def _is_at(self, picture: Picture, what: str) -> None:
        difference = ""

        def there() -> bool:
            nonlocal difference
            difference = picture.differs(self.picture())
            return difference == ""

        try:
            until(there, 60)
        except TimeoutError:
            raise Wrong(f"not {what}: {difference}") from None


def trials(subject: Subject, names: Sequence[str], lines: Sequence[int]) -> Iterator[tuple[str, int, bool]]:
    """Every disturbance at each of these lines, resumed forwards and backwards by turns."""
    turn = itertools.cycle((True, False))
    for line in lines:
        for name in names:
            yield name, line, next(turn)
