"""Change one scalar inside YAML *text* and keep every other byte.

RKE2 takes chart values from HelmChartConfig `spec.valuesContent`, a string that people write by hand, with comments
that matter to them. PyYAML's composer says where every node begins and ends; this module replaces or inserts there.

Where a new key may go is tried in order of beauty (behind its last sibling, then before the first), and each attempt
is verified: the new text must compose to the old tree with exactly that one path set, or it is not returned. So what
this module does not foresee ends as a refusal, never as a mangled file.

Refused are anchors and aliases (one text place may then mean several values), duplicate keys, several documents, and
merge keys; all of them are rare in chart values, and each is a way to change something else than what was meant.
"""

import json
import re
from collections.abc import Iterator
from typing import TypeAlias

import msgspec
import yaml

from kubemtu.core.errors import Malformed
from kubemtu.core.text.documents import TAG

Tree: TypeAlias = tuple[str, "str | tuple[Tree, ...] | frozenset[tuple[Tree, Tree]]"]

DEPTH_MOST = 64  # chart values nest ten deep; a bound keeps hostile ones from exhausting the stack

_BREAK = re.compile("\r\n|[\r\n\x85\N{LINE SEPARATOR}\N{PARAGRAPH SEPARATOR}]")
_REST_OF_LINE = re.compile("[^\r\n\x85\N{LINE SEPARATOR}\N{PARAGRAPH SEPARATOR}]*+")
_PLAIN_KEY = re.compile(r"[A-Za-z][A-Za-z0-9_.-]*")


def set_value(text: str, path: tuple[str, ...], value: int | str, *, source: str = "the YAML text") -> str:
    """Write an integer, or a string in quotes, at a path of keys, adding what is absent; nothing else changes.

    The path is of keys, such as ("global", "mtu"); text without any value, comments aside, gets the mapping behind
    it. `source` names the text in errors. Raises Malformed when the text is no YAML, holds what this module refuses,
    when the path leads through or to something else, and when no place could be found that keeps all the rest.
    """
    root = compose(text, source)
    written = str(value) if isinstance(value, int) else json.dumps(value, ensure_ascii=False)
    edits = tuple(_edits(text, root, path, written, source))
    before = tree(root) if root is not None and not _null(root) else (f"{TAG}map", frozenset())
    wanted = _with(before, path, (f"{TAG}{'int' if isinstance(value, int) else 'str'}", str(value)))
    for at, end, piece in edits:
        changed = text[:at] + piece + text[end:]
        try:
            after = compose(changed, source)
        except Malformed:
            continue
        if after is not None and tree(after) == wanted:
            return changed
    raise Malformed(
        f"{'.'.join(path)} cannot be set in {source} without touching its neighbours: "
        f"write {path[-1]}: {written} there by hand."
    )


def compose(text: str, source: str) -> yaml.Node | None:
    """Compose the only document of a text, after looking at its events, which costs no recursion.

    `source` names the text in errors. Returns None where it holds nothing. Raises Malformed as `set_value` does.
    """
    depth = documents = 0
    try:
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            documents += isinstance(event, yaml.DocumentStartEvent)
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if getattr(event, "anchor", None) is not None:
                raise _malformed(event, source, "an anchor or alias stands here: write the value out first")
            if documents > 1:
                raise _malformed(event, source, "a second document starts here: leave one")
            if depth > DEPTH_MOST:
                raise _malformed(event, source, f"it nests deeper than {DEPTH_MOST} levels")
        root: yaml.Node | None = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as why:
        mark = why.problem_mark or why.context_mark
        place = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise Malformed(f"In {source}{place}: this is no YAML ({why.problem or why.context}).") from why
    except yaml.reader.ReaderError as why:
        raise Malformed(f"In {source}, character {why.position + 1}: YAML allows no such character.") from why
    except (ValueError, OverflowError) as why:  # PyYAML lets the escape "\\UFFFFFFFF" and endless numbers through
        raise Malformed(f"In {source}: this is no YAML ({why!s:.80}).") from why
    for mapping in _mappings(root):
        _check_keys(mapping, source)
    return root


