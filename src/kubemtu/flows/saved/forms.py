"""By what a text is recognised, and who takes it: one table, tried from above.

A form of a whole text goes by its name and its text; a form of a document by what YAML or JSON makes of it. To teach
one more, write a module with such a function, which adds to `Facts` and returns True, and give it a line here.
"""

import json
import re
from collections.abc import Callable, Iterator
from typing import Final

import msgspec

from kubemtu.cni import registry
from kubemtu.core.printed import outputs, talos
from kubemtu.core.text import documents, printable
from kubemtu.flows.saved import bundles, kustomize, node_files, objects, printed, snapshots, specifications
from kubemtu.flows.saved.facts import Document, Facts, Text

DOCUMENTS_MOST = 5_000  # of one file
JSON_MOST = 2_000_000  # commas, lists and, twice, mappings of one file: so much memory is had of 64 MiB
WIDE_MOST = 96 * 1024 * 1024  # bytes that a text takes here: one sign of four bytes makes all others as wide (PEP 393)
SIGN_WITHIN: Final = 1 << 16  # characters of a file with an unknown name in which a sign is looked for
LONE = re.compile(r"\\u[dD][89a-fA-F]")  # the escape of a surrogate, which may be alone, and then no encoding has it
FOUR, TWO = re.compile(rb"[\xf0-\xf7]"), re.compile(rb"[\xc4-\xef]")  # UTF-8 of characters that take 4 and 2 bytes
YAML: Final = frozenset({".yaml", ".yml"})
_OBJECT: Final = re.compile(r"^(?:apiVersion|kind): *\S", re.MULTILINE)
_JSON: Final = re.compile(r"\s*[\[{]")
_INI: Final = re.compile(r"\[[A-Za-z_][\w:.-]*\][ \t]*\r?\n")  # a section, where JSON has a list
_LOG: Final = re.compile(r"==== START logs for container [^\n]*\n")  # kubectl: pkg/cmd/clusterinfo/clusterinfo_dump.go
_LOG_END: Final = re.compile(r"^==== END logs for container [^\n]*$", re.MULTILINE)
_TOP: Final = re.compile(r"^apiVersion:", re.MULTILINE)


class Form(msgspec.Struct, frozen=True, kw_only=True):
    """One form in which facts come. Whoever takes a text or a document returns True; nobody else is asked then."""

    what: str
    text: Callable[[Text, Facts], bool] | None = None
    value: Callable[[Document, Facts], bool] | None = None
    sign: re.Pattern[str] | None = None  # of a text: what a file holds that is worth reading whatever its name


FORMS: Final = (
    Form(what="the name of a host", text=bundles.take_host, sign=re.compile(r"\A\s*[\w.-]+\s*\Z")),
    Form(what="a file of a node", text=node_files.take),
    Form(what="what ip, ifconfig or route printed", text=printed.take, sign=outputs.SIGN),
    Form(what="a saved snapshot", value=snapshots.take),
    Form(what="a kustomization", value=kustomize.take),
    Form(what="a JSON 6902 patch", value=kustomize.take_operations),
    Form(what="a net-conf.json", value=node_files.take_net_conf),
    Form(what="a CNI configuration", value=node_files.take_cni),
    Form(what="what `kubemtu node show -o json` printed", value=printed.take_shown),
    Form(what="what `talosctl get` printed", value=printed.take_resource, sign=talos.SIGN),
    Form(what="a file that a cluster is made from", value=specifications.take),
    Form(what="objects of the API and lists of them", value=objects.take),
)


def take(content: bytes, name: str, facts: Facts, *, alone: bool = False) -> None:
    """Take what a file holds. Raises documents.Broken when it is no text, and what a form raises of one alone."""
    text = Text(name=name, text=_decoded(content), alone=alone)
    if not alone and not _promises(text):
        facts.leave(name, "holds nothing that is known here")
        return
    if any(form.text is not None and form.text(text, facts) for form in FORMS):
        return
    for document in _documents(text, facts):
        any(form.value is not None and form.value(document, facts) for form in FORMS)


def _promises(text: Text) -> bool:
    """Say whether a text is worth a parser: by its name, or by what stands in its first lines."""
    if text.path.suffix in {*YAML, ".json", *node_files.SUFFIXES} or text.path.name in kustomize.FILES:
        return True
    begin = text.text[:SIGN_WITHIN]
    signs = (_OBJECT, *(form.sign for form in FORMS if form.sign is not None))
    return _JSON.match(begin) is not None or any(sign.search(begin) for sign in signs)


