"""Following a collection through everything that can happen to a watch."""

import asyncio
import contextlib
from collections.abc import Callable

import httpx2
import msgspec
import pytest

from kubemtu.core import errors
from kubemtu.core.objects import Want
from kubemtu.kube import errors as kube_errors
from kubemtu.kube.api import Api, WatchEvent

Scripted = Callable[..., tuple[Api, list[httpx2.Request]]]

MAPS = Want(kind="ConfigMap", plural="configmaps", api_versions=("v1",), namespace="kube-system")
OURS = Want(kind="ConfigMap", plural="configmaps", api_versions=("v1",), namespace="default")
"""Where no server puts anything of its own; into kube-system newer ones do."""
PATH = "GET /api/v1/namespaces/kube-system/configmaps"


def stream(*events: tuple[str, str, str]) -> bytes:
    """The lines of a watch: type, name, resourceVersion."""
    return b"".join(
        msgspec.json.encode({"type": type_, "object": {"metadata": {"name": name, "resourceVersion": version}}}) + b"\n"
        for type_, name, version in events
    )


def gone(code: int = 410) -> bytes:
    status = {"kind": "Status", "code": code, "reason": "Expired", "message": "too old resource version"}
    return msgspec.json.encode({"type": "ERROR", "object": status}) + b"\n"


def listed(version: str, *names: str) -> dict[str, object]:
    items = [{"metadata": {"name": name, "resourceVersion": "1"}} for name in names]
    return {"kind": "ConfigMapList", "metadata": {"resourceVersion": version}, "items": items}


async def take(
    api: Api, count: int, *, resource_version: str | None = None, patience: float | None = None
) -> list[tuple[str, tuple[str, ...]]]:
    """The first events of a watch, as type and names."""
    found: list[WatchEvent] = []
    async with api, asyncio.timeout(60):
        events = api.watch(MAPS, resource_version=resource_version, patience=patience)
        async with contextlib.aclosing(events):
            while len(found) < count:
                found.append(await anext(events))
    return [(event.type, tuple(one.name for one in event.objects)) for event in found]


async def test_all_that_happens_in_order(api: Api) -> None:
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "default"}}
    ref = await api.ref((await api.create(body)).body)
    async with asyncio.timeout(60), contextlib.aclosing(api.watch(OURS)) as events:
        assert [one.name for one in (await anext(events)).objects] == ["a"]
        await api.patch(ref, {"data": {"k": "v"}})
        changed = await anext(events)
        assert (changed.type, changed.objects[0].kind, changed.objects[0].text("data", "k")) == (
            "MODIFIED",
            "ConfigMap",
            "v",
        )
        await api.create(body | {"metadata": {"name": "b", "namespace": "default"}})
        assert (await anext(events)).type == "ADDED"
        await api.delete(ref)
        assert (await anext(events)).type == "DELETED"


async def test_one_object_by_name(api: Api) -> None:
    async with asyncio.timeout(60), contextlib.aclosing(api.watch(MAPS, name="b")) as events:
        assert (await anext(events)).objects == ()
        for name in ("a", "b"):
            metadata = {"name": name, "namespace": "kube-system"}
            await api.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata})
        assert (await anext(events)).objects[0].name == "b"


async def test_a_dropped_connection_goes_on_where_it_was(scripted: Scripted) -> None:
    answers = [
        listed("5", "a"),
        stream(("ADDED", "b", "6"), ("BOOKMARK", "", "8")),
        httpx2.ReadError("reset"),
        stream(("DELETED", "a", "9")),
    ]
    api, asked = scripted({PATH: answers})
    assert await take(api, 3) == [("SYNC", ("a",)), ("ADDED", ("b",)), ("DELETED", ("a",))]
    watches = [request.url.params for request in asked if "watch" in request.url.params]
    assert [one["resourceVersion"] for one in watches] == ["5", "8", "8"]
    assert watches[0]["allowWatchBookmarks"] == "true"


async def test_a_version_that_is_too_old_leads_to_a_new_list(scripted: Scripted) -> None:
    answers = [listed("5", "a"), gone(), listed("20", "b"), stream(("MODIFIED", "b", "21"))]
    api, _ = scripted({PATH: answers})
    assert await take(api, 3) == [("SYNC", ("a",)), ("SYNC", ("b",)), ("MODIFIED", ("b",))]


