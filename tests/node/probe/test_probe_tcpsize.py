"""The largest packet to a TCP port, by what the other end's kernel acknowledges, and what becomes of fragments."""

import contextlib
import socket
import threading
import time
from collections.abc import Iterator

import pytest
from tests.support.lines import B4, B6, Net

from kubemtu.core.probe import request
from kubemtu.node.probe import channel, pieces, tcpsize, wire
from kubemtu_lab.line import stations

PORT = 4433


@contextlib.contextmanager
def listening(net: Net, address: str, greeting: bytes = b"") -> Iterator[list[bytes]]:
    """A server at b that keeps its connections open; what its application reads of them is told."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    made = net.inside("b", lambda: socket.create_server((address, PORT), family=family))
    read: list[bytes] = []
    over = threading.Event()

    def serve() -> None:
        while not over.is_set():
            with contextlib.suppress(OSError):
                one, _ = made.accept()
                with one:
                    one.sendall(greeting)
                    read.append(one.recv(65536))

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield read
    finally:
        over.set()
        with contextlib.suppress(OSError):
            made.shutdown(socket.SHUT_RDWR)
        made.close()
        thread.join(5)


@pytest.mark.parametrize("address", [B4, B6])
@pytest.mark.parametrize("muted", [True, False])
def test_a_smaller_path_is_found_to_the_byte(bare: Net, address: str, muted: bool) -> None:
    bare.middle(1404)
    if muted:
        bare.mute()
    with listening(bare, address, b"220 hello\r\n") as read:
        found = bare.inside("a", lambda: tcpsize.largest((address, PORT)))
    assert found is not None
    assert (found.search.mtu, found.search.interface_mtu) == (1404, 1500)
    assert found.search.limit == ("silence" if muted else "router")
    assert b"".join(read) == b""  # nothing of it reached the application


def test_a_path_that_carries_all(bare: Net) -> None:
    with listening(bare, B4):
        found = bare.inside("a", lambda: tcpsize.largest((B4, PORT)))
    assert found is not None
    assert (found.search.mtu, found.search.limit) == (1500, "own interface")


def test_nobody_listens(bare: Net) -> None:
    assert bare.inside("a", lambda: tcpsize.largest((B4, PORT))) is None


@pytest.mark.parametrize(("address", "family"), [(B4, 4), (B6, 6)])
def test_fragments_of_either_family_arrive(net: Net, address: str, family: channel.Family) -> None:
    one = net.inside("a", lambda: pieces.Whole(family))
    try:
        target = (address, request.PORT) if family == 4 else (address, request.PORT, 0, 0)
        fate = net.inside("a", lambda: pieces.fate(one, target, wire.Key(stations.SECRET), 1500, time.monotonic))
        stranger = net.inside("a", lambda: pieces.fate(one, target, wire.Key(b"x" * 32), 1500, time.monotonic))
    finally:
        one.close()
    assert (fate, stranger) == ("arrive", "")
