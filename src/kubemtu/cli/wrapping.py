"""Text for any width: paragraphs, lists, lines. A width of None wraps nothing, so that a line stays one for grep."""

import shutil
import sys
import textwrap
from collections.abc import Iterable, Iterator, Sequence

from kubemtu.cli import terminal


def width() -> int | None:
    """Return the columns to wrap at; None where no terminal reads, so that a line stays one line for grep."""
    return max(shutil.get_terminal_size().columns, terminal.NARROWEST) if sys.stdout.isatty() else None


def numbered(items: Iterable[str], columns: int | None) -> Iterator[str]:
    """Return an ordered list."""
    for number, item in enumerate(items, 1):
        yield from wrapped(f"{number}. {item}", columns, indent=2, hang=3)


def bullets(items: Iterable[str], columns: int | None, indent: int = 2) -> Iterator[str]:
    """Return an unordered list."""
    for item in items:
        yield from wrapped(f"- {item}", columns, indent=indent, hang=2)


def aligned(rows: Sequence[Sequence[str]], *, indent: int = 0) -> list[str]:
    """Set rows of as many cells each in columns, two spaces apart; a line each, with the spaces at its end."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [" " * indent + "  ".join(cell.ljust(wide) for cell, wide in zip(row, widths, strict=True)) for row in rows]


def wrapped(
    text: str, columns: int | None, *, indent: int = 0, hang: int = 0, style: dict[str, str | bool] | None = None
) -> list[str]:
    """Break text into lines of at most `columns`; continuation lines hang `hang` deeper. Long words stay whole."""
    if columns is None:
        lines = [" " * indent + text.replace("\n", " ")]  # a line is a line, whoever wrote it
    else:
        lines = textwrap.wrap(
            text,
            columns,
            initial_indent=" " * indent,
            subsequent_indent=" " * (indent + hang),
            break_long_words=False,
            break_on_hyphens=False,
        )
    return [terminal.style(line, **style) for line in lines] if style else lines  # type: ignore[arg-type]  # click types each keyword


def say(text: str, *, bold: bool = False, err: bool = False) -> None:
    """Print a line; on a terminal it is broken between words, and goes on deeper."""
    for one in broken(text):
        terminal.echo(terminal.style(one, bold=True) if bold else one, err=err)


def aside(text: str, output_format: str) -> None:
    """Print a line for people: on stdout where that is text, else on stderr, beside what programs read."""
    say(text, err=output_format != "text")


def broken(text: str) -> list[str]:
    """Break a line as wide as the terminal is; what follows hangs deeper than the line's own indent."""
    bare = text.lstrip(" ")
    return wrapped(bare, width(), indent=len(text) - len(bare), hang=2)