def _decoded(content: bytes) -> str:
    if len(content) * (4 if FOUR.search(content) else 2 if TWO.search(content) else 1) > WIDE_MOST:
        raise documents.Broken(
            f"is larger than {WIDE_MOST >> 22} MiB, which is the most with signs beyond Latin letters"
        )
    # Windows PowerShell's `>` writes UTF-16.
    encoding = "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as why:
        line = content.count(b"\n", 0, why.start) + 1
        raise documents.Broken(f"is no text in UTF-8: line {line} holds the byte 0x{content[why.start]:02x}") from why


def _documents(text: Text, facts: Facts) -> Iterator[Document]:
    by_name = text.path.suffix
    if by_name == ".json" or (by_name not in YAML and (_JSON.match(text.text) or _LOG.match(text.text))):
        yield from _json(text, facts)
    else:
        yield from _yaml(text, facts)


def _yaml(text: Text, facts: Facts) -> Iterator[Document]:
    parts = ((line + more, part) for line, whole in documents.split(text.text) for more, part in _lists(whole))
    for number, (line, part) in enumerate(parts):
        if number == DOCUMENTS_MOST:
            facts.skip(f"{text.name}:{line}", f"is the {DOCUMENTS_MOST}th document of this file; the rest was left out")
            return
        try:
            value = documents.read(part)
        except documents.Broken as why:
            ours = _is_ours(part) and not documents.TEMPLATE.search(part)
            facts.skip(f"{text.name}:{line + why.line}", str(why), "broken" if ours else "malformed")
            continue
        if value is not None:
            yield Document(of=text, value=value, text=part, line=line + documents.first_line(part))


def _lists(document: str) -> Iterator[tuple[int, str]]:
    """Cut what several `kubectl get -o yaml` wrote into one file: each begins with apiVersion, without a marker."""
    starts = [match.start() for match in _TOP.finditer(document)]
    if len(starts) < 2 or document[: starts[0]].strip().strip("-"):
        yield 0, document
        return
    starts[0] = 0
    line = 0
    for start, end in zip(starts, [*starts[1:], len(document)], strict=True):
        yield line, document[start:end]
        line += document.count("\n", start, end)


def _json(text: Text, facts: Facts) -> Iterator[Document]:
    """Yield one JSON value after the other, as `kubectl cluster-info dump` writes them, its logs left out."""
    whole = text.text
    if whole.count(",") + whole.count("[") + 2 * whole.count("{") > JSON_MOST:
        facts.skip(f"{text.name}:1", f"holds more than {JSON_MOST} values")
        return
    decoder, at, line, number = json.JSONDecoder(), 0, 1, 0
    while True:
        begin = re.compile(r"\s*").match(whole, at).end()  # type: ignore[union-attr]  # matches always
        if (log := _LOG.match(whole, begin)) is not None:
            end = _LOG_END.search(whole, log.end())
            facts.leave(f"{text.name}:{line + whole.count(chr(10), at, begin)}", "is a log")
            line, at = line + whole.count("\n", at, end.end() if end else len(whole)), end.end() if end else len(whole)
            continue
        line += whole.count("\n", at, begin)
        if begin == len(whole) and number:
            return
        if number == DOCUMENTS_MOST:
            facts.skip(f"{text.name}:{line}", f"is the {DOCUMENTS_MOST}th document of this file; the rest was left out")
            return
        try:
            value, at = decoder.raw_decode(whole, begin)
        except json.JSONDecodeError as why:
            if not number and _INI.match(whole, begin):
                facts.leave(text.name, "is an INI file, as an inventory of hosts is")
                return
            ours = _is_ours(whole[begin:])
            facts.skip(f"{text.name}:{why.lineno}", f"is no JSON: {why.msg.lower()}", "broken" if ours else "malformed")
            return
        except (RecursionError, ValueError):
            facts.skip(f"{text.name}:{line}", "nests too deep, or holds a number of too many digits")
            return
        if not _within(value, documents.DEPTH_MOST):
            facts.skip(f"{text.name}:{line}", f"nests too deep: there are more than {documents.DEPTH_MOST} levels")
            return
        number += 1
        part = whole if begin == 0 and at == len(whole) else whole[begin:at]
        yield Document(of=text, value=printable.whole(value) if LONE.search(part) else value, text=part, line=line)
        line += whole.count("\n", begin, at)


def _within(value: object, depth: int) -> bool:
    """Say whether a value nests no deeper: whoever walks through it later does so by recursion."""
    level = [value]
    for _ in range(depth + 1):
        level = [
            inner
            for each in level
            if isinstance(each, dict | list)
            for inner in (each.values() if isinstance(each, dict) else each)
        ]
        if not level:
            return True
    return False


def _is_ours(text: str) -> bool:
    """Return True for a text that may be of the pod network."""
    return re.search("|".join(registry.words()), text, re.IGNORECASE) is not None
