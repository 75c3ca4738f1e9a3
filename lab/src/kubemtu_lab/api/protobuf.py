"""Kubernetes' protobuf bodies, as far as kubectl writes them: its `create` commands, `auth can-i`, `drain`.

A table of field numbers, from the `generated.proto` files of kubernetes/api and apimachinery; what it does not name is
left out. Wire format: protobuf.dev "Encoding"; envelope: apimachinery `pkg/runtime/serializer/protobuf`.
"""

import base64
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime

from kubemtu_lab.api.admission import timestamp
from kubemtu_lab.api.errors import bad_request
from kubemtu_lab.api.resources import Object

CONTENT_TYPE = "application/vnd.kubernetes.protobuf"
_MAGIC = b"k8s\x00"

Read = Callable[[bytes | int], object]
Reader = Callable[[bytes | int], Object]
Message = Mapping[int, tuple[str, Read]]


def decode(body: bytes) -> Object:
    """Return the object in a body.

    Raises:
        Refusal: 400 when it is malformed, or of a kind that is not in the table.
    """
    if not body.startswith(_MAGIC):
        raise bad_request("provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]")
    try:
        envelope = _message(_UNKNOWN)(body.removeprefix(_MAGIC))
        head: Object = envelope.get("typeMeta", {})
        fields = _KINDS.get(head.get("kind", ""))
        if fields is None:
            raise bad_request(f"the lab's API reads no protobuf of the kind {head.get('kind')}: send JSON or YAML")
        told = _message(fields)(base64.b64decode(envelope.get("raw", "")))
    except (IndexError, ValueError, TypeError) as malformed:
        raise bad_request(f"error decoding protobuf: {malformed}") from None
    return head | told


def _fields(body: bytes) -> Iterator[tuple[int, bytes | int]]:
    """Yield the numbers and raw values of a message's fields."""
    at = 0
    while at < len(body):
        key, at = _varint(body, at)
        match key & 7:
            case 0:  # varint
                value, at = _varint(body, at)
                yield key >> 3, value
            case 2:  # length, then as many bytes
                size, at = _varint(body, at)
                if at + size > len(body):
                    raise ValueError("unexpected EOF")
                yield key >> 3, body[at : at + size]
                at += size
            case 1:
                at += 8
            case 5:
                at += 4
            case wire:
                raise ValueError(f"illegal wireType {wire}")


def _varint(body: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = body[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


def _message(fields: Message) -> Reader:
    def read(body: bytes | int) -> Object:
        found: Object = {}
        for number, raw in _fields(_long(body)):
            if number not in fields:
                continue
            name, of = fields[number]
            value = of(raw)
            if name.endswith("[]"):
                found.setdefault(name[:-2], []).append(value)
            elif name.endswith("{}"):
                assert isinstance(value, dict)
                found.setdefault(name[:-2], {})[value.get("key", "")] = value.get("value", "")
            elif value != "":  # the Go encoder writes empty texts of fields that are not set
                found[name] = value
        return found

    return read


def _long(raw: bytes | int) -> bytes:
    if isinstance(raw, int):
        raise ValueError("wrong wireType = 0")  # noqa: TRY004 -- the value comes from outside, not from a caller
    return raw


def _text(raw: bytes | int) -> str:
    return _long(raw).decode()


def _bytes(raw: bytes | int) -> str:
    return base64.b64encode(_long(raw)).decode()


def _number(raw: bytes | int) -> int:
    if isinstance(raw, bytes):
        raise ValueError("wrong wireType = 2")  # noqa: TRY004 -- as above
    return raw - (1 << 64) if raw >> 63 else raw


def _flag(raw: bytes | int) -> bool:
    return bool(raw)


def _time(raw: bytes | int) -> str:
    seconds = _message({1: ("seconds", _number)})(raw).get("seconds", 0)
    return timestamp(datetime.fromtimestamp(seconds, UTC)) if seconds > 0 else ""


def _map(value: Read) -> Read:
    return _message({1: ("key", _text), 2: ("value", value)})


_OWNER = {5: ("apiVersion", _text), 1: ("kind", _text), 3: ("name", _text), 4: ("uid", _text), 6: ("controller", _flag)}
_META: Message = {
    1: ("name", _text),
    2: ("generateName", _text),
    3: ("namespace", _text),
    5: ("uid", _text),
    6: ("resourceVersion", _text),
    11: ("labels{}", _map(_text)),
    12: ("annotations{}", _map(_text)),
    13: ("ownerReferences[]", _message(_OWNER)),
    14: ("finalizers[]", _text),
}
_UNKNOWN: Message = {1: ("typeMeta", _message({1: ("apiVersion", _text), 2: ("kind", _text)})), 2: ("raw", _bytes)}
_RULE: Message = {
    1: ("verbs[]", _text),
    2: ("apiGroups[]", _text),
    3: ("resources[]", _text),
    4: ("resourceNames[]", _text),
    5: ("nonResourceURLs[]", _text),
}
_SUBJECT: Message = {1: ("kind", _text), 2: ("apiGroup", _text), 3: ("name", _text), 4: ("namespace", _text)}
_ROLE_REF: Message = {1: ("apiGroup", _text), 2: ("kind", _text), 3: ("name", _text)}
_ATTRIBUTES: Message = {
    1: ("namespace", _text),
    2: ("verb", _text),
    3: ("group", _text),
    4: ("version", _text),
    5: ("resource", _text),
    6: ("subresource", _text),
    7: ("name", _text),
}
_OPTIONS: Message = {
    1: ("gracePeriodSeconds", _number),
    2: ("preconditions", _message({1: ("uid", _text), 2: ("resourceVersion", _text)})),
    4: ("propagationPolicy", _text),
    5: ("dryRun[]", _text),
}
_METADATA = ("metadata", _message(_META))
_ROLE: Message = {1: _METADATA, 2: ("rules[]", _message(_RULE))}
_BINDING: Message = {1: _METADATA, 2: ("subjects[]", _message(_SUBJECT)), 3: ("roleRef", _message(_ROLE_REF))}
_KINDS: Mapping[str, Message] = {
    "ClusterRole": _ROLE,
    "ClusterRoleBinding": _BINDING,
    "ConfigMap": {
        1: _METADATA,
        2: ("data{}", _map(_text)),
        3: ("binaryData{}", _map(_bytes)),
        4: ("immutable", _flag),
    },
    "DeleteOptions": _OPTIONS,
    "Eviction": {1: _METADATA, 2: ("deleteOptions", _message(_OPTIONS))},
    "Namespace": {1: _METADATA},
    "Role": _ROLE,
    "RoleBinding": _BINDING,
    "Secret": {
        1: _METADATA,
        2: ("data{}", _map(_bytes)),
        3: ("type", _text),
        4: ("stringData{}", _map(_text)),
        5: ("immutable", _flag),
    },
    "SelfSubjectAccessReview": {
        1: _METADATA,
        2: ("spec", _message({1: ("resourceAttributes", _message(_ATTRIBUTES))})),
    },
    "ServiceAccount": {1: _METADATA},
    "TokenRequest": {
        1: _METADATA,
        2: ("spec", _message({1: ("audiences[]", _text), 4: ("expirationSeconds", _number)})),
    },
}
