"""Rules of nftables in the namespaces of a lab, by the command `nft`: it takes a file in as a whole or not at all."""

import os
import shutil
import subprocess

from kubemtu.node.kernel import netns
from kubemtu_lab import errors, kernel

_FOLDERS = "/usr/sbin:/sbin"  # where it is, and where the PATH of most users does not lead


def load(rules: str, pid: int | None = None) -> None:
    """Load rules into the network namespace of a process, or into this thread's own; takes about 5 ms.

    Raises:
        Impossible: there is no such command, or the kernel does not take the rules.
        OSError: the process has ended.
    """
    if pid is None:
        _load(rules)
        return
    with kernel.network(pid) as there:
        netns.inside(there, lambda: _load(rules))


def table(family: str, name: str, body: str) -> str:
    """Return the rules that put a table in the place of one of the same name; an empty body takes it away."""
    fresh = f"table {family} {name} {{\n{body}}}\n" if body else ""
    return f"table {family} {name}\ndelete table {family} {name}\n{fresh}"


def program() -> str:
    """Return the path of the command. Raises Impossible where there is none."""
    found = shutil.which("nft", path=f"{os.environ.get('PATH', '')}:{_FOLDERS}")
    if found is None:
        raise errors.Impossible("there is no nft command on this machine; install nftables")
    return found


def is_there() -> bool:
    """Return True where this machine has the command."""
    try:
        program()
    except errors.Impossible:
        return False
    return True


def _load(rules: str) -> None:
    ended = subprocess.run([program(), "-f", "-"], input=rules, capture_output=True, text=True, check=False)
    if ended.returncode:
        told = " ".join(ended.stderr.split())[:300]
        raise errors.Impossible(f"nft does not take the rules of the lab ({told}); the kernel needs nf_tables")
