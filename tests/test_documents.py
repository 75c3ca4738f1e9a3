"""What the documents name is there: tests by their files, commands with their options."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from kubemtu.cli import main

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "STYLE.md", *sorted((ROOT / "docs").glob("*.md"))]
NAMES = "|".join(main.COMMANDS)
COMMAND = re.compile(
    rf"`(?:\.venv/bin/)?(?:kubemtu|kubectl mtu) ([^`]+)`|^(?:\$ |\s*)kubemtu ((?:{NAMES})\b[^#\n]*)", re.MULTILINE
)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_test_that_is_named_is_there(document: Path) -> None:
    there = {path.name for room in ("tests", "lab/tests") for path in (ROOT / room).rglob("test_*.py")}
    named = set(re.findall(r"\b(test_\w+\.py)\b", document.read_text()))
    assert named - there == set()


def commands() -> Iterator[tuple[str, str]]:
    for document in DOCUMENTS:
        for found in COMMAND.finditer(document.read_text()):
            yield document.name, " ".join((found[1] or found[2]).split())


@pytest.mark.parametrize(("document", "line"), sorted(set(commands())))
def test_every_command_that_is_shown_has_its_options(document: str, line: str) -> None:
    line = line.partition(" -- ")[0]
    words = [word.rstrip(",") for word in shlex.split(line.replace("\\|", " ").replace("|", " "))]
    command: click.Command = main.cli
    while words and isinstance(command, click.Group):
        found = command.get_command(click.Context(command), words[0])
        if found is None:
            break
        command, words = found, words[1:]
    assert command is not main.cli or not words or words[0].startswith("-"), f"{document}: kubemtu {line}"
    options = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
    shown = {word.strip("[]").partition("=")[0] for word in words if word.lstrip("[").startswith("-")}
    assert shown - options - {"-h", "--help", "--"} == set(), f"{document}: kubemtu {line}"


def test_every_exit_code_is_told_in_the_readme_and_by_help() -> None:
    told = re.search(r"Exit codes: ([^.]+)\.", " ".join((ROOT / "README.md").read_text().split()))
    assert told is not None
    assert told[1] == (main.cli.epilog or "").removeprefix("Exit codes: ").rstrip(".")
    assert [int(word) for word in re.findall(r"\b\d+\b", told[1])] == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 70, 74, 130]
