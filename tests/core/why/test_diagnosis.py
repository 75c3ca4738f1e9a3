"""What is said of a path, for each thing that can be wrong with it: one sentence, where, how sure, and what to do."""

from typing import Any

import msgspec
import pytest
from tests.support import example
from tests.support.paths import N1, N2, OUTSIDE, PG, WEB, both, changed, direction, leg, nothing, path

from kubemtu.core import encap
from kubemtu.core.cluster import layout
from kubemtu.core.cluster.topology import Topology
from kubemtu.core.evidence import records
from kubemtu.core.headers import IPV6
from kubemtu.core.path import verdict as path_verdict
from kubemtu.core.path.direction import Segments
from kubemtu.core.probe import request
from kubemtu.core.why.case import Diagnosis, both_families
from kubemtu.core.why.diagnosis import diagnose
from kubemtu.core.why.directions import Leg
from kubemtu.core.why.endpoints import Endpoint
from kubemtu.core.why.passive import PassiveSymptoms

HOLE_1422 = path(
    both("whole", 1422), leg("overlay", direction(1422)), both("nodes", 1472, 1500), both("far", 1450, expected=1450)
)
# RFC 9293 3.7.1: the MSS is the interface's MTU less 40 of IPv4 and TCP headers
CLAMPED = Segments(announced_mss=1410, received_mss=1200, segment_payload=1188, path_mtu=1450, header_bytes=40)
MODEST = Segments(announced_mss=1360, received_mss=1360, segment_payload=1348, path_mtu=1450, header_bytes=40)
SHOWS = "10.42.1.10:40000 ▸ 203.0.113.7:5432 hangs: a packet of 1450 bytes was lost all 6 times that it was sent"


def ask(legs: list[Leg], here: Endpoint = WEB, there: Endpoint = PG, **more: Any) -> Diagnosis:
    """Diagnose the path between two ends of tests.support.paths."""
    return diagnose(here, there, legs, **more)


def big(end: Endpoint) -> Endpoint:
    """A pod of 1500 bytes."""
    return changed(end, mtu=1500, host_mtu=1500)


def test_the_network_between_the_nodes() -> None:
    found = ask(HOLE_1422)
    assert (found.is_mtu, found.kind, found.mtu, found.expected, found.confidence) == (
        "yes",
        "black hole",
        1422,
        1450,
        "certain",
    )
    assert found.sentence == (
        "This is MTU: from default/web-1 to db/pg-0 packets above 1422 vanish between n1 and n2, whose network carries "
        "1472; both ends believe 1450; no ICMP comes back."
    )
    assert found.location == "between n1 and n2, whose network carries 1472"
    assert found.advice == (
        "correct the link, switch port or NIC between n1 and n2; until then `kubemtu plan --nic-mtu 1472` shows the "
        "pod MTU that fits"
    )
    assert found.evidence == (
        "a packet of 1422 bytes arrived; 53 of 53 packets up to that size were answered",
        "1423 bytes were lost 6 times, in between those",
        "the kernel of default/web-1 still believes 1450 bytes: nobody has told it",
    )


@pytest.mark.parametrize("turned", [False, True], ids=["asked that way", "asked the other way"])
def test_one_direction_of_the_network_whichever_way_it_was_asked(turned: bool) -> None:
    bad, good = direction(1350), direction(1450)
    slow, fast = direction(1400, 1500), direction(1500, 1500)
    if turned:
        legs = path(leg("whole", good, bad, here=PG, goal=WEB), leg("nodes", fast, slow, here=PG, goal=WEB))
        found = ask(legs, PG, WEB)
    else:
        found = ask(path(leg("whole", bad, good), leg("nodes", slow, fast), leg("overlay", direction(1350))))
    assert found.sentence == (
        "This is MTU: from default/web-1 to db/pg-0 packets above 1350 vanish between n1 and n2, whose network carries "
        "1400; both ends believe 1450; no ICMP comes back; the other way 1450 arrive."
    )
    assert found.confidence == "certain"
    assert found.advice.startswith("correct the link, switch port or NIC on the way from n1 to n2; until then ")
    assert (found.source, found.destination) == (
        ("db/pg-0", "default/web-1") if turned else ("default/web-1", "db/pg-0")
    )


