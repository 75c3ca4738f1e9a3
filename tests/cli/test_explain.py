"""`kubemtu explain`: every code, by number or name, and a sentence for what is none."""

import json

import pytest

from kubemtu.cli import main
from kubemtu.core import codes


@pytest.mark.parametrize("word", ["MTU105", "mtu105", "veth-ends-differ", " Veth-Ends-Differ "])
def test_a_code_by_number_or_name(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["explain", word]) == 0
    out = capsys.readouterr().out
    assert out.startswith("MTU105 error  The two ends of a pod's interface have different MTUs\n")
    assert "See it yourself: " in out


def test_all_of_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["explain"]) == 0
    assert [line[:6] for line in capsys.readouterr().out.splitlines()] == [code.code for code in codes.CODES]


def test_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["explain", "MTU101", "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["name"] == "pod-mtu-above-path"


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("veth-end-differs", "do you mean MTU105"),
        ("nonsense", "`kubemtu explain` lists all, such as MTU101"),
        ("\x1b[31m", "there is no code '\\x1b[31m'"),
    ],
)
def test_what_is_no_code(word: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["explain", word]) == 2
    err = capsys.readouterr().err
    assert said in err
    assert "\x1b" not in err
