"""Run the tests; what failed beside the others, at most three of them, is run once more by itself, and named.

Six scenes on two cores, and whoever else keeps the machine busy, make a scene fail now and then that passes by itself.
Such a failure is printed as every other and named in the last line, so that it is looked into; it does not hold up all
the others. A test that fails again, and a fourth that fails, does. Arguments are pytest's.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

MOST = 3
FAILED = 1  # pytest's exit code where tests ran and some of them failed


def main(arguments: list[str]) -> int:
    """Return pytest's exit code: of the first run, or of the second where there was one."""
    with tempfile.TemporaryDirectory() as kept:
        pytest = [sys.executable, "-m", "pytest", "-o", f"cache_dir={kept}"]
        code = subprocess.run([*pytest, *arguments], check=False).returncode
        failed = _failed(Path(kept))
        if code != FAILED or not 0 < len(failed) <= MOST:
            return code
        say("failed, and run once more by themselves", failed)
        code = subprocess.run([*pytest, "--last-failed", "--last-failed-no-failures=none"], check=False).returncode
        if code == 0:
            say("failed beside others and passed by themselves, look into it", failed)
        return code


def say(what: str, names: list[str]) -> None:
    """Write which tests something is said of, each on a line."""
    sys.stdout.write("\n".join([f"\ntests: {what}:", *(f"  {each}" for each in names), ""]))
    sys.stdout.flush()


def _failed(cache: Path) -> list[str]:
    """Return the ids that pytest keeps of the tests that failed."""
    found = cache / "v/cache/lastfailed"
    return sorted(json.loads(found.read_text())) if found.exists() else []


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
