"""One value of one object in somebody's file of manifests: every other byte is theirs."""

import difflib

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from kubemtu.core.errors import Malformed
from kubemtu.core.text import manifest_edit

ITEMS = ("DaemonSet", "agent", None)
HEAD = "kind: DaemonSet\nmetadata: {name: agent}  # mine\n"
# what stands there, and the lines that come between the two parts
ADDED: dict[str, tuple[str, str, str]] = {
    "lines": (
        "env:\n  - name: A   # first\n    value: '1'  # one\n",
        "  - name: B\n    value: '1500'\n",
        "  # - name: OLD\nargs: [x]\n",
    ),
    "at the margin, more spaces": ('env:\n-   name: A\n    value: "1"\n', '-   name: B\n    value: "1500"\n', "z: 1\n"),
    "a nested value last": (
        "env:\n- name: A\n  valueFrom:\n    fieldRef:\n      fieldPath: spec.nodeName\n",
        '- name: B\n  value: "1500"\n',
        "\n\nz: 1\n",
    ),
    "braces on lines": ('env:\n- {name: A, value: "1"} # x\n', '- {name: B, value: "1500"}\n', "z: 1\n"),
    "braces on one line": ('env: [{name: A, value: "1"}', ', {name: B, value: "1500"}', "] # x\n"),
    "JSON": ('env: [{"name": "A", "value": "1"}', ', {"name": "B", "value": "1500"}', "]\n"),
    "Windows' line ends": ("env:\r\n- name: A\r\n  value: x\r\n", '- name: B\r\n  value: "1500"\r\n', "z: 1\r\n"),
    "no end of the last line": ("env:\n- name: A\n  value: x", '\n- name: B\n  value: "1500"\n', ""),
    "another document behind": ("env:\n- name: A\n  value: x\n", '- name: B\n  value: "1500"\n', "---\nkind: Pod\n"),
    "a block of text last": ("env:\n- name: A\n  value: |\n    x\n", '- name: B\n  value: "1500"\n', "z: 1\n"),
}


@pytest.mark.parametrize("case", ADDED)
def test_an_item_comes_behind_the_last_one_as_that_is_written(case: str) -> None:
    before, added, after = ADDED[case]
    made = manifest_edit.add_item(f"{HEAD}{before}{after}", ITEMS, ("env", 1), {"name": "B", "value": "1500"})
    assert made == f"{HEAD}{before}{added}{after}"
    read = next(iter(yaml.safe_load_all(made)))
    assert read["env"][1] == {"name": "B", "value": "1500"}


@pytest.mark.parametrize(
    ("body", "number"),
    [
        ("env: []\n", 0),
        ("z: 1\n", 0),
        ("env:\n- name: A\n  value: x\n", 2),  # not the next one
        ("env:\n- name: A\n  value: x\n", 0),
        ("env:\n- A\n", 1),
        ('env: [\n  {"name": "A",\n   "value": "1"}\n]\n', 1),
        ('env: [\n  {"name": "A", "value": "1"}\n]\n', 1),
    ],
)
def test_where_no_item_can_be_added_without_a_doubt_nothing_is(body: str, number: int) -> None:
    assert manifest_edit.add_item(HEAD + body, ITEMS, ("env", number), {"name": "B", "value": "1"}) is None


NAME = ("ConfigMap", "canal-config", "kube-system")
JSON = '{\n  "name": "x",\n  "mtu": 1500, "a": 1500\n}'
FILE = """# mine
apiVersion: v1
kind: ConfigMap
metadata: {name: canal-config, namespace: kube-system}   # keep
data:
  # the pods' MTU
  veth_mtu: "1450"  # because
  single: '1450'
  plain: 1450
  quoted: "{\\"mtu\\": 1450, \\"a\\": 1450}"
  folded: >-
    {"mtu": 1450,
    "b": 1450}
  text: |-
    {
      "name": "x",
      "mtu": 1500, "a": 1500
    }
---
kind: ConfigMap
apiVersion: v1
metadata: {name: another, namespace: kube-system}
data: {veth_mtu: "1450"}
"""


def edited(path: str, before: str | int | None, after: str | int | None, text: str = FILE) -> list[str]:
    """Edit data.PATH and return the lines that differ, as a diff shows them."""
    changed = manifest_edit.set_value(text, NAME, ("data", path), before, after)
    lines = difflib.ndiff(text.splitlines(keepends=True), changed.splitlines(keepends=True))
    return [line for line in lines if line[:2] in {"- ", "+ "}]


