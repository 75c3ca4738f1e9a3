"""Edits of one scalar in YAML text: what changes, what must not, and what is refused."""

import copy
from typing import Any  # a YAML document is any mixture of builtins

import pytest
import yaml
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from tests.support.shapes import KINDS, Kind

from kubemtu.core.errors import Malformed
from kubemtu.core.text.yaml_edit import set_value

VETH = ("calico", "vethuMTU")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        # a value that is there
        ("calico:\n  vethuMTU: 1400\n", "calico:\n  vethuMTU: 1450\n"),
        ("calico:\n  vethuMTU: 1400   # why\n", "calico:\n  vethuMTU: 1450   # why\n"),
        ("calico:\n  vethuMTU: '1400'\n  a: 'b'\n", "calico:\n  vethuMTU: 1450\n  a: 'b'\n"),
        ("calico:\n  vethuMTU:\n  a: 1", "calico:\n  vethuMTU: 1450\n  a: 1"),
        ("calico:\n  vethuMTU:  # why\n", "calico:\n  vethuMTU: 1450  # why\n"),
        ("calico:\n  vethuMTU: ~\n", "calico:\n  vethuMTU: 1450\n"),
        ("calico: {vethuMTU: 1400, a: 1}", "calico: {vethuMTU: 1450, a: 1}"),
        ("calico: {vethuMTU: }", "calico: {vethuMTU: 1450 }"),
        ('{"calico":{"vethuMTU":1400}}', '{"calico":{"vethuMTU":1450}}'),
        ('"calico":\n  "vethuMTU": 1400', '"calico":\n  "vethuMTU": 1450'),
        ("calico:\r\n  vethuMTU: 1400\r\nz: 1\r\n", "calico:\r\n  vethuMTU: 1450\r\nz: 1\r\n"),
        ("---\ncalico:\n  vethuMTU: 1400\n...\n", "---\ncalico:\n  vethuMTU: 1450\n...\n"),
        ("\ufeffcalico:\n  vethuMTU: 1400", "\ufeffcalico:\n  vethuMTU: 1450"),
        # nothing at all
        ("", "calico:\n  vethuMTU: 1450\n"),
        ("\n", "\ncalico:\n  vethuMTU: 1450\n"),
        ("# why", "# why\ncalico:\n  vethuMTU: 1450\n"),
        ("# why\r\n", "# why\r\ncalico:\r\n  vethuMTU: 1450\r\n"),
        ("---\n", "---\ncalico:\n  vethuMTU: 1450\n"),
        ("~\n", "{calico: {vethuMTU: 1450}}\n"),
        ("{}\n", "{calico: {vethuMTU: 1450}}\n"),
        # a mapping without the key
        ("calico:\n  a: 1\nz: 1\n", "calico:\n  a: 1\n  vethuMTU: 1450\nz: 1\n"),
        ("calico:\n  a: 1  # why\n", "calico:\n  a: 1  # why\n  vethuMTU: 1450\n"),
        ("calico:\n  a:\nz: 1\n", "calico:\n  a:\n  vethuMTU: 1450\nz: 1\n"),
        ("calico:\n      a: 1", "calico:\n      a: 1\n      vethuMTU: 1450"),
        ("calico:\n  a:\n  - 1\n  - 2\n\n# why\nz: 1", "calico:\n  a:\n  - 1\n  - 2\n  vethuMTU: 1450\n\n# why\nz: 1"),
        ("calico:\n  a:\n    b: [1,\n  2]\nz: 1", "calico:\n  a:\n    b: [1,\n  2]\n  vethuMTU: 1450\nz: 1"),
        ("calico:\n  a: |\n    x\n\nz: 1", "calico:\n  a: |\n    x\n\n  vethuMTU: 1450\nz: 1"),
        ("calico:\n  a: |\n    x", "calico:\n  vethuMTU: 1450\n  a: |\n    x"),
        ("calico:\r\n  a: 1\r\nz: 1", "calico:\r\n  a: 1\r\n  vethuMTU: 1450\r\nz: 1"),
        ("calico: {a: 1}", "calico: {a: 1, vethuMTU: 1450}"),
        ("calico: { a: 1, }", "calico: { a: 1, vethuMTU: 1450, }"),
        ("calico: {a: }", "calico: {vethuMTU: 1450, a: }"),
        ('{"calico": {"a": 1}}', '{"calico": {"a": 1, "vethuMTU": 1450}}'),
        ("calico: {}", "calico: {vethuMTU: 1450}"),
        # no mapping yet
        ("calico:\n", "calico:\n  vethuMTU: 1450\n"),
        ("calico:  # why\nz:\n    a: 1\n", "calico:  # why\n    vethuMTU: 1450\nz:\n    a: 1\n"),
        ("calico: ~  # why", "calico: {vethuMTU: 1450}  # why"),
        ("{calico: , z: 1}", "{calico: {vethuMTU: 1450} , z: 1}"),
        ("z: 1", "z: 1\ncalico:\n  vethuMTU: 1450"),
        ("z:\n    a: 1\n", "z:\n    a: 1\ncalico:\n    vethuMTU: 1450\n"),
        ("{z: 1}", "{z: 1, calico: {vethuMTU: 1450}}"),
        ("a: 1\n...\n", "a: 1\ncalico:\n  vethuMTU: 1450\n...\n"),
    ],
)
def test_one_place_changes(before: str, after: str) -> None:
    assert set_value(before, VETH, 1450) == after
    assert yaml.safe_load(after)["calico"]["vethuMTU"] == 1450
    assert set_value(after, VETH, 1450) == after


