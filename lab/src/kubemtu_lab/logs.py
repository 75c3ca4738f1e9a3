"""What containers wrote, in files of the lab's folder, and how a client of the API reads it.

A file has all instances of a container, one behind the other; where each began is remembered while the pod is there.
Left out: the time of a line, which is nowhere, so nothing of it is told (`--timestamps`) or chosen by it (`--since`).
Source: kubernetes `pkg/kubelet/kubelet_pods.go` (GetKubeletContainerLogs), `pkg/kubelet/kuberuntime/logs/logs.go`.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Callable

import msgspec

_CHUNK = 1 << 16
_POLL_SECONDS = 0.1


class LogOptions(msgspec.Struct, frozen=True, rename="camel"):
    """What a client wants of a log (core/v1 PodLogOptions)."""

    follow: bool = False
    previous: bool = False
    tail_lines: int | None = None
    limit_bytes: int | None = None


class LogFile:
    """The log of one container; `folder` is the lab's."""

    def __init__(self, folder: int, namespace: str, pod: str, container: str) -> None:
        self._folder, self._name = folder, f"pods/{namespace}.{pod}.{container}.log"
        self._began: list[int] = []

    def begin(self) -> int:
        """Open it for one more instance of the container; the descriptor is the caller's to close."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        descriptor = os.open(self._name, flags, 0o644, dir_fd=self._folder)
        self._began.append(os.lseek(descriptor, 0, os.SEEK_END))
        return descriptor

    def write(self, *lines: str) -> None:
        """Begin one more instance, which writes these lines."""
        descriptor = self.begin()
        try:
            os.write(descriptor, "".join(f"{each}\n" for each in lines).encode())
        finally:
            os.close(descriptor)

    def has_previous(self) -> bool:
        """Return True where an instance came before the one that runs."""
        return len(self._began) > 1

    async def read(self, options: LogOptions, running: Callable[[], bool]) -> AsyncIterator[bytes]:
        """Return what an instance wrote; with `follow` until `running` says that it has ended."""
        try:
            descriptor = os.open(self._name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=self._folder)
        except FileNotFoundError:
            return
        try:
            begin, end = self._span(options)
            begin = _tail(descriptor, begin, end, options.tail_lines)
            left = options.limit_bytes if options.limit_bytes is not None else -1
            while left:
                is_over = not options.follow or not running()
                most = _CHUNK if end is None else min(_CHUNK, end - begin)
                content = os.pread(descriptor, most if left < 0 else min(most, left), begin)
                begin, left = begin + len(content), left - len(content) if left > 0 else left
                if content:
                    yield content
                elif is_over:
                    return
                else:
                    await asyncio.sleep(_POLL_SECONDS)
        finally:
            os.close(descriptor)

    def _span(self, options: LogOptions) -> tuple[int, int | None]:
        """Return where an instance begins in the file, and where it ends, if it has."""
        began = self._began or [0]
        return (began[-2], began[-1]) if options.previous and self.has_previous() else (began[-1], None)


def _tail(descriptor: int, begin: int, end: int | None, lines: int | None) -> int:
    """Return where the last lines of a part of a file begin."""
    if lines is None:
        return begin
    here = end = os.fstat(descriptor).st_size if end is None else end
    found = 0
    while here > begin:
        start = max(begin, here - _CHUNK)
        block = os.pread(descriptor, here - start, start)
        for place in range(len(block) - 1, -1, -1):
            if block[place] == ord("\n") and start + place + 1 < end:
                found += 1
                if found == lines:
                    return start + place + 1
        here = start
    return begin if lines else end
