"""The verbs, against the lab's server; and lists as only a large or a sick server gives them, scripted."""

import subprocess
import sys
from collections.abc import Callable

import httpx2
import pytest

from kubemtu.core import errors
from kubemtu.core.objects import Ref, Want
from kubemtu.kube import errors as kube_errors
from kubemtu.kube.api import Api

Scripted = Callable[..., tuple[Api, list[httpx2.Request]]]

MAPS = Want(kind="ConfigMap", plural="configmaps", api_versions=("v1",), namespace="kube-system")
SOME = "/api/v1/namespaces/kube-system/configmaps"


def config_map(name: str = "canal-config", **content: str) -> dict[str, object]:
    metadata: dict[str, object] = {"name": name, "namespace": "kube-system"}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": content}


def named(*names: str) -> list[object]:
    return [{"metadata": {"name": name}} for name in names]


async def test_create_get_patch_delete(api: Api) -> None:
    made = await api.create(config_map(veth_mtu="1450", other="x"))
    ref = await api.ref(made.body)
    assert ref == Ref(
        api_version="v1", kind="ConfigMap", plural="configmaps", name="canal-config", namespace="kube-system"
    )
    changed = await api.patch(ref, {"data": {"veth_mtu": None}}, resource_version=made.resource_version)
    assert changed.mapping("data") == {"other": "x"}
    found = await api.find("v1", "configmaps", "canal-config", "kube-system")
    assert found is not None
    assert found.resource_version == changed.resource_version
    assert await api.delete(ref)
    assert await api.get(ref) is None
    assert not await api.delete(ref)


async def test_a_resource_version_guards_a_patch(api: Api) -> None:
    made = await api.create(config_map(a="1"))
    ref = await api.ref(made.body)
    await api.patch(ref, {"data": {"a": "2"}})
    with pytest.raises(errors.Conflict) as caught:
        await api.patch(
            ref, {"data": {"a": "3"}, "metadata": {"labels": {"x": "y"}}}, resource_version=made.resource_version
        )
    assert caught.value.exit_code == 7
    assert str(caught.value).startswith("could not patch configmaps canal-config in namespace kube-system, somebody ")


async def test_a_dry_run_changes_nothing(api: Api) -> None:
    ref = await api.ref((await api.create(config_map(a="1"))).body)
    assert (await api.patch(ref, {"data": {"a": "2"}}, dry_run=True)).text("data", "a") == "2"
    found = await api.get(ref)
    assert found is not None
    assert found.text("data", "a") == "1"


async def test_creating_twice(api: Api) -> None:
    await api.create(config_map())
    with pytest.raises(kube_errors.AlreadyThere) as caught:
        await api.create(config_map())
    assert caught.value.exit_code == 7


async def test_apply_makes_and_then_changes(api: Api) -> None:
    await api.apply(config_map(a="1", b="2"))
    assert (await api.apply(config_map(a="3", b="2"))).mapping("data") == {"a": "3", "b": "2"}


async def test_replace_needs_the_present_version(api: Api) -> None:
    made = await api.create(config_map(a="1"))
    replaced = await api.replace(made.body | {"data": {"b": "2"}})
    assert replaced.mapping("data") == {"b": "2"}
    with pytest.raises(errors.Conflict):
        await api.replace(made.body | {"data": {"c": "3"}})


async def test_deleting_a_namesake(api: Api) -> None:
    ref = await api.ref((await api.create(config_map())).body)
    with pytest.raises(errors.Conflict):
        await api.delete(ref, uid="11111111-2222-3333-4444-555555555555")
    assert await api.get(ref) is not None


async def test_an_object_without_a_namespace_belongs_to_that_of_the_context(api: Api) -> None:
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}}
    assert (await api.create(body)).namespace == "default"


async def test_lists_by_label_and_name_fill_in_what_lists_leave_out(api: Api) -> None:
    for name, label in (("a", "x"), ("b", "x"), ("c", "y")):
        body = config_map(name)
        await api.create(body | {"metadata": {"name": name, "namespace": "kube-system", "labels": {"k": label}}})
    by_label = await api.list(Want(kind="ConfigMap", plural="configmaps", api_versions=("v1",), label_selector="k=x"))
    assert [(one.api_version, one.kind, one.name) for one in by_label] == [
        ("v1", "ConfigMap", "a"),
        ("v1", "ConfigMap", "b"),
    ]
    by_name = Want(kind="ConfigMap", plural="configmaps", api_versions=("v1",), name="c", namespace="kube-system")
    assert [one.name for one in await api.list(by_name)] == ["c"]
    assert [one.name for one in await api.list(MAPS, field_selector="metadata.name=a")] == ["a"]


