"""Control characters of others, made visible."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubemtu.core.text import printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("eth0", "eth0"),
        ("e\x1b]0;pwn\x07", r"e\x1b]0;pwn\x07"),
        ("a\rb\bc", r"a\x0db\x08c"),
        ("\x9b31m", r"\x9b31m"),  # C1: CSI in one character
        ("\x7f", r"\x7f"),
        ("user\u202egnp.exe", r"user\u202egnp.exe"),
        ("\u2066x\u2069", r"\u2066x\u2069"),
        ("a\u2028b", r"a\u2028b"),
        ("name\udcff.yaml", r"name\xff.yaml"),
        ("\ud800", r"\ud800"),
        ("\U000e0041", r"\U000e0041"),
        ("two\nlines\tand ü → 日本 🙂", "two\nlines\tand ü → 日本 🙂"),
    ],
)
def test_control_characters_are_written_out(text: str, shown: str) -> None:
    assert printable.printable(text) == shown


def test_a_cell_has_one_line() -> None:
    assert printable.one_line("node-1\n✓ all is well\x1b[2K") == r"node-1 ✓ all is well\x1b[2K"


@given(st.text(st.characters(), max_size=50))
def test_nothing_of_any_text_acts(text: str) -> None:
    shown = printable.printable(text)
    assert not printable.CONTROL.search(shown)
    assert shown.encode("utf-8").decode("utf-8") == shown
    assert all(char >= " " or char in "\n\t" for char in shown)


@given(st.recursive(st.text(st.characters(exclude_categories=["Cs"])), lambda inner: st.lists(inner, max_size=3)))
def test_json_says_the_same_in_escapes(value: object) -> None:
    made = printable.encode(value)
    assert json.loads(made) == value
    assert not printable.CONTROL.search(made.decode())


def test_json_has_no_lone_surrogates() -> None:
    assert msgspec.json.decode(printable.encode({"a\udcff": ["\ud800"]})) == {"a\ufffd": ["\ufffd"]}
    assert printable.encode("\U000e0041") == b'"\\udb40\\udc41"'
