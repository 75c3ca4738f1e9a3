"""What is read is what `ss`, `nstat` and `ip` say of the same namespace."""

import contextlib
import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.labs import until
from tests.support.tcp_lines import TcpLine, TcpLineMaker

from kubemtu.core.evidence import records, symptoms
from kubemtu.node import errors
from kubemtu.node.evidence import connections, counters, gather
from kubemtu.node.kernel import netlink
from kubemtu.node.probe import channel
from kubemtu_lab.line import faults, network

pytestmark = pytest.mark.netns
ADDRESS = {4: "10.9.3.1", 6: "fd09:3::1"}
both = pytest.mark.parametrize("family", [4, 6], ids=["v4", "v6"])


@pytest.fixture(scope="module")
def still(tcp_lines: TcpLineMaker) -> TcpLine:
    """A line with a connection of each kind, on which nothing happens any more."""
    made = tcp_lines()
    for family, dual in ((4, False), (6, False), (4, True)):
        made.pair(family, dual=dual).answer(100_000)
    until(lambda: all(pair.seen(made.read()).bytes_acked == 100_000 for pair in made.pairs))  # the last one comes late
    return made


@pytest.fixture
def narrow(tcp_lines: TcpLineMaker) -> TcpLine:
    """A line whose routers say that they carry 1450."""
    return tcp_lines(faults.Middle(1450))


@pytest.fixture
def diag(still: TcpLine) -> Iterator[netlink.Socket]:
    with still.line.inside("a", lambda: netlink.Socket(connections.NETLINK_SOCK_DIAG)) as sock:
        yield sock


@pytest.mark.parametrize("number", [0, 1, 2], ids=["v4", "v6", "mapped"])
def test_a_connection_is_what_ss_says(still: TcpLine, number: int) -> None:
    pair = still.pairs[number]
    said = network.run(*still.line.command("a", "ss", "-tinoHO", "state", "established", f"sport = :{pair.port}"))
    one = pair.seen(still.read())
    told = {name: int(value) for name, value in re.findall(r" (\w+):(\d+)(?= |$)", said)}
    assert (one.snd_mss, one.rcv_mss, one.advmss) == (told["mss"], told["rcvmss"], told["advmss"])
    assert (one.pmtu, one.bytes_acked, one.delivered) == (told["pmtu"], told["bytes_acked"], told["delivered"])
    assert (one.snd_wnd, one.rtt) == (told["snd_wnd"], float(re.findall(r" rtt:([\d.]+)/", said)[0]))
    assert (one.timestamps, one.sacks) == ("ts" in said.split(), "sack" in said.split())
    assert (one.retransmits, one.backoff, one.lost, one.queued) == (0, 0, 0, 0)
    assert one.packet == 1500  # whole packets: 1448 + 12 + 20 + 20, or 1428 + 12 + 20 + 40
    assert (one.device, one.device_mtu, one.route_mtu) == ("e0", 1500, 0)


def test_an_ipv4_connection_of_an_ipv6_socket_is_one_of_ipv4(still: TcpLine) -> None:
    one = still.pairs[2].seen(still.read())
    assert (one.family, one.local, one.remote) == (4, "10.9.1.1", "10.9.3.1")
    six = still.pairs[1].seen(still.read())
    assert (six.family, six.local, six.remote) == (6, "fd09:1::1", "fd09:3::1")


def test_an_older_kernels_shorter_struct_is_read_as_far_as_it_goes(diag: netlink.Socket) -> None:
    body = connections._REQUEST.pack(socket.AF_INET, socket.IPPROTO_TCP, 2, connections._STATES, b"")
    whole = diag.dump(connections.BY_FAMILY, body, "reading")[0]
    told = netlink.attributes(whole, 72)[2]
    for length, acked, delivered in ((104, False, False), (128, True, False), (196, True, True)):
        one = connections.connection(whole[:72] + netlink.attribute(2, told[:length]))
        assert one is not None
        assert (one.snd_mss, one.pmtu, one.snd_wnd) == (1448, 1500, 0)
        assert (one.bytes_acked == 100_000, one.delivered > 0) == (acked, delivered)
    assert connections.connection(whole[:72]) is None
    assert connections.connection(whole[:71]) is None


