"""Edits of one value: nothing else moves, and whoever moves something meanwhile is noticed."""

from collections.abc import Callable

import httpx2
import msgspec
import pytest

from kubemtu.core import errors
from kubemtu.core.change.plan import EditValue
from kubemtu.core.objects import Object, Ref
from kubemtu.kube import errors as kube_errors
from kubemtu.kube import write
from kubemtu.kube.api import Api

Scripted = Callable[..., tuple[Api, list[httpx2.Request]]]

REF = Ref(api_version="v1", kind="ConfigMap", plural="configmaps", name="canal-config", namespace="kube-system")
PATH = "/api/v1/namespaces/kube-system/configmaps/canal-config"
NET_CONF = '{\n  "Network": "10.42.0.0/16",\n\t"Backend": {"Type": "vxlan"}\n}\n'
CONTENT = {"canal_iface": "", "veth_mtu": "1450", "net-conf.json": NET_CONF}


def step(before: str | int | None, after: str | int | None, *path: str) -> EditValue:
    return EditValue(ref=REF, path=path or ("data", "veth_mtu"), before=before, after=after, why="test")


async def put(api: Api, content: dict[str, str] | None = None, **more: object) -> Object:
    metadata = {"name": "canal-config", "namespace": "kube-system", "labels": {"a": "b"}}
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": content or CONTENT, **more}
    return await api.create(body)


async def content(api: Api) -> dict[str, object]:
    found = await api.get(REF)
    assert found is not None
    return found.mapping("data")


async def test_one_value_changes_and_all_others_stay(api: Api) -> None:
    await put(api)
    assert await write.edit(api, step("1450", "1400")) == (
        "ConfigMap kube-system/canal-config: data.veth_mtu is '1400', was '1450'"
    )
    assert await content(api) == {**CONTENT, "veth_mtu": "1400"}


async def test_an_edit_that_is_done_is_not_done_again(api: Api) -> None:
    made = await put(api)
    assert await write.edit(api, step("1400", "1450")) == (
        "ConfigMap kube-system/canal-config: data.veth_mtu is '1450' already"
    )
    found = await api.get(REF)
    assert found is not None
    assert found.resource_version == made.resource_version


async def test_a_key_is_added_and_removed(api: Api) -> None:
    await put(api)
    edit = step(None, "1430", "data", "mtu.v6")
    assert await write.edit(api, edit) == "ConfigMap kube-system/canal-config: data[\"mtu.v6\"] is '1430', was absent"
    assert await content(api) == {**CONTENT, "mtu.v6": "1430"}
    assert await write.edit(api, edit.undo()) == (
        "ConfigMap kube-system/canal-config: data[\"mtu.v6\"] is absent, was '1430'"
    )
    assert await content(api) == CONTENT


async def test_text_is_kept_to_the_byte(api: Api) -> None:
    await put(api)
    after = NET_CONF.replace('"vxlan"', '"vxlan", "MTU": 1400')
    await write.edit(api, step(NET_CONF, after, "data", "net-conf.json"))
    assert (await content(api))["net-conf.json"] == after


async def test_somebody_changed_the_value_meanwhile(api: Api) -> None:
    await put(api, {**CONTENT, "veth_mtu": "8951"})
    with pytest.raises(errors.Conflict) as caught:
        await write.edit(api, step("1450", "1400"))
    assert caught.value.exit_code == 7
    assert str(caught.value).startswith(
        "ConfigMap kube-system/canal-config: data.veth_mtu is '8951' but was '1450' when the plan was made"
    )
    assert str(caught.value).endswith("; see whether that change is wanted, then make a new plan")
    assert (await content(api))["veth_mtu"] == "8951"


async def test_whitespace_is_a_difference(api: Api) -> None:
    await put(api, {**CONTENT, "veth_mtu": "1450 "})
    with pytest.raises(errors.Conflict, match="is '1450 ' but was '1450'"):
        await write.edit(api, step("1450", "1400"))


async def test_the_object_is_gone(api: Api) -> None:
    with pytest.raises(errors.Conflict, match=r"^ConfigMap kube-system/canal-config is gone from https://"):
        await write.edit(api, step("1450", "1400"))


def answered(mtu: object, version: str = "1", **more: object) -> dict[str, object]:
    metadata = {"name": "canal-config", "namespace": "kube-system", "resourceVersion": version, "generation": 3}
    return {"kind": "ConfigMap", "metadata": metadata, "data": {**CONTENT, "veth_mtu": mtu}, **more}


