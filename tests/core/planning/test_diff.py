"""An edit in a few words."""

import pytest

from kubemtu.core import objects
from kubemtu.core.change import plan
from kubemtu.core.planning import diff
from kubemtu.core.text import yaml_edit

REF = objects.Ref(api_version="v1", kind="ConfigMap", plural="configmaps", namespace="kube-system", name="canal-config")
WITHOUT = '{\n  "type": "calico",\n  "log_level": "info"\n}\n'
WITH = '{\n  "type": "calico",\n  "mtu": 1450,\n  "log_level": "info"\n}\n'


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("1450", "8950", "key: 1450 → 8950"),
        (1450, 8950, "key: 1450 → 8950"),
        (None, "", 'key added, ""'),
        ("", None, "key taken away"),
        ("", "1450", 'key: "" → 1450'),
        (WITHOUT, WITH, 'key, 1 line added: "mtu": 1450'),
        (WITH, WITHOUT, 'key, 1 line removed: "mtu": 1450'),
        (WITH, WITH.replace("1450", "1350"), 'key, 1 line changed: "mtu": 1450 → "mtu": 1350'),
        (WITHOUT, WITH.replace("info", "debug"), 'key, 1 line removed: "log_level": "info" and 2 lines added'),
        (WITH, WITH.rstrip("\n"), "key: only its line ends differ"),
    ],
)
def test_what_is_said(before: str | int | None, after: str | int | None, said: str) -> None:
    edit = plan.EditValue(ref=REF, path=("data", "key"), before=before, after=after, why="why")
    assert diff.brief(edit) == said


def test_of_one_long_line_the_member_that_differs_is_shown() -> None:
    before = '{"name": "k8s-pod-network", "plugins": [{"type": "calico", "log_level": "WARNING", "mtu": 1500, "x": 1}]}'
    edit = plan.EditValue(ref=REF, path=("data", "key"), before=before, after=before.replace("1500", "1450"), why="why")
    assert diff.brief(edit) == 'key: "mtu": 1500, "x": 1}]} → "mtu": 1450, "x": 1}]}'


def test_long_lines_are_cut() -> None:
    edit = plan.EditValue(ref=REF, path=("data", "key"), before="x", after="y" * 200, why="why")
    assert diff.brief(edit) == f"key: x → {'y' * 59}…"


def test_a_new_item_of_a_list_is_shown_member_by_member() -> None:
    path = ("spec", "template", "spec", "containers", 0, "env", 2)
    edit = plan.EditValue(ref=REF, path=path, before=None, after={"name": "POD_MTU", "value": "1400"}, why="why")
    assert diff.brief(edit) == 'env[2] added, name: POD_MTU, value: "1400"'
    assert diff.unified(edit).splitlines()[-2:] == ["+name: POD_MTU", '+value: "1400"']


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("1480", 'value: "1480"'),  # the API refuses a number here: EnvVar.value is a string (k8s.io/api/core/v1)
        ("true", 'value: "true"'),
        ("", 'value: ""'),
        ("eni", "value: eni"),
        ("a: b", 'value: "a: b"'),
        ("two\nlines", 'value: "two\\nlines"'),
    ],
)
def test_a_text_is_shown_as_yaml_reads_it_as_one(text: str, line: str) -> None:
    assert yaml_edit.member("value", text) == line
