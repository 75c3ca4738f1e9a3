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

import msgspec

from kubemtu.core.change import migration
from kubemtu.core.errors import KubemtuError, NodeFailure
from kubemtu.node import errors
from kubemtu.node.change import destinations, hosts, journal, state, steps, wanted
from kubemtu.node.change.view import View
from kubemtu.node.kernel import links, netlink, netns, remembered, routes

_ROUNDS: Final = 4  # one to write, one for what depends on it (bridge, IPv6 sysctl), one against a race, one to see

_NOTES: Final = 16  # sentences, as many as a NodeMTU takes
_GONE_MOST: Final = 64  # pods that are gone and still remembered
_PRUNE: Final = 0.9  # seconds between two searches for pods that ended without taking their link along


class Engine:
    """Keeps one node true to a Desired, through sockets that stay open between calls.

    Made and used in the network namespace of the node; any thread may call, one at a time. `trust` is for how many
    seconds a pod that this engine has read and found right need not be read again: 0 for calls that are far apart,
    more for phases that follow each other at once.
    """

    def __init__(self, known: journal.Journal, *, roots: netns.Roots | None = None, trust: float = 0.0) -> None:
        """Open the node's socket in the calling thread's namespace. Raises Denied or Refused."""
        self.known = known
        self.state = state.State(roots or netns.Roots())
        self.notes: tuple[str, ...] = ()
        self._trust = trust
        self._pruned = time.monotonic()
        self._failures: dict[str, str] = {}
        self._stubborn: dict[int, str] = {}  # host ends of ports whose ends the kernel refused in this call, and why
        self._vanished = False  # a pod went away during this call
        self._left: tuple[str, ...] = ()  # what is somebody else's, and was left
        self._flushed: set[str] = set()  # owners whose learned path MTUs have been forgotten in this migration

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the sockets; the journal stays open."""
        self.close()

    def close(self) -> None:
        """Let go of every namespace."""
        self.state.close()

    def make_true(
        self, desired: migration.Desired, *, only: Collection[int] | None = None, node: bool = True
    ) -> migration.Applied:
        """Make the node true to `desired.row`; with `only`, just the pods with those host indexes (and the node's
        own routes and devices, when `node`), as a listener asks for.

        Never raises for what one pod or link refuses: that is one of `failures`. Raises Denied without the
        capabilities, NodeFailure when the journal cannot be written or netlink does not answer.
        """
        started = time.monotonic()
        self._check_journal(desired)
        if only is None and started - self._pruned > _PRUNE:
            self.state.prune()  # our sockets would keep the namespaces of deleted pods alive
            self._pruned = started
        self._failures, self._stubborn, self._vanished = {}, {}, False
        view, pods = self._look(desired, only, node=node)
        outward = self.state.outward()
        refusals = wanted.refusals(desired, self.state.pods.values(), self.state.devices, outward)
        refusals += hosts.refusals(desired)
        if refusals:
            beyond = wanted.beyond(desired, self.state.devices, outward)
            reason = migration.OUTSIDE_POD_NETWORK if beyond else migration.OUT_OF_BOUNDS
            return msgspec.structs.replace(self._reached(view, started, 0, refusals), refused_reason=reason)
        changed, unpinned = 0, list[str]()
        if only is None:
            changed, unpinned, self._left = hosts.make_true(
                self.state.sock, self.known, desired, self.state.devices.values()
            )
        for turn in range(_ROUNDS):
            stages, ambiguous = self._compare(view, pods, node=node)
            if not stages:
                self._failures = ambiguous  # whatever was refused on the way, all else is as it must be
                break
            if turn == _ROUNDS - 1:
                self._remain(stages)
                break
            self._failures = ambiguous
            changed += self._write_all(stages)
            view, pods = self._look_again(view, stages)
            node = True
        if desired.row.flush and only is None:
            self._flush(view)
        if only is None:
            self._forget_gone()
        self.notes = tuple(view.notes())
        return self._reached(view, started, changed, [*self.state.lost.values(), *self._failures.values(), *unpinned])

    def _check_journal(self, desired: migration.Desired) -> None:
        if desired.migration != self.known.name:
            raise NodeFailure(f"the journal of {self.known.name} cannot hold what {desired.migration} changes")
        self.known.begin(desired)

    def _look(
        self, desired: migration.Desired, only: Collection[int] | None, *, node: bool
    ) -> tuple[View, list[state.PodState]]:
        """Read what may have changed since the last call, and record what has not been seen before."""
        self.state.find(desired.ports)
        asked = self.state.pods.keys() if only is None else only
        trusted = time.monotonic() - self._trust
        for index, pod in self.state.pods.items():
            if index in asked and pod.read_at <= trusted:
                pod.spoil()
        self.state.read_pods(pod for pod in self.state.pods.values() if pod.stale)
        if node:
            self.state.read_routes()
        pods = [pod for index, pod in self.state.pods.items() if index in asked or pod.read_at > trusted]
        return self._recorded(desired, pods, node=node), pods

    def _look_again(self, view: View, stages: Sequence[Sequence[steps.Step]]) -> tuple[View, list[state.PodState]]:
        """Read what has just been written, as far as the kernel has not shown it with its acceptance."""
        kinds = {type(stage[0]) for stage in stages}
        on_node = any(isinstance(stage[0], steps.Conf) and stage[0].pod is None for stage in stages)
        follows = steps.Ends in kinds and view.bridge is not None  # a bridge that nobody has set follows its ports
        if on_node or follows or steps.Move in kinds or self._vanished or self._stubborn:
            self.state.find(view.desired.ports)
        if self.state.stale_routes:
            self.state.read_routes()
        written = {step.pod for stage in stages for step in stage if not isinstance(step, steps.Move)}
        self.state.read_pods(pod for pod in self.state.pods.values() if pod in written and pod.stale)
        pods = [pod for pod in self.state.pods.values() if pod in written]
        return self._recorded(view.desired, pods, node=True), pods

    def _recorded(self, desired: migration.Desired, pods: Sequence[state.PodState], *, node: bool) -> View:
        view = View(self.state, desired, self.known)
        present = [pod for pod in pods if pod.pod is not None]
        self.known.append(view.unrecorded(present))
        self.known.append(view.unrecorded_routes(present, node=node))
        return view

    def _compare(
        self, view: View, pods: Iterable[state.PodState], *, node: bool
    ) -> tuple[list[list[steps.Step]], dict[str, str]]:
        """Return what is to be written, and the sentences about pins that cannot be."""
        stages = steps.Stages()
        for pod in pods:
            stages.add_pod(view, pod)
        if node:
            stages.add_node(view)
        sentence = "{}: two routes have this destination and metric, and the kernel replaces either; {}"
        advice = "give one of them another metric"
        return list(stages), {str(edit): sentence.format(edit, advice) for edit in stages.ambiguous}

    def _remain(self, stages: Sequence[Sequence[steps.Step]]) -> None:
        """Turn what is still not as it must be into failures; a refusal of the kernel says more, and stays."""
        for stage in stages:
            if self._failures and isinstance(stage[0], steps.Ends | steps.Move):
                break  # held back, see _write_all
            for step in stage:
                self._failures.setdefault(str(step), f"{step}: written, but it does not stay; somebody else sets it")

    def _write_all(self, stages: Sequence[Sequence[steps.Step]]) -> int:
        """Write the stages in their order, but move no device while a pin was refused: what it holds back is lost.

        Returns how many settings were accepted.
        """
        changed = 0
        for stage in stages:
            if self._failures and isinstance(stage[0], steps.Ends | steps.Move):
                break
            changed += self._write(stage)
        return changed

    def _write(self, stage: Sequence[steps.Step]) -> int:
        """Write one stage, which holds steps of one kind."""
        match stage[0]:
            case steps.Edit():
                return self._edit([step for step in stage if isinstance(step, steps.Edit)])
            case steps.Add() | steps.Remove():
                return self._reroute([step for step in stage if isinstance(step, steps.Add | steps.Remove)])
            case steps.Conf():
                return self._configure([step for step in stage if isinstance(step, steps.Conf)])
            case _:
                changed = sum(self._set_ends(step) for step in stage if isinstance(step, steps.Ends))
                return changed + sum(self._move(step) for step in stage if isinstance(step, steps.Move))

    def _edit(self, edits: Iterable[steps.Edit]) -> int:
        by_place: dict[state.PodState | None, list[steps.Edit]] = {}
        for edit in edits:
            by_place.setdefault(edit.pod, []).append(edit)
        changed = 0
        for pod, group in by_place.items():
            place = pod if pod is not None else self.state
            answers = place.sock.exchange([routes.replay(edit.seen, edit.metrics) for edit in group])
            for edit, answer in zip(group, answers, strict=True):
                if answer.code == 0:
                    changed += 1
                elif answer.code not in errors.GONE:
                    self._refused(edit, answer)
            place.take_routes(answers)
        return changed

    def _reroute(self, stage: Iterable[steps.Add | steps.Remove]) -> int:
        """Add routes to pods, or take away those that were added."""
        by_pod: dict[state.PodState, list[steps.Add | steps.Remove]] = {}
        for step in stage:
            by_pod.setdefault(step.pod, []).append(step)
        changed = 0
        for pod, group in by_pod.items():
            answers = pod.sock.exchange(
                [
                    destinations.towards(step.way, step.network, step.metrics)
                    if isinstance(step, steps.Add)
                    else destinations.removal(step.seen)
                    for step in group
                ]
            )
            pod.stale_routes = True
            for step, answer in zip(group, answers, strict=True):
                if answer.code == 0:
                    changed += 1
                elif answer.code not in errors.GONE:
                    self._refused(step, answer)
        return changed

    def _configure(self, confs: Sequence[steps.Conf]) -> int:
        writes = [(conf.pod, f"net/ipv6/conf/{conf.link}/mtu", str(conf.mtu)) for conf in confs]
        changed = 0
        for conf, result in zip(confs, self.state.write_all(writes), strict=True):
            if conf.pod is not None:
                conf.pod.stale_link = True
            if result is None:
                changed += 1
            elif not (isinstance(result, OSError) and result.errno in errors.GONE):
                reason = result.strerror if isinstance(result, OSError) else result
                self._failures[str(conf)] = (
                    f"{conf}: {reason}; kubemtu must be able to write below {self.state.roots.sysctl}/net"
                )
        return changed

    def _move(self, step: steps.Move) -> int:
        (answer,) = self.state.sock.exchange([links.move(step.device.index, step.mtu)])
        if answer.code and answer.code not in errors.GONE:
            self._refused(step, answer)
        return int(answer.code == 0)

    def _set_ends(self, step: steps.Ends) -> int:
        """Set both ends, the pod's first when it shrinks and the node's first when it grows (0.2 packets lost of
        16,000 even without pins, against 909-3005 the other way round), and never leaves one of them alone.
        """
        pod, end = step.pod, step.pod.pod
        if end is None:
            return 0
        if pod.host.index in self._stubborn:  # not again: between the ends' two changes packets are lost
            self._failures[str(step)] = self._stubborn[pod.host.index]
            return 0
        inner = (pod.sock, end, step.pod_mtu)
        outer = (self.state.sock, pod.host, step.host_mtu)
        pod.compared = None
        done: list[tuple[netlink.Socket, links.Device]] = []
        for sock, device, mtu in (inner, outer) if step.pod_mtu < end.mtu else (outer, inner):
            if device.mtu == mtu:
                continue
            answer, now = sock.exchange((links.move(device.index, mtu), links.ask(device.index)))
            if device is end:
                pod.take_link(now)
            else:
                self.state.take_host(pod, now)
            if answer.code == 0:
                done.append((sock, device))
                continue
            if answer.code in errors.GONE:
                self._vanished = True
            else:
                self._refused(step, answer)
                self._stubborn[pod.host.index] = self._failures[str(step)]
                for changed, before in done:
                    changed.exchange([links.move(before.index, before.mtu)])
                pod.stale_link = True
            return 0
        return len(done)

    def _refused(self, step: steps.Step, answer: netlink.Reply) -> None:
        reason = errors.refusal(str(step), answer.code, answer.said, links.advice(answer.code))
        if isinstance(reason, errors.Denied):
            raise reason
        self._failures[str(step)] = str(reason)

    def _flush(self, view: View) -> None:
        """Make the kernel forget learned path MTUs, once per namespace and direction: for 600 s they would keep flows
        small after an increase. IPv4 has a sysctl for it, IPv6 takes the deletion of each.
        """
        suffix = " back" if view.desired.restore else ""
        places: list[state.PodState | None] = [None, *self.state.pods.values()]
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

    def _forget_gone(self) -> None:
        """Let go of what is remembered of pods that are gone, once there are many: an agent lives for months."""
        if len(self.known.ports) > len(self.state.pods) + _GONE_MOST:
            self.known.forget_gone({device.index for device in self.state.devices.values()})
            kept = {journal.NODE, *(pod.owner for pod in self.state.pods.values())}
            self._flushed = {each for each in self._flushed if each.partition(" ")[0] in kept}
        remembered.trim(len(self.state.pods))

    def _reached(self, view: View, started: float, changed: int, failures: Sequence[str]) -> migration.Applied:
        """Return what was read last, summed up."""
        sends: list[int] = []
        accepts: list[int] = []
        for pod in self.state.pods.values():
            if pod.pod is not None:
                accepts.append(min(pod.host.mtu, pod.pod.mtu))
                sends += [pod.sends] if pod.sends is not None else []
        # Without a tunnel the next hop of an unpinned route is another node, which routes, and so tells the sender.
        direct = {index for index, device in view.by_index.items() if view.row.overlay or device is view.tunnel}
        for seen in view.overlay:
            sends += [state.sent(view.by_index[index], seen) for index in seen.devices if index in direct]
        for seen in view.ports:
            sends += [state.sent(view.by_index[index], seen) for index in seen.devices if index in view.by_index]
        return migration.Applied(
            phase=view.desired.phase,
            restore=view.desired.restore,
            done=not failures,
            pods=len(self.state.pods),
            settings_changed=changed,
            largest_sent=max(sends, default=None),
            smallest_accepted=min(accepts, default=None),
            sent_by_network=view.sent_by_network(),
            failures=tuple(failures),
            notes=(*self._left, *view.left())[:_NOTES],
            duration_seconds=time.monotonic() - started,
            pods_restored=view.restored(),
            not_restored=tuple(view.remains()),
        )


def make_true(
    desired: migration.Desired, *, directory: Path = journal.DIRECTORY, roots: netns.Roots | None = None
) -> migration.Applied:
    """Make the node of the calling thread's namespace true to one Desired, once, with its journal in `directory`."""
    known = journal.Journal.open(desired.migration, directory)
    try:
        with Engine(known, roots=roots) as engine:
            return engine.make_true(desired)
    finally:
        known.close()
