"""Manifests, `kubectl get -o yaml`, node files and saved snapshots on disk, as one Snapshot: no cluster needed.

What is wrong with one document never hides the others: each is read alone, and what cannot be read becomes an entry
with file and line. Files come from anywhere, so their size and number are bounded here, their depth in `documents`.
"""

import itertools
import json
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import msgspec

from kubemtu import files
from kubemtu.cni import registry
from kubemtu.core.disclosure import files as disclosure_files
from kubemtu.core.errors import Malformed, UsageError
from kubemtu.core.net import NodeFile, NodeObservation
from kubemtu.core.objects import Object
from kubemtu.core.snapshot import SCHEMA, Snapshot, Unread
from kubemtu.core.text import documents, printable
from kubemtu.flows.saved import kustomize

BYTES_MOST = 64 * 1024 * 1024  # a dump of 5,000 pods is 20 MB
TOTAL_MOST = 2 * BYTES_MOST  # of all files below a folder
WIDE_MOST = 96 * 1024 * 1024  # bytes that a text takes here: one sign of four bytes makes all others as wide (PEP 393)
FILES_MOST = 20_000
ENTRIES_MOST = 100_000  # names in all folders: a link to / leads to more
DOCUMENTS_MOST = 5_000  # of one file
JSON_MOST = 2_000_000  # commas, lists and, twice, mappings of one file: so much memory is had of 64 MiB
PIPE_SECONDS = 60.0  # in which whoever writes into `--from <(kubectl get ...)` must say something
SUFFIXES = frozenset({".yaml", ".yml", ".json", ".conflist", ".conf", ".env"})
NET_CONF = "net-conf.json"  # how its name ends where a document of that form was saved under another one
NODE_OWN = re.compile(r"\d\d-.+\.conf(?:list)?|subnet\.env|net-conf\.json")  # names that a node itself uses


LONE = re.compile(r"\\u[dD][89a-fA-F]")  # the escape of a surrogate, which may be alone, and then no encoding has it
FOUR, TWO = re.compile(rb"[\xf0-\xf7]"), re.compile(rb"[\xc4-\xef]")  # UTF-8 of characters that take 4 and 2 bytes


class _Read(msgspec.Struct):
    """What has been read so far."""

    objects: list[Object] = msgspec.field(default_factory=list)
    unread: list[Unread] = msgspec.field(default_factory=list)
    patches: set[str] = msgspec.field(default_factory=set)  # files that a kustomization names as patches
    files: list[tuple[str, NodeFile]] = msgspec.field(default_factory=list)  # name of the node, file

    def skip(self, where: str, message: str, why: Literal["malformed", "broken"] = "malformed") -> None:
        """Note what could not be read: "broken" is a text of the pod network's that no parser takes."""
        self.unread.append(Unread(what=where, why=why, message=message))


def load(path: Path) -> Snapshot:
    """Read a file, or every manifest below a folder, as an offline Snapshot; a saved snapshot comes back as it was.

    Documents that are no objects of the API, and files that are no YAML or JSON, are entries in `unread`. A conflist, a
    subnet.env or a net-conf.json becomes a file of a node that is named after the file, or after its folder
    where several lie together.
    Raises UsageError when there is nothing at `path`, and Malformed when nothing there can be used.
    """
    read = _Read()
    if _is_folder(path):
        found = list(_walk(path, read))
        for file in found:
            _file(file, file.relative_to(path), read, alone=False)
        if not found:
            raise UsageError(f"{path} holds no manifests: none of its files ends in {', '.join(sorted(SUFFIXES))}.")
        source = f"folder {path}"
    else:
        snapshot = _file(path, Path(path.name), read, alone=True)
        if snapshot is not None:
            return snapshot
        source = f"file {path}"
    read.objects = kustomize.joined(read.objects, read.patches)
    _note_repeated(read)
    if not read.objects and not read.files:
        first = f" ({read.unread[0].what}: {read.unread[0].message})" if read.unread else ""
        raise Malformed(f"{path} holds no Kubernetes object and no CNI configuration that could be read{first}.")
    return Snapshot(
        source=source,
        offline=True,
        objects=tuple(read.objects),
        nodes=tuple(_nodes(read.files)),
        unread=tuple(read.unread),
        taken_at=time.time(),
    )


def _is_folder(path: Path) -> bool:
    """Say whether there is a folder at `path`. Raises UsageError where that cannot be said, as of a name with a NUL."""
    try:
        return path.is_dir()
    except (OSError, ValueError) as why:
        raise UsageError(f"{path} cannot be read: {why}") from why


