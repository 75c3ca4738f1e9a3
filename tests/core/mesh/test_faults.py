"""What is at fault is inferred from what was measured: the node, the link, the zones or the pair, and never more."""

import random
from collections.abc import Callable

import msgspec
import pytest
from tests.support.rounds import End, hole, measured

from kubemtu.core.mesh import faults, rounds


def rack(member: int) -> str:
    return f"rack-{member // 10}"


def into(sender: int, receiver: int) -> bool:
    return rack(receiver) == "rack-5" != rack(sender)


def between_2_and_5(sender: int, receiver: int) -> bool:
    return {rack(sender), rack(receiver)} == {"rack-2", "rack-5"}


def only(round_: rounds.Mesh) -> faults.Fault:
    found = faults.infer(round_)
    assert len(found) == 1, [fault.sentence for fault in found]
    return found[0]


def test_a_mesh_that_is_in_order_has_no_fault() -> None:
    assert faults.infer(measured(50, lambda *_: None)) == ()
    assert faults.infer(rounds.Mesh(members=(), expected=1500)) == ()


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        (lambda _, j: j == 7, ("receives", "node", ("n7",), (), False, 199)),
        (lambda i, _: i == 7, ("sends", "node", ("n7",), (), False, 199)),
        (lambda i, j: 7 in {i, j}, ("link", "node", ("n7",), (), True, 398)),
        (lambda i, j: j in {7, 9, 150}, ("receives", "node", ("n7", "n9", "n150"), (), False, 597)),
        (
            lambda i, j: rack(i) == "rack-2" and rack(j) == "rack-5",
            ("zones", "zone", ("rack-2",), ("rack-5",), False, 100),
        ),
        (
            lambda i, j: {rack(i), rack(j)} == {"rack-2", "rack-5"},
            ("zones", "zone", ("rack-2",), ("rack-5",), True, 200),
        ),
        (into, ("zone receives", "zone", ("rack-5",), (), False, 1900)),
        (lambda i, j: into(j, i), ("zone sends", "zone", ("rack-5",), (), False, 1900)),
        (lambda i, j: into(i, j) or into(j, i), ("zone link", "zone", ("rack-5",), (), True, 3800)),
        (lambda i, j: rack(i) == rack(j) == "rack-5", ("in zone", "zone", ("rack-5",), (), False, 90)),
        (lambda i, j: rack(i) != rack(j), ("between zones", "zone", (), (), False, 38_000)),
        (lambda *_: True, ("everywhere", "all", (), (), False, 39_800)),
    ],
)
def test_one_fault_is_found_and_explains_everything(
    where: Callable[[int, int], bool], expected: tuple[object, ...]
) -> None:
    fault = only(measured(200, hole(where), zone=rack))
    assert (fault.where, fault.scope, fault.members, fault.others, fault.both_directions, fault.pairs) == expected
    assert (fault.kind, fault.mtu, fault.confidence) == ("black hole", 1450, "certain")


@pytest.mark.parametrize(
    ("where", "sentence"),
    [
        (
            lambda _, j: j == 7,
            (
                "n7 receives at most 1450 bytes: from all 199 other nodes larger packets vanish, "
                "while n7's own packets of 1500 arrive everywhere"
            ),
        ),
        (
            lambda i, _: i == 7,
            (
                "what n7 sends arrives up to 1450 bytes: to all 199 other nodes larger packets vanish, "
                "while packets of 1500 to n7 arrive"
            ),
        ),
        (
            lambda i, j: 7 in {i, j},
            (
                "the link of n7 carries at most 1450 bytes in both directions: larger packets vanish, "
                "from and to all 199 other nodes"
            ),
        ),
        (
            lambda i, j: {7, 8} & {i, j},
            (
                "the links of n7 and n8 carry at most 1450 bytes in both directions: larger packets vanish, "
                "from and to all nodes that were measured"
            ),
        ),
        (
            into,
            (
                "into zone rack-5 from outside at most 1450 bytes arrive, not 1500: larger packets vanish "
                "(in all 1,900 pairs that were measured)"
            ),
        ),
        (
            lambda *_: True,
            (
                "between any two nodes at most 1450 bytes arrive, not 1500: larger packets vanish (in all 39,800 pairs "
                "that were measured); the network between all nodes carries only that, so the expectation is too high"
            ),
        ),
        (
            lambda i, j: (i, j) == (3, 5),
            "from n3 to n5 at most 1450 bytes arrive, not 1500: larger packets vanish",
        ),
        (
            lambda i, j: (i, j) in {(3, 5), (9, 4)},
            "in 2 pairs of nodes (n3 to n5 and n9 to n4) at most 1450 bytes arrive, not 1500: larger packets vanish",
        ),
        (
            lambda i, j: {i, j} in ({3, 5}, {9, 4}),
            (
                "in 2 pairs of nodes (n3 with n5 and n4 with n9), in both directions, "
                "at most 1450 bytes arrive, not 1500: larger packets vanish"
            ),
        ),
    ],
)
def test_the_sentence_names_who_how_much_and_how_many(where: Callable[[int, int], bool], sentence: str) -> None:
    assert only(measured(200, hole(where), zone=rack)).sentence == sentence


@pytest.mark.parametrize(
    ("kind", "says", "advice"),
    [
        ("lower", "larger packets are refused by a router that says so", "port on the switch"),
        ("masked", "only TCP is kept below that", "port on the switch"),
        ("receiver", "dropped by the receiving interface", "the interface by which n2 receives"),
        ("fragmented", "arrive in pieces although DF is set", "port on the switch"),
        ("stale path MTU", "more than the sender's kernel believes", "ip route flush cache"),
        ("outer fragments", "the tunnel's packets around them are cut in pieces", "Lower the tunnel's MTU"),
    ],
)
def test_each_kind_is_said_in_its_own_words(kind: str, says: str, advice: str) -> None:
    end = msgspec.convert((kind, 1450), End)
    fault = only(measured(8, lambda _, receiver: end if receiver == 2 else None))
    assert (fault.where, fault.members, fault.kind) == ("receives", ("n2",), kind)
    assert says in fault.sentence
    assert advice in fault.advice


