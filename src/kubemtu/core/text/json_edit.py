"""Change one integer inside JSON *text* and keep every other byte.

A ConfigMap holds CNI configuration as text that people wrote, with placeholders which install-cni replaces before any
JSON parser sees it, also where JSON allows none: `"mtu": __CNI_MTU__`. Reading such text into objects and writing them
back would lose its layout, its duplicates and its placeholders, so core.text.json_spans finds spans instead, and this
module replaces one. Whatever is ambiguous is refused: an edit that lands in the wrong place costs more than a sentence.

Keys are compared after decoding their escapes. CNI plugins are Go programs, whose encoding/json also matches keys that
differ in case only; `fold` does the same.
"""

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

import msgspec

from kubemtu.core import encap
from kubemtu.core.errors import Malformed, UsageError
from kubemtu.core.text import json_spans
from kubemtu.core.text.json_spans import JsonMember, JsonNode

INT64_MOST = 2**63 - 1  # the int of a Go program on a 64-bit node
_NOTHING: Mapping[str, str] = MappingProxyType({})


class MemberValue(msgspec.Struct, frozen=True, kw_only=True):
    """What stands at one member.

    `kind` says which: "integer" has `value`; "placeholder" (bare or in a string) has `placeholder`, such as
    "__CNI_MTU__"; "string" is any other string, "other" any other value, "absent" no member at all.
    `raw` is the token as written, quotes included.
    """

    kind: Literal["absent", "integer", "placeholder", "string", "other"]
    value: int | None = None
    placeholder: str | None = None
    raw: str | None = None


class MtuMember(MemberValue, frozen=True, kw_only=True):
    """What stands at the "mtu" of one CNI plugin; `plugin` is its place in the list, 0 for a bare plugin."""

    plugin: int


def read_plugin_mtu(text: str, plugin_type: str, *, source: str = "the CNI configuration") -> MtuMember:
    """Read the "mtu" of the only plugin of a type, out of a conflist or a bare plugin configuration.

    Raises Malformed when the text is no JSON, holds not exactly one such plugin, or states its mtu twice.
    """
    where = _JsonText(text, source)
    index, plugin = _plugin(where, plugin_type)
    found = _value(where, _only(where, plugin, "mtu", fold=True))
    return MtuMember(kind=found.kind, value=found.value, placeholder=found.placeholder, raw=found.raw, plugin=index)


def set_plugin_mtu(
    text: str,
    plugin_type: str,
    mtu: int,
    *,
    source: str = "the CNI configuration",
    feeds: Mapping[str, str] = _NOTHING,
) -> str:
    """Write an integer as the "mtu" of the only plugin of a type; nothing else of the text changes.

    A new member goes right behind "type", where Rancher's own template has it, laid out as its neighbours are.
    `feeds` says of placeholders what an installer fills them from. Raises UsageError when `mtu` is none, and Malformed
    as `read_plugin_mtu` does, or when a placeholder or a value of another kind than integer, string or null stands
    there.
    """
    where = _JsonText(text, source)
    _, plugin = _plugin(where, plugin_type)
    return _set(where, plugin, "mtu", mtu, behind="type", fold=True, feeds=feeds)


def read_member(text: str, path: tuple[str, ...], *, fold: bool = False, source: str = "the JSON text") -> MemberValue:
    """Read the member at a path of keys, such as ("Backend", "MTU"); absent when any step of the path is.

    Raises Malformed when the text is no JSON, or the path leads through a duplicate or something that is no object.
    """
    where = _JsonText(text, source)
    node = where.root
    for key in path[:-1]:
        member = _only(where, _object(where, node), key, fold=fold)
        if member is None:
            return MemberValue(kind="absent")
        node = member.value
    return _value(where, _only(where, _object(where, node), path[-1], fold=fold))


def set_member(
    text: str, path: tuple[str, ...], value: int, *, fold: bool = False, source: str = "the JSON text"
) -> str:
    """Write an integer at a path of keys, such as ("Backend", "MTU"); nothing else of the text changes.

    The objects on the way must be there; only the last member is added where it is absent, behind all others.
    Raises as `set_plugin_mtu` does.
    """
    where = _JsonText(text, source)
    node = where.root
    for key in path[:-1]:
        member = _only(where, _object(where, node), key, fold=fold)
        if member is None:
            raise where.malformed(node.start, f'this object has no "{key}", which must be there first')
        node = member.value
    return _set(where, _object(where, node), path[-1], value, behind=None, fold=fold, feeds=_NOTHING)


class _JsonText:
    """A text, its name in errors, and its parsed root."""

    def __init__(self, text: str, source: str) -> None:
        self.text = text
        self.source = source
        self.root = json_spans.parse(text, source=source)

    def malformed(self, at: int, sentence: str) -> Malformed:
        return json_spans.malformed(self.text, self.source, at, sentence)


def _folded(key: str) -> str:
    # encoding/json folds ASCII case and the two letters outside ASCII whose simple folding is ASCII (U+017F, U+212A).
    return key.replace("\N{LATIN SMALL LETTER LONG S}", "s").lower()