def test_both_directions_are_in_the_parts_each_by_itself() -> None:
    whole = ask(path(leg("whole", direction(1350), direction(1450)))).legs[0]
    assert whole.forward is not None
    assert whole.backward is not None
    assert (whole.forward.kind, whole.forward.mtu, whole.backward.kind, whole.backward.mtu) == (
        "black hole",
        1350,
        "ok",
        1450,
    )


@pytest.mark.parametrize(
    ("by", "fate", "told"),
    [
        ("", "vanish", "no ICMP comes back"),
        ("10.42.1.1", "are refused", "ICMP says so, and TCP adapts when it hears it"),
    ],
)
def test_pods_larger_than_the_tunnel_of_their_own_node(by: str, fate: str, told: str) -> None:
    legs = path(
        both("whole", 1450, 1500, by=by),
        both("near", 1500, 1500),
        leg("overlay", direction(1450), expected=1500),
        both("far", 1500, 1500, expected=1500),
    )
    found = ask(legs, big(WEB), big(PG))
    assert found.sentence == (
        f"This is MTU: from default/web-1 to db/pg-0 packets above 1450 {fate} at the tunnel of n1, which takes 1450; "
        f"both ends believe 1500; {told}."
    )
    assert found.confidence == "certain"
    assert found.advice == (
        "`kubemtu plan --mtu 1450` shows the change to what the tunnel carries, and `kubemtu apply --mtu 1450` makes "
        "it, live"
    )


def test_inside_the_tunnel_when_all_parts_are_sound() -> None:
    found = ask(path(both("whole", 1410), leg("overlay", direction(1410))))
    assert found.sentence == (
        "This is MTU: from default/web-1 to db/pg-0 packets above 1410 vanish in the tunnel between n1 and n2; both "
        "ends believe 1450; no ICMP comes back."
    )
    assert (found.confidence, found.location) == ("certain", "in the tunnel between n1 and n2")
    assert "`kubemtu plan --mtu 1410`" in found.advice


@pytest.mark.parametrize(
    "nodes",
    [leg("nodes", direction(1500, 1500)), leg("nodes", direction(1500, 1500), nothing(1500))],
    ids=["nothing was told of the way back", "nothing was answered on it"],
)
def test_the_tunnel_is_not_blamed_where_the_way_below_it_was_measured_in_one_direction_only(nodes: Leg) -> None:
    found = ask(path(leg("whole", direction(1450), direction(1350)), nodes))
    assert found.sentence.startswith(
        "This is MTU: from db/pg-0 to default/web-1 packets above 1350 vanish between n2 and n1; both ends believe 1450"
    )
    assert (found.location, found.confidence) == ("between n2 and n1", "possible")


def test_without_a_tunnel_none_is_blamed() -> None:
    here, there = changed(WEB, has_tunnel=False), changed(PG, has_tunnel=False)
    found = ask(path(both("whole", 1410), leg("overlay", direction(1410))), here, there)
    assert (found.location, found.confidence) == ("between n1 and n2", "likely")
    assert found.advice.endswith("look at what encrypts or filters pods' packets")


def test_only_the_nodes_end_of_a_veth_was_set() -> None:
    here = changed(WEB, host_mtu=1400)
    legs = path(
        leg("whole", direction(1404), direction(1400, by="10.42.1.1")),
        leg("near", direction(1404, peer=1400), direction(1400, 1400)),
    )
    found = ask(legs, here)
    assert found.sentence == (
        "This is MTU: from default/web-1 to db/pg-0 packets above 1404 vanish at the veth of default/web-1, which has "
        "1450 in the pod and 1400 on n1; both ends believe 1450; no ICMP comes back; the other way those above 1400 "
        "are refused."
    )
    assert found.confidence == "certain"
    assert found.advice == "`kubemtu check` shows what differs, and `kubemtu apply` makes both ends equal, live"


def test_only_the_nodes_ends_of_all_veths_were_set_over_a_tunnel_that_says_what_it_takes() -> None:
    """What is little larger than the tunnel takes passes the veth by a VLAN tag's room, and is refused with a word.

    What pods really send is not.
    """
    here, there = changed(big(WEB), host_mtu=1450), changed(big(PG), host_mtu=1450)
    half = leg("near", direction(1454, 1500, peer=1450), direction(1450, 1450))
    legs = path(
        both("whole", 1450, 1500, by="10.42.1.1", unheard=True),
        half,
        leg("overlay", direction(1450), expected=1500),
        leg("far", direction(1450, 1450), direction(1454, 1500, peer=1450), expected=1500),
    )
    found = ask(legs, here, there)
    assert found.sentence == (
        "This is MTU: from default/web-1 to db/pg-0 packets above 1450 vanish at the veth of default/web-1, which has "
        "1500 in the pod and 1450 on n1; both ends believe 1500; no ICMP comes back."
    )
    assert "larger packets than those that it refused were lost without a word, as often as a proof needs" in (
        found.evidence
    )


