"""Files of others: only regular ones, up to a limit, in time; and writing whole or not at all."""

import os
import resource
import select
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from kubemtu import files


def test_a_regular_file_up_to_its_limit(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"x" * 100)
    assert files.read(path, 100) == b"x" * 100
    with pytest.raises(files.Unlike, match="is larger than 99 bytes"):
        files.read(path, 99)
    with pytest.raises(FileNotFoundError):
        files.read(tmp_path / "b")
    with pytest.raises(IsADirectoryError):
        files.read(tmp_path)
    with pytest.raises(files.Unlike, match="has a name that no file can have"):
        files.read("a\0b")


@pytest.mark.parametrize("path", ["/dev/zero", "/dev/null", "/dev/tty", "/dev/full"])
def test_devices_are_not_opened_to_be_read(path: str) -> None:
    with pytest.raises(OSError, match=r"is a device, not a file|No such device"):
        files.read(path)


def test_a_pipe_is_read_where_one_is_expected(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(files.Unlike, match="is a pipe, not a file"):
        files.read(pipe)
    with pytest.raises(files.Unlike, match=r"is a pipe into which nobody wrote for 0.1 s, or too slowly"):
        files.read(pipe, pipes=0.1)
    writer = threading.Thread(target=pipe.write_bytes, args=(b"y" * 100_000,))
    writer.start()
    assert files.read(pipe, pipes=60.0) == b"y" * 100_000
    writer.join()


def test_what_is_written_is_its_owners_and_replaces(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    path.write_text("older")
    path.chmod(0o666)
    files.write(path, b"newer")
    assert path.read_bytes() == b"newer"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    link = tmp_path / "link"
    link.symlink_to(path)
    files.write(link, b"newest")
    assert link.is_symlink()
    assert path.read_bytes() == b"newest"
    assert sorted(each.name for each in tmp_path.iterdir()) == ["link", "plan.json"]


def test_a_full_disk_leaves_the_older_file(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    path.write_text("older")
    kept = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, kept[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            files.write(path, b"x" * 2000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, kept)
    assert path.read_text() == "older"
    assert [each.name for each in tmp_path.iterdir()] == ["plan.json"]


def test_a_device_is_written_to(tmp_path: Path) -> None:
    program = "import pathlib, kubemtu.files as files; files.write(pathlib.Path('/dev/stdout'), b'told')"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=60, check=True)
    assert done.stdout == b"told"
    with pytest.raises(OSError, match="No space left"):
        files.write(Path("/dev/full"), b"x")


def test_a_pipe_is_written_to_where_somebody_reads_it(tmp_path: Path) -> None:
    """Without a reader open(2) would wait for one; with one, more is written than a pipe holds (64 KiB, pipe(7))."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(files.Unlike, match="nobody reads what is written there"):
        files.write(pipe, b"x")
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    os.set_blocking(reader, True)
    writer = threading.Thread(target=files.write, args=(pipe, b"y" * 1_000_000))
    writer.start()
    select.select([reader], [], [])
    with open(reader, "rb") as stream:  # noqa: PTH123 - a descriptor
        assert stream.read() == b"y" * 1_000_000
    writer.join()
