"""The descriptors of a command whose streams are carried elsewhere: pipes, or a terminal."""

import asyncio
import contextlib
import fcntl
import os
import struct
import termios
from typing import Self

from kubemtu_lab.processes import File
from kubemtu_lab.streams.session import STDERR, STDIN, STDOUT, Wanted

CHUNK = 1 << 15
"""The most that is read at once, bytes: io.Copy's, which kubelets use."""
_NOWHERE = "/dev/null"


class Reading:
    """The end of a pipe, or the master of a terminal, that we read; read by one task alone."""

    def __init__(self, descriptor: int) -> None:
        os.set_blocking(descriptor, False)
        self._descriptor = descriptor

    async def read(self) -> bytes:
        """Return what is there, once something is; nothing at the end."""
        while True:
            try:
                return os.read(self._descriptor, CHUNK)
            except BlockingIOError:
                await _ready(self._descriptor, reading=True)
            except OSError:  # EIO: nobody has the terminal any more
                return b""

    async def read_all(self) -> bytes:
        """Return everything until the end."""
        parts = []
        while part := await self.read():
            parts.append(part)
        return b"".join(parts)


class Writing:
    """The end of a pipe, or the master of a terminal, that we write; written by one task alone."""

    def __init__(self, descriptor: int, *, is_terminal: bool) -> None:
        os.set_blocking(descriptor, False)
        self._descriptor, self._is_terminal = descriptor, is_terminal

    async def write(self, content: bytes) -> None:
        """Write all of it. What nobody reads any more is dropped."""
        while content and self._descriptor >= 0:
            try:
                content = content[os.write(self._descriptor, content) :]
            except BlockingIOError:
                await _ready(self._descriptor, reading=False)
            except OSError:
                return

    async def end(self) -> None:
        """Let the command read the end of its input: of a terminal, by the character for it."""
        if self._is_terminal:
            await self.write(b"\x04")
        else:
            self.close()

    def resize(self, width: int, height: int) -> None:
        """Give a terminal its size, in characters."""
        if self._is_terminal:
            with contextlib.suppress(OSError, struct.error):
                fcntl.ioctl(self._descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))

    def close(self) -> None:
        """Close; what is closed already is fine."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


class Ends:
    """The descriptors of one command: those that it is given, and our ends of them."""

    def __init__(self, theirs: dict[int, File], outputs: dict[int, Reading], stdin: Writing | None) -> None:
        self.theirs, self.outputs, self.stdin = theirs, outputs, stdin

    @classmethod
    def make(cls, stack: contextlib.ExitStack, wanted: Wanted) -> Self:
        """Make those that are wanted; `stack` closes our ends."""
        if wanted.tty:
            return cls._terminal(stack)
        theirs: dict[int, File] = {STDIN: _NOWHERE, STDOUT: _NOWHERE, STDERR: _NOWHERE}
        stdin = None
        if wanted.stdin:
            theirs[STDIN], write = os.pipe()
            stdin = Writing(write, is_terminal=False)
            stack.callback(stdin.close)
        outputs = {}
        for place, is_wanted in ((STDOUT, wanted.stdout), (STDERR, wanted.stderr)):
            if is_wanted:
                outputs[place], theirs[place] = pipe(stack)
        return cls(theirs, outputs, stdin)

    @classmethod
    def _terminal(cls, stack: contextlib.ExitStack) -> Self:
        ours, theirs = os.openpty()
        stack.callback(os.close, ours)
        stdin = Writing(os.dup(ours), is_terminal=True)
        stack.callback(stdin.close)
        # Opened by the session's leader, it becomes its controlling terminal.
        files: dict[int, File] = {STDIN: os.ttyname(theirs), STDOUT: theirs, STDERR: theirs}
        return cls(files, {STDOUT: Reading(ours)}, stdin)

    def close_theirs(self) -> None:
        """Close what the command has, once it has it."""
        for descriptor in {each for each in self.theirs.values() if isinstance(each, int)}:
            os.close(descriptor)
        self.theirs = {}


def pipe(stack: contextlib.ExitStack) -> tuple[Reading, int]:
    """Make a pipe: our end, which `stack` closes, and theirs, which the caller does."""
    read, write = os.pipe()
    stack.callback(os.close, read)
    return Reading(read), write


async def _ready(descriptor: int, *, reading: bool) -> None:
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()
    add, remove = (loop.add_reader, loop.remove_reader) if reading else (loop.add_writer, loop.remove_writer)
    add(descriptor, _settle, ready)
    try:
        await ready
    finally:
        remove(descriptor)


def _settle(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)