def test_pairs_are_told_when_nothing_wider_explains_them() -> None:
    one_way, both_ways = sorted(
        faults.infer(measured(200, hole(lambda i, j: (i, j) in {(3, 5), (8, 9), (9, 8)}))),
        key=lambda fault: fault.both_directions,
    )
    assert (one_way.where, one_way.members, one_way.others, one_way.confidence) == ("pair", ("n3",), ("n5",), "likely")
    assert (both_ways.members, both_ways.others, both_ways.both_directions, both_ways.pairs) == (
        ("n8",),
        ("n9",),
        True,
        2,
    )


def test_two_faults_are_told_apart_where_they_cross() -> None:
    def rule(sender: int, receiver: int) -> End | None:
        sizes = [size for size, here in ((1400, sender == 2), (1450, receiver == 5)) if here]
        return ("black hole", min(sizes)) if sizes else None

    sends, receives = sorted(faults.infer(measured(20, rule)), key=lambda fault: fault.mtu)
    assert (sends.where, sends.members, sends.mtu, sends.pairs, sends.confidence) == (
        "sends",
        ("n2",),
        1400,
        19,
        "certain",
    )
    assert (receives.where, receives.members, receives.mtu) == ("receives", ("n5",), 1450)
    assert (receives.pairs, receives.confidence) == (18, "certain")  # from n2 less arrives anyway
    assert "from all 18 nodes where it can be told" in receives.sentence


def test_many_bad_nodes_are_named_and_the_others_are_not() -> None:
    fault = only(measured(20, hole(lambda i, j: i > 2 or j > 2)))
    assert fault.where == "link"
    assert fault.members == tuple(f"n{member}" for member in range(3, 20))


def test_a_whole_rack_of_bad_nodes_is_its_nodes() -> None:
    fault = only(measured(200, hole(lambda _, j: rack(j) == "rack-5"), zone=rack))
    assert (fault.where, fault.members) == ("receives", tuple(f"n{member}" for member in range(50, 60)))


def test_a_few_strays_do_not_hide_what_is_everywhere() -> None:
    fault = only(measured(100, hole(lambda i, j: (i * 100 + j) % 997 != 5)))
    assert (fault.where, fault.confidence) == ("everywhere", "likely")
    fault = only(measured(100, hole(lambda i, j: j == 7 and i != 3)))
    assert (fault.where, fault.members, fault.confidence, fault.pairs) == ("receives", ("n7",), "likely", 98)
    assert "from 98 of 99 nodes" in fault.sentence


# Equal paths


@pytest.mark.parametrize("paths", [2, 4, 8])
@pytest.mark.parametrize(
    ("where", "expected"),
    [
        (lambda i, j: j == 7, ("node", (), ("n7",), False)),
        (lambda i, j: i == 7, ("node", ("n7",), (), False)),
        (lambda i, j: 7 in {i, j}, ("node", ("n7",), (), True)),
        (into, ("zone", (), ("rack-5",), False)),
        (lambda i, j: into(j, i), ("zone", ("rack-5",), (), False)),
        (between_2_and_5, ("zone", ("rack-2",), ("rack-5",), True)),
        (lambda i, j: rack(i) != rack(j), ("zone", (), (), False)),
        (lambda *_: True, ("all", (), (), False)),
    ],
)
def test_where_only_some_pairs_fail_it_may_be_one_of_several_equal_paths(
    where: Callable[[int, int], bool], expected: tuple[object, ...], paths: int
) -> None:
    chance = random.Random(paths)
    fault = only(measured(200, hole(lambda i, j: where(i, j) and chance.random() < 1 / paths), zone=rack))
    assert (fault.where, fault.confidence) == ("equal paths", "possible")
    assert (fault.scope, fault.members, fault.others, fault.both_directions) == expected
    assert "so one of several equal paths may carry less than the others" in fault.sentence
    assert "20 find one of 2 equal paths, 215 one of 16" in fault.advice


def test_a_bad_node_is_found_among_equal_paths() -> None:
    chance = random.Random(5)
    found = faults.infer(
        measured(200, hole(lambda i, j: j == 59 or (into(i, j) and chance.random() < 0.25)), zone=rack)
    )
    assert {(fault.where, fault.members, fault.others, fault.confidence) for fault in found} == {
        ("receives", ("n59",), (), "certain"),
        ("equal paths", (), ("rack-5",), "possible"),
    }


def test_flows_that_differ_prove_equal_paths() -> None:
    def rule(sender: int, receiver: int) -> End | None:
        if {rack(sender), rack(receiver)} != {"rack-0", "rack-1"}:
            return None
        return ("equal paths differ", 1450) if (sender + receiver) % 3 else ("black hole", 1450)

    fault = only(measured(30, rule, zone=rack))
    assert (fault.where, fault.members, fault.others, fault.both_directions) == (
        "equal paths",
        ("rack-0",),
        ("rack-1",),
        True,
    )
    assert (fault.kind, fault.confidence) == ("equal paths differ", "certain")
    assert "one of several equal paths carries less than 1500" in fault.sentence


def test_one_pair_of_which_flows_differ_is_equal_paths_between_them() -> None:
    fault = only(measured(8, lambda i, j: ("equal paths differ", 1450) if (i, j) == (1, 2) else None))
    assert (fault.where, fault.members, fault.others) == ("equal paths", ("n1",), ("n2",))
