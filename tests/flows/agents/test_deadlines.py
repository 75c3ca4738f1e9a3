"""What those tell that tell is taken, and nobody waits for the dead."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from typing import cast

import pytest

from kubemtu.core import errors
from kubemtu.core.probe import request
from kubemtu.flows.agents import deadlines, events
from kubemtu.flows.agents.nodes import AgentWatch
from kubemtu.kube import api as kube_api
from kubemtu.kube.records import NodeMtu

BOTH = request.ProbeRequest(inspect=(request.Namespace(node="n1"), request.Namespace(node="n2")))
DONE = request.ProbeReport(ready=True, done=True)


class Heard(AgentWatch):
    """Nodes without a cluster: what they tell is put in by hand."""

    def put(self, name: str, told: request.ProbeReport | None, *, age: float = 0.0) -> None:
        """Have a node tell something, or nothing, some seconds ago."""
        answers = {"question": told} if told is not None else {}
        self._node_mtus[name] = NodeMtu(name=name, probes=answers, observed_at=time.time() - age)
        self._news.set()

    async def look_who_left(self) -> set[str]:
        return set(self._node_mtus)


class Line(deadlines.BestEffortClient):
    """Asks nobody, under a name that is known."""

    @contextlib.asynccontextmanager
    async def _made(self, probe_request: request.ProbeRequest) -> AsyncIterator[str]:
        yield "question"


class Timed:
    """A server of which nothing is asked but the time."""

    def now(self) -> float:
        """The time."""
        return time.time()


@pytest.fixture
def nodes(monkeypatch: pytest.MonkeyPatch) -> Heard:
    monkeypatch.setattr(deadlines, "LOOK", 0.01)
    monkeypatch.setattr(deadlines, "LEAST", 0.05)
    return Heard(None, events.silent)  # type: ignore[arg-type]  # no API is asked


@pytest.fixture
def line(nodes: Heard) -> Line:
    return Line(cast("kube_api.Api", Timed()), nodes, patience=0.3)


async def test_all_that_tell_are_heard(nodes: Heard, line: Line) -> None:
    nodes.put("n1", DONE)
    nodes.put("n2", DONE)
    assert await line.ask(BOTH) == {"n1": DONE, "n2": DONE}
    assert (line.late, line.errors) == (set(), ())


async def test_one_that_does_not_tell_is_named_and_the_other_is_taken(nodes: Heard, line: Line) -> None:
    nodes.put("n1", DONE)
    nodes.put("n2", None)
    assert await line.ask(BOTH) == {"n1": DONE}
    (trouble,) = line.errors
    assert trouble == (
        "the agent of node n2 does not answer: the node is down, cut off or too busy, or its kubemtu-agent does not "
        "run there or is older"
    )


async def test_it_is_not_waited_for_again(nodes: Heard, line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    nodes.put("n1", DONE)
    await line.ask(BOTH)
    monkeypatch.setattr(deadlines, "LEAST", 1000.0)
    assert await line.ask(BOTH) == {"n1": DONE}
    nodes.put("n2", DONE)
    assert await line.ask(BOTH) == {"n1": DONE, "n2": DONE}


async def test_who_tells_later_is_heard_all_the_same(nodes: Heard, line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deadlines, "LEAST", 1000.0)
    nodes.put("n1", DONE)
    nodes.put("n2", request.ProbeReport(ready=True))  # which is not all
    asked = asyncio.create_task(line.ask(BOTH))
    await asyncio.sleep(0.05)
    nodes.put("n2", DONE)
    assert await asked == {"n1": DONE, "n2": DONE}


async def test_when_nobody_tells_that_is_an_error(nodes: Heard, line: Line) -> None:
    nodes.put("n1", None)
    with pytest.raises(errors.Unreachable) as refused:
        await line.ask(BOTH)
    assert str(refused.value).startswith("the agent of node n1 and n2 did not answer what it was asked to measure; ")


async def test_a_pod_in_which_nobody_can_stand_keeps_nothing_back(nodes: Heard, line: Line) -> None:
    nodes.put("n1", DONE)
    async with line.responding([request.Namespace(node="n2", link="cali2")]) as missing:
        assert missing == ()
    assert line.late == {"n2"}


async def test_who_has_not_been_heard_of_for_long_is_not_given_all_the_time(nodes: Heard, line: Line) -> None:
    line._patience = 1000.0
    nodes.put("n1", None, age=40)
    nodes.put("n2", None, age=40)
    with pytest.raises(errors.Unreachable):
        await line.ask(BOTH)
