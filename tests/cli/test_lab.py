"""`kubemtu lab` as its users type it."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from kubemtu.cli import main
from kubemtu_lab import cluster, state

pytestmark = pytest.mark.lab
USAGE = 2


@pytest.fixture(autouse=True)
def place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """A place for labs where nobody else's are; what a test left up ends."""
    monkeypatch.setenv("KUBEMTU_LABS", str(tmp_path))
    yield tmp_path
    cluster.end_all()


def kubemtu(*words: str) -> subprocess.CompletedProcess[str]:
    """Run the command line as a process of its own."""
    command = [sys.executable, "-m", "kubemtu", "lab", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)


def test_up_ls_exec_down(place: Path) -> None:
    made = kubemtu("up", "--nodes", "2", "--pods", "1", "--nic-mtu", "1600", "--port-mtu", "node-2=1500")
    if made.returncode == 4 and not os.environ.get("CI"):
        pytest.skip(made.stderr)
    assert made.returncode == 0, made.stderr
    assert "lab canal-1500 is up" in made.stdout
    assert "2 nodes, 2 pods." in made.stdout
    assert f"export KUBECONFIG={place}/canal-1500/kubeconfig\n" in made.stdout
    assert "kubemtu check\n" in made.stdout

    (row,) = json.loads(kubemtu("ls", "-o", "json").stdout)
    assert (row["name"], row["state"], row["nodes"], row["pods"]) == ("canal-1500", "up", ["node-1", "node-2"], 2)
    assert (place / "canal-1500/kubeconfig").stat().st_mode & 0o077 == 0
    lines = kubemtu("ls").stdout.splitlines()
    assert lines[1].split()[:5] == ["canal-1500", "up", "canal-1500", "2", "2"]

    assert kubemtu("exec", "node-1", "--", "cat", "/sys/class/net/flannel.1/mtu").stdout == "1550\n"
    assert kubemtu("exec", "fabric", "--", "cat", "/sys/class/net/port-2/mtu").stdout == "1500\n"
    assert kubemtu("exec", "pod-2a", "--", "sh", "-c", "exit 5").returncode == 5
    lost = kubemtu("exec", "pod-9z", "--", "true")
    assert (lost.returncode, lost.stdout) == (USAGE, "")
    assert "neither a node nor a pod with a network of its own called pod-9z" in lost.stderr

    taken = kubemtu("up", "--nodes", "1")
    assert taken.returncode == USAGE
    assert "a lab called canal-1500 is up; `kubemtu lab down canal-1500`, or choose another --name" in taken.stderr

    assert kubemtu("down").stdout == "lab canal-1500 is down\n"
    assert kubemtu("ls").stdout == "no lab is up; `kubemtu lab up` makes one\n"
    assert list(place.iterdir()) == []


def test_of_several_labs_the_one_that_kubeconfig_names_is_meant(
    can_make_labs: None, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KUBECONFIG", raising=False)
    for name in ("one", "two"):
        made = kubemtu("up", "--name", name, "--nodes", "1", "--nic-mtu", "1600" if name == "one" else "1700")
        assert made.returncode == 0, made.stderr
    words = ("exec", "node-1", "--", "cat", "/sys/class/net/eth0/mtu")
    assert "several labs are up (one, two); name one" in kubemtu(*words).stderr
    monkeypatch.setenv("KUBECONFIG", str(place / "two/kubeconfig"))
    assert kubemtu(*words).stdout == "1700\n"
    assert kubemtu("exec", "--lab", "one", *words[1:]).stdout == "1600\n"
    monkeypatch.setenv("KUBECONFIG", "/nowhere")
    assert kubemtu(*words).returncode == USAGE


def test_probes_wait_for_the_key_that_an_agent_makes(place: Path) -> None:
    made = kubemtu("up", "--nodes", "1", "--pods", "0", "--probes", "--no-agents")
    if made.returncode == 4 and not os.environ.get("CI"):
        pytest.skip(made.stderr)
    assert made.returncode == 0, made.stderr
    assert "Not ready, as this scene has it: kubemtu/kubemtu-probe-" in made.stdout


def test_remains_of_a_killed_lab_are_shown_and_removed(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "old").mkdir()
    record = state.Record(name="old", scene="flannel", pid=1, started=1, created=0.0, nodes={"node-1": 2})
    (place / "old/lab.json").write_text(json.dumps({key: getattr(record, key) for key in record.__struct_fields__}))
    assert main.run(["lab", "ls"]) == 0
    assert "old                ended" in capsys.readouterr().out
    assert main.run(["lab", "down", "old"]) == 0
    assert capsys.readouterr().out == "lab old had ended; its folder is removed\n"
    assert main.run(["lab", "down", "--all"]) == 0
    assert capsys.readouterr().out == "there was no lab\n"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["down", "nowhere"], "no lab called nowhere is up"),
        (["down"], "no lab is up; `kubemtu lab up` makes one"),
        (["down", "one", "--all"], "give a NAME or --all, not both"),
        (["exec", "pod-1a", "--", "true"], "no lab is up"),
        (["up", "--scene", "canel"], "there is no scene canel; choose one of: canal-1500"),
        (["up", "--name", "../up"], "../up is no name for a lab"),
        (["up", "--port-mtu", "node-1=big"], "--port-mtu node-1=big: write an MTU of 68 to 65535 bytes, or NODE=MTU"),
        (["up", "--port-mtu", "node-7=1400"], "has no node node-7"),
        (["up", "--fault", "gremlins"], "--fault gremlins: there is no such fault; choose one of: lost-iface"),
        (["up", "--fault", "only-host-ends"], "the fault only-host-ends needs an MTU: only-host-ends=1400"),
    ],
)
def test_mistakes_are_told_in_one_sentence(
    words: list[str], told: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.run(["lab", *words]) == USAGE
    written = capsys.readouterr()
    assert told in written.err
    assert written.err.count("\n") == 1
    assert not place.exists() or list(place.iterdir()) == []


def test_a_pod_mtu_out_of_range_is_refused_by_its_flag(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["lab", "up", "--pod-mtu", "67"]) == USAGE
    assert "67 is no MTU; IPv4 devices take 68 to 65535 bytes" in capsys.readouterr().err


def test_scenes_and_faults_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["lab", "up", "--scenes"]) == 0
    told = capsys.readouterr().out
    for name in ("canal-1500", "canal-black-hole", "flannel-dual", "only-host-ends", "icmp-filtered", "udp-filtered"):
        assert f"{name} " in told