@pytest.mark.parametrize(
    ("path", "before", "after", "lines"),
    [
        ("veth_mtu", "1450", "1400", ['-   veth_mtu: "1450"  # because\n', '+   veth_mtu: "1400"  # because\n']),
        ("single", "1450", "8950", ["-   single: '1450'\n", "+   single: '8950'\n"]),
        ("plain", 1450, 1390, ["-   plain: 1450\n", "+   plain: 1390\n"]),
        (
            "quoted",
            '{"mtu": 1450, "a": 1450}',
            '{"mtu": 1450, "a": 1400}',
            [
                '-   quoted: "{\\"mtu\\": 1450, \\"a\\": 1450}"\n',
                '+   quoted: "{\\"mtu\\": 1450, \\"a\\": 1400}"\n',
            ],
        ),
        (
            "folded",
            '{"mtu": 1450, "b": 1450}',
            '{"mtu": 1450, "b": 1400}',
            ['-     "b": 1450}\n', '+     "b": 1400}\n'],
        ),
        (
            "text",
            JSON,
            JSON.replace('"a": 1500', '"a": 1450'),
            ['-       "mtu": 1500, "a": 1500\n', '+       "mtu": 1500, "a": 1450\n'],
        ),
        ("text", JSON, JSON.replace('"x",', '"x",\n  "z": 1,'), ['+       "z": 1,\n']),
        ("canal_iface", None, "", ['+   canal_iface: ""\n']),
    ],
)
def test_one_value_changes(path: str, before: str | int | None, after: str | int, lines: list[str]) -> None:
    assert edited(path, before, after) == lines


def test_line_ends_of_windows_stay() -> None:
    windows = FILE.replace("\n", "\r\n")
    assert edited("text", JSON, JSON.replace('"x",', '"x",\n  "z": 1,'), windows) == ['+       "z": 1,\r\n']


def test_an_item_of_a_list() -> None:
    listed = "kind: List\napiVersion: v1\nitems:\n- kind: Node\n  metadata: {name: canal-config}\n- " + "  ".join(
        FILE.split("---", maxsplit=1)[0].removeprefix("# mine\n").splitlines(keepends=True)
    )
    changed = manifest_edit.set_value(listed, NAME, ("data", "veth_mtu"), "1450", "1400")
    assert changed == listed.replace('veth_mtu: "1450"', 'veth_mtu: "1400"')


def test_an_argument_of_a_container() -> None:
    text = (
        "kind: DaemonSet\nmetadata:\n  name: cni  # no namespace: any\n"
        "spec:\n  template:\n    spec:\n      containers:\n"
        "      - name: cni\n        args:\n        - --a=1400\n        - --mtu=1400   # here\n"
    )
    path = ("spec", "template", "spec", "containers", 0, "args", 1)
    changed = manifest_edit.set_value(text, ("DaemonSet", "cni", "kube-system"), path, "--mtu=1400", "--mtu=1450")
    assert changed == text.replace("--mtu=1400", "--mtu=1450")


@pytest.mark.parametrize(
    ("text", "path", "before", "said"),
    [
        (
            FILE,
            "veth_mtu",
            "1500",
            "does not hold what the plan starts from at data.veth_mtu",
        ),
        (FILE.replace("canal-config", "x"), "veth_mtu", "1450", "holds no ConfigMap canal-config"),
        (FILE + "---\n" + FILE, "veth_mtu", "1450", "holds ConfigMap canal-config 2 times: leave one"),
        (FILE.replace("data:", "data: {"), "veth_mtu", "1450", "this is no YAML"),
        (FILE.replace("# keep", "&here"), "veth_mtu", "1450", "no YAML"),
    ],
)
def test_what_is_refused(text: str, path: str, before: str, said: str) -> None:
    with pytest.raises(Malformed, match=said):
        edited(path, before, "1400", text)


@given(
    st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), max_size=40),
    st.sampled_from(["'", '"', None, "|", ">"]),
    st.integers(1, 99999),
)
def test_whatever_stands_around_it_stays_or_it_is_refused(around: str, style: str | None, number: int) -> None:
    value = f"{around} 1450 {around}"
    document = {"kind": "ConfigMap", "metadata": {"name": "canal-config"}, "data": {"a": value, "b": "1450"}}
    text = yaml.dump(document, default_style=style, allow_unicode=True)
    after = f"{around} {number} {around}"
    try:
        changed = manifest_edit.set_value(text, NAME, ("data", "a"), value, after)
    except Malformed:
        return  # never a mangled file
    document["data"] = {"a": after, "b": "1450"}
    assert yaml.safe_load(changed) == document