def test_a_node_that_could_send_more_than_a_pod_takes_is_told_so_and_that_is_all() -> None:
    there = changed(PG, mtu=1450, host_mtu=1450)
    found = ask([leg("whole", direction(1450, 8950, by="192.0.2.2"), direction(1450), here=N1)], N1, there)
    assert (found.is_mtu, found.sentence) == (
        "no",
        "This is not MTU: from n1 to db/pg-0 packets of 1450 bytes arrive whole both ways.",
    )
    found = ask([leg("whole", direction(1400, 8950, by="192.0.2.2"), direction(1450), here=N1)], N1, there)
    assert found.is_mtu == "yes"


def test_what_was_learned_from_our_own_packets_masks_nothing() -> None:
    """The other end has been told of 1400 while it was measured, and asks TCP for no more since (MSS 1360)."""
    there = direction(1404, segments=MODEST)
    found = ask(path(leg("whole", there, direction(1400, by="10.42.1.1")), leg("near", direction(1404, peer=1400))))
    assert found.kind == "black hole"
    assert "TCP is kept" not in found.sentence


def test_a_pod_that_is_smaller_than_the_others() -> None:
    there = changed(PG, mtu=1400)
    legs = path(
        leg("whole", direction(1404, peer=1400), direction(1400, 1400)),
        leg("far", direction(1404, peer=1400), direction(1400, 1400), expected=1400),
    )
    found = ask(legs, WEB, there)
    assert found.sentence == (
        "This is MTU: from default/web-1 to db/pg-0 packets above 1404 are dropped at the interface of db/pg-0, which "
        "has 1400; default/web-1 believes 1450, db/pg-0 1400; no ICMP comes back; the other way 1400 arrive."
    )
    assert found.advice == (
        "give all pods the same MTU: `kubemtu plan` shows the one that fits, and `kubemtu apply` sets it, live"
    )


def test_two_nodes_of_different_nics() -> None:
    there = changed(N2, mtu=1400)
    found = ask([leg("whole", direction(1404, 1500, peer=1400), direction(1400, 1400), here=N1, goal=N2)], N1, there)
    assert found.sentence == (
        "This is MTU: from n1 to n2 packets above 1404 are dropped at n2's own NIC, which has 1400; n1 believes 1500, "
        "n2 1400; no ICMP comes back; the other way 1400 arrive."
    )
    assert found.advice == (
        "give the NICs of n1 and n2 the same MTU; until then `kubemtu plan --nic-mtu 1400` shows the pod MTU that fits"
    )


def test_pods_on_nodes_of_different_nics() -> None:
    nodes = leg("nodes", direction(1404, 1500, peer=1400), direction(1400, 1400))
    found = ask(path(both("whole", 1354), nodes, leg("overlay", direction(1354))))
    assert found.location == "at n2's own NIC, which has 1400"
    assert found.advice.startswith("give the NICs of n1 and n2 the same MTU; until then `kubemtu plan --nic-mtu 1400`")


@pytest.mark.parametrize(("nic_mtu", "named"), [(1400, " eth0"), (1500, "")], ids=["that one", "another one"])
def test_the_nic_that_is_smaller_is_named_where_it_is_known(nic_mtu: int, named: str) -> None:
    nodes = leg("nodes", direction(1404, 1500, peer=1400), direction(1400, 1400))
    there = changed(PG, nic="eth0", nic_mtu=nic_mtu)
    found = ask(path(both("whole", 1354), nodes, leg("overlay", direction(1354))), WEB, there)
    assert found.sentence.startswith(
        "This is MTU: from default/web-1 to db/pg-0 packets above 1354 vanish at"
        f" n2's own NIC{named}, which has 1400; both ends believe 1450"
    )


