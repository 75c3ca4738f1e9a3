"""Every answer of the lab's API other than yes, in the words that Kubernetes uses for it.

The wording matters: clients, kubectl and people search these sentences.
Source: kubernetes/apimachinery `pkg/api/errors/errors.go`, kubernetes/apiserver `pkg/endpoints/handlers`.
"""

from collections.abc import Sequence

from kubemtu.core.errors import KubemtuError
from kubemtu.lab.api.resources import Object, Resource

MODIFIED = "the object has been modified; please apply your changes to the latest version and try again"
MERGE_PATCH = "application/merge-patch+json"
JSON_PATCH = "application/json-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"
_CAUSES = {
    "Invalid value": "FieldValueInvalid",
    "Required value": "FieldValueRequired",
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
        body |= {"message": self.message, "reason": self.reason, "code": self.code}
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


def apply_conflict(resource: Resource, name: str, clashes: Sequence[tuple[str, str, str]]) -> Refusal:
    """409: an applied configuration would change fields of others; `clashes` are (manager, apiVersion, field)."""
    causes = [
        {"reason": "FieldManagerConflict", "message": f'conflict with "{manager}" using {version}', "field": field}
        for manager, version, field in clashes
    ]
    told = ", ".join(f"{each['message']}: {each['field']}" for each in causes)
    number = f"{len(causes)} conflict{'s' if len(causes) > 1 else ''}"
    details = _details(resource, name, causes=causes)
    return Refusal(409, "Conflict", f"Apply failed with {number}: {told}", details)


def expired(message: str) -> Refusal:
    return Refusal(410, "Expired", message)


def unsupported_patch(accepted: Sequence[str]) -> Refusal:
    message = f"the body of the request was in an unknown format - accepted media types include: {', '.join(accepted)}"
    return Refusal(415, "UnsupportedMediaType", message)


def invalid(resource: Resource, name: str, causes: Sequence[tuple[str, str]]) -> Refusal:
    """422: the object breaks its schema; `causes` are (field, what Kubernetes says after the field)."""
    kind = f"{resource.kind}.{resource.group}" if resource.group else resource.kind
    sentences = [f"{field}: {text}" for field, text in causes]
    told = sentences[0] if len(sentences) == 1 else f"[{', '.join(sentences)}]"
    listed = [{"reason": _CAUSES[text.split(":")[0]], "message": text, "field": field} for field, text in causes]
    details = _details(resource, name, causes=listed) | {"kind": resource.kind}
    return Refusal(422, "Invalid", f'{kind} "{name}" is invalid: {told}', details)


def forbidden(resource: Resource | None, name: str, why: str) -> Refusal:
    if resource is None:
        return Refusal(403, "Forbidden", f"forbidden: {why}", {})
    named = f'{resource.qualified} "{name}"' if name else resource.qualified
    return Refusal(403, "Forbidden", f"{named} is forbidden: {why}", _details(resource, name))


def too_large_version(asked: int, current: int) -> Refusal:
    """504: a resourceVersion of the future, as a client of a server that has since lost its state asks for."""
    message = f"Timeout: Too large resource version: {asked}, current: {current}"
    cause = {"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}
    return Refusal(504, "Timeout", message, {"causes": [cause], "retryAfterSeconds": 1})
