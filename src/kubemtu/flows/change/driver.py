"""Who drives a change, and that it still does: what an MTUMigration keeps, so that everybody else can tell."""

import asyncio
import contextlib
import getpass
import os
import socket
from collections.abc import AsyncIterator

from kubemtu.core import errors
from kubemtu.core.change import undo
from kubemtu.core.cluster import unfinished
from kubemtu.flows.agents import retry
from kubemtu.kube import api as kube_api
from kubemtu.kube import errors as kube_errors
from kubemtu.kube import mtu

EVERY = 10.0  # seconds between two signs; core.cluster.unfinished.SIGNS says when they are missed
PARTING = 5.0  # seconds that the last one may take: whoever has pressed Ctrl-C waits for it


def me() -> str:
    """Name this user, host and process: "alice@laptop (process 4711)"; no credential, and no address."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # a container's user often has no name
        user = f"user {os.getuid()}"
    return f"{user}@{socket.gethostname()} (process {os.getpid()})"


class Record:
    """An MTUMigration as its driver writes it: how far it came, a line of its journal each time, and who drives."""

    def __init__(self, api: kube_api.Api, name: str, progress: undo.Progress, retrying: retry.Retry) -> None:
        self.progress = progress
        self._api = api
        self._name = name
        self._retry = retrying

    async def note(self, progress: undo.Progress, what: str) -> None:
        """Write how far it came, and a line of the journal, before or after the fact.

        Raises DrivenElsewhere when something else than this run's last word is there. An answer that got lost is not
        taken for that: no two drivers write the same epoch.
        """

        async def once() -> None:
            try:
                await mtu.advance(self._api, self._name, progress, what, expected=self.progress, driver=me())
            except kube_errors.DrivenElsewhere:
                if (await mtu.migration(self._api, self._name)).progress != progress:
                    raise

        await self._retry.call(once)
        self.progress = progress

    async def still_ours(self) -> None:
        """Raise DrivenElsewhere when somebody else drives by now."""
        present = await self._retry.call(lambda: mtu.migration(self._api, self._name))
        if present.progress != self.progress:
            raise kube_errors.DrivenElsewhere(
                f"MTUMigration {self._name} is driven by another kubemtu, which has taken it over; let that one finish"
            )


@contextlib.asynccontextmanager
async def driving(
    api: kube_api.Api, change: mtu.Migration, retrying: retry.Retry, *, every: float = EVERY
) -> AsyncIterator[Record]:
    """Take a change over, give a sign of life while the block runs, and let go in the end, however it ends.

    A restart of the CNI's pods may take minutes without a line of the journal, and a driver that was killed writes none
    either: only a sign, `every` so many seconds, tells them apart. One that cannot be written is missed and no reason
    to stop; a driver that was replaced gives none any more. Raises DrivenElsewhere when another one was first.
    """
    record = Record(api, change.name, change.progress, retrying)
    await record.note(undo.take_over(change.progress), f"{unfinished.TAKEN}: {me()}")
    epoch = record.progress.epoch
    signs = asyncio.create_task(_signs(api, change.name, epoch, every))
    try:
        yield record
    finally:
        signs.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await signs
        if not record.progress.finished:  # the last line says that it has ended
            with contextlib.suppress(errors.KubemtuError, TimeoutError):
                async with asyncio.timeout(PARTING):
                    await mtu.release(api, change.name, me(), epoch=epoch)


async def _signs(api: kube_api.Api, name: str, epoch: int, every: float) -> None:
    while True:
        await asyncio.sleep(every)
        try:
            await mtu.renew(api, name, me(), epoch=epoch)
        except kube_errors.DrivenElsewhere:
            return
        except errors.KubemtuError:
            continue  # the change itself meets the same, and says so
