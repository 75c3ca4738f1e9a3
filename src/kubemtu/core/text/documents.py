"""YAML as Kubernetes reads it, document by document, from files that nobody vouches for.

libyaml's parser gives the events; the values are put together here, in one pass, and depth and what aliases expand to
are bounded on the way. PyYAML's loader composes a tree of nodes first and would need such a pass besides: it takes
four times as long and five times the memory (`scripts/bench reading`). Dates stay text, as in the API, and so does
"22:22", in which YAML 1.1 sees a number of base 60.
"""

import itertools
import re
from collections.abc import Iterator

import msgspec
import yaml

DEPTH_MOST = 100  # CRD schemas nest to about forty
VALUES_MOST = 1_500_000  # of one document, aliases expanded; a list of 5,000 pods has 700,000
TEXT_MOST = 64 << 20  # characters of one document, aliases expanded

MARKER = re.compile(r"^---(?=[ \t\r]|$)", re.MULTILINE)
# a line that is more than a marker, a directive, a comment or an end
SAYS = re.compile(r"^(?:---(?=[ \t\r]|$))?+[ \t\r]*+(?!#|%|\.\.\.)[^\s]", re.MULTILINE)
TEMPLATE = re.compile(r"\{\{")
TAG = "tag:yaml.org,2002:"
NULLS = frozenset({"", "~", "null", "Null", "NULL"})
WORDS = {
    word: truth
    for words, truth in ((("yes", "true", "on"), True), (("no", "false", "off"), False))
    for each in words
    for word in (each, each.capitalize(), each.upper())
}
INTEGER = re.compile(r"[-+]?(?:0b[01_]+|0o?[0-7_]+|0x[0-9a-fA-F_]+|0|[1-9][0-9_]*)")
FLOAT = re.compile(r"[-+]?(?:[0-9][0-9_]*\.[0-9_]*|\.[0-9][0-9_]*|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?")
BASES = {"0b": 2, "0o": 8, "0x": 16}
# libyaml's parser where PyYAML has it: ten times as fast.
_LOADER: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class Broken(Exception):
    """A text that cannot be read; `line` counts from the document's first, which is 0.

    The sentence may quote the text: what has no shape of its own is written out (str.isprintable).
    """

    def __init__(self, sentence: str, line: int = 0) -> None:
        super().__init__("".join(one if one.isprintable() else ascii(one)[1:-1] for one in sentence))
        self.line = line


class _Open(msgspec.Struct):
    """A mapping or a list whose end has not come yet."""

    value: dict[str, object] | list[object]
    before: int  # how many values had been counted when it began
    text: int  # and how many characters
    anchor: str | None
    key: str | None = None
    merging: bool = False


def split(text: str) -> Iterator[tuple[int, str]]:
    """Cut YAML at its document markers; yield the line, from 1, and the text of each document that holds anything.

    A marker at the beginning of a line ends any document, whatever it is in the middle of (YAML 1.2, section 9.1.2).
    """
    starts = itertools.chain([0], (match.start() for match in MARKER.finditer(text) if match.start()), [len(text)])
    line = 1
    for start, end in itertools.pairwise(starts):
        document = text[start:end]
        if SAYS.search(document):
            yield line, document
        line += document.count("\n")


def first_line(document: str) -> int:
    """Return the place, from 0, of the first line that is more than a marker, a directive or a comment."""
    found = SAYS.search(document)
    return document.count("\n", 0, found.start()) if found else 0


def read(document: str, *, most: int = VALUES_MOST) -> object:
    """Read one document as JSON has it: keys are text, aliases stand for what they repeat.

    `most` bounds the values. Raises Broken when it is no YAML, nests too deep, expands to too much, or uses a tag of
    its own.
    """
    hint = "; it looks like a template: render it first, as `helm template` does" if TEMPLATE.search(document) else ""
    try:
        return _Builder(most).build(document)
    except Broken as why:
        raise Broken(f"{why}{hint}", why.line) from why
    except yaml.MarkedYAMLError as why:
        mark = why.problem_mark or why.context_mark
        sentence = " ".join(str(why.problem or why.context).split())
        # YAML counts other ends of lines as well, such as NEL, and no editor does.
        line = min(mark.line, document.count("\n")) if mark else first_line(document)
        raise Broken(f"is no YAML: {sentence}{hint}", line) from why
    except (yaml.YAMLError, ValueError, OverflowError) as why:
        raise Broken(f"is no YAML: {' '.join(str(why).split()):.200}", first_line(document)) from why


