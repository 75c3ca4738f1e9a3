"""One command in a container, between its descriptors and the streams of the client that waits for it.

The command ends with the client: nobody would read what else it writes. Source: kubernetes kubelet
`pkg/cri/streaming/remotecommand/{exec,httpstream}.go`.
"""

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Callable, Mapping

import msgspec

from kubemtu_lab import descriptors
from kubemtu_lab.api import errors
from kubemtu_lab.api.resources import Object
from kubemtu_lab.processes import File
from kubemtu_lab.streams.session import RESIZE, STDIN, Gone, Session, Wanted

REPORT = 3
"""The descriptor on which `container_exec` says why it could not execute the program."""


class Child(msgspec.Struct, frozen=True):
    """A program that was started: when it ends, and what ends it at once."""

    ended: asyncio.Future[int]
    kill: Callable[[], None]


class _Size(msgspec.Struct, frozen=True, rename="pascal"):
    width: int = 0
    height: int = 0


Start = Callable[[Mapping[int, File]], Awaitable[Child]]
"""Starts the program with these descriptors. Raises OSError, and what kube.errors draws."""


async def run(session: Session, wanted: Wanted, start: Start) -> int | str:
    """Start a command and carry its streams; returns its exit code, or why it could not be executed.

    A negative code is a signal's. Raises Gone when the client goes first, with the command killed, and what `start`
    raises.
    """
    with contextlib.ExitStack() as stack:
        ends = descriptors.Ends.make(stack, wanted)
        report, told = descriptors.pipe(stack)
        try:
            child = await start(ends.theirs | {REPORT: told})
        finally:
            ends.close_theirs()
            os.close(told)
        stack.callback(_kill, child)
        if why := (await report.read_all()).decode(errors="replace"):
            return why
        try:
            async with asyncio.TaskGroup() as tasks:
                feeding = tasks.create_task(_feed(session, ends.stdin))
                carrying = [tasks.create_task(_carry(session, *each)) for each in ends.outputs.items()]
                await asyncio.gather(*carrying)
                await asyncio.shield(child.ended)
                feeding.cancel()
        except BaseExceptionGroup as group:
            if group.split(Gone)[1] is not None:
                raise
            raise Gone from None
        return child.ended.result()


def _kill(child: Child) -> None:
    if not child.ended.done():
        child.kill()


async def _feed(session: Session, stdin: descriptors.Writing | None) -> None:
    """Hand on what the client sends, until it goes: that is noticed here, also by commands that read nothing."""
    while True:
        piece = await session.receive()
        if stdin is None:
            continue
        if piece.channel == STDIN:
            await stdin.write(piece.content)
            if piece.last:
                await stdin.end()
        elif piece.channel == RESIZE:
            with contextlib.suppress(msgspec.DecodeError):
                size = msgspec.json.decode(piece.content, type=_Size)
                stdin.resize(size.width, size.height)


async def _carry(session: Session, channel: int, output: descriptors.Reading) -> None:
    while content := await output.read():
        await session.send(channel, content)


def status(outcome: int | str, is_translated: bool) -> Object:
    """Return the Status (meta/v1) that tells how a command ended: by its exit code, or never begun, by a sentence.

    What comes over v5 an API server has translated from SPDY, and wrapped once more.
    """
    if outcome == 0:
        return {"metadata": {}, "status": "Success"}
    if isinstance(outcome, str):
        told = f"error executing command in container: {outcome}"
        told = f"Internal error occurred: {told}" if is_translated else told
        return errors.Refusal(500, "InternalError", f"Internal error occurred: {told}").status | {
            "details": {"causes": [{"message": told}]}
        }
    code = outcome if outcome > 0 else 128 - outcome
    said = "command terminated with exit code" if is_translated else "exit status"
    return {
        "metadata": {},
        "status": "Failure",
        "message": f"command terminated with non-zero exit code: {said} {code}",
        "reason": "NonZeroExitCode",
        "details": {"causes": [{"reason": "ExitCode", "message": str(code)}]},
    }
