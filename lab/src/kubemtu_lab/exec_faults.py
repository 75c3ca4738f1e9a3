"""Ways in which commands in containers go wrong on a node; where they are noted, and what a client sees then.

A fault is noted in the lab's folder, where the node's kubelet looks at each command, so it can come and go while the
lab is up. Whether the kubelet can be dialled at all is the node's firewall's.
"""

import asyncio
import os
from collections.abc import Iterator
from itertools import repeat
from pathlib import Path

import msgspec

from kubemtu_lab import nft, scene, state
from kubemtu_lab.api import kubelets
from kubemtu_lab.streams.session import STDOUT, Session

_TABLE = "kubelet-port"
DIALLED = {"refused": "reject with tcp reset", "silent": "drop"}
_HUGE = 64 << 20  # bytes without an end of line


def note(folder: int, fault: scene.ExecBroken) -> None:
    """Note a fault in the lab's folder, in the place of the one that the node had."""
    state.write(folder, _file(fault.node), msgspec.json.encode(fault))


def noted(folder: int, node: str) -> scene.ExecBroken | None:
    """Return the fault of a node."""
    try:
        descriptor = os.open(_file(node), os.O_RDONLY | os.O_CLOEXEC, dir_fd=folder)
    except FileNotFoundError:
        return None
    with os.fdopen(descriptor, "rb") as file:
        return msgspec.json.decode(file.read(), type=scene.ExecBroken)


def strike(folder: Path, node: str, how: scene.ExecFault | None, container: str) -> None:
    """Note a fault from outside, or take the one that a node has away."""
    if how is None:
        (folder / _file(node)).unlink(missing_ok=True)
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        note(descriptor, scene.ExecBroken(node=node, how=how, container=container))
    finally:
        os.close(descriptor)


def firewall(how: str) -> str:
    """Return the rules of a node, for nft, that keep its kubelet from being dialled; none for other faults."""
    if how not in DIALLED:
        return nft.table("inet", _TABLE, "")
    rule = f"tcp dport {kubelets.PORT} {DIALLED[how]}"
    return nft.table(
        "inet", _TABLE, f"  chain input {{\n    type filter hook input priority filter;\n    {rule}\n  }}\n"
    )


def strikes(fault: scene.ExecBroken | None, container: str) -> bool:
    """Tell whether a fault is about a container."""
    return fault is not None and fault.container in ("", container)


async def act(session: Session, how: str) -> int:
    """Do to a client what the fault does, in the place of its command; returns the exit code that it hears.

    Raises Gone when the client goes. Some faults last until then.
    """
    if how == "hangs":
        while True:
            await session.receive()
    if how == "breaks":
        await session.send(STDOUT, b"1")
        session.abort()
        await asyncio.Event().wait()
    for part in _output(how):
        await session.send(STDOUT, part)
    return 0


def _output(how: str) -> Iterator[bytes]:
    match how:
        case "floods":
            yield from repeat(b"0123456789abcdef" * 255 + b"0123456789abcde\n")
        case "broken-utf8":
            yield b"1450\xff\xfe\n\xc3(\n\xed\xa0\x80\n\xf5\x80\x80\x80\n\0\n"
        case "escapes":
            yield b"\x1b]0;title\x07\x1b[2J\x1b[31m1450\x1b[0m\r\x9b31m\x1bP+q\x1b\\\xe2\x80\xae0541\n"
        case "wrong-numbers":
            yield b"99999999999999999999999\n-1\n0x5dc\n1e9\nNaN\n1_450\n\xd9\xa1\xd9\xa4\xd9\xa5\xd9\xa0\n"
        case "huge-line":
            yield from repeat(b"1" * (1 << 15), _HUGE >> 15)


def _file(node: str) -> str:
    return f"exec-fault.{node}.json"
