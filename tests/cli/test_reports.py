"""`kubemtu check` for other programs: SARIF 2.1.0, JUnit XML, Markdown. What was not seen never passes."""

import json
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support import example

from kubemtu.cli import main, reports
from kubemtu.core import codes
from kubemtu.core.codes import Finding
from kubemtu.core.rules.report import NodeLine, Report
from kubemtu.core.rules.verdict import ClusterVerdict
from kubemtu.core.snapshot import Snapshot

Saved = Callable[[Snapshot], str]
SHAPES = Path(__file__).parents[1] / "shapes"
HOSTILE = 'n1|`x` <img src=x> [a](b) @all & # \x1b]0;owned\x07 \u202e "quoted" \ufffe'


def report(*findings: Finding, verdict: ClusterVerdict = "broken", missing: tuple[str, ...] = ()) -> Report:
    """Make a report of one node with these findings."""
    line = NodeLine(
        name="n1",
        nic="eth0",
        nic_mtu=1500,
        tunnel="flannel.1",
        tunnel_mtu=1450,
        conflist_mtu=None,
        pods=2,
        pod_mtus=(1450, 1500),
        host_mtus=(1450, 1450),
        unseen=1,
    )
    return Report(
        verdict=verdict,
        summary="The MTU breaks traffic.",
        cni="canal",
        variant="",
        encapsulation="vxlan",
        recommended_mtu=1450,
        current=(1450, 1500),
        nodes=(line,),
        findings=findings,
        missing=missing,
    )


def one(
    code: codes.Code = codes.MTU105, place: str = "node n1, pod default/web", message: str = "Ends differ."
) -> Finding:
    """Make a finding."""
    return codes.finding(code, place, message, "Set both.")


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    """Run a command; return its exit code and what it printed."""
    code = main.run(words)
    return code, capsys.readouterr().out


def test_sarif_names_file_and_line_of_a_manifest(capsys: pytest.CaptureFixture[str]) -> None:
    code, out = run(capsys, "check", "--from", str(SHAPES / "canal-a.yaml"), "-o", "sarif")
    log = json.loads(out)
    assert (code, log["version"]) == (1, "2.1.0")
    (ran,) = log["runs"]
    (result,) = ran["results"]
    assert (result["ruleId"], result["level"]) == ("MTU119", "error")
    assert ran["tool"]["driver"]["rules"][result["ruleIndex"]]["id"] == "MTU119"
    (place,) = result["locations"]
    assert place["physicalLocation"] == {
        "artifactLocation": {"uri": "canal-a.yaml"},
        "region": {"startLine": 2},
    }
    assert place["logicalLocations"] == [
        {"fullyQualifiedName": "ConfigMap kube-system/canal-config, data.cni_network_config", "kind": "resource"}
    ]


def test_sarif_knows_the_same_finding_again() -> None:
    """Code scanning closes an alert when its fingerprint is gone, so it must not hold lines or numbers."""
    before = report(one(place="ConfigMap a/b (m.yaml:2), data.x", message="It is 1500."))
    after = report(one(place="ConfigMap a/b (m.yaml:9), data.x", message="It is 1480."))
    prints = [
        json.loads(reports.WRITERS["sarif"](each))["runs"][0]["results"][0]["partialFingerprints"]
        for each in (before, after)
    ]
    assert prints[0] == prints[1]
    other = json.loads(reports.WRITERS["sarif"](report(one(place="ConfigMap a/c (m.yaml:2), data.x"))))
    assert other["runs"][0]["results"][0]["partialFingerprints"] != prints[0]


@pytest.mark.parametrize("line", ["0", "9" * 22, "1" + "0" * 5000, "٣", "-1", "1e3"])
def test_a_name_that_ends_like_a_file_and_a_line_has_none_that_no_file_has(line: str) -> None:
    """SARIF 2.1.0, 3.30.5: startLine is a positive integer, which readers hold in 32 bits."""
    log = json.loads(reports.WRITERS["sarif"](report(one(place=f"node n1 (x.yaml:{line})"))))
    ((place,),) = (result["locations"] for result in log["runs"][0]["results"])
    assert "physicalLocation" not in place