async def test_another_key_that_changes_at_the_same_moment_is_no_conflict(scripted: Scripted) -> None:
    conflict = (409, "Conflict", "the object has been modified")
    api, asked = scripted(
        {
            f"GET {PATH}": [answered("1450"), answered("1450", "2"), answered("1400", "3")],
            f"PATCH {PATH}": [conflict, answered("1400", "3")],
        }
    )
    async with api:
        assert "is '1400', was '1450'" in await write.edit(api, step("1450", "1400"))
    patches = [msgspec.json.decode(request.content) for request in asked if request.method == "PATCH"]
    assert patches == [
        {"data": {"veth_mtu": "1400"}, "metadata": {"resourceVersion": version}} for version in ("1", "2")
    ]


async def test_conflicts_without_an_end(scripted: Scripted) -> None:
    api, asked = scripted({f"GET {PATH}": answered("1450"), f"PATCH {PATH}": (409, "Conflict", "modified")})
    async with api:
        with pytest.raises(errors.Conflict, match="somebody else changed it at the same moment") as caught:
            await write.edit(api, step("1450", "1400"))
    assert caught.value.exit_code == 7
    assert len([request for request in asked if request.method == "PATCH"]) == 5


@pytest.mark.parametrize(
    ("made", "sentence"),
    [
        (answered("1400", labels={}), "after the edit of data.veth_mtu, labels is {}, not absent"),
        ({**answered("1400"), "data": {"veth_mtu": "1400"}}, "data.canal_iface is absent, not ''"),
        ({**answered("1400"), "data": {**CONTENT, "veth_mtu": "1400", "x": "y"}}, "data.x is 'y', not absent"),
        ({**answered("1400"), "data": {**CONTENT, "veth_mtu": "1400", "canal_iface": "eth0"}}, "is 'eth0', not ''"),
        (answered("1450"), "data.veth_mtu is '1450', not '1400'"),
        (answered(1400), "data.veth_mtu is 1400, not '1400'"),
    ],
)
async def test_a_server_that_makes_something_else_of_it(
    scripted: Scripted, made: dict[str, object], sentence: str
) -> None:
    api, _ = scripted({f"GET {PATH}": answered("1450"), f"PATCH {PATH}": made})
    async with api:
        with pytest.raises(errors.Surprise) as caught:
            await write.edit(api, step("1450", "1400"))
    assert caught.value.exit_code == 8
    assert sentence in str(caught.value)
    assert str(caught.value).endswith("look at it, then take the edit back with `kubemtu rollback`")


async def test_a_value_that_is_put_back_at_once(scripted: Scripted) -> None:
    written = [
        {"manager": "kubemtu", "time": "2026-11-23T10:00:00Z"},
        {"manager": "argocd-controller", "time": "2026-11-23T10:00:01Z"},
        {"manager": "status-writer", "time": "2026-11-23T10:00:02Z", "subresource": "status"},
    ]
    back = answered("1450", "3")
    back["metadata"] = {"name": "canal-config", "managedFields": written}
    api, _ = scripted({f"GET {PATH}": [answered("1450"), back], f"PATCH {PATH}": answered("1400", "2")})
    async with api:
        with pytest.raises(errors.Surprise) as caught:
            await write.edit(api, step("1450", "1400"))
    assert str(caught.value) == (
        "ConfigMap kube-system/canal-config: data.veth_mtu was set to '1400' and is '1450' again (last written by "
        "argocd-controller at 2026-11-23T10:00:01Z); something owns this object (GitOps, an operator): make the change "
        "there"
    )


async def test_an_immutable_config_map(scripted: Scripted) -> None:
    api, _ = scripted(
        {f"GET {PATH}": answered("1450", immutable=True), f"PATCH {PATH}": (422, "Invalid", "field is immutable")}
    )
    async with api:
        with pytest.raises(errors.Conflict) as caught:
            await write.edit(api, step("1450", "1400"))
    assert caught.value.exit_code == 7
    assert "is marked immutable, so no key of it can change; replace it by one that is not" in str(caught.value)


async def test_a_value_that_the_server_refuses(scripted: Scripted) -> None:
    api, _ = scripted({f"GET {PATH}": answered("1450"), f"PATCH {PATH}": (422, "Invalid", "must be less")})
    async with api:
        with pytest.raises(kube_errors.Rejected, match=r"data\.veth_mtu cannot become '1400': .*less") as caught:
            await write.edit(api, step("1450", "1400"))
    assert caught.value.exit_code == 5


async def test_a_path_through_what_is_no_mapping(scripted: Scripted) -> None:
    api, _ = scripted({f"GET {PATH}": answered("1450")})
    async with api:
        with pytest.raises(errors.Malformed, match=r"data\.veth_mtu must be a mapping but is a string") as caught:
            await write.edit(api, step("1450", "1400", "data", "veth_mtu", "deeper"))
    assert caught.value.exit_code == 5


