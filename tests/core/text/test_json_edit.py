"""Edits of one integer in JSON text: what changes, what must not, and what is refused."""

import json
import re
from pathlib import Path
from typing import TypeAlias

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.shapes import KINDS, Kind

from kubemtu.core.errors import Malformed, UsageError
from kubemtu.core.text.json_edit import MtuMember, read_member, read_plugin_mtu, set_member, set_plugin_mtu
from kubemtu.core.text.json_spans import parse

FEEDS = {"__CNI_MTU__": "the ConfigMap key veth_mtu", "__MTU__": "the variable POD_MTU or AWS_VPC_ENI_MTU"}

CANAL_2018 = """{
  "name": "k8s-pod-network",
  "cniVersion": "0.3.0",
  "plugins": [
    {
      "type": "calico",
      "log_level": "WARNING",
      "nodename": "__KUBERNETES_NODE_NAME__",
      "ipam": {
        "type": "host-local",
        "subnet": "usePodCidr"
      }
    },
    {
      "type": "portmap",
      "capabilities": {"portMappings": true}
    }
  ]
}
"""
CANAL_2018_AT_1450 = CANAL_2018.replace('"type": "calico",\n', '"type": "calico",\n      "mtu": 1450,\n')


def test_an_absent_mtu_is_added_behind_the_type_where_rancher_writes_it() -> None:
    assert read_plugin_mtu(CANAL_2018, "calico") == MtuMember(kind="absent", plugin=0)
    assert set_plugin_mtu(CANAL_2018, "calico", 1450) == CANAL_2018_AT_1450


def test_a_present_integer_is_replaced_and_nothing_else() -> None:
    assert read_plugin_mtu(CANAL_2018_AT_1450, "calico") == MtuMember(kind="integer", value=1450, raw="1450", plugin=0)
    assert set_plugin_mtu(CANAL_2018_AT_1450, "calico", 8950) == CANAL_2018_AT_1450.replace("1450", "8950")
    assert set_plugin_mtu(CANAL_2018_AT_1450, "calico", 1450) == CANAL_2018_AT_1450


def test_every_other_plugin_of_the_list_can_be_named() -> None:
    assert read_plugin_mtu(CANAL_2018, "portmap").plugin == 1
    assert '"type": "portmap",\n      "mtu": 1400,\n' in set_plugin_mtu(CANAL_2018, "portmap", 1400)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('{"type":"calico"}', '{"type":"calico","mtu":1450}'),
        ('{"type": "calico"}', '{"type": "calico", "mtu": 1450}'),
        ('{ "type" : "calico" }', '{ "type" : "calico", "mtu" : 1450 }'),
        ('{"type":"calico","a":1}', '{"type":"calico","mtu":1450,"a":1}'),
        ('{"a":1, "type":"calico"}', '{"a":1, "type":"calico", "mtu":1450}'),
        ('{"type":"calico","mtu":"1450"}', '{"type":"calico","mtu":1450}'),
        ('{"type":"calico","mtu":""}', '{"type":"calico","mtu":1450}'),
        ('{"type":"calico","mtu":-1}', '{"type":"calico","mtu":1450}'),
        ('{"type":"calico","mtu":null}', '{"type":"calico","mtu":1450}'),
        ('{"type":"calico","mtu":0}', '{"type":"calico","mtu":1450}'),
        ('{"type":"calico","MTU":9}', '{"type":"calico","MTU":1450}'),
        ('{"type":"calico","\\u006dtu":9}', '{"type":"calico","\\u006dtu":1450}'),
        ('{"typ\\u0065":"cal\\u0069co","a":1}', '{"typ\\u0065":"cal\\u0069co","mtu":1450,"a":1}'),
        ('{"Type":"calico","a":1}', '{"Type":"calico","mtu":1450,"a":1}'),
        ('{\r\n  "type": "calico"\r\n}', '{\r\n  "type": "calico",\r\n  "mtu": 1450\r\n}'),
        ('{\r\n\t"a": 1,\r\n\t"type": "calico"}', '{\r\n\t"a": 1,\r\n\t"type": "calico",\r\n\t"mtu": 1450}'),
        ('{"a": 1\n,\n"type"\n:\n"calico"}', '{"a": 1\n,\n"type"\n:\n"calico"\n,\n"mtu"\n:\n1450}'),
        ('{ "type": "calico"\n  , "a": 1}', '{ "type": "calico"\n  , "mtu": 1450\n  , "a": 1}'),
        ('{"type": "calico",\r\n\r\n \r\n  "a": 1}', '{"type": "calico",\r\n  "mtu": 1450,\r\n\r\n \r\n  "a": 1}'),
        ('{"plugins":[{"type":"calico"}]}', '{"plugins":[{"type":"calico","mtu":1450}]}'),
        (
            '{"plugins":[{"type":"x","mtu":1},{"type":"calico","ipam":{"type":"calico","mtu":2}}]}',
            '{"plugins":[{"type":"x","mtu":1},{"type":"calico","mtu":1450,"ipam":{"type":"calico","mtu":2}}]}',
        ),
        ('{"type":"calico","a":__A_1__,"b":"Ω\\ud83d"}', '{"type":"calico","mtu":1450,"a":__A_1__,"b":"Ω\\ud83d"}'),
    ],
)
def test_the_new_member_looks_like_its_neighbours(before: str, after: str) -> None:
    assert set_plugin_mtu(before, "calico", 1450) == after