@pytest.mark.parametrize(
    ("tunnel", "said"),
    [(8950, "; MTU145 of `kubemtu check` says what ends it for what n1 itself sends by its tunnel"), (1450, "")],
)
def test_a_node_whose_tunnel_is_larger_than_the_other_nic_is_led_to_what_ends_it(tunnel: int, said: str) -> None:
    seen = (example.node("n1", nic=9000, tunnel=tunnel), example.node("n2"))
    legs = [
        leg("whole", direction(1450, tunnel), direction(1450), here=N1, goal=PG),
        leg("nodes", direction(1504, 9000, peer=1500), direction(1500, 1500)),
    ]
    found = ask(legs, N1, PG, network=layout.model(example.cluster(seen), example.state()))
    if tunnel == 8950:
        assert found.advice == f"give the NICs of n1 and n2 the same MTU; until then pods of 1450 fit{said}"
    assert ("MTU145" in found.advice) == bool(said)


def test_an_end_on_windows_that_does_not_answer_says_nothing_of_the_size() -> None:
    """Its node does not answer either, and is not dead: Windows' firewall drops echo by default."""
    there = Endpoint(kind="pod", name="default/iis", addresses=("10.42.9.10",), node="win-1", windows=True)
    legs = [leg("whole", nothing(), goal=there), leg("nodes", nothing(1500))]
    found = ask(legs, WEB, there)
    assert found.is_mtu == "unknown"
    assert found.sentence == (
        "It cannot be told whether this is MTU: from default/web-1 to default/iis nothing is answered, of whatever"
        " size, and nobody there could tell why: no agent is for Windows, whose firewall drops ICMP echo unless it is"
        " told otherwise."
    )
    assert found.advice == (
        "let ICMP echo pass to it, or try a size on it: `ping -f -l 1422 10.42.1.10` sends 1450 bytes with DF,"
        " the 28 of its headers included"
    )


def test_two_nodes_say_no_more_than_that_it_is_between_them() -> None:
    found = ask([both("whole", 1404, 1500)], N1, N2)
    assert (found.location, found.confidence) == ("between n1 and n2", "certain")
    assert "`kubemtu plan --nic-mtu 1404`" in found.advice


def test_an_mss_clamp_masks_it() -> None:
    found = ask(path(leg("whole", direction(1350, segments=CLAMPED)), both("nodes", 1400, 1500)))
    assert found.sentence.endswith(
        "; both ends believe 1450; TCP is kept at 1240 by an MSS clamp, and UDP and QUIC are lost."
    )
    assert found.advice.endswith("; leave what masks it until that is done")
    assert "the other end announced an MSS of 1410, and 1200 arrived: something clamps it" in found.evidence


def test_the_kernels_own_search_masks_it() -> None:
    found = ask(path(leg("whole", direction(1350, tcp_mtu_probing=1)), both("nodes", 1400, 1500)))
    assert (found.is_mtu, found.kind) == ("yes", "masked")
    assert "; TCP finds its way after seconds of silence (tcp_mtu_probing=1), and UDP and QUIC do not" in found.sentence


def test_a_path_mtu_that_is_old_or_forged() -> None:
    found = ask(path(leg("whole", direction(1450, before=600), direction(1450))))
    assert found.sentence == (
        "This is MTU: from default/web-1 to db/pg-0 packets above 600 are not sent whole, although 1450 arrive; the "
        "kernel of default/web-1 holds 600 for this path, learned or set by a route."
    )
    assert (found.kind, found.location) == ("stale path MTU", "")
    assert found.advice == (
        "`kubemtu why default/web-1 db/pg-0 --flush` has both ends forget what they have learned, and asks again; what "
        "comes back then, a route holds or somebody tells"
    )


def test_a_path_mtu_that_stays_when_all_is_forgotten() -> None:
    found = ask(path(leg("whole", direction(1450, before=600), direction(1450))), flushed=True)
    assert found.advice == (
        "a route of default/web-1 holds it, for what was learned has just been forgotten: `ip route get 10.42.2.10` "
        "there shows the route, whose mtu must go"
    )


@pytest.mark.parametrize(("before", "kind"), [(1350, "lower"), (1300, "black hole")])
def test_a_smaller_path_is_not_called_old_because_the_kernel_believes_less(before: int, kind: str) -> None:
    found = ask(path(leg("whole", direction(1350, before=before)), both("nodes", 1400, 1500)))
    assert (found.kind, found.mtu) == (kind, 1350)


def test_a_belief_that_is_right_but_for_the_room_of_a_vlan_tag_is_not_old() -> None:
    """A veth of 1400 lets 1404 through (include/linux/netdevice.h __is_skb_forwardable)."""
    found = ask(path(leg("whole", direction(1454, 1500, before=1450, limit="expected"), direction(1450))))
    assert found.is_mtu == "no"


