"""What holds for every test."""

import gc
import os
from collections.abc import Generator

import pytest
from hypothesis import settings

from kubemtu_lab import kernel, nft
from kubemtu_lab.errors import Impossible
from kubemtu_lab.supervisor import leave_namespaces

pytest.register_assert_rewrite("tests.support")  # what tests share explains its failures as tests do

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


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Look for no garbage while tests are collected, and in none of them later: every worker keeps them all to its end.

    What a test forks, as it does a command that is to be killed, so copies none of them either.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


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


@pytest.fixture(scope="session")
def can_make_labs() -> None:
    """Skip where namespaces cannot be made; where CI is set that is a failure."""
    child = os.fork()
    if child == 0:
        try:
            leave_namespaces()
            if os.fork() == 0:
                kernel.mount("none", "/", "", kernel.MS_REC | kernel.MS_PRIVATE)
                os._exit(0)
            os._exit(os.waitstatus_to_exitcode(os.wait()[1]))
        except (Impossible, OSError):
            os._exit(1)
    if os.waitpid(child, 0)[1]:
        told = "this machine lets us make no namespaces"
        if os.environ.get("CI"):
            pytest.fail(told)
        pytest.skip(told)


@pytest.fixture(scope="session")
def has_nft() -> None:
    """Skip where there is no nft, with which the lab makes Services and filters; where CI is set that is a failure."""
    try:
        nft.program()
    except Impossible as missing:
        if os.environ.get("CI"):
            pytest.fail(str(missing))
        pytest.skip(str(missing))
