"""What programs read: the same values as JSON or YAML, chosen by kubectl's `-o`.

Text for people is each command's own; this module only prints values. YAML is imported when it is asked for, because a
kubectl plug-in is called in loops.
"""

import os
import sys
from collections.abc import Callable
from typing import Any, TypeVar

import click
import msgspec

from kubemtu.cli import terminal
from kubemtu.core.text import printable

C = TypeVar("C", bound=Callable[..., Any])


def output_option(command: C) -> C:
    """Add `-o/--output text|json|yaml` to a command, which gets it as the parameter `output_format`.

    The command's colours are also settled here, by `colour`, for everything that it prints with `terminal.echo`.
    """
    return option("text", *WRITERS)(command)


def option(*formats: str) -> Callable[[C], C]:
    """Add `-o/--output` with just these formats, the first by default; what is no key of WRITERS the command prints."""
    return click.option(
        "-o",
        "--output",
        "output_format",
        type=click.Choice(formats),
        default=formats[0],
        show_default=True,
        callback=_settled,
        help="How to print: for people, or for programs.",
    )


def emit(value: object, output_format: str) -> None:
    """Print msgspec Structs and builtins to stdout as UTF-8, JSON indented by two, whatever the terminal's encoding."""
    terminal.write(WRITERS[output_format](value))


def _json(value: object) -> bytes:
    return msgspec.json.format(printable.encode(value), indent=2) + b"\n"


def _yaml(value: object) -> bytes:
    """Encode a value as YAML; where it holds what a terminal may obey, in ASCII, so that it is written as escapes."""
    try:
        text = msgspec.yaml.encode(value)
    except UnicodeEncodeError:
        pass
    else:
        if not printable.CONTROL.search(text.decode()):
            return text
    import yaml

    made: bytes = yaml.dump(printable.whole(value), Dumper=yaml.SafeDumper, sort_keys=False, encoding="utf-8")
    return made


WRITERS: dict[str, Callable[[object], bytes]] = {"json": _json, "yaml": _yaml}


def colour() -> bool:
    """Say whether to colour stdout: a terminal reads it, and NO_COLOR is not set (https://no-color.org)."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")


def _settled(ctx: click.Context, _parameter: click.Parameter, value: str) -> str:
    ctx.color = colour()
    return value
