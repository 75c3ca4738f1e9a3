"""What failed beside others is run once more by itself, and said; what fails again, and a fourth, is a failure."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent.parent / "scripts/run_tests.py"
BARE = os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}  # plugins take longer to load than these tests to run
TESTS = """
import pathlib, pytest

@pytest.mark.parametrize("name", {names})
def test_of(name):
    seen = pathlib.Path(name)
    runs = int(seen.read_text()) + 1 if seen.exists() else 1
    seen.write_text(str(runs))
    assert not (name.startswith("once") and runs == 1)
    assert not name.startswith("always")
"""


def run(folder: Path, *names: str) -> subprocess.CompletedProcess[str]:
    """Run tests of which some fail the first time, and some always; each counts its runs in a file of its name."""
    (folder / "pytest.ini").write_text("[pytest]\n")
    (folder / "test_some.py").write_text(TESTS.format(names=list(names)))
    return rerun(folder)


def rerun(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), "-q"]
    return subprocess.run(command, cwd=folder, env=BARE, capture_output=True, text=True, check=False)


def runs(folder: Path) -> dict[str, int]:
    return {each.name: int(each.read_text()) for each in folder.iterdir() if each.suffix == "" and each.is_file()}


def test_what_passes_is_run_once(tmp_path: Path) -> None:
    ended = run(tmp_path, "fine")
    assert (ended.returncode, runs(tmp_path)) == (0, {"fine": 1})
    assert "look into it" not in ended.stdout


def test_what_failed_once_is_run_again_by_itself_and_named(tmp_path: Path) -> None:
    ended = run(tmp_path, "fine", "once-a", "once-b", "once-c")
    assert (ended.returncode, runs(tmp_path)) == (0, {"fine": 1, "once-a": 2, "once-b": 2, "once-c": 2})
    said = ended.stdout.partition("passed by themselves, look into it:")[2]
    assert [line.strip() for line in said.splitlines() if line.strip()] == [
        f"test_some.py::test_of[once-{each}]" for each in "abc"
    ]
    assert "4 failed" not in ended.stdout
    assert "3 failed, 1 passed" in ended.stdout  # the first failure stays to be read


def test_what_fails_again_fails(tmp_path: Path) -> None:
    ended = run(tmp_path, "fine", "once-a", "always")
    assert (ended.returncode, runs(tmp_path)) == (1, {"fine": 1, "once-a": 2, "always": 2})
    assert "look into it" not in ended.stdout


def test_a_fourth_failure_is_no_matter_of_chance(tmp_path: Path) -> None:
    names = [f"once-{each}" for each in "abcd"]
    ended = run(tmp_path, *names)
    assert (ended.returncode, runs(tmp_path)) == (1, dict.fromkeys(names, 1))


@pytest.mark.parametrize("text", ["import no_such_module_as_this\n", "def test_of(:\n"])
def test_what_cannot_be_collected_fails(tmp_path: Path, text: str) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "test_some.py").write_text(text)
    assert rerun(tmp_path).returncode not in (0, 5)


def test_no_test_at_all_is_no_success(tmp_path: Path) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    assert rerun(tmp_path).returncode == 5