@pytest.mark.parametrize(
    ("value", "placeholder", "fed_from"),
    [
        ("__CNI_MTU__", "__CNI_MTU__", "the ConfigMap key veth_mtu: change that instead"),
        ('"__CNI_MTU__"', "__CNI_MTU__", "the ConfigMap key veth_mtu"),
        ('"__MTU__"', "__MTU__", "POD_MTU or AWS_VPC_ENI_MTU"),
        ("__SOME_OTHER_1__", "__SOME_OTHER_1__", "another key or variable"),
    ],
)
def test_a_placeholder_is_read_and_its_source_named_instead_of_being_overwritten(
    value: str, placeholder: str, fed_from: str
) -> None:
    text = f'{{"type": "calico", "mtu": {value}}}'
    assert read_plugin_mtu(text, "calico") == MtuMember(
        kind="placeholder", placeholder=placeholder, raw=value, plugin=0
    )
    with pytest.raises(Malformed, match=f"line 1, column 27: .*{re.escape(placeholder)}.*{re.escape(fed_from)}"):
        set_plugin_mtu(text, "calico", 1450, feeds=FEEDS)


def test_what_stands_there_is_told_apart() -> None:
    def kind(value: str) -> str:
        return read_plugin_mtu(f'{{"type": "calico", "mtu": {value}}}', "calico").kind

    assert kind("1450") == kind("-1") == kind("9223372036854775807") == "integer"
    assert kind('"1450"') == kind('""') == "string"
    assert kind("1450.0") == kind("1e3") == kind("null") == kind("true") == kind("{}") == kind("[1450]") == "other"
    assert read_plugin_mtu('{"type": "calico", "mtu": "1450"}', "calico").raw == '"1450"'


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "line 1, column 1: it ends where a value must stand"),
        ("\ufeff{}", "stands where a value must stand"),
        ("{", "line 1, column 2: it ends where a key in double quotes must stand"),
        ('{"type": "calico"', "it ends where ',' or '}' must stand"),
        ('{"type": "calico"} x', "'x' stands where the end must stand"),
        ('{"type": "calico",}', "a comma without a member behind it"),
        ('{"plugins": [1, ]}', "a comma without a member behind it"),
        ('{\n  // the node\n  "type": "calico"}', "line 2, column 3: a comment stands there"),
        ('{"type": /* x */ "calico"}', "a comment stands there"),
        ('{"type": "calico" # x\n}', "a comment stands there"),
        ('{"type" "calico"}', "'\"' stands where ':' must stand"),
        ("{'type': 'calico'}", "stands where a key in double quotes must stand"),
        ('{type: "calico"}', "'t' stands where a key in double quotes must stand"),
        ('{"type": "calico", "mtu": }', "'}' stands where a value must stand"),
        ('{"type": "calico", "mtu": 01450}', "'1' stands where ',' or '}' must stand"),
        ('{"type": "calico", "mtu": 1450px}', "'p' stands where"),
        ('{"type": "calico", "mtu": __CNI_MTU}', "'_' stands where a value must stand"),
        ('{"type": "calico", "mtu": __CNI_MTU___}', "'_' stands where ',' or '}' must stand"),
        ('{"type": "calico", "mtu": $MTU}', "'$' stands where a value must stand"),
        ('{"type": "calico", "mtu": NaN}', "'N' stands where a value must stand"),
        ('{"type": "calico", "a": nul}', "'n' stands where a value must stand"),
        ('{"type": "calico", "a": nulls}', "'s' stands where ',' or '}' must stand"),
        ('{"type": "cal\nico"}', "a string that ends on its line"),
        ('{"type": "\\x"}', "with valid escapes"),
        ('{"plugins": [{"type": "calico"} {"type": "x"}]}', "'{' stands where ',' or ']' must stand"),
        ("[]", "here must stand an object, not an array"),
        ('"calico"', 'here must stand an object, not "calico"'),
        ('{"plugins": {"type": "calico"}}', '"plugins" must be a list of plugins, not an object'),
        ('{"plugins": __PLUGINS__}', '"plugins" must be a list of plugins, not __PLUGINS__'),
        ('{"plugins": ["calico"]}', 'here must stand an object, not "calico"'),
        ('{"plugins": ["' + "x" * 50 + '"]}', 'not "' + "x" * 36 + "..."),
        ('{"plugins": []}', 'none of its plugins has the type "calico"'),
        ('{"plugins": [{"type": "Calico"}, {"type": __T__}, {}]}', 'none of its plugins has the type "calico"'),
        (
            '{"plugins": [{"type": "calico"},\n {"type": "calico"}]}',
            'line 2, column 2: a second plugin of type "calico"',
        ),
        ('{"plugins": [], "plugins": []}', '"plugins" stands here a second time'),
        ('{"type": "calico", "type": "calico"}', '"type" stands here a second time'),
        ('{"type": "calico",\n"mtu": 1,\n"mtu": 2}', 'line 3, column 1: "mtu" stands here a second time, after line 2'),
        ('{"type": "calico", "mtu": 1, "MTU": 1}', '"mtu" stands here a second time'),
        ('{"type": "calico", "mtu": 1, "m\\u0074u": 1}', '"mtu" stands here a second time'),
        ('{"type": "calico", "mtu": 9223372036854775808}', "is larger than any program here can hold"),
        (
            '{"type": "calico", "mtu": ' + "9" * 5000 + "}",
            "the number 9999999999999999999999999999999999999... is larger",
        ),
        ('{"type": "calico", "mtu": 1450.0}', '"mtu" must be an integer, not 1450.0: correct it there'),
        ('{"type": "calico", "mtu": {"a": 1}}', '"mtu" must be an integer, not an object'),
        ('{"type": "calico", "a": ' + "[" * 100_000, "it nests deeper than 64 levels"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_its_place(text: str, sentence: str) -> None:
    with pytest.raises(Malformed) as caught:
        set_plugin_mtu(text, "calico", 1450, source="cni_network_config of canal-config")
    assert sentence in str(caught.value)
    assert str(caught.value).startswith("In cni_network_config of canal-config, line ")


def test_nesting_is_accepted_up_to_its_bound() -> None:
    assert parse("[" * 64 + "]" * 64).kind == "array"
    with pytest.raises(Malformed):
        parse("[" * 65 + "]" * 65)


@pytest.mark.parametrize("mtu", [-1, 65536, 10**30])
def test_a_number_that_is_no_mtu_is_refused(mtu: int) -> None:
    with pytest.raises(UsageError, match="cannot be written to the CNI configuration: give one from 0 to 65535"):
        set_plugin_mtu('{"type": "calico"}', "calico", mtu)


def test_flannels_backend_mtu_is_read_and_set_by_path() -> None:
    text = '{\n  "Network": "10.42.0.0/16",\n  "Backend": {\n    "Type": "vxlan"\n  }\n}\n'
    path = ("Backend", "MTU")
    assert read_member(text, path).kind == "absent"
    changed = set_member(text, path, 9000)
    assert changed == text.replace('"vxlan"\n', '"vxlan",\n    "MTU": 9000\n')
    assert read_member(changed, path).value == 9000
    assert set_member(changed, path, 1500) == changed.replace("9000", "1500")


def test_keys_fold_as_go_folds_them_only_when_asked() -> None:
    text = '{"BACKEND":{"mtu":1500}}'
    assert read_member(text, ("Backend", "MTU"), fold=True).value == 1500
    assert set_member(text, ("Backend", "MTU"), 9000, fold=True) == '{"BACKEND":{"mtu":9000}}'
    assert read_member(text, ("Backend", "MTU")).kind == "absent"
    assert read_member(text, ("BACKEND", "MTU")).kind == "absent"
    assert (
        read_member('{"Bac\N{KELVIN SIGN}end":1,"\N{LATIN SMALL LETTER LONG S}":2}', ("backend",), fold=True).value == 1
    )
    assert read_member('{"\N{LATIN SMALL LETTER LONG S}":2}', ("S",), fold=True).value == 2
    assert set_member('{"Backend": {"mtu": 1}}', ("Backend", "MTU"), 9) == '{"Backend": {"mtu": 1, "MTU": 9}}'


def test_an_empty_object_gets_its_first_member() -> None:
    assert set_member("{}", ("MTU",), 1500) == '{"MTU": 1500}'
    assert set_member('{"Backend": {\n}}', ("Backend", "MTU"), 1500) == '{"Backend": {"MTU": 1500\n}}'


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("{}", 'this object has no "Backend", which must be there first'),
        ('{"Backend": "vxlan"}', 'here must stand an object, not "vxlan"'),
        ('{"Backend": {}, "Backend": {}}', '"Backend" stands here a second time'),
        ('{"Backend": {"MTU": false}}', '"MTU" must be an integer, not false'),
    ],
)
def test_a_path_that_leads_nowhere_is_refused(text: str, sentence: str) -> None:
    with pytest.raises(Malformed, match=sentence):
        set_member(text, ("Backend", "MTU"), 1500)


