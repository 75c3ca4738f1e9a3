"""A measured path gets the class that its evidence allows, and no other."""

import pytest

from kubemtu.core import pathverdict, search

ROUTER = search.Quote(mtu=1450, by="192.0.2.1", size=1500)


def direction(
    mtu: int = 1500,
    limit: search.Limit | None = "own interface",
    *,
    ending: search.Ending = "exact",
    top: int = 1500,
    quotes: tuple[search.Quote, ...] = (),
    before: int = 1500,
    after: int = 1500,
    peer: int = 1500,
    note: str = "",
) -> pathverdict.Direction:
    found = search.Found(
        ending=ending,
        mtu=mtu,
        limit=limit if ending == "exact" else None,
        losses=6,
        fitting=25,
        fitting_lost=0,
        rounds=2,
        packets=60,
        top=top,
        quotes=quotes,
        fragment=1444 if limit == "fragments" else None,
    )
    return pathverdict.Direction(found=found, believed_before=before, believed=after, peer_mtu=peer, note=note)


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
        (direction(), 9000, "refused here", "carries 1500, not 9000"),
        (direction(before=600), None, "stale path MTU", "holds 600"),
        (direction(0, ending="unreachable", note="nobody listens"), None, "unreachable", "nobody listens"),
        (direction(1400, ending="lossy"), None, "loss", "at least 1400"),
        (direction(1400, ending="overloaded"), None, "overloaded", "at least 1400"),
    ],
)
def test_one_direction(one: pathverdict.Direction, expected: int | None, kind: str, says: str) -> None:
    verdict = pathverdict.judge(one, expected=expected)
    assert verdict.kind == kind
    assert says in verdict.sentence
    assert verdict.mtu == one.found.mtu
    assert verdict.ok is (kind == "ok")


def test_the_evidence_names_sizes_counts_and_routers() -> None:
    verdict = pathverdict.judge(direction(1450, "silence", quotes=(search.Quote(mtu=0, by="192.0.2.9", size=1500),)))
    assert verdict.evidence == (
        "a packet of 1450 bytes arrived; 25 of 25 packets up to that size were answered",
        "1451 bytes were lost 6 times, in between those",
        "192.0.2.9 said that it carries 0 bytes",
        "the kernel held 1500 bytes for this path before, 1500 after",
        "the interface at the other end has an MTU of 1500",
    )


def test_directions_that_differ_are_asymmetric_and_both_are_told() -> None:
    verdict = pathverdict.judge(direction(), direction(1400, "silence", after=1500, peer=0))
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
def test_what_is_no_difference_of_the_path_is_not_called_one(back: pathverdict.Direction) -> None:
    forward = (
        direction(1454, "silence", peer=1450) if back.found.limit == "own interface" else direction(1450, "silence")
    )
    assert pathverdict.judge(forward, back).kind in {"receiver", "black hole"}


def test_flows_that_differ_are_equal_paths_of_different_mtus() -> None:
    flows = [direction()] * 5 + [direction(1450, "silence")] * 3 + [direction(0, ending="unreachable")]
    verdict = pathverdict.judge_flows(flows)
    assert (verdict.kind, verdict.mtu) == ("equal paths differ", 1450)
    assert verdict.evidence[:2] == ("3 of 8 flows carry 1450", "5 of 8 flows carry 1500")
    assert pathverdict.judge_flows(flows[:5]).kind == "ok"
    assert pathverdict.judge_flows(flows[-1:]).kind == "unreachable"