def _walk(folder: Path, read: _Read) -> Iterator[Path]:
    """Yield the manifests below a folder in the order of their names; links are followed, each folder is read once."""
    waiting, visited, count, entries, total = [folder], set(), 0, 0, 0
    while waiting:
        here = waiting.pop(0)
        try:
            about = here.stat()
            if files.of_the_kernel(about):
                read.skip(_below(here, folder), "is a folder of the kernel (/proc, /sys), which holds no manifests")
                continue
            listed = sorted(itertools.islice(here.iterdir(), ENTRIES_MOST - entries + 1))
        except OSError as why:
            read.skip(_below(here, folder), f"cannot be read: {why.strerror}")
            continue
        if (about.st_dev, about.st_ino) in visited:
            read.skip(_below(here, folder), "is a link to a folder that was read already")
            continue
        visited.add((about.st_dev, about.st_ino))
        entries += len(listed)
        for each in listed:
            size = _size(each, folder, waiting, read)
            if size is None:
                continue
            count, total = count + 1, total + size
            if count > FILES_MOST or total > TOTAL_MOST:
                most = f"{FILES_MOST} files" if count > FILES_MOST else f"{TOTAL_MOST >> 20} MiB"
                read.skip(str(folder), f"holds more than {most}; the rest was left out")
                return
            yield each
        if entries > ENTRIES_MOST:
            read.skip(str(folder), f"holds more than {ENTRIES_MOST} names; the rest was left out")
            return


def _size(each: Path, folder: Path, waiting: list[Path], read: _Read) -> int | None:
    """Return the size of a possible manifest in bytes, None for any other file; add a folder to `waiting`."""
    if each.name.startswith("."):
        return None
    try:
        if each.is_dir():
            waiting.append(each)
        elif each.suffix in SUFFIXES:
            return each.stat().st_size
    except OSError as why:
        read.skip(_below(each, folder), f"cannot be read: {why.strerror}")
    return None


def _below(path: Path, folder: Path) -> str:
    return str(path.relative_to(folder)) if path != folder else str(folder)


def _file(path: Path, name: Path, read: _Read, *, alone: bool) -> Snapshot | None:
    """Read one file into `read`; return the snapshot when it is a saved one that stands `alone`."""
    try:
        text = _text(path, pipes=PIPE_SECONDS if alone else 0.0)
    except (documents.Broken, OSError) as why:
        sentence = _unreadable(why)
        if alone:
            malformed = isinstance(why, documents.Broken | files.TooLong)
            raise (Malformed if malformed else UsageError)(f"{path} {sentence}.") from why
        read.skip(str(name), sentence)
        return None
    if _is_node_file(path):
        read.files.append(_node_file(path, text))
        return None
    if path.suffix == ".json":
        return _json_file(text, name, read, alone=alone)
    for number, (line, document) in enumerate(documents.split(text)):
        if number == DOCUMENTS_MOST:
            read.skip(f"{name}:{line}", f"is the {DOCUMENTS_MOST}th document of this file; the rest was left out")
            break
        try:
            value = documents.read(document)
        except documents.Broken as why:
            ours = _is_ours(document) and not documents.TEMPLATE.search(document)
            read.skip(f"{name}:{line + why.line}", str(why), "broken" if ours else "malformed")
            continue
        if isinstance(value, dict) and alone and _is_snapshot(value):
            return _snapshot(value, path)
        if isinstance(value, dict) and path.name in kustomize.FILES:
            read.patches |= {os.path.normpath(name.parent / each) for each in kustomize.patches(value)}
        elif _is_net_conf(value):
            read.files.append((path.stem, NodeFile(path=registry.saved_files()[NET_CONF], text=document)))
        elif value is not None:
            _take(value, f"{name}:{line + documents.first_line(document)}", read)
    return None


def _unreadable(why: documents.Broken | OSError) -> str:
    """Say what is wrong with a file, to be put after its name."""
    if isinstance(why, (documents.Broken, files.Unlike)):
        return str(why)
    return f"cannot be read: {why.strerror}"


def _text(path: Path, *, pipes: float) -> str:
    content = files.read(path, BYTES_MOST, pipes=pipes)
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


