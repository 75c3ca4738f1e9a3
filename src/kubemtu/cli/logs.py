"""What is logged, as lines that a terminal may show: control characters written out, no traceback where people look."""

import contextlib
import logging

from kubemtu.cli import terminal
from kubemtu.core.text import printable


class Formatter(logging.Formatter):
    """A line of the agent's log, control characters in it written out; a traceback keeps its lines."""

    def format(self, record: logging.LogRecord) -> str:
        """Format a record."""
        return printable.printable(super().format(record))


class OneLine(logging.Handler):
    """What libraries complain of while a command runs, on stderr: a line each, and never a traceback."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print the message of a record."""
        with contextlib.suppress(Exception):  # a log line must not end what it is about
            terminal.echo(f"warning: {printable.one_line(record.getMessage()):.300}", err=True)


def on_a_terminal() -> None:
    """Have warnings of libraries told as lines, unless somebody has settled already where logs go."""
    root = logging.getLogger()
    if not root.handlers:
        root.addHandler(OneLine(logging.WARNING))
