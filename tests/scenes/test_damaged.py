"""Whatever a file holds, the program ends as a program ends: with an answer, or with one sentence and an exit code."""

import copy
import json
from collections.abc import Iterator
from pathlib import Path

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support import example
from tests.support.scenes.cluster import Ended, run
from tests.support.scenes.networks import NETWORKS

from kubemtu_lab import manifests

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([0, -1, 67, 68, 1450, 65535, 65536, 10**30]),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=20),
    st.sampled_from(
        ["", "0", "1450", "__CNI_MTU__", '{"plugins": []}', '{"plugins": [{"type": "calico"}]}', "{", "[]"]
    ),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)
DROPPED = object()


def places(value: object, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Every place in a document."""
    yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, held in inner:
        yield from places(held, (*path, key))


def put(root: object, path: tuple[str | int, ...], value: object) -> object:
    """The document with another value at a place, or with nothing there."""
    if not path:
        return value
    here = copy.copy(root)
    assert isinstance(here, dict | list)
    if value is DROPPED and len(path) == 1:
        del here[path[0]]  # type: ignore[arg-type]  # the path is of this document
    else:
        here[path[0]] = put(here[path[0]], path[1:], value)  # type: ignore[index]  # the same
    return here


@st.composite
def damaged(draw: st.DrawFn) -> list[object]:
    """The manifests of a good network with one or two values replaced by anything, or taken away."""
    cni = draw(st.sampled_from(list(NETWORKS.values())))
    objects: object = json.loads(json.dumps(list(manifests.network(cni))))
    for _ in range(draw(st.integers(1, 2))):
        listed = [path for path in places(objects) if path]
        objects = put(objects, draw(st.sampled_from(listed)), draw(VALUES | st.just(DROPPED)))
    assert isinstance(objects, list)
    return objects


@st.composite
def damaged_text(draw: st.DrawFn) -> list[object]:
    """The manifests of a good network with the text of one key cut, or with anything put into it."""
    cni = draw(st.sampled_from(list(NETWORKS.values())))
    objects = json.loads(json.dumps(list(manifests.network(cni))))
    (config,) = (body for body in objects if body["kind"] == "ConfigMap")
    key = draw(st.sampled_from(sorted(config["data"])))
    text = config["data"][key]
    low = draw(st.integers(0, len(text)))
    high = draw(st.integers(low, min(len(text), low + 20)))
    config["data"][key] = text[:low] + draw(st.text(max_size=6) | SCALARS.map(json.dumps)) + text[high:]
    return list(objects)


def stands(ended: Ended, codes: set[int]) -> None:
    """It ended as a program ends: an exit code of the list, and one sentence where there is no answer."""
    assert ended.code in codes, ended
    if ended.code not in (0, 1):
        assert ended.out == ""
        assert ended.err.startswith("error: ")
    if ended.code in (0, 1) and ended.out.startswith("{"):
        json.loads(ended.out)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(objects=damaged() | damaged_text())
def test_no_manifest_however_damaged_brings_the_program_down(tmp_path: Path, objects: list[object]) -> None:
    file = tmp_path / "manifests.json"
    file.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))
    stands(run("check", "-o", "json", "--from", file, "--nic-mtu", "1500"), {0, 1, 2, 5, 6})
    stands(run("plan", "-o", "json", "--from", file, "--nic-mtu", "1500"), {0, 2, 5, 6})
    stands(run("check", "--from", file), {0, 1, 5, 6})


@st.composite
def damaged_snapshot(draw: st.DrawFn) -> object:
    """What was read of a cluster and saved, with one or two values replaced by anything, or taken away."""
    whole = example.cluster()
    saved: object = msgspec.to_builtins(msgspec.structs.replace(whole, objects=(*example.canal(), *whole.objects)))
    for _ in range(draw(st.integers(1, 2))):
        listed = [path for path in places(saved) if path]
        saved = put(saved, draw(st.sampled_from(listed)), draw(VALUES | st.just(DROPPED)))
    return saved


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(snapshot=damaged_snapshot())
def test_no_saved_snapshot_however_damaged_brings_the_program_down(tmp_path: Path, snapshot: object) -> None:
    file = tmp_path / "snapshot.json"
    file.write_text(json.dumps(snapshot))
    stands(run("check", "--from", file), {0, 1, 5, 6})
    stands(run("plan", "-o", "json", "--from", file), {0, 2, 5, 6})