def _json_file(text: str, name: Path, read: _Read, *, alone: bool) -> Snapshot | None:
    if text.count(",") + text.count("[") + 2 * text.count("{") > JSON_MOST:
        read.skip(f"{name}:1", f"holds more than {JSON_MOST} values")
        return None
    try:
        value: object = json.loads(text)
        if LONE.search(text):
            value = printable.whole(value)
    except json.JSONDecodeError as why:
        read.skip(f"{name}:{why.lineno}", f"is no JSON: {why.msg.lower()}", "broken" if _is_ours(text) else "malformed")
        return None
    except (RecursionError, ValueError):
        read.skip(f"{name}:1", "nests too deep, or holds a number of too many digits")
        return None
    if isinstance(value, dict) and alone and _is_snapshot(value):
        return _snapshot(value, name)
    if _is_net_conf(value):
        read.files.append((name.stem, NodeFile(path=registry.saved_files()[NET_CONF], text=text)))
    else:
        _take(value, f"{name}:1", read)
    return None


def _take(value: object, where: str, read: _Read) -> None:
    """Take a document: an object, or a list of them."""
    if not isinstance(value, dict):
        what = "a list" if isinstance(value, list) else "a single value"
        read.skip(where, f"is {what}, not an object with apiVersion and kind")
        return
    kind, version = value.get("kind"), value.get("apiVersion")
    if not isinstance(kind, str) or not isinstance(version, str) or not kind:
        read.skip(where, "is no Kubernetes object: it has no apiVersion and kind")
        return
    items = value.get("items")
    if (kind == "List" or (kind.endswith("List") and "items" in value)) and (isinstance(items, list) or items is None):
        for index, item in enumerate(items or []):
            place = f"{where}, items[{index}]"
            if isinstance(item, dict) and kind != "List":  # items of a typed list leave both out
                item = {"apiVersion": version, "kind": kind.removesuffix("List")} | item  # noqa: PLW2901
            _take(item, place, read)
        return
    metadata = value.get("metadata")
    if metadata is not None and not isinstance(metadata, dict):
        read.skip(where, f"is a {kind} whose metadata is no mapping")
        return
    for field in ("name", "namespace"):
        said: object = metadata.get(field) if metadata else None
        if said is not None and not isinstance(said, str):
            read.skip(where, f"is a {kind} whose metadata.{field} is {said!r:.40}, not a string: put it in quotes")
            return
    read.objects.append(Object.of(value, where))


def _is_net_conf(value: object) -> bool:
    """Return True for a net-conf.json, under whatever name it was saved, as MicroK8s has another one."""
    if not isinstance(value, dict) or "kind" in value:
        return False
    return isinstance(value.get("Network"), str) and isinstance(value.get("Backend"), dict)


def _note_repeated(read: _Read) -> None:
    """Note objects that are there twice: the first is taken, and the files may be of several clusters."""
    first: dict[tuple[str, str | None, str], str] = {}
    for found in read.objects:
        key = (found.kind, found.namespace, found.name)
        if found.name and first.setdefault(key, found.origin) != found.origin:
            where = f"{found.kind} {found.namespace + '/' if found.namespace else ''}{found.name}"
            read.skip(where, f"stands in {first[key]} and again in {found.origin}: the first is taken")


def _is_ours(text: str) -> bool:
    """Return True for a text that may be of the pod network."""
    return re.search("|".join(registry.words()), text, re.IGNORECASE) is not None


def _is_snapshot(value: dict[str, object]) -> bool:
    return str(value.get("schema")).startswith(SCHEMA.rpartition("/")[0])


def _snapshot(value: dict[str, object], path: Path) -> Snapshot:
    if value["schema"] != SCHEMA:
        raise Malformed(f"{path} is a snapshot of another version ({value['schema']}); this kubemtu reads {SCHEMA}.")
    try:
        return msgspec.convert(value, Snapshot)
    except msgspec.ValidationError as why:
        raise Malformed(f"{path} is no snapshot that can be read: {why}.") from why


def _is_node_file(path: Path) -> bool:
    return path.suffix in {".conflist", ".conf", ".env"} or path.name.endswith(tuple(registry.saved_files()))


def _node_file(path: Path, text: str) -> tuple[str, NodeFile]:
    """Return the node that a file is taken to be of, and the file where that node has it."""
    place = next(
        (held for end, held in registry.saved_files().items() if path.name.endswith(end)),
        f"{disclosure_files.CNI_FOLDER}{path.name}",
    )
    siblings = [each for each in path.parent.iterdir() if NODE_OWN.fullmatch(each.name)]
    together = NODE_OWN.fullmatch(path.name) is not None and len(siblings) > 1
    return path.parent.resolve().name if together else path.stem, NodeFile(path=place, text=text)


def _nodes(files: list[tuple[str, NodeFile]]) -> Iterator[NodeObservation]:
    for name in dict.fromkeys(node for node, _ in files):
        yield NodeObservation(node=name, files=tuple(file for node, file in files if node == name))
