"""The catalogue of findings: closed, unbroken, each with its section."""

import re

from kubemtu.core import codes

NUMBERS = [f"MTU{number}" for number in (*range(101, 132), 132, 135, 136, 138, 139, 140, 141, 142, 144, 145)]


def test_codes_are_a_closed_and_unbroken_list() -> None:
    assert [code.code for code in codes.CODES] == NUMBERS
    assert len({code.name for code in codes.CODES}) == len(NUMBERS)
    assert {code.severity for code in codes.CODES} == {"error", "warning", "note"}
    assert (codes.MTU103.name, codes.MTU103.severity) == ("config-not-rolled-out", "error")
    assert (codes.MTU118.name, codes.MTU118.severity) == ("node-not-observed", "note")


def test_a_finding_has_its_codes_severity_unless_it_says_otherwise() -> None:
    assert codes.finding(codes.MTU119, "a", "b", "c").severity == "error"
    assert codes.finding(codes.MTU119, "a", "b", "c", "note").severity == "note"


def test_the_page_of_codes_has_a_section_for_each() -> None:
    page = codes.markdown()
    assert re.findall(r"^## (MTU\d+)$", page, re.MULTILINE) == NUMBERS
    assert "| [MTU108](#mtu108) | required-key-missing | error |" in page


def test_agents_are_looked_for_where_they_are() -> None:
    """deploy/agent.yaml: namespace kubemtu."""
    assert codes.MTU118.verify == "kubectl -n kubemtu get pods -o wide: does an agent run on this node?"