async def test_410_as_the_answer_leads_to_a_new_list_too(scripted: Scripted) -> None:
    answers = [listed("5", "a"), (410, "Expired", "too old"), listed("20", "b")]
    api, _ = scripted({PATH: answers})
    assert await take(api, 2) == [("SYNC", ("a",)), ("SYNC", ("b",))]


async def test_a_given_version_begins_without_a_list(scripted: Scripted) -> None:
    api, asked = scripted({PATH: stream(("ADDED", "b", "6"))})
    assert await take(api, 1, resource_version="5") == [("ADDED", ("b",))]
    assert asked[-1].url.params["resourceVersion"] == "5"


async def test_events_that_are_no_objects_are_passed_over(scripted: Scripted) -> None:
    bad = b'{"type":"ADDED","object":{"metadata":null}}\n\n'
    api, _ = scripted({PATH: [listed("5"), bad + stream(("ADDED", "b", "6"))]})
    assert await take(api, 2) == [("SYNC", ()), ("ADDED", ("b",))]


async def test_only_a_line_feed_ends_a_line(scripted: Scripted) -> None:
    """Go writes U+0085 as it is; Python's splitlines would cut the JSON there."""
    event = {"type": "ADDED", "object": {"metadata": {"name": "b"}, "data": {"k": "one\u0085two\u2028\x1c"}}}
    api, _ = scripted({PATH: [listed("5"), msgspec.json.encode(event) + b"\n"]})
    assert await take(api, 2) == [("SYNC", ()), ("ADDED", ("b",))]


async def test_a_watch_that_brings_rubbish_begins_again(scripted: Scripted) -> None:
    answers = [listed("5"), b"<html>\n", b'{"type":"ADDED"}\n', stream(("ADDED", "b", "6"))]
    api, _ = scripted({PATH: answers})
    assert await take(api, 2) == [("SYNC", ()), ("ADDED", ("b",))]


async def test_a_server_that_is_away_at_first_raises(scripted: Scripted) -> None:
    api, _ = scripted({PATH: httpx2.ConnectError("refused")})
    with pytest.raises(errors.Unreachable) as caught:
        await take(api, 1)
    assert caught.value.exit_code == 3


async def test_patience_ends(scripted: Scripted) -> None:
    api, asked = scripted({PATH: [listed("5"), httpx2.ConnectError("refused")]})
    with pytest.raises(errors.Unreachable):
        await take(api, 2, patience=1.0)
    assert len(asked) > 3


async def test_rights_that_are_taken_away_raise_at_once(scripted: Scripted) -> None:
    api, _ = scripted({PATH: [listed("5"), (403, "Forbidden", "no")]})
    with pytest.raises(errors.Forbidden, match="may not watch configmaps in namespace kube-system") as caught:
        await take(api, 2)
    assert caught.value.exit_code == 4


async def test_an_error_event_is_its_error(scripted: Scripted) -> None:
    api, _ = scripted({PATH: [listed("5"), gone(403)]})
    with pytest.raises(errors.Forbidden):
        await take(api, 2)


async def test_an_unserved_kind(scripted: Scripted) -> None:
    api, _ = scripted({})
    things = Want(kind="Thing", plural="things", api_versions=("example.com/v1",))
    async with api:
        with pytest.raises(kube_errors.Absent, match=r"does not serve things of example\.com/v1; install its Custom"):
            await anext(api.watch(things))


async def test_a_server_that_restarts(scripted: Scripted) -> None:
    refused = httpx2.ConnectError("refused")
    busy = (503, "ServiceUnavailable", "starting")
    answers = [listed("5", "a"), httpx2.ReadError("reset"), refused, refused, busy, stream(("MODIFIED", "a", "6"))]
    api, _ = scripted({PATH: answers})
    assert await take(api, 2) == [("SYNC", ("a",)), ("MODIFIED", ("a",))]


async def test_closing_ends_the_connection(api: Api) -> None:
    events = api.watch(OURS)
    await anext(events)
    waiting = asyncio.ensure_future(anext(events))
    await asyncio.sleep(0.05)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await events.aclose()
    assert await api.list(OURS) == []


async def test_a_kind_that_goes_away_and_comes_back(scripted: Scripted) -> None:
    answers = [listed("5", "a"), (404, "NotFound", "the server could not find the requested resource"), listed("9")]
    api, _ = scripted({PATH: answers})
    assert await take(api, 2) == [("SYNC", ("a",)), ("SYNC", ())]
