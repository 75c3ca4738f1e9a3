"""A measured path gets the class that its evidence allows, and no other."""

import re
from typing import Any, get_args

import pytest

from kubemtu.core.path import search, wording
from kubemtu.core.path import verdict as path_verdict
from kubemtu.core.path.direction import Segments

ROUTER = search.TooBig(mtu=1450, router="192.0.2.1", refused_size=1500)
# IPv4 40, RFC 9293 3.7.1: an Ethernet end announces 1460
CLAMPED = Segments(announced_mss=1460, received_mss=1400, segment_payload=1388, path_mtu=1500, header_bytes=40)
CLAMPED_TOO_HIGH = Segments(announced_mss=1460, received_mss=1440, segment_payload=1428, path_mtu=1500, header_bytes=40)
PLAIN = Segments(announced_mss=1460, received_mss=1460, segment_payload=1448, path_mtu=1500, header_bytes=40)
MODEST = Segments(announced_mss=1360, received_mss=1360, segment_payload=1348, path_mtu=1500, header_bytes=40)
HIDDEN = Segments(announced_mss=1460, received_mss=0, segment_payload=1398, path_mtu=1450, header_bytes=40)


def direction(
    mtu: int = 1500,
    limit: search.Limit | None = "own interface",
    *,
    ending: search.Ending = "exact",
    top: int = 1500,
    quotes: tuple[search.TooBig, ...] = (),
    before: int = 1500,
    after: int = 1500,
    peer: int = 1500,
    note: str = "",
    **facts: Any,
) -> path_verdict.Direction:
    found = search.SearchResult(
        ending=ending,
        mtu=mtu,
        limit=limit if ending == "exact" else None,
        next_size_losses=6,
        fitting_packets=25,
        fitting_lost=0,
        rounds=2,
        packets=60,
        interface_mtu=top,
        too_big=quotes,
        largest_fragment=1444 if limit == "fragments" else None,
    )
    return path_verdict.Direction(
        search=found, path_mtu_before=before, path_mtu_after=after, receiver_mtu=peer, note=note, **facts
    )


@pytest.mark.parametrize(
    ("one", "expected", "kind", "says"),
    [
        (direction(), None, "ok", "packets of 1500 bytes arrive whole"),
        (direction(1480, "silence"), 1450, "ok", "1480"),
        (direction(1450, "router", quotes=(ROUTER,), after=1450), None, "lower", "192.0.2.1 says so"),
        (direction(1450, "silence", after=1450), None, "lower", "1450"),  # the kernel learned it, we did not hear it
        (direction(1450, "silence"), None, "black hole", "vanishes without a word"),
        (direction(1454, "silence", peer=1450), None, "receiver", "MTU of 1450"),
        (direction(1450, "silence", peer=1450), None, "receiver", "MTU of 1450"),
        (direction(1450, "fragments"), None, "fragmented", "arrives in pieces"),
        (direction(1450, "expected"), 1450, "ok", "1450"),  # larger was not tried
        (direction(1450, "expected"), None, "ok", "1450"),
        (direction(1450, "silence", segments=CLAMPED), None, "masked", "an MSS clamp keeps TCP at packets of 1440"),
        (direction(1450, "router", quotes=(ROUTER,), segments=CLAMPED), None, "masked", "learn it from a router"),
        (
            direction(1450, "silence", segments=MODEST),
            None,
            "masked",
            "the other end asks TCP for packets of at most 1400",
        ),
        (direction(1450, "silence", tcp_mtu_probing=1), None, "masked", "seconds of silence (tcp_mtu_probing=1)"),
        (direction(1450, "silence", tcp_mtu_probing=2), None, "masked", "begins small"),
        (direction(1450, "silence", segments=CLAMPED_TOO_HIGH), None, "black hole", "vanishes without a word"),
        (direction(1450, "silence", segments=PLAIN), None, "black hole", "vanishes without a word"),
        (direction(1450, "silence", segments=HIDDEN), None, "black hole", "vanishes without a word"),
        # A kernel that was told of 1400 announces less by itself; and where routers speak, probing is not needed.
        (direction(1450, "router", quotes=(ROUTER,), segments=MODEST), None, "lower", "senders adapt"),
        (direction(1450, "router", quotes=(ROUTER,), tcp_mtu_probing=1), None, "lower", "senders adapt"),
        (direction(1454, "silence", peer=1450, segments=CLAMPED), None, "receiver", "MTU of 1450"),
        (direction(segments=CLAMPED, tcp_mtu_probing=1), None, "ok", "1500"),
        (direction(), 9000, "refused here", "carries 1500, not 9000"),
        (direction(before=600), None, "stale path MTU", "holds 600"),
        (direction(0, ending="unreachable", note="nobody listens"), None, "unreachable", "nobody listens"),
        (direction(1400, ending="lossy"), None, "loss", "at least 1400"),
        (direction(1400, ending="overloaded"), None, "overloaded", "at least 1400"),
    ],
)
def test_one_direction(one: path_verdict.Direction, expected: int | None, kind: str, says: str) -> None:
    verdict = path_verdict.judge(one, expected=expected)
    assert verdict.kind == kind
    assert says in verdict.sentence
    assert verdict.mtu == one.search.mtu
    assert verdict.ok is (kind == "ok")


