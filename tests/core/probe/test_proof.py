"""What measured paths prove, and what they leave open."""

from kubemtu.core.path import search, verdict
from kubemtu.core.probe import proof, request


def result(
    mtu: int, *, expected: int = 1450, ending: search.Ending = "exact", told: bool = False
) -> request.PathResult:
    """A path that was judged by the size that arrived."""
    limit: search.Limit | None = "expected" if mtu >= expected else "router" if told else "silence"
    found = search.SearchResult(
        ending=ending,
        mtu=mtu,
        limit=limit if ending == "exact" else None,
        next_size_losses=6,
        fitting_packets=9,
        fitting_lost=0,
        rounds=2,
        packets=20,
        interface_mtu=expected,
    )
    direction = verdict.Direction(search=found)
    return request.PathResult(path="a > b", verdict=verdict.judge(direction, expected=expected))


def test_all_arrived_holds() -> None:
    found = proof.judge([("a > b", result(1450)), ("a > c", result(1450))])
    assert (found.verdict, found.probes, found.arrived, found.against) == ("held", 2, 2, ())


def test_one_that_carries_less_refutes_and_says_where() -> None:
    found = proof.judge([("a > b", result(1450)), ("a > c", result(1400))])
    assert (found.verdict, found.probes, found.arrived) == ("refuted", 2, 1)
    (sentence,) = found.against
    assert sentence == (
        "a > c: 1400 bytes arrive, and everything larger, up to 1450, vanishes without a word: connections hang once "
        "they send full-size packets"
    )


def test_a_path_that_answers_nothing_proves_nothing() -> None:
    mute = result(0, ending="unreachable")
    found = proof.judge([("a > b", result(1450)), ("a > c", mute)])
    assert (found.verdict, found.probes, found.arrived, found.unanswered) == ("held", 1, 1, ("a > c",))
    assert proof.judge([("a > c", mute)]).verdict == "undecided"


def test_a_path_that_loses_too_much_to_tell_proves_nothing() -> None:
    found = proof.judge([("a > b", result(1300, ending="lossy")), ("a > c", result(1300, ending="overloaded"))])
    assert (found.verdict, found.probes, found.unanswered) == ("undecided", 0, ("a > b", "a > c"))


def test_a_path_that_loses_much_has_still_carried_what_arrived() -> None:
    found = proof.judge([("a > b", result(1450, ending="lossy"))])
    assert (found.verdict, found.probes, found.arrived) == ("held", 1, 1)


def test_a_router_that_says_so_refutes_as_well() -> None:
    found = proof.judge([("a > b", result(1400, told=True))])
    assert (found.verdict, found.against) == (
        "refuted",
        ("a > b: 1400 bytes arrive, not 1450; a router says so, so senders adapt",),
    )


def test_a_kernel_that_believes_less_than_arrives_does_not_refute() -> None:
    found = search.SearchResult(
        ending="exact",
        mtu=1450,
        limit="expected",
        next_size_losses=0,
        fitting_packets=1,
        fitting_lost=0,
        rounds=1,
        packets=1,
        interface_mtu=1450,
    )
    stale = verdict.judge(verdict.Direction(search=found, path_mtu_before=1300), expected=1450)
    assert stale.kind == "stale path MTU"
    assert proof.judge([("a > b", request.PathResult(path="a > b", verdict=stale))]).verdict == "held"


def test_what_nobody_expected_anything_of_is_judged_by_its_class() -> None:
    fine = verdict.Verdict(kind="ok", mtu=1450, sentence="")
    assert proof.judge([("a > b", request.PathResult(path="a > b", verdict=fine))]).verdict == "held"
    hole = verdict.Verdict(kind="black hole", mtu=1400, sentence="it is one")
    assert proof.judge([("a > b", request.PathResult(path="a > b", verdict=hole))]).against == ("a > b: it is one",)


def test_nothing_measured_is_undecided() -> None:
    assert proof.judge([]) == proof.Proof(verdict="undecided", probes=0, arrived=0)
