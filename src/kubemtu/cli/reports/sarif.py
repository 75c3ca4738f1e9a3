"""A report as SARIF 2.1.0, which code scanning of forges and editors read (OASIS SARIF v2.1.0, sections in brackets).

A finding of saved manifests has the file and line that its object was read from (3.28), one of a cluster only a name
(3.33). What could not be read is a notification of the run (3.20.21), so that no empty list of results passes for
"nothing is wrong".
"""

import hashlib
import re
from urllib.parse import quote

import msgspec

import kubemtu
from kubemtu.core import codes
from kubemtu.core.codes import Code, Finding
from kubemtu.core.rules.report import ORIGIN, Report
from kubemtu.core.text import printable

VERSION = "2.1.0"
SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
# As ORIGIN, its file and line apart: a line is 1 or more (3.30.5), and one of ten digits is no file's.
_FILE = re.compile(r" \(([^()]+):([1-9][0-9]{0,8})(?!\w)[^()]*\)")
_NUMBERS = {code.code: number for number, code in enumerate(codes.CODES)}


def write(report: Report) -> bytes:
    """Write a report as one SARIF log of one run, as UTF-8."""
    return printable.encode(log(report)) + b"\n"


def log(report: Report) -> dict[str, object]:
    """Return the log as builtins; `ruleIndex` counts in the catalogue, whose every code is a rule of the run."""
    driver = {
        "name": "kubemtu",
        "version": kubemtu.__version__,
        "rules": [_rule(code) for code in codes.CODES],
    }
    run: dict[str, object] = {
        "tool": {"driver": driver},
        "columnKind": "unicodeCodePoints",
        "invocations": [
            {
                "executionSuccessful": True,
                "toolExecutionNotifications": [
                    {"level": "warning", "message": {"text": f"Not read: {entry}"}} for entry in report.missing
                ],
            }
        ],
        "results": [_result(finding) for finding in report.findings],
        "properties": {"verdict": report.verdict, "summary": report.summary}
        | ({"otherNetworks": msgspec.to_builtins(report.other_networks)} if report.other_networks else {}),
    }
    return {"$schema": SCHEMA, "version": VERSION, "runs": [run]}


def _rule(code: Code) -> dict[str, object]:
    return {
        "id": code.code,
        "name": "".join(part.capitalize() for part in code.name.split("-")),
        "shortDescription": {"text": f"{code.title}."},
        "fullDescription": {"text": code.why},
        "help": {"text": f"See it yourself: {code.verify}"},
        "defaultConfiguration": {"level": code.severity},
    }


def _result(finding: Finding) -> dict[str, object]:
    place = ORIGIN.sub("", finding.place)
    return {
        "ruleId": finding.code,
        "ruleIndex": _NUMBERS[finding.code],
        "level": finding.severity,  # 3.27.10: error, warning and note are SARIF's own words
        "message": {"text": f"{finding.place}: {finding.message} {finding.remedy}"},
        "locations": [_location(finding.place, place)],
        # 3.27.16: the same finding in the next run, though numbers in its message, or lines of the file, have changed
        "partialFingerprints": {"placeAndCode/v1": _digest(f"{finding.code}\n{place}")},
    }


def _location(whole: str, place: str) -> dict[str, object]:
    location: dict[str, object] = {"logicalLocations": [{"fullyQualifiedName": place, "kind": "resource"}]}
    if (origin := _FILE.search(whole)) is not None:
        location["physicalLocation"] = {
            "artifactLocation": {"uri": quote(origin[1], errors="replace")},
            "region": {"startLine": int(origin[2])},
        }
    return location


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="replace")).hexdigest()
