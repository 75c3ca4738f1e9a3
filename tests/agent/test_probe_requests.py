"""The measuring half of an agent by itself, against an API server that says strange things."""

import asyncio
import base64
import contextlib
import datetime as dt
import json
import logging
import random
import socket
from collections.abc import AsyncIterator, Callable, Mapping

import httpx2
import pytest

from kubemtu.agent import prober
from kubemtu.agent.agent import persist
from kubemtu.core.probe import request
from kubemtu.kube.api import Api
from kubemtu.node.kernel import netns
from kubemtu.node.probe import measuring, namespaces

Scripted = Callable[..., tuple[Api, list[httpx2.Request]]]
Body = dict[str, object]

SECRET = "/api/v1/namespaces/kubemtu/secrets/kubemtu-probe"
COLLECTION = "/apis/kubemtu.io/v1alpha1/mtuprobes"
SERVED: Body = {
    "GET /apis/kubemtu.io/v1alpha1": {
        "resources": [{"kind": "MTUProbe", "name": "mtuprobes", "namespaced": False}],
    },
    f"GET {SECRET}": {
        "kind": "Secret",
        "metadata": {"name": "kubemtu-probe", "namespace": "kubemtu"},
        "data": {"key": base64.b64encode(b"a key of sixteen").decode()},
    },
}
LOOK: Body = {"inspect": [{"node": "n1"}]}
FORBIDDEN = (403, "Forbidden", 'mtuprobes is forbidden: User "agent" cannot list resource "mtuprobes"')


def probe(name: str, spec: object = LOOK, age: float = 0.0) -> Body:
    """An MTUProbe that was made so many seconds ago."""
    made = dt.datetime.now(dt.UTC) - dt.timedelta(seconds=age)
    return {"metadata": {"name": name, "creationTimestamp": made.isoformat(timespec="seconds")}, "spec": spec}


def listed(*items: Body) -> Body:
    return {"kind": "MTUProbeList", "metadata": {"resourceVersion": "5"}, "items": list(items)}


def deleted(name: str) -> bytes:
    told = {"type": "DELETED", "object": {"metadata": {"name": name, "resourceVersion": "6"}}}
    return json.dumps(told).encode() + b"\n"


def unused() -> int:
    """A UDP and TCP port that nobody has, of those that the kernel gives nobody who takes any (ip-sysctl: 32768 on)."""
    while True:
        with contextlib.suppress(OSError), socket.create_server(("", random.randrange(20_000, 32_000))) as found:
            return int(found.getsockname()[1])


class Half:
    """A prober of node n1, and what it has told so far."""

    def __init__(self, api: Api, port: int) -> None:
        self.told: list[tuple[str, request.ProbeReport | None]] = []
        self.prober = prober.Prober(
            api=api,
            node="n1",
            namespace="kubemtu",
            pods=namespaces.PodNamespaces(netns.Roots()),
            on_report=self._tell,
            port=port,
        )

    def _tell(self, told: Mapping[str, request.ProbeReport | None]) -> None:
        self.told += told.items()

    @property
    def done(self) -> dict[str, request.ProbeReport]:
        """What was told to its end, by the question's name."""
        return {name: one for name, one in self.told if one is not None and one.done}

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(60):
            while not holds():
                await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def half(scripted: Scripted, answers: Body, *, port: int = 0) -> AsyncIterator[Half]:
    """Run the measuring half while the block does."""
    api, _ = scripted(SERVED | answers)
    async with api:
        found = Half(api, port)
        task = asyncio.create_task(found.prober.run(persist))
        try:
            yield found
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


async def test_an_old_question_is_nobodys_any_more(scripted: Scripted) -> None:
    """It is taken away after ten minutes; whoever asked has long since gone."""
    async with half(
        scripted, {f"GET {COLLECTION}": [listed(probe("old", age=660), probe("young", age=540)), b""]}
    ) as n1:
        await n1.until(lambda: "young" in n1.done)
        await asyncio.sleep(0.2)
    assert n1.done.keys() == {"young"}


async def test_a_question_that_cannot_be_read_does_no_harm(
    scripted: Scripted, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "kubemtu.agent")
    strange = [
        probe("a", {"inspect": 7}),
        probe("b", "nonsense"),
        probe("c", {"paths": [{"name": "x"}]}),
        probe("d", None),
    ]
    again = listed(*strange, probe("good"), probe("better"))
    answers = [listed(*strange, probe("good")), (410, "Expired", "too old"), again, b""]
    async with half(scripted, {f"GET {COLLECTION}": answers}) as n1:
        await n1.until(lambda: {"good", "better"} <= n1.done.keys())
    assert n1.done.keys() == {"good", "better"}
    said = [record.getMessage() for record in caplog.records if "cannot be read" in record.getMessage()]
    assert len(said) == 3  # each once, however often they are seen; one without a spec asks for nothing
    assert said[0].startswith("MTUProbe a cannot be read: Expected `array`, got `int`")


