"""The undo record: what is written is known again, whatever happened to the process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.journals import DESIRED

from kubemtu.core import errors
from kubemtu.node.change import journal
from kubemtu.node.kernel import routes

# 10.42.2.0/24 via 10.42.2.0 dev 3 onlink, dumped by Linux 6.18
ROUTE = bytes.fromhex("02180000fe0300010400000008000f00fe000000080001000a2a0200080005000a2a02000800040003000000")
PORT = journal.PortEntry(
    netns="cni-1", inode=7, host_link="cali1", host_index=4, host_mtu=1500, pod_link="eth0", pod_index=2, pod_mtu=1500
)


def written(directory: Path) -> Path:
    known = journal.Journal.open("m1", directory)
    known.begin(DESIRED)
    known.append([PORT, journal.RoutesEntry(owner="node", bodies=(ROUTE.hex(),))])
    known.append([journal.DeviceEntry(link="flannel.1", index=3, mtu=1450)])
    known.close()
    return directory / "m1.jsonl"


def test_what_was_written_is_known_again(tmp_path: Path) -> None:
    written(tmp_path)
    known = journal.Journal.open("m1", tmp_path)
    assert known.began is not None
    assert known.began.desired == DESIRED
    assert known.ports == {"7/4": PORT}
    assert known.devices["flannel.1"].mtu == 1450
    (original,) = known.originals["node"].values()
    assert original.body == ROUTE
    assert original.destination == "10.42.2.0/24"
    known.close()


def test_the_first_record_of_a_thing_wins(tmp_path: Path) -> None:
    written(tmp_path)
    known = journal.Journal.open("m1", tmp_path)
    known.append([journal.DeviceEntry(link="flannel.1", index=9, mtu=1400)])
    pinned = routes.replay(routes.raw(ROUTE), routes.with_mtu((), 1450, lock=True))[2]
    known.append([journal.RoutesEntry(owner="node", bodies=(pinned.hex(),))])
    known.close()
    again = journal.Journal.open("m1", tmp_path)
    assert again.devices["flannel.1"].mtu == 1450
    assert [original.mtu for original in again.originals["node"].values()] == [None]
    again.close()


@pytest.mark.parametrize("cut", [1, 5, 30])
def test_a_torn_last_line_is_dropped_and_writing_goes_on(tmp_path: Path, cut: int) -> None:
    path = written(tmp_path)
    path.write_bytes(path.read_bytes()[:-cut])
    known = journal.Journal.open("m1", tmp_path)
    assert known.devices == {}
    known.append([journal.DeviceEntry(link="cni0", index=5, mtu=1500)])
    known.close()
    again = journal.Journal.open("m1", tmp_path)
    assert list(again.devices) == ["cni0"]
    assert again.ports == {"7/4": PORT}
    again.close()


@pytest.mark.parametrize(
    "damage",
    [
        "{}",
        "not json",
        '{"entry":"routes","owner":"node","bodies":["zz"]}',
        '{"entry":"routes","owner":"node","bodies":["0218"]}',
    ],
)
def test_any_other_damage_stops_everything_and_changes_nothing(tmp_path: Path, damage: str) -> None:
    path = written(tmp_path)
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], damage, *lines[1:]]) + "\n")
    before = path.read_bytes()
    with pytest.raises(errors.Malformed, match=r"m1\.jsonl, line 2"):
        journal.Journal.open("m1", tmp_path)
    assert path.read_bytes() == before


def test_one_process_at_a_time(tmp_path: Path) -> None:
    known = journal.Journal.open("m1", tmp_path)
    with pytest.raises(errors.Conflict, match="another kubemtu process"):
        journal.Journal.open("m1", tmp_path)
    known.close()
    journal.Journal.open("m1", tmp_path).close()


def test_another_boots_journal_is_set_aside(tmp_path: Path) -> None:
    path = written(tmp_path)
    known = journal.Journal.open("m1", tmp_path)
    assert known.began is not None
    boot = known.began.boot
    known.close()
    path.write_text(path.read_text().replace(boot, "0123456789"))
    fresh = journal.Journal.open("m1", tmp_path)
    assert fresh.ports == {}
    assert (tmp_path / "m1.01234567.old").exists()
    fresh.close()


@pytest.mark.parametrize("name", ["", "../m1", "M1", "a/b", "-a", "a" * 254])
def test_names_that_no_migration_can_have_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(errors.UsageError, match="no name of a migration"):
        journal.Journal.open(name, tmp_path)


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(errors.NodeFailure, match="nothing was changed"):
        journal.Journal.open("m1", tmp_path / "file")


def test_names_are_listed_and_removed(tmp_path: Path) -> None:
    assert journal.Journal.names(tmp_path / "absent") == []
    written(tmp_path)
    assert journal.Journal.names(tmp_path) == ["m1"]
    known = journal.Journal.open("m1", tmp_path)
    known.remove()
    assert journal.Journal.names(tmp_path) == []


def test_a_change_ends_and_is_asked_for_again(tmp_path: Path) -> None:
    path = written(tmp_path)
    known = journal.Journal.open("m1", tmp_path)
    known.end()
    known.end()
    assert path.read_text().count('"ended"') == 1
    assert [one.ended for one in journal.left(tmp_path)] == [True]
    known.begin(DESIRED)
    known.close()
    again = journal.Journal.open("m1", tmp_path)
    assert (again.ended, again.ports) == (False, {"7/4": PORT})
    assert [one.ended for one in journal.left(tmp_path)] == [False]
    again.close()


@pytest.mark.netns
def test_a_disk_that_is_nearly_full_loses_nothing(tmp_path: Path) -> None:
    """In a file system of 64 KiB: what memory knows is what the file has, and there is room again afterwards."""
    program = f"""
import os, sys
import subprocess
import sys
from pathlib import Path
sys.path[:0] = {sys.path!r}
from kubemtu.core import errors
from kubemtu.node.change import journal
from kubemtu_lab import kernel
from tests.support.journals import DESIRED
kernel.unshare(kernel.CLONE_NEWNS)
kernel.mount("none", "/", "", kernel.MS_REC | kernel.MS_PRIVATE)
folder = Path({str(tmp_path)!r})
kernel.mount("tmpfs", folder, "tmpfs", 0, "size=64k")
known = journal.Journal.open("m1", folder)
known.begin(DESIRED)
full = 0
for number in range(2000):
    try:
        known.append([journal.DeviceEntry(link=f"cali{{number:05}}{{'x' * 300}}", index=number, mtu=1500)])
    except errors.NodeFailure as error:
        assert "No space left on device; nothing was changed" in str(error), error
        full += 1
        if full == 1:
            (folder / "other").touch()
known.close()
assert full > 0
again = journal.Journal.open("m1", folder)
assert again.devices.keys() == known.devices.keys(), (len(again.devices), len(known.devices))
print(len(again.devices) > 100)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("True\n", 0), done.stderr