# ---- properties ----

Pairs: TypeAlias = list[tuple[str, "Value"]]
Value: TypeAlias = "str | int | float | bool | list[Value] | Pairs | None"

# A slow machine is no fault of the code: no deadline for one example.
patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

SPACES = st.sampled_from(["", " ", "\n", "\r\n", "\t", "  ", "\n    ", "\r\n\t\t", "\n\n  "])
PLACEHOLDERS = st.sampled_from(["__CNI_MTU__", "__KUBERNETES_NODE_NAME__", "__A__", "__X_9__"])
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)


@st.composite
def strings(draw: st.DrawFn, source: st.SearchStrategy[str] = TEXTS) -> str:
    """Write one string in one of the many ways that JSON has for it."""
    written = []
    for character in draw(source):
        escaped = json.dumps(character)[1:-1] if ord(character) > 0xFFFF else f"\\u{ord(character):04x}"
        plain = json.dumps(character, ensure_ascii=False)[1:-1]
        written.append(draw(st.sampled_from([plain, plain, plain, escaped])))
    return '"' + "".join(written) + '"'


@st.composite
def listing(draw: st.DrawFn, parts: list[str], brackets: str) -> str:
    """Join elements with commas and arbitrary white space."""
    written = [draw(SPACES) + part + draw(SPACES) for part in parts]
    return brackets[0] + (",".join(written) if written else draw(SPACES)) + brackets[1]