class _Builder:
    """Puts a document together from its events."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.open: list[_Open] = []
        self.anchors: dict[str, tuple[object, int, int]] = {}
        self.count = self.text = 0
        self.root: object = None

    def build(self, document: str) -> object:
        for event in yaml.parse(document, Loader=_LOADER):
            if isinstance(event, yaml.ScalarEvent):
                self._count(1, len(event.value), event)
                self._scalar(event)
            elif isinstance(event, yaml.MappingStartEvent | yaml.SequenceStartEvent):
                self._count(1, 0, event)
                self._begin(event)
            elif isinstance(event, yaml.CollectionEndEvent):
                done = self.open.pop()
                self._anchor(done.anchor, done.value, self.count - done.before, self.text - done.text)
                self._add(done.value, event)
            elif isinstance(event, yaml.AliasEvent):
                known = self.anchors.get(event.anchor or "")
                if known is None:
                    raise Broken(f"uses the alias *{event.anchor} before what it stands for is there", _line(event))
                self._count(known[1], known[2], event)
                self._add(known[0], event)
        return self.root

    def _begin(self, event: yaml.CollectionStartEvent) -> None:
        if len(self.open) == DEPTH_MOST:
            raise Broken(f"nests deeper than {DEPTH_MOST} levels", _line(event))
        is_map = isinstance(event, yaml.MappingStartEvent)
        if event.tag not in (None, "!", f"{TAG}map" if is_map else f"{TAG}seq"):
            raise Broken(f"uses the tag {event.tag}, which no Kubernetes object has", _line(event))
        self.open.append(_Open(value={} if is_map else [], before=self.count - 1, text=self.text, anchor=event.anchor))

    def _scalar(self, event: yaml.ScalarEvent) -> None:
        plain = event.implicit[0] and event.tag is None
        value = _resolved(event.value) if plain else _tagged(event)
        self._anchor(event.anchor, value, 1, len(event.value))
        inner = self.open[-1] if self.open else None
        if plain and event.value == "<<" and inner is not None and isinstance(inner.value, dict) and inner.key is None:
            inner.key, inner.merging = "<<", True
            return
        self._add(value, event)

    def _add(self, value: object, event: yaml.Event) -> None:
        """Put a value where it belongs: into the list, or as the next key or value of the mapping."""
        if not self.open:
            self.root = value
            return
        inner = self.open[-1]
        if isinstance(inner.value, list):
            inner.value.append(value)
        elif inner.key is None:
            inner.key = _key(value, event)
        elif inner.merging:
            for each in value if isinstance(value, list) else [value]:
                if not isinstance(each, dict):
                    raise Broken("merges something that is no mapping with <<", _line(event))
                for key, held in each.items():
                    inner.value.setdefault(key, held)
            inner.key, inner.merging = None, False
        else:
            inner.value[inner.key] = value
            inner.key = None

    def _anchor(self, name: str | None, value: object, size: int, text: int) -> None:
        if name is not None:
            self.anchors[name] = (value, size, text)

    def _count(self, more: int, text: int, event: yaml.Event) -> None:
        self.count += more
        self.text += text
        if self.count > self.most:
            raise Broken(f"holds more than {self.most} values, its aliases expanded", _line(event))
        if self.text > TEXT_MOST:
            raise Broken(f"holds more than {TEXT_MOST} characters, its aliases expanded", _line(event))


def _line(event: yaml.Event) -> int:
    return event.start_mark.line if event.start_mark is not None else 0


def _key(value: object, event: yaml.Event) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, dict | list):
        raise Broken("has a mapping or a list as a key", _line(event))
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _tagged(event: yaml.ScalarEvent) -> object:
    """Return a quoted scalar, or one with a tag: text, unless the tag asks for what a plain one would be."""
    if event.tag in (None, "!", f"{TAG}str", f"{TAG}binary", f"{TAG}timestamp"):
        return str(event.value)
    if event.tag in {f"{TAG}{kind}" for kind in ("int", "float", "bool", "null")}:
        return _resolved(event.value)
    raise Broken(f"uses the tag {event.tag}, which no Kubernetes object has", _line(event))


def _resolved(text: str) -> object:
    """Return the value of a scalar without quotes. Raises ValueError for a number of too many digits."""
    if text in NULLS:
        return None
    if (truth := WORDS.get(text)) is not None:
        return truth
    if not (text[0].isdecimal() or text[0] in "+-."):
        return text
    if INTEGER.fullmatch(text) and any(map(str.isalnum, text)):
        return _integer(text.replace("_", ""))
    if FLOAT.fullmatch(text):
        return float(text.replace("_", ""))
    return text


def _integer(text: str) -> int | str:
    sign, digits = (-1, text[1:]) if text[0] == "-" else (1, text.removeprefix("+"))
    base = BASES.get(digits[:2].lower())
    if base is not None:
        digits = digits[2:]
    elif digits[0] == "0" and len(digits) > 1:
        base = 8
    return sign * int(digits, base or 10) if digits else text
