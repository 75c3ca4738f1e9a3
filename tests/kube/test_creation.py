"""An object that a step makes and its undo deletes: made where there is none, deleted while it is what was made."""

from collections.abc import Callable

import httpx2
import msgspec
import pytest

from kubemtu.core import errors
from kubemtu.core.change.plan import EditValue
from kubemtu.core.objects import Ref
from kubemtu.flows.change import preconditions
from kubemtu.kube import creation, write
from kubemtu.kube.api import Api

Scripted = Callable[..., tuple[Api, list[httpx2.Request]]]

REF = Ref(api_version="v1", kind="ConfigMap", plural="configmaps", name="values", namespace="kube-system")
PATH = "/api/v1/namespaces/kube-system/configmaps"
STEP = EditValue(ref=REF, path=("data", "values"), before=None, after="mtu: 1400\n", why="test", creates=True)


async def present(api: Api) -> dict[str, object] | None:
    found = await api.get(REF)
    return found.mapping("data") if found is not None else None


async def test_it_is_made_once_and_deleted_once(api: Api) -> None:
    assert await preconditions.stands(api, STEP) == "before"
    assert await write.edit(api, STEP) == "ConfigMap kube-system/values: made, with data.values"
    assert await present(api) == {"values": "mtu: 1400\n"}
    assert await preconditions.stands(api, STEP) == "after"
    assert await write.edit(api, STEP) == "ConfigMap kube-system/values is there already"
    assert await preconditions.stands(api, STEP.undo()) == "before"
    assert await write.edit(api, STEP.undo()) == "ConfigMap kube-system/values: deleted, as it was made"
    assert await present(api) is None
    assert await preconditions.stands(api, STEP.undo()) == "after"
    assert await write.edit(api, STEP.undo()) == "ConfigMap kube-system/values is gone already"


async def test_another_one_is_neither_written_over_nor_deleted(api: Api) -> None:
    metadata = {"name": "values", "namespace": "kube-system"}
    theirs = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"values": "mtu: 1500\n"}}
    await api.create(theirs)
    assert await preconditions.stands(api, STEP) == "other"
    with pytest.raises(errors.Conflict, match="was made by somebody else meanwhile"):
        await write.edit(api, STEP)
    with pytest.raises(errors.Conflict, match=r"is not as it was made.*delete it yourself"):
        await write.edit(api, STEP.undo())
    assert await present(api) == {"values": "mtu: 1500\n"}


@pytest.mark.parametrize(
    "theirs", [{"data": {"more": "x"}}, {"metadata": {"labels": {"kept": "mine"}}}], ids=["a value", "a label"]
)
async def test_what_somebody_else_wrote_to_stays(api: Api, theirs: dict[str, object]) -> None:
    await write.edit(api, STEP)
    api.field_manager = "kubectl-edit"
    try:
        await api.patch(REF, theirs)
    finally:
        api.field_manager = "kubemtu"
    assert await preconditions.stands(api, STEP.undo()) == "other"
    with pytest.raises(errors.Conflict, match=r"is not as it was made \(kubectl-edit wrote to it\), so it is not"):
        await write.edit(api, STEP.undo())
    assert await present(api) is not None


def answered(**more: object) -> dict[str, object]:
    noted = [{"manager": "kubemtu", "operation": "Update"}]
    metadata = {"name": "values", "namespace": "kube-system", "resourceVersion": "7", "managedFields": noted}
    return {"kind": "ConfigMap", "metadata": metadata, "data": {"values": "mtu: 1400\n"}, **more}


async def test_what_the_server_fills_in_is_no_change_of_anybody(scripted: Scripted) -> None:
    held = answered(spec={"failurePolicy": "reinstall"})
    api, asked = scripted(
        {f"GET {PATH}/values": [held, (404, "NotFound", "gone")], f"DELETE {PATH}/values": {"kind": "Status"}}
    )
    async with api:
        assert await write.edit(api, STEP.undo()) == "ConfigMap kube-system/values: deleted, as it was made"
    (deleted,) = [msgspec.json.decode(one.content) for one in asked if one.method == "DELETE"]
    assert deleted["preconditions"] == {"resourceVersion": "7"}


async def test_who_may_not_make_it_hears_so_before_anything_is_done(scripted: Scripted) -> None:
    api, asked = scripted(
        {f"GET {PATH}/values": (404, "NotFound", "none"), f"POST {PATH}": (403, "Forbidden", "cannot create")}
    )
    async with api:
        with pytest.raises(errors.Forbidden, match=r"let who may make it first \(`kubemtu plan -o configmap`\)"):
            await preconditions.edits_fit(api, [STEP])
    assert [one.url.params.get("dryRun") for one in asked if one.method == "POST"] == ["All"]


async def test_a_server_that_notes_nobody_is_trusted_with_nothing(scripted: Scripted) -> None:
    bare = answered()
    bare["metadata"] = {"name": "values", "namespace": "kube-system"}
    api, _ = scripted({f"GET {PATH}/values": bare})
    async with api:
        found = await api.get(REF)
        assert found is not None
        assert creation.stands(found, STEP.undo(), "kubemtu") == "other"