@st.composite
def members(draw: st.DrawFn, key: str, value: str) -> str:
    return key + draw(SPACES) + ":" + draw(SPACES) + value


NUMBERS = st.one_of(
    st.integers(-(10**12), 10**12).map(str), st.floats(allow_nan=False, allow_infinity=False).map(json.dumps)
)
SCALARS = st.one_of(strings(), PLACEHOLDERS, NUMBERS, st.sampled_from(["true", "false", "null", '"__CNI_MTU__"']))
OTHER_KEYS = strings(TEXTS.filter(lambda key: key.lower() not in {"mtu", "type", "plugins"}))
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).flatmap(lambda parts: listing(parts, "[]")),
        st.lists(st.tuples(strings(), inner).flatmap(lambda pair: members(*pair)), max_size=3).flatmap(
            lambda parts: listing(parts, "{}")
        ),
    ),
    max_leaves=6,
)


@st.composite
def plugins(draw: st.DrawFn, kind: str, mtu: str | None) -> str:
    written = draw(
        st.lists(st.tuples(OTHER_KEYS, VALUES).flatmap(lambda pair: members(*pair)), max_size=3),
    )
    written.append(draw(members(draw(strings(st.just("type"))), draw(strings(st.just(kind))))))
    if mtu is not None:
        written.append(draw(members(draw(strings(st.sampled_from(["mtu", "mtu", "MTU", "Mtu"]))), mtu)))
    return draw(listing(draw(st.permutations(written)), "{}"))


