"""What both ends showed by themselves: kept where it is about the path, left out where measuring made it or says it."""

import msgspec
from tests.support.known import N1, SNAPSHOT, port
from tests.support.paths import PG, WEB, changed

from kubemtu.core import net
from kubemtu.core.evidence import records
from kubemtu.core.evidence.records import Counters, Evidence, Learned, Sysctls, TcpConnection
from kubemtu.core.probe import request
from kubemtu.core.snapshot import Snapshot
from kubemtu.core.why import legs, passive
from kubemtu.core.why.passive import PassiveSymptoms

TASK = legs.EndpointPair(source=WEB, destination=PG, requests=())
THERE = PG.addresses[0]
# net/ipv4/tcp_timer.c: data that timed out three times; of four segments under way one was acknowledged (RFC 2018)
HANGS = TcpConnection(
    local="10.42.1.10",
    local_port=40000,
    remote=THERE,
    remote_port=5432,
    snd_mss=1398,
    pmtu=1450,
    retransmits=3,
    backoff=3,
    unacked=4,
    sacked=1,
    lost=3,
    queued=4700,
    delivered=3,
    last_data_sent=900,
    last_ack_recv=2000,
    last_data_recv=2000,
    rtt=0.1,
    timestamps=True,
)


def seen(
    *, pod: Evidence | None = None, node: Evidence | None = None, size: int = 1450, snapshot: Snapshot = SNAPSHOT
) -> tuple[PassiveSymptoms, ...]:
    """What is kept of what web-1 and its node show, when `size` bytes arrive, 0 for none."""
    spots = ((WEB.link, pod or Evidence()), ("", node or Evidence()))
    told = request.ProbeReport(
        readings=tuple(
            request.PassiveReading(link=port, before=one, after=msgspec.structs.replace(one, at=2.0))
            for port, one in spots
        )
    )
    return passive.symptoms_between(TASK, {"n1": told}, snapshot, {THERE: size} if size else {})


def kinds(found: tuple[PassiveSymptoms, ...]) -> list[tuple[str, records.Kind]]:
    return [(one.where, symptom.kind) for one in found for symptom in one.symptoms]


def test_a_connection_that_hangs_is_told_of() -> None:
    assert kinds(seen(pod=Evidence(connections=(HANGS,)))) == [("default/web-1", "size-selective loss")]


def test_a_connection_to_somebody_else_is_not() -> None:
    other = msgspec.structs.replace(HANGS, remote="198.51.100.9")
    assert kinds(seen(pod=Evidence(connections=(other,)))) == []


def test_what_probing_itself_is_counted_as_is_nobodys_symptom() -> None:
    counted = Counters(ip_frag_fails=40, ip_frag_creates=8, ip_reasm_oks=4, ip6_in_too_big_errors=3)
    assert kinds(seen(pod=Evidence(counters=counted), node=Evidence(counters=counted))) == []


def test_what_probing_has_taught_the_kernel_is_not_either() -> None:
    learned = Evidence(learned=(Learned(destination=THERE, mtu=1350, expires=599, device="eth0", device_mtu=1450),))
    assert kinds(seen(pod=learned, size=1350)) == []
    assert kinds(seen(node=learned, size=1350)) == []


def test_where_nothing_was_measured_what_was_learned_is_all_there_is() -> None:
    learned = Evidence(learned=(Learned(destination=THERE, mtu=1350, expires=599, device="eth0", device_mtu=1450),))
    assert kinds(seen(pod=learned, size=0)) == [("default/web-1", "path MTU learned")]


def test_what_the_kernel_believes_against_what_arrives_is_told() -> None:
    learned = Evidence(learned=(Learned(destination=THERE, mtu=600, expires=599, device="eth0", device_mtu=1450),))
    assert kinds(seen(pod=learned, size=1450)) == [("default/web-1", "stale path MTU")]


def test_a_kernel_that_would_search_masks_nothing_on_a_path_that_is_in_order() -> None:
    probing = Evidence(sysctls=Sysctls(tcp_mtu_probing=1))
    assert kinds(seen(pod=probing)) == []
    assert kinds(seen(pod=probing, size=0)) == [("default/web-1", "masked")]


def test_a_veth_of_two_mtus_is_told_of_by_its_node() -> None:
    differ = changed_port(pod_mtu=1450, host_mtu=1400, host_rx_dropped=9, pod_tx_dropped=9)
    assert kinds(seen(snapshot=differ)) == [("node n1", "veth ends differ")]


def test_drops_between_ends_that_are_equal_again_are_past() -> None:
    assert kinds(seen(snapshot=changed_port(host_rx_dropped=9, pod_tx_dropped=9))) == []


def changed_port(**fields: int) -> Snapshot:
    """The snapshot with the port of web-1 so changed."""
    one: net.PodPort = msgspec.structs.replace(port(WEB.link, *WEB.addresses), **fields)
    return msgspec.structs.replace(SNAPSHOT, nodes=(msgspec.structs.replace(N1, ports=(one,)),))


def test_of_a_pods_node_only_what_concerns_the_pod() -> None:
    """That the node itself gave up connections, or is clamped towards somebody, is another path's trouble."""
    node = Evidence(counters=Counters(tcp_abort_on_timeout=3, tcp_mtup_fail=2), sysctls=Sysctls(tcp_mtu_probing=1))
    assert kinds(seen(node=node)) == []


def test_what_was_forgotten_is_counted_at_the_end_itself() -> None:
    evidences = {port: Evidence() for port in (WEB.link, "")}
    told = request.ProbeReport(
        readings=tuple(
            request.PassiveReading(link=port, before=one, after=one, flushed=2) for port, one in evidences.items()
        )
    )
    found = passive.symptoms_between(TASK, {"n1": told}, SNAPSHOT, {})
    assert [(one.where, one.forgotten) for one in found] == [("default/web-1", 2), ("node n1", 0)]


def test_who_did_not_tell_shows_nothing() -> None:
    assert passive.symptoms_between(TASK, {}, SNAPSHOT, {}) == ()
    unknown = legs.EndpointPair(source=changed(WEB, agent_node=""), destination=changed(PG, agent_node=""), requests=())
    assert passive.symptoms_between(unknown, {"n1": request.ProbeReport()}, SNAPSHOT, {}) == ()
