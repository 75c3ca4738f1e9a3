"""One request to an API server as a value: what it is for in the words of RBAC, and where it goes in those of HTTP."""

import re
from collections.abc import Mapping
from typing import TypeAlias

import msgspec

from kubemtu.core import errors
from kubemtu.kube.connection import Connection
from kubemtu.kube.credentials import Credential
from kubemtu.kube.errors import READ_SECONDS, Action, Unusable

UNSENDABLE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")  # RFC 9110, section 5.5
Parameters: TypeAlias = Mapping[str, str | int | tuple[str, ...]]


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked of the server: `path` below its address, and a body of JSON where something is written.

    `read_seconds` is the longest pause between two parts of the answer, `also` are headers beside those of every
    request.
    """

    action: Action
    path: str
    method: str = "GET"
    parameters: Parameters = {}
    body: Mapping[str, object] | None = None
    content_type: str = "application/json"
    read_seconds: float = READ_SECONDS
    also: tuple[tuple[str, str], ...] = ()

    def content(self) -> bytes | None:
        """Return the body as it is sent; None when there is none."""
        return None if self.body is None else msgspec.json.encode(self.body)

    def headers(self, connection: Connection, credential: Credential) -> list[tuple[bytes, bytes]]:
        """Return the headers, in UTF-8 as client-go sends them. Raises Unusable for what no header can hold."""
        fields = [("Accept", "application/json"), *self.also]
        if self.body is not None:
            fields.append(("Content-Type", self.content_type))
        if credential.token:
            fields.append(("Authorization", f"Bearer {credential.token}"))
        if connection.impersonation:
            fields += connection.impersonation.headers()
        for name, value in fields:
            if UNSENDABLE.search(value):
                what = "token" if name == "Authorization" else f"value of {name}"
                raise Unusable(f"the {what} of {connection.who} holds a character that no header can: correct it there")
        return [(name.encode("ascii"), value.encode("utf-8", "surrogateescape")) for name, value in fields]


def path(
    api_version: str,
    plural: str = "",
    *,
    namespace: str | None = None,
    name: str | None = None,
    subresource: str | None = None,
) -> str:
    """Return a resource's path on the server: `/apis/apps/v1/namespaces/kube-system/daemonsets/kube-proxy`."""
    parts = ["apis" if "/" in api_version else "api", *api_version.split("/")]
    if namespace:
        parts += ["namespaces", namespace]
    parts += [part for part in (plural, name, subresource) if part]
    return "/" + "/".join(_quoted(part) for part in parts)


def _quoted(part: str) -> str:
    if not part or part in {".", ".."} or any(not (char.isalnum() or char in "-._:~") for char in part):
        raise errors.Malformed(f"{part!r:.60} cannot be part of an address of the API; correct the name")
    return part
