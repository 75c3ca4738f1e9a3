"""Files that others may have put there: only regular ones are read, up to a limit, and what is written is whole.

A FIFO of a fitting name waits for its writer for ever, a device has no end, and a file that is written in place is
neither the old nor the new one when the disk is full.
"""

import contextlib
import errno
import io
import os
import select
import stat
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

Stream: TypeAlias = "io.BufferedReader[Any]"
PIPES_MOST = 10
SMALL = 1 << 20  # bytes: more than any kubeconfig, token or certificate has
BEGIN = 512  # bytes that a first look at a pipe sees, if it has as many
_KERNEL = ("/proc", "/sys")


class Unlike(OSError):
    """Something of that name is there, and is not to be read; the text says what it is, to be put after the name."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.strerror = text


class TooLong(Unlike):
    """A file holds more than is taken."""


def read(path: str | os.PathLike[str], most: int = SMALL, *, pipes: float = 0.0) -> bytes:
    """Read a file whole. Raises OSError: Unlike for what is no regular file, and for more than `most` bytes.

    With `pipes` a FIFO is read as well (`--from <(kubectl get ...)`), as long as its writer says something within so
    many seconds, and all within PIPES_MOST times as many.
    """
    return stamped(path, most, pipes=pipes)[0]


def stamped(path: str | os.PathLike[str], most: int = SMALL, *, pipes: float = 0.0) -> tuple[bytes, float]:
    """Read a file as `read` does, and say when it was changed last, in seconds since the epoch."""
    descriptor = _descriptor(path)
    try:
        piped = _readable(descriptor, os.fspath(path), pipes=pipes)
        held = bytearray()
        until = time.monotonic() + PIPES_MOST * pipes
        while len(held) <= most:
            if piped:
                _wait(descriptor, min(pipes, max(0.0, until - time.monotonic())))
            more = os.read(descriptor, min(1 << 20, most + 1 - len(held)))
            if not more:
                return bytes(held), os.fstat(descriptor).st_mtime
            held += more
    finally:
        os.close(descriptor)
    raise TooLong(f"is larger than {_size(most)}")


@contextlib.contextmanager
def opened(path: str | os.PathLike[str], *, pipes: float = 0.0) -> Iterator[Stream]:
    """Open a file to be read bit by bit: a regular one can be sought in. Raises as `read` does, at any read."""
    descriptor = _descriptor(path)
    try:
        piped = _readable(descriptor, os.fspath(path), pipes=pipes)
        raw = _Pipe(descriptor, pipes) if piped else io.FileIO(descriptor, closefd=False)
        with io.BufferedReader(raw, 1 << 16) as stream:
            yield stream
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def standard_input(seconds: float) -> Iterator[Stream]:
    """Open what is piped into this process. Raises Unlike for a terminal, and where nobody writes for so long."""
    try:
        kind = os.fstat(0).st_mode
    except OSError as error:
        raise Unlike("is closed: pipe something into it") from error
    if os.isatty(0):
        raise Unlike("is a terminal: pipe something into it, as `kubectl get ... -o yaml |` does")
    regular = stat.S_ISREG(kind)
    if not regular and not _pipes(kind):
        raise Unlike(f"is {_kind(kind)}, not a file or a pipe")
    with io.BufferedReader(io.FileIO(0, closefd=False) if regular else _Pipe(0, seconds), 1 << 16) as stream:
        yield stream


class _Pipe(io.RawIOBase):
    """What somebody else writes bit by bit: who says nothing for so many seconds is not waited for any longer."""

    def __init__(self, descriptor: int, seconds: float) -> None:
        super().__init__()
        self._from, self._seconds = descriptor, seconds
        self._until = time.monotonic() + PIPES_MOST * seconds

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer") -> int:
        held, at = memoryview(buffer), 0
        while at < min(len(held), BEGIN):
            _wait(self._from, min(self._seconds, max(0.0, self._until - time.monotonic())))
            more = os.read(self._from, len(held) - at)
            if not more:
                break
            held[at : at + len(more)] = more
            at += len(more)
        return at


def text(path: str | os.PathLike[str], most: int = SMALL, encoding: str = "utf-8") -> str:
    """Read a file whole, as text. Raises what `read` does, and UnicodeDecodeError."""
    return read(path, most).decode(encoding)


def write(path: Path, content: bytes, *, keep_mode: bool = False) -> None:
    """Write a file whole, readable by its owner only: a new one takes the old one's place when all of it is stored.

    `keep_mode` leaves one that is there to its owner, and to those who may read it now, as a file of somebody's
    repository; one that nobody may write is refused, as root does not hear of it from the kernel.

    Raises OSError, and the old file is then as it was. What is no regular file, /dev/stdout for one, is written to;
    a FIFO that nobody reads would keep us waiting for ever, and is refused.
    """
    if "\0" in str(path):
        raise Unlike("has a name that no file can have")
    before = None
    with contextlib.suppress(FileNotFoundError):
        before = path.stat()
        if not stat.S_ISREG(before.st_mode):
            _write_to(path, content)
            return
    if keep_mode and before is not None and not before.st_mode & 0o222:
        raise Unlike("it is read-only; `chmod u+w` lets it be edited")
    path = path.resolve()  # what a link names is replaced, not the link
    descriptor, made = tempfile.mkstemp(prefix=f".{path.name[:64]}.", dir=path.parent)  # mode 0600
    try:
        with open(descriptor, "wb") as stream:  # noqa: PTH123 - a descriptor
            stream.write(content)
            stream.flush()
            os.fsync(descriptor)
            if keep_mode and before is not None:
                with contextlib.suppress(PermissionError):  # only root gives files away
                    os.fchown(descriptor, before.st_uid, before.st_gid)
                os.fchmod(descriptor, stat.S_IMODE(before.st_mode))
        os.replace(made, path)  # noqa: PTH105
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(made)  # noqa: PTH108
        raise


def _write_to(path: Path, content: bytes) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    except OSError as error:
        if error.errno == errno.ENXIO:  # fifo(7)
            raise Unlike("nobody reads what is written there") from error
        raise
    with open(descriptor, "wb") as stream:  # noqa: PTH123 - a descriptor
        os.set_blocking(descriptor, True)  # a reader may take its time
        stream.write(content)


def of_the_kernel(about: os.stat_result) -> bool:
    """Say whether something lies in /proc or /sys, whose folders have no end."""
    for place in _KERNEL:
        with contextlib.suppress(OSError):
            if os.stat(place).st_dev == about.st_dev:  # noqa: PTH116
                return True
    return False


def _descriptor(path: str | os.PathLike[str]) -> int:
    # O_NONBLOCK: opening a FIFO would wait for a writer (open(2)); a terminal must not become ours (O_NOCTTY).
    try:
        return os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    except ValueError as error:  # a NUL, or a character that no encoding has
        raise Unlike("has a name that no file can have") from error


def _readable(descriptor: int, name: str | bytes, *, pipes: float) -> bool:
    """Say whether it is a pipe, to be waited for. Raises OSError for a folder, a device, and a pipe not asked for."""
    kind = os.fstat(descriptor).st_mode
    piped = pipes > 0 and _pipes(kind)
    if stat.S_ISDIR(kind):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), name)
    if not stat.S_ISREG(kind) and not piped:
        raise Unlike(f"is {_kind(kind)}, not a file")
    return piped


def _pipes(kind: int) -> bool:
    return stat.S_ISFIFO(kind) or stat.S_ISSOCK(kind)


def _wait(descriptor: int, seconds: float) -> None:
    """Wait until a pipe has something, or its end has come. Raises Unlike when nobody writes."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    if not poll.poll(seconds * 1000):
        raise Unlike(f"is a pipe into which nobody wrote for {seconds:.3g} s, or too slowly")


def _kind(mode: int) -> str:
    for fits, name in (
        (stat.S_ISFIFO, "a pipe"),
        (stat.S_ISSOCK, "a socket"),
        (stat.S_ISCHR, "a device"),
        (stat.S_ISBLK, "a device"),
    ):
        if fits(mode):
            return name
    return "something else"


def _size(most: int) -> str:
    return f"{most >> 20} MiB" if most >= 1 << 20 else f"{most} bytes"
