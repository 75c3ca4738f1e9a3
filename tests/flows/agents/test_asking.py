"""Asking the agents: what is waited for and how long, in how many questions, and that none is left behind."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager

import msgspec
import pytest

from kubemtu.core import errors
from kubemtu.core.objects import Ref
from kubemtu.core.path import verdict
from kubemtu.core.probe import request
from kubemtu.flows.agents import asking, events, retry
from kubemtu.flows.agents.nodes import AgentWatch
from kubemtu.kube import crd, mtu, probes
from kubemtu.kube.api import Api

As = Callable[[str], AbstractAsyncContextManager[Api]]
Answer = Callable[[str, request.ProbeRequest], request.ProbeReport | None]
"""What the agent of a node tells of an order; None: nothing, ever."""


class Cluster:
    """An API server, and agents made of a rule."""

    def __init__(self, api: Api, answer: Answer) -> None:
        self.api = api
        self.asked: dict[str, request.ProbeRequest] = {}
        self._answer = answer
        self._told: dict[str, set[str]] = {}

    async def agents(self) -> None:
        """Answer what is asked, until cancelled."""
        async with contextlib.aclosing(probes.follow(self.api)) as states:
            async for found in states:
                for name, one in found.items():
                    if one.request is not None and name not in self.asked:
                        self.asked[name] = one.request
                        await self._tell(name, one.request)

    async def _tell(self, name: str, asked: request.ProbeRequest) -> None:
        for node in request.nodes(asked):
            told = self._answer(node, asked)
            if told is not None:
                await mtu.set_status(self.api, node, probes={name: told})

    async def left(self) -> list[str]:
        """The names of the questions that are there now."""
        return [found.name for found in await self.api.list(probes.PROBES)]


def good(node: str, asked: request.ProbeRequest) -> request.ProbeReport:
    """An agent that measured everything, and found it in order."""
    fine = verdict.Verdict(kind="ok", mtu=1450, sentence="", expected=1450)
    results = tuple(request.PathResult(path=way.name, verdict=fine) for way in asked.paths if way.source.node == node)
    return request.ProbeReport(ready=True, done=True, results=results)


@contextlib.asynccontextmanager
async def cluster(as_user: As, answer: Answer = good, *nodes: str) -> AsyncIterator[Cluster]:
    """A cluster of these nodes, whose agents answer by a rule."""
    async with as_user("admin") as api:
        await crd.install(api)
        for name in nodes or ("n1", "n2"):
            await api.create({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}})
            await mtu.set_status(
                api, name, agent=mtu.AgentIdentity(version="1", pid=1, started_at="2026-11-26T12:00:00Z")
            )
        found = Cluster(api, answer)
        task = asyncio.create_task(found.agents())
        try:
            yield found
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


def way(number: int, node: str = "n1") -> request.PathRequest:
    return request.PathRequest(
        name=f"{node}-{number}", source=request.Namespace(node=node, link=f"cali{number}"), address="192.0.2.1"
    )


BOTH = request.ProbeRequest(paths=(way(1), way(1, "n2")))


async def test_all_are_waited_for_and_the_question_is_taken_away(as_user: As) -> None:
    async with cluster(as_user) as there, asking.asking(there.api) as line:
        heard: list[tuple[int, int]] = []
        found = await line.ask(BOTH, lambda told, of: heard.append((told, of)))
        assert {node: [one.path for one in told.results] for node, told in found.items()} == {
            "n1": ["n1-1"],
            "n2": ["n2-1"],
        }
        assert heard[-1] == (2, 2)
        assert await there.left() == []


async def test_only_those_are_waited_for_who_have_something_to_tell(as_user: As) -> None:
    def answer(node: str, asked: request.ProbeRequest) -> request.ProbeReport | None:
        return good(node, asked) if node == "n1" else None

    async with cluster(as_user, answer) as there, asking.asking(there.api) as line:
        assert (await line.ask(request.ProbeRequest(paths=(way(1),)))).keys() == {"n1"}
        assert await line.ask(request.ProbeRequest()) == {}


async def test_a_late_agent_is_one_clear_sentence(as_user: As) -> None:
    def answer(node: str, asked: request.ProbeRequest) -> request.ProbeReport | None:
        return good(node, asked) if node == "n1" else request.ProbeReport(ready=True)

    async with cluster(as_user, answer) as there, asking.asking(there.api, patience=6.0) as line:
        with pytest.raises(errors.Unreachable) as caught:
            await line.ask(BOTH)
        assert await there.left() == []
    assert caught.value.exit_code == 3
    assert str(caught.value) == (
        "the agent of node n2 did not answer what it was asked to measure within 6 s; see that the kubemtu-agent pod "
        "runs there, has no older version, and may read Secret kubemtu/kubemtu-probe (its log says so)"
    )


async def test_many_late_agents_are_a_sentence_that_stays_short(as_user: As) -> None:
    nodes = [f"n{number}" for number in range(1, 21)]
    asked = request.ProbeRequest(inspect=tuple(request.Namespace(node=node) for node in nodes))
    many = cluster(as_user, lambda _node, _asked: None, *nodes)
    async with many as there, asking.asking(there.api, patience=0.3) as line:
        with pytest.raises(errors.Unreachable, match=r"^the agent of node n1, n2, n3 and 17 more did not answer"):
            await line.ask(asked)


async def test_a_node_that_leaves_is_not_waited_for(as_user: As, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "GLANCE", 0.1)

    def answer(node: str, asked: request.ProbeRequest) -> request.ProbeReport | None:
        return good(node, asked) if node == "n1" else None

    async with cluster(as_user, answer) as there, asking.asking(there.api, patience=200.0) as line:
        waiting = asyncio.create_task(line.ask(BOTH))
        while not there.asked:
            await asyncio.sleep(0.01)
        await there.api.delete(Ref(api_version="v1", kind="Node", plural="nodes", name="n2"))
        async with asyncio.timeout(60):
            assert (await waiting).keys() == {"n1"}


async def test_a_question_is_taken_away_when_whoever_asks_gives_up(as_user: As) -> None:
    async with cluster(as_user, lambda _node, _asked: None) as there, asking.asking(there.api) as line:
        waiting = asyncio.create_task(line.ask(BOTH))
        while not there.asked:
            await asyncio.sleep(0.01)
        assert len(await there.left()) == 1
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert await there.left() == []


async def test_a_question_of_which_it_is_not_known_whether_it_came_is_taken_away(
    as_user: As, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The keyboard interrupts between the request and its answer."""
    put, came = probes.put, asyncio.Event()

    async def slow(api: Api, name: str, asked: request.ProbeRequest) -> None:
        await put(api, name, asked)
        came.set()
        await asyncio.sleep(60)

    monkeypatch.setattr(probes, "put", slow)
    async with cluster(as_user) as there, asking.asking(there.api) as line:
        waiting = asyncio.create_task(line.ask(BOTH))
        await came.wait()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert await there.left() == []