# Every kind: what makes it, whether it is an MTU, where it is, and what to do about it
EVERY: dict[str, tuple[path_verdict.Verdict, str, str, str]] = {
    "ok": (path_verdict.judge(direction()), "no", "", "nothing has to be done"),
    "lower": (
        path_verdict.judge(direction(1450, "router", quotes=(ROUTER,), after=1450)),
        "yes",
        "192.0.2.1",
        "use an MTU of 1450 at both ends, or raise the link that is smaller to 1500",
    ),
    "black hole": (path_verdict.judge(direction(1450, "silence")), "yes", "", "ICMP type 3 code 4"),
    "masked": (
        path_verdict.judge(direction(1450, "silence", segments=CLAMPED)),
        "yes",
        "",
        "leave what masks it in place until then",
    ),
    "receiver": (
        path_verdict.judge(direction(1454, "silence", peer=1450)),
        "yes",
        "the other end's interface",
        "give the other end's interface an MTU of 1500, or this machine's 1450: they must be equal",
    ),
    "fragmented": (path_verdict.judge(direction(1450, "fragments")), "yes", "", "look for what clears DF"),
    "outer fragments": (
        path_verdict.judge(direction(unfragmented_mtu=1450, fragmented_tunnel_packets=8, tunnel_fragments=16)),
        "yes",
        "the network below this machine's tunnel",
        "use an MTU of 1450 inside the tunnel, or raise the network below it by 50 bytes",
    ),
    "asymmetric": (
        path_verdict.judge(direction(), direction(1400, "router", quotes=(ROUTER,))),
        "yes",
        "backwards: 192.0.2.1",
        "use an MTU of 1400 at both ends, until as much arrives backwards as forwards",
    ),
    "equal paths differ": (
        path_verdict.judge_flows([direction(), direction(1450, "router", quotes=(ROUTER,))]),
        "yes",
        "192.0.2.1",
        "the same MTU, and use 1450 at both ends until then",
    ),
    "refused here": (
        path_verdict.judge(direction(), expected=9000),
        "yes",
        "this machine's interface",
        "raise this machine's interface to 9000, or expect 1500",
    ),
    "stale path MTU": (
        path_verdict.judge(direction(before=600)),
        "yes",
        "this machine's routes",
        "`ip -6 route flush cache` for IPv6; if `ip route get` then still shows mtu 600, change the route that sets it",
    ),
    "unreachable": (path_verdict.judge(direction(0, ending="unreachable")), "no", "", "no filter drops its UDP port"),
    "loss": (path_verdict.judge(direction(1400, ending="lossy")), "unknown", "", "find the loss first"),
    "overloaded": (path_verdict.judge(direction(1400, ending="overloaded")), "unknown", "", "measure again"),
}


def test_every_kind_is_in_the_table() -> None:
    assert set(EVERY) == set(get_args(path_verdict.Kind))


@pytest.mark.parametrize("kind", EVERY)
def test_every_kind_says_whether_it_is_an_mtu_and_what_to_do(kind: str) -> None:
    verdict, is_mtu, place, advice = EVERY[kind]
    assert (verdict.kind, verdict.is_mtu, verdict.location) == (kind, is_mtu, place)
    assert advice in verdict.advice
    for said in (verdict.sentence, verdict.advice, *verdict.evidence):
        assert said
        assert not re.search(r"\bNone\b|\b0 bytes|\.$|[^ -~]", said), said