async def test_integers_stay_integers_in_paths_that_are_not_there_yet(scripted: Scripted) -> None:
    ref = Ref(api_version="v1", kind="Installation", plural="installations", name="default")
    bare = {"kind": "Installation", "metadata": {"name": "default"}, "spec": {"cni": {"type": "Calico"}}}
    done = {**bare, "spec": {"cni": {"type": "Calico"}, "calicoNetwork": {"mtu": 1400}}}
    path = "/api/v1/installations/default"
    api, asked = scripted({f"GET {path}": [bare, done], f"PATCH {path}": done})
    edit = EditValue(ref=ref, path=("spec", "calicoNetwork", "mtu"), before=None, after=1400, why="test")
    async with api:
        assert await write.edit(api, edit) == "Installation default: spec.calicoNetwork.mtu is 1400, was absent"
    patch = next(request for request in asked if request.method == "PATCH")
    assert patch.content == b'{"spec":{"calicoNetwork":{"mtu":1400}}}'


@pytest.mark.parametrize(("stands", "before"), [("1450", 1450), (1450, "1450"), (1, "1"), (True, 1)])
async def test_a_number_is_not_its_text(scripted: Scripted, stands: object, before: str | int) -> None:
    api, _ = scripted({f"GET {PATH}": answered(stands)})
    async with api:
        with pytest.raises(errors.Conflict):
            await write.edit(api, step(before, 1400))


ARGS = ["--enable-mirror=true", "--iface="]
DAEMONSET = Ref(api_version="apps/v1", kind="DaemonSet", plural="daemonsets", name="agent", namespace="kube-system")
WHERE = ("spec", "template", "spec", "containers", 0, "args")


async def daemonset(api: Api, *args: str) -> None:
    labels = {"app": "agent"}
    container = {"name": "agent", "image": "agent:v1", "args": list(args)}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [container, {"name": "b", "image": "b:v1"}]}}
    spec = {"selector": {"matchLabels": labels}, "template": template}
    metadata = {"name": "agent", "namespace": "kube-system"}
    await api.create({"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": metadata, "spec": spec})


async def arguments(api: Api) -> object:
    found = await api.get(DAEMONSET)
    assert found is not None
    assert found.get("spec", "template", "spec", "containers", 1, "name") == "b"
    return found.get(*WHERE)


def argument(index: int, before: str | None, after: str | None) -> EditValue:
    return EditValue(ref=DAEMONSET, path=(*WHERE, index), before=before, after=after, why="test")


async def test_one_item_of_a_list_changes_and_all_others_stay(api: Api) -> None:
    await daemonset(api, "--mtu=0", *ARGS)
    edit = argument(0, "--mtu=0", "--mtu=1400")
    said = "DaemonSet kube-system/agent: spec.template.spec.containers[0].args[0] is '--mtu=1400', was '--mtu=0'"
    assert await write.edit(api, edit) == said
    assert await arguments(api) == ["--mtu=1400", *ARGS]
    await write.edit(api, edit.undo())
    assert await arguments(api) == ["--mtu=0", *ARGS]


async def test_an_item_is_added_to_a_list_and_taken_away(api: Api) -> None:
    await daemonset(api, *ARGS)
    edit = argument(2, None, "--mtu=1400")
    await write.edit(api, edit)
    assert await arguments(api) == [*ARGS, "--mtu=1400"]
    await write.edit(api, edit.undo())
    assert await arguments(api) == ARGS


async def test_an_item_that_is_another_by_now(api: Api) -> None:
    await daemonset(api, *ARGS)
    with pytest.raises(errors.Conflict, match=r"args\[0\] is '--enable-mirror=true' but was '--mtu=0'"):
        await write.edit(api, argument(0, "--mtu=0", "--mtu=1400"))
    with pytest.raises(errors.Malformed, match="leads beyond a list of 2"):
        await write.edit(api, argument(5, None, "--mtu=1400"))
    assert await arguments(api) == ARGS


async def test_a_list_that_is_none_any_more(api: Api) -> None:
    await put(api)
    edit = EditValue(ref=REF, path=("data", "veth_mtu", 0), before="1", after="2", why="test")
    with pytest.raises(errors.Malformed, match=r"data.veth_mtu is no list any more"):
        await write.edit(api, edit)


async def test_a_variable_is_added_to_a_container_and_taken_away(api: Api) -> None:
    await daemonset(api, *ARGS)
    where = ("spec", "template", "spec", "containers", 0, "env", 0)
    edit = EditValue(ref=DAEMONSET, path=where, before=None, after={"name": "POD_MTU", "value": "1400"}, why="test")
    await write.edit(api, edit)
    found = await api.get(DAEMONSET)
    assert found is not None
    assert found.get(*where[:-1]) == [{"name": "POD_MTU", "value": "1400"}]
    assert await arguments(api) == ARGS
    await write.edit(api, edit.undo())
    found = await api.get(DAEMONSET)
    assert found is not None
    assert found.get(*where[:-1]) is None
