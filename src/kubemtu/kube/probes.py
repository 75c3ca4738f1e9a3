"""MTUProbes, the requests to the agents: made, followed and deleted; and the key that stations share."""

import base64
import contextlib
import datetime as dt
import math
import os
from collections.abc import AsyncGenerator, Mapping
from typing import Final

import msgspec

from kubemtu.core import errors
from kubemtu.core.change import migration
from kubemtu.core.objects import Object, Ref, Want
from kubemtu.core.probe.request import ProbeRequest
from kubemtu.kube.api import Api
from kubemtu.kube.errors import AlreadyThere

PROBES = Want(kind="MTUProbe", plural="mtuprobes", api_versions=(migration.API_VERSION,))
NAMESPACE: Final = "kubemtu"
SECRET: Final = "kubemtu-probe"  # noqa: S105  its name
FIELD: Final = "key"
LEFT: Final = 600.0  # seconds after which an MTUProbe that nobody deleted is deleted by the next who makes one


class MtuProbe(msgspec.Struct, frozen=True, kw_only=True):
    """Hold one MTUProbe as an agent reads it; `request` is None and `error` says why where it cannot be read.

    `created` is in seconds since the epoch, by the server's clock.
    """

    name: str
    request: ProbeRequest | None
    created: float
    error: str = ""


async def put(api: Api, name: str, request: ProbeRequest) -> None:
    """Create an MTUProbe; that there is one of this name, because an answer got lost, is fine.

    Raises Absent where the server does not have the kind, Forbidden without the right.
    """
    body = {
        "apiVersion": migration.API_VERSION,
        "kind": PROBES.kind,
        "metadata": {"name": name},
        "spec": msgspec.to_builtins(request),
    }
    with contextlib.suppress(AlreadyThere):
        await api.create(body)


async def take_away(api: Api, name: str) -> None:
    """Delete an MTUProbe; that it is gone already is fine."""
    await api.delete(_ref(name))


async def tidy(api: Api, now: float) -> None:
    """Delete MTUProbes that others made and left, long ago; without the right to, they stay."""
    with contextlib.suppress(errors.KubemtuError):
        for found in await api.list(PROBES):
            if now - _created(found) > LEFT:
                await api.delete(_ref(found.name))


async def follow(api: Api) -> AsyncGenerator[Mapping[str, MtuProbe], None]:
    """Yield all MTUProbes by name: as they are now, and again after each change, without an end."""
    seen: dict[str, MtuProbe] = {}
    async with contextlib.aclosing(api.watch(PROBES)) as changes:
        async for change in changes:
            if change.type == "SYNC":
                seen = {}
            for found in change.objects:
                if change.type == "DELETED":
                    seen.pop(found.name, None)
                else:
                    seen[found.name] = read(found)
            yield dict(seen)


def read(resource: Object) -> MtuProbe:
    """Decode one MTUProbe, whatever stands in it."""
    created = _created(resource)
    try:
        request = msgspec.convert(resource.mapping("spec"), ProbeRequest)
    except (msgspec.ValidationError, errors.Malformed) as error:
        sentence = f"MTUProbe {resource.name} cannot be read: {error}"
        return MtuProbe(name=resource.name, request=None, created=created, error=sentence)
    return MtuProbe(name=resource.name, request=request, created=created)


async def key(api: Api, namespace: str = NAMESPACE) -> bytes:
    """Read the secret that all stations of the cluster share; the first who asks for it makes it.

    Raises Forbidden without the right, Malformed when somebody has put something else there.
    """
    ref = Ref(api_version="v1", kind="Secret", plural="secrets", name=SECRET, namespace=namespace)
    found = await api.get(ref)
    if found is None:
        made = base64.b64encode(base64.b64encode(os.urandom(32))).decode()
        body = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": SECRET, "namespace": namespace},
            "type": "Opaque",
            "data": {FIELD: made},
        }
        with contextlib.suppress(AlreadyThere):
            found = await api.create(body)
        found = found or await api.get(ref)
    try:
        secret = base64.b64decode((found.text("data", FIELD) if found is not None else "") or "", validate=True).strip()
    except ValueError:
        secret = b""
    if len(secret) < 16:
        raise errors.Malformed(
            f"Secret {namespace}/{SECRET} has no `{FIELD}` of 16 bytes or more; delete it, and an agent makes a new one"
        )
    return secret


def _created(resource: Object) -> float:
    with contextlib.suppress(ValueError):
        return dt.datetime.fromisoformat(resource.text("metadata", "creationTimestamp") or "").timestamp()
    return math.inf  # of what has no time nobody can say that it is old


def _ref(name: str) -> Ref:
    return Ref(api_version=migration.API_VERSION, kind=PROBES.kind, plural=PROBES.plural, name=name)
