"""Lines of two hosts and two routers that carry real TCP: a serves, b asks, and everything is driven from the test."""

import contextlib
import socket
import threading
from collections.abc import Callable

from kubemtu.core.evidence import records
from kubemtu.node.evidence import gather
from kubemtu_lab.line import faults, network


class Pair:
    """One connection from b to a: `server` is a's end, which sends, and `client` is b's."""

    def __init__(self, line: network.Line, family: int = 4, *, dual: bool = False) -> None:
        """Connect; `dual`: the server's socket is one of IPv6 that takes IPv4 as well."""
        kind = socket.AF_INET6 if family == 6 or dual else socket.AF_INET
        host = "::" if dual else network.A[family]
        listening = line.inside("a", lambda: socket.create_server((host, 0), family=kind, dualstack_ipv6=dual))
        with listening:
            self.port = int(listening.getsockname()[1])
            address = (network.A[family], self.port)
            self.client = line.inside("b", lambda: socket.create_connection(address, timeout=30))
            self.server, _ = listening.accept()
        self.server.settimeout(30)

    def push(self, size: int) -> None:
        """Send an answer and wait for nothing."""
        self.server.sendall(b"x" * size)

    def answer(self, size: int, times: int = 1) -> None:
        """Send an answer and wait until the client has it all."""
        for _ in range(times):
            self.push(size)
            left = size
            while left:
                left -= len(self.client.recv(left))

    def ask(self) -> None:
        """Send a small request and wait until the server has it."""
        self.client.sendall(b"x" * 100)
        self.server.recv(100, socket.MSG_WAITALL)

    def busy(self, size: int, until: threading.Event) -> threading.Thread:
        """Answers again and again, as fast as it goes, on a thread of its own."""

        def work() -> None:
            with contextlib.suppress(OSError):
                while not until.is_set():
                    self.answer(size)

        thread = threading.Thread(target=work)
        thread.start()
        return thread

    def close(self) -> None:
        """End it, and wake whoever waits for it."""
        for end in (self.server, self.client):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def seen(self, reading: records.Evidence) -> records.TcpConnection:
        """Return the same connection in a reading of a."""
        return next(one for one in reading.connections if one.local_port == self.port)


class TcpLine:
    """One line, its connections, and the readings of host a."""

    def __init__(self, *broken: faults.Fault, probing: int = 0) -> None:
        """Build it, with these faults; `probing` is a's net.ipv4.tcp_mtu_probing."""
        self.line = network.Line()
        self.pairs: list[Pair] = []
        try:
            for fault in broken:
                fault.commit(self.line)
            self.line.sysctl("a", {"ipv4/tcp_mtu_probing": probing})
        except BaseException:
            self.close()
            raise

    def pair(self, family: int = 4, *, dual: bool = False) -> Pair:
        """Return a new connection."""
        self.pairs.append(made := Pair(self.line, family, dual=dual))
        return made

    def read(self, tcp_line: str = "a") -> records.Evidence:
        """Read the namespace of one of the hosts or routers now."""
        return gather.within(self.line.descriptors[tcp_line])

    def rule(self, text: str) -> None:
        """Add an nftables rule for all that r1 forwards."""
        self.line.nft("r1", "forward", text)

    def free(self) -> None:
        """Take all nftables rules of r1 away."""
        network.run(*self.line.command("r1", "nft", "flush", "ruleset"))

    def close(self) -> None:
        """End it all."""
        for pair in self.pairs:
            pair.close()
        self.line.close()


TcpLineMaker = Callable[..., TcpLine]
