"""What is asked for while a change is under way: the same, however it is said, carries on; all else is refused."""

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.change.cluster import Cluster, cluster

from kubemtu_lab import scene as scenes
from kubemtu_lab.scenes import named

pytestmark = [pytest.mark.lab, pytest.mark.netns, pytest.mark.timeout(600)]

BEGUN = ("--per-node", "--egress-mtu", "1500", "--mtu", "9000")  # NICs of 9000 leave 8950
OTHERS = [
    (["--egress-mtu", "1400"], "with --egress-mtu 1400 pods would get other sizes"),
    (["--per-node"], "with --per-node pods would get other sizes"),  # which says nothing of the way out
    (["--mtu", "1400"], "with --mtu 1400 pods would get other sizes"),
    (["--nic-mtu", "8000"], "with --nic-mtu 8000 pods would get other sizes"),
    (["--hosts"], "it was begun without --hosts"),
    (["--config-only"], "--config-only leaves running pods as they are, and it changes them"),
    (["--without", "node-2"], "node node-2 is in it, and cannot be left out any more"),
    (
        ["--without", "node-1", "--without", "node-2"],
        "nodes node-1 and node-2 are in it, and cannot be left out any more",
    ),
    (["OTHER"], "the saved plan is another"),
]
SAME = [
    [],
    list(BEGUN),
    ["--egress-mtu", "1500"],  # each node's own NIC leaves the same
    ["--mtu", "8950"],
    ["SAME"],
]


@pytest.fixture(scope="module")
def lab(can_make_labs: None) -> Iterator[Cluster]:
    with cluster(scenes.resized(named("canal-jumbo"), nodes=2, pods=1), "under-way") as found:
        yield found


def under_way(lab: Cluster, *words: str) -> None:
    """Begin a change, and kill its driver once running pods have their sizes."""
    command = lab.stopped("apply", *words, "--yes", line="[2/3]", step=1)
    command.kill(signal.SIGKILL)
    command.wait()


def files(lab: Cluster, folder: Path) -> dict[str, str]:
    lab.done("plan", *BEGUN, "--out", str(folder / "same.json"))
    lab.done("plan", "--mtu", "1400", "--out", str(folder / "other.json"))
    return {"SAME": str(folder / "same.json"), "OTHER": str(folder / "other.json")}


def test_what_comes_to_something_else_is_refused_by_name(lab: Cluster, tmp_path: Path) -> None:
    saved = files(lab, tmp_path)
    under_way(lab, *BEGUN)
    (before,) = lab.migrations()
    for words, said in OTHERS:
        ended = lab.run("apply", *(saved.get(word, word) for word in words), "--yes")
        assert (words, ended.code, said in ended.err) == (words, 2, True), ended.out + ended.err
        assert "finish it with `kubemtu apply`, or take it back with `kubemtu rollback`" in ended.err
    (after,) = lab.migrations()
    assert after["spec"] == before["spec"]
    lab.done("rollback", "--yes")
    lab.forget_migrations()


@pytest.mark.parametrize("words", SAME, ids=lambda words: " ".join(words) or "no flag")
def test_what_comes_to_the_same_carries_on(lab: Cluster, words: list[str], tmp_path: Path) -> None:
    saved = files(lab, tmp_path)
    under_way(lab, *BEGUN)
    ended = lab.done("apply", *(saved.get(word, word) for word in words), "--yes")
    assert "Carrying on with canal-8950-" in ended.lines[0]
    (held,) = lab.migrations()
    assert held["status"]["progress"]["held"]  # type: ignore[index]  # JSON
    lab.done("rollback", "--yes")
    lab.forget_migrations()


def test_a_node_that_the_plan_does_not_know_can_be_left_out_of_a_change_under_way(lab: Cluster, tmp_path: Path) -> None:
    """As one that joined since, which its messages advise where it cannot be led there."""
    saved = Path(files(lab, tmp_path)["SAME"])
    whole = json.loads(saved.read_text())
    for live in (step for step in whole["steps"] if step["type"] == "live"):
        live["nodes"] = [to for to in live["nodes"] if to["node"] != "node-2"]
    saved.write_text(json.dumps(whole))
    under_way(lab, str(saved))
    unknown = lab.run("apply", "--without", "node-9", "--yes")
    assert (unknown.code, "the cluster has no node node-9" in unknown.err) == (2, True)
    lab.done("apply", "--without", "node-2", "--yes")
    (held,) = lab.migrations()
    steps = held["spec"]["plan"]["steps"]  # type: ignore[index]  # JSON
    assert [step["without"] for step in steps if step["type"] == "live"] == [["node-2"]]
    lab.done("rollback", "--yes")
