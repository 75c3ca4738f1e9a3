"""Tells whether a container's program serves yet, as a kubelet does: by connecting to a TCP port of its pod.

Of the kinds of readinessProbe only tcpSocket is played; a container with another kind, or none, is ready once it runs.
Source: kubernetes `pkg/kubelet/prober/worker.go`, `pkg/probe/tcp/tcp.go`, and the defaults of `pkg/apis/core/v1/
defaults.go`.
"""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Self

import msgspec

from kubemtu.core.objects import Object


class Readiness(msgspec.Struct, frozen=True, kw_only=True):
    """A readinessProbe of the kind tcpSocket; times in seconds, thresholds in results of the same kind in a row."""

    port: int
    delay: float = 0
    period: float = 10
    patience: float = 1
    successes: int = 1
    failures: int = 3

    @classmethod
    def of(cls, container: Object) -> Self | None:
        """Read a container's; None when it has none that is played here."""
        probe = Object.of(container.mapping("readinessProbe"))
        port = _port(container, probe)
        if not port:
            return None
        return cls(
            port=port,
            delay=probe.integer("initialDelaySeconds") or 0,
            period=probe.integer("periodSeconds") or 10,
            patience=probe.integer("timeoutSeconds") or 1,
            successes=probe.integer("successThreshold") or 1,
            failures=probe.integer("failureThreshold") or 3,
        )

    async def follow(self, address: str, tell: Callable[[bool], None]) -> None:
        """Try for ever whether something accepts connections at `address`, and tell whenever the verdict changes.

        It begins as not ready, which is not told.
        """
        ready, row = False, 0
        await asyncio.sleep(self.delay)
        while True:
            row = row + 1 if await self._accepts(address) is not ready else 0
            if row >= (self.failures if ready else self.successes):
                ready, row = not ready, 0
                tell(ready)
            await asyncio.sleep(self.period)

    async def _accepts(self, address: str) -> bool:
        with contextlib.suppress(OSError):  # TimeoutError is one
            async with asyncio.timeout(self.patience):
                _, writer = await asyncio.open_connection(address, self.port)
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
            return True
        return False


def _port(container: Object, probe: Object) -> int:
    """Return the number of the probed port, which may be told by its name; 0 for none."""
    told = probe.get("tcpSocket", "port")
    if isinstance(told, int):
        return told
    named = (each.integer("containerPort") for each in container.each("ports") if told and each.get("name") == told)
    return next(named, 0) or 0
