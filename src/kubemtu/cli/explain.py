"""`kubemtu explain`: what a code means, why it matters, and how to see it without kubemtu."""

import difflib

import click

from kubemtu.cli import terminal, wrapping
from kubemtu.cli.output import emit, output_option
from kubemtu.core import codes
from kubemtu.core.codes import Code
from kubemtu.core.errors import UsageError


@click.command()
@click.argument("code", required=False)
@output_option
def explain(code: str | None, output_format: str) -> int:
    """Say what CODE (MTU105, or its name) means, why it matters, and how to see it yourself; all of them without one.

    Needs no cluster.
    """
    found = find(code) if code is not None else codes.CODES
    if output_format != "text":
        emit(found, output_format)
    elif isinstance(found, Code):
        terminal.echo("\n\n".join(_paragraphs(found, wrapping.width())))
    else:
        terminal.echo("\n".join(line for each in found for line in _entry(each, wrapping.width())))
    return 0


def find(word: str) -> Code:
    """Return the code of that number or name, in any case. Raises UsageError, which names those that are alike."""
    sought = word.strip().lower()
    known = {name: code for code in codes.CODES for name in (code.code.lower(), code.name)}
    if sought in known:
        return known[sought]
    alike = dict.fromkeys(known[name] for name in difflib.get_close_matches(sought, known, n=3))
    named = " or ".join(f"{each.code} ({each.name})" for each in alike)
    raise UsageError(
        f"there is no code {word[:40]!r}"
        + (f"; do you mean {named}?" if alike else "; `kubemtu explain` lists all, such as MTU101")
    )


def _paragraphs(code: Code, columns: int | None) -> list[str]:
    head = f"{code.code} {code.severity}  {code.title}"
    return [
        "\n".join(wrapping.wrapped(head, columns, style={"bold": True}, hang=4)),
        "\n".join(wrapping.wrapped(code.why, columns, indent=2)),
        "\n".join(wrapping.wrapped(f"See it yourself: {code.verify}", columns, indent=2)),
    ]


def _entry(code: Code, columns: int | None) -> list[str]:
    return list(wrapping.wrapped(f"{code.code} {code.severity:<8} {code.title}", columns, hang=16))
