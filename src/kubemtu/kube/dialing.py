"""Connecting a socket to the first of a host's addresses that accepts, with options set before it connects."""

import asyncio
import contextlib
import socket
from ipaddress import ip_address
from typing import Any, Final

import anyio

NEXT_ADDRESS: Final = 0.25  # seconds until the next address is tried beside one that does not answer (RFC 8305 5)

Option = tuple[int, int, int] | tuple[int, int, bytes | bytearray] | tuple[int, int, None, int]


async def resolve(host: str, port: int) -> list[tuple[int, Any]]:
    """Find family and socket address of each address of a host, an IPv6 one first where there is one, then one of IPv4.

    Raises OSError (socket.gaierror).
    """
    with contextlib.suppress(ValueError):
        address = ip_address(host)
        return [(socket.AF_INET6, (host, port, 0, 0)) if address.version == 6 else (socket.AF_INET, (host, port))]
    told = await anyio.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    found: list[tuple[int, Any]] = [(int(family), address) for family, _, _, _, address in told]
    first = [next((one for one in found if one[0] == family), None) for family in (socket.AF_INET6, socket.AF_INET)]
    ahead = [one for one in first if one is not None]
    return [*ahead, *(one for one in found if one not in ahead)]


async def first(addresses: list[tuple[int, Any]], options: list[Option]) -> socket.socket:
    """Make a socket that is connected to the first of the addresses that accepts. Raises OSError when none does."""
    winner: socket.socket | None = None
    failures: list[OSError] = []

    async def attempt(family: int, address: Any, over: anyio.Event) -> None:
        nonlocal winner
        try:
            raw = await _connected(family, address, options)
        except OSError as error:
            failures.append(error)
        else:
            if winner is None:
                winner = raw
                group.cancel_scope.cancel()
            else:
                raw.close()
        finally:
            over.set()

    try:
        async with anyio.create_task_group() as group:
            for family, address in addresses:
                over = anyio.Event()
                group.start_soon(attempt, family, address, over)
                with anyio.move_on_after(NEXT_ADDRESS):
                    await over.wait()
    except BaseException:
        if winner is not None:
            winner.close()
        raise
    if winner is None:
        cause = failures[0] if len(failures) == 1 else ExceptionGroup("no address accepted", failures)
        raise OSError("All connection attempts failed") from cause
    return winner


async def _connected(family: int, address: Any, options: list[Option]) -> socket.socket:
    # The protocol is named, so that asyncio sets TCP_NODELAY (base_events._set_nodelay): a request is written in two
    # parts, head and body, and the second would wait 40 ms for the peer's delayed acknowledgement of the first.
    raw = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        raw.setblocking(False)
        for option in options:
            raw.setsockopt(*option)
        await asyncio.get_running_loop().sock_connect(raw, address)
    except BaseException:
        raw.close()
        raise
    return raw
