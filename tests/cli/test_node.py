"""`kubemtu node`, run inside a node's namespace."""

import itertools
import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click.testing
import pytest

from kubemtu.cli import node as node_command
from kubemtu.core.errors import Conflict, Forbidden, KubemtuError, UsageError
from kubemtu.node.change import journal
from kubemtu.node.kernel import capabilities, netns

pytestmark = pytest.mark.netns
_SERIAL = itertools.count()


def ip(*words: str) -> str:
    return subprocess.run(("ip", *words), capture_output=True, text=True, check=True).stdout


class Node:
    """A node with two Calico-style pods on an MTU of 1500, over a NIC of 1500, and a journal folder."""

    def __init__(self, folder: Path) -> None:
        tag = f"kmtest-{os.getpid()}-cli{next(_SERIAL)}"
        self.folder = folder
        self.name = f"{tag}-node"
        self.pods = [f"{tag}-p1", f"{tag}-p2"]
        for space in (self.name, *self.pods):
            ip("netns", "add", space)
        ip("-n", self.name, "link", "add", "nic0", "type", "veth", "peer", "name", "nicpeer")
        for link in ("nic0", "nicpeer"):
            ip("-n", self.name, "link", "set", link, "up")
        ip("-n", self.name, "addr", "add", "192.0.2.1/24", "dev", "nic0")
        ip("-n", self.name, "route", "add", "default", "via", "192.0.2.254")
        for number, pod in enumerate(self.pods, 1):
            ip("-n", pod, "link", "add", "eth0", "type", "veth", "peer", "name", f"cali{number}", "netns", self.name)
            ip("-n", pod, "link", "set", "eth0", "up")
            ip("-n", self.name, "link", "set", f"cali{number}", "up")
            ip("-n", pod, "addr", "add", f"10.42.1.{number}/32", "dev", "eth0")
            ip("-n", pod, "route", "add", "169.254.1.1", "dev", "eth0", "scope", "link")
            ip("-n", pod, "route", "add", "default", "via", "169.254.1.1", "dev", "eth0")
            ip("-n", self.name, "route", "add", f"10.42.1.{number}", "dev", f"cali{number}", "scope", "link")
        # Until an address is known to be nobody else's (RFC 4862 section 5.4), the kernel adds routes by itself.
        while any(ip("-n", space, "-6", "addr", "show", "tentative") for space in (self.name, *self.pods)):
            time.sleep(0.02)

    def run(self, *words: str) -> tuple[int, str]:
        """What the command returns and prints; raises what it raises."""
        arguments = [*words, "--journal", str(self.folder)]
        descriptor = os.open(f"/run/netns/{self.name}", os.O_RDONLY)
        try:
            result = netns.inside(
                descriptor,
                lambda: click.testing.CliRunner().invoke(
                    node_command.node, arguments, standalone_mode=False, catch_exceptions=True
                ),
            )
        finally:
            os.close(descriptor)
        if result.exception is not None:
            raise result.exception
        return int(result.return_value), result.stdout

    def refusal(self, *words: str) -> str:
        with pytest.raises(KubemtuError) as caught:
            self.run(*words)
        assert isinstance(caught.value, UsageError)
        return str(caught.value)

    def mtus(self) -> list[tuple[int, int]]:
        def mtu(space: str, link: str) -> int:
            return int(json.loads(ip("-n", space, "-j", "link", "show", "dev", link))[0]["mtu"])

        return [(mtu(self.name, f"cali{number}"), mtu(pod, "eth0")) for number, pod in enumerate(self.pods, 1)]

    def routes(self) -> list[str]:
        return [ip("-n", space, "route", "show", "table", "all") for space in (self.name, *self.pods)]

    def close(self) -> None:
        for space in (*self.pods, self.name):
            subprocess.run(("ip", "netns", "del", space), capture_output=True, check=False)


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    try:
        made = Node(tmp_path / "journals")
    except (OSError, subprocess.CalledProcessError) as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"network namespaces cannot be made here: {error}")
    yield made
    made.close()


def test_show_is_calm_about_a_sound_node(node: Node) -> None:
    code, text = node.run("show")
    assert code == 0
    assert "NIC     nic0  1500" in text
    assert "cali1     1500  eth0     1500" in text
    assert "lost" not in text


def test_show_counts_the_bytes_that_the_popular_half_change_loses(node: Node) -> None:
    ip("-n", node.name, "link", "set", "cali2", "mtu", "1450")
    code, text = node.run("show")
    assert code == 1
    (line,) = [line for line in text.splitlines() if "lost" in line]
    assert line.startswith("cali2")
    assert "packets of 1455-1500 bytes from the pod are lost silently" in line
    ip("-n", node.pods[0], "link", "set", "eth0", "mtu", "1450")
    found: dict[str, Any] = json.loads(node.run("show", "-o", "json")[1])
    assert found["ports"][0]["lost"] == [1455, 1500]
    assert found["ports"][0]["lost_direction"] == "to the pod"


