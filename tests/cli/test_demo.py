"""`kubemtu demo` as a newcomer runs it: the whole story, and what it must come to."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from kubemtu_lab import cluster

pytestmark = [pytest.mark.lab, pytest.mark.netns, pytest.mark.timeout(800)]
NOT_A_PACKET = ("udpLostSilently", "tcpResets", "connectFailures", "podsRestarted", "tcpStuck", "vethDrops")


def test_the_story_loses_nothing_our_way_and_much_the_popular_way(tmp_path: Path) -> None:
    """Six pods at 1500 on an overlay of 1450, told twice; ends with a healthy cluster and leaves nothing behind."""
    ended = subprocess.run(
        [sys.executable, "-m", "kubemtu", "demo", "-o", "json"],
        capture_output=True,
        text=True,
        check=False,
        timeout=700,
        env=os.environ | {"KUBEMTU_LABS": str(tmp_path)},
    )
    if "user namespace" in ended.stderr and not os.environ.get("CI"):
        pytest.skip(ended.stderr)
    try:
        assert ended.returncode == 0, ended.stderr
        story = json.loads(ended.stdout)
        assert {"MTU101", "MTU119"} <= {found["code"] for found in story["findingsBefore"]}
        assert story["findingsAfter"] == []
        assert story["proof"]["verdict"] == "held"
        assert {field: story["kubemtu"][field] for field in NOT_A_PACKET} == dict.fromkeys(NOT_A_PACKET, 0)
        assert story["kubemtu"]["flaws"] == []
        assert story["kubemtu"]["udpSent"] > 100
        assert story["popularFix"]["udpLostSilently"] > 0
        assert story["popularFix"]["connectFailures"] + story["popularFix"]["tcpStuck"] > 0
        assert list(tmp_path.iterdir()) == []
    finally:
        for folder in tmp_path.iterdir():
            cluster.end(folder)
