"""What `check` found, in the forms that other programs take: code scanning, CI servers, tickets.

Each writes a whole document as UTF-8 without a control character. What was not seen is never a test that passed.
"""

from collections.abc import Callable

from kubemtu.cli.reports import junit, markdown, sarif
from kubemtu.core.rules.report import Report

WRITERS: dict[str, Callable[[Report], bytes]] = {
    "sarif": sarif.write,
    "junit": junit.write,
    "markdown": markdown.write,
}
"""By the name that -o knows them by."""