def test_connections_to_this_host_itself_are_left_out(still: TcpLine) -> None:
    def work() -> records.Evidence:
        with contextlib.ExitStack() as stack:
            for address in ("10.9.1.1", "127.0.0.1"):
                server = stack.enter_context(socket.create_server((address, 0)))
                stack.enter_context(socket.create_connection(server.getsockname()))
            return gather.read()

    assert {one.remote for one in still.line.inside("a", work).connections} == {"10.9.3.1", "fd09:3::1"}


def test_of_many_connections_only_some_are_told(still: TcpLine) -> None:
    found = gather.within(still.line.descriptors["a"], most=1)
    assert (len(found.connections), found.established) == (1, 3)


def test_counts_are_what_nstat_says(still: TcpLine) -> None:

    def alike() -> bool:
        """Hold two looks against each other, between which the kernel may have counted something."""
        said = json.loads(network.run(*still.line.command("a", "nstat", "-asj")))["kernel"]
        found = still.read().counters
        assert found.tcp_out_segs > 0
        told = {name: getattr(found, field) for name, field in counters._COUNTED.items()}
        return told == {name: said.get(name, 0) for name in counters._COUNTED}

    until(alike)


def test_settings_are_those_of_the_namespace(tcp_lines: TcpLineMaker) -> None:
    tcp_line = tcp_lines(probing=1)
    tcp_line.line.sysctl("a", {"ipv4/ip_no_pmtu_disc": 3, "ipv4/route/min_pmtu": 600})
    there = tcp_line.read().sysctls
    assert (there.tcp_mtu_probing, there.tcp_base_mss, there.ip_no_pmtu_disc, there.route_min_pmtu) == (1, 1024, 3, 600)
    assert tcp_line.read("b").sysctls.tcp_mtu_probing == 0
    assert {one.kind for one in symptoms.symptoms(None, tcp_line.read())} == {"masked", "discovery off"}


def test_what_is_not_there_is_a_sentence_and_not_a_crash(still: TcpLine, tmp_path: Path) -> None:
    found = still.line.inside("a", lambda: gather.read(proc=tmp_path))
    assert (found.counters, found.sysctls) == (records.Counters(), records.Sysctls())
    assert len(found.errors) == 2
    assert len(found.connections) == 3


@both
def test_a_learned_path_mtu_is_told_and_forgotten(narrow: TcpLine, family: int) -> None:
    narrow.pair(family).answer(20_000)
    found = narrow.read()
    (learned,) = found.learned
    assert (learned.destination, learned.mtu, learned.locked) == (ADDRESS[family], 1450, False)
    assert (learned.device, learned.device_mtu) == ("e0", 1500)
    assert 500 <= learned.expires <= 600  # net.ipv4.route.mtu_expires, net.ipv6.route.mtu_expires
    assert narrow.pairs[0].seen(found).pmtu == 1450
    (symptom,) = (one for one in symptoms.symptoms(None, found) if one.where.startswith("the path to"))
    assert (symptom.kind, symptom.sure, symptom.peers) == ("path MTU learned", "suggests", (ADDRESS[family],))
    assert narrow.line.inside("a", gather.flush) == 1
    assert narrow.read().learned == ()
    assert "mtu" not in network.run("ip", "-n", narrow.line.spaces["a"], f"-{family}", "route", "show", "cache")
    assert narrow.line.inside("a", gather.flush) == 0


@both
def test_a_learned_path_mtu_that_is_not_true_any_more(narrow: TcpLine, family: int) -> None:
    narrow.pair(family).answer(20_000)
    address = ADDRESS[family]
    for measured, kind in ((1450, "path MTU learned"), (1500, "stale path MTU")):
        found = symptoms.symptoms(None, narrow.read(), measured={address: measured})
        (symptom,) = (one for one in found if one.where.startswith("the path to"))
        assert (symptom.kind, symptom.sure, symptom.says_mtu) == (kind, "proves", True)
        assert f"holds 1450 bytes for the path to {address}, where 1500 leave" in symptom.sentence