def test_a_tunnel_that_cuts_its_own_packets() -> None:
    one = direction(1450, unfragmented_mtu=1400, fragmented_tunnel_packets=4, tunnel_fragments=8)
    found = ask(path(leg("whole", one, direction(1450)), both("nodes", 1450)))
    assert found.sentence == (
        "This is MTU: from default/web-1 to db/pg-0 packets above 1400 are cut in pieces inside the tunnel between n1 "
        "and n2; both ends believe 1450."
    )
    assert "`kubemtu plan --mtu 1400`" in found.advice
    assert "4 packets of the tunnel left in 8 pieces; up to 1400 bytes inside, none was cut" in found.evidence


def test_what_vanishes_is_spoken_of_before_what_is_cut() -> None:
    one = direction(1450, unfragmented_mtu=1400, fragmented_tunnel_packets=4, tunnel_fragments=8)
    found = ask(path(leg("whole", one, direction(1404))))
    assert (found.kind, found.mtu) == ("black hole", 1404)
    assert "; the other way those above 1400 are cut in pieces." in found.sentence


def test_equal_paths_that_differ() -> None:
    flows = [direction(1450, source_port=40001), direction(1400, source_port=40002)]
    verdict = path_verdict.judge_flows(flows)
    one = both("whole", 1450)
    whole = msgspec.structs.replace(one, result=msgspec.structs.replace(one.result, verdict=verdict))
    found = ask(path(whole))
    assert found.sentence.startswith(
        "This is MTU: from default/web-1 to db/pg-0 packets above 1400 vanish on some of several equal paths in the "
        "tunnel between n1 and n2; "
    )
    assert found.advice == "give the links of all equal paths the same MTU, and use 1400 at both ends until then"
    assert "1 of 2 flows carry 1400: source port 40002" in found.evidence


def test_something_that_clears_df() -> None:
    found = ask(path(both("whole", 1400, limit="fragments")))
    assert "packets above 1400 arrive in pieces" in found.sentence
    assert "look for what clears DF" in found.advice


def test_two_pods_of_one_node() -> None:
    there = changed(PG, node="n1", agent_node="n1")
    legs = [both("whole", 1400), both("near", 1450), both("far", 1450, expected=1450)]
    found = ask(legs, WEB, there)
    assert (found.location, found.confidence) == ("on n1", "likely")
    assert found.advice == "`kubemtu check` shows the bridge and the veths of n1; `kubemtu apply` sets them, live"


def test_outside_of_the_cluster_it_can_only_be_told_up_to_where() -> None:
    found = ask([leg("whole", direction(1380), goal=OUTSIDE), both("near", 1450)], WEB, OUTSIDE)
    assert found.sentence == (
        "This is MTU: from default/web-1 to 203.0.113.7 packets above 1380 vanish between n1 and 203.0.113.7; "
        "default/web-1 believes 1450; no ICMP comes back."
    )
    assert found.confidence == "possible"
    assert "let ICMP type 3 code 4 pass, and ICMPv6 type 2; until then send no more than 1380 there" in found.advice


def test_the_family_is_named_where_there_are_two() -> None:
    assert ask(HOLE_1422, family="IPv6").sentence.startswith(
        "This is MTU: from default/web-1 to db/pg-0 over IPv6 packets above 1422 vanish "
    )


# It is not


def test_all_is_well() -> None:
    found = ask(path(both("whole", 1450)))
    assert (found.is_mtu, found.confidence, found.mtu) == ("no", "certain", 1450)
    assert found.sentence == (
        "This is not MTU: from default/web-1 to db/pg-0 packets of 1450 bytes arrive whole both ways."
    )
    assert found.evidence == (
        "a packet of 1450 bytes arrived; 53 of 53 packets up to that size were answered",
        "the sender's own interface sends no more than 1450 bytes",
    )


def test_each_end_has_an_interface_of_its_own() -> None:
    found = ask([leg("whole", direction(1500, 1500), direction(1450), here=N1)], N1, PG)
    assert "packets of 1500 bytes arrive whole there, and of 1450 back." in found.sentence


def test_one_way_only() -> None:
    found = ask([leg("whole", direction(1450), over="TCP")])
    assert found.sentence.endswith("arrive whole there; the way back was not measured.")


