"""Read JSON *text* into the spans of its values, so that one can be replaced and every other byte kept.

What it accepts is RFC 8259 plus bare placeholders as values, because that is what the parser at the end accepts
(Go's encoding/json, after the substitution): no comments, no trailing commas, no byte order mark.
"""

import json
import re
from typing import Literal

import msgspec

from kubemtu.core.errors import Malformed

DEPTH_MOST = 64  # real configurations nest five deep; a bound keeps hostile ones from exhausting the stack
INTEGER = re.compile(r"-?(?:0|[1-9][0-9]*+)")
PLACEHOLDER = re.compile(r"__[A-Z0-9](?:_?[A-Z0-9])*+__")

_SPACE = re.compile(r"[ \t\r\n]*+")
_STRING = re.compile(r'"[^"\\\x00-\x1f]*+(?:\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})[^"\\\x00-\x1f]*+)*+"')
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?(?:[eE][+-]?[0-9]++)?")
_WORD = re.compile(r"true|false|null")
_BARE: tuple[tuple[re.Pattern[str], Literal["number", "word", "placeholder"]], ...] = (
    (_NUMBER, "number"),
    (_WORD, "word"),
    (PLACEHOLDER, "placeholder"),
)


class JsonNode(msgspec.Struct, frozen=True, kw_only=True):
    """One JSON value and where it stands: text[start:end]."""

    kind: Literal["object", "array", "string", "number", "word", "placeholder"]
    start: int
    end: int
    members: tuple["JsonMember", ...] = ()
    items: tuple["JsonNode", ...] = ()


class JsonMember(msgspec.Struct, frozen=True, kw_only=True):
    """One member of an object: its decoded key, where the key stands with its quotes, and its value."""

    key: str
    start: int
    end: int
    value: JsonNode


def parse(text: str, *, source: str = "the JSON text") -> JsonNode:
    """Read JSON that may hold bare placeholders as values.

    `source` names the text in errors. Raises Malformed with line and column when it is no such JSON.
    """
    return _Parser(text, source).document()


class _Parser:
    """A recursive descent over the text, with a bound on its depth; each character is looked at once."""

    def __init__(self, text: str, source: str) -> None:
        self.text = text
        self.source = source
        self.at = 0

    def document(self) -> JsonNode:
        self._space()
        root = self._value(0)
        self._space()
        if self.at != len(self.text):
            raise self._unexpected("the end")
        return root

    def _value(self, depth: int) -> JsonNode:
        start = self.at
        mark = self.text[start : start + 1]
        if mark in {"{", "["}:
            if depth == DEPTH_MOST:
                raise malformed(self.text, self.source, start, f"it nests deeper than {DEPTH_MOST} levels")
            return self._object(depth) if mark == "{" else self._array(depth)
        if mark == '"':
            self._token(_STRING, "a string that ends on its line, with valid escapes")
            return JsonNode(kind="string", start=start, end=self.at)
        for pattern, kind in _BARE:
            if match := pattern.match(self.text, start):
                self.at = match.end()
                return JsonNode(kind=kind, start=start, end=self.at)
        raise self._unexpected("a value")

    def _object(self, depth: int) -> JsonNode:
        start = self.at
        members: list[JsonMember] = []
        more = self._opened("}")
        while more:
            at = self.at
            self._token(_STRING, "a key in double quotes")
            end = self.at
            self._space()
            if not self._peek(":"):
                raise self._unexpected("':'")
            self.at += 1
            self._space()
            value = self._value(depth + 1)
            members.append(JsonMember(key=decoded(self.text[at:end]), start=at, end=end, value=value))
            more = self._continued("}")
        return JsonNode(kind="object", start=start, end=self.at, members=tuple(members))

    def _array(self, depth: int) -> JsonNode:
        start = self.at
        items: list[JsonNode] = []
        more = self._opened("]")
        while more:
            items.append(self._value(depth + 1))
            more = self._continued("]")
        return JsonNode(kind="array", start=start, end=self.at, items=tuple(items))

    def _opened(self, close: str) -> bool:
        """Step over the opening bracket; say whether anything is inside."""
        self.at += 1
        self._space()
        return not self._closed(close)

    def _continued(self, close: str) -> bool:
        """Step over what follows an element; say whether it was a comma."""
        self._space()
        if self._closed(close):
            return False
        if not self._peek(","):
            raise self._unexpected(f"',' or {close!r}")
        self.at += 1
        self._space()
        return True

    def _closed(self, close: str) -> bool:
        closed = self._peek(close)
        self.at += closed
        return closed

    def _space(self) -> None:
        match = _SPACE.match(self.text, self.at)
        assert match is not None  # the empty string matches, too
        self.at = match.end()

    def _peek(self, mark: str) -> bool:
        return self.text.startswith(mark, self.at)

    def _token(self, pattern: re.Pattern[str], expected: str) -> None:
        match = pattern.match(self.text, self.at)
        if match is None:
            raise self._unexpected(expected)
        self.at = match.end()

    def _unexpected(self, expected: str) -> Malformed:
        rest = self.text[self.at : self.at + 2]
        if rest in ("//", "/*") or rest[:1] == "#":
            found = "a comment stands there, which CNI's own JSON parser rejects: remove it"
        elif rest[:1] in ("}", "]") and self.text[: self.at].rstrip(" \t\r\n").endswith(","):
            found = "a comma without a member behind it, which CNI's own JSON parser rejects: remove it"
        elif not rest:
            found = f"it ends where {expected} must stand"
        else:
            found = f"{rest[0]!r} stands where {expected} must stand"
        return malformed(self.text, self.source, self.at, found)


def malformed(text: str, source: str, at: int, sentence: str) -> Malformed:
    """Return the error of a place in a text: `at` counts characters."""
    line = text.count("\n", 0, at) + 1
    column = at - (text.rfind("\n", 0, at) + 1) + 1
    return Malformed(f"In {source}, line {line}, column {column}: {sentence}.")


def decoded(token: str) -> str:
    """Return what a JSON string says, from its token with quotes."""
    decoded: str = json.loads(token)
    return decoded
