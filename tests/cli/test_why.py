"""`kubemtu why` and `kubemtu probe` as people and programs read them; the measuring itself is in tests/scenes."""

import json
import re
from collections.abc import Sequence

import msgspec
import pytest
from tests.support.paths import N1, PG, WEB, both, direction, leg, path
from tests.support.rounds import End as Fate
from tests.support.rounds import hole, measured

from kubemtu.cli import main, probe, why
from kubemtu.cli.terminal import unstyle
from kubemtu.core.mesh import rounds, sampling
from kubemtu.core.mesh.faults import infer
from kubemtu.core.planning import mesh_remedies
from kubemtu.core.why.case import Diagnosis
from kubemtu.core.why.diagnosis import diagnose
from kubemtu.flows.measure.mesh import MeshLayer, MeshReport
from kubemtu.flows.measure.why import PathReport

HOLE = diagnose(WEB, PG, path(leg("whole", direction(1350), direction(1450)), both("nodes", 1400, 1500)))
FINE = diagnose(WEB, PG, path(both("whole", 1450)))


def text(answer: PathReport, columns: int | None = None) -> list[str]:
    return [unstyle(line) for line in why.lines(answer, columns)]


def other(name: str, found: Diagnosis, family: str = "") -> Diagnosis:
    """The same, of another pod."""
    sentence = found.sentence.replace("db/pg-0", name)
    return msgspec.structs.replace(found, destination=name, family=family, sentence=sentence)


def test_the_sentence_the_parts_the_facts_and_what_to_do() -> None:
    assert text(PathReport(diagnosis=HOLE)) == [
        f"✗ {HOLE.sentence}",
        "  certain about where",
        "",
        "  the whole path       default/web-1 ⇄ db/pg-0  1350 of 1450, back 1450 of 1450  black hole, back ok",
        "  pod to its own node  default/web-1 ⇄ n1       1450 of 1450                     ok",
        "  between the nodes    n1 ⇄ n2                  1400 of 1500                     black hole",
        "  node to the far pod  n1 ▸ db/pg-0             1450 of 1450                     ok",
        "  far node to its pod  n2 ⇄ db/pg-0             1450 of 1450                     ok",
        "",
        *(f"  · {fact}" for fact in HOLE.evidence),
        "",
        f"  → {HOLE.advice}",
    ]


def test_a_narrow_terminal() -> None:
    lines = text(PathReport(diagnosis=HOLE), 60)
    assert max(map(len, lines)) <= 60
    at = lines.index("  the whole path, default/web-1 ⇄ db/pg-0")
    assert lines[at + 1 : at + 4] == [
        "    1350 of 1450, back 1450 of 1450  black hole, back ok",
        "  pod to its own node, default/web-1 ⇄ n1",
        "    1450 of 1450                     ok",
    ]
    assert " ".join(line.strip() for line in lines[:4]).startswith(f"✗ {HOLE.sentence}")


def test_a_part_that_is_the_whole_path_is_not_told_twice() -> None:
    found = diagnose(WEB, N1, [both("whole", 1450, goal=N1), both("near", 1450, goal=N1)])
    assert [line for line in text(PathReport(diagnosis=found)) if "⇄" in line] == [
        "  the whole path  default/web-1 ⇄ n1  1450 of 1450  ok"
    ]


def test_other_paths_take_a_line_each_and_those_in_order_one_together() -> None:
    bad = [other(f"db/pg-{number}", HOLE) for number in range(1, 6)]
    good = [other(f"web/ok-{number}", FINE) for number in range(7)]
    lines = text(PathReport(diagnosis=HOLE, other_paths=(*bad, *good)))
    told = [line for line in lines if line.startswith("  · also: ")]
    assert told == [f"  · also: {one.sentence}" for one in bad[:3]]
    assert "  · and 2 more that are not in order: " in "\n".join(lines)
    (fine,) = [line for line in lines if "no MTU stands in the way" in line]
    assert fine.endswith("from default/web-1 to web/ok-3 and 3 more")


def test_what_could_not_be_measured_is_said_before_what_to_do() -> None:
    lines = text(PathReport(diagnosis=FINE, notes=("a note",), errors=("a trouble",)))
    assert lines[-4:] == ["  ! a note", "  ! a trouble", "", f"  → {FINE.advice}"]


