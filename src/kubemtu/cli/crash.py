"""A bug of ours: one sentence for the user, a file with the traceback for the report."""

import platform
import sys
import tempfile
import traceback

import kubemtu


def report(bug: BaseException) -> str:
    """Write what happened into a file of the temporary folder, and return the sentence that names it."""
    text = "\n".join(
        [
            f"kubemtu {kubemtu.__version__}, Python {platform.python_version()}, {platform.platform()}",
            "command: " + " ".join(sys.argv),
            "",
            "".join(traceback.format_exception(bug)),
        ]
    )
    what = f"this is a bug in kubemtu ({type(bug).__name__}: {bug!s:.120})"
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="kubemtu-bug-", suffix=".txt", delete=False, encoding="utf-8", errors="backslashreplace"
        ) as file:
            file.write(text)
    except OSError:
        return f"{what}; please report it with the command you ran"
    return f"{what}; please report it with the contents of {file.name}"
