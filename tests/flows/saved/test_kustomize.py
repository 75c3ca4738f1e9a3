"""Folders of a kustomization: what `kustomize build` would make of them, and what a patch alone is worth."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubemtu.core.errors import NotRecognised
from kubemtu.core.objects import Object
from kubemtu.core.snapshot import Snapshot
from kubemtu.flows import decide
from kubemtu.flows.saved import kustomize, manifests, patches

NET = json.dumps({"Network": "10.244.0.0/16", "Backend": {"Type": "vxlan"}})
CNI = json.dumps({"name": "cbr0", "cniVersion": "0.3.1", "plugins": [{"type": "flannel", "delegate": {}}]})
BASE = f"""\
apiVersion: v1
kind: ConfigMap
metadata: {{name: kube-flannel-cfg, namespace: kube-flannel}}
data:
  net-conf.json: '{NET}'
  cni-conf.json: '{CNI}'
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {{name: kube-flannel-ds, namespace: kube-flannel}}
spec:
  template:
    spec:
      containers:
      - name: kube-flannel
        image: flannel
        args: [--ip-masq, --kube-subnet-mgr]
        env: [{{name: A, value: "1"}}, {{name: B, value: "2"}}]
"""
MTU_1400 = NET.replace('"vxlan"', '"vxlan", "MTU": 1400')
STRATEGIC = f"""\
apiVersion: v1
kind: ConfigMap
metadata: {{name: kube-flannel-cfg, namespace: kube-flannel}}
data: {{net-conf.json: '{MTU_1400}'}}
"""
OPERATIONS = f"- op: replace\n  path: /data/net-conf.json\n  value: '{MTU_1400}'\n"
LITERAL = "'net-conf.json=" + MTU_1400 + "'"
TARGET = "{kind: ConfigMap, name: kube-flannel-cfg}"


def laid(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def conf(snapshot: Snapshot) -> object:
    found = snapshot.find("ConfigMap", "kube-flannel-cfg")
    assert found is not None
    text = found.get("data", "net-conf.json")
    assert isinstance(text, str)
    return json.loads(text)["Backend"].get("MTU")


@pytest.mark.parametrize(
    ("kustomization", "patch"),
    [
        ("patches: [{path: p.yaml}]", STRATEGIC),
        ("patchesStrategicMerge: [p.yaml]", STRATEGIC),
        (f"patches: [{{path: p.yaml, target: {TARGET}}}]", OPERATIONS),
        ("patches: [{path: p.yaml, target: {kind: ConfigMap, name: kube-.*}}]", OPERATIONS),
        (f"patchesJson6902: [{{path: p.yaml, target: {TARGET}}}]", OPERATIONS),
        (f"patches: [{{path: p.yaml, target: {TARGET}}}]", STRATEGIC.replace("kube-flannel-cfg", "any")),
        ("patches:\n- patch: |\n    " + STRATEGIC.replace("\n", "\n    "), ""),
        (f"patches:\n- target: {TARGET}\n  patch: |\n    " + OPERATIONS.replace("\n", "\n    "), ""),
        ("patchesStrategicMerge:\n- |\n  " + STRATEGIC.replace("\n", "\n  "), ""),
        (f"configMapGenerator:\n- {{name: kube-flannel-cfg, behavior: merge, literals: [{LITERAL}]}}", ""),
        ("configMapGenerator:\n- {name: kube-flannel-cfg, behavior: merge, files: [net-conf.json]}", MTU_1400),
    ],
)
def test_a_patch_takes_effect_in_whatever_way_it_is_named(tmp_path: Path, kustomization: str, patch: str) -> None:
    name = "net-conf.json" if "files:" in kustomization else "p.yaml"
    folder = laid(tmp_path, {"base.yaml": BASE, "kustomization.yaml": f"resources: [base.yaml]\n{kustomization}\n"})
    if patch:
        laid(folder, {name: patch})
    found = manifests.load(folder)
    assert conf(found) == 1400
    assert found.unread == ()
    assert [each.kind for each in found.objects] == ["ConfigMap", "DaemonSet"]


def test_lists_merge_by_name_and_what_is_deleted_goes(tmp_path: Path) -> None:
    patch = """\
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: kube-flannel-ds}
spec:
  template:
    spec:
      containers:
      - name: kube-flannel
        args: [--iface=eth1]
        env: [{name: B, $patch: delete}, {name: C, value: "3"}]
