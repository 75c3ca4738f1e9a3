"""What kubemtu keeps in the API comes back whole: with every field that a record has, and with none but those it must.

A server drops what a definition does not name, and nulls on some ways; a merge patch takes away what is null and keeps
what is not named. So each record goes in full, then with as little as there can be, then in full again.
"""

import enum
import types
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

import msgspec
import pytest

from kubemtu.core import net
from kubemtu.core.change import migration as phases
from kubemtu.core.change import plan, undo
from kubemtu.core.cluster import policy
from kubemtu.core.probe import request
from kubemtu.kube import crd, mtu, probes, records
from kubemtu.kube.api import Api

As = Callable[[str], AbstractAsyncContextManager[Api]]
T = TypeVar("T")
MOMENT = "2026-11-23T12:00:00Z"
# What the type of a field does not say: bounds of the definitions, forms of texts, sums that must be right.
NAMED: dict[str, dict[type, Any]] = {
    "expires": {str: "2027-01-31T00:00:00Z"},
    "flows": {int: 7},
    "last_transition_time": {str: MOMENT},
    "link": {str: "cali1"},
    "measured": {int: 8},
    "observed_at": {float: 1795435200.25},
    "ok": {int: 7},
    "release_time": {str: MOMENT},
    "renew_time": {str: MOMENT},
    "schema": {str: plan.SCHEMA},
    "started_at": {str: MOMENT},
    "time": {str: MOMENT},
}
SIMPLE: dict[type, Any] = {bool: True, int: 1400, float: 0.25, str: "word"}
LOOKED_INTO = ("pod_mtu",)  # an agent looks into every pod that it tells of: only others leave it open
Amount = Literal["all", "least", "none"]


@pytest.fixture
async def api(as_user: As) -> AsyncIterator[Api]:
    async with as_user("admin") as open_api:
        await crd.install(open_api)
        yield open_api


def record(kind: type[T], amount: Amount) -> T:
    """Return a record with every field set, and unlike its default; or with nothing in it that need not be.

    Of "least" the lists have one item with nothing in it that need not be, and of "none" no item.
    """
    hints, made = get_type_hints(kind), {}
    for field in msgspec.structs.fields(cast("Any", kind)):
        listed = get_origin(hints[field.name]) is tuple
        if (amount == "none" and not field.required) or (amount == "least" and not (field.required or listed)):
            continue
        value = _value(hints[field.name], field.name, amount)
        made[field.name] = not field.default if isinstance(value, bool) and not field.required else value
    return kind(**made)


def _value(kind: Any, name: str, amount: Amount) -> Any:
    inner = get_args(kind)
    if type(None) in inner:
        if amount != "all" and name not in LOOKED_INTO:
            return None
        return _value(next(each for each in inner if each is not type(None)), name, amount)
    if get_origin(kind) is Literal:
        return inner[-1]
    if get_origin(kind) is tuple:
        return _items(inner, name, amount)
    if get_origin(kind) is dict:
        return {_value(inner[0], "", amount): _value(inner[1], "", amount)} if amount == "all" else {}
    if issubclass(kind, msgspec.Struct):
        return record(kind, amount)
    if issubclass(kind, enum.Enum):
        return list(kind)[-1]
    return NAMED.get(name, SIMPLE).get(kind, SIMPLE[kind])


def _items(inner: tuple[Any, ...], name: str, amount: Amount) -> tuple[Any, ...]:
    """Return the items of a tuple; of a list of several sorts of things, one of each."""
    if inner[-1] is not ...:
        return tuple(_value(each, name, amount) for each in inner)
    sorts = get_args(inner[0]) if get_origin(inner[0]) in (Union, types.UnionType) else inner[:1]
    return tuple(None if each is type(None) else _value(each, name, amount) for each in sorts if amount != "none")


AMOUNTS: tuple[Amount, ...] = ("all", "least", "none")
in_each_amount = pytest.mark.parametrize("amount", AMOUNTS)


def again(amount: Amount) -> tuple[Amount, ...]:
    """Return the amounts in which a record is written one after the other: what is there and goes, and comes again."""
    return (amount, *(each for each in AMOUNTS if each != amount), amount)


@in_each_amount
async def test_what_a_node_should_be(api: Api, amount: Amount) -> None:
    for now in again(amount):
        desired = record(phases.Desired, now)
        assert (await mtu.set_desired(api, "n1", desired)).desired == desired
        found = await mtu.node(api, "n1")
        assert found is not None
        assert found.desired == desired


@in_each_amount
async def test_what_a_node_is(api: Api, amount: Amount) -> None:
    for now in again(amount):
        applied, observation = record(phases.Applied, now), record(net.NodeObservation, now)
        report, agent = record(request.ProbeReport, now), record(records.AgentIdentity, now)
        conditions = (msgspec.structs.replace(record(records.Condition, now), type=f"Of{now}"),)
        await mtu.set_status(
            api,
            "n1",
            generation=1,
            applied=applied,
            probes={"p": report},
            observation=observation,
            agent=agent,
            conditions=conditions,
        )
        found = await mtu.node(api, "n1")
        assert found is not None
        assert (found.applied, found.agent, found.conditions) == (applied, agent, conditions)
        assert (found.observation, found.probes) == (observation, {"p": report})


@in_each_amount
async def test_a_plan(api: Api, amount: Amount) -> None:
    first, *others = (record(plan.Plan, now) for now in again(amount))
    assert (await mtu.create_migration(api, "m", first)).plan == first
    assert (await mtu.migration(api, "m")).plan == first
    for another in others:
        assert (await mtu.set_plan(api, "m", another, "relief")).plan == another
        assert (await mtu.migration(api, "m")).plan == another


@in_each_amount
async def test_how_far_a_change_is(api: Api, amount: Amount) -> None:
    await mtu.create_migration(api, "m", record(plan.Plan, amount))
    for now in again(amount):
        progress = record(undo.Progress, now)
        assert (await mtu.advance(api, "m", progress, "what", result="result", driver="me")).progress == progress
        found = await mtu.migration(api, "m")
        assert found.progress == progress
        assert found.journal[-1] == msgspec.structs.replace(found.journal[-1], what="what", result="result")


async def test_what_was_noted_of_a_node_that_is_gone_goes_too(api: Api) -> None:
    """Else whoever wrote it finds more there than he wrote, and takes it for another driver's word."""
    await mtu.create_migration(api, "m", record(plan.Plan, "none"))
    there = undo.Progress(locked_before={"n1": 2, "n2": 3})
    await mtu.advance(api, "m", there, "recorded")
    fewer = undo.Progress(locked_before={"n2": 4})
    assert (await mtu.advance(api, "m", fewer, "recorded once more", expected=there)).progress == fewer
    further = msgspec.structs.replace(fewer, step=1)
    assert (await mtu.advance(api, "m", further, "begin", expected=fewer)).progress == further


@in_each_amount
async def test_what_is_measured(api: Api, amount: Amount) -> None:
    wanted = record(request.ProbeRequest, amount)
    await probes.put(api, "p", wanted)
    (found,) = [probes.read(one) for one in await api.list(probes.PROBES)]
    assert (found.request, found.error) == (wanted, "")


@in_each_amount
async def test_what_the_path_carries(api: Api, amount: Amount) -> None:
    bound = record(policy.Policy, amount)
    assert policy.read(await api.create(policy.body(bound))) == bound
    found = await api.get(policy.ref(bound.name))
    assert found is not None
    assert policy.read(found) == bound
