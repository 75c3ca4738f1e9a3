"""What probes prove, and what they leave open."""

from kubemtu.core import proof


def answer(outcome: proof.Outcome, size: int = 1450, to: str = "10.42.2.10", mtu: int | None = None) -> proof.Answer:
    probe = proof.Probe(to=to, size=size, port="cali1", what=f"10.42.1.10 > {to}")
    return proof.Answer(probe=probe, outcome=outcome, mtu=mtu, tries=3)


def test_all_arrived_holds() -> None:
    found = proof.judge([answer("arrived"), answer("arrived", to="10.42.3.10")])
    assert (found.verdict, found.probes, found.arrived, found.against) == ("held", 2, 2, ())


def test_one_that_vanished_refutes_and_says_where() -> None:
    found = proof.judge([answer("arrived"), answer("silence", to="10.42.3.10")])
    assert (found.verdict, found.probes, found.arrived) == ("refuted", 2, 1)
    assert found.against == ("10.42.1.10 > 10.42.3.10: a packet of 1450 bytes vanished without an answer, 3 times",)


def test_a_path_that_swallows_small_packets_too_proves_nothing() -> None:
    silent = answer("silence", to="10.42.3.10")
    control = answer("silence", size=128, to="10.42.3.10")
    found = proof.judge([answer("arrived"), silent], [control])
    assert (found.verdict, found.probes, found.unanswered) == ("held", 1, ("10.42.1.10 > 10.42.3.10",))
    assert proof.judge([silent], [control]).verdict == "undecided"


def test_a_path_that_lets_small_packets_through_is_a_black_hole() -> None:
    found = proof.judge([answer("silence")], [answer("arrived", size=128)])
    assert found.verdict == "refuted"


def test_a_refusal_counts_whatever_the_control_says() -> None:
    found = proof.judge([answer("too big", mtu=1400)], [answer("silence", size=128)])
    assert found.verdict == "refuted"


def test_nothing_asked_is_undecided() -> None:
    assert proof.judge([]) == proof.Proof(verdict="undecided", probes=0, arrived=0)
