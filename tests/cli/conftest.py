"""Golden texts and saved snapshots, for the commands that show."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from kubemtu.core.snapshot import Snapshot
from kubemtu.flows import observe

SNAPSHOTS = Path(__file__).parents[1] / "snapshots"


@pytest.fixture
def golden() -> Callable[[str, str], None]:
    """Compare a text with tests/snapshots/NAME.txt. UPDATE_SNAPSHOTS=1 writes it anew: read what changed."""

    def compare(name: str, text: str) -> None:
        path = SNAPSHOTS / f"{name}.txt"
        if os.environ.get("UPDATE_SNAPSHOTS"):
            path.write_text(text, encoding="utf-8")
        assert text == path.read_text(encoding="utf-8")

    return compare


@pytest.fixture
def saved(tmp_path: Path) -> Callable[[Snapshot], str]:
    """Write a snapshot into a file for --from, and give its path."""

    def write(snapshot: Snapshot) -> str:
        path = tmp_path / "snapshot.json"
        observe.save(snapshot, path)
        return str(path)

    return write
