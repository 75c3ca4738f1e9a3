"""Where facts in hand lie: a file, a folder, an archive in either, or standard input; each yields its files by name.

All of it together is held within `bounds`. What a name alone says to be of no use is not even opened, and noted.
"""

import contextlib
import io
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final, cast

import msgspec

from kubemtu import files
from kubemtu.core.errors import Malformed, UsageError
from kubemtu.core.text import printable
from kubemtu.flows.saved import archives, bounds, bundles
from kubemtu.flows.saved.bounds import Bounds, Enough
from kubemtu.flows.saved.facts import Facts

STANDARD_INPUT: Final = Path("-")
PIPE_SECONDS = 60.0  # in which whoever writes into `--from <(kubectl get ...)` must say something


class SavedFile(msgspec.Struct, frozen=True, kw_only=True):
    """One file: its path below what was given, with / between its parts, and what it holds."""

    name: str
    content: bytes
    alone: bool = False  # it is all that was given


def entries(path: Path, facts: Facts) -> Iterator[SavedFile]:
    """Yield the files at `path`, of "-" what is piped in; note in `facts` what is passed over, with its reason.

    Raises UsageError when there is nothing at `path`, and Malformed when it is one file that is too large.
    """
    counted = facts.counted
    if path != STANDARD_INPUT and _is_folder(path):
        try:
            yield from _folder(path, facts, counted)
        except Enough as why:
            facts.skip(str(path), str(why))
        return
    name = printable.one_line(path.name) or str(path)
    try:
        with (
            files.standard_input(PIPE_SECONDS)
            if path == STANDARD_INPUT
            else files.opened(path, pipes=PIPE_SECONDS) as stream
        ):
            yield from _stream(stream, name, facts, counted, alone=True)
    except files.TooLong as why:
        raise Malformed(f"{named(path)} {why}.") from why
    except OSError as why:
        raise UsageError(f"{named(path)} {_unreadable(why)}.") from why
    except Enough as why:
        facts.skip(name, str(why))


def beside(path: Path, below: str, facts: Facts) -> Iterator[SavedFile]:
    """Yield the files at a path from that of a folder, as names from there: "../base/x.yaml"."""
    counted, place = facts.counted, path / below
    try:
        if place.is_dir():
            for each in _folder(place, facts, counted):
                yield SavedFile(name=f"{below}/{each.name}", content=each.content)
        elif place.is_file():
            with files.opened(place) as stream:
                yield from _stream(stream, below, facts, counted)
    except OSError as why:
        facts.skip(below, _unreadable(why))
    except Enough as why:
        facts.skip(below, str(why))


def named(path: Path) -> str:
    """Return what was given as a sentence names it."""
    return "What is piped in (-)" if path == STANDARD_INPUT else str(path)


def _is_folder(path: Path) -> bool:
    """Say whether there is a folder at `path`. Raises UsageError where that cannot be said, as of a name with a NUL."""
    try:
        return path.is_dir()
    except (OSError, ValueError) as why:
        raise UsageError(f"{path} cannot be read: {why}") from why


def _unreadable(why: OSError) -> str:
    """Say what is wrong with a file, to be put after its name."""
    return str(why) if isinstance(why, files.Unlike) else f"cannot be read: {why.strerror}"


def _folder(folder: Path, facts: Facts, counted: Bounds) -> Iterator[SavedFile]:
    """Yield the files below a folder in the order of their names; links are followed, each folder is read once."""
    waiting, visited = [folder], set()
    while waiting:
        here = waiting.pop(0)
        name = _below(here, folder)
        try:
            about = here.stat()
            if files.of_the_kernel(about):
                facts.skip(name, "is a folder of the kernel (/proc, /sys), which holds no manifests")
                continue
            listed = sorted(itertools.islice(here.iterdir(), bounds.ENTRIES_MOST - counted.names + 1))
        except OSError as why:
            facts.skip(name, _unreadable(why))
            continue
        if (about.st_dev, about.st_ino) in visited:
            facts.skip(name, "is a link to a folder that was read already")
            continue
        visited.add((about.st_dev, about.st_ino))
        for each in listed:
            counted.name()
            yield from _of_folder(each, _below(each, folder), waiting, facts, counted)


def _of_folder(each: Path, name: str, waiting: list[Path], facts: Facts, counted: Bounds) -> Iterator[SavedFile]:
    if reason := bundles.passed_over(name):
        facts.leave(name, reason)
        return
    try:
        if each.is_dir():
            waiting.append(each)
            return
        with files.opened(each) as stream:
            yield from _stream(stream, name, facts, counted)
    except OSError as why:
        facts.skip(name, _unreadable(why))


def _below(path: Path, folder: Path) -> str:
    return printable.one_line(str(path.relative_to(folder))) if path != folder else str(folder)


def _stream(
    stream: files.Stream, name: str, facts: Facts, counted: Bounds, *, deep: int = 0, alone: bool = False
) -> Iterator[SavedFile]:
    """Yield what a file holds: itself, or the members of an archive."""
    begin = stream.peek(files.BEGIN)[: files.BEGIN]
    if archives.kind(begin):
        if deep == bounds.ARCHIVES_DEEP:
            facts.skip(name, "is an archive in an archive in an archive: unpack one of them")
        else:
            yield from _archive(stream, name, facts, counted, deep=deep, alone=alone)
        return
    try:
        content = archives.content(cast("BinaryIO", stream), bounds.BYTES_MOST)
    except archives.Torn as why:
        facts.skip(name, str(why))
        return
    if len(content) > bounds.BYTES_MOST:
        if alone:
            raise files.TooLong(f"is larger than {bounds.BYTES_MOST >> 20} MiB")
        facts.skip(name, f"is larger than {bounds.BYTES_MOST >> 20} MiB")
        return
    counted.file(len(content))
    yield SavedFile(name=name, content=content, alone=alone)


def _archive(
    stream: files.Stream, name: str, facts: Facts, counted: Bounds, *, deep: int, alone: bool
) -> Iterator[SavedFile]:
    before = "" if alone else f"{name}/"
    try:
        for member in archives.members(stream, name, counted):
            label = _label(member.name)
            inner = f"{before}{label or printable.one_line(member.name)[:200]}"
            reason = member.unlike or (
                bundles.passed_over(label) if label else "has a name that leads out of its archive"
            )
            if reason or member.open is None:
                facts.leave(inner, reason)
                continue
            try:
                with contextlib.closing(member.open()) as content:
                    held = io.BufferedReader(archives.Forward(content), 1 << 16)
                    yield from _stream(held, inner, facts, counted, deep=deep + 1)
            except archives.BROKEN as why:
                facts.skip(inner, archives.sentence(why))
    except (archives.Torn, Enough) as why:
        facts.skip(name, str(why))


def _label(name: str) -> str:
    """Return the name of a member as a path below its archive; empty for one that leads out of it or has no end."""
    parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".")]
    if not parts or ".." in parts or len(parts) > bounds.FOLDERS_DEEP or len(name) > bounds.NAME_MOST:
        return ""
    return printable.one_line("/".join(parts))
