"""The one way to stdout and stderr: what others wrote is made printable here, and a reader that goes ends nothing.

Colours are ours: `style` marks them with a word that nobody else can know, so an ESC in a name is text, and only a mark
becomes an ESC again. Output that cannot be written (a pipe whose reader has gone, a full disk) never ends a command in
the middle of what it does: it is said once on stderr, and the command goes on.
"""

import contextlib
import errno
import io
import os
import re
import sys
from typing import IO, TextIO

import click

from kubemtu.core.text import printable

PLAIN = str.maketrans("✓✗▸→·−…⇄━–", "+x>>--.=--")
NARROWEST = 40  # columns that lines are broken at, at least
_MARK = f"\ue0e0{os.urandom(4).hex()}"  # of the private use area, and as good as impossible to guess
_MARKED = re.compile(rf"{_MARK}([0-9;]*[mK])")
_SGR = re.compile(r"\x1b\[([0-9;]*m)")


class _Lost:
    """What became of stdout in this run: why it cannot be written to, None while it can."""

    why: OSError | None = None
    acting: bool = False


def begin() -> None:
    """Begin a run: give file descriptors 0 to 2 to /dev/null where they are closed, and forget what was lost before.

    Otherwise the next file or socket that is opened would be stdout, and would be given what is printed.
    """
    _Lost.why, _Lost.acting = None, False
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        if getattr(sys, name) is None:
            with contextlib.suppress(OSError):
                while (opened := os.open(os.devnull, os.O_RDWR)) < number:
                    pass  # the lowest that is free; another one of the three may be closed too
                if opened > number:
                    os.close(opened)
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115, PTH123 - for the whole run


def acting() -> None:
    """Say from here on when nobody reads the output: something is changed, and whoever began it must hear of it."""
    _Lost.acting = True


def lost() -> bool:
    """Say whether stdout took less than it was given, though its reader had not had enough."""
    return _Lost.why is not None and _Lost.why.errno != errno.EPIPE


def lose(why: OSError) -> None:
    """Hear that stdout cannot be written to: nothing is printed there any more in this run, and that is said once."""
    _discard(sys.stdout)
    _Lost.why = why
    _say_lost(why)


def style(text: str, *, fg: str | None = None, bold: bool | None = None) -> str:
    """Mark text to be coloured where a terminal reads it, as `click.style` does; control characters are written out."""
    return _SGR.sub(rf"{_MARK}\1", click.style(printable.printable(text), fg=fg, bold=bold))


def unstyle(text: str) -> str:
    """Return text without its marks."""
    return _MARKED.sub("", text)


def echo(text: str = "", *, err: bool = False, nl: bool = True) -> None:
    """Print text: control characters written out, signs that the encoding lacks as ASCII, colours on terminals."""
    stream = sys.stderr if err or _told_elsewhere() else sys.stdout
    whole = _shown(text, stream)
    encoding = stream.encoding or "ascii"
    try:
        whole.encode(encoding)
    except UnicodeEncodeError:
        whole = whole.translate(PLAIN).encode(encoding, "replace").decode(encoding)
    _write(whole + "\n" * nl, stream)


def redraw(text: str) -> None:
    """Put text in place of the last line of stderr, without an end of line."""
    _write("\r" + _shown(f"{_MARK}K{text}", sys.stderr, colour=True), sys.stderr)


def write(document: bytes) -> None:
    """Print a document for programs to stdout, as UTF-8 whatever the terminal's encoding; it must be printable."""
    _write(document, sys.stderr if _told_elsewhere() else sys.stdout)


def complain(sentence: str) -> None:
    """Print a sentence on stderr, as one line that begins with `error:`; on a terminal broken between words."""
    line = f"error: {' '.join(sentence.split())}"
    if sys.stderr.isatty():
        import shutil
        import textwrap

        columns = max(shutil.get_terminal_size().columns, NARROWEST)
        broken = textwrap.wrap(line, columns, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
        line = "\n".join(broken)
    echo(line, err=True)


def usage(wrong: click.ClickException) -> None:
    """Print what click has to say of a command line, on stderr."""
    said = io.StringIO()
    wrong.show(file=said)
    echo(said.getvalue(), err=True, nl=False)


def _shown(text: str, stream: TextIO, *, colour: bool | None = None) -> str:
    coloured = stream.isatty() and not os.environ.get("NO_COLOR") if colour is None else colour
    return _MARKED.sub("\x1b[\\1" if coloured else "", printable.printable(text)).replace(_MARK, "")


def _write(what: str | bytes, stream: TextIO) -> None:
    """Write to stdout or stderr; what cannot be written is lost, and for stdout that is remembered and said."""
    ours = stream is sys.stdout
    if ours and _Lost.why is not None:
        return
    try:
        click.echo(what, file=stream, nl=False, color=True)
    except OSError as why:
        if ours:
            lose(why)
        else:
            _discard(stream)
    except ValueError:  # the stream was closed under us
        if ours:
            _Lost.why = OSError(errno.EBADF, os.strerror(errno.EBADF))


def _told_elsewhere() -> bool:
    return _Lost.why is not None and _Lost.acting


def _say_lost(why: OSError) -> None:
    if _Lost.acting:
        echo(f"warning: stdout takes no more ({why.strerror or why}); the change goes on, and is told here", err=True)
    elif why.errno != errno.EPIPE:  # a reader that has enough, as `head`, is nothing to complain of
        echo(f"warning: stdout takes no more ({why.strerror or why}); what is printed is lost", err=True)


def _discard(stream: IO[str]) -> None:
    """Lead a stream that cannot be written to into nothing, so that what it still holds is no failure at the end."""
    with contextlib.suppress(OSError, ValueError, io.UnsupportedOperation):
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, stream.fileno())
        os.close(nothing)
        stream.flush()
