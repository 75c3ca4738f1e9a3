"""One truth: whatever state a cluster is in, all commands give one cause and one remedy for it.

What `check`, `check --prove`, `probe`, `why`, `plan` and `relieve` rest on is gathered once, from the cluster as it is,
and each of them judges it as its command does.
"""

import asyncio
import contextlib
import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from tests.support.scenes.cluster import Cluster, measured

from kubemtu.core import errors
from kubemtu.core.remedy import Remedy
from kubemtu.core.rules import report
from kubemtu.flows import decide, observe
from kubemtu.flows.measure import mesh, why
from kubemtu.kube import api as kube_api
from kubemtu.kube import connect

SET = re.compile(r"[Ss]et it to (\d+)")
COMMAND = re.compile(r"`kubemtu (?:plan|apply|relieve)((?: --[a-z-]+(?: \d+)?)*)`")
OPTION = re.compile(r"--(mtu|nic-mtu) (\d+)")
SAME_PLACE = frozenset({"tunnel", "veth"})  # causes whose devices every command that sees them must name


class Views(NamedTuple):
    """What each command says of one state: its remedy, and every sentence in which it says what to do."""

    remedies: dict[str, Remedy | None]
    advice: dict[str, list[str]]
    plans: dict[str, int]  # the pod MTU that a command plans to lead to
    check: report.Report
    why: why.PathReport


async def _views(cluster: Cluster, here: str, there: str) -> Views:
    settings = connect.settings(str(cluster.lab.kubeconfig))
    async with kube_api.Api(settings) as api:
        snapshot = await observe.observe(api)
        measured, answer = await asyncio.gather(
            mesh.run(api, snapshot), why.why(api, here, there, namespace="default", flows=2)
        )
    checked, proven = decide.check(snapshot), decide.check(snapshot, proven=measured)
    plans: dict[str, int] = {}
    told = {
        "check": (checked.remedy, [one.remedy for one in checked.findings]),
        "check --prove": (proven.remedy, [one.remedy for one in proven.findings]),
        "probe": (measured.remedy, [fault.advice for layer in measured.layers for fault in layer.faults]),
        "why": (answer.diagnosis.remedy, [one.advice for one in answer.all if one.is_mtu == "yes"]),
    }
    with contextlib.suppress(errors.KubemtuError):  # one that refuses to plan leads nowhere else
        plans["plan"] = decide.plan(snapshot)[0].target
    if measured.between_nodes:
        plans["plan --nic-mtu"] = decide.plan(snapshot, None, measured.between_nodes)[0].target
    remedies = {name: one for name, (one, _) in told.items()}
    return Views(remedies, {name: said for name, (_, said) in told.items()}, plans, checked, answer)


def agree(cluster: Cluster, here: str = "pod-1a", there: str = "pod-2a") -> Views:
    """Hold the commands against each other, in the state that the cluster is in; returns what each said."""

    def look() -> Views:
        found = asyncio.run(_views(cluster, here, there))
        problems = list(_differences(found))
        assert not problems, "\n".join([*problems, str(found.remedies), str(found.plans)])
        return found

    return measured(look)


def _differences(found: Views) -> Iterator[str]:
    """Return what two commands say differently."""
    known = {name: one for name, one in found.remedies.items() if one is not None}
    measured = found.remedies["probe"]
    if (
        measured is None or measured.cause != "network" or measured.stated_by
    ):  # what interfaces show is all there is: every command that speaks of the pod network says the same
        yield from _unlike(known, ("cause", "mtu", "path_mtu", "stated_by"))
        yield from _unlike({name: one for name, one in known.items() if one.cause in SAME_PLACE}, ("devices",))
        aim, plan = found.remedies["check"], found.plans.get("plan")
        if aim is not None and plan is not None and aim.mtu != plan:
            yield f"check leads to {aim.mtu}, plan to {plan}"
        answer = found.why.diagnosis
        if answer.is_mtu == "yes" and found.check.verdict == "healthy":
            yield f"check is content ({found.check.summary}), and why is not: {answer.sentence}"
        if answer.remedy is not None and answer.remedy.cause == "none" and not answer.remedy.stated_by:
            yield f"why finds fault, and no cause: {answer.sentence} {answer.advice}"
    else:  # less gets through than interfaces say: who has measured says it, and check cannot know
        yield from _unlike({name: one for name, one in known.items() if name != "check"}, ("cause", "mtu", "path_mtu"))
        if measured.mtu != (plan := found.plans["plan --nic-mtu"]):
            yield f"probe leads to {measured.mtu}, plan --nic-mtu {measured.path_mtu} to {plan}"
    for name, said in found.advice.items():
        aim = found.remedies[name]
        if aim is not None:
            nic = found.check.layers[0].size if found.check.layers else 0
            yield from _numbers(name, said, aim, nic)


def _unlike(known: dict[str, Remedy], fields: Iterable[str]) -> Iterator[str]:
    for field in fields:
        values = {name: getattr(one, field) for name, one in known.items()}
        if len(set(values.values())) > 1:
            yield f"{field}: {values}"


def _numbers(name: str, said: Iterable[str], aim: Remedy, nic: int) -> Iterator[str]:
    """No command that is recommended leads elsewhere than the remedy; a key may be what the NIC has (Backend.MTU)."""
    for text in said:
        for number in SET.findall(text):
            if int(number) not in {aim.mtu, aim.path_mtu or nic}:
                yield f"{name} says to set {number}, and its remedy is {aim.mtu}: {text}"
        for options in COMMAND.findall(text):
            for option, number in OPTION.findall(options):
                wanted = aim.mtu if option == "mtu" else aim.path_mtu
                if int(number) != wanted:
                    yield f"{name} recommends --{option} {number}, and its remedy is {wanted}: {text}"
