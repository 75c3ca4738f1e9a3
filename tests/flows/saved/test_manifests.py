"""Files as they come: several documents, lists, links, junk; each is read, or said in one sentence to be unreadable."""

import json
import os
import re
import textwrap
from pathlib import Path

import msgspec
import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.support.shapes import KINDS, Kind

from kubemtu.cni import registry
from kubemtu.core.errors import KubemtuError, Malformed, UsageError
from kubemtu.core.net import Link, NodeObservation
from kubemtu.core.objects import Object
from kubemtu.core.snapshot import Snapshot
from kubemtu.core.text import documents
from kubemtu.flows.saved import manifests, sources

ONE = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: one, namespace: kube-system}\n"


def write(path: Path, text: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else textwrap.dedent(text).encode())
    return path


def told(snapshot: Snapshot) -> list[tuple[str, str]]:
    return [(each.what, each.message) for each in snapshot.unread]


def test_one_file_of_several_documents(tmp_path: Path) -> None:
    text = """\
        # a comment first
        ---
        # another
        apiVersion: v1
        kind: ConfigMap
        metadata: {name: a}
        data:
          text: |
            --- this is no marker: it is indented
        ---
        ---
        apiVersion: v1
        kind: ConfigMap
        metadata: {name: b}
        ...
        """
    found = manifests.load(write(tmp_path / "m.yaml", text))
    assert found.offline
    assert found.source == f"file {tmp_path / 'm.yaml'}"
    assert [(each.name, each.origin) for each in found.objects] == [("a", "m.yaml:4"), ("b", "m.yaml:12")]
    assert found.objects[0].get("data", "text") == "--- this is no marker: it is indented\n"
    assert found.unread == ()


