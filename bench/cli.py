"""How long the command line takes to answer `--help`, beside Python alone and kubectl."""

import shutil
import sys
from pathlib import Path

from bench import timing

ROUNDS = 20


def main() -> None:
    """Print the table."""
    contenders = {
        "kubemtu --help": [str(Path(sys.executable).with_name("kubemtu")), "--help"],
        "python -c pass": [sys.executable, "-c", "pass"],
    }
    if (kubectl := shutil.which("kubectl")) is not None:
        contenders["kubectl --help"] = [kubectl, "--help"]
    print(timing.table(timing.commands(contenders, ROUNDS), against="kubemtu --help"))


if __name__ == "__main__":
    main()
