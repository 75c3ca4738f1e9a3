"""A collection of the API, read page by page into the objects that are whole and a sentence for each that is not."""

from collections.abc import Mapping, Sequence

import msgspec

from kubemtu.core.objects import Object, Want
from kubemtu.core.packed import Packed
from kubemtu.core.text import json_values
from kubemtu.kube import pages, requests
from kubemtu.kube.errors import Action, Expired, TooLarge, endless, not_json
from kubemtu.kube.requests import Request
from kubemtu.kube.wire import Wire

PAGE = 500  # objects per page: what client-go asks for
OBJECTS_MOST = 300_000  # of one kind; Kubernetes is made for 150,000 pods in all
HALF_MOST = 50  # pages that are not half full and not the last: a selector may have taken the rest away


class Listing(msgspec.Struct, frozen=True, kw_only=True):
    """What a collection holds: `objects` that are whole, and a sentence for each entry that is not."""

    objects: Sequence[Object]
    malformed: tuple[str, ...] = ()
    resource_version: str | None = None


async def read(
    wire: Wire, want: Want, api_version: str, selected: Mapping[str, str], shape: pages.Shape | None = None
) -> Listing:
    """Read a collection page by page; `shape` says what is wanted of each entry (None: all of it).

    Raises what kube.errors draws.
    """
    limit = PAGE if shape is None else shape.limit
    for _ in range(2):
        try:
            return await _pages(wire, want, api_version, {**selected, "limit": limit}, shape)
        except Expired:
            continue
        except TooLarge:  # of large objects, 500 are more than is taken at once
            return await _pages(wire, want, api_version, {**selected, "limit": max(limit // 20, 1)}, shape)
    # client-go's pager does the same: when pages keep expiring, all are asked for at once.
    return await _pages(wire, want, api_version, {**selected}, shape)


def action_on(verb: str, want: Want, api_version: str) -> Action:
    """Say what is tried on a collection, in the words of RBAC."""
    return Action(verb=verb, plural=want.plural, api_version=api_version, namespace=want.namespace, name=want.name)


def selectors(want: Want, field_selector: str | None) -> dict[str, str]:
    """Return the parameters that narrow a collection to what is wanted of it."""
    fields = [f"metadata.name={want.name}"] if want.name else []
    fields += [field_selector] if field_selector else []
    found = {"fieldSelector": ",".join(fields)} if fields else {}
    return found | ({"labelSelector": want.label_selector} if want.label_selector else {})


def fault(item: object) -> str | None:
    """Return the reason why an entry of a collection is no object, or None."""
    if not isinstance(item, dict):
        return f"is no mapping but {item!r:.40}"
    metadata = item.get("metadata")
    if not isinstance(metadata, dict):
        return "has no metadata" if metadata is None else f"has metadata that is no mapping but {metadata!r:.40}"
    if not isinstance(metadata.get("name"), str) or not metadata["name"]:
        return "has no metadata.name"
    if not isinstance(metadata.get("namespace", ""), str):
        return f"({metadata['name']}) has a metadata.namespace that is no string"
    return None


async def _pages(
    wire: Wire, want: Want, api_version: str, parameters: dict[str, str | int], shape: pages.Shape | None
) -> Listing:
    decode = json_values.decode if shape is None else shape.decode
    action = action_on("list", want, api_version)
    address = requests.path(api_version, want.plural, namespace=want.namespace)
    packed = shape is not None and shape.packed
    received: Packed | list[Object] = Packed(api_version, want.kind) if packed else []
    malformed: list[str] = []
    small = 0
    while True:
        request = Request(action=action, path=address, parameters=parameters)
        page = Object.of(await wire.request(request, decode))
        items = page.get("items")
        if not isinstance(items, list):
            if items is not None or not str(page.get("kind")).endswith("List"):
                raise not_json(action, wire.connection, "an object", msgspec.json.encode(page.body))
            items = []  # Go writes an empty list as null, at times
        for item in items:
            reason = fault(item)
            if reason:
                number = len(received) + len(malformed) + 1
                malformed.append(f"entry {number} of {action.place} {reason}; repair or delete it")
            else:
                received.append(Object.of({"apiVersion": api_version, "kind": want.kind} | item))
        token = page.get("metadata", "continue")
        small += len(items) * 2 < int(parameters.get("limit", 0))
        if token and (small > HALF_MOST or len(received) + len(malformed) > OBJECTS_MOST):
            raise endless(action, wire.connection, len(received) + len(malformed))
        if not token:
            version = page.get("metadata", "resourceVersion")
            return Listing(
                objects=received if isinstance(received, Packed) else tuple(received),
                malformed=tuple(malformed),
                resource_version=version if isinstance(version, str) else None,
            )
        parameters = {**parameters, "continue": str(token)}