"""
    folder = laid(
        tmp_path,
        {"b.yaml": BASE, "k/p.yaml": patch, "kustomization.yaml": "resources: [b.yaml]\npatches: [{path: k/p.yaml}]"},
    )
    agent = manifests.load(folder).find("DaemonSet", "kube-flannel-ds")
    assert agent is not None
    assert agent.origin == "b.yaml:8, patched by k/p.yaml:1"
    (container,) = agent.each("spec", "template", "spec", "containers")
    assert container.body == {
        "name": "kube-flannel",
        "image": "flannel",
        "args": ["--iface=eth1"],
        "env": [{"name": "A", "value": "1"}, {"name": "C", "value": "3"}],
    }


OVERLAYS = {
    "base/kustomization.yaml": "resources: [flannel.yaml]\n",
    "base/flannel.yaml": BASE,
    "overlays/dev/kustomization.yaml": "resources: [../../base]\npatches: [{path: mtu.yaml}]\n",
    "overlays/dev/mtu.yaml": STRATEGIC.replace("1400", "1300"),
    "overlays/prod/kustomization.yaml": "resources: [../../base]\npatches: [{path: mtu.yaml}]\n",
    "overlays/prod/mtu.yaml": STRATEGIC,
}


@pytest.mark.parametrize(("overlay", "mtu"), [("dev", 1300), ("prod", 1400)])
def test_an_overlay_is_built_on_the_base_beside_it(tmp_path: Path, overlay: str, mtu: int) -> None:
    found = manifests.load(laid(tmp_path, OVERLAYS) / "overlays" / overlay)
    assert conf(found) == mtu
    assert [each.origin.partition(",")[0] for each in found.objects] == [
        "../../base/flannel.yaml:1",
        "../../base/flannel.yaml:8",
    ]
    assert found.unread == ()


def test_of_several_overlays_one_is_judged_and_the_others_are_named(tmp_path: Path) -> None:
    found = manifests.load(laid(tmp_path, OVERLAYS))
    assert conf(found) == 1300
    assert [(each.what, each.message) for each in found.unread] == [
        (
            "overlays/prod/kustomization.yaml:1",
            "is another overlay of what overlays/dev/kustomization.yaml:1 changes, which was judged: give one folder",
        )
    ]
    assert len(found.objects) == 2


def test_bases_that_name_each_other_end(tmp_path: Path) -> None:
    found = manifests.load(
        laid(
            tmp_path,
            {
                "kustomization.yaml": "resources: [a, b.yaml]",
                "a/kustomization.yaml": "resources: [../c, .]",
                "c/kustomization.yaml": "resources: [../a]",
                "b.yaml": BASE,
            },
        )
    )
    assert [each.kind for each in found.objects] == ["ConfigMap", "DaemonSet"]


@pytest.mark.parametrize("name", ["mtu.yaml", "mtu-patch.yaml"])
def test_a_strategic_patch_alone_is_judged_for_what_it_says(tmp_path: Path, name: str) -> None:
    files = {name: STRATEGIC}
    if name == "mtu.yaml":
        files["kustomization.yaml"] = "patches: [{path: mtu.yaml}]\nresources: [https://example.org/x?ref=v1]\n"
    report = decide.check(manifests.load(laid(tmp_path, files)))
    assert [(each.code, each.severity) for each in report.findings] == [("MTU117", "warning")]
    assert "this is a patch" in report.findings[0].message
    assert report.verdict == "incomplete"


def test_a_json_patch_alone_says_what_it_does(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text(
        '- {op: replace, path: /data/veth_mtu, value: "8950"}\n- {op: remove, path: /data/a}\n'
    )
    with pytest.raises(
        NotRecognised,
        match=r"p\.yaml:1 \(replace /data/veth_mtu '8950'; remove /data/a\) is a JSON 6902 patch, which names nothing",
    ) as raised:
        manifests.load(tmp_path / "p.yaml")
    assert raised.value.exit_code == 6  # nothing is wrong with it


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("namePrefix: my-", "is not added to names here"),
        ("nameSuffix: -x", "is not added to names here"),
        ("transformers: [t.yaml]", "runs plug-ins, which nothing here does"),
        ("helmCharts: [{name: c}]", "is a chart, which is not rendered here"),
        ("replacements: [{path: r.yaml}]", "puts values of one object into another"),
    ],
)
def test_what_is_not_done_is_said(tmp_path: Path, line: str, said: str) -> None:
    (tmp_path / "b.yaml").write_text("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n")
    (tmp_path / "kustomization.yaml").write_text(f"resources: [b.yaml]\n{line}\n")
    (entry,) = (each for each in manifests.load(tmp_path).unread if each.why == "not used")
    assert entry.what == f"kustomization.yaml:1, {line.partition(':')[0]}"
    assert said in entry.message
    assert "kustomize build" in entry.message


@pytest.mark.parametrize(
    ("remote", "named"),
    [
        ("https://me:hunter2@host/repository?ref=v1", "https://host/repository,"),
        ("git::https://me:hunter2/x@host/repository//base?ref=v1", "git::https://host/repository//base,"),
        ("git::ssh://git@host/repository?sshkey=hunter2", "git::ssh://host/repository,"),
        ("me:hunter2@host/repository?ref=v1", "host/repository,"),
        ("git@github.com:flannel-io/flannel", "github.com:flannel-io/flannel,"),
    ],
)
def test_a_remote_base_is_named_without_its_credentials(tmp_path: Path, remote: str, named: str) -> None:
    (tmp_path / "kustomization.yaml").write_text(f"resources: [b.yaml, {json.dumps(remote)}]\n")
    (tmp_path / "b.yaml").write_text("{apiVersion: v1, kind: ConfigMap, metadata: {name: b}}\n")
    (entry,) = manifests.load(tmp_path).unread
    assert f"is made of {named}" in entry.message
    assert "hunter2" not in entry.message


@pytest.mark.parametrize(
    ("kustomization", "said"),
    [
        (
            "resources: [b.yaml, 'github.com/flannel-io/flannel//Documentation?ref=v1']",
            "is not here: give `kustomize build` of it",
        ),
        (
            "resources: [b.yaml]\npatches: [{path: gone.yaml}]",
            "names the patch gone.yaml, which is not here or could not be read",
        ),
        (
            "resources: [b.yaml]\npatches: [{patch: '{a: [', target: {kind: ConfigMap}}]",
            "holds a patch that is no YAML",
        ),
        (
            f"resources: [b.yaml]\npatches: [{{target: {TARGET}, patch: '[{{op: remove, path: /data/no}}]'}}]",
            "nothing stands at /data/no",
        ),
        (
            "resources: [b.yaml]\nconfigMapGenerator: [{name: x, files: [gone]}]",
            "makes the ConfigMap x of gone, which is not here",
        ),
    ],
)
def test_what_a_kustomization_lacks_is_said(tmp_path: Path, kustomization: str, said: str) -> None:
    found = manifests.load(laid(tmp_path, {"b.yaml": BASE, "kustomization.yaml": kustomization}))
    assert any(said in each.message for each in found.unread), found.unread
    assert conf(found) is None


@pytest.mark.parametrize(
    ("operations", "expected"),
    [
        ([{"op": "add", "path": "/a/b~1c", "value": 1}], {"a": {"l": [1, 2], "b/c": 1}}),
        ([{"op": "add", "path": "/a/l/-", "value": 3}], {"a": {"l": [1, 2, 3]}}),
        ([{"op": "add", "path": "/a/l/0", "value": 0}], {"a": {"l": [0, 1, 2]}}),
        ([{"op": "remove", "path": "/a/l/1"}], {"a": {"l": [1]}}),
        ([{"op": "replace", "path": "/a/l/1", "value": 9}], {"a": {"l": [1, 9]}}),
        ([{"op": "test", "path": "/a/l/1", "value": 2}, {"op": "remove", "path": "/a"}], {}),
        ([{"op": "test", "path": "/a/l/1", "value": 3}], "another value stands at /a/l/1"),
        ([{"op": "replace", "path": "/x/y", "value": 3}], "nothing stands at /x/y"),
        ([{"op": "remove", "path": "/a/l/7"}], "no item stands at /a/l/7"),
        ([{"op": "remove", "path": ""}], "remove  is not done here"),
        ([{"op": "move", "path": "/a", "from": "/b"}], "move /a is not done here"),
    ],
)
def test_operations_of_rfc_6902(operations: list[dict[str, object]], expected: object) -> None:
    before: dict[str, object] = {"a": {"l": [1, 2]}}
    assert patches.applied(Object.of(before), operations) == expected
    assert before == {"a": {"l": [1, 2]}}


JSON = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.text(max_size=5), st.sampled_from(["$patch", "delete", "name"])
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(["a", "name", "$patch", "op", "path", "kind"]), inner, max_size=3),
    ),
    max_leaves=12,
)


@given(base=st.dictionaries(st.sampled_from(["a", "name"]), JSON, max_size=3), patch=JSON)
def test_any_patch_of_anything_ends_in_a_body_or_a_sentence(base: dict[str, object], patch: object) -> None:
    assert isinstance(patches.applied(Object.of(base), patch), dict | str)
    patches.fits(patches.target(patch, patch), Object.of(base))


def test_bases_of_bases_are_built_once_each(tmp_path: Path) -> None:
    files = {
        f"k{number}/kustomization.yaml": f"resources: [../k{number + 1}, ../k{number + 1}/, ../k{number + 2}]"
        for number in range(60)
    }
    files |= {
        "k60/kustomization.yaml": "resources: [b.yaml]\npatches: [{path: p.yaml}]",
        "k60/b.yaml": BASE,
        "k60/p.yaml": STRATEGIC,
    }
    assert conf(manifests.load(laid(tmp_path, files))) == 1400


def test_entries_and_patches_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inline = f"- {{target: {TARGET}, patch: '[{{op: add, path: /data/x, value: y}}]'}}\n"
    folder = laid(tmp_path, {"b.yaml": BASE, "kustomization.yaml": f"resources: [b.yaml]\npatches:\n{inline * 1001}"})
    assert [each.message for each in manifests.load(folder).unread] == [
        "lists more than 1000 patches; the rest was left out"
    ]
    monkeypatch.setattr(kustomize, "TRIED_MOST", 100)
    assert "has too many patches for too many objects; the rest was left out" in [
        each.message for each in manifests.load(folder).unread
    ]