async def test_discovery(api: Api) -> None:
    assert {"v1", "apps/v1"} <= set(await api.versions())
    assert await api.serves("apps/v1", "daemonsets")
    assert not await api.serves("apps/v1", "things")
    assert not await api.serves("example.com/v1", "things")


async def test_discovery_is_asked_once_but_absence_each_time(scripted: Scripted) -> None:
    api, asked = scripted({})
    async with api:
        for _ in range(2):
            assert await api.serves("v1", "pods")
            assert not await api.serves("example.com/v1", "things")
        api.forget()
        assert await api.serves("v1", "pods")
    assert [request.url.path for request in asked].count("/api/v1") == 2
    assert [request.url.path for request in asked].count("/apis/example.com/v1") == 2


async def test_an_unserved_kind(api: Api) -> None:
    want = Want(kind="Thing", plural="things", api_versions=("example.com/v2", "example.com/v1"))
    assert await api.list(want) == []
    with pytest.raises(kube_errors.Absent) as caught:
        await api.create({"apiVersion": "example.com/v1", "kind": "Thing", "metadata": {"name": "x"}})
    assert "does not serve the kind Thing of example.com/v1; install its CustomResourceDefinition first" in str(
        caught.value
    )


async def test_pages_are_followed_to_the_end(scripted: Scripted) -> None:
    pages = [
        {"kind": "ConfigMapList", "metadata": {"continue": "next+/="}, "items": named("a", "b")},
        {"kind": "ConfigMapList", "metadata": {"resourceVersion": "9"}, "items": named("c")},
    ]
    api, asked = scripted({f"GET {SOME}": pages})
    async with api:
        found = await api.listing(MAPS)
    assert [one.name for one in found.objects] == ["a", "b", "c"]
    assert found.resource_version == "9"
    assert [dict(request.url.params) for request in asked[1:]] == [
        {"limit": "500"},
        {"limit": "500", "continue": "next+/="},
    ]


async def test_pages_that_expire_begin_again_and_then_come_at_once(scripted: Scripted) -> None:
    gone = (410, "Expired", "The provided continue parameter is too old")
    first = {"kind": "ConfigMapList", "metadata": {"continue": "x"}, "items": named("a")}
    whole = {"kind": "ConfigMapList", "metadata": {}, "items": named("a", "b")}
    api, asked = scripted({f"GET {SOME}": [first, gone, first, gone, whole]})
    async with api:
        assert [one.name for one in await api.list(MAPS)] == ["a", "b"]
    assert dict(asked[-1].url.params) == {}


async def test_an_empty_list_may_be_null(scripted: Scripted) -> None:
    api, _ = scripted({f"GET {SOME}": {"kind": "ConfigMapList", "metadata": {}, "items": None}})
    async with api:
        assert await api.list(MAPS) == []


async def test_entries_that_are_no_objects_are_told_and_the_others_survive(scripted: Scripted) -> None:
    items = ["x", {}, {"metadata": []}, {"metadata": {"name": 7}}, *named("good"), {"metadata": {"namespace": "n"}}]
    api, _ = scripted({f"GET {SOME}": {"kind": "ConfigMapList", "items": items}})
    async with api:
        found = await api.listing(MAPS)
        assert [one.name for one in found.objects] == ["good"]
        where = "configmaps in namespace kube-system"
        assert found.malformed == (
            f"entry 1 of {where} is no mapping but 'x'; repair or delete it",
            f"entry 2 of {where} has no metadata; repair or delete it",
            f"entry 3 of {where} has metadata that is no mapping but []; repair or delete it",
            f"entry 4 of {where} has no metadata.name; repair or delete it",
            f"entry 6 of {where} has no metadata.name; repair or delete it",
        )
        with pytest.raises(errors.Malformed, match="entry 1 of configmaps"):
            await api.list(MAPS)


async def test_an_answer_that_is_no_whole_object(scripted: Scripted) -> None:
    api, _ = scripted({f"GET {SOME}/x": {"kind": "ConfigMap"}})
    async with api:
        with pytest.raises(
            errors.Malformed, match=r"answered for configmaps x in namespace kube-system has no metadata"
        ):
            await api.find("v1", "configmaps", "x", "kube-system")


def test_no_typed_models_are_imported() -> None:
    """They take longer to import than all else that the command line does, and refuse what a sick cluster holds."""
    modules = "import kubemtu.kube.read, kubemtu.kube.write, kubemtu.kube.mtu, kubemtu.kube.connect, sys"
    check = "sys.exit(any(name.startswith(('lightkube', 'kubernetes')) for name in sys.modules))"
    assert subprocess.run([sys.executable, "-c", f"{modules}; {check}"], check=False).returncode == 0
