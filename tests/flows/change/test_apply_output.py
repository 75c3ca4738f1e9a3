"""A change whose output nobody takes goes on all the same: a closed pipe or a full disk must not leave nodes pinned."""

import os
import subprocess
import sys

import pytest
from tests.support.change.cluster import Cluster, cluster

from kubemtu_lab import scene as scenes
from kubemtu_lab.scenes import named

pytestmark = [pytest.mark.lab, pytest.mark.netns, pytest.mark.timeout(900)]


def ran(found: Cluster, command: str, into: str) -> str:
    """Run `kubemtu COMMAND` with its output led into something; what it says on stderr, and its exit code."""
    line = f'("$0" -m kubemtu {command}; echo "code $?" >&2) {into}'
    environ = {**os.environ, "KUBECONFIG": str(found.lab.kubeconfig)}
    ended = subprocess.run(
        ["sh", "-c", line, sys.executable], env=environ, capture_output=True, text=True, timeout=200, check=False
    )
    return ended.stderr


def test_a_change_goes_on_when_nobody_reads() -> None:
    with cluster(scenes.resized(named("canal-1500"), nodes=2, pods=2), "output") as found:
        before = found.picture()
        applied = ran(found, "apply --yes", "| head -n 12")
        assert "warning: stdout takes no more (Broken pipe); the change goes on, and is told here\n" in applied
        assert applied.splitlines()[-2].startswith("Applied in ")
        assert applied.endswith("code 0\n")
        after = found.picture()
        assert not after.unfinished
        assert after.kernel != before.kernel
        back = ran(found, "rollback --yes", "> /dev/full")
        assert "warning: stdout takes no more (No space left on device); the change goes on, and is told here\n" in back
        assert back.endswith("code 74\n")
        assert before.differs(found.picture()) == ""
        silent = ran(found, "apply --yes", ">&-")
        assert silent == "code 0\n"
        assert after.differs(found.picture()) == ""
