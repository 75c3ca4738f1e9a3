"""Running a program that somebody else's file names: for so long, with so much to say, and with all that it has begun.

A thread reads and waits, not the event loop: asyncio waits for pipes that a child of the program may hold for ever.
"""

import asyncio
import contextlib
import os
import selectors
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence

import msgspec

PRINTED_MOST = 1 << 20  # bytes of stdout; a credential has a few thousand
COMPLAINT_MOST = 1 << 16  # bytes of stderr that are kept
GLANCE = 0.05  # seconds between two looks whether it has ended while a child of it holds its pipes
GRACE = 0.5  # seconds for what is in the pipes by then


class ProgramResult(msgspec.Struct, frozen=True, kw_only=True):
    """How a program ended: its exit code, None where it was killed for its time or its output."""

    code: int | None
    printed: bytes
    complaint: bytes
    overflowed: bool = False


async def run(
    words: Sequence[str], environ: Mapping[str, str], *, seconds: float | None, interactive: bool = False
) -> ProgramResult:
    """Run a program and take what it prints; `seconds` None waits for as long as it runs.

    One that may ask somebody has our terminal and our stdin, any other is in a session of its own and is killed with
    all of that. Raises OSError, ValueError when it cannot be started.
    """
    stop = threading.Event()
    work = asyncio.ensure_future(asyncio.to_thread(_carried_out, words, environ, seconds, interactive, stop))
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        stop.set()
        with contextlib.suppress(OSError, ValueError):
            await work  # no longer than a glance: it is killed
        raise


def _carried_out(
    words: Sequence[str], environ: Mapping[str, str], seconds: float | None, interactive: bool, stop: threading.Event
) -> ProgramResult:
    process = subprocess.Popen(
        list(words),
        env=dict(environ),
        stdin=None if interactive else subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        # Where somebody sits, prompts must be seen ("To sign in, open ..."); elsewhere the text explains a failure.
        stderr=None if interactive else subprocess.PIPE,
        start_new_session=not interactive,
    )
    whole = False
    try:
        ended = _waited(process, seconds, stop)
        whole = ended.code is not None
        return ended
    finally:
        if not whole:
            _kill(process, group=not interactive)
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()


def _waited(process: subprocess.Popen[bytes], seconds: float | None, stop: threading.Event) -> ProgramResult:
    printed, complaint = bytearray(), bytearray()
    until = None if seconds is None else time.monotonic() + seconds
    ended_at: float | None = None
    with selectors.DefaultSelector() as ready:
        for pipe, held, most in ((process.stdout, printed, PRINTED_MOST), (process.stderr, complaint, COMPLAINT_MOST)):
            if pipe is not None:
                os.set_blocking(pipe.fileno(), False)
                ready.register(pipe, selectors.EVENT_READ, (held, most))
        while True:
            for key, _ in ready.select(GLANCE) if ready.get_map() else ():
                if not _taken(key.fd, *key.data):
                    ready.unregister(key.fileobj)
            if len(printed) > PRINTED_MOST:
                return ProgramResult(code=None, printed=b"", complaint=bytes(complaint), overflowed=True)
            now = time.monotonic()
            if process.poll() is not None:
                ended_at = now if ended_at is None else ended_at
                if not ready.get_map() or now - ended_at > GRACE:
                    return ProgramResult(code=process.returncode, printed=bytes(printed), complaint=bytes(complaint))
            elif not ready.get_map():
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(GLANCE)
            if stop.is_set() or (until is not None and now > until):
                return ProgramResult(code=None, printed=bytes(printed), complaint=bytes(complaint))


def _taken(pipe: int, output: bytearray, most: int) -> bool:
    """Take what a pipe has, beyond `most` and one byte into nothing; False at its end."""
    try:
        more = os.read(pipe, 1 << 16)
    except BlockingIOError:
        return True
    output += more[: most + 1 - len(output)]
    return bool(more)


def _kill(process: subprocess.Popen[bytes], *, group: bool) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if group:
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
    process.wait()