def test_a_path_may_be_of_any_length() -> None:
    assert set_value("a: 1\n", ("MTU",), 1500) == "a: 1\nMTU: 1500\n"
    assert (
        set_value("installation: {}\n", ("installation", "calicoNetwork", "mtu"), 1450)
        == "installation: {calicoNetwork: {mtu: 1450}}\n"
    )
    assert set_value("? z\n: a: 1\n", ("z", "mtu"), 1450) == "? z\n: a: 1\n  mtu: 1450\n"
    assert set_value("installation:\n", ("installation", "calicoNetwork", "mtu"), 1450) == (
        "installation:\n  calicoNetwork:\n    mtu: 1450\n"
    )


def test_keys_that_need_quotes_get_them() -> None:
    assert set_value("", ("a b: c", "Ω"), 1) == '"a b: c":\n  "Ω": 1\n'
    assert yaml.safe_load(set_value("{}", ("1450",), 1)) == {"1450": 1}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("calico: &a {}\nz: *a\n", "line 1, column 9: an anchor or alias stands here"),
        ("z: *a\n", "line 1, column 4: an anchor or alias stands here"),
        ("calico:\n  <<: {a: 1}\n", 'line 2, column 3: a merge key "<<" stands here'),
        ("a: 1\n---\nb: 1\n", "line 2, column 1: a second document starts here"),
        ("calico: {}\nz:\n- a: 1\n  a: 2\n", "line 4, column 3: a key stands here a second time, after line 3"),
        ("calico: {}\n'calico': {}\n", "line 2, column 1: a key stands here a second time, after line 1"),
        ("{[1]: 2, [1]: 3}", "a key stands here a second time, after line 1"),
        ("\tcalico: {}", "line 1, column 1: this is no YAML (found character '\\t'"),
        ("calico:\n\tvethuMTU: 1\n", "line 2, column 1: this is no YAML"),
        ("calico: [1", "this is no YAML"),
        ("calico: {vethuMTU: 1}}", "this is no YAML"),
        ("calico: \x07", "character 9: YAML allows no such character"),
        ('calico: "\\UFFFFFFFF"', "this is no YAML"),
        ("%YAML " + "9" * 5000 + ".1\n---\n", "this is no YAML"),
        ("calico: " + "[" * 100_000, "it nests deeper than 64 levels"),
        ("- calico", "line 1, column 1: here must stand a mapping"),
        ("calico", "line 1, column 1: here must stand a mapping"),
        ("calico: 5", "line 1, column 9: here must stand a mapping"),
        ("calico:\n- vethuMTU: 1", "line 2, column 1: here must stand a mapping"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_its_place(text: str, sentence: str) -> None:
    with pytest.raises(Malformed) as caught:
        set_value(text, VETH, 1, source="valuesContent")
    assert sentence in str(caught.value)
    assert str(caught.value).startswith("In valuesContent")


@pytest.mark.parametrize("value", ["{a: 1}", "[1450]", "\n    a: 1"])
def test_a_collection_is_never_overwritten(value: str) -> None:
    text = f"calico:\n  vethuMTU: {value}\n"
    with pytest.raises(Malformed, match='"vethuMTU" must be a single value on its line'):
        set_value(text, VETH, 1450)


def test_a_block_scalar_is_never_overwritten() -> None:
    with pytest.raises(Malformed, match='line 2, column 13: "vethuMTU" must be a single value on its line'):
        set_value("calico:\n  vethuMTU: |\n    1450\n", VETH, 1450)


def test_a_number_without_end_is_replaced() -> None:
    assert set_value("calico: {vethuMTU: " + "9" * 5000 + "}", VETH, 1450) == "calico: {vethuMTU: 1450}"


@pytest.mark.parametrize("text", ["? z\n: 1\n", "calico: {vethuMTU}", "{calico}", "!!map {z: 1} # why\n---"])
def test_what_has_no_safe_place_is_refused(text: str) -> None:
    with pytest.raises(Malformed):
        set_value(text, VETH, 1450)


def test_the_refusal_says_what_to_write_by_hand() -> None:
    with pytest.raises(
        Malformed, match=r"calico.vethuMTU cannot be set in the YAML text .* write vethuMTU: 1450 there by hand"
    ):
        set_value("calico: {vethuMTU}", VETH, 1450)


# ---- properties ----

patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
# What PyYAML raises for text that composes, but of tags, dates or numbers which Python has no object for.
UNCONSTRUCTED = (yaml.YAMLError, ValueError, LookupError, AttributeError, TypeError)
KEYS = st.sampled_from(["calico", "vethuMTU", "flannel", "mtu", "a", "b", "it's", "yes", "x y", "Ω", "- x"])
SCALARS = st.one_of(
    st.integers(-5, 10**6),
    st.booleans(),
    st.none(),
    st.sampled_from(
        ["", "x", "#x", "a: b", "1450", "line\nline\n", "trail\n\n", " lead", "{", "*a", "&a", "~", "é\t."]
    ),
    st.text(st.characters(codec="utf-8"), max_size=5),
)
TREES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(KEYS, inner, max_size=4)),
    max_leaves=10,
)
MAPPINGS = st.dictionaries(KEYS, TREES, max_size=4)
VALUES = st.integers(0, 65535)


