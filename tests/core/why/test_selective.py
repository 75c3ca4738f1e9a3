"""What is lost by what it is: fragments, and protocols that die in a tunnel while both nodes answer."""

from typing import Any

import pytest
from tests.support.paths import PG, WEB, both, changed, direction, leg, nothing, path

from kubemtu.core.path.direction import Segments
from kubemtu.core.why.case import Diagnosis
from kubemtu.core.why.diagnosis import diagnose

HERE = changed(WEB, vxlan_device="vxlan.calico", vxlan_port=4789)
THERE = changed(PG, vxlan_device="vxlan.calico", vxlan_port=4789)
STANDS = Segments(announced_mss=1410, received_mss=1410, segment_payload=1398, path_mtu=1450, header_bytes=40)


def ask(*legs: Any) -> Diagnosis:
    return diagnose(HERE, THERE, path(*legs))


def echo(role: Any) -> Any:
    return leg(role, direction(1450), over="ICMP echo")


def test_echo_alone_passes_the_tunnel_either_way() -> None:
    found = ask(echo("whole"), echo("return"))
    assert (found.is_mtu, found.confidence) == ("no", "likely")
    assert found.location == "inside the tunnel between n1 and n2"
    assert "UDP and TCP of any size do not" in found.sentence
    assert "`ethtool -K vxlan.calico tx-checksum-ip-generic off`" in found.advice
    assert "UDP port 4789" in found.advice


def test_what_the_other_end_begins_is_answered_so_it_is_a_policy() -> None:
    found = ask(echo("whole"), leg("return", direction(1450)))
    assert "checksum" not in found.sentence


def test_what_answers_passes_so_it_is_a_policy_of_all_protocols() -> None:
    stands: dict[str, Any] = {"segments": STANDS}
    parts = (both("nodes", 1500, 1500, **stands), both("far", 1450, expected=1450, **stands))
    returned = leg("return", direction(1450), direction(1450), here=PG, goal=WEB)
    found = ask(leg("whole", nothing()), *parts, returned)
    assert "checksum" not in found.sentence
    assert "NetworkPolicy" in found.sentence


def test_tcp_alone_dies_in_the_tunnel() -> None:
    stands: dict[str, Any] = {"segments": STANDS}
    parts = (both("nodes", 1500, 1500, **stands), both("far", 1450, expected=1450, **stands))
    found = ask(both("whole", 1450), *parts)
    assert "UDP of 1450 bytes arrives and TCP of any size does not" in found.sentence
    assert "checksum" not in ask(both("whole", 1450, **stands), *parts).sentence
    assert "checksum" not in ask(both("whole", 1450)).sentence  # nobody listens anywhere


@pytest.mark.parametrize(
    ("lost", "words", "sure"),
    [("", "at n2", "likely"), ("nodes", "between n1 and n2", "certain"), ("near", "at n1", "certain")],
)
def test_fragments_are_lost_where_a_part_loses_them(lost: str, words: str, sure: str) -> None:
    parts = {
        "near": lambda **facts: both("near", 1450, **facts),
        "nodes": lambda **facts: both("nodes", 1500, 1500, **facts),
    }
    others = [parts[lost](fragmented_datagrams="vanish")] if lost else []
    found = ask(both("whole", 1450, fragmented_datagrams="vanish"), *others)
    assert (found.is_mtu, found.location, found.confidence) == ("yes", words, sure)
    assert f"fragments are dropped {words}: datagrams above 1450 are lost" in found.sentence


def test_fragments_that_arrive_are_no_matter() -> None:
    assert ask(both("whole", 1450, fragmented_datagrams="arrive")).sentence.startswith("This is not MTU")
