"""Gets the peers: those of PyPI in an environment of their own, those of Debian when they are there."""

import shutil
import subprocess
import sys
import venv
from pathlib import Path
from typing import Final

from bench.probing.peers import Peer

HOME: Final = Path(__file__).resolve().parents[2] / ".bench" / "peers"
PLACES: Final = "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin"


def find(peer: Peer) -> str | None:
    """Where a peer's program is; installs it first if PyPI has it. None, and a sentence on stderr, when it is not."""
    if peer.source == "Debian":
        found = shutil.which(peer.program, path=PLACES)
        if found is None:
            print(f"{peer.name} is left out: `apt-get install {peer.package}` brings it", file=sys.stderr)
        return found
    program = HOME / "bin" / peer.program
    if not program.exists():
        if not (HOME / "bin" / "python").exists():
            venv.create(HOME, with_pip=True)
        words = (HOME / "bin" / "python", "-m", "pip", "install", "-qq", "--disable-pip-version-check", peer.package)
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        if done.returncode or not program.exists():
            print(f"{peer.name} is left out: pip cannot install {peer.package}", file=sys.stderr)
            return None
    return str(program)
