"""Reading everything at once from a cluster that is sick in every way at once."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import httpx2
import pytest

from kubemtu.core import errors
from kubemtu.core.objects import Want
from kubemtu.core.snapshot import Unread
from kubemtu.kube import errors as kube_errors
from kubemtu.kube import read
from kubemtu.kube.api import Api

Scripted = Callable[..., tuple[Api, list[httpx2.Request]]]
As = Callable[[str], AbstractAsyncContextManager[Api]]

CONFIG = Want(kind="ConfigMap", plural="configmaps", api_versions=("v1",), namespace="kube-system", name="canal-config")
PODS = Want(kind="Pod", plural="pods", api_versions=("v1",), namespace="kube-system", label_selector="k8s-app=canal")
NODES = Want(kind="Node", plural="nodes", api_versions=("v1",))
FELIX = Want(
    kind="FelixConfiguration",
    plural="felixconfigurations",
    api_versions=("projectcalico.org/v3", "crd.projectcalico.org/v1"),
)
ONE = "GET /api/v1/namespaces/kube-system/configmaps/canal-config"
MANY = "GET /api/v1/namespaces/kube-system/pods"
FELIX_GROUP = {"resources": [{"kind": "FelixConfiguration", "name": "felixconfigurations", "namespaced": False}]}


def listed(*items: object) -> dict[str, object]:
    return {"kind": "List", "items": list(items)}


def named(name: str) -> dict[str, object]:
    return {"metadata": {"name": name, "namespace": "kube-system"}}


async def test_all_wants_in_their_order_and_each_object_once(scripted: Scripted) -> None:
    api, _ = scripted({ONE: named("canal-config"), MANY: listed(named("a"), named("b")), "GET /api/v1/nodes": listed()})
    async with api:
        found, unread = await read.observe(api, (NODES, PODS, CONFIG, PODS))
    assert [f"{one.kind} {one.name}" for one in found] == ["Pod a", "Pod b", "ConfigMap canal-config"]
    assert unread == ()


async def test_the_first_version_that_is_served_is_read(scripted: Scripted) -> None:
    api, _ = scripted(
        {
            "GET /apis/crd.projectcalico.org/v1": FELIX_GROUP,
            "GET /apis/crd.projectcalico.org/v1/felixconfigurations": listed({"metadata": {"name": "default"}}),
        }
    )
    async with api:
        found, unread = await read.observe(api, (FELIX,))
    assert [(one.api_version, one.kind, one.name) for one in found] == [
        ("crd.projectcalico.org/v1", "FelixConfiguration", "default")
    ]
    assert unread == ()


GROUPS = {"groups": [{"name": "apps", "versions": [{"groupVersion": "apps/v1", "version": "v1"}]}]}


@pytest.mark.parametrize("answer", [{}, {"status": "ok"}, {"kind": 5, "items": {}}, {"kind": "List", "items": []}])
@pytest.mark.parametrize("where", ["/apis", "/api/v1"])
async def test_who_answers_everything_alike_is_no_empty_cluster(
    scripted: Scripted, answer: dict[str, object], where: str
) -> None:
    api, _ = scripted({"GET /apis": (404, "NotFound", "no"), f"GET {where}": answer})
    async with api:
        with pytest.raises(kube_errors.NotAnApi, match=rf"to get {where} with an object that is no API\w+List, which"):
            await read.observe(api, (FELIX, CONFIG, NODES))


async def test_a_group_that_answers_so_is_one_thing_that_was_not_read(scripted: Scripted) -> None:
    api, _ = scripted({ONE: named("canal-config"), "GET /apis/projectcalico.org/v3": {"status": "ok"}})
    async with api:
        found, (entry,) = await read.observe(api, (FELIX, CONFIG))
    assert [one.name for one in found] == ["canal-config"]
    assert (entry.what, entry.why) == ("felixconfigurations", "malformed")
    assert "to get /apis/projectcalico.org/v3 with an object that is no APIResourceList" in entry.message


async def test_nobody_asks_for_groups_that_the_server_does_not_list(scripted: Scripted) -> None:
    api, sent = scripted({"GET /apis": GROUPS, ONE: named("canal-config")})
    async with api:
        found, unread = await read.observe(api, (FELIX, CONFIG))
    assert ([one.name for one in found], unread) == (["canal-config"], ())
    assert {each.url.path for each in sent if each.url.path.startswith("/apis")} == {"/apis"}


@pytest.mark.parametrize("code", [403, 404, 500])
async def test_all_are_asked_for_where_the_server_lists_none(scripted: Scripted, code: int) -> None:
    group = "/apis/crd.projectcalico.org/v1"
    api, _ = scripted(
        {
            "GET /apis": (code, "Whatever", "no list for you"),
            f"GET {group}": FELIX_GROUP,
            f"GET {group}/felixconfigurations": listed({"metadata": {"name": "default"}}),
        }
    )
    async with api:
        found, unread = await read.observe(api, (FELIX,))
    assert ([one.name for one in found], unread) == (["default"], ())


async def test_absent_kinds_and_objects_are_nothing_to_tell(scripted: Scripted) -> None:
    api, _ = scripted({})
    async with api:
        found, unread = await read.observe(api, (FELIX, CONFIG))
    assert (tuple(found), unread) == ((), ())


async def test_forbidden_is_an_entry(as_user: As) -> None:
    async with as_user("reader") as api:
        found, unread = await read.observe(api, (CONFIG, PODS))
    assert found == ()
    assert [(one.what, one.why) for one in unread] == [
        ("ConfigMap kube-system/canal-config", "forbidden"),
        ("pods in namespace kube-system with k8s-app=canal", "forbidden"),
    ]
    assert "reader may not get configmaps canal-config in namespace kube-system on https://" in unread[0].message
    assert "`kubectl auth can-i list pods -n kube-system" in unread[1].message


async def test_one_malformed_object_is_an_entry_and_the_others_survive(scripted: Scripted) -> None:
    api, _ = scripted({MANY: listed(named("a"), "rubbish", named("b"))})
    async with api:
        found, unread = await read.observe(api, (PODS,))
    assert [one.name for one in found] == ["a", "b"]
    assert unread == (
        Unread(
            what="pods in namespace kube-system with k8s-app=canal",
            why="malformed",
            message="entry 2 of pods in namespace kube-system is no mapping but 'rubbish'; repair or delete it",
        ),
    )


async def test_a_group_whose_server_is_away_is_an_entry(scripted: Scripted) -> None:
    api, _ = scripted(
        {ONE: named("canal-config"), "GET /apis/projectcalico.org/v3": httpx2.Response(503, text="no endpoints")}
    )
    async with api:
        found, unread = await read.observe(api, (FELIX, CONFIG))
    assert [one.name for one in found] == ["canal-config"]
    assert [(one.what, one.why) for one in unread] == [("felixconfigurations", "unreachable")]
    assert "it answered 503: no endpoints" in unread[0].message


async def test_nothing_but_failures_is_unreachable(scripted: Scripted) -> None:
    api, _ = scripted({"GET /api/v1": (500, "InternalError", "etcd is away")})
    async with api:
        with pytest.raises(kube_errors.ServerFailing, match="etcd is away") as caught:
            await read.observe(api, (CONFIG, PODS))
    assert caught.value.exit_code == 3


async def test_an_unreachable_server_raises(scripted: Scripted) -> None:
    api, _ = scripted({"GET /api/v1": httpx2.ConnectTimeout("")})
    async with api:
        with pytest.raises(errors.Unreachable, match="did not accept a connection within 5 s") as caught:
            await read.observe(api, (CONFIG, PODS, FELIX))
    assert caught.value.exit_code == 3


async def test_unknown_credentials_raise(scripted: Scripted) -> None:
    api, _ = scripted({"GET /api/v1": (401, "Unauthorized", "Unauthorized")})
    async with api:
        with pytest.raises(kube_errors.Unauthenticated) as caught:
            await read.observe(api, (CONFIG, PODS))
    assert caught.value.exit_code == 4


async def test_a_named_object_of_an_unserved_kind_is_nothing(scripted: Scripted) -> None:
    named_felix = Want(kind=FELIX.kind, plural=FELIX.plural, api_versions=FELIX.api_versions, name="default")
    api, _ = scripted({})
    async with api:
        found, unread = await read.observe(api, (named_felix,))
    assert (tuple(found), unread) == ((), ())


async def test_an_answer_that_makes_no_sense_is_an_entry(scripted: Scripted) -> None:
    api, _ = scripted({ONE: {"kind": "ConfigMap"}, MANY: (422, "Invalid", "bad selector")})
    async with api:
        found, unread = await read.observe(api, (CONFIG, PODS))
    assert found == ()
    assert [one.why for one in unread] == ["malformed", "malformed"]
    assert "answered for configmaps canal-config in namespace kube-system has no metadata" in unread[0].message
    assert "bad selector" in unread[1].message