def test_where_full_size_packets_arrive_loss_is_no_mtu() -> None:
    assert path_verdict.judge(direction(1500, ending="lossy")).is_mtu == "no"
    assert path_verdict.judge(direction(1500, ending="lossy"), expected=9000).is_mtu == "unknown"


def test_the_evidence_names_sizes_counts_and_routers() -> None:
    verdict = path_verdict.judge(
        direction(1450, "silence", quotes=(search.TooBig(mtu=0, router="192.0.2.9", refused_size=1500),))
    )
    assert verdict.evidence == (
        "a packet of 1450 bytes arrived; 25 of 25 packets up to that size were answered",
        "1451 bytes were lost 6 times, in between those",
        "192.0.2.9 said that it carries 0 bytes",
        "the kernel held 1500 bytes for this path before, 1500 after",
        "the interface at the other end has an MTU of 1500",
    )


def test_what_tcp_believes_and_who_translates_is_evidence() -> None:
    one = direction(1450, "silence", segments=CLAMPED, tcp_mtu_probing=1, nat_address="198.51.100.7")
    assert path_verdict.judge(one).evidence[4:] == (
        "the other end announced an MSS of 1460, and 1400 arrived: something clamps it",
        "the MSS allows TCP packets of 1440 bytes, and they are of up to 1440 now",
        "net.ipv4.tcp_mtu_probing is 1 at the sender",
        "the other end sees the sender as 198.51.100.7: the address is translated on the way",
    )
    raised = Segments(
        announced_mss=1360, received_mss=1460, segment_payload=1448, path_mtu=1500, header_bytes=40, relayed=True
    )
    assert path_verdict.judge(direction(segments=raised)).evidence[4:6] == (
        "TCP comes from another port than it was sent from: something on the way translates or relays it",
        "the other end announced an MSS of 1360, and 1460 arrived: something raises it",
    )
    hidden = path_verdict.judge(direction(1450, "silence", segments=HIDDEN)).evidence
    assert hidden[-1] == "TCP sends packets of up to 1450 bytes now"


def test_a_clamp_that_costs_something_is_told_where_all_is_well() -> None:
    verdict = path_verdict.judge(direction(segments=CLAMPED))
    assert verdict.advice == ("nothing has to be done; without its MSS clamp TCP could send 1500 instead of 1440")


def test_what_is_cut_outside_the_tunnel_is_counted() -> None:
    verdict = path_verdict.judge(direction(unfragmented_mtu=1450, fragmented_tunnel_packets=8, tunnel_fragments=16))
    assert (verdict.mtu, verdict.expected) == (1450, 1500)
    assert "8 packets of the tunnel left in 16 pieces; up to 1450 bytes inside, none was cut" in verdict.evidence
    assert path_verdict.judge(direction(unfragmented_mtu=1500)).kind == "ok"  # all that is expected fits
    assert path_verdict.judge(direction(unfragmented_mtu=1450), expected=1450).kind == "ok"
    assert path_verdict.judge(direction(unfragmented_mtu=1500)).evidence[-1] == "up to 1500 bytes inside, none was cut"
    assert path_verdict.judge(direction(1480, "silence", unfragmented_mtu=1450)).kind == "black hole"


def test_what_is_cut_on_the_way_back_is_told_of_the_other_end() -> None:
    verdict = path_verdict.judge(
        direction(), direction(unfragmented_mtu=1450, fragmented_tunnel_packets=4, tunnel_fragments=8)
    )
    assert (verdict.kind, verdict.mtu, verdict.location) == (
        "outer fragments",
        1450,
        "the network below the other end's tunnel",
    )
    assert verdict.sentence.startswith("backwards: 1500 bytes arrive, but above 1450")
    assert (
        "backwards: 4 packets of the tunnel left in 8 pieces; up to 1450 bytes inside, none was cut" in verdict.evidence
    )


