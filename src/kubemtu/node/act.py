"""Makes one node true to one row of the migration's table, whatever it is now; and says what it has reached.

Level-triggered: read, compare, write what differs, read again, until nothing differs. So the same call starts a
phase, carries on after a crash in the middle of it, corrects what somebody else changed, and does nothing when there
is nothing to do. Before the first write everything that may be changed is in the journal, on the disk.

A row with `moved` false leaves devices alone: pins can be put on or taken off safely around devices anywhere, but a
device may move only while all senders are pinned, which is what the rows with `moved` true are for.
"""

import time
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from kubemtu.core import migration
from kubemtu.core.errors import KubemtuError, NodeFailure
from kubemtu.node import errors, journal, links, netlink, netns, routes, state, steps, wanted

_ROUNDS: Final = 4  # one to write, one for what depends on it (bridge, IPv6 sysctl), one against a race, one to see

_PRUNE: Final = 0.9  # seconds between two searches for pods that ended without taking their link along


class Engine:
    """Keeps one node true to a Desired, through sockets that stay open between calls.

    Made and used in the network namespace of the node; any thread may call, one at a time. `trust` is for how many
    seconds a pod that this engine has read and found right need not be read again: 0 for calls that are far apart,
    more for phases that follow each other at once.
    """

    def __init__(self, known: journal.Journal, *, roots: netns.Roots | None = None, trust: float = 0.0) -> None:
        """Opens the node's socket in the calling thread's namespace. Raises Denied or Refused."""
        self.known = known
        self.state = state.State(roots or netns.Roots())
        self.notes: tuple[str, ...] = ()
        self._trust = trust
        self._pruned = time.monotonic()
        self._failures: dict[str, str] = {}
        self._examined: set[int] = set()  # host ends of the pods that this call is about
        self._stubborn: set[int] = set()  # host ends of ports whose ends the kernel refused in this call
        self._flushed: set[str] = set()  # owners whose learned path MTUs have been forgotten in this migration

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Closes the sockets; the journal stays open."""
        self.close()

    def close(self) -> None:
        """Lets go of every namespace."""
        self.state.close()

    def make_true(
        self, desired: migration.Desired, *, only: Collection[int] | None = None, node: bool = True
    ) -> migration.Reached:
        """Makes the node true to `desired.row`; with `only`, just the pods with those host indexes (and the node's
        own routes and devices, when `node`), as a listener asks for.

        Never raises for what one pod or link refuses: that is one of `failures`. Raises Denied without the
        capabilities, NodeFailure when the journal cannot be written or netlink does not answer.
        """
        started = time.monotonic()
        self._check_journal(desired)
        if only is None and started - self._pruned > _PRUNE:
            self.state.prune()  # our sockets would keep the namespaces of deleted pods alive
            self._pruned = started
        self._failures, self._stubborn, self._examined = {}, set(), set()
        changed = 0
        for turn in range(_ROUNDS):
            view = self._look(desired, only, node=node or turn > 0, again=turn > 0)
            refusals = self._refusals(view)
            if refusals:
                return self._reached(view, started, changed, refusals)
            stages = self._compare(view, node=node)
            if not stages:
                break
            if turn == _ROUNDS - 1:
                self._remain(stages)
                break
            self._failures = {}
            changed += sum(self._write(stage) for stage in stages)
        if desired.row.flush and only is None:
            self._flush(view)
        self.notes = tuple(view.notes())
        return self._reached(view, started, changed, [*self.state.lost.values(), *self._failures.values()])

    def _check_journal(self, desired: migration.Desired) -> None:
        if desired.migration != self.known.name:
            raise NodeFailure(f"the journal of {self.known.name} cannot hold what {desired.migration} changes")
        self.known.begin(desired)

    def _look(self, desired: migration.Desired, only: Collection[int] | None, *, node: bool, again: bool) -> steps.View:
        """Reads what may have changed, and records what has not been seen before."""
        self.state.find(desired.ports)
        now = time.monotonic()
        asked = self.state.pods.keys() if only is None else only
        pods = [
            pod
            for index, pod in self.state.pods.items()
            if pod.dirty or (index in asked and not again and now - pod.read_at > self._trust)
        ]
        self._examined.update(asked, (pod.host.index for pod in pods))
        self.state.read_pods(pods)
        if node:
            self.state.read_routes()
        view = steps.View(self.state, desired, self.known)
        present = [pod for pod in pods if pod.pod is not None]
        self.known.append(view.unrecorded(present))
        self.known.append(view.unrecorded_routes(present, node=node))
        return view

    def _refusals(self, view: steps.View) -> list[str]:
        ends = [
            (f"{pod.name}'s {end.name}" if end is pod.pod else end.name, end)
            for pod in self.state.pods.values()
            for end in (pod.pod, pod.host)
            if end is not None
        ]
        return wanted.refusals(view.desired, ends, self.state.devices)

    def _compare(self, view: steps.View, *, node: bool) -> list[list[steps.Step]]:
        stages = steps.Stages()
        for index, pod in self.state.pods.items():
            if index in self._examined:
                stages.add_pod(view, pod)
        if node:
            stages.add_node(view)
        return list(stages)

    def _remain(self, stages: Sequence[Sequence[steps.Step]]) -> None:
        """Turns what is still not as it must be into failures; a refusal of the kernel says more, and stays."""
        for stage in stages:
            for step in stage:
                self._failures.setdefault(str(step), f"{step}: written, but it does not stay; somebody else sets it")

    def _write(self, stage: Sequence[steps.Step]) -> int:
        """Writes one stage and returns how many settings were accepted."""
        edits = [step for step in stage if isinstance(step, steps.Edit)]
        confs = [step for step in stage if isinstance(step, steps.Conf)]
        changed = self._edit(edits) if edits else 0
        changed += self._configure(confs) if confs else 0
        for step in stage:
            if isinstance(step, steps.Ends):
                changed += self._set_ends(step)
            elif isinstance(step, steps.Move):
                changed += self._move(step)
        return changed

    def _edit(self, edits: Iterable[steps.Edit]) -> int:
        by_place: dict[state.Pod | None, list[steps.Edit]] = {}
        for edit in edits:
            by_place.setdefault(edit.pod, []).append(edit)
        changed = 0
        for pod, group in by_place.items():
            crowded = pod.shared if pod is not None else self.state.shared
            alone = [edit for edit in group if edit.seen.slot not in crowded] if crowded else group
            for edit in group if crowded else ():
                if edit.seen.slot in crowded:
                    self._failures[str(edit)] = (
                        f"{edit}: two routes have this destination and metric, and the kernel replaces either; "
                        "give one of them another metric"
                    )
            sock = pod.sock if pod is not None else self.state.sock
            answers = sock.exchange([routes.replay(edit.seen, edit.metrics) for edit in alone])
            for edit, answer in zip(alone, answers, strict=True):
                if answer.code == 0:
                    changed += 1
                elif answer.code not in errors.GONE:
                    self._refused(edit, answer)
            if pod is not None:
                pod.dirty = True
        return changed

    def _configure(self, confs: Sequence[steps.Conf]) -> int:
        writes = [(conf.pod, f"net/ipv6/conf/{conf.link}/mtu", str(conf.mtu)) for conf in confs]
        changed = 0
        for conf, result in zip(confs, self.state.write_all(writes), strict=True):
            if conf.pod is not None:
                conf.pod.dirty = True
            if result is None:
                changed += 1
            elif not (isinstance(result, OSError) and result.errno in errors.GONE):
                reason = result.strerror if isinstance(result, OSError) else result
                self._failures[str(conf)] = (
                    f"{conf}: {reason}; kubemtu must be able to write {self.state.roots.proc}/sys"
                )
        return changed

    def _move(self, step: steps.Move) -> int:
        (answer,) = self.state.sock.exchange([links.move(step.device.index, step.mtu)])
        if answer.code and answer.code not in errors.GONE:
            self._refused(step, answer)
        return int(answer.code == 0)

    def _set_ends(self, step: steps.Ends) -> int:
        """Sets both ends, the pod's first when it shrinks and the node's first when it grows (0.2 packets lost of
        16,000 even without pins, against 909-3005 the other way round), and never leaves one of them alone.
        """
        pod, end = step.pod, step.pod.pod
        if end is None or pod.host.index in self._stubborn:
            return 0
        pod.dirty = True
        inner = (pod.sock, end, step.pod_mtu)
        outer = (self.state.sock, pod.host, step.host_mtu)
        done: list[tuple[netlink.Socket, links.Device]] = []
        for sock, device, mtu in (inner, outer) if step.pod_mtu < end.mtu else (outer, inner):
            if device.mtu == mtu:
                continue
            (answer,) = sock.exchange([links.move(device.index, mtu)])
            if answer.code == 0:
                done.append((sock, device))
                continue
            if answer.code not in errors.GONE:
                self._stubborn.add(pod.host.index)
                self._refused(step, answer)
                for changed, before in done:
                    changed.exchange([links.move(before.index, before.mtu)])
            return 0
        return len(done)

    def _refused(self, step: steps.Step, answer: netlink.Answer) -> None:
        reason = errors.refusal(str(step), answer.code, answer.said, links.advice(answer.code))
        if isinstance(reason, errors.Denied):
            raise reason
        self._failures[str(step)] = str(reason)

    def _flush(self, view: steps.View) -> None:
        """Makes the kernel forget learned path MTUs, once per namespace and direction: for 600 s they would keep flows
        small after an increase. IPv4 has a sysctl for it, IPv6 takes the deletion of each.
        """
        suffix = " back" if view.desired.restore else ""
        places: list[state.Pod | None] = [None, *self.state.pods.values()]
        places = [pod for pod in places if (pod.owner if pod else journal.NODE) + suffix not in self._flushed]
        results = self.state.write_all([(pod, "net/ipv4/route/flush", "1") for pod in places])
        for pod, result in zip(places, results, strict=True):
            where = f"pod {pod.name} ({pod.host.name})" if pod else "node"
            try:
                if result is not None:
                    raise result
                sock = pod.sock if pod is not None else self.state.sock
                learned = routes.learned(sock, 6)
                if learned:
                    routes.forget(sock, learned)
            except (KubemtuError, OSError) as error:
                if pod is None or links.read(self.state.sock, pod.host.index) is not None:
                    self._failures[f"{where} flush"] = f"{where}: learned path MTUs could not be forgotten: {error}"
                continue
            self._flushed.add((pod.owner if pod else journal.NODE) + suffix)

    def _reached(self, view: steps.View, started: float, changed: int, failures: Sequence[str]) -> migration.Reached:
        """What was read last, summed up."""
        sends: list[int] = []
        accepts: list[int] = []
        for pod in self.state.pods.values():
            if pod.pod is not None:
                accepts.append(min(pod.host.mtu, pod.pod.mtu))
                sends += [wanted.sent(pod.pod, seen) for seen in pod.routes]
        for seen in (*view.overlay, *view.ports):
            sends += [wanted.sent(view.by_index[index], seen) for index in seen.devices if index in view.by_index]
        return migration.Reached(
            phase=view.desired.phase,
            restore=view.desired.restore,
            done=not failures,
            ports=len(self.state.pods),
            changed=changed,
            sends=max(sends, default=None),
            accepts=min(accepts, default=None),
            failures=tuple(failures),
            seconds=time.monotonic() - started,
        )


def make_true(
    desired: migration.Desired, *, directory: Path = journal.DIRECTORY, roots: netns.Roots | None = None
) -> migration.Reached:
    """Makes the node of the calling thread's namespace true to one Desired, once, with its journal in `directory`."""
    known = journal.Journal.open(desired.migration, directory)
    try:
        with Engine(known, roots=roots) as engine:
            return engine.make_true(desired)
    finally:
        known.close()
