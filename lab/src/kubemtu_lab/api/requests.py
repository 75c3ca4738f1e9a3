"""What a request says: who writes, what it brings, which answer it takes; with what is wrong about that.

Source: kubernetes/apiserver `pkg/endpoints/handlers`.
"""

from collections.abc import Mapping

import msgspec
from starlette.requests import Request

from kubemtu_lab.api import bodies, errors, selectors, strict
from kubemtu_lab.api.ownership import Writer
from kubemtu_lab.api.paths import Target
from kubemtu_lab.api.resources import Object, Resource, copied

_SENT = frozenset({"application/json", "application/*", "*/*"})
_WRITTEN = frozenset({"", "application/json", "application/yaml"})


def content_type(request: Request) -> str:
    """Return the media type of a request's body, without its parameters."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def writer(target: Target, request: Request) -> Writer:
    """Return who writes: as the query says, else the first word of the User-Agent."""
    agent = request.headers.get("user-agent", "").partition("/")[0]
    manager = request.query_params.get("fieldManager") or agent or "unknown"
    return Writer(manager=manager, subresource=target.subresource)


def selector(target: Target, query: Mapping[str, str]) -> selectors.Selector:
    """Return which objects of a list or a watch a query chooses.

    Raises:
        Refusal: 400.
    """
    return selectors.parse(target.resource, query.get("labelSelector", ""), query.get("fieldSelector", ""))


def count(text: str) -> int:
    """Return how many objects a list may have at most; 0, as a negative number, means all.

    Raises:
        Refusal: 400.
    """
    try:
        return max(int(text), 0)
    except ValueError:
        raise errors.bad_request(f'strconv.ParseInt: parsing "{text}": invalid syntax') from None


def accepts_json(accept: str) -> bool:
    """Tell whether a client takes the one form in which this server answers."""
    kinds = {each.partition(";")[0].strip().lower() for each in accept.split(",")} - {""}
    return not kinds or bool(kinds & _SENT)


def is_dry(query: Mapping[str, str]) -> bool:
    """Tell whether nothing shall be kept of a write."""
    return query.get("dryRun") == "All"


async def read_written(target: Target, request: Request) -> tuple[Object, list[str]]:
    """Return an object that is to be written, without what its kind does not have, and the warnings about that.

    Raises:
        Refusal: 400, 415, 422.
    """
    resource, raw = target.resource, await request.body()
    if content_type(request) not in _WRITTEN:
        raise errors.unsupported_body()
    body = bodies.read_object(content_type(request), raw)
    if resource.custom:
        _check_custom(resource, body)
    level = request.query_params.get("fieldValidation") or "Warn"
    if level == "Ignore":
        return strict.without(resource, body), []
    told = [f'duplicate field "{each}"' for each in strict.duplicates(raw)]
    told += [f'unknown field "{each}"' for each in strict.unknown(resource, body)]
    if told and level == "Strict":
        head = f'{resource.kind} in version "{resource.version}" cannot be handled as a {resource.kind}: '
        raise errors.bad_request(f"{head}strict decoding error: {', '.join(told)}")
    return strict.without(resource, body), told


def check_patched(resource: Resource, current: Object, media_type: str, body: bytes) -> None:
    """Refuse a patch that would bring fields in which the kind does not have.

    Raises:
        Refusal: 422.
    """
    patched = bodies.read_change(resource, media_type, body)(copied(current))
    if found := strict.unknown(resource, patched):
        told = ", ".join(f'unknown field "{each}"' for each in found)
        raise errors.invalid(resource, "", [("patch", f"Invalid value: strict decoding error: {told}")])


def check_applied(configuration: Object) -> None:
    """Refuse an applied configuration that does not say what it is, or says who owns its fields.

    Raises:
        Refusal: 400.
    """
    version, kind = configuration.get("apiVersion") or "", configuration.get("kind") or ""
    if not (version and kind):
        raise errors.bad_request(f"invalid object type: /{version}, Kind={kind}")
    if (configuration.get("metadata") or {}).get("managedFields"):
        raise errors.bad_request("metadata.managedFields must be nil")


def _check_custom(resource: Resource, body: Object) -> None:
    """Refuse a custom resource that does not say what it is; of built-in kinds the path is enough."""
    kind = body.get("kind")
    if not (body.get("apiVersion") and kind):
        lacking = "apiVersion" if kind else "Kind"
        told = f"the object provided is unrecognized (must be of type {resource.kind}): Object '{lacking}' is missing"
        raise errors.bad_request(told)
    if kind != resource.kind and body["apiVersion"] == resource.api_version:
        other = msgspec.structs.replace(resource, kind=str(kind))
        name = str((body.get("metadata") or {}).get("name", ""))
        raise errors.invalid(other, name, [("kind", f'Invalid value: "{kind}": must be {resource.kind}')])