def test_a_clamp_in_one_direction_only_is_no_mask() -> None:
    """Both ends' SYNs must be clamped, or who sends the other way hangs."""
    hole, masked = direction(1450, "silence", segments=PLAIN), direction(1450, "silence", segments=CLAMPED)
    back = path_verdict.judge(masked, hole)
    assert (back.kind, back.mtu) == ("black hole", 1450)
    assert "TCP is kept below that forwards but not backwards" in back.sentence
    assert path_verdict.judge(hole, masked).kind == "black hole"
    assert path_verdict.judge(masked, masked).kind == "masked"
    for verdict in (back, path_verdict.judge(hole, masked), path_verdict.judge(masked, masked)):
        assert any(line.startswith("forwards: ") for line in verdict.evidence)
        assert any(line.startswith("backwards: ") for line in verdict.evidence)


def test_what_was_not_asked_for_is_no_difference() -> None:
    whole, enough = direction(), direction(1450, "expected")
    assert path_verdict.judge(enough, whole, expected=1450).kind == "ok"
    assert path_verdict.judge(whole, enough).kind == "ok"
    assert [path_verdict.judge(one).expected for one in (whole, enough)] == [1500, 1450]
    assert "larger than 1450 bytes was not tried" in path_verdict.judge(enough, expected=1450).evidence


def test_directions_that_differ_are_asymmetric_and_both_are_told() -> None:
    verdict = path_verdict.judge(direction(), direction(1400, "silence", after=1500, peer=0))
    assert (verdict.kind, verdict.mtu) == ("asymmetric", 1400)
    assert verdict.sentence == "1500 bytes arrive there and 1400 come back: forwards it is ok, backwards a black hole"
    assert any(line.startswith("backwards: 1401 bytes were lost 6 times") for line in verdict.evidence)


@pytest.mark.parametrize(
    "back",
    [
        direction(1450, "own interface", top=1450),  # its sender cannot send more: no fault of the path
        direction(0, ending="unreachable"),
        direction(1450, "silence"),
    ],
)
def test_what_is_no_difference_of_the_path_is_not_called_one(back: path_verdict.Direction) -> None:
    forward = (
        direction(1454, "silence", peer=1450) if back.search.limit == "own interface" else direction(1450, "silence")
    )
    assert path_verdict.judge(forward, back).kind in {"receiver", "black hole"}


def test_flows_that_differ_are_equal_paths_of_different_mtus() -> None:
    flows = [direction()] * 5 + [direction(1450, "silence")] * 3 + [direction(0, ending="unreachable")]
    verdict = path_verdict.judge_flows(flows)
    assert (verdict.kind, verdict.mtu) == ("equal paths differ", 1450)
    assert verdict.evidence[:2] == ("3 of 8 flows carry 1450", "5 of 8 flows carry 1500")
    assert path_verdict.judge_flows(flows[:5]).kind == "ok"
    assert (
        path_verdict.judge_flows([direction(), direction(unfragmented_mtu=1450)]).kind == "outer fragments"
    )  # arrives by both
    assert path_verdict.judge_flows(flows[-1:]).kind == "unreachable"


def test_flows_are_named_by_their_ports() -> None:
    flows = [direction(source_port=40000 + number) for number in range(20)]
    flows += [direction(1450, "silence", source_port=41000 + number) for number in range(2)]
    flows += [direction(0, ending="unreachable", source_port=42000)]
    verdict = path_verdict.judge_flows(flows)
    assert verdict.evidence[:3] == (
        "2 of 22 flows carry 1450: source ports 41000 and 41001",
        f"20 of 22 flows carry 1500: source ports {', '.join(str(40000 + n) for n in range(16))} and 4 more",
        "1 of 23 flows told nothing: source port 42000",
    )
    same = path_verdict.judge_flows([flows[0], flows[-1]])
    assert (same.kind, same.evidence[-1]) == ("ok", "1 of 2 flows told nothing: source port 42000")


def test_each_class_has_words_of_its_own_for_a_table_and_names_the_end_that_is_too_small() -> None:
    words = [wording.short(kind, "node-1", "node-2") for kind in get_args(path_verdict.Kind)]
    assert len({*words}) == len(words)
    assert wording.short("receiver", "node-1", "node-2") == "node-2's own interface is smaller"
    assert wording.short("refused here", "node-1", "node-2") == "node-1's own interface is smaller"
    assert not {"receiver", "lower", "masked"} & {*words}