def test_a_name_that_is_no_utf_8_makes_a_document() -> None:
    log = json.loads(reports.WRITERS["sarif"](report(one(place="node n\udcff (x\udcff.yaml:3)"))))
    ((place,),) = (result["locations"] for result in log["runs"][0]["results"])
    assert place["physicalLocation"] == {"artifactLocation": {"uri": "x%3F.yaml"}, "region": {"startLine": 3}}


def test_sarif_tells_what_was_not_read() -> None:
    log = json.loads(reports.WRITERS["sarif"](report(verdict="incomplete", missing=("node n2: no agent",))))
    (invocation,) = log["runs"][0]["invocations"]
    assert invocation["toolExecutionNotifications"] == [
        {"level": "warning", "message": {"text": "Not read: node n2: no agent"}}
    ]


@pytest.mark.parametrize(
    ("verdict", "outcome"),
    [("healthy", None), ("broken", "failure"), ("suboptimal", "failure"), ("incomplete", "error")],
)
def test_junit_passes_only_what_was_seen_to_be_right(verdict: ClusterVerdict, outcome: str | None) -> None:
    suite = ET.fromstring(reports.WRITERS["junit"](report(verdict=verdict)))[0]
    (case,) = suite
    assert [child.tag for child in case] == ([outcome] if outcome else [])
    told = {name: suite.get(name) for name in ("tests", "failures", "errors", "skipped")}
    assert told == {
        "tests": "1",
        "failures": str(int(outcome == "failure")),
        "errors": str(int(outcome == "error")),
        "skipped": "0",
    }


def test_junit_has_a_test_for_each_finding() -> None:
    found = report(one(), one(codes.MTU118, "node n2", "It told nothing."))
    suite = ET.fromstring(reports.WRITERS["junit"](found))[0]
    assert [(case.get("classname"), [child.tag for child in case]) for case in suite] == [
        ("kubemtu.verdict", ["failure"]),
        ("kubemtu.MTU105", ["failure"]),
        ("kubemtu.MTU118", ["skipped"]),
    ]
    assert suite.get("failures") == "2"
    assert suite.get("skipped") == "1"


def test_markdown_is_a_table_that_a_ticket_shows() -> None:
    lines = reports.WRITERS["markdown"](report(one(), missing=("node n2: no agent",))).decode().splitlines()
    assert lines[0] == "## Pod-network MTU: broken"
    assert "| n1 | eth0 1500 | flannel.1 1450 | ? | 2, 1 not seen | 1450-1500 | 1450 |" in lines
    assert "| MTU105 | error | node n1, pod default/web | Ends differ. | Set both. |" in lines
    assert lines[-1] == "- node n2: no agent"


@pytest.mark.parametrize("form", sorted(reports.WRITERS))
def test_what_others_wrote_is_only_text(form: str) -> None:
    written = reports.WRITERS[form](report(one(place=HOSTILE, message=HOSTILE), missing=(HOSTILE,))).decode()
    assert not {"\x1b", "\x07", "\u202e"} & set(written)
    if form == "junit":
        ET.fromstring(written)
    if form == "markdown":
        assert "<img" not in written.replace("\\<", "")
        assert "@all" not in written
        row = next(line for line in written.splitlines() if line.startswith("| MTU105"))
        assert row.replace("\\|", "").count("|") == 6


@given(st.text())
def test_any_text_makes_well_formed_documents(name: str) -> None:
    found = report(one(place=name, message=name), missing=(name,))
    json.loads(reports.WRITERS["sarif"](found))
    ET.fromstring(reports.WRITERS["junit"](found))
    assert reports.WRITERS["markdown"](found).decode().count("\n| MTU105 ") == 1


def test_the_exit_code_is_that_of_the_text(saved: Saved, capsys: pytest.CaptureFixture[str]) -> None:
    path = saved(example.story(1450, example.trio()))
    for form in reports.WRITERS:
        assert run(capsys, "check", "--from", path, "-o", form)[0] == 0
