"""All wants at once, into objects and entries for what could not be read: a sick cluster is read as far as it goes."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

import msgspec

from kubemtu.core import errors
from kubemtu.core.objects import Object, Ref, Want
from kubemtu.core.packed import Objects, Packed
from kubemtu.core.snapshot import Unread
from kubemtu.kube import pages, together
from kubemtu.kube.api import Api
from kubemtu.kube.errors import Absent, Expired, ServerFailing, Unusable

_WHOLE: Mapping[str, pages.Shape] = MappingProxyType({})
AT_ONCE = 10  # requests; a server under load gets no more from us


class _Part(msgspec.Struct, frozen=True, kw_only=True):
    objects: Sequence[Object] = ()
    unread: tuple[Unread, ...] = ()
    failure: errors.Unreachable | None = None


async def observe(
    api: Api, wants: tuple[Want, ...], shapes: Mapping[str, pages.Shape] = _WHOLE
) -> tuple[Objects, tuple[Unread, ...]]:
    """Read all wants; objects come in the order of the wants, each once, and what could not be read as an entry.

    `shapes` says what is wanted of the objects of a kind; of others it is all.

    A kind that the server does not have, and an object that is not there, is simply absent. Raises Unreachable when the
    server does not answer, or answers nothing but failures; Unauthenticated when it does not know us.
    """
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(want: Want) -> _Part:
        async with gate:
            return await _read(api, want, shapes.get(want.kind))

    parts = await together.gathered([one(want) for want in await _there(api, dict.fromkeys(wants))])
    failures = [part.failure for part in parts if part.failure is not None]
    if failures and len(failures) == len(parts):
        raise failures[0]
    unread = tuple(dict.fromkeys(entry for part in parts for entry in part.unread))
    return _once(parts), unread


async def existing(api: Api, ref: Ref) -> Object:
    """Read an object that a plan was made for. Raises Conflict when it is gone."""
    found = await api.get(ref)
    if found is None:
        raise errors.Conflict(f"{ref} is gone from {api.connection.server}; see who deleted it, then make a new plan")
    return found


async def _there(api: Api, wants: Iterable[Want]) -> tuple[Want, ...]:
    """Return the wants of which the server has a version, to its own word: one request instead of one for each other.

    Where it gives no such list they are asked for one by one, and what that brings is said.
    """
    try:
        listed = {*await api.group_versions()}
    except (Absent, ServerFailing):
        return tuple(wants)
    except errors.Forbidden as error:
        if type(error) is not errors.Forbidden:
            raise
        return tuple(wants)
    return tuple(want for want in wants if any("/" not in each or each in listed for each in want.api_versions))


async def _read(api: Api, want: Want, shape: pages.Shape | None) -> _Part:
    try:
        if want.name is not None and want.label_selector is None:
            return await _named(api, want, want.name)
        if shape is not None and (want.namespace or want.label_selector):  # another want may name the same objects
            shape = msgspec.structs.replace(shape, packed=False)
        listing = await api.listing(want, shape=shape)
    except ServerFailing as error:
        return _Part(unread=(_unread(want, "unreachable", error),), failure=error)
    except errors.Forbidden as error:
        if type(error) is not errors.Forbidden:
            raise
        return _Part(unread=(_unread(want, "forbidden", error),))
    except Unusable:
        raise  # nothing was asked of anybody
    except (errors.Malformed, Absent, Expired) as error:
        return _Part(unread=(_unread(want, "malformed", error),))
    malformed = tuple(Unread(what=str(want), why="malformed", message=text) for text in listing.malformed)
    return _Part(objects=listing.objects, unread=malformed)


async def _named(api: Api, want: Want, name: str) -> _Part:
    """Get one object and list none: RBAC often allows just that (resourceNames)."""
    for api_version in want.api_versions:
        if not await api.serves(api_version, want.plural):
            continue
        ref = Ref(api_version=api_version, kind=want.kind, plural=want.plural, name=name, namespace=want.namespace)
        found = await api.get(ref)
        return _Part(objects=(found,) if found is not None else ())
    return _Part()


def _unread(want: Want, why: str, error: errors.KubemtuError) -> Unread:
    return msgspec.convert({"what": str(want), "why": why, "message": str(error)}, Unread)


def _once(parts: Sequence[_Part]) -> Objects:
    """Return every object once, though several wants may name it; those that are packed are all of their kind."""
    whole = {part.objects.kind for part in parts if isinstance(part.objects, Packed)}
    met: set[tuple[str, str, str | None, str]] = set()
    out: list[Sequence[Object]] = []
    for part in parts:
        if isinstance(part.objects, Packed):
            out.append(part.objects)
            continue
        left: list[Object] = []
        for found in part.objects:
            group = found.api_version.rpartition("/")[0]  # two groups may have a kind of one name
            key = (group, found.kind, found.namespace, found.name)
            if found.kind not in whole and key not in met:
                met.add(key)
                left.append(found)
        out.append(tuple(left))
    return Objects(out)
