"""Who else is there: the addresses of the other nodes, with no more of each than that."""

from typing import Any, Final

import msgspec
from msgspec import UNSET

from kubemtu.core.objects import NODES, node_addresses
from kubemtu.kube import api as kube_api
from kubemtu.kube import pages


class Peers(msgspec.Struct, frozen=True, kw_only=True):
    """The addresses by which the other nodes are reached, and those of this one."""

    others: tuple[str, ...] = ()
    own: tuple[str, ...] = ()


async def read(api: kube_api.Api, node: str) -> Peers:
    """Read the addresses of all nodes; `node` is this one. Raises what `Api.list` does."""
    found = (await api.listing(NODES, shape=_SHAPE)).objects
    return Peers(
        others=tuple(sorted({address for one in found if one.name != node for address in node_addresses(one)})),
        own=tuple(address for one in found if one.name == node for address in node_addresses(one)),
    )


class _Metadata(msgspec.Struct):
    name: Any = UNSET


class _Status(msgspec.Struct):
    addresses: Any = UNSET


class _Node(msgspec.Struct):
    metadata: _Metadata | msgspec.UnsetType = UNSET
    status: _Status | msgspec.UnsetType = UNSET


_PAGE: Final = 100  # nodes: of 10 kB each, so that an agent of a large cluster needs no more memory than another
_SHAPE: Final = pages.Shape(wanted=pages.of(_Node), whole=lambda body: body, limit=_PAGE)
