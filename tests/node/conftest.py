"""Node namespaces with pods in them, built with the `ip` command, so that our netlink is never its own witness."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.nameless import anonymous
from tests.support.rigs import Rig, RigMaker, run


@pytest.fixture(scope="session")
def namespaces() -> None:
    """Skips where namespaces cannot be made; in CI that is a failure."""
    try:
        with anonymous():
            pass
        run("ip", "netns", "add", name := f"kmtest-{os.getpid()}-probe")
        run("ip", "netns", "del", name)
    except (Exception, AssertionError) as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"network namespaces cannot be made here: {error}")


@pytest.fixture
def rigs(namespaces: None) -> Iterator[RigMaker]:
    """Make rigs, and delete them at the end."""
    made: list[Rig] = []

    def make(pods: int, **wishes: bool | int) -> Rig:
        made.append(rig := Rig(pods, **wishes))  # type: ignore[arg-type]  # each keyword is checked by Rig itself
        return rig

    yield make
    for rig in made:
        rig.close()


@pytest.fixture
def journals(tmp_path: Path) -> Path:
    """Return a folder for journals."""
    return tmp_path / "journals"