def _only(where: _JsonText, node: JsonNode, key: str, *, fold: bool) -> JsonMember | None:
    wanted = _folded(key) if fold else key
    found = [member for member in node.members if (_folded(member.key) if fold else member.key) == wanted]
    if len(found) > 1:
        first = where.text.count("\n", 0, found[0].start) + 1
        raise where.malformed(
            found[1].start, f'"{key}" stands here a second time, after line {first}: remove one of the two'
        )
    return found[0] if found else None


def _object(where: _JsonText, node: JsonNode) -> JsonNode:
    if node.kind != "object":
        raise where.malformed(node.start, f"here must stand an object, not {_shown(where, node)}")
    return node


def _plugin(where: _JsonText, plugin_type: str) -> tuple[int, JsonNode]:
    root = _object(where, where.root)
    listed = _only(where, root, "plugins", fold=False)
    plugins = (root,) if listed is None else listed.value.items
    if listed is not None and listed.value.kind != "array":
        raise where.malformed(
            listed.value.start, f'"plugins" must be a list of plugins, not {_shown(where, listed.value)}'
        )
    found = []
    for index, plugin in enumerate(plugins):
        kind = _only(where, _object(where, plugin), "type", fold=True)
        if kind is not None and kind.value.kind == "string" and _token_of(where, kind.value) == plugin_type:
            found.append((index, plugin))
    if not found:
        raise where.malformed(root.start, f'none of its plugins has the type "{plugin_type}", so nothing can be set')
    if len(found) > 1:
        raise where.malformed(
            found[1][1].start, f'a second plugin of type "{plugin_type}" stands here: only one can be meant'
        )
    return found[0]


def _token_of(where: _JsonText, node: JsonNode) -> str:
    return json_spans.decoded(where.text[node.start : node.end])


def _shown(where: _JsonText, node: JsonNode) -> str:
    if node.kind in ("object", "array"):
        return f"an {node.kind}"
    raw = where.text[node.start : node.end]
    return raw if len(raw) <= 40 else f"{raw[:37]}..."


def _value(where: _JsonText, member: JsonMember | None) -> MemberValue:
    if member is None:
        return MemberValue(kind="absent")
    node = member.value
    raw = where.text[node.start : node.end]
    if node.kind == "placeholder":
        return MemberValue(kind="placeholder", placeholder=raw, raw=raw)
    if node.kind == "string":
        match = json_spans.PLACEHOLDER.search(json_spans.decoded(raw))
        if match:
            return MemberValue(kind="placeholder", placeholder=match[0], raw=raw)
        return MemberValue(kind="string", raw=raw)
    if node.kind != "number" or not json_spans.INTEGER.fullmatch(raw):
        return MemberValue(kind="other", raw=raw)
    # The length comes first: converting thousands of digits is slow, and Python refuses it.
    if len(raw) > 20 or not -INT64_MOST - 1 <= int(raw) <= INT64_MOST:
        raise where.malformed(node.start, f"the number {_shown(where, node)} is larger than any program here can hold")
    return MemberValue(kind="integer", value=int(raw), raw=raw)


def _set(
    where: _JsonText,
    node: JsonNode,
    key: str,
    number: int,
    *,
    behind: str | None,
    fold: bool,
    feeds: Mapping[str, str],
) -> str:
    if not 0 <= number <= encap.LARGEST_MTU:
        raise UsageError(
            f"An MTU of {number} cannot be written to {where.source}: give one from 0 to {encap.LARGEST_MTU}."
        )
    member = _only(where, node, key, fold=fold)
    text = where.text
    if member is None:
        at, piece = _insertion(text, node, key, number, behind)
        return text[:at] + piece + text[at:]
    current = _value(where, member)
    if current.kind == "placeholder":
        fed = feeds.get(current.placeholder or "", "another key or variable when it installs the file")
        raise where.malformed(
            member.value.start,
            f'"{member.key}" is the placeholder {current.placeholder}, which the installer fills from {fed}: '
            "change that instead",
        )
    if current.kind == "other" and current.raw != "null":  # encoding/json takes null for absent
        raise where.malformed(
            member.value.start,
            f'"{member.key}" must be an integer, not {_shown(where, member.value)}: correct it there',
        )
    return text[: member.value.start] + str(number) + text[member.value.end :]


def _insertion(text: str, node: JsonNode, key: str, number: int, behind: str | None) -> tuple[int, str]:
    """Say where a new member goes and how it is written, so that it looks like its neighbours."""
    members = node.members
    if not members:
        return node.start + 1, f"{json.dumps(key)}: {number}"
    index = len(members) - 1
    for place, member in enumerate(members):
        if _folded(member.key) == behind:
            index = place
    neighbour = members[index]
    colon = text[neighbour.end : neighbour.value.start]
    if len(members) > 1:
        nearest = max(index, 1)
        separator = text[members[nearest - 1].value.end : members[nearest].start]
    else:
        before = text[node.start + 1 : neighbour.start]
        separator = "," + (before if "\n" in before else "" if colon == ":" else " ")
    return neighbour.value.end, f"{_one_line(separator)}{json.dumps(key)}{_one_line(colon)}{number}"


def _one_line(separator: str) -> str:
    # Blank lines between two members are the neighbour's affair: only breaks, mark and indentation are copied.
    first, *rest = separator.split("\n")
    return "\n".join([first, *(line for line in rest[:-1] if line.strip()), *rest[-1:]])
