"""A report as JUnit XML, as CI servers read it (Jenkins' junit-10.xsd is what most go by).

The verdict is one test and each finding another. A verdict that cannot be told is an error of the test, not a pass: CI
servers are green on what was skipped. A note is skipped, for it neither holds nor fails.
"""

from xml.etree import ElementTree as ET

from kubemtu.cli import other_networks
from kubemtu.cli.reports.markdown import OTHER_COLUMNS
from kubemtu.core import codes
from kubemtu.core.codes import Finding
from kubemtu.core.rules.report import Report
from kubemtu.core.text import printable

SUITE = "kubemtu check"
_TITLES = {code.code: code.title for code in codes.CODES}


def write(report: Report) -> bytes:
    """Write a report as one test suite, as UTF-8 with its XML declaration."""
    cases = [_verdict(report), *(_case(finding) for finding in report.findings)]
    suite = ET.Element(
        "testsuite",
        name=SUITE,
        tests=str(len(cases)),
        failures=str(sum(case.find("failure") is not None for case in cases)),
        errors=str(sum(case.find("error") is not None for case in cases)),
        skipped=str(sum(case.find("skipped") is not None for case in cases)),
    )
    if report.other_networks:
        properties = ET.SubElement(suite, "properties")  # before the cases, as the schema has it
        for network in report.other_networks:
            cells = zip(OTHER_COLUMNS[1:], other_networks.row(network)[1:], strict=True)
            value = ", ".join(f"{name} {cell}" for name, cell in cells)
            ET.SubElement(properties, "property", name=_text(f"other network {network.name}"), value=_text(value))
    suite.extend(cases)
    whole = ET.Element("testsuites")
    whole.append(suite)
    ET.indent(whole)
    document: bytes = ET.tostring(whole, encoding="utf-8", xml_declaration=True)
    return document + b"\n"


def _verdict(report: Report) -> ET.Element:
    case = _new_case("verdict", "The pod network's MTU is right")
    if report.verdict != "healthy":
        outcome = ET.SubElement(
            case,
            "error" if report.verdict == "incomplete" else "failure",
            message=_text(report.summary),
            type=report.verdict,
        )
        outcome.text = _text("\n".join((report.summary, *(f"Not read: {entry}" for entry in report.missing))))
    return case


def _case(finding: Finding) -> ET.Element:
    case = _new_case(finding.code, f"{_TITLES[finding.code]}: {finding.place}")
    if finding.severity == "note":
        ET.SubElement(case, "skipped", message=_text(f"{finding.message} {finding.remedy}"))
    else:
        failure = ET.SubElement(
            case, "failure", message=_text(finding.message), type=f"{finding.code} {finding.severity}"
        )
        failure.text = _text(f"{finding.place}\n{finding.message}\n{finding.remedy}")
    return case


def _new_case(group: str, name: str) -> ET.Element:
    return ET.Element("testcase", classname=f"kubemtu.{group}", name=_text(name), time="0")


def _text(text: str) -> str:
    """Return text that XML 1.0 can hold (section 2.2, Char): no control characters, no U+FFFE and U+FFFF."""
    return printable.printable(text).replace("\ufffe", "\\ufffe").replace("\uffff", "\\uffff")
