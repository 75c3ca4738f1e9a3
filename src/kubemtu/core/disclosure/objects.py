"""A snapshot as it may be handed around: the objects that a rule reads, without what may be a credential.

Kinds and names go by what is read of a cluster anyway; within an object a value goes by the name beside it and by its
shape, as in the files of a node (core.disclosure.files). What is struck out keeps its place, so that a saved snapshot
is judged as the cluster was.
"""

import re
from collections.abc import Iterable, Mapping

import msgspec

from kubemtu.core.disclosure import files
from kubemtu.core.objects import Object, Want
from kubemtu.core.snapshot import Snapshot

DIGITS_MOST = 10
DROPPED_METADATA = frozenset({"selfLink"})
DROPPED_ANNOTATIONS = ("kubectl.kubernetes.io/last-applied-configuration",)  # a copy of the whole object
_CREDENTIAL = re.compile(
    r"secret|token|passw|passphrase|credential|auth|private|psk|(?:^|[^a-z])(?:key|cert|ca)(?:[^a-z]|$)|key$|bearer|cookie",
    re.IGNORECASE,
)
# No @, for https://user:password@host, but for the digest of an image.
_VALUE = re.compile(r"(?:[\w .,:;/%+*=!?|^$()\[\]{}<>'\"&~#\\-]|@sha256:)*", re.ASCII)
_LINE = re.compile(r"(?P<head>\s*(?:- )?(?P<name>[\w.\"'-]+)\s*[:=]\s*)(?P<value>.*)", re.ASCII)


_SHAPE = re.compile(r"(?P<head>\s*(?:#+\s*|(?:- +)*))(?P<rest>.*)", re.DOTALL)
_MARKERS = ("---", "...")


def handed(snapshot: Snapshot, wants: Iterable[Want]) -> Snapshot:
    """Return the snapshot with the objects of these wants only, and without what may be a credential."""
    named: dict[str, set[str | None]] = {}
    for want in wants:
        named.setdefault(want.kind, set()).add(want.name)
    return msgspec.structs.replace(
        snapshot,
        objects=tuple(
            Object(body=_object(found.body), origin=found.origin)
            for found in snapshot.objects
            if found.kind != "Secret" and (found.of_file or named.get(found.kind, set()) & {None, found.name})
        ),
        nodes=tuple(
            msgspec.structs.replace(
                node,
                files=tuple(
                    msgspec.structs.replace(file, text=text)
                    for file in node.files
                    if (text := files.shown(file.path, file.text)) is not None
                ),
            )
            for node in snapshot.nodes
        ),
    )


def _object(body: Mapping[str, object]) -> dict[str, object]:
    out = {key: _value(value, key) for key, value in body.items()}
    metadata = out.get("metadata")
    if isinstance(metadata, dict):
        kept = {key: value for key, value in metadata.items() if key not in DROPPED_METADATA}
        if "managedFields" in kept:
            kept["managedFields"] = _managers(kept["managedFields"])
        annotations = kept.get("annotations")
        if isinstance(annotations, dict):
            kept["annotations"] = {key: value for key, value in annotations.items() if key not in DROPPED_ANNOTATIONS}
        out["metadata"] = kept
    return out


def _managers(entries: object) -> list[object]:
    """Return who wrote which fields last and when: names of managers and members, and nothing besides."""
    listed = entries if isinstance(entries, list) else []
    return [
        {key: entry[key] for key in ("manager", "operation", "subresource", "time") if key in entry}
        | {"fieldsV1": _members(entry.get("fieldsV1"))}
        for entry in listed
        if isinstance(entry, dict)
    ]


def _members(fields: object) -> dict[str, object]:
    """Return the names of members as the server notes them, `f:NAME`; items of lists go by values, which stay here."""
    held = fields if isinstance(fields, dict) else {}
    return {key: _members(value) for key, value in held.items() if key.startswith("f:") and len(key) < files.LONGEST}


def _value(value: object, name: str) -> object:
    """Return the value that stands under a name, with all that may be a credential struck out."""
    if isinstance(value, dict):
        return {key: _value(inner, _beside(value, str(key), name)) for key, inner in value.items()}
    if isinstance(value, list):
        return [
            _value(inner, before if isinstance(before, str) and before.startswith("-") else name)
            for before, inner in zip(["", *value], value, strict=False)  # --token, ...
        ]
    return _text(value, name) if isinstance(value, str) else value


def _beside(whole: Mapping[str, object], key: str, above: str) -> str:
    """Return the name that a member is judged by: its key, a variable's name, or the key above where that says more."""
    named = whole.get("name")
    if key == "value" and isinstance(named, str):
        return named
    if above.endswith("KeyRef"):  # the name of a key, not what is kept under it
        return ""
    return above if _CREDENTIAL.search(above) else key


def _text(text: str, name: str) -> str:
    if text.lstrip()[:1] in {"{", "["}:
        return files.strike(text, files.CNI_MEMBERS | files.NETCONF_MEMBERS)
    if "\n" in text.strip():
        return "".join(_line(line) for line in text.splitlines(keepends=True))
    return text if _harmless(text.strip(), name) else files.struck(len(text))


def _line(line: str) -> str:
    """Show one line of a text of several: `name: value` or `name=value` keeps a harmless value; else nothing is shown.

    What makes it YAML stays: indentation, the signs of a comment, of an item and of a key, and markers of documents.
    """
    text = line.rstrip("\r\n")
    end = line[len(text) :]
    if not text.strip() or text.rstrip() in _MARKERS:
        return line
    found = _LINE.fullmatch(text)
    if found is not None:
        value = found["value"]
        return line if _harmless(value, found["name"]) else f"{found['head']}{files.struck(len(value))}{end}"
    shaped = _SHAPE.fullmatch(text)
    if shaped is None:  # it matches any text; what is no line of one is not shown at all
        return f"{files.struck(len(text))}{end}"
    colon = ":" if shaped["rest"].rstrip().endswith(":") else ""
    return f"{shaped['head']}{files.struck(len(shaped['rest'].strip()) - len(colon))}{colon}{end}"


def _harmless(value: str, name: str) -> bool:
    flag, assigned, _ = value.partition("=")  # --token=...
    secret = _CREDENTIAL.search(name) or (assigned and _CREDENTIAL.search(flag))
    shaped = _VALUE.fullmatch(value) is not None or (value.isdecimal() and len(value) <= DIGITS_MOST)  # of any script
    return len(value) <= files.LONGEST and not secret and shaped
