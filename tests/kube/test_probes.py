"""Questions to the agents: put, followed, read and taken away; and the key that all stations share."""

import asyncio
import base64
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager

import httpx2
import pytest

from kubemtu.core import errors
from kubemtu.core.objects import Object, Ref
from kubemtu.core.probe import request
from kubemtu.kube import crd, probes
from kubemtu.kube import errors as kube_errors
from kubemtu.kube.api import Api

Scripted = Callable[..., tuple[Api, list[httpx2.Request]]]
As = Callable[[str], AbstractAsyncContextManager[Api]]

SPOT = request.Namespace(node="n1", link="cali1")
ASKED = request.ProbeRequest(
    responders=(SPOT,),
    paths=(request.PathRequest(name="a > b", source=SPOT, address="10.42.0.7", both_ways=True),),
    timeout_seconds=9,
)
SECRETS = "/api/v1/namespaces/kubemtu/secrets"
KINDS = {
    "GET /api/v1": {"resources": [{"kind": "Secret", "name": "secrets", "namespaced": True}]},
    "GET /apis/kubemtu.io/v1alpha1": {"resources": [{"kind": "MTUProbe", "name": "mtuprobes", "namespaced": False}]},
}
COLLECTION = "/apis/kubemtu.io/v1alpha1/mtuprobes"


@pytest.fixture
async def api(as_user: As) -> AsyncIterator[Api]:
    async with as_user("admin") as open_api:
        await crd.install(open_api)
        await open_api.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "kubemtu"}})
        yield open_api


# Questions


async def test_a_question_comes_back_as_it_was_put(api: Api) -> None:
    await probes.put(api, "p1", ASKED)
    (found,) = await api.list(probes.PROBES)
    read = probes.read(found)
    assert (read.name, read.request, read.error) == ("p1", ASKED, "")


async def test_it_may_be_put_twice_because_an_answer_may_get_lost(api: Api) -> None:
    await probes.put(api, "p1", ASKED)
    await probes.put(api, "p1", ASKED)
    assert len(await api.list(probes.PROBES)) == 1


async def test_it_is_taken_away_once_and_again(api: Api) -> None:
    await probes.put(api, "p1", ASKED)
    await probes.take_away(api, "p1")
    assert await api.list(probes.PROBES) == []
    await probes.take_away(api, "p1")


async def test_without_the_definitions(as_user: As) -> None:
    async with as_user("admin") as bare:
        with pytest.raises(kube_errors.Absent, match=r"does not serve the kind MTUProbe of kubemtu\.io/v1alpha1"):
            await probes.put(bare, "p1", ASKED)
        await probes.take_away(bare, "p1")
        await probes.tidy(bare, 0.0)


async def test_without_the_right(api: Api, as_user: As) -> None:
    async with as_user("reader") as reader:
        with pytest.raises(errors.Forbidden, match="reader may not create mtuprobes") as caught:
            await probes.put(reader, "p1", ASKED)
    assert caught.value.exit_code == 4


async def test_following_sees_what_is_there_what_comes_and_what_goes(api: Api) -> None:
    await probes.put(api, "p1", ASKED)
    async with asyncio.timeout(60), contextlib.aclosing(probes.follow(api)) as states:
        assert {name: one.request for name, one in (await anext(states)).items()} == {"p1": ASKED}
        await probes.put(api, "p2", request.ProbeRequest())
        assert (await anext(states)).keys() == {"p1", "p2"}
        await probes.take_away(api, "p1")
        found = await anext(states)
        assert {name: one.request for name, one in found.items()} == {"p2": request.ProbeRequest()}


async def test_following_begins_anew_where_the_watch_does(scripted: Scripted) -> None:
    """What was taken away while nobody watched is not there any more afterwards."""

    def listed(*names: str) -> dict[str, object]:
        items = [{"metadata": {"name": name}, "spec": {}} for name in names]
        return {"kind": "MTUProbeList", "metadata": {"resourceVersion": "5"}, "items": items}

    expired = b'{"type":"ERROR","object":{"kind":"Status","code":410,"reason":"Expired","message":"too old"}}\n'
    answers = [listed("p1", "p2"), expired, listed("p2", "p3"), b""]
    api, _ = scripted({**KINDS, f"GET {COLLECTION}": answers})
    async with api, asyncio.timeout(60), contextlib.aclosing(probes.follow(api)) as states:
        assert (await anext(states)).keys() == {"p1", "p2"}
        assert (await anext(states)).keys() == {"p2", "p3"}


@pytest.mark.parametrize(
    ("spec", "trouble"),
    [
        ({"paths": [{"name": "a"}]}, "MTUProbe p1 cannot be read: Object missing required field `from`"),
        ({"timeoutSeconds": "soon"}, "MTUProbe p1 cannot be read: Expected `int`, got `str`"),
        ("nonsense", "MTUProbe p1 cannot be read: MTUProbe p1: spec must be a mapping but is a string"),
    ],
)
def test_what_cannot_be_read_is_a_sentence(spec: object, trouble: str) -> None:
    found = probes.read(Object.of({"kind": "MTUProbe", "metadata": {"name": "p1"}, "spec": spec}))
    assert found.request is None
    assert found.error.startswith(trouble)