def test_a_folder_is_read_to_its_depth_in_order_without_what_is_hidden(tmp_path: Path) -> None:
    for name in ("b.yaml", "a.yml", "deep/er/c.yaml", ".git/d.yaml"):
        write(tmp_path / name, ONE.replace("one", Path(name).stem))
    write(tmp_path / "e.json", json.dumps({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n"}}))
    found = manifests.load(tmp_path)
    assert found.source == f"folder {tmp_path}"
    assert [each.name for each in found.objects] == ["a", "b", "n", "c"]
    assert found.objects[3].origin == "deep/er/c.yaml:1"


def test_lists_are_flattened_and_typed_ones_name_their_items(tmp_path: Path) -> None:
    text = """\
        apiVersion: v1
        kind: List
        items:
        - {apiVersion: v1, kind: Node, metadata: {name: n1}}
        - {apiVersion: v1, kind: List, items: [{apiVersion: v1, kind: Node, metadata: {name: n2}}]}
        - nothing
        ---
        apiVersion: projectcalico.org/v3
        kind: IPPoolList
        items: [{metadata: {name: p}}]
        ---
        {apiVersion: v1, kind: PodList, items: null}
        ---
        {apiVersion: x/v1, kind: AllowList, metadata: {name: mine}}
        """
    found = manifests.load(write(tmp_path / "m.yaml", text))
    assert [(each.kind, each.name, each.api_version) for each in found.objects] == [
        ("Node", "n1", "v1"),
        ("Node", "n2", "v1"),
        ("IPPool", "p", "projectcalico.org/v3"),
        ("AllowList", "mine", "x/v1"),
    ]
    assert told(found) == [("m.yaml:1, items[2]", "is a single value, not an object with apiVersion and kind")]


@pytest.mark.parametrize(
    ("text", "where", "message"),
    [
        ("just text", "m.yaml:5", "is a single value, not an object"),
        ("- a\n- b", "m.yaml:5", "is a list, not an object"),
        ("a: 1", "m.yaml:5", "it has no apiVersion and kind"),
        ("apiVersion: v1\nkind: [x]", "m.yaml:5", "it has no apiVersion and kind"),
        ("apiVersion: v1\nkind: A\nmetadata: x", "m.yaml:5", "is a A whose metadata is no mapping"),
        (
            "apiVersion: v1\nkind: A\nmetadata: {name: 5}",
            "m.yaml:5",
            "metadata.name is 5, not a string: put it in quotes",
        ),
        ("a: 1\nb: [", "m.yaml:7", "is no YAML"),
        ("a: 1\n\tb: 2", "m.yaml:6", "is no YAML"),
        ("a:\n  name: {{ .Values.name }}", "m.yaml:6", "render it first, as `helm template` does"),
        ("a: !Ref b", "m.yaml:5", "uses the tag !Ref"),
        ("a: *b", "m.yaml:5", "uses the alias *b before"),
        ("a: &b [*b]", "m.yaml:5", "uses the alias *b before"),
        ("? [x]\n: y", "m.yaml:5", "has a mapping or a list as a key"),
        ("<<: 5", "m.yaml:5", "merges something that is no mapping"),
        ("[" * 101, "m.yaml:5", "nests deeper than 100 levels"),
        ("[" * 200_000, "m.yaml:5", "nests deeper than 100 levels"),
        ("a: " + "9" * 5000, "m.yaml:5", "is no YAML"),
        ("a: b\0", "m.yaml:5", "is no YAML"),
    ],
)
def test_a_broken_document_hides_no_other(tmp_path: Path, text: str, where: str, message: str) -> None:
    whole = f"{ONE}---\n{text}\n---\n{ONE.replace('one', 'two')}"
    found = manifests.load(write(tmp_path / "m.yaml", whole))
    assert [each.name for each in found.objects] == ["one", "two"]
    ((what, said),) = told(found)
    assert what == where
    assert message in said
    assert "\n" not in said


def test_aliases_cannot_expand_without_end(tmp_path: Path) -> None:
    bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
        f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 12)
    )
    with pytest.raises(Malformed, match=r"m\.yaml:\d: holds more than 1500000 values, its aliases expanded"):
        manifests.load(write(tmp_path / "m.yaml", bomb))


def test_honest_aliases_and_merges_are_read(tmp_path: Path) -> None:
    text = ONE + "x: &x {a: 1, b: 2}\ny: *x\nz: {<<: *x, b: 3}\nw: {b: 4, <<: [*x, {c: 5}]}\n"
    (found,) = manifests.load(write(tmp_path / "m.yaml", text)).objects
    assert found.get("y") == {"a": 1, "b": 2}
    assert found.get("z") == {"a": 1, "b": 3}
    assert found.get("w") == {"a": 1, "b": 4, "c": 5}


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("2020-01-01", "2020-01-01"),
        ("22:22", "22:22"),
        ("yes", True),
        ("Off", False),
        ("~", None),
        ("", None),
        ("0x1f", 31),
        ("0o17", 15),
        ("017", 15),
        ("1_450", 1450),
        ("-3", -3),
        ("1.5", 1.5),
        ("1e3", 1000.0),
        ("1.2.3", "1.2.3"),
        ('"1450"', "1450"),
        ("'yes'", "yes"),
        ("!!str 1450", "1450"),
        ('!!int "1450"', 1450),
        ("+", "+"),
        ("0x", "0x"),
        ("089", "089"),
        ("v1.28", "v1.28"),
    ],
)
def test_scalars_are_what_kubernetes_makes_of_them(written: str, read: object) -> None:
    assert documents.read(f"a: {written}") == {"a": read}


def test_keys_are_text() -> None:
    assert documents.read("on: 1\n443: 2\nnull: 3\n1.5: 4") == {"true": 1, "443": 2, "null": 3, "1.5": 4}


# A number in YAML 1.2, and so for kubectl; PyYAML, whose rules are those of 1.1, writes such a text without quotes.
NUMBERS = re.compile(r"[-+]?(0o[0-7_]+|[0-9._]+[eE][-+]?[0-9]+)")
WORDS = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Zl", "Zp"]), max_size=20).filter(
    lambda word: not NUMBERS.fullmatch(word)
)
PLAIN = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**63), 2**63), WORDS),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(WORDS, inner, max_size=4)),
    max_leaves=20,
)