def test_programs_get_the_same_answer() -> None:
    answer = PathReport(diagnosis=HOLE, other_paths=(FINE,))
    found = json.loads(msgspec.json.encode(answer))
    assert (found["schema"], found["diagnosis"]["isMtu"], found["diagnosis"]["mtu"]) == (
        "kubemtu.io/why/v1",
        "yes",
        1350,
    )
    assert [one["role"] for one in found["diagnosis"]["legs"]] == ["whole", "near", "nodes", "overlay", "far"]
    assert (found["diagnosis"]["legs"][0]["forward"]["mtu"], found["diagnosis"]["legs"][0]["backward"]["mtu"]) == (
        1350,
        1450,
    )


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["probe", "web-1"], "name the other end too: `kubemtu probe web-1 B`; `kubemtu why web-1` tries several"),
        (["probe", "--mesh", "web-1", "pg-0"], "--mesh measures everybody; name no ends beside it"),
        (["check", "--prove", "--from", "x"], "--prove measures a cluster, and --from reads saved files: leave one of"),
        (["why"], "Missing argument 'POD|NODE'"),
        (["probe", "--max-pps", "-1"], "-1.0 is not in the range x>=1"),
        (["probe", "--max-pps", "0"], "0.0 is not in the range x>=1"),
        (["probe", "--max-pps", "nan"], "nan is no number of anything"),
        (["apply", "--rollout-patience", "nan"], "nan is no number of anything"),
        (["rollback", "--rollout-patience", "nan"], "nan is no number of anything"),
        (["apply", "--rollout-patience", "inf"], "inf is no number of anything"),
        (["lab", "up", "--daemon-seconds", "nan"], "nan is no number of anything"),
    ],
)
def test_a_command_line_that_makes_no_sense_is_a_sentence(
    arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.run(arguments) == 2
    assert sentence in capsys.readouterr().err


# Between two ends


def test_each_direction_of_a_pair_has_a_line_and_what_is_in_order_no_more() -> None:
    lines = [unstyle(line) for line in probe.pair_lines(PathReport(diagnosis=HOLE), None)]
    assert lines[0].startswith("✗ default/web-1 ▸ db/pg-0: black hole; 1350 bytes arrive, and everything larger")
    assert "✓ db/pg-0 ▸ default/web-1: ok; packets of 1450 bytes arrive whole; nothing larger is expected" in lines
    assert not any("1450 bytes arrived" in line for line in lines)


def test_the_family_of_a_pair_is_named_where_there_are_two() -> None:
    four, six = other("db/pg-0", FINE, "IPv4"), other("db/pg-0", HOLE, "IPv6")
    lines = [unstyle(line) for line in probe.pair_lines(PathReport(diagnosis=six, other_paths=(four,)), None)]
    heads = [line.partition(":")[0] for line in lines]
    assert heads.index("✗ default/web-1 ▸ db/pg-0 over IPv6") < heads.index("✓ default/web-1 ▸ db/pg-0 over IPv4")


# A mesh


def layer(round_: rounds.Mesh, *, cutting: Sequence[str] = (), name: str = "nodes") -> MeshLayer:
    """A layer of a report, as measuring makes it."""
    faults = tuple(mesh_remedies.advised(fault, name, round_.expected, None) for fault in infer(round_))
    return MeshLayer(
        name=name,
        expected=round_.expected,
        mesh=round_,
        summary=rounds.summary(round_),
        plan=sampling.plan(round_.members),
        faults=faults,
        fragmenting_nodes=tuple(cutting),
        duration_seconds=0.25,
    )


def told(*layers: MeshLayer, columns: int | None = None, notes: tuple[str, ...] = ()) -> list[str]:
    report = MeshReport(ok=all(one.ok for one in layers), layers=layers, notes=notes)
    return [unstyle(line) for line in probe.lines(report, columns)]


def test_a_mesh_in_order_is_two_lines() -> None:
    assert told(layer(measured(4, lambda _, __: None))) == [
        "✓ nodes: 12 of 12 ordered pairs carry 1500 bytes",
        "  48 packets, 0.25 s",
        "",
    ]


def test_a_mesh_with_a_bad_node_shows_who_does_not_reach_whom() -> None:
    lines = told(layer(measured(4, hole(lambda _, receiver: receiver == 2))))
    assert lines[0] == "✗ nodes: 9 of 12 ordered pairs carry 1500 bytes"
    assert lines[1].startswith("  n2 receives at most 1450 bytes: from all 3 other nodes larger packets vanish")
    assert lines[2].startswith("    3 pairs, certain → Look at the NIC of n2 and at its port on the switch, ")
    assert lines[4:9] == [
        "  from \\ to     1     2     3     4",
        "   1 n0         ·    ok  1450    ok",
        "   2 n1        ok     ·  1450    ok",
        "   3 n2        ok    ok     ·    ok",
        "   4 n3        ok    ok  1450     ·",
    ]


def test_what_is_no_size_is_no_number_in_the_matrix() -> None:
    ends: dict[int, Fate] = {0: ("unreachable", 0), 1: ("loss", 1300), 2: ("overloaded", 1300)}
    lines = told(layer(measured(4, lambda sender, to: ends.get(sender) if to == 3 else None)))
    cells = [line.split()[-1] for line in lines if re.match(r"   \d n", line)]
    assert cells == ["–", "loss", "busy", "·"]


def test_a_terminal_that_is_too_narrow_for_the_matrix_is_told_so() -> None:
    lines = told(layer(measured(12, hole(lambda _, receiver: receiver == 2))), columns=60)
    assert "  (a terminal of 83 columns shows the matrix; -o json has all of it)" in lines
    assert max(len(line) for line in lines if "matrix" not in line) <= 60


def test_no_matrix_of_hundreds() -> None:
    lines = told(layer(measured(40, hole(lambda _, receiver: receiver == 2))))
    assert not any("from \\ to" in line for line in lines)


def test_tunnels_that_cut_are_told_of_once_for_all() -> None:
    lines = told(layer(measured(4, lambda _, __: None), cutting=("n0", "n1")), notes=("a note",))
    assert lines == [
        "✗ nodes: 12 of 12 ordered pairs carry 1500 bytes",
        "  n0 and n1 cut the packets that the tunnel makes of these: everything arrives, in pieces, and slowly",
        "    → `kubemtu plan` shows the MTU that travels whole",
        "  48 packets, 0.25 s",
        "",
        "! a note",
    ]


def test_of_a_sample_it_is_said_what_it_finds() -> None:
    round_ = measured(1200, lambda _, __: None, offsets=sampling.rotation(1200, 24, 0))
    assert any(line.startswith("  1,200 nodes: 24 of 1,199 peers each; ") for line in told(layer(round_)))


def test_more_than_is_sent_by_the_route_to_elsewhere_is_no_part_of_it() -> None:
    """A pod of 8950 whose default route says 1350: its own node takes all of it, which is not "8950 of 1350"."""
    near = diagnose(WEB, PG, path(both("whole", 1450), both("near", 8950, 1350)))
    (row,) = (line for line in text(PathReport(diagnosis=near)) if "pod to its own node" in line)
    assert "8950" in row.split()
    assert "8950 of" not in row