def test_a_routers_lie_is_held_as_locked(tcp_lines: TcpLineMaker) -> None:
    """A router that claims 500 is not believed below min_pmtu (552), and DF is given up instead."""
    tcp_line = tcp_lines(faults.Middle(500))
    one = tcp_line.line.inside("a", lambda: channel.Channel(4))
    one.send(b"", 1000, ("10.9.3.1", 9))
    one.send(b"", 100, ("10.9.3.1", 9))  # Linux lists what it has learned once that has been made use of
    one.close()
    (learned,) = tcp_line.read().learned
    assert (learned.mtu, learned.locked) == (552, True)
    (symptom,) = (one for one in symptoms.symptoms(None, tcp_line.read()) if one.kind == "path MTU learned")
    assert "net.ipv4.route.min_pmtu" in symptom.sentence


def test_a_route_that_was_given_an_mtu_is_no_learned_one(tcp_lines: TcpLineMaker) -> None:
    tcp_line = tcp_lines()
    tcp_line.line.ip("a", "route change default via 10.9.1.254 mtu 1400")
    tcp_line.pair().answer(20_000)
    found = tcp_line.read()
    assert (tcp_line.pairs[0].seen(found).pmtu, tcp_line.pairs[0].seen(found).route_mtu) == (1400, 1400)
    assert symptoms.symptoms(None, found) == ()


def test_a_router_that_refuses_is_told_by_its_own_counts(narrow: TcpLine) -> None:
    before = narrow.read("r1")
    narrow.pair(4).answer(1448)
    narrow.pair(6).answer(1428)
    (symptom,) = symptoms.symptoms(before, narrow.read("r1"))
    assert (symptom.kind, symptom.sure, symptom.says_mtu) == ("refused here", "proves", True)
    assert "this host itself refused 2 packets within" in symptom.sentence
    (learned,) = (one for one in symptoms.symptoms(None, narrow.read()) if "Icmp6InPktTooBigs" in one.sentence)
    assert (learned.kind, learned.sure) == ("path MTU learned", "proves")


def test_fragments_are_told_at_both_ends(tcp_lines: TcpLineMaker) -> None:
    tcp_line = tcp_lines()

    def work() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.sendto(bytes(4000), ("10.9.3.1", 9))

    tcp_line.line.inside("a", work)
    (made,) = symptoms.symptoms(None, tcp_line.read())
    assert (made.kind, made.sure) == ("fragmented here", "suggests")
    assert "made 3 fragments" in made.sentence  # 4008 bytes in pieces of 1480
    (joined,) = symptoms.symptoms(None, tcp_line.read("b"))
    assert (joined.kind, "1 packet for this host came in fragments" in joined.sentence) == ("reassembled here", True)


def test_a_clamped_mss_shows_in_passing(tcp_lines: TcpLineMaker) -> None:
    tcp_line = tcp_lines()
    tcp_line.rule("tcp flags syn tcp option maxseg size set 1300")
    tcp_line.pair().answer(20_000)
    (symptom,) = symptoms.symptoms(None, tcp_line.read())
    assert (symptom.kind, symptom.sure, symptom.peers) == ("segments clamped", "suggests", ("10.9.3.1",))
    assert "packets of 1340 bytes, although the kernel holds 1500" in symptom.sentence  # 1300 + 20 + 20


def test_a_socket_that_wants_small_segments_is_not_clamped(tcp_lines: TcpLineMaker) -> None:
    tcp_line = tcp_lines()
    tcp_line.line.ip("a", "route change default via 10.9.1.254 advmss 1200")
    tcp_line.line.ip("b", "route change default via 10.9.3.254 advmss 1200")
    tcp_line.pair().answer(20_000)
    assert symptoms.symptoms(None, tcp_line.read()) == ()


def test_a_namespace_that_is_gone_is_a_sentence() -> None:
    with pytest.raises(errors.Refused):
        gather.within(0)