@st.composite
def conflists(draw: st.DrawFn, mtu: str | None) -> str:
    """Render a conflist, or a bare plugin, whose calico plugin has this mtu."""
    calico = draw(plugins("calico", mtu))
    if draw(st.integers(0, 4)) == 0:
        return draw(SPACES) + calico + draw(SPACES)
    others = draw(st.lists(plugins("portmap", draw(st.sampled_from([None, "1400"]))), max_size=2))
    listed = draw(listing(draw(st.permutations([calico, *others])), "[]"))
    written = draw(st.lists(st.tuples(OTHER_KEYS, VALUES).flatmap(lambda pair: members(*pair)), max_size=2))
    written.append(draw(members(draw(strings(st.just("plugins"))), listed)))
    return draw(SPACES) + draw(listing(draw(st.permutations(written)), "{}")) + draw(SPACES)


class Object(list[tuple[str, "Value"]]):
    """The members of one object, in order, duplicates included."""


def loads(text: str) -> Value:
    """Read as the installer and Go do: substitute, then strict JSON; keep duplicates and order."""
    loaded: Value = json.loads(
        re.sub(r"__[A-Z0-9_]+__", "7", text),
        object_pairs_hook=Object,
        parse_constant=lambda word: pytest.fail(f"{word} is not JSON"),
        parse_int=lambda digits: digits,
    )
    return loaded


def without_mtu(value: Value, number: str | None = None) -> Value:
    """Take the calico plugin's mtu out of a conflist, after seeing that it is `number` when one is given."""
    if not isinstance(value, Object):
        assert isinstance(value, list)
        return [without_mtu(item, number) for item in value]  # type: ignore[arg-type]  # a list holds values
    if any(key == "plugins" for key, _ in value):
        return Object([(key, without_mtu(item, number) if key == "plugins" else item) for key, item in value])
    if ("type", "calico") not in [(key.lower(), item) for key, item in value]:
        return value
    found = [item for key, item in value if key.lower() == "mtu"]
    if number is not None:
        assert found == [number]
    return Object([(key, item) for key, item in value if key.lower() != "mtu"])


def assert_one_contiguous_change(old: str, new: str) -> None:
    """See that the texts differ in one place only: an insertion, or one token by another."""
    prefix = 0
    while prefix < min(len(old), len(new)) and old[prefix] == new[prefix]:
        prefix += 1
    suffix = 0
    while suffix < min(len(old), len(new)) - prefix and old[-1 - suffix] == new[-1 - suffix]:
        suffix += 1
    replaced = old[prefix : len(old) - suffix]
    assert re.fullmatch(r'"?[^"{}\[\]:,\n]*"?', replaced), replaced


MTUS = st.integers(0, 65535)


@patient
@given(text=conflists(None), mtu=MTUS)
def test_inserting_adds_exactly_one_member_to_any_conflist(text: str, mtu: int) -> None:
    assert read_plugin_mtu(text, "calico").kind == "absent"
    changed = set_plugin_mtu(text, "calico", mtu)
    assert read_plugin_mtu(changed, "calico").value == mtu
    assert without_mtu(loads(changed), str(mtu)) == loads(text)
    grown = len(changed) - len(text)
    assert any(changed[:at] + changed[at + grown :] == text for at in range(len(text)))


@patient
@given(data=st.data(), old=st.integers(-(2**63), 2**63 - 1), mtu=MTUS)
def test_replacing_changes_exactly_one_token_of_any_conflist(data: st.DataObject, old: int, mtu: int) -> None:
    text = data.draw(conflists(str(old)))
    assert read_plugin_mtu(text, "calico").value == old
    changed = set_plugin_mtu(text, "calico", mtu)
    assert set_plugin_mtu(changed, "calico", old % 65536) == set_plugin_mtu(text, "calico", old % 65536)
    assert without_mtu(loads(changed), str(mtu)) == without_mtu(loads(text), str(old))
    assert_one_contiguous_change(text, changed)


