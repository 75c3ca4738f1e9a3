"""The two patch formats of the RFCs: their own examples, and the laws that hold for every document."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubemtu_lab.api import patch
from kubemtu_lab.api.errors import Refusal

# RFC 7386, Appendix A: original, patch, result.
MERGE_EXAMPLES = [
    ('{"a":"b"}', '{"a":"c"}', '{"a":"c"}'),
    ('{"a":"b"}', '{"b":"c"}', '{"a":"b","b":"c"}'),
    ('{"a":"b"}', '{"a":null}', "{}"),
    ('{"a":"b","b":"c"}', '{"a":null}', '{"b":"c"}'),
    ('{"a":["b"]}', '{"a":"c"}', '{"a":"c"}'),
    ('{"a":"c"}', '{"a":["b"]}', '{"a":["b"]}'),
    ('{"a":{"b":"c"}}', '{"a":{"b":"d","c":null}}', '{"a":{"b":"d"}}'),
    ('{"a":[{"b":"c"}]}', '{"a":[1]}', '{"a":[1]}'),
    ('["a","b"]', '["c","d"]', '["c","d"]'),
    ('{"a":"b"}', '["c"]', '["c"]'),
    ('{"a":"foo"}', "null", "null"),
    ('{"a":"foo"}', '"bar"', '"bar"'),
    ('{"e":null}', '{"a":1}', '{"e":null,"a":1}'),
    ("[1,2]", '{"a":"b","c":null}', '{"a":"b"}'),
    ("{}", '{"a":{"bb":{"ccc":null}}}', '{"a":{"bb":{}}}'),
]

# RFC 6902, Appendix A, the sections whose patch applies: original, patch, result.
JSON_EXAMPLES = {
    "A.1 adding an object member": (
        '{"foo":"bar"}',
        '[{"op":"add","path":"/baz","value":"qux"}]',
        '{"baz":"qux","foo":"bar"}',
    ),
    "A.2 adding an array element": (
        '{"foo":["bar","baz"]}',
        '[{"op":"add","path":"/foo/1","value":"qux"}]',
        '{"foo":["bar","qux","baz"]}',
    ),
    "A.3 removing an object member": (
        '{"baz":"qux","foo":"bar"}',
        '[{"op":"remove","path":"/baz"}]',
        '{"foo":"bar"}',
    ),
    "A.4 removing an array element": (
        '{"foo":["bar","qux","baz"]}',
        '[{"op":"remove","path":"/foo/1"}]',
        '{"foo":["bar","baz"]}',
    ),
    "A.5 replacing a value": (
        '{"baz":"qux","foo":"bar"}',
        '[{"op":"replace","path":"/baz","value":"boo"}]',
        '{"baz":"boo","foo":"bar"}',
    ),
    "A.6 moving a value": (
        '{"foo":{"bar":"baz","waldo":"fred"},"qux":{"corge":"grault"}}',
        '[{"op":"move","from":"/foo/waldo","path":"/qux/thud"}]',
        '{"foo":{"bar":"baz"},"qux":{"corge":"grault","thud":"fred"}}',
    ),
    "A.7 moving an array element": (
        '{"foo":["all","grass","cows","eat"]}',
        '[{"op":"move","from":"/foo/1","path":"/foo/3"}]',
        '{"foo":["all","cows","eat","grass"]}',
    ),
    "A.8 testing a value: success": (
        '{"baz":"qux","foo":["a",2,"c"]}',
        '[{"op":"test","path":"/baz","value":"qux"},{"op":"test","path":"/foo/1","value":2}]',
        '{"baz":"qux","foo":["a",2,"c"]}',
    ),
    "A.10 adding a nested member object": (
        '{"foo":"bar"}',
        '[{"op":"add","path":"/child","value":{"grandchild":{}}}]',
        '{"foo":"bar","child":{"grandchild":{}}}',
    ),
    "A.11 ignoring unrecognized elements": (
        '{"foo":"bar"}',
        '[{"op":"add","path":"/baz","value":"qux","xyz":123}]',
        '{"foo":"bar","baz":"qux"}',
    ),
    "A.14 ~ escape ordering": (
        '{"/":9,"~1":10}',
        '[{"op":"test","path":"/~01","value":10}]',
        '{"/":9,"~1":10}',
    ),
    "A.16 adding an array value": (
        '{"foo":["bar"]}',
        '[{"op":"add","path":"/foo/-","value":["abc","def"]}]',
        '{"foo":["bar",["abc","def"]]}',
    ),
    "4.5 copying a value": (
        '{"foo":{"bar":1}}',
        '[{"op":"copy","from":"/foo","path":"/baz"},{"op":"replace","path":"/baz/bar","value":2}]',
        '{"foo":{"bar":1},"baz":{"bar":2}}',
    ),
    "4.1 adding the whole document": ('{"foo":1}', '[{"op":"add","path":"","value":[]}]', "[]"),
}

# RFC 6902, Appendix A and section 4, what must fail: original, patch, code.
JSON_FAILURES = {
    "A.9 testing a value: error": ('{"baz":"qux"}', '[{"op":"test","path":"/baz","value":"bar"}]', 422),
    "A.12 adding to a nonexistent target": ('{"foo":"bar"}', '[{"op":"add","path":"/baz/bat","value":"qux"}]', 422),
    "A.15 comparing strings and numbers": ('{"/":9,"~1":10}', '[{"op":"test","path":"/~01","value":"10"}]', 422),
    "4.1 index beyond the end": ('{"foo":[1]}', '[{"op":"add","path":"/foo/2","value":1}]', 422),
    "4.2 removing nothing": ("{}", '[{"op":"remove","path":"/foo"}]', 422),
    "4.3 replacing nothing in a list": ('{"foo":[]}', '[{"op":"replace","path":"/foo/0","value":1}]', 422),
    "4.4 moving into itself": ('{"a":{"b":{}}}', '[{"op":"move","from":"/a","path":"/a/b"}]', 422),
    "4.6 true is no number": ('{"a":1}', '[{"op":"test","path":"/a","value":true}]', 422),
    "RFC 6901 leading zero": ('{"foo":[1,2]}', '[{"op":"remove","path":"/foo/01"}]', 422),
    "an unknown operation": ("{}", '[{"op":"increment","path":"/a"}]', 422),
    "no value": ("{}", '[{"op":"add","path":"/a"}]', 422),
    "no path": ("{}", '[{"op":"add","value":1}]', 400),
    "no pointer": ("{}", '[{"op":"add","path":"a","value":1}]', 400),
    "not a list": ("{}", '{"op":"add"}', 400),
}

scalars = st.none() | st.booleans() | st.integers() | st.text(max_size=5)
documents = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
    max_leaves=12,
)
objects = st.dictionaries(st.text(max_size=3), documents, max_size=4)


def without_nulls(document: object) -> object:
    """As kube-apiserver has it: of the objects in lists, too."""
    if isinstance(document, dict):
        return {key: without_nulls(value) for key, value in document.items() if value is not None}
    return [without_nulls(each) for each in document] if isinstance(document, list) else document


@pytest.mark.parametrize(("original", "change", "result"), MERGE_EXAMPLES)
def test_merge_patch_does_what_appendix_a_of_rfc_7386_shows(original: str, change: str, result: str) -> None:
    assert patch.merge(json.loads(original), json.loads(change)) == json.loads(result)


@settings(max_examples=40, deadline=None)
@given(documents, documents)
def test_a_merge_patch_applied_twice_changes_nothing_more(target: object, change: object) -> None:
    once = patch.merge(target, change)
    assert patch.merge(once, change) == once


@settings(max_examples=40, deadline=None)
@given(objects)
def test_an_empty_merge_patch_changes_no_object(target: dict[str, object]) -> None:
    assert patch.merge(target, {}) == target


@settings(max_examples=40, deadline=None)
@given(documents, documents)
def test_a_document_without_nulls_in_objects_is_a_patch_to_itself(target: object, wanted: object) -> None:
    replaced = patch.merge(None if isinstance(wanted, dict) else target, wanted)
    assert replaced == without_nulls(wanted)


@settings(max_examples=40, deadline=None)
@given(documents, documents)
def test_merging_changes_neither_argument(target: object, change: object) -> None:
    before = json.dumps([target, change])
    merged = patch.merge(target, change)
    if isinstance(merged, dict):
        merged["intruder"] = 1
    assert json.dumps([target, change]) == before


@pytest.mark.parametrize("name", JSON_EXAMPLES)
def test_json_patch_does_what_rfc_6902_shows(name: str) -> None:
    original, change, result = map(json.loads, JSON_EXAMPLES[name])
    assert patch.json_patch(original, change) == result


@pytest.mark.parametrize("name", JSON_FAILURES)
def test_json_patch_refuses_what_rfc_6902_forbids(name: str) -> None:
    original, change, code = JSON_FAILURES[name]
    with pytest.raises(Refusal) as refused:
        patch.json_patch(json.loads(original), json.loads(change))
    assert refused.value.code == code


def test_replacing_a_member_that_is_not_there_adds_it_as_kube_apiserver_does() -> None:
    assert patch.json_patch({}, [{"op": "replace", "path": "/foo", "value": 1}]) == {"foo": 1}


def test_a_failing_operation_undoes_those_before_it() -> None:
    target = {"a": 1}
    operations = [{"op": "replace", "path": "/a", "value": 2}, {"op": "test", "path": "/a", "value": 3}]
    with pytest.raises(Refusal):
        patch.json_patch(target, operations)
    assert target == {"a": 1}


@settings(max_examples=40, deadline=None)
@given(objects, st.text(max_size=3), documents)
def test_add_then_remove_leaves_an_object_as_it_was(target: dict[str, object], key: str, value: object) -> None:
    path = "/" + key.replace("~", "~0").replace("/", "~1")
    target.pop(key, None)
    operations = [{"op": "add", "path": path, "value": value}, {"op": "remove", "path": path}]
    assert patch.json_patch(target, operations) == target