def test_an_echo_is_as_large_as_what_it_answers() -> None:
    found = ask([leg("whole", direction(1450), over="ICMP echo")])
    assert found.sentence.endswith("arrive whole there, and echoes of them come back, whole or in pieces.")
    lost = ask([leg("whole", direction(1400), over="ICMP echo")])
    assert lost.sentence.startswith(
        "This is MTU: from default/web-1 to db/pg-0, or on the way back, packets above 1400 vanish"
    )


def test_loss_that_leaves_the_size_to_be_seen() -> None:
    found = ask(path(leg("whole", direction(1450, fitting=40, lost=12), direction(1450, fitting=40, lost=8))))
    assert found.is_mtu == "no"
    assert found.sentence.endswith("arrive whole both ways, but 25 % of all packets are lost, small ones too.")
    assert found.advice.startswith("look at the drop and error counters")


def test_a_packet_or_two_that_are_lost_are_not_worth_a_word() -> None:
    assert "lost" not in ask(path(leg("whole", direction(1450, fitting=5, lost=2)))).sentence


def test_loss_that_hides_the_size() -> None:
    found = ask(path(leg("whole", direction(1446, ending="lossy", fitting=144, lost=116))))
    assert found.is_mtu == "unknown"
    assert found.sentence == (
        "It cannot be told whether this is MTU: from default/web-1 to db/pg-0 so many packets are lost, small ones too "
        "(80 %), that their size cannot be made out; at least 1446 bytes arrive."
    )


def test_an_end_that_does_not_read_in_time() -> None:
    found = ask(path(leg("whole", direction(1446, ending="overloaded"))))
    assert (found.is_mtu, found.advice) == ("unknown", "ask again when there is less load")


def test_a_policy_that_lets_nothing_begin() -> None:
    legs = path(leg("whole", nothing()), leg("overlay", nothing()))
    found = ask([*legs, leg("return", direction(1450), direction(1450), here=WEB)])
    assert found.is_mtu == "no"
    assert found.sentence == (
        "This is not MTU: from default/web-1 to db/pg-0 nothing that default/web-1 begins is answered, while what it "
        "answers arrives whole, 1450 bytes of it: it looks like a NetworkPolicy or a firewall."
    )
    assert found.advice == "look at `kubectl get networkpolicies -A`"


def test_a_policy_hides_no_black_hole_of_what_it_lets_pass() -> None:
    legs = path(leg("whole", nothing()), both("nodes", 1400, 1500))
    found = ask([*legs, leg("return", direction(1350), direction(1350))])
    assert (found.is_mtu, found.mtu) == ("yes", 1350)


def test_a_policy_that_lets_nothing_pass_either_way() -> None:
    found = ask(path(leg("whole", nothing()), leg("overlay", nothing())))
    assert found.is_mtu == "no"
    assert found.sentence.endswith(
        "nothing is answered, of whatever size, though db/pg-0 answers its own node: it looks like a NetworkPolicy, a "
        "firewall, or a missing route between the pods."
    )


def test_a_dead_node() -> None:
    legs = [leg("whole", nothing()), both("near", 1450), leg("nodes", nothing(1500))]
    found = ask(legs)
    assert found.is_mtu == "no"
    assert found.sentence.endswith(
        "nothing is answered, of whatever size, and node n2 does not answer n1 either: it looks like a dead node, a "
        "missing route, or a firewall between the nodes."
    )
    assert found.advice.startswith("`kubectl get node n2` says whether it is Ready")
    assert "dead node" in ask([leg("whole", nothing(1500), here=N1, goal=N2)], N1, N2).sentence


# What connections show where nobody answers


def shown(sure: str, *, says: bool | None = True) -> list[PassiveSymptoms]:
    """A connection of the pod that hangs."""
    symptom = records.Symptom(
        kind="size-selective loss",
        sentence=f"{SHOWS}. No rate of loss explains it",
        sure="proves" if sure == "proves" else "suggests",
        says_mtu=says,
        where="10.42.1.10:40000 ▸ 203.0.113.7:5432",
        peers=("203.0.113.7",),
    )
    return [PassiveSymptoms(where="default/web-1", symptoms=(symptom,))]


SILENT = [leg("whole", nothing(), goal=OUTSIDE), both("near", 1450)]


def test_silence_from_outside_says_nothing() -> None:
    found = ask(SILENT, WEB, OUTSIDE)
    assert found.is_mtu == "unknown"
    assert found.sentence == (
        "It cannot be told whether this is MTU: from default/web-1 to 203.0.113.7 nothing is answered, of whatever "
        "size: it looks like a host that is down or drops probes."
    )