def _mappings(root: yaml.Node | None) -> Iterator[yaml.MappingNode]:
    waiting = [root]
    while waiting:
        node = waiting.pop()
        if isinstance(node, yaml.MappingNode):
            yield node
            waiting += [part for pair in node.value for part in pair]
        elif isinstance(node, yaml.SequenceNode):
            waiting += node.value


def _check_keys(mapping: yaml.MappingNode, source: str) -> None:
    lines: dict[Tree, int] = {}
    for key, _ in mapping.value:
        if key.tag == f"{TAG}merge":
            raise _malformed(key, source, 'a merge key "<<" stands here: write its values out first')
        meaning = tree(key)
        if meaning in lines:
            raise _malformed(key, source, f"a key stands here a second time, after line {lines[meaning]}: remove one")
        lines[meaning] = key.start_mark.line + 1


def tree(node: yaml.Node) -> Tree:
    """Reduce a node to what it means: tags and values, whatever its style, place and order of keys."""
    if isinstance(node, yaml.MappingNode):
        return node.tag, frozenset((tree(key), tree(value)) for key, value in node.value)
    if isinstance(node, yaml.SequenceNode):
        return node.tag, tuple(tree(item) for item in node.value)
    return node.tag, str(node.value)


def _with(tree: Tree, path: tuple[str, ...], value: Tree) -> Tree:
    """Give the tree in which the path is set; what stands on the way is a mapping, null or absent."""
    if not path:
        return value
    tag, members = tree if tree[0] != f"{TAG}null" else (f"{TAG}map", frozenset())
    assert isinstance(members, frozenset)
    key: Tree = (f"{TAG}str", path[0])
    old = next((held for name, held in members if name == key), (f"{TAG}null", ""))
    kept = frozenset(pair for pair in members if pair[0] != key)
    return tag, kept | {(key, _with(old, path[1:], value))}


class _Style(msgspec.Struct, frozen=True, kw_only=True):
    """How the text is laid out: spaces by level, and its line break."""

    unit: int
    newline: str

    def block(self, path: tuple[str, ...], value: str, column: int) -> str:
        """Write nested keys down to a value, one a line; the first line comes without its indentation."""
        lines = [f"{' ' * (column + self.unit * depth)}{_key(key)}:" for depth, key in enumerate(path)]
        return self.newline.join(lines).lstrip(" ") + f" {value}"


def _edits(
    text: str, root: yaml.Node | None, path: tuple[str, ...], value: str, source: str
) -> Iterator[tuple[int, int, str]]:
    """Yield (start, end, replacement) for each way to set the path, the most natural one first."""
    broken = _BREAK.search(text)
    style = _Style(unit=_unit(root), newline=broken[0] if broken else "\n")
    if root is None or (_null(root) and root.start_mark.index == root.end_mark.index):
        gap = style.newline if text and not _BREAK.fullmatch(text[-1]) else ""
        yield len(text), len(text), gap + style.block(path, value, 0) + style.newline
        return
    node = root
    column = 0
    for place, key in enumerate(path):
        if _null(node):
            yield from _in_null(text, node, style.block(path[place:], value, column + style.unit), column, style)
            start, end = node.start_mark.index, node.end_mark.index
            yield start, end, ("" if end > start else " ") + "{" + _flow(path[place:], value) + "}"
            return
        mapping = _mapping(node, source)
        child = _child(mapping, key)
        if child is None:
            edits = _in_flow if mapping.flow_style else _in_block
            yield from edits(text, mapping, path[place:], value, style)
            return
        column = child[0].start_mark.column
        node = child[1]
    if not isinstance(node, yaml.ScalarNode) or node.style in ("|", ">"):
        raise _malformed(node, source, f'"{path[-1]}" must be a single value on its line: correct it there')
    start, end = node.start_mark.index, node.end_mark.index
    yield start, end, value if end > start else f" {value}"


