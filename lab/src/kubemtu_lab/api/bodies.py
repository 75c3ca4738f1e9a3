"""Request bodies, JSON or YAML: objects, delete options, and the five kinds of patch."""

from collections.abc import Mapping

import msgspec
import yaml

from kubemtu_lab.api import options, patch, strategic
from kubemtu_lab.api.errors import (
    APPLY_PATCH,
    JSON_PATCH,
    MERGE_PATCH,
    STRATEGIC_PATCH,
    bad_request,
    unsupported_patch,
)
from kubemtu_lab.api.resources import Object, Resource
from kubemtu_lab.api.store import Change, DeleteOptions


class _Yaml(yaml.SafeLoader):
    """YAML as Kubernetes reads it: what looks like a date stays a text."""


_Yaml.yaml_implicit_resolvers = {
    letter: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for letter, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def read(content_type: str, body: bytes) -> object:
    """Decode a body.

    Raises:
        Refusal: 400 when it is malformed.
    """
    try:
        return msgspec.json.decode(body)
    except msgspec.DecodeError as malformed:
        if "yaml" not in content_type:
            raise bad_request(f"couldn't get version/kind; json parse error: {malformed}") from None
    try:
        decoded: object = yaml.load(body, _Yaml)  # noqa: S506 -- a SafeLoader, only with fewer resolvers
    except yaml.YAMLError as malformed:
        told = " ".join(str(malformed).split())
        raise bad_request(f"error converting YAML to JSON: {told}") from None
    return decoded


def read_object(content_type: str, body: bytes) -> Object:
    """Decode a body that must be an object.

    Raises:
        Refusal: 400.
    """
    decoded = read(content_type, body)
    if decoded is None:
        return {}
    if not isinstance(decoded, dict):
        raise bad_request("couldn't get version/kind; json parse error: the body is not an object")
    return decoded


def read_delete_options(content_type: str, body: bytes, query: Mapping[str, str]) -> DeleteOptions:
    """Return the options of a DELETE, from its body or, as some clients send them, its query.

    Raises:
        Refusal: 400.
    """
    told = read_object(content_type, body) if body else {}
    if "gracePeriodSeconds" in query:
        told["gracePeriodSeconds"] = query["gracePeriodSeconds"]
    if query.get("dryRun"):
        told["dryRun"] = [query["dryRun"]]
    if told.get("kind", "DeleteOptions") != "DeleteOptions":
        raise bad_request(f"converting (v1.{told['kind']}) to (v1.DeleteOptions): unknown conversion")
    options.check_propagation(told.get("propagationPolicy"))
    try:
        found = msgspec.convert(
            {key: value for key, value in told.items() if value is not None}, DeleteOptions, strict=False
        )
    except msgspec.ValidationError as wrong:
        raise bad_request(f"the delete options are malformed: {wrong}") from None
    options.check_dry_run("DeleteOptions", found.dry_run or ())
    return found


def read_change(resource: Resource, content_type: str, body: bytes) -> Change:
    """Return the function that a patch is.

    Raises:
        Refusal: 400 when it is malformed, 415 when the kind takes no such patch.
    """
    accepted = [JSON_PATCH, MERGE_PATCH, APPLY_PATCH]
    if not resource.custom:
        accepted.append(STRATEGIC_PATCH)
    if content_type not in accepted:
        raise unsupported_patch(accepted)
    if content_type == JSON_PATCH:
        operations = read(content_type, body)
        return lambda current: patch.json_patch(current, operations)
    change = read_object(content_type, body)
    match content_type:
        case "application/merge-patch+json":
            return lambda current: patch.merge(current, change)
        case "application/strategic-merge-patch+json":
            return lambda current: strategic.merge(current, change)
        case _:
            return lambda current: strategic.apply(current, change, keyed=not resource.custom)