@patient
@given(text=conflists("__CNI_MTU__"), mtu=MTUS)
def test_a_placeholder_survives_in_any_conflist(text: str, mtu: int) -> None:
    assert read_plugin_mtu(text, "calico").placeholder == "__CNI_MTU__"
    with pytest.raises(Malformed, match="veth_mtu"):
        set_plugin_mtu(text, "calico", mtu, feeds=FEEDS)


NEAR_JSON = st.sampled_from([*'{}[]",:\\ \n\r\t_-+.0129eEAuntrfalsTypmM/*#\ufeff\x00', "//", "__A__", '"mtu":1,', "}}"])


@st.composite
def mutated(draw: st.DrawFn) -> str:
    """Render a conflist and damage it a little."""
    text = draw(conflists(draw(st.sampled_from([None, "1450", '"1450"', "__CNI_MTU__"]))))
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(text)))
        end = min(len(text), start + draw(st.integers(0, 3)))
        text = text[:start] + draw(st.one_of(st.just(""), NEAR_JSON)) + text[end:]
    return text


def _strict(text: str) -> bool:
    """Say whether Python's own parser takes the text, as strictly as Go's does."""

    def refuse(word: str) -> None:
        raise ValueError(word)

    try:
        json.loads(text, parse_constant=refuse, parse_int=str)
    except ValueError:
        return False
    return True


@patient
@given(text=st.one_of(mutated(), st.lists(NEAR_JSON, max_size=12).map("".join)))
def test_exactly_the_json_that_python_takes_is_taken(text: str) -> None:
    if "__" in text:
        text = re.sub(r"__", "", text)
    try:
        parse(text)
    except Malformed:
        assert not _strict(text)
    else:
        assert _strict(text)


@patient
@given(text=st.one_of(mutated(), st.text(max_size=20)), mtu=MTUS)
def test_damaged_text_is_changed_in_one_place_or_refused(text: str, mtu: int) -> None:
    try:
        changed = set_plugin_mtu(text, "calico", mtu)
    except Malformed as caught:
        refusal = str(caught)
    else:
        assert read_plugin_mtu(changed, "calico").value == mtu
        assert without_mtu(loads(changed), str(mtu)) == without_mtu(loads(text))
        assert_one_contiguous_change(text, changed)
        return
    assert re.match(r"In the CNI configuration, line \d+, column \d+: .*\.$", refusal, re.DOTALL)


@pytest.mark.parametrize(
    "text",
    [
        '{"type": "calico", "a": "' + "\\" * 1_000_001 + '"}',
        '{"type": "calico", "a": "' + "\\u0061" * 200_000,
        '{"type": "calico", "a": [' + "1," * 200_000 + "]}",
        '{"type": "calico", "a": ' + "__A_" * 200_000,
        " " * 1_000_000,
        '{"type": "calico", "a": ' + "1" * 1_000_000 + "e}",
    ],
)
def test_a_megabyte_of_nonsense_is_refused_and_not_chewed_on(text: str) -> None:
    with pytest.raises(Malformed):
        set_plugin_mtu(text, "calico", 1450)


# ---- manifests as they are deployed ----


def config_map(path: Path) -> dict[str, str]:
    documents = yaml.safe_load_all(path.read_text(encoding="utf-8"))
    found: dict[str, str] = next(doc["data"] for doc in documents if doc and doc["kind"] == "ConfigMap")
    return found


@pytest.mark.parametrize("kind", KINDS, ids=repr)
def test_the_edit_writes_what_rke_itself_renders(kind: Kind) -> None:
    default = config_map(kind("canal-b.yaml"))["cni_network_config"]
    rendered = config_map(kind("canal-b-1400.yaml"))["cni_network_config"]
    assert set_plugin_mtu(default, "calico", 1400) == rendered
    assert read_plugin_mtu(rendered, "calico").value == 1400


@pytest.mark.parametrize("kind", KINDS, ids=repr)
def test_every_era_of_canal_is_read_for_what_it_is(kind: Kind) -> None:
    kinds = {
        name: read_plugin_mtu(config_map(kind(name))["cni_network_config"], "calico").kind
        for name in (
            "canal-a.yaml",
            "canal-b-1400.yaml",
            "canal-c.yaml",
            "canal-text-mtu.yaml",
        )
    }
    assert list(kinds.values()) == ["absent", "integer", "placeholder", "string"]
    assert read_plugin_mtu(kind("aws.conflist").read_text(encoding="utf-8"), "aws-cni").placeholder
