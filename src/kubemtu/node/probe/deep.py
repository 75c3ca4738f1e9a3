"""What is looked at on a way besides the size that arrives: TCP's belief, fragments, and what the own tunnel cuts."""

import contextlib
import os
from typing import Final

import msgspec

from kubemtu.core import errors, networks
from kubemtu.core.path.direction import BothDirections, Direction
from kubemtu.core.probe import request
from kubemtu.node.kernel import netns
from kubemtu.node.probe import channel, mss, outer, paths, pieces, segments, wire

SOON: Final = 0.5  # seconds for a connection to stand
AGAIN: Final = 1.5  # a lost SYN is sent again after a second (RFC 6298 2): only then TCP is what does not pass


def look(
    way: request.PathRequest, key: wire.Key, space: int, forward: Direction, back: Direction | None
) -> tuple[Direction, Direction | None]:
    """Give the same directions with all of that, as far as it can be seen from the namespace of `space`."""
    with contextlib.suppress(errors.KubemtuError, OSError, LookupError):
        both = _segments(way, key, space, SOON) or _segments(way, key, space, AGAIN)
        probing = both.forward.tcp_mtu_probing if both is not None else netns.inside(space, mss.probing)
        forward = msgspec.structs.replace(forward, segments=both.forward if both else None, tcp_mtu_probing=probing)
        if back is not None and both is not None:
            back = msgspec.structs.replace(back, segments=both.backward)
        if forward.search.limit in {"own interface", "expected"}:  # else a fragment is too large as well
            forward = msgspec.structs.replace(
                forward, fragmented_datagrams=_pieces(way, key, space, forward.search.mtu)
            )
        outermost = _outer(way, space, forward.search.mtu)
        if outermost.mtu is not None and outermost.does == "cuts":
            forward = msgspec.structs.replace(
                forward,
                unfragmented_mtu=outermost.mtu,
                fragmented_tunnel_packets=outermost.copies,
                tunnel_fragments=outermost.counted,
            )
    return forward, back


def _segments(way: request.PathRequest, key: wire.Key, space: int, patience: float) -> BothDirections | None:
    return segments.ask(
        _address(way),
        key,
        patience=patience,
        open_socket=lambda family: netns.inside(space, lambda: segments.open_socket(family)),
        probing=lambda: netns.inside(space, mss.probing),
    )


def _pieces(way: request.PathRequest, key: wire.Key, space: int, mtu: int) -> pieces.Fate:
    family = networks.family(way.address)
    sender = netns.inside(space, lambda: pieces.Whole(family))
    sender.within(os.dup(space))
    try:
        return pieces.fate(sender, _address(way), key, mtu, pieces.now)
    finally:
        sender.close()


def _outer(way: request.PathRequest, space: int, top: int) -> outer.Outer:
    """Send packets without a seal, which nobody answers: what counts is what this node does with them."""
    family, address = networks.family(way.address), _address(way)
    sender = netns.inside(space, lambda: channel.Channel(family))
    try:
        return outer.largest(lambda size: sender.send(b"", size, address), top=top)
    finally:
        sender.close()


def _address(way: request.PathRequest) -> channel.Address:
    return paths.endpoint(paths.Target(address=way.address, port=way.port))