@st.composite
def texts(draw: st.DrawFn, documents: st.SearchStrategy[Any] = MAPPINGS) -> str:
    """Write a document in one of PyYAML's ways, with comments, blank lines and line breaks of some kind."""
    text: str = yaml.safe_dump(
        draw(documents),
        default_flow_style=draw(st.sampled_from([False, False, None, True])),
        default_style=draw(st.sampled_from([None, None, "|", '"', "'"])),
        indent=draw(st.sampled_from([2, 4, 7])),
        width=draw(st.sampled_from([4, 80])),
        allow_unicode=draw(st.booleans()),
        explicit_start=draw(st.booleans()),
        explicit_end=draw(st.booleans()),
        sort_keys=False,
    )
    before = yaml.safe_load(text)
    lines = text.split("\n")
    for place in sorted(draw(st.sets(st.integers(0, len(lines)), max_size=3)), reverse=True):
        candidate = [*lines[:place], draw(st.sampled_from(["", "# why", "      # why", "  "])), *lines[place:]]
        if _loads("\n".join(candidate)) == [before]:  # not inside a block scalar
            lines = candidate
    text = "\n".join(lines)
    return text if draw(st.booleans()) or _loads(text.replace("\n", "\r\n")) != [before] else text.replace("\n", "\r\n")


def _loads(text: str) -> list[Any]:
    try:
        return list(yaml.safe_load_all(text))
    except UNCONSTRUCTED:
        return []


def with_path(document: Any, path: tuple[str, ...], value: int) -> Any:
    """Set the path in a copy of a loaded document, as the product promises to."""
    changed = {} if document is None else copy.deepcopy(document)
    place = changed
    for key in path[:-1]:
        if place.get(key) is None:
            place[key] = {}
        place = place[key]
    place[path[-1]] = value
    return changed


