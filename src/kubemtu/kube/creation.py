"""Make an object that holds one value, for a step of a plan, and delete it again as long as it is what was made.

An object counts as ours while nobody else has written to it, as the server notes it (metadata.managedFields): a server
fills in defaults of its own, so that what is read back may hold more than was sent.
"""

from kubemtu.core import errors
from kubemtu.core.change import plan
from kubemtu.core.objects import Object, dotted
from kubemtu.kube.api import Api
from kubemtu.kube.errors import AlreadyThere


def stands(present: Object | None, step: plan.EditValue, manager: str) -> str:
    """Say whether the object is as it was "before" the step, or "after" it, or is an "other" one.

    `manager` is the name under which it was made.
    """
    made, absent = ("after", "before") if step.after is not None else ("before", "after")
    if present is None:
        return absent
    value = step.after if step.after is not None else step.before
    ours = present.get(*step.path) == value and not others(present, manager)
    return made if ours and present.get("metadata", "deletionTimestamp") is None else "other"


def others(present: Object, manager: str) -> tuple[str, ...]:
    """Return who has written to an object besides `manager`; "somebody" where the server does not note it."""
    try:
        noted = [entry.text("manager") or "" for entry in present.each("metadata", "managedFields")]
    except errors.Malformed:
        noted = []
    return tuple(dict.fromkeys(one for one in noted if one != manager)) if noted else ("somebody",)


async def asked(api: Api, step: plan.EditValue) -> None:
    """Ask the server whether it would make the object, which it does not. Raises what it refuses with."""
    try:
        await api.create(step.made(), dry_run=True)
    except errors.Forbidden as refused:
        printed = f"kubemtu plan -o {step.ref.kind.lower()}"
        raise errors.Forbidden(f"{refused}; or let who may make it first (`{printed}`), and plan again") from refused


async def edit(api: Api, step: plan.EditValue) -> str:
    """Make the object, or delete it where the step takes it back, and say what was done.

    Raises Conflict where another object is there, or somebody else has written to ours.
    """
    present = await api.get(step.ref)
    found = stands(present, step, api.field_manager)
    if found == "other":
        raise errors.Conflict(_foreign(present, step, api.field_manager))
    if found == "after":
        return f"{step.ref} {'is there' if step.after is not None else 'is gone'} already"
    if present is None:
        return await _make(api, step)
    await api.delete(step.ref, resource_version=present.resource_version)
    if await api.get(step.ref) is not None:
        raise errors.Surprise(f"{step.ref} was deleted and is there again; see who makes it, and change it there")
    return f"{step.ref}: deleted, as it was made"


async def _make(api: Api, step: plan.EditValue) -> str:
    try:
        await api.create(step.made())
    except AlreadyThere as there:
        raise errors.Conflict(f"{step.ref} was made by somebody else at this moment; make a new plan") from there
    kept = await api.get(step.ref)
    if stands(kept, step, api.field_manager) != "after":
        raise errors.Surprise(_foreign(kept, step, api.field_manager) if kept else f"{step.ref} is gone again")
    return f"{step.ref}: made, with {dotted(step.path)}"


def _foreign(present: Object | None, step: plan.EditValue, manager: str) -> str:
    by = others(present, manager) if present is not None else ()
    wrote = f" ({', '.join(by)} wrote to it)" if by and by != ("somebody",) else ""
    if step.after is None:
        return (
            f"{step.ref} is not as it was made{wrote}, so it is not deleted; see whether it is still wanted, and "
            "delete it yourself, or put it back as it was"
        )
    return f"{step.ref} was made by somebody else meanwhile{wrote}; make a new plan, which edits it"