def test_connections_prove_what_probes_do_not_reach() -> None:
    found = ask(SILENT, WEB, OUTSIDE, observed=shown("proves"))
    assert (found.is_mtu, found.confidence, found.mtu) == ("yes", "likely", 0)
    assert found.sentence == (
        "This is MTU: from default/web-1 to 203.0.113.7 large packets vanish and smaller ones arrive; nothing at "
        f"203.0.113.7 answers probes, but at default/web-1 {SHOWS}."
    )
    assert found.advice == "let UDP port 7843 or ICMP echo pass to 203.0.113.7: then the size is exact"
    assert f"default/web-1: {SHOWS}. No rate of loss explains it" in found.evidence


def test_connections_that_may_hang_for_another_reason_only_suggest_it() -> None:
    found = ask(SILENT, WEB, OUTSIDE, observed=shown("suggests"))
    assert found.is_mtu == "unknown"
    assert found.sentence.startswith("This looks like MTU, which is not proven: from default/web-1 to 203.0.113.7 ")


def test_connections_that_stand_still_altogether_say_nothing() -> None:
    assert ask(SILENT, WEB, OUTSIDE, observed=shown("suggests", says=None)).sentence.startswith("It cannot be told")


def test_what_was_measured_is_believed_and_not_what_hangs() -> None:
    found = ask(path(both("whole", 1450)), observed=shown("proves"))
    assert found.is_mtu == "no"
    assert any(SHOWS in fact for fact in found.evidence)


# Two families


def test_two_families_that_are_in_order_are_told_of_together() -> None:
    four, six = (ask(path(both("whole", 1450)), family=family) for family in ("IPv4", "IPv6"))
    found = both_families(four, six)
    assert found is not None
    assert found.sentence == (
        "This is not MTU: from default/web-1 to db/pg-0 over IPv4 and IPv6 packets of 1450 bytes arrive whole both "
        "ways."
    )
    assert (found.family, len(found.legs)) == ("IPv4 and IPv6", 10)


def test_two_families_that_differ_are_not() -> None:
    four, six = ask(path(both("whole", 1450)), family="IPv4"), ask(HOLE_1422, family="IPv6")
    assert both_families(four, six) is None
    assert both_families(four, four) is None


def test_every_answer_can_be_sent() -> None:
    found = ask(HOLE_1422)
    assert msgspec.json.decode(msgspec.json.encode(found), type=Diagnosis) == found
    assert found.legs[0].result.path == "whole"
    assert isinstance(found.legs[0].result, request.PathResult)


def of_ipv6() -> Topology:
    """Pods with IPv6, over VXLAN over IPv6 (70 bytes), on NICs of 1500."""
    seen = tuple(example.node(name, tunnel=1430, pod=1430, conflist=1430) for name in ("n1", "n2"))
    return layout.model(example.cluster(seen), example.state(1430, encapsulation=(encap.vxlan(IPV6),), ipv6=True))


def test_a_network_that_leaves_ipv6_too_little_is_raised_and_no_plan_is_named() -> None:
    """RFC 8200, section 5: 1280; 1300 less 70 are 1230."""
    hole = path(
        both("whole", 1230, 1430), leg("overlay", direction(1230)), both("nodes", 1300, 1500), both("far", 1430, 1430)
    )
    found = ask(hole, changed(WEB, mtu=1430, host_mtu=1430), changed(PG, mtu=1430, host_mtu=1430), network=of_ipv6())
    assert found.advice == (
        "correct the link, switch port or NIC between n1 and n2; raise what the network carries: of 1300 bytes too "
        "little is left for pods, and IPv6 needs 1280 on every link (RFC 8200, section 5), so no pod MTU suits it"
    )
    assert found.remedy is not None
    assert (found.remedy.least, found.remedy.mtu) == (1280, 0)


def test_less_to_an_ipv6_host_outside_than_ipv6_needs_is_nothing_for_pods_to_suit() -> None:
    far = changed(OUTSIDE, name="2001:db8::7", addresses=("2001:db8::7",))
    found = ask(path(both("whole", 1200, 1450)), WEB, far)
    assert "kubemtu plan" not in found.advice
    assert found.advice.startswith("correct the link that is smaller: IPv6 needs 1280 on every link (RFC 8200")