def test_how_old_it_is() -> None:
    def made(when: object) -> float:
        metadata = {"name": "p1", "creationTimestamp": when}
        return probes.read(Object.of({"kind": "MTUProbe", "metadata": metadata})).created

    assert made("2026-11-23T12:00:00Z") == 1795435200.0
    assert made("yesterday") > 1795435200.0  # now: whoever cannot tell does not take it for old


async def test_what_others_left_long_ago_is_tidied_away(scripted: Scripted) -> None:
    """Eleven minutes ago, and nine; the time is given, so that no clock matters."""
    left = [("old", "2026-11-23T11:49:00Z"), ("young", "2026-11-23T11:51:00Z")]
    items = [{"metadata": {"name": name, "creationTimestamp": when}, "spec": {}} for name, when in left]
    answers: Mapping[str, object] = {
        f"GET {COLLECTION}": {"kind": "MTUProbeList", "metadata": {}, "items": items},
        f"DELETE {COLLECTION}/old": {"kind": "Status"},
    }
    api, asked = scripted({**KINDS, **answers})
    async with api:
        await probes.tidy(api, 1795435200.0)
    assert [request.url.path for request in asked if request.method == "DELETE"] == [f"{COLLECTION}/old"]


async def test_who_may_not_tidy_leaves_it(scripted: Scripted) -> None:
    refused = (403, "Forbidden", 'mtuprobes is forbidden: User "dev" cannot list resource "mtuprobes"')
    api, _ = scripted({**KINDS, f"GET {COLLECTION}": refused})
    async with api:
        await probes.tidy(api, 1795435200.0)


# The key


async def test_the_first_makes_the_key_and_the_others_read_it(api: Api) -> None:
    first = await probes.key(api)
    assert len(base64.b64decode(first, validate=True)) == 32
    assert await probes.key(api) == first
    found = await api.find("v1", "secrets", "kubemtu-probe", "kubemtu")
    assert found is not None
    assert base64.b64decode(found.text("data", "key") or "") == first  # as probe pods read it from their volume


async def test_all_who_come_at_once_have_the_same_key(api: Api) -> None:
    found = await asyncio.gather(*(probes.key(api) for _ in range(20)))
    assert len(set(found)) == 1


async def test_every_cluster_has_a_key_of_its_own(api: Api) -> None:
    first = await probes.key(api)
    await api.delete(Ref(api_version="v1", kind="Secret", plural="secrets", name="kubemtu-probe", namespace="kubemtu"))
    assert await probes.key(api) != first


async def test_white_space_around_it_does_not_count(api: Api) -> None:
    """`kubectl create secret --from-file` takes the end of the line along."""
    data = {"key": base64.b64encode(b"sixteen bytes ok\n").decode()}
    metadata = {"name": "kubemtu-probe", "namespace": "kubemtu"}
    await api.create({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": data})
    assert await probes.key(api) == b"sixteen bytes ok"


@pytest.mark.parametrize(
    "data", [None, {}, {"other": "c2l4dGVlbiBieXRlcyBvaw=="}, {"key": ""}, {"key": "c2hvcnQ="}, {"key": "no base64!"}]
)
async def test_what_is_no_key_is_one_sentence(scripted: Scripted, data: object) -> None:
    secret = {"kind": "Secret", "metadata": {"name": "kubemtu-probe", "namespace": "kubemtu"}, "data": data}
    api, asked = scripted({**KINDS, f"GET {SECRETS}/kubemtu-probe": secret})
    async with api:
        with pytest.raises(errors.Malformed) as caught:
            await probes.key(api)
    assert str(caught.value) == (
        "Secret kubemtu/kubemtu-probe has no `key` of 16 bytes or more; delete it, and an agent makes a new one"
    )
    assert not any(request.method == "POST" for request in asked)


async def test_a_key_that_may_not_be_read(api: Api, as_user: As) -> None:
    await probes.key(api)
    async with as_user("reader") as reader:
        with pytest.raises(errors.Forbidden, match="reader may not get secrets"):
            await probes.key(reader)


async def test_a_key_that_may_not_be_made(scripted: Scripted) -> None:
    missing = (404, "NotFound", 'secrets "kubemtu-probe" not found')
    refused = (403, "Forbidden", 'secrets is forbidden: User "dev" cannot create resource "secrets"')
    api, _ = scripted({**KINDS, f"GET {SECRETS}/kubemtu-probe": missing, f"POST {SECRETS}": refused})
    async with api:
        with pytest.raises(errors.Forbidden, match="dev may not create secrets"):
            await probes.key(api)
