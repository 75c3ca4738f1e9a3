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
        return await self._start(lambda: _spawn(argv, env, files), inside)

    async def fork(
        self, become: Callable[[], None], files: Mapping[int, File], inside: Inside
    ) -> tuple[int, asyncio.Future[int]]:
        """Fork a process that `become` makes a program, as `start`: without Python's start, twice as fast."""
        return await self._start(lambda: _fork(become, files), inside)

    async def _start(self, make: Callable[[], int], inside: Inside) -> tuple[int, asyncio.Future[int]]:
        starting = asyncio.ensure_future(self._claimed(make, inside))
        try:
            return await asyncio.shield(starting)
        except asyncio.CancelledError:
            starting.add_done_callback(_disown)  # what a thread has begun cannot be cancelled
            raise

    async def _claimed(self, make: Callable[[], int], inside: Inside) -> tuple[int, asyncio.Future[int]]:
        self._starting += 1
        try:
            pid = await inside(make)
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


def _disown(starting: asyncio.Future[tuple[int, asyncio.Future[int]]]) -> None:
    """End a program that nobody waits for."""
    if starting.cancelled() or starting.exception() is not None:
        return
    pid, ended = starting.result()
    if not ended.done():
        os.kill(pid, signal.SIGKILL)  # it has not been reaped, so the number is its own


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


def _fork(become: Callable[[], None], files: Mapping[int, File]) -> int:
    """Fork a process; it does nothing that waits for another thread of this one, for it has none of them."""
    pid = os.fork()
    if pid:
        return pid
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        os.setsid()
        for place, file in files.items():
            os.dup2(os.open(file, os.O_RDWR) if isinstance(file, str) else file, place)
        become()
    finally:
        os._exit(127)