@settings(max_examples=300, deadline=None)
@given(value=PLAIN, style=st.sampled_from([None, '"', "'", "|"]), flow=st.booleans())
def test_what_yaml_writes_is_read_back(value: object, style: str | None, flow: bool) -> None:
    text = yaml.safe_dump(value, default_style=style, default_flow_style=flow, allow_unicode=True)
    assert documents.read(text) == value


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.text(max_size=200), st.text(alphabet="ab:-[]{}&*!|>'\"#,? \n\t<", max_size=60)))
@example('"0:\x850":\n- *\x85')
def test_any_text_is_read_or_refused_in_one_line(text: str) -> None:
    refused = []
    whole = list(documents.split(text))
    assert "".join(document for _, document in whole) in text or len(whole) > 1
    for line, document in whole:
        assert 1 <= line <= text.count("\n") + 1
        try:
            documents.read(document)
        except documents.Broken as why:
            refused.append((str(why), why.line <= document.count("\n") + 1))
    assert all(inside and message.isprintable() for message, inside in refused)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_encodings_that_tools_write(tmp_path: Path, encoding: str) -> None:
    (found,) = manifests.load(write(tmp_path / "m.yaml", ONE.encode(encoding))).objects
    assert found.name == "one"


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    broken = write(tmp_path / "m.yaml", b"a: 1\nb: \xe9\n")
    with pytest.raises(Malformed, match=r"m\.yaml is no text in UTF-8: line 2 holds the byte 0xe9"):
        manifests.load(broken)
    write(tmp_path / "n.yaml", ONE)
    assert told(manifests.load(tmp_path)) == [("m.yaml", "is no text in UTF-8: line 2 holds the byte 0xe9")]


@pytest.mark.parametrize(
    ("text", "where", "message"),
    [
        ('{"a": 1,}', "m.json:1", "is no JSON"),
        ('{\n"a": x}', "m.json:2", "is no JSON"),
        ("[" * 200_000, "m.json:1", "nests too deep"),
        ('{"a": ' + "9" * 5000 + "}", "m.json:1", "too many digits"),
        ('{"a": 1}', "m.json:1", "it has no apiVersion and kind"),
        ('{"a":' * 102 + "1" + "}" * 102, "m.json:1", "nests too deep: there are more than 100 levels"),
        ("[" * 700 + "]" * 700, "m.json:1", "nests too deep: there are more than 100 levels"),
    ],
)
def test_broken_json(tmp_path: Path, text: str, where: str, message: str) -> None:
    write(tmp_path / "m.json", text)
    write(tmp_path / "n.yaml", ONE)
    ((what, said),) = told(manifests.load(tmp_path))
    assert what == where
    assert message in said


def test_nothing_there_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file"):
        manifests.load(tmp_path / "gone.yaml")
    with pytest.raises(UsageError, match="holds no manifests"):
        manifests.load(tmp_path)


@pytest.mark.parametrize("text", ["", "# only a comment\n---\n# and another\n", "a: 1"])
def test_nothing_useful_is_malformed(tmp_path: Path, text: str) -> None:
    with pytest.raises(Malformed, match="holds no Kubernetes object"):
        manifests.load(write(tmp_path / "m.yaml", text))


def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    (tmp_path / "m.yaml").symlink_to("m.yaml")
    with pytest.raises(UsageError, match=r"m\.yaml cannot be read"):
        manifests.load(tmp_path / "m.yaml")
    write(tmp_path / "n.yaml", ONE)
    found = manifests.load(tmp_path)
    assert [each.name for each in found.objects] == ["one"]
    assert told(found) == [("m.yaml", "cannot be read: Too many levels of symbolic links")]


def test_links_are_followed_and_a_loop_is_said(tmp_path: Path) -> None:
    write(tmp_path / "real" / "m.yaml", ONE)
    (tmp_path / "real" / "up").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "link.yaml").symlink_to(tmp_path / "real" / "m.yaml")
    found = manifests.load(tmp_path / "folder")
    assert [each.name for each in found.objects] == ["one"]
    whole = manifests.load(tmp_path)
    assert ("up" in whole.unread[0].what, "is a link to a folder that was read already" in whole.unread[0].message) == (
        True,
        True,
    )