async def test_a_question_for_other_nodes_is_left_to_them(scripted: Scripted) -> None:
    other: Body = {"inspect": [{"node": "n2"}], "responders": [{"node": "n3", "link": "cali1"}]}
    async with half(scripted, {f"GET {COLLECTION}": [listed(probe("theirs", other), probe("ours")), b""]}) as n1:
        await n1.until(lambda: "ours" in n1.done)
    assert {name for name, _ in n1.told} == {"ours"}


async def test_an_answer_is_forgotten_with_its_question(scripted: Scripted) -> None:
    answers = [listed(probe("p1"), probe("p2")), deleted("p1"), b""]
    async with half(scripted, {f"GET {COLLECTION}": answers}) as n1:
        await n1.until(lambda: ("p1", None) in n1.told and "p2" in n1.done)
    assert n1.told[-1] != ("p2", None)


async def test_what_was_taken_away_while_nobody_watched_is_forgotten(scripted: Scripted) -> None:
    answers = [listed(probe("p1"), probe("p2")), (410, "Expired", "too old"), listed(probe("p2")), b""]
    async with half(scripted, {f"GET {COLLECTION}": answers}) as n1:
        await n1.until(lambda: ("p1", None) in n1.told and "p2" in n1.done)
    assert [name for name, one in n1.told if one is not None].count("p2") == 1  # it is not measured twice


async def test_what_does_not_end_in_its_time_is_said(scripted: Scripted) -> None:
    """Sixteen members, and a packet every ten seconds (RFC 5737: nobody is there)."""
    members = [{"node": f"n{place}", "address": f"198.51.100.{place}"} for place in range(1, 17)]
    spec: Body = {"mesh": {"members": members, "expected": 1500, "packetsPerSecond": 0.1}, "timeoutSeconds": 1}
    async with half(scripted, {f"GET {COLLECTION}": [listed(probe("slow", spec)), b""]}) as n1:
        await n1.until(lambda: "slow" in n1.done)
    assert n1.done["slow"].errors == ("node n1 did not finish within 1 s",)


async def test_without_the_right_to_hear_questions_it_asks_for_it_again(
    scripted: Scripted, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An agent that is newer than its ClusterRole does everything else."""
    monkeypatch.setattr(prober, "KEY_AGAIN", 0.01)
    caplog.set_level(logging.WARNING, "kubemtu.agent")
    answers = [FORBIDDEN, FORBIDDEN, FORBIDDEN, listed(probe("p1")), b""]
    async with half(scripted, {f"GET {COLLECTION}": answers}) as n1:
        await n1.until(lambda: "p1" in n1.done)
    said = [record.getMessage() for record in caplog.records if record.getMessage().startswith("nothing can be asked")]
    assert len(said) == 1
    assert "agent may not list mtuprobes" in said[0]


@pytest.mark.netns
async def test_without_the_key_echo_is_what_there_is(
    can_make_labs: None, scripted: Scripted, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "kubemtu.agent")
    refused = (403, "Forbidden", 'secrets "kubemtu-probe" is forbidden: User "dev" cannot get resource "secrets"')
    spec: Body = {"paths": [{"name": "self", "from": {"node": "n1"}, "address": "127.0.0.1", "expected": 1500}]}
    answers: Body = {f"GET {SECRET}": refused, f"GET {COLLECTION}": [listed(probe("p1", spec)), b""]}
    async with half(scripted, answers) as n1:
        await n1.until(lambda: "p1" in n1.done)
    (result,) = n1.done["p1"].results
    assert (result.protocol, result.verdict.kind) == ("ICMP echo", "ok")
    assert "without the cluster's key, paths are measured by ICMP echo only" in caplog.text


async def test_the_key_that_comes_later_is_taken_up(scripted: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two nodes' halves, one has no key at first; then each answers the other."""
    monkeypatch.setattr(prober, "KEY_AGAIN", 0.01)
    refused = (403, "Forbidden", 'secrets "kubemtu-probe" is forbidden')
    path: Body = {"name": "self", "from": {"node": "n1"}, "address": "127.0.0.1", "expected": 1500}

    async def measured(port: int) -> str:
        asked: Body = {
            f"GET {COLLECTION}": [listed(probe("p1", {"paths": [path | {"port": port, "icmpFallback": False}]})), b""]
        }
        async with half(scripted, asked) as n1:
            await n1.until(lambda: "p1" in n1.done)
        return n1.done["p1"].results[0].verdict.kind

    answers: Body = {f"GET {SECRET}": [refused, refused, SERVED[f"GET {SECRET}"]], f"GET {COLLECTION}": [listed(), b""]}
    port = unused()
    async with half(scripted, answers, port=port), asyncio.timeout(60):
        while await measured(port) != "ok":
            pass


async def test_a_bug_is_told_and_keeps_nobody_waiting(
    scripted: Scripted, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(measuring.Measuring):
        def carry_out(self, asked: request.ProbeRequest) -> request.ProbeReport:
            raise ZeroDivisionError("nobody thought of that")

    monkeypatch.setattr(measuring, "Measuring", Broken)
    async with half(scripted, {f"GET {COLLECTION}": [listed(probe("p1")), b""]}) as n1:
        await n1.until(lambda: "p1" in n1.done)
    assert n1.done["p1"].errors == ("node n1 could not measure: ZeroDivisionError('nobody thought of that')",)
