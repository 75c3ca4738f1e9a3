"""Change one value of one object inside a file of manifests, or add an item, and keep every other byte.

The file is its owner's, so the object is found as PyYAML's composer places it, and the change goes where the value
stands, in whatever style it is written there: plain, quoted, a block of literal text with JSON in it. What is written
is the part of the value that changes, and nothing is returned that does not read as the same documents with that one
value in the new place. So what this module does not foresee ends as a refusal, never as a mangled file.
"""

import difflib
import itertools
import json
import re
from collections.abc import Iterator, Mapping, Sequence

import msgspec
import yaml

from kubemtu.core.errors import Malformed
from kubemtu.core.text import documents, yaml_edit

TRIES_MOST = 64  # places where the same digits stand in one value
STRING, INTEGER, NULL = "tag:yaml.org,2002:str", "tag:yaml.org,2002:int", "tag:yaml.org,2002:null"
_WORD = re.compile(r"[A-Za-z0-9]*")


class ObjectPlace(msgspec.Struct, frozen=True):
    """Where an object stands in a file: its document from `start` to `end`, and the `prefix` of its place in a List."""

    start: int
    end: int
    root: yaml.Node
    prefix: tuple[str | int, ...] = ()

    def at(self, path: Sequence[str | int]) -> yaml.Node | None:
        """Return the node at a path of the object, or None."""
        return _at(self.root, (*self.prefix, *path))


def set_value(
    text: str,
    name: tuple[str, str, str | None],
    path: Sequence[str | int],
    before: str | int | None,
    after: str | int | None,
    *,
    source: str = "the file",
) -> str:
    """Return the text with the value at `path` of one object changed from `before` to `after`.

    `name` is the object's kind, name and namespace; a document that names no namespace is in any. None as `before`
    means that nothing stands there. Raises Malformed when the object is not there, holds something else than `before`,
    or when no way was found that keeps all the rest.
    """
    found = find(text, name, source)
    return _set(text, found, path, before, after, f"{'.'.join(map(str, path))} of {name[0]} {name[1]}", source)


def add_item(
    text: str,
    name: tuple[str, str, str | None],
    path: Sequence[str | int],
    item: Mapping[str, object],
    *,
    source: str = "the file",
) -> str | None:
    """Return the text with an item of texts behind the last one of a list, written as that one is.

    `path` ends with the number that the item will have; `name` is as for `set_value`. None where the list is not there,
    is not written as lines of its own, or where no way was found that keeps all the rest.
    """
    found = find(text, name, source)
    held, number = found.at(path[:-1]), path[-1]
    if not isinstance(held, yaml.SequenceNode) or not held.value or number != len(held.value):
        return None
    last = held.value[-1]
    if not isinstance(last, yaml.MappingNode) or not last.value:
        return None
    texts = {key: each for key, each in item.items() if isinstance(each, str)}
    document = text[found.start : found.end]
    if not last.flow_style:
        changed = _with_lines(document, last, _block_item(held, last, texts))
    elif last.start_mark.line != last.end_mark.line:
        return None
    elif not held.flow_style:
        changed = _with_lines(document, last, [f"{_dash(held, last)}{_flow_item(last, texts)}"])
    elif held.start_mark.line == last.end_mark.line:
        end = last.end_mark.index
        changed = f"{document[:end]}, {_flow_item(last, texts)}{document[end:]}"
    else:
        return None
    if not _reads_with(changed, found, path, item, source):
        return None
    return text[: found.start] + changed + text[found.end :]


def _with_lines(document: str, last: yaml.MappingNode, lines: Sequence[str]) -> str:
    """Return a document with these lines behind those of the last item."""
    end = _leaf(last).end_mark.index
    if not document[:end].endswith("\n"):  # a comment behind the value is the value's
        end = next((at + 1 for at in range(end, len(document)) if document[at] == "\n"), len(document))
    before = document[:end]
    ending = "\r\n" if "\r\n" in before else "\n"
    whole = "" if before.endswith("\n") else ending
    return f"{before}{whole}{''.join(f'{line}{ending}' for line in lines)}{document[end:]}"