async def test_more_ways_than_one_object_holds_are_asked_in_parts(as_user: As) -> None:
    ways = [way(number, "n1" if number % 2 else "n2") for number in range(2345)]
    async with cluster(as_user) as there, asking.asking(there.api) as line:
        found = await line.paths(ways, request.ProbeRequest(inspect=(request.Namespace(node="n2"),), timeout_seconds=7))
        assert found.keys() == {one.name for one in ways}
        assert [len(asked.paths) for asked in there.asked.values()] == [1000, 1000, 345]
        assert {(asked.inspect, asked.timeout_seconds) for asked in there.asked.values()} == {
            ((request.Namespace(node="n2"),), 7)
        }
        assert await line.paths([]) == {}
        assert await there.left() == []


def test_what_is_asked_and_what_is_told_fit_into_what_etcd_takes() -> None:
    """1.5 MB (etcd, --max-request-bytes), of which a node's observation needs a part: names as long as they come."""
    pod = f"{'n' * 63}/{'p' * 63}"
    long = request.PathRequest(
        name=f"{pod} > {pod} over IPv6",
        source=request.Namespace(node="ip-10-100-100-100.eu-central-1.compute.internal", link="cali0123456789a"),
        address="fd00:1111:2222:3333:4444:5555:6666:7777",
        expected=1450,
        cap_at_expected=True,
    )
    hole = verdict.Verdict(
        kind="black hole",
        mtu=1404,
        expected=1450,
        sentence="1404 bytes arrive, and everything larger, up to 1450, vanishes without a word: connections hang once "
        "they send full-size packets",
        evidence=(
            "a packet of 1404 bytes arrived; 100 of 100 packets up to that size were answered",
            "1405 bytes were lost 12 times, in between those",
            "the kernel held 1450 bytes for this path before, 1450 after",
            "the interface at the other end has an MTU of 1450",
        ),
        advice="use an MTU of 1404 at both ends, or raise the link that is smaller to 1450; let ICMP type 3 code 4 "
        "pass as well, and ICMPv6 type 2",
    )
    told = request.ProbeReport(
        ready=True, done=True, results=(request.PathResult(path=long.name, verdict=hole),) * asking.CHUNK
    )
    assert len(msgspec.json.encode(request.ProbeRequest(paths=(long,) * asking.CHUNK))) < 750_000
    assert len(msgspec.json.encode(request.ProbeRequest(responders=(long.source,) * asking.RESPONDERS))) < 750_000
    assert len(msgspec.json.encode(told)) < 1_250_000


