"""Every sort of disturbance in two of the commands that change something; `scripts/kills.py` has all, at every line."""

import re
from collections.abc import Iterator

import pytest
from tests.support.change import every_line
from tests.support.change.cluster import Cluster, cluster, kill_agent
from tests.support.labs import until

from kubemtu_lab import scene as scenes
from kubemtu_lab.scenes import named

pytestmark = [pytest.mark.lab, pytest.mark.netns, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def lab(can_make_labs: None) -> Iterator[Cluster]:
    with cluster(scenes.resized(named("canal-1500"), nodes=2, pods=1), "every-line") as found:
        yield found


@pytest.mark.parametrize("act", every_line.ACTS)
def test_disturbed_in_each_way_it_ends_as_intended_or_as_before(
    lab: Cluster, act: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(every_line, "STOPPED", 0.0)
    subject = every_line.Subject(lab, every_line.ACTS[act])
    turn = list(every_line.ACTS).index(act)
    names = [name for number, name in enumerate(every_line.DISTURBANCES) if (number + turn) % 2 and name != "SIGKILL"]
    step = len(subject.lines) / len(names)  # SIGKILL has a test of its own
    for number, name in enumerate(names):
        subject.trial(name, subject.lines[int((number + 0.5) * step)], forward=bool((number + turn // 2) % 2))


def test_a_full_journal_stops_before_the_kernel_is_touched(lab: Cluster) -> None:
    """Nothing can be written down on one node: not one route or link of it changes, and it is said what to do."""
    before = lab.picture()
    lab.lab.exec("node-2", ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", "/run/kubemtu"])
    try:
        with_a_new_agent(lab, "node-2")  # whose folder is that
        lab.lab.exec("node-2", ["sh", "-c", "cat /dev/zero > /run/kubemtu/filler 2>/dev/null; true"])
        for words in (("apply", "--yes"), ("relieve", "--yes")):
            ended = lab.run(*words)
            assert ended.code == 8, ended.err
            assert re.match(
                r"error: node node-2, Record: (/host)?/run/kubemtu/canal-\S+.jsonl: No space left", ended.err
            )
            assert "nothing was changed after that: make room there" in ended.err
            assert before.differs(lab.picture()) == ""
            assert lab.locked() == []
        lab.lab.exec("node-2", ["rm", "/run/kubemtu/filler"])
        lab.done("apply", "--yes")
        lab.done("rollback", "--yes")
        assert before.differs(lab.picture()) == ""
    finally:
        lab.lab.exec("node-2", ["umount", "-l", "/run/kubemtu"])
        with_a_new_agent(lab, "node-2")
    lab.forget_migrations()


def with_a_new_agent(lab: Cluster, node: str) -> None:
    """End the agent of a node, and wait until its successor has told of the node."""

    def told_by() -> object:
        status = lab.node_mtu(node)["status"]
        assert isinstance(status, dict)
        return status["agent"]

    before = told_by()
    kill_agent(lab, node)
    until(lambda: told_by() != before, 60)