def assert_one_contiguous_change(old: str, new: str) -> None:
    """See that nothing was lost but, at most, what stands inside one scalar."""
    prefix = 0
    while prefix < min(len(old), len(new)) and old[prefix] == new[prefix]:
        prefix += 1
    suffix = 0
    while suffix < min(len(old), len(new)) - prefix and old[-1 - suffix] == new[-1 - suffix]:
        suffix += 1
    end = len(old) - suffix
    if end > prefix:
        spans = [(node.start_mark.index, node.end_mark.index) for node in _scalars(yaml.compose(old, yaml.SafeLoader))]
        assert any(first <= prefix and end <= last for first, last in spans), old[prefix:end]


def _scalars(node: yaml.Node | None) -> list[yaml.Node]:
    if isinstance(node, yaml.ScalarNode):
        return [node]
    assert isinstance(node, yaml.CollectionNode)
    parts = [part for pair in node.value for part in pair] if isinstance(node, yaml.MappingNode) else node.value
    return [scalar for part in parts for scalar in _scalars(part)]


def settable(document: Any, path: tuple[str, ...]) -> bool:
    """Say whether the path leads through mappings, nulls or nothing to a single value."""
    for key in path:
        if document is None:
            return True
        if not isinstance(document, dict):
            return False
        document = document.get(key)
    return not isinstance(document, (dict, list))


PATHS = st.sampled_from([VETH, ("flannel", "mtu"), ("mtu",), ("a", "b", "mtu"), ("Ω", "it's")])


@patient
@given(text=texts(), path=PATHS, value=VALUES)
def test_exactly_the_path_changes_in_any_document(text: str, path: tuple[str, ...], value: int) -> None:
    document = yaml.safe_load(text)
    try:
        changed = set_value(text, path, value)
    except Malformed as caught:
        refusal = str(caught)
    else:
        assert settable(document, path)
        assert yaml.safe_load(changed) == with_path(document, path, value)
        assert_one_contiguous_change(text, changed)
        assert changed.count("# why") == text.count("# why")
        return
    # What could be set is refused only where a complex key or a block scalar leaves no safe place.
    assert not settable(document, path) or "? " in text or "|" in text, refusal


@patient
@given(document=MAPPINGS, path=PATHS, value=VALUES)
def test_plain_chart_values_are_never_refused(document: dict[str, Any], path: tuple[str, ...], value: int) -> None:
    assume(settable(document, path))
    text = yaml.safe_dump(document, sort_keys=False, allow_unicode=True)
    assume("? " not in text)
    assert yaml.safe_load(set_value(text, path, value)) == with_path(yaml.safe_load(text), path, value)


NEAR_YAML = st.sampled_from(
    [*"\n\r\t :-#{}[],?|>'\"&*!%~.x\ufeff\x85", "calico", "\n  ", ": ", "---\n", "<<: ", "!!int "]
)


@patient
@given(data=st.data(), value=VALUES)
def test_damaged_text_is_changed_in_that_place_or_refused(data: st.DataObject, value: int) -> None:
    text = data.draw(st.one_of(texts(), st.lists(NEAR_YAML, max_size=12).map("".join)))
    for _ in range(data.draw(st.integers(0, 3))):
        start = data.draw(st.integers(0, len(text)))
        text = text[:start] + data.draw(NEAR_YAML) + text[start + data.draw(st.integers(0, 2)) :]
    try:
        changed = set_value(text, VETH, value)
    except Malformed:
        return
    assert_one_contiguous_change(text, changed)
    try:
        before, after = yaml.safe_load(text), yaml.safe_load(changed)
    except UNCONSTRUCTED:
        return
    assert repr(after) == repr(with_path(before, VETH, value)) or after == with_path(before, VETH, value)


@pytest.mark.parametrize("kind", KINDS, ids=repr)
def test_chart_values_keep_their_comments(kind: Kind) -> None:
    def content(name: str) -> str:
        text: str = yaml.safe_load(kind(name).read_text(encoding="utf-8"))["spec"]["valuesContent"]
        return text

    given_without = content("rke2-canal-wireguard.yaml")
    changed = set_value(given_without, VETH, 1450)
    assert changed.startswith(given_without)
    assert changed.endswith("\ncalico:\n  vethuMTU: 1450")
    assert set_value(content("rke2-canal.yaml"), ("flannel", "mtu"), 1500) == content("rke2-canal.yaml").replace(
        "9000", "1500"
    )
