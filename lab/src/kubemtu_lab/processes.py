"""The processes of one node: the kubelet is PID 1 there, so every orphan is its own to reap."""

import asyncio
import contextlib
import os
import signal
from collections.abc import Awaitable, Callable, Mapping, Sequence

File = int | str
"""What a program has behind one of its descriptors: one of ours, or a path that is opened for it."""
Inside = Callable[[Callable[[], int]], Awaitable[int]]
"""Runs a function where a program is to run: on a thread that is in the right network namespace."""


class Processes:
    """Starts programs and tells how they ended; must be made on the loop's thread."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._waiting: dict[int, asyncio.Future[int]] = {}
        self._unclaimed: dict[int, int] = {}
        self._starting = 0
        self._loop.add_signal_handler(signal.SIGCHLD, self._reap)

    async def start(
        self, argv: Sequence[str], env: Mapping[str, str], files: Mapping[int, File], inside: Inside
    ) -> tuple[int, asyncio.Future[int]]:
        """Start a program by a thread that `inside` has put where it belongs; it has these files, and no others.

        Returns its pid and the future exit code, negative for a signal. Raises OSError when it cannot be run.
        """
        self._starting += 1
        try:
            pid = await inside(lambda: _spawn(argv, env, files))
        finally:
            self._starting -= 1
        future: asyncio.Future[int] = self._loop.create_future()
        if pid in self._unclaimed:
            future.set_result(self._unclaimed.pop(pid))
        else:
            self._waiting[pid] = future
        return pid, future

    async def stop(self, pid: int, future: asyncio.Future[int], grace: float) -> None:
        """End a program and all of its process group: asks first, and kills after `grace` seconds."""
        for number, seconds in ((signal.SIGTERM, grace), (signal.SIGKILL, 5)):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, number)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await asyncio.shield(future)
                return

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            code = os.waitstatus_to_exitcode(status)
            future = self._waiting.pop(pid, None)
            if future is not None and not future.done():
                future.set_result(code)
            elif self._starting:
                self._unclaimed[pid] = code
            if not self._starting:
                self._unclaimed.clear()


def _spawn(argv: Sequence[str], env: Mapping[str, str], files: Mapping[int, File]) -> int:
    actions = [
        (os.POSIX_SPAWN_OPEN, place, file, os.O_RDWR, 0)
        if isinstance(file, str)
        else (os.POSIX_SPAWN_DUP2, file, place)
        for place, file in files.items()
    ]
    return os.posix_spawnp(
        argv[0], list(argv), dict(env), file_actions=actions, setsid=True, setsigdef=[signal.SIGPIPE]
    )
