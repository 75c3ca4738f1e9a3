"""Every answer of the lab's API other than yes, in the words that Kubernetes uses for it.

The wording matters: clients, kubectl and people search these sentences.
Source: kubernetes/apimachinery `pkg/api/errors/errors.go`, kubernetes/apiserver `pkg/endpoints/handlers`.
"""

from collections.abc import Sequence

from kubemtu.core.errors import KubemtuError
from kubemtu_lab.api.resources import Object, Resource

MODIFIED = "the object has been modified; please apply your changes to the latest version and try again"
MERGE_PATCH = "application/merge-patch+json"
JSON_PATCH = "application/json-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"
Cause = tuple[str, str]
"""A field, and what Kubernetes says after it."""
_CAUSES = {
    "Duplicate value": "FieldValueDuplicate",
    "Forbidden": "FieldValueForbidden",
    "Invalid value": "FieldValueInvalid",
    "Not found": "FieldValueNotFound",
    "Required value": "FieldValueRequired",
    "Too long": "FieldValueTooLong",
    "Too many": "FieldValueTooMany",
    "Unsupported value": "FieldValueNotSupported",
}


class Refusal(KubemtuError):
    """An answer other than yes; `status` is the body that goes with the HTTP `code`."""

    def __init__(self, code: int, reason: str, message: str, details: Object | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.details = details

    @property
    def status(self) -> Object:
        """The refusal as a `Status` object (meta/v1)."""
        body: Object = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure"}
        body |= {"message": self.message, "code": self.code} | ({"reason": self.reason} if self.reason else {})
        return body | {"details": self.details} if self.details else body


class EnvtestMissing(KubemtuError):
    """$KUBEBUILDER_ASSETS is set, but what it names cannot run a control plane."""

    exit_code = 2


class BackendFailure(KubemtuError):
    """The lab's API could not be started."""

    exit_code = 3


def _details(resource: Resource, name: str, **more: object) -> Object:
    details: Object = {"name": name} if name else {}
    if resource.group:
        details["group"] = resource.group
    return details | {"kind": resource.plural} | more


def bad_request(message: str) -> Refusal:
    return Refusal(400, "BadRequest", message)


def unauthorized() -> Refusal:
    return Refusal(401, "Unauthorized", "Unauthorized")


def no_such_path() -> Refusal:
    return Refusal(404, "NotFound", "the server could not find the requested resource", {})


def no_such_page() -> Refusal:
    """Return 404 in plain text: a path of a group or version that nobody serves."""
    return Refusal(404, "", "404 page not found")


def unforeseen(message: str) -> Refusal:
    """Return 500 without a reason: what kube-apiserver took for its own fault, as a resourceVersion of no number."""
    return Refusal(500, "", message)


def not_found(resource: Resource, name: str) -> Refusal:
    return Refusal(404, "NotFound", f'{resource.qualified} "{name}" not found', _details(resource, name))


def method_not_allowed() -> Refusal:
    message = "the server does not allow this method on the requested resource"
    return Refusal(405, "MethodNotAllowed", message, {})


def already_exists(resource: Resource, name: str) -> Refusal:
    message = f'{resource.qualified} "{name}" already exists'
    return Refusal(409, "AlreadyExists", message, _details(resource, name))


def conflict(resource: Resource, name: str, why: str = MODIFIED) -> Refusal:
    message = f'Operation cannot be fulfilled on {resource.qualified} "{name}": {why}'
    return Refusal(409, "Conflict", message, _details(resource, name))


def precondition(resource: Resource, name: str, field: str, wanted: str, actual: object) -> Refusal:
    """Return 409: what a DELETE says must be so is not; `field` is uid or resourceVersion."""
    label, end = ("UID", "deleted and then recreated") if field == "uid" else ("ResourceVersion", "modified")
    message = (
        f'Operation cannot be fulfilled on {resource.kind} "{name}": the {label} in the precondition ({wanted}) '
        f"does not match the {label} in record ({actual}). The object might have been {end}"
    )
    return Refusal(409, "Conflict", message, _details(resource, name))


def versionless(resource: Resource, name: str) -> Refusal:
    """Return 422: a custom resource is replaced without saying which state of it."""
    told = "Invalid value: 0: must be specified for an update"
    message = f'{resource.qualified} "{name}" is invalid: metadata.resourceVersion: {told}'
    cause = {"reason": "FieldValueInvalid", "message": told, "field": "metadata.resourceVersion"}
    return Refusal(422, "Invalid", message, _details(resource, name, causes=[cause]))


def apply_conflict(clashes: Sequence[tuple[str, str]]) -> Refusal:
    """Return 409: an applied configuration would change fields of others; `clashes` are (who, field).

    Source: kubernetes/apimachinery `pkg/util/managedfields/internal/conflict.go`.
    """
    causes = [
        {"reason": "FieldManagerConflict", "message": f"conflict with {who}", "field": field} for who, field in clashes
    ]
    if len(clashes) == 1:
        told = f"Apply failed with 1 conflict: {causes[0]['message']}: {clashes[0][1]}"
    else:
        lines = []
        for manager in sorted({who for who, _ in clashes}):
            lines += [f"conflicts with {manager}:", *(f"- {field}" for who, field in clashes if who == manager)]
        told = f"Apply failed with {len(clashes)} conflicts: " + "\n".join(lines)
    return Refusal(409, "Conflict", told, {"causes": causes})


def expired(message: str) -> Refusal:
    return Refusal(410, "Expired", message)


def unsupported_body() -> Refusal:
    media = "application/json, application/yaml"
    message = f"the body of the request was in an unknown format - accepted media types include: {media}"
    return Refusal(415, "UnsupportedMediaType", message)


def unsupported_patch(accepted: Sequence[str]) -> Refusal:
    message = f"the body of the request was in an unknown format - accepted media types include: {', '.join(accepted)}"
    return Refusal(415, "UnsupportedMediaType", message)


def invalid(resource: Resource, name: str, causes: Sequence[Cause]) -> Refusal:
    """Return 422: the object breaks its schema, or the rules of its kind."""
    kind = f"{resource.kind}.{resource.group}" if resource.group else resource.kind
    sentences = [f"{field}: {text}" for field, text in causes]
    told = sentences[0] if len(sentences) == 1 else f"[{', '.join(sentences)}]"
    listed = [{"reason": _reason(text), "message": text, "field": field} for field, text in causes]
    details = _details(resource, name, causes=listed) | {"kind": resource.kind}
    return Refusal(422, "Invalid", f'{kind} "{name}" is invalid: {told}', details)


def _reason(text: str) -> str:
    return "FieldValueTypeInvalid" if " in body must be of type " in text else _CAUSES[text.partition(":")[0]]


def invalid_options(kind: str, field: str, sentence: str) -> Refusal:
    """Return 422: the query or options of a request make no sense; `kind` is one of meta/v1, such as ListOptions."""
    options = Resource(group="meta.k8s.io", version="v1", plural="", kind=kind)
    return invalid(options, "", [(field, sentence)])


def not_acceptable() -> Refusal:
    media = "application/json"
    return Refusal(406, "NotAcceptable", f"406: Not Acceptable\n\nAvailable representations: {media}")


def forbidden(resource: Resource | None, name: str, why: str) -> Refusal:
    if resource is None:
        return Refusal(403, "Forbidden", f"forbidden: {why}", {})
    named = f'{resource.qualified} "{name}"' if name else resource.qualified
    return Refusal(403, "Forbidden", f"{named} is forbidden: {why}", _details(resource, name))


def too_large_version(requested: int, current: int) -> Refusal:
    """Return 504: a resourceVersion of the future, as a client of a server that has since lost its state asks for."""
    message = f"Timeout: Too large resource version: {requested}, current: {current}"
    cause = {"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}
    return Refusal(504, "Timeout", message, {"causes": [cause], "retryAfterSeconds": 1})
