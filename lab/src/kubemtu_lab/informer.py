"""How the parts of a lab talk to its API: by kubemtu's own client, and by informers, which watches keep true."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping

from kubemtu.core.errors import KubemtuError
from kubemtu.core.objects import Object, Ref, Want
from kubemtu.kube import kubeconfig as kubeconfigs
from kubemtu.kube.api import Api, Backoff, WatchEvent
from kubemtu.kube.errors import Absent

log = logging.getLogger(__name__)
FIELD_MANAGER = "kubemtu-lab"  # not kubemtu's own: what the lab wrote is what somebody else wrote
DAEMONSETS = Want(kind="DaemonSet", plural="daemonsets", api_versions=("apps/v1",))
LEASES = Want(kind="Lease", plural="leases", api_versions=("coordination.k8s.io/v1",))
SERVICES = Want(kind="Service", plural="services", api_versions=("v1",))
ENDPOINT_SLICES = Want(kind="EndpointSlice", plural="endpointslices", api_versions=("discovery.k8s.io/v1",))
_BACKOFF = Backoff(first=0.2, most=0.4)  # the API of a lab is near, and away only when the lab ends
_RETRY_SECONDS = 0.2
_AGAIN_SECONDS = 0.05


def connect(kubeconfig: Mapping[str, object], field_manager: str = FIELD_MANAGER) -> Api:
    """Return a client for the current context of a decoded kubeconfig, under the name that the server notes of it.

    Its segments are the kernel's, as a kubelet's and a daemon's are: what a switch swallows silences it.
    """
    connection = kubeconfigs.select([("the lab's kubeconfig", dict(kubeconfig))])
    return Api(connection, backoff=_BACKOFF, field_manager=field_manager, segment=None)


def uid(body: Object) -> str:
    """Return metadata.uid: an object of the same name made again has another."""
    return body.text("metadata", "uid") or ""


def ref(want: Want, body: Object) -> Ref:
    """Return the address of an object that belongs to a collection."""
    return at(want, body.name, body.namespace)


def at(want: Want, name: str, namespace: str | None = None) -> Ref:
    """Return the address of one object of a collection."""
    return Ref(api_version=want.api_versions[0], kind=want.kind, plural=want.plural, name=name, namespace=namespace)


async def events(api: Api, want: Want, field_selector: str | None = None) -> AsyncGenerator[WatchEvent, None]:
    """Follow a collection whatever happens; after every refusal or failure the next event is a SYNC."""
    while True:
        try:
            async with contextlib.aclosing(api.watch(want, field_selector=field_selector)) as following:
                async for event in following:
                    yield event
        except KubemtuError as error:
            log.warning("%s", error)
            await asyncio.sleep(_RETRY_SECONDS)


async def changes(api: Api, want: Want, field_selector: str | None = None) -> AsyncGenerator[tuple[Object, bool], None]:
    """Tell for ever which objects are there (True), again after a lost connection, and which are no more (False)."""
    known: dict[str, Object] = {}
    async with contextlib.aclosing(events(api, want, field_selector)) as following:
        async for event in following:
            now = {uid(each): each for each in event.objects}
            if event.type == "SYNC":
                for gone in known.keys() - now.keys():
                    yield known.pop(gone), False
            known |= now
            for key, each in now.items():
                yield each, event.type != "DELETED"
                if event.type == "DELETED":
                    del known[key]


Write = Callable[[], Awaitable[None]]
"""A request that is due, and is begun only by whoever carries it out: one that never gets there leaves nothing."""


class Informer:
    """The objects of one collection by uid, kept true by a watch; `changed` is set after every change.

    An own write can be entered at once with `enter`, so that who decides by it does not decide twice while
    the watch is still on its way.
    """

    def __init__(self, api: Api, want: Want, changed: asyncio.Event) -> None:
        self.objects: dict[str, Object] = {}
        self.synced = False
        self._api, self._want, self._changed = api, want, changed
        self._version = 0

    async def run(self) -> None:
        """Follow the API until cancelled; begins again when the server goes away or forgets."""
        async with contextlib.aclosing(events(self._api, self._want)) as following:
            async for event in following:
                if event.type == "SYNC":
                    self.objects, self.synced = {}, True
                for each in event.objects:
                    self._version = max(self._version, _version(each))
                    self.objects[uid(each)] = each
                    if event.type == "DELETED":
                        del self.objects[uid(each)]
                self._changed.set()

    def enter(self, written: Object) -> None:
        """Take in what was just written, unless the watch has come that far: it knows whether that still is there."""
        if _version(written) > self._version:
            self.objects[uid(written)] = written
            self._changed.set()


def _version(body: Object) -> int:
    return int(body.resource_version or 0)


async def once_more(write: Write, changed: asyncio.Event) -> None:
    """Write; when that is refused, `changed` has all looked at again, but for an object that is not there any more."""
    try:
        await write()
    except Absent:
        return
    except KubemtuError as refusal:
        log.debug("%s; again", refusal)
        asyncio.get_running_loop().call_later(_AGAIN_SECONDS, changed.set)
