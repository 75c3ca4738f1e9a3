"""Traffic while the node changes: nothing is lost silently, connections live on, learned path MTUs are forgotten."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import struct
import subprocess
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from tests.support.labs import until

from kubemtu.core import net
from kubemtu.core.change import migration
from kubemtu.core.change.migration import Phase
from kubemtu.node import observe
from kubemtu.node.change import engine as change_engine
from kubemtu.node.change import journal
from kubemtu.node.kernel import netns

if TYPE_CHECKING:
    from tests.support.rigs import Rig, RigMaker

pytestmark = pytest.mark.netns

IP_MTU_DISCOVER, IPV6_MTU_DISCOVER, DO = 10, 23, 2
IPV6_DONTFRAG = 62
HEADERS = {4: 28, 6: 48}  # IP and UDP
TURNS = 10  # of all that traffic does, between two changes at least


def inside(space: str, family: int, kind: int) -> socket.socket:
    """A socket that belongs to a namespace; after that any thread may use it."""
    descriptor = os.open(f"/run/netns/{space}", os.O_RDONLY)
    try:
        number = socket.AF_INET if family == 4 else socket.AF_INET6
        return netns.inside(descriptor, lambda: socket.socket(number, kind))
    finally:
        os.close(descriptor)


class Datagrams(threading.Thread):
    """DF datagrams of HI bytes between all pairs; each sender falls back to LO when its own kernel says EMSGSIZE."""

    def __init__(self, rig: Rig, low: int, high: int, family: int) -> None:
        super().__init__(name="datagrams")
        self.sizes = [size - HEADERS[family] for size in (high, low)]
        self.sent: dict[tuple[str, str], int] = {}
        self.received: dict[tuple[str, str], int] = {}
        self.unreachable: list[str] = []
        self.large = self.turns = 0
        self._stopped = threading.Event()
        self._flows: list[tuple[tuple[str, str], socket.socket, socket.socket]] = []
        address = rig.address if family == 4 else rig.address6
        senders = [*rig.pods, rig.node]
        port = 5000
        for number, receiver in enumerate(rig.pods, 1):
            for sender in senders:
                if sender == receiver:
                    continue
                port += 1
                sink = inside(receiver, family, socket.SOCK_DGRAM)
                sink.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
                sink.bind(("" if family == 4 else "::", port))
                sink.setblocking(False)
                source = inside(sender, family, socket.SOCK_DGRAM)
                if family == 4:
                    source.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, DO)
                else:
                    source.setsockopt(socket.IPPROTO_IPV6, IPV6_MTU_DISCOVER, DO)
                    source.setsockopt(socket.IPPROTO_IPV6, IPV6_DONTFRAG, 1)
                source.connect((address(number), port))
                self._flows.append(((sender, receiver), source, sink))
                self.sent[sender, receiver] = self.received[sender, receiver] = 0

    def run(self) -> None:
        while not self._stopped.is_set():
            for pair, source, sink in self._flows:
                self._send(pair, source)
                self._receive(pair, sink)
            self.turns += 1
            time.sleep(0.0005)
        deadline = time.monotonic() + 5
        while self.sent != self.received and time.monotonic() < deadline:
            for pair, _source, sink in self._flows:
                self._receive(pair, sink)

    def _send(self, pair: tuple[str, str], source: socket.socket) -> None:
        for size in self.sizes:
            try:
                source.send(b"\0" * size)
            except OSError as error:
                if error.errno != errno.EMSGSIZE:
                    self.unreachable.append(f"{pair}: {error}")
                continue
            self.sent[pair] += 1
            self.large += size == self.sizes[0]
            return

    def _receive(self, pair: tuple[str, str], sink: socket.socket) -> None:
        with contextlib.suppress(BlockingIOError):
            while sink.recv(65536):
                self.received[pair] += 1

    def lost(self) -> int:
        """Count what was sent and has not come."""
        return sum(self.sent.values()) - sum(self.received.values())

    def stop(self) -> None:
        self._stopped.set()
        self.join()
        for _pair, source, sink in self._flows:
            source.close()
            sink.close()


def slowly(
    rig: Rig, target: int, directory: Path, *traffic: Datagrams | Requests, restore: bool = False, **fields: object
) -> list[migration.Applied]:
    """All phases with time for traffic between them, a tenth of a second and more; `fields` are asked for besides."""

    def pause() -> None:
        wanted = [one.turns + TURNS for one in traffic]
        time.sleep(0.1)
        until(lambda: all(one.turns >= turns or not one.is_alive() for one, turns in zip(traffic, wanted, strict=True)))

    def phases() -> list[migration.Applied]:
        known = journal.Journal.open("m1", directory)
        reached = []
        with change_engine.Engine(known) as engine:
            for phase in migration.ORDER:
                pause()
                desired = msgspec.structs.replace(rig.desired(phase, target, restore=restore), **fields)
                reached.append(engine.make_true(desired))
        known.close()
        pause()
        return reached

    return rig.inside(phases)


def dropped(rig: Rig) -> int:
    """Packets that the veths dropped silently."""
    seen = rig.inside(lambda: observe.observe("n", ports=rig.rule))
    return sum(p.host_rx_dropped + p.host_tx_dropped + p.pod_rx_dropped + p.pod_tx_dropped for p in seen.ports)


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("bridged", [False, True])
@pytest.mark.parametrize(("old", "new"), [(1500, 1450), (1450, 1500)])
def test_no_datagram_is_lost(rigs: RigMaker, journals: Path, old: int, new: int, bridged: bool, family: int) -> None:
    rig = rigs(3, mtu=old, bridged=bridged, gso=False)
    traffic = Datagrams(rig, min(old, new), max(old, new), family)
    before = dropped(rig)
    traffic.start()
    try:
        reached = slowly(rig, new, journals, traffic)
        reached += slowly(rig, new, journals, traffic, restore=True)
    finally:
        traffic.stop()
    assert all(row.done for row in reached)
    assert traffic.unreachable == []
    assert min(traffic.sent.values()) > 50
    assert traffic.large > 50  # it did send HI where it might
    assert traffic.received == traffic.sent
    assert dropped(rig) == before


@pytest.mark.parametrize("family", [4, 6])
def test_sizes_by_destination_lose_nothing_and_stall_nobody(rigs: RigMaker, journals: Path, family: int) -> None:
    """To pods 8900, by a route of their own, and 1500 by the default route: there and back, under both kinds."""
    rig = rigs(2, mtu=1450, gso=False)
    networks = (net.NetworkMtu(network="10.42.0.0/16", mtu=8900), net.NetworkMtu(network="fd42::/48", mtu=8900))
    traffic, requests = Datagrams(rig, 1450, 8900, family), Requests(rig, 1450, family)
    traffic.start()
    requests.start()
    try:
        sizes: dict[str, Any] = {"network_mtus": networks, "default_route_mtu": 1500}
        reached = slowly(rig, 8900, journals, traffic, requests, **sizes)
        large = traffic.large
        reached += slowly(rig, 8900, journals, traffic, requests, restore=True, **sizes)
    finally:
        traffic.stop()
        requests.stop()
    assert all(row.done for row in reached)
    assert (traffic.unreachable, requests.error) == ([], None)
    assert min(large, *traffic.sent.values(), requests.answered) > 50
    assert traffic.received == traffic.sent
    assert (requests.resent, misfits(rig), dropped(rig)) == (0, 0, 0)


def test_the_same_traffic_does_lose_when_only_the_host_ends_change(rigs: RigMaker) -> None:
    rig = rigs(2, gso=False)
    traffic = Datagrams(rig, 1450, 1500, 4)
    traffic.start()
    try:
        until(lambda: traffic.turns > TURNS)
        for number in (1, 2):
            subprocess.run(("ip", "-n", rig.node, "link", "set", f"cali{number}", "mtu", "1450"), check=True)
        until(lambda: traffic.lost() > 100)  # of which a few may be on the way
    finally:
        traffic.stop()
    lost = traffic.lost()
    assert lost > 20
    assert dropped(rig) >= lost


def resent_for_need(end: socket.socket) -> int:
    """Count the segments that were sent again because one was lost, not because its acknowledgement was late.

    Of the latter the other end tells (DSACK, RFC 2883): tcpi_total_retrans and tcpi_dsack_dups of
    include/uapi/linux/tcp.h, Linux 4.19 and newer.
    """
    known = end.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 224)
    (again,), (needless,) = struct.unpack_from("=I", known, 100), struct.unpack_from("=I", known, 216)
    return int(again) - int(needless)


class Requests(threading.Thread):
    """One established connection with requests of one full segment, as on HI; each must be answered."""

    def __init__(self, rig: Rig, size: int, family: int) -> None:
        super().__init__(name="requests")
        self.size = size - (52 if family == 4 else 72)  # IP, TCP, timestamps
        self.turns = self.answered = 0
        self.resent = 0
        self.error: OSError | None = None
        self._stopped = threading.Event()
        listener = inside(rig.pods[1], family, socket.SOCK_STREAM)
        listener.bind(("" if family == 4 else "::", 6000))
        listener.listen()
        self._client = inside(rig.pods[0], family, socket.SOCK_STREAM)
        self._client.settimeout(20)
        self._client.connect((rig.address(2) if family == 4 else rig.address6(2), 6000))
        self._server, _address = listener.accept()
        self._server.settimeout(20)
        listener.close()
        for end in (self._client, self._server):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def run(self) -> None:
        request = b"r" * self.size
        try:
            while not self._stopped.is_set():
                for source, sink in ((self._client, self._server), (self._server, self._client)):
                    source.sendall(request)
                    missing = self.size
                    while missing:
                        missing -= len(sink.recv(missing))
                self.turns = self.answered = self.answered + 1
        except OSError as error:
            self.error = error

    def stop(self) -> None:
        """End it, once the ends have had time to hear of what they sent twice for nothing."""
        self._stopped.set()
        self.join()
        deadline = time.monotonic() + 5
        while self.resends() and time.monotonic() < deadline:
            time.sleep(0.01)
        self.resent = self.resends()
        self._client.close()
        self._server.close()

    def resends(self) -> int:
        """Count what both ends have sent again for need until now."""
        return resent_for_need(self._client) + resent_for_need(self._server)


def misfits(rig: Rig) -> int:
    """Segments that a pod's own IP output dropped because they had been built for a larger MTU: each stalls a flow."""
    found = 0
    for pod in rig.pods:
        command = ("ip", "netns", "exec", pod, "nstat", "-asz", "IpFragFails", "Ip6FragFails")
        lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
        found += sum(int(line.split()[1]) for line in lines if not line.startswith("#"))
    return found


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize(("old", "new"), [(1500, 1450), (1450, 1500)])
def test_an_established_connection_does_not_even_stall(
    rigs: RigMaker, journals: Path, old: int, new: int, family: int
) -> None:
    rig = rigs(2, mtu=old, gso=False)
    requests = Requests(rig, old, family)
    requests.start()
    try:
        slowly(rig, new, journals, requests)
        slowly(rig, new, journals, requests, restore=True)
    finally:
        requests.stop()
    assert requests.error is None
    assert requests.answered > 100
    assert requests.resent == 0  # so nothing was waited for
    assert misfits(rig) == 0
    assert dropped(rig) == 0


