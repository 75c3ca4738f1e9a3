"""What holds for every test."""

import os
from collections.abc import Generator

import pytest
from hypothesis import settings

# An example takes as long as the machine lets it: time is measured in bench/, never judged in a test. CI tries the same
# examples each time, so that it judges the change; new ones are looked for at everybody's own.
settings.register_profile("any machine", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("any machine")


CHANGE = "tests/flows/change"
LONG = (
    *(f"{CHANGE}/test_apply_killed", f"{CHANGE}/test_every_line", "tests/scenes/test_install", CHANGE, "tests/scenes"),
    *("tests/cli", "lab/tests/test_", "tests/node", "tests/agent", "tests/kube", "tests/flows"),
)
"""Where the time goes, the most first: names of files begin so."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Let workers that run side by side begin with the files that take long, so that all end together."""
    if hasattr(config, "workerinput"):
        names = {item: item.path.relative_to(config.rootpath).as_posix() for item in items}
        ranks = {
            name: next((rank for rank, long in enumerate(LONG) if name.startswith(long)), len(LONG))
            for name in {*names.values()}
        }
        items.sort(key=lambda item: ranks[names[item]])


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Let a skipped test fail where CI is set: what is not run there proves nothing, and nobody would see it."""
    report = yield
    if os.environ.get("CI") and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        *_, why = report.longrepr if isinstance(report.longrepr, tuple) else (report.longrepr,)
        report.longrepr = f"CI runs every test, and this one was left out: {why}"
    return report
