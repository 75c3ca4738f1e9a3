"""What the server answers with: objects, lists, refusals, as JSON in the shapes of meta/v1."""

from collections.abc import Sequence

import msgspec
from starlette.responses import PlainTextResponse, Response

from kubemtu_lab.api import errors
from kubemtu_lab.api.paths import Target
from kubemtu_lab.api.resources import Object


def as_json(body: Object, code: int = 200, *, warnings: Sequence[str] = ()) -> Response:
    """Answer with an object, and a Warning header (RFC 7234 section 5.5) for each warning."""
    # The bare type: some clients compare the header with this very word.
    answer = Response(msgspec.json.encode(body), code, headers={"content-type": "application/json"})
    for each in warnings:
        quoted = each.replace("\\", "\\\\").replace('"', '\\"')
        answer.headers.append("warning", f'299 - "{quoted}"')
    return answer


def refused(refusal: errors.Refusal) -> Response:
    """Answer with a Status; where there is not even a kind to tell of, with a line of text."""
    if refusal.code == 404 and not refusal.reason:
        return PlainTextResponse(f"{refusal.message}\n", 404)
    return as_json(refusal.status, refusal.code)


def items(target: Target, objects: Sequence[Object]) -> Sequence[Object]:
    """Return the items of a list: those of built-in kinds say nothing of their kind, as the list says it."""
    if target.resource.custom:
        return objects
    return [{field: value for field, value in item.items() if field not in ("apiVersion", "kind")} for item in objects]


def success(target: Target, last: Object) -> Object:
    """Return the Status that says that an object is gone."""
    details: Object = {"name": target.name, "kind": target.resource.plural, "uid": last["metadata"]["uid"]}
    if target.resource.group:
        details["group"] = target.resource.group
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}