def _in_flow(
    text: str, mapping: yaml.MappingNode, path: tuple[str, ...], value: str, style: _Style
) -> Iterator[tuple[int, int, str]]:
    """Insert into braces: behind the last value, or before the first key."""
    if not mapping.value:
        at = mapping.start_mark.index + 1
        yield at, at, _flow(path, value)
        return
    first, last = mapping.value[0][0], mapping.value[-1][1]
    written = _flow(path, value, quoted=first.style == '"')
    if last.end_mark.index > last.start_mark.index:  # `{a:, b: 1}` is read differently by different parsers
        yield last.end_mark.index, last.end_mark.index, f", {written}"
    yield first.start_mark.index, first.start_mark.index, f"{written}, "


def _in_block(
    text: str, mapping: yaml.MappingNode, path: tuple[str, ...], value: str, style: _Style
) -> Iterator[tuple[int, int, str]]:
    """Insert into a block mapping: behind the line of its last value, or before its first key."""
    first = mapping.value[0][0].start_mark
    block = style.block(path, value, first.column)
    margin = " " * first.column
    at = _line_end(text, _last(mapping).end_mark.index)
    if _BREAK.fullmatch(text[at - 1]):
        yield at, at, margin + block + style.newline
    yield at, at, style.newline + margin + block
    yield first.index, first.index, block + style.newline + margin


def _in_null(text: str, node: yaml.Node, block: str, column: int, style: _Style) -> Iterator[tuple[int, int, str]]:
    """Put a block mapping below a key of that column whose value is left out."""
    if node.start_mark.index == node.end_mark.index:
        at = _line_end(text, node.start_mark.index)
        yield at, at, style.newline + " " * (column + style.unit) + block


def _last(node: yaml.Node) -> yaml.Node:
    """Give the node whose end is the end of this one's text; a block collection ends later, at the next token."""
    while isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        node = last[1] if isinstance(node, yaml.MappingNode) else last
    return node


def _line_end(text: str, at: int) -> int:
    """Give the place where the line of `at` ends, before its break; `at` itself when a line begins there."""
    if _BREAK.fullmatch(text[at - 1]):
        return at
    match = _REST_OF_LINE.match(text, at)
    assert match is not None  # it matches nothing, too
    return match.end()


def _unit(root: yaml.Node | None) -> int:
    """Give the indentation that the text uses; two spaces when it shows none."""
    for mapping in _mappings(root):
        for key, value in mapping.value:
            if isinstance(value, yaml.MappingNode) and not value.flow_style and value.value:
                step: int = value.value[0][0].start_mark.column - key.start_mark.column
                if step > 0:
                    return step
    return 2


def member(key: str, held: str) -> str:
    """Return a key and its text as a line of YAML: in quotes what YAML would read as a number or as another thing."""
    dumped: str = yaml.safe_dump(held, allow_unicode=True, width=len(held) + 1)
    is_plain = bool(held) and dumped.splitlines()[0] == held
    return f"{key}: {held if is_plain else json.dumps(held, ensure_ascii=False)}"


def _flow(path: tuple[str, ...], value: str, *, quoted: bool = False) -> str:
    written = value
    for place, key in reversed(list(enumerate(path))):
        written = f"{_key(key, quoted=quoted)}: {written}"
        if place:
            written = "{" + written + "}"
    return written


def _key(key: str, *, quoted: bool = False) -> str:
    plain = _PLAIN_KEY.fullmatch(key) and not quoted
    return key if plain else json.dumps(key, ensure_ascii=False)


def _null(node: yaml.Node | None) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.tag == f"{TAG}null"


def _mapping(node: yaml.Node | None, source: str) -> yaml.MappingNode:
    if not isinstance(node, yaml.MappingNode):
        raise _malformed(node, source, "here must stand a mapping of keys to values")
    return node


def _child(mapping: yaml.MappingNode, key: str) -> tuple[yaml.Node, yaml.Node] | None:
    pairs: list[tuple[yaml.Node, yaml.Node]] = mapping.value
    return next((pair for pair in pairs if pair[0].tag == f"{TAG}str" and pair[0].value == key), None)


def _malformed(place: yaml.Node | yaml.Event | None, source: str, sentence: str) -> Malformed:
    mark = getattr(place, "start_mark", None)
    where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
    return Malformed(f"In {source}{where}: {sentence}.")