def test_a_file_that_is_too_large(tmp_path: Path) -> None:
    with (tmp_path / "m.yaml").open("wb") as stream:
        stream.truncate(64 * 1024 * 1024 + 1)
    with pytest.raises(Malformed, match="is larger than 64 MiB"):
        manifests.load(tmp_path / "m.yaml")


def test_a_pipe_is_read(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.write(writing, ONE.encode())
    os.close(writing)
    try:
        assert [each.name for each in manifests.load(Path(f"/dev/fd/{reading}")).objects] == ["one"]
    finally:
        os.close(reading)
    assert not list(tmp_path.iterdir())


def test_the_same_object_twice_is_said(tmp_path: Path) -> None:
    write(tmp_path / "a.yaml", ONE)
    write(tmp_path / "b.yaml", ONE + "data: {a: b}\n")
    write(tmp_path / "c.yaml", ONE)
    found = manifests.load(tmp_path)
    assert told(found) == [
        ("ConfigMap kube-system/one", "stands in a.yaml:1 and again in b.yaml:1: the first is taken")
    ]
    kept = found.find("ConfigMap", "one")
    assert kept is not None
    assert kept.origin == "a.yaml:1"


def test_files_of_nodes_become_nodes(tmp_path: Path) -> None:
    write(tmp_path / "worker-1.conflist", "{}")
    write(tmp_path / "k3s-flannel-conf.json", "{}")
    write(tmp_path / "n7" / "10-canal.conflist", '{"plugins": []}')
    write(tmp_path / "n7" / "subnet.env", "FLANNEL_MTU=1450\n")
    nodes = {each.node: {file.path: file.text for file in each.files} for each in manifests.load(tmp_path).nodes}
    assert nodes == {
        "worker-1": {"/etc/cni/net.d/worker-1.conflist": "{}"},
        "k3s-flannel-conf": {"/var/lib/rancher/k3s/agent/etc/flannel/net-conf.json": "{}"},
        "n7": {
            "/etc/cni/net.d/10-canal.conflist": '{"plugins": []}',
            "/run/flannel/subnet.env": "FLANNEL_MTU=1450\n",
        },
    }


def test_one_file_of_a_node_alone(tmp_path: Path) -> None:
    state = registry.recognise(manifests.load(write(tmp_path / "subnet.env", "FLANNEL_MTU=1450\n")))
    assert (state.name, state.pod_mtu) == ("flannel", 1450)


@pytest.mark.parametrize("name", ["saved.json", "saved.yaml"])
def test_a_saved_snapshot_replays(tmp_path: Path, name: str) -> None:
    saved = Snapshot(
        source="cluster c",
        objects=(Object.of({"kind": "Node", "apiVersion": "v1", "metadata": {"name": "n"}}),),
        nodes=(NodeObservation(node="n", links=(Link(index=1, name="eth0", mtu=1500),)),),
    )
    path = write(tmp_path / name, msgspec.json.encode(saved))
    assert manifests.load(path) == saved


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"schema": "kubemtu.io/snapshot/v9"}, "is a snapshot of another version"),
        ({"schema": "kubemtu.io/snapshot/v1"}, "is no snapshot that can be read"),
        ({"schema": "kubemtu.io/snapshot/v1", "source": 5}, "is no snapshot that can be read"),
    ],
)
def test_a_saved_snapshot_that_is_broken(tmp_path: Path, body: dict[str, object], message: str) -> None:
    with pytest.raises(Malformed, match=message):
        manifests.load(write(tmp_path / "s.json", json.dumps(body)))


@pytest.mark.parametrize("name", ["subnet.env", "net-conf.json"])
def test_a_node_is_not_called_as_its_only_file(tmp_path: Path, name: str) -> None:
    text = "FLANNEL_MTU=1450\n" if name == "subnet.env" else '{"Network": "10.42.0.0/16", "Backend": {"Type": "vxlan"}}'
    (tmp_path / "worker-3").mkdir()
    alone, below = write(tmp_path / name, text), write(tmp_path / "worker-3" / name, text)
    assert [each.node for each in manifests.load(alone).nodes] == [f"node of {name}"]
    assert [each.node for each in manifests.load(below.parent).nodes] == ["worker-3"]


