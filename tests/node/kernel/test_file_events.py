"""Changes of files are heard, also of files whose folder is not there yet, and nothing else wakes anybody."""

import os
import select
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from kubemtu.node.kernel import file_events


@pytest.fixture
def heard(tmp_path: Path) -> Iterator[file_events.FileEvents]:
    (tmp_path / "net.d").mkdir()
    made = file_events.FileEvents([tmp_path / "net.d/*.conflist", tmp_path / "run/flannel/subnet.env"])
    yield made
    made.close()


def drained(events: file_events.FileEvents) -> bool:
    """Whether something about the files was heard; all that has happened is there to be read at once."""
    if not select.select([events], [], [], 0)[0]:
        return False
    return events.drain()


def test_a_file_that_comes_changes_and_goes_is_heard(heard: file_events.FileEvents, tmp_path: Path) -> None:
    path = tmp_path / "net.d/10-canal.conflist"
    assert not drained(heard)
    path.write_text("{}")
    assert drained(heard)
    with path.open("a") as file:
        file.write(" ")
    assert drained(heard)
    (tmp_path / "net.d/fresh").write_text("[]")
    assert not drained(heard)
    (tmp_path / "net.d/fresh").rename(path)
    assert drained(heard)
    os.utime(path, (1, 1))
    assert drained(heard)
    path.unlink()
    assert drained(heard)
    assert not drained(heard)


def test_what_else_lies_beside_them_wakes_nobody(heard: file_events.FileEvents, tmp_path: Path) -> None:
    (tmp_path / "net.d/calico-kubeconfig").write_text("a token that is renewed often")
    (tmp_path / "elsewhere").mkdir()
    assert not drained(heard)


def test_folders_that_come_later_and_are_replaced_are_heard(heard: file_events.FileEvents, tmp_path: Path) -> None:
    for _ in range(2):
        (tmp_path / "run/flannel").mkdir(parents=True)
        assert drained(heard)
        (tmp_path / "run/flannel/subnet.env").write_text("FLANNEL_MTU=1450\n")
        assert drained(heard)
        (tmp_path / "run/flannel/subnet.env").write_text("FLANNEL_MTU=1400\n")
        assert drained(heard)
        (tmp_path / "run").rename(tmp_path / "gone")
        (tmp_path / "gone/flannel/subnet.env").unlink()
        (tmp_path / "gone/flannel").rmdir()
        (tmp_path / "gone").rmdir()
        assert drained(heard)
        drained(heard)


def test_a_folder_that_is_filled_before_it_is_heard_is_heard_as_one(
    heard: file_events.FileEvents, tmp_path: Path
) -> None:
    (tmp_path / "run/flannel").mkdir(parents=True)
    (tmp_path / "run/flannel/subnet.env").write_text("FLANNEL_MTU=1450\n")
    assert drained(heard)
    (tmp_path / "run/flannel/subnet.env").write_text("FLANNEL_MTU=1400\n")
    assert drained(heard)


def test_no_more_instances_is_one_sentence(tmp_path: Path) -> None:
    program = """
import resource, sys
from pathlib import Path
from kubemtu.node import errors
from kubemtu.node.kernel import file_events
resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))
try:
    file_events.FileEvents([Path(sys.argv[1])])
except errors.Refused as refused:
    print(refused)
"""
    done = subprocess.run(
        (sys.executable, "-c", program, str(tmp_path / "a")), capture_output=True, text=True, check=True
    )
    assert done.stdout == (
        "listening to changes of files: the kernel said EMFILE (Too many open files); raise "
        "fs.inotify.max_user_instances, or the limit of open files\n"
    )