@pytest.mark.parametrize("family", [4, 6])
def test_a_plain_route_mtu_would_have_stalled_it(rigs: RigMaker, family: int) -> None:
    rig = rigs(2, gso=False)
    requests = Requests(rig, 1500, family)
    requests.start()
    until(lambda: requests.turns > TURNS)
    via = ("via", "169.254.1.1") if family == 4 else ("via", "fe80::ecee:eeff:feee:eeee", "metric", "1024")
    replace = ("ip", "-n", rig.pods[0], f"-{family}", "route", "replace", "default", *via, "dev", "eth0", "mtu", "1450")
    subprocess.run(replace, check=True)
    try:
        until(lambda: misfits(rig) > 0)
    finally:
        requests.stop()


@pytest.mark.parametrize("family", [4, 6])
def test_what_a_host_end_swallows_is_sent_again_for_need(rigs: RigMaker, family: int) -> None:
    rig = rigs(2, gso=False)
    requests = Requests(rig, 1500, family)
    requests.start()
    try:
        link = ("ip", "-n", rig.node, "link", "set", "cali1", "mtu")
        subprocess.run((*link, "1450"), check=True)
        until(lambda: requests.resends() > 0)
        subprocess.run((*link, "1500"), check=True)
    finally:
        requests.stop()
    assert requests.error is None
    assert requests.resent > 0