def _dash(held: yaml.Node, last: yaml.Node) -> str:
    column = held.start_mark.column
    return " " * column + "-" + " " * (last.start_mark.column - column - 1)


def _block_item(held: yaml.Node, last: yaml.MappingNode, item: Mapping[str, str]) -> list[str]:
    """Return the lines of an item, in the indentation and the quotes of the last one."""
    quote = next((each.style for _, each in reversed(last.value) if _quoted(each)), '"')
    lines = [f"{key}: {_as_text(value, quote if at else None)}" for at, (key, value) in enumerate(item.items())]
    margin = " " * last.start_mark.column
    return [f"{margin if at else _dash(held, last)}{line}" for at, line in enumerate(lines)]


def _flow_item(last: yaml.MappingNode, item: Mapping[str, str]) -> str:
    """Return an item in braces, with the quotes of the last one, which in JSON are around everything."""
    whole = last.value[0][0].style == '"'
    quote = next((each.style for _, each in reversed(last.value) if _quoted(each)), '"')
    pairs = (
        f"{json.dumps(key) if whole else key}: {_as_text(value, quote if at or whole else None)}"
        for at, (key, value) in enumerate(item.items())
    )
    return f"{{{', '.join(pairs)}}}"


def _quoted(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.style in {'"', "'"}


def _as_text(value: str, quote: str | None) -> str:
    return value if quote is None else f"'{value}'" if quote == "'" else json.dumps(value, ensure_ascii=False)


def _leaf(node: yaml.Node) -> yaml.Node:
    """Return what stands last in a node: a block's own end is where the next thing begins."""
    while isinstance(node, (yaml.MappingNode, yaml.SequenceNode)) and node.value and not node.flow_style:
        last = node.value[-1]
        node = last[1] if isinstance(last, tuple) else last
    return node


def _reads_with(
    changed: str, found: ObjectPlace, path: Sequence[str | int], item: Mapping[str, object], source: str
) -> bool:
    """Say whether a document reads as before, but for that one item at the end of its list."""
    try:
        root = yaml_edit.compose(changed, source)
    except Malformed:
        return False
    held = _at(root, (*found.prefix, *path[:-1]))
    if root is None or not isinstance(held, yaml.SequenceNode) or len(held.value) - 1 != path[-1]:
        return False
    made = held.value.pop()
    pairs = made.value if isinstance(made, yaml.MappingNode) else []
    written = {key.value: each.value for key, each in pairs if each.tag == STRING}
    return written == dict(item) and yaml_edit.tree(root) == yaml_edit.tree(found.root)


def set_in_file(
    text: str,
    kind: str,
    path: Sequence[str | int],
    before: str | int | None,
    after: str | int | None,
    *,
    source: str = "the file",
) -> str:
    """Return the text with one value changed in a document that is no object of the API: it has no metadata.

    `kind` is what such a document says of itself, empty where it has none. Of several that one is meant which holds
    `before`. Raises Malformed as `set_value` does.
    """
    alike = [each for each in _objects(text, source, kind) if _is_plain(each, kind)]
    what = f"{'.'.join(map(str, path))}{f' of {kind}' if kind else ''}"
    holding = [each for each in alike if _holds(each.at(path), before)]
    if not alike or len(holding) > 1:
        many = "holds that more than once: leave one" if alike else f"has no document for {what}"
        raise Malformed(f"{source} {many}.")
    return _set(text, (holding or alike)[0], path, before, after, what, source)


def holds_in_file(
    text: str, kind: str, path: Sequence[str | int], before: str | int | None, source: str = "the file"
) -> bool:
    """Say whether a document that is no object has `before` at a path; None: nothing stands there."""
    alike = (each for each in _objects(text, source, kind) if _is_plain(each, kind))
    return any(_holds(each.at(path), before) for each in alike)


def _is_plain(place: ObjectPlace, kind: str) -> bool:
    is_mapping = isinstance(place.root, yaml.MappingNode) and not place.prefix
    return is_mapping and (_word(place, "kind") or "") == kind and place.at(("metadata",)) is None


def _holds(place: yaml.Node | None, before: str | int | None) -> bool:
    if before is None:
        return place is None or place.tag == NULL
    return isinstance(place, yaml.ScalarNode) and place.tag != NULL and place.value == str(before)


def _set(
    text: str,
    found: ObjectPlace,
    path: Sequence[str | int],
    before: str | int | None,
    after: str | int | None,
    what: str,
    source: str,
) -> str:
    place = found.at(path)
    if after is None:
        raise Malformed(f"{what} is to be taken away, which is not done in {source}: remove it there by hand.")
    if before is None and _holds(place, None):
        return _added(text, found, path, after, what, source)
    if not isinstance(place, yaml.ScalarNode) or before is None or place.value != str(before):
        raise Malformed(
            f"{source} does not hold what the plan starts from at {what}: plan from the same file (--from), or bring it"
            " up to date first."
        )
    for changed in _attempts(text[found.start : found.end], place, str(before), str(after)):
        if _reads(changed, found, path, after, source):
            return text[: found.start] + changed + text[found.end :]
    raise Malformed(f"{what} cannot be changed in {source} without touching its neighbours: change it there by hand.")


def find(text: str, name: tuple[str, str, str | None], source: str = "the file") -> ObjectPlace:
    """Find an object among the documents of a text, or in a List. Raises Malformed where it is not, or is twice."""
    found = [each for each in _objects(text, source, name[1]) if _is(each, name)]
    kind, named, _ = name
    if not found:
        raise Malformed(f"{source} holds no {kind} {named}: name the file that does.")
    if len(found) > 1:
        raise Malformed(f"{source} holds {kind} {named} {len(found)} times: leave one.")
    return found[0]


def holds(text: str, name: tuple[str, str, str | None], source: str = "the file") -> bool:
    """Say whether an object stands in a text at all. Raises Malformed for a document that may be it and is no YAML."""
    return any(_is(each, name) for each in _objects(text, source, name[1]))


def _objects(text: str, source: str, word: str) -> Iterator[ObjectPlace]:
    """Yield the objects of each document that speaks of `word`: composing half a megabyte of CRDs takes seconds."""
    starts = [0, *(match.start() for match in documents.MARKER.finditer(text) if match.start()), len(text)]
    for start, end in itertools.pairwise(starts):
        document = text[start:end]
        if word not in document or not documents.SAYS.search(document):
            continue
        root = yaml_edit.compose(document, source)
        if root is not None:
            yield ObjectPlace(start, end, root)
            items = _at(root, ("items",))
            if isinstance(items, yaml.SequenceNode):
                yield from (ObjectPlace(start, end, root, ("items", number)) for number in range(len(items.value)))


def _is(place: ObjectPlace, name: tuple[str, str, str | None]) -> bool:
    kind, named, namespace = name
    said = _word(place, "metadata", "namespace")
    same = said is None or namespace is None or said == namespace
    return _word(place, "kind") == kind and _word(place, "metadata", "name") == named and same


def _word(place: ObjectPlace, *path: str) -> str | None:
    held = place.at(path)
    return str(held.value) if isinstance(held, yaml.ScalarNode) else None


def _at(node: yaml.Node | None, path: Sequence[str | int]) -> yaml.Node | None:
    here = node
    for key in path:
        if isinstance(here, yaml.MappingNode):
            pairs: list[tuple[yaml.Node, yaml.Node]] = here.value
            here = next((held for name, held in pairs if name.value == key), None)
        elif isinstance(here, yaml.SequenceNode) and isinstance(key, int) and key < len(here.value):
            here = here.value[key]
        else:
            return None
    return here


def _added(text: str, place: ObjectPlace, path: Sequence[str | int], after: str | int, what: str, source: str) -> str:
    if place.prefix or not all(isinstance(key, str) for key in path):
        raise Malformed(f"{what} is missing in {source}: add it there by hand, as {json.dumps(after)}.")
    keys = tuple(str(key) for key in path)
    changed = yaml_edit.set_value(text[place.start : place.end], keys, after, source=source)
    return text[: place.start] + changed + text[place.end :]


def _attempts(document: str, place: yaml.ScalarNode, before: str, after: str) -> Iterator[str]:
    """Yield the document with the part of a scalar replaced that changes, at each place where it may stand."""
    start, end = place.start_mark.index, place.end_mark.index
    raw = document[start:end]
    if place.style == "|":
        yield document[:start] + _block(raw, before, after) + document[end:]
        return
    head, old, new = _changed(before, after)
    written = _written(new, place.style)
    offset = -1
    candidates: list[int] = []
    while old and len(candidates) < TRIES_MOST and (offset := raw.find(old, offset + 1)) >= 0:
        candidates.append(offset)
    # What stands before it in the value stands before it in the text, too, with more around it.
    candidates.sort(key=lambda at: (at < head, at))
    for at in candidates:
        yield document[:start] + raw[:at] + written + raw[at + len(old) :] + document[end:]
    if place.style != ">":
        quoted = after if place.style is None else json.dumps(after, ensure_ascii=False)
        yield document[:start] + (f"'{after}'" if place.style == "'" else quoted) + document[end:]
        yield document[:start] + after + document[end:]  # a number that stood in quotes, and must not


def _changed(before: str, after: str) -> tuple[int, str, str]:
    """Return what differs: how many characters stand before it, what was there, and what will be.

    Widened to whole words, so that 145 becoming 1450 is one number that becomes another, and nothing is ever empty
    unless the value is.
    """
    head = next((at for at, (one, other) in enumerate(zip(before, after, strict=False)) if one != other), None)
    head = min(len(before), len(after)) if head is None else head
    most = min(len(before), len(after)) - head
    tail = next((at for at in range(most) if before[-1 - at] != after[-1 - at]), most)
    while head and _WORD.fullmatch(before[head - 1]):
        head -= 1
    while tail and _WORD.fullmatch(before[len(before) - tail]):
        tail -= 1
    if head + tail == len(before) and head:
        head -= 1  # nothing goes, something comes: told by what stands before it
    return head, before[head : len(before) - tail], after[head : len(after) - tail]


def _block(raw: str, before: str, after: str) -> str:
    """Return a block of literal text whose lines that differ are written anew, at the margin that it has."""
    head, *body = raw.splitlines(keepends=True)
    margin = min((len(line) - len(line.lstrip(" ")) for line in body if line.strip()), default=0)
    ending = "\r\n" if head.endswith("\r\n") else "\n"
    old, new = before.splitlines(), after.splitlines()
    made = [head]
    for what, start, end, first, last in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if what == "equal":
            made += body[start:end]
        else:
            made += [f"{' ' * margin if line else ''}{line}{ending}" for line in new[first:last]]
    made += body[len(old) :]
    return "".join(made) if raw.endswith(("\n", "\r")) else "".join(made).removesuffix(ending)


def _written(new: str, style: str | None) -> str:
    """Return a part of a value as that style writes it."""
    if style == '"':
        return json.dumps(new, ensure_ascii=False)[1:-1]
    return new.replace("'", "''") if style == "'" else new


def _reads(changed: str, found: ObjectPlace, path: Sequence[str | int], after: str | int, source: str) -> bool:
    """Say whether a document reads as before, but for that one value."""
    try:
        root = yaml_edit.compose(changed, source)
    except Malformed:
        return False
    whole = (*found.prefix, *path)
    place, old = _at(root, whole), _at(found.root, whole)
    if root is None or not isinstance(place, yaml.ScalarNode) or not isinstance(old, yaml.ScalarNode):
        return False
    if place.value != str(after) or place.tag != (STRING if isinstance(after, str) else INTEGER):
        return False
    place.tag, place.value = old.tag, old.value
    return yaml_edit.tree(root) == yaml_edit.tree(found.root)