@pytest.mark.parametrize("kind", KINDS, ids=repr)
def test_a_folder_of_manifests_is_read_whole(kind: Kind) -> None:
    found = manifests.load(kind.folder)
    files = ("aws.conflist", "k3s-net-conf.json")
    where = kind("subnet.env")  # no node is called "subnet"
    named = where.parent.name if where.name == "subnet.env" else where.stem
    assert {each.node for each in found.nodes} >= {named, *(kind(name).stem for name in files)}
    assert {"ConfigMap", "DaemonSet", "Installation", "HelmChartConfig", "FelixConfiguration"} <= {
        each.kind for each in found.objects
    }
    covered = [each for each in found.unread if not each.what.startswith(("cnis/", "printed/"))]  # networks to come
    assert all("the first is taken" in each.message for each in covered)


@pytest.mark.parametrize(
    "path",
    [path for kind in KINDS for path in kind.all() if path.suffix in (".yaml", ".yml")],
    ids=lambda path: path.name,
)
def test_manifests_are_what_pyyaml_makes_of_them(path: Path) -> None:
    expected = [body for body in yaml.safe_load_all(path.read_text()) if body]
    assert [each.body for each in manifests.load(path).objects] == expected


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_end_in_a_sentence(tmp_path_factory: pytest.TempPathFactory, junk: bytes) -> None:
    folder = tmp_path_factory.mktemp("junk")
    for name in ("m.yaml", "m.json", "m.conflist", "subnet.env"):
        path = write(folder / name, junk)
        try:
            said = manifests.load(path).source
        except KubemtuError as why:
            said = str(why)
        assert str(path) in said


@pytest.mark.parametrize("named", ["fifo.yaml", "/dev/zero", "/proc/self/mem", "/dev/null"])
def test_what_is_no_file_is_said(tmp_path: Path, named: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "PIPE_SECONDS", 0.1)
    os.mkfifo(tmp_path / "fifo.yaml")
    with pytest.raises(UsageError, match=r"is a pipe|is a device|is larger|cannot be read"):
        manifests.load(tmp_path / named)


def test_a_folder_of_the_kernel_and_pipes_below_a_folder_are_left_out(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.yaml")
    (tmp_path / "b").symlink_to("/proc/self")
    (tmp_path / "c.yaml").symlink_to("/dev/zero")
    (tmp_path / "d.yaml").write_text("apiVersion: v1\nkind: Pod\nmetadata: {name: a}\n")
    found = manifests.load(tmp_path)
    assert [one.name for one in found.objects] == ["a"]
    assert {(entry.what, entry.message) for entry in found.unread} == {
        ("a.yaml", "is a pipe, not a file"),
        ("b", "is a folder of the kernel (/proc, /sys), which holds no manifests"),
        ("c.yaml", "is a device, not a file"),
    }


def test_documents_and_values_are_counted(tmp_path: Path) -> None:
    (tmp_path / "many.yaml").write_text("---\na\n" * 100_000)
    (tmp_path / "lists.json").write_text("[" + "[]," * 2_000_000 + "[]]")
    (tmp_path / "text.yaml").write_text(
        f"a: &a [{'x' * 1000}]\n"
        + "".join(f"b{n}: &b{n} [{', '.join([f'*b{n - 1}' if n else '*a'] * 9)}]\n" for n in range(6))
    )
    (tmp_path / "d.yaml").write_text("apiVersion: v1\nkind: Pod\nmetadata: {name: a}\n")
    said = {entry.message for entry in manifests.load(tmp_path).unread}
    assert "is the 5000th document of this file; the rest was left out" in said
    assert "holds more than 2000000 values" in said
    assert "holds more than 67108864 characters, its aliases expanded" in said


def test_a_lone_surrogate_becomes_a_sign_that_can_be_saved(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(
        '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a\\ud800","namespace":"\\ud83d\\ude42"}}'
    )
    (found,) = manifests.load(path).objects
    assert (found.name, found.namespace) == ("a\ufffd", "🙂")