def learn(rig: Rig, address: str) -> None:
    """Sends what the node cannot forward over its tunnel, so that the pod learns a path MTU by ICMP."""
    family = 6 if ":" in address else 4
    with inside(rig.pods[0], family, socket.SOCK_DGRAM) as sock:
        if family == 4:
            sock.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, DO)
        else:
            sock.setsockopt(socket.IPPROTO_IPV6, IPV6_MTU_DISCOVER, DO)
        sock.connect((address, 9))
        deadline = time.monotonic() + 60
        while "mtu 1450" not in way(rig, address) and time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                sock.send(b"\0" * (1500 - HEADERS[family]))
            time.sleep(0.02)
    assert "mtu 1450" in way(rig, address)


def way(rig: Rig, address: str) -> str:
    family = "-6" if ":" in address else "-4"
    command = ("ip", "-n", rig.pods[0], family, "route", "get", address)
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("address", ["10.42.2.5", "fd42:0:0:2::5"])
def test_settling_forgets_learned_path_mtus(rigs: RigMaker, journals: Path, address: str) -> None:
    rig = rigs(1)
    rig.walk(8950, journals, phases=migration.ORDER[:8])
    subprocess.run(("ip", "-n", rig.node, "link", "set", "flannel.1", "mtu", "1450"), check=True)
    learn(rig, address)
    assert rig.make_true(rig.desired(Phase.UNPIN_PODS, 8950), journals).done
    assert "mtu 1450" in way(rig, address)
    assert rig.make_true(rig.desired(Phase.SETTLE, 8950), journals).done
    assert "mtu" not in way(rig, address)