async def test_pods_answer_while_the_block_runs(as_user: As) -> None:
    def answer(node: str, asked: request.ProbeRequest) -> request.ProbeReport:
        return request.ProbeReport(
            ready=True, errors=(f"no station answers in a pod of {node}",) if node == "n2" else ()
        )

    spots = [request.Namespace(node=node, link="cali1") for node in ("n1", "n2", "n1")]
    async with cluster(as_user, answer) as there, asking.asking(there.api) as line:
        async with line.responding(spots) as missing:
            assert missing == ("no station answers in a pod of n2",)
            (asked,) = there.asked.values()
            assert asked.responders == tuple(spots[:2])
            assert len(await there.left()) == 1
        assert await there.left() == []
        with pytest.raises(errors.Surprise):
            async with line.responding(spots):
                raise errors.Surprise("whatever happens in the block")
        assert await there.left() == []
        async with line.responding([]) as missing:
            assert missing == ()
            assert await there.left() == []


async def test_more_pods_than_one_object_holds_answer_by_several(as_user: As, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "RESPONDERS", 10)
    spots = [request.Namespace(node="n1", link=f"cali{number}") for number in range(25)]
    async with cluster(as_user) as there, asking.asking(there.api) as line:
        async with line.responding(spots):
            assert [len(asked.responders) for asked in there.asked.values()] == [10, 10, 5]
            assert len(await there.left()) == 3
        assert await there.left() == []


async def test_where_the_kind_is_not_known_nobody_waits(as_user: As) -> None:
    """No agent can be there that measures, and trying again for two minutes would not bring it."""
    async with as_user("admin") as api, asking.asking(api) as line:
        with pytest.raises(errors.Unreachable) as caught:
            async with asyncio.timeout(60):
                await line.ask(BOTH)
    assert caught.value.exit_code == 3
    assert "does not know MTUProbe: the agents that measure are not installed, or are older; install the agents" in str(
        caught.value
    )


async def test_without_the_right_to_ask(as_user: As) -> None:
    async with cluster(as_user) as there, as_user("reader") as reader, AgentWatch.watching(there.api) as nodes:
        with pytest.raises(errors.Forbidden, match="reader may not create mtuprobes") as caught:
            await asking.ProbeClient(reader, nodes).ask(BOTH)
    assert caught.value.exit_code == 4


async def test_an_api_that_is_away_for_a_while_is_asked_again(as_user: As, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "PAUSE", 0.001)
    put, left = probes.put, 3
    said: list[events.Event] = []

    async def shaky(api: Api, name: str, asked: request.ProbeRequest) -> None:
        nonlocal left
        left -= 1
        if left == 1:
            await put(api, name, asked)  # it comes, and the answer gets lost
        if left > 0:
            raise errors.Unreachable("the server went away")
        await put(api, name, asked)

    monkeypatch.setattr(probes, "put", shaky)
    async with cluster(as_user) as there, AgentWatch.watching(there.api, said.append) as nodes:
        assert (await asking.ProbeClient(there.api, nodes).ask(BOTH)).keys() == {"n1", "n2"}
        assert len(there.asked) == 1
    assert [event.text for event in said] == ["the server went away; trying again for 120 s"]


async def test_what_others_told_is_not_taken_for_an_answer(as_user: As) -> None:
    def answer(node: str, asked: request.ProbeRequest) -> request.ProbeReport | None:
        return good(node, asked) if asked.paths else None

    async with cluster(as_user, answer) as there, asking.asking(there.api, patience=0.4) as line:
        told: Mapping[str, request.ProbeReport] = {"somebody-elses": request.ProbeReport(ready=True, done=True)}
        await mtu.set_status(there.api, "n1", probes=told)
        with pytest.raises(errors.Unreachable):
            await line.ask(request.ProbeRequest(inspect=(request.Namespace(node="n1"),)))
        async with asking.asking(there.api) as patient:
            assert (await patient.ask(BOTH)).keys() == {"n1", "n2"}
