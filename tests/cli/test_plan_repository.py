"""`kubemtu plan` for who keeps the cluster in a repository: patches for kustomize, and the file itself, edited."""

import shutil
from pathlib import Path

import pytest
import yaml

from kubemtu.cli import main

SHAPES = Path(__file__).parents[1] / "shapes"


def planned(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    code = main.run(["plan", *words])
    told = capsys.readouterr()
    return code, told.out, told.err


def test_kustomize_replaces_the_one_key(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = planned(capsys, "--from", str(SHAPES / "canal-c.yaml"), "--nic-mtu", "1450", "-o", "kustomize")
    assert code == 0
    assert out.startswith("# Once it is applied: kubectl -n kube-system rollout restart daemonset/canal\n")
    kustomization = yaml.safe_load(out)
    assert kustomization["apiVersion"] == "kustomize.config.k8s.io/v1beta1"
    (patch,) = kustomization["patches"]
    assert patch["target"] == {
        "version": "v1",
        "kind": "ConfigMap",
        "name": "canal-config",
        "namespace": "kube-system",
    }
    assert yaml.safe_load(patch["patch"]) == [{"op": "replace", "path": "/data/veth_mtu", "value": "1400"}]


@pytest.mark.parametrize(
    ("shape", "lines"),
    [
        ("canal-c", {'  veth_mtu: "1400"'}),
        ("canal-a", {'          "mtu": 1400,'}),
        ("rke2-canal", {"      mtu: 1450", "      vethuMTU: 1400"}),
    ],
)
def test_in_place_changes_those_lines_alone(
    shape: str, lines: set[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = tmp_path / "mine.yaml"
    shutil.copy(SHAPES / f"{shape}.yaml", mine)
    mine.chmod(0o664)
    before = mine.read_text().splitlines()
    code, out, err = planned(capsys, "--from", str(mine), "--nic-mtu", "1450", "--in-place", str(mine))
    after = mine.read_text().splitlines()
    assert code == 0
    assert set(after) - set(before) == lines
    assert [line for line in after if line not in lines] == [
        line for line in before if line in after or line.strip().startswith("#")
    ]
    assert mine.stat().st_mode & 0o777 == 0o664
    assert all(f"+{line}" in err for line in lines)
    assert "rollout restart" in err
    assert out == ""


def test_twice_is_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mine = tmp_path / "mine.yaml"
    shutil.copy(SHAPES / "canal-c.yaml", mine)
    words = ("--from", str(mine), "--nic-mtu", "1450", "--in-place", str(mine))
    planned(capsys, *words)
    once = mine.read_bytes()
    assert planned(capsys, *words) == (0, "", "There is nothing to edit.\n")
    assert mine.read_bytes() == once


def test_another_file_is_refused_and_stays(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = tmp_path / "other.yaml"
    other.write_text("kind: ConfigMap\nmetadata: {name: other}\n")
    words = ("--from", str(SHAPES / "canal-c.yaml"), "--nic-mtu", "1450", "--in-place", str(other))
    code, _, err = planned(capsys, *words)
    assert code == 5
    assert f"{other} holds none of ConfigMap kube-system/canal-config: name the file that does." in err
    assert other.read_text() == "kind: ConfigMap\nmetadata: {name: other}\n"


def test_a_file_that_cannot_be_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--from", str(SHAPES / "canal-c.yaml"), "--nic-mtu", "1450", "--in-place")
    assert planned(capsys, *words, str(tmp_path / "absent"))[0] == 2
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    assert planned(capsys, *words, str(tmp_path / "binary"))[0] == 5
