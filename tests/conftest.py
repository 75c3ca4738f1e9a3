"""What holds for every test."""

import os
from collections.abc import Generator

import pytest
from hypothesis import settings

# An example takes as long as the machine lets it: time is measured in bench/, never judged in a test. CI tries the same
# examples each time, so that it judges the change; new ones are looked for at everybody's own.
settings.register_profile("any machine", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("any machine")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Let a skipped test fail where CI is set: what is not run there proves nothing, and nobody would see it."""
    report = yield
    if os.environ.get("CI") and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        *_, why = report.longrepr if isinstance(report.longrepr, tuple) else (report.longrepr,)
        report.longrepr = f"CI runs every test, and this one was left out: {why}"
    return report
