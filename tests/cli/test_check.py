"""`kubemtu check` as a user meets it: text, JSON, exit codes. The texts are in tests/snapshots."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from tests.support import example

from kubemtu.cli import main, render, terminal
from kubemtu.core import net
from kubemtu.core.snapshot import Snapshot, Unread
from kubemtu.flows import decide

Golden = Callable[[str, str], None]
Saved = Callable[[Snapshot], str]
trio, story = example.trio, example.story


def text(snapshot: Snapshot, columns: int | None, *, whole: bool = False) -> str:
    """What `check` prints, as plain text."""
    from kubemtu.cli.terminal import unstyle

    return unstyle(render.report(decide.check(snapshot), columns, whole=whole)) + "\n"


def test_the_story_as_deployed(golden: Golden) -> None:
    golden("check-as-deployed", text(story(1500, trio(pod=1500, conflist=1500)), 100))


def test_the_story_after_the_popular_cure(golden: Golden) -> None:
    ports = trio(pod=1500, host=1450)
    golden("check-popular-cure", text(story(1450, ports), 100))


def test_a_narrow_terminal(golden: Golden) -> None:
    found = text(story(1500, trio(pod=1500, conflist=1500)), 60)
    prose = [line for line in found.splitlines() if not line.startswith(("  NODE", "  n", "MTU"))]
    assert max(len(line) for line in prose) <= 60
    golden("check-narrow", found)


def test_a_pipe_gets_one_line_a_sentence_and_no_colour(
    saved: Saved, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = saved(story(1500, trio(pod=1500, conflist=1500)))
    assert main.run(["check", "--from", path]) == 1
    out = capsys.readouterr().out
    assert "\x1b" not in out
    first = out.splitlines()[0]
    assert first == (
        "✗ The MTU breaks traffic: 9 pods of 9 may send 1500 bytes, but the path between nodes carries 1450."
    )


def test_a_healthy_cluster_exits_with_0(saved: Saved, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["check", "--from", saved(story(1450, trio()))]) == 0
    assert capsys.readouterr().out.startswith("✓ The pod network's MTU is right: 9 pods on 3 nodes")


def test_json_is_the_report(saved: Saved, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = saved(story(1450, trio(pod=1500)))
    assert main.run(["check", "--from", path, "-o", "json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert (found["schema"], found["verdict"], found["recommendedMtu"]) == ("kubemtu.io/check/v1", "broken", 1450)
    assert [one["code"] for one in found["findings"]] == ["MTU104", "MTU104", "MTU104", "MTU101"]


def test_what_is_saved_replays(saved: Saved, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, again = saved(story(1450, trio(pod=1500))), tmp_path / "again.json"
    assert main.run(["check", "--from", path, "--save", str(again)]) == 1
    first = capsys.readouterr().out
    assert again.stat().st_mode & 0o777 == 0o600
    assert main.run(["check", "--from", str(again)]) == 1
    assert capsys.readouterr().out == first


def test_saved_manifests_are_right_on_a_condition(
    saved: Saved, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = saved(Snapshot(source="a folder", offline=True, objects=example.canal(1450)))
    assert main.run(["check", "--from", path]) == 0
    assert capsys.readouterr().out.startswith("✓ The configuration suits NICs of 1500 or more")
    assert main.run(["check", "--from", path, "--nic-mtu", "1500"]) == 0
    assert capsys.readouterr().out.startswith("✓ The configuration suits NICs of 1500")


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["--from", "/nowhere"], 2, "/nowhere"),
        (["--nic-mtu", "40", "--from", "x"], 2, "40 is not in the range 68<=x<=65535"),
        (["--kubeconfig", "/nowhere/config"], 2, "/nowhere/config"),
    ],
)
def test_every_failure_is_a_sentence_and_a_code(
    arguments: list[str], code: int, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.run(["check", *arguments]) == code
    err = capsys.readouterr().err
    assert sentence in err
    assert "Traceback" not in err


def test_a_terminal_without_these_signs_gets_ascii(monkeypatch: pytest.MonkeyPatch) -> None:
    import io
    import sys

    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="latin-1", write_through=True))
    terminal.echo("✗ NIC 1500 ▸ pod 1450 → Ändern")
    assert raw.getvalue().decode("latin-1") == "x NIC 1500 > pod 1450 > Ändern\n"


def test_findings_of_many_nodes_are_told_once() -> None:
    seen = tuple(example.node(f"n{number}", pod=1500, pods=1) for number in range(1, 21))
    found = text(story(1450, seen), None)
    assert found.count("A pod keeps the MTU that it was born with") == 1
    assert "and 14 more such: -v lists them" in found


def test_many_nodes_that_are_alike_share_a_line() -> None:
    seen = tuple(example.node(f"n{number}", pods=2) for number in range(1, 50))
    found = text(story(1450, (*seen, example.node("n50", pod=1400))), None)
    lines = found.splitlines()
    place = next(number for number, line in enumerate(lines) if line.startswith("  NODE"))
    assert lines[place : place + 3] == [
        "  NODE              NIC        TUNNEL          NEW POD  PODS  THEY HAVE",
        "  49 nodes like n1  eth0 1500  flannel.1 1450  1450     98    1450",
        "  n50               eth0 1500  flannel.1 1450  1450     3     1400",
    ]
    everything = text(story(1450, (*seen, example.node("n50", pod=1400))), None, whole=True)
    named = [line.split()[0] for line in everything.splitlines() if line.startswith("  n")]
    assert named == [f"n{number}" for number in range(1, 51)]


def test_a_narrow_terminal_gets_the_nodes_as_sentences() -> None:
    seen = tuple(example.node(f"n{number}", pods=2) for number in range(1, 50))
    found = text(story(1450, (*seen, example.node("n50", pod=1400))), 50)
    assert "  49 nodes like n1: NIC eth0 1500, tunnel\n    flannel.1 1450, new pods get 1450; 98 pods," in found
    assert max(map(len, found.splitlines())) <= 50


def test_thousands_of_nodes_make_a_page() -> None:
    """Most are right, three are odd, many tell nothing of late, each since another time."""
    seen = (*(example.node(f"n{number}", pods=1) for number in range(1, 1201)), example.node("odd-1", nic=1450))
    seen = (*seen, *(example.node(name, pod=1500, host=1400) for name in ("odd-2", "odd-3")))
    made = example.cluster(seen, silent=tuple(f"s{number}" for number in range(100, 801)))
    silent = tuple(
        Unread(what=f"node s{number}", why="no agent", message=f"its agent last told something {number} seconds ago.")
        for number in range(100, 801)
    )
    snapshot = msgspec.structs.replace(made, objects=(*example.canal(), *made.objects), unread=silent)
    found = text(snapshot, 80)
    assert len(found.splitlines()) < 90
    assert len(found) < 8000
    for name in ("odd-1", "odd-2", "odd-3", "1,200 nodes like n1", "701 nodes like s100"):
        assert name in found, found
    everything = text(snapshot, None, whole=True)
    assert {f"n{number}" for number in range(1, 1201)} <= set(everything.split())
    assert all(f"node s{number}: " in everything for number in range(100, 801))


def test_files_of_one_node_that_were_not_read_are_each_named() -> None:
    """Their sentences differ in a number alone, as those of several nodes may, which are put together."""
    troubles = tuple(f"/etc/cni/net.d/9{number}-big.conf: too long; left out" for number in (1, 2))
    nodes = tuple(msgspec.structs.replace(example.node(name, pod=1450), errors=troubles) for name in ("n1", "n2"))
    text = render.report(decide.check(example.story(1450, nodes)), None)
    assert "- nodes n1 and n2: /etc/cni/net.d/91-big.conf: too long; left out\n" in text
    assert text.endswith("- nodes n1 and n2: /etc/cni/net.d/92-big.conf: too long; left out")


def test_ends_that_differ_show_in_the_table() -> None:
    assert "1500 (host ends 1450)" in text(story(1450, trio(pod=1500, host=1450)), None)


def test_a_namespace_leaves_out_the_pods_of_others(
    saved: Saved, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = saved(story(1450, trio(pod=1500, host=1450)))
    assert main.run(["check", "--from", path, "-o", "json", "-n", "default"]) == 1
    assert "MTU105" in {one["code"] for one in json.loads(capsys.readouterr().out)["findings"]}
    main.run(["check", "--from", path, "-o", "json", "-n", "kube-system"])
    assert "MTU105" not in {one["code"] for one in json.loads(capsys.readouterr().out)["findings"]}


def test_a_namespace_without_a_pod_is_no_check_mark(
    saved: Saved, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.run(["check", "--from", saved(story(1450, trio())), "-n", "elsewhere"]) == 2
    ended = capsys.readouterr()
    assert ended.out == ""
    assert "no pod is in a namespace elsewhere: `kubectl get pods -A` shows which there are" in ended.err


@pytest.mark.parametrize("known", [False, True], ids=["by nobody's rule", "by another CNI's"])
def test_pods_behind_ends_of_other_names_are_counted_and_never_called_right(
    saved: Saved, capsys: pytest.CaptureFixture[str], known: bool
) -> None:
    """Another CNI has made them, or somebody has renamed them: one of them has 1300, and nobody can say whose it is."""
    made = story(1450, trio())
    first, *rest = made.nodes
    lost = tuple(
        net.Link(index=20 + number, name=f"lxc{number:09x}", mtu=mtu, kind="veth", peer_index=2, peer_netnsid=number)
        for number, mtu in enumerate((1450, 1300, 1450))
    )
    ports = [  # an agent looks for the ports of every CNI that it knows
        msgspec.structs.replace(port, host_link=link.name, host_index=link.index, host_mtu=link.mtu)
        for port, link in zip(first.ports, lost, strict=True)
        if known
    ]
    renamed = msgspec.structs.replace(first, links=(*first.links, *lost), ports=tuple(ports))
    path = saved(msgspec.structs.replace(made, nodes=(renamed, *rest)))
    assert main.run(["check", "--from", path]) == 1
    out = capsys.readouterr().out
    assert "✓" not in out
    assert "3 pods of n1" in out
    assert re.search(r"^  n1 .* 0 of 3 ", out, re.MULTILINE), out
    assert "no interface of a name like cali* is theirs" in out
    assert main.run(["check", "--from", path, "-o", "json"]) == 1
    said = json.loads(capsys.readouterr().out)
    assert (said["verdict"], said["nodes"][0]["pods"], said["nodes"][0]["unseen"]) == ("incomplete", 0, 3)


def test_what_is_scrubbed_replays_as_well_and_names_nobody(
    saved: Saved, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, again = saved(story(1450, trio(pod=1500))), tmp_path / "again.json"
    assert main.run(["check", "--from", path, "--save", str(again), "--scrub", "-o", "json"]) == 1
    first = json.loads(capsys.readouterr().out)
    assert main.run(["check", "--from", str(again), "-o", "json"]) == 1
    second = json.loads(capsys.readouterr().out)
    assert [each["code"] for each in second["findings"]] == [each["code"] for each in first["findings"]]
    assert [each["name"] for each in second["nodes"]] == ["node-1", "node-2", "node-3"]
    assert "192.168.77.1" not in again.read_text()


def test_scrub_without_a_file_is_a_usage_error(saved: Saved, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["check", "--from", saved(story(1450, trio())), "--scrub"]) == 2
    assert "name a file by --save FILE" in capsys.readouterr().err
