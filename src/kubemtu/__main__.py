"""Where a process begins: `kubemtu`, `kubectl mtu` and `python -m kubemtu`.

The command line is imported here, inside, so that Ctrl-C ends even the imports with a sentence.
"""

import os
import signal
import sys


def main() -> None:
    """Run the command line and end the process with the exit code of what happened (see kubemtu.core.errors)."""
    try:
        if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:  # the launcher's, src/bin
            signal.signal(signal.SIGINT, signal.default_int_handler)
        from kubemtu.cli.main import run  # noqa: PLC0415 - see above

        code = run()
    except KeyboardInterrupt:
        os.write(2, b"error: interrupted\n")
        code = 130
    sys.exit(code)


if __name__ == "__main__":
    main()