def test_show_tells_pins_left_behind(node: Node) -> None:
    pin = ("dev", "eth0", "mtu", "lock", "1450")
    ip("-n", node.pods[0], "route", "replace", "default", "via", "169.254.1.1", *pin)
    ip("-n", node.name, "route", "replace", "10.42.1.2", "dev", "cali2", "scope", "link", "mtu", "lock", "1450")
    code, text = node.run("show")
    assert code == 1
    assert "pinned: default dev eth0 mtu lock 1450" in text
    assert "pin left on the node: 10.42.1.2/32 dev cali2 mtu lock 1450" in text


def test_set_and_undo(node: Node) -> None:
    before = node.routes()
    ip("-n", node.name, "link", "set", "cali2", "mtu", "1450")
    code, text = node.run("set", "--mtu", "1400", "--yes")
    assert code == 0
    assert node.mtus() == [(1400, 1400), (1400, 1400)]
    assert node.routes() == before
    assert "1 pod: MTU 1450 (host end) and 1500 (pod end) -> 1400, both ends" in text
    assert f"cali2 / {node.pods[1]} eth0: 1450/1500 → 1400/1400" in text
    assert "Senders on other nodes are not pinned" in text
    code, text = node.run("undo", "--yes")
    assert code == 0
    assert node.mtus() == [(1500, 1500), (1450, 1500)]
    assert node.routes() == before
    assert "nothing to take back" in node.refusal("undo", "--yes")


def test_undo_returns_to_before_the_last_set(node: Node) -> None:
    node.run("set", "--mtu", "1450", "--yes")
    node.run("set", "--mtu", "1400", "--yes")
    node.run("undo", "--yes")
    assert node.mtus() == [(1450, 1450), (1450, 1450)]


def test_a_dry_run_changes_nothing_and_leaves_no_journal(node: Node) -> None:
    code, text = node.run("set", "--mtu", "1400", "--dry-run")
    assert code == 0
    assert "2 pods: MTU 1500 -> 1400, both ends" in text
    assert node.mtus() == [(1500, 1500), (1500, 1500)]
    assert not node.folder.exists()
    asked: dict[str, Any] = json.loads(node.run("set", "--mtu", "1400", "--dry-run", "--yes", "-o", "json")[1])
    assert (asked["pinMtu"], asked["highestMtu"], asked["podMtu"]) == (1400, 1500, 1400)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--mtu", "67"), "between 68 and 65535"),
        (("--mtu", "65536"), "between 68 and 65535"),
        (("--mtu", "1279"), "below 1280"),
        (("--mtu", "1501"), "more than nic0 carries, which is 1500"),
        (("--mtu", "1400", "--tunnel-mtu", "1400"), "no tunnel"),
        (("--mtu", "1400", "--tunnel", "vxlan9"), "no tunnel vxlan9"),
        (("--mtu", "1400", "--bridge", "br9"), "no bridge br9"),
        (("--mtu", "1400", "--prefix", "eni"), "no pod ports"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_happens(node: Node, words: tuple[str, ...], sentence: str) -> None:
    assert sentence in node.refusal("set", *words, "--yes")
    assert node.mtus() == [(1500, 1500), (1500, 1500)]
    assert not node.folder.exists()


def test_the_tunnel_bounds_what_pods_may_have(node: Node) -> None:
    tunnel = "link add flannel.1 mtu 1450 type vxlan id 1 dev nic0 local 192.0.2.1 dstport 8472 nolearning"
    ip("-n", node.name, *tunnel.split())
    node.run("set", "--mtu", "1450", "--yes")
    assert "more than flannel.1 carries, which is 1450" in node.refusal("set", "--mtu", "1451", "--yes")
    assert "1450 is the most" in node.refusal("set", "--mtu", "1451", "--tunnel-mtu", "1451", "--yes")
    node.run("set", "--mtu", "1400", "--tunnel-mtu", "1400", "--yes")
    assert "mtu 1400" in ip("-n", node.name, "link", "show", "flannel.1")


def test_without_a_terminal_it_wants_yes(node: Node) -> None:
    assert "add --yes" in node.refusal("set", "--mtu", "1400")
    assert node.mtus() == [(1500, 1500), (1500, 1500)]


def test_two_at_once_are_refused(node: Node) -> None:
    held = journal.Journal.open("node-set", node.folder)
    with pytest.raises(Conflict, match="another kubemtu process"):
        node.run("set", "--mtu", "1400", "--yes")
    held.close()


def test_without_capabilities_it_is_forbidden(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capabilities, "NUMBERS", {"CAP_NET_ADMIN": 63, "CAP_SYS_ADMIN": 21})
    with pytest.raises(Forbidden, match="CAP_NET_ADMIN"):
        node.run("show")
