"""A case: what is wrong, and what the command must say of it, plan for it and make of it."""

from typing import NamedTuple

import pytest
from tests.support.scenes import faults
from tests.support.scenes.agreement import agree
from tests.support.scenes.cluster import Cluster, Told

from kubemtu_lab.scene import Scene


class Case(NamedTuple):
    """One row of a table.

    `found` are all findings and no others, each "CODE severity: place". `steps` is what the plan says, None where the
    plan is not looked at; `heals`: `kubemtu apply` must lead to a cluster without findings.
    """

    name: str
    fault: faults.Fault
    verdict: str
    found: tuple[str, ...]
    recommended: int = 1450
    says: tuple[str, ...] = ()  # words of messages and remedies
    steps: tuple[str, ...] | None = None
    heals: bool = False
    agrees: bool = True  # all commands are asked, and must give one cause and one remedy

    def __str__(self) -> str:
        return self.name


def judge(cluster: Cluster, case: Case) -> Told:
    """Hold the command against the row."""
    now = cluster.settle(case.found)
    assert (now.verdict, now.recommended_mtu) == (case.verdict, case.recommended), now.summary
    assert now.code == (0 if case.verdict == "healthy" else 1), now.code
    said = "\n".join([now.summary, *(f"{each.message} {each.remedy}" for each in now.findings)])
    for words in case.says:
        assert words in said, f"{words!r} is not in\n{said}"
    if case.agrees:
        agree(cluster)
    if case.steps is not None:
        planned = cluster.plan().lines
        if planned.count("live") == 2:  # a decrease: its pins come before everything, its devices where a case says
            assert planned.pop(0) == "live"
        assert tuple(planned) == case.steps, planned
    if case.heals:
        ended = cluster.apply()
        assert ended.code == 0, ended.err
        assert cluster.settle([]).verdict == "healthy"
        assert cluster.plan().lines == []
    return now


def each_on(*rows: tuple[Scene, tuple[Case, ...]]) -> pytest.MarkDecorator:
    """Run a test on labs, for the cases of each; a lab is started once for all of its cases."""
    return pytest.mark.parametrize(
        ("cluster", "case"),
        [(scene, case) for scene, cases in rows for case in cases],
        indirect=["cluster"],
        ids=[case.name for _, cases in rows for case in cases],
    )
