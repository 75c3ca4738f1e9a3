"""`kubemtu node probe` and `respond` between two hosts, as people run them."""

import json
import re
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.support.lines import Net

B4, B6 = "10.9.3.1", "fd09:3::1"
pytestmark = pytest.mark.netns


def command(net: "Net", place: str, *words: str) -> tuple[str, ...]:
    return ("ip", "netns", "exec", net.spaces[place], sys.executable, "-m", "kubemtu", "node", *words)


def probe(net: "Net", *words: str, code: int = 0) -> str:
    done = subprocess.run(command(net, "a", "probe", *words), capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr + done.stdout
    return done.stdout + done.stderr


@pytest.fixture
def key(tmp_path: Path) -> str:
    (tmp_path / "key").write_text("a key for the tests of this command\n")
    return str(tmp_path / "key")


@pytest.fixture
def responding(bare: "Net", key: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        command(bare, "b", "respond", "--key-file", key), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        assert select.select([process.stdout], [], [], 60)[0]
        assert process.stdout.readline() == "answering on UDP port 7843 over IPv4 and IPv6; end with Ctrl-C\n"
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.mark.usefixtures("responding")
@pytest.mark.parametrize("words", [(B4,), ("-6", B6), ("-4", B4)])
def test_a_healthy_path_as_json(bare: "Net", key: str, words: tuple[str, ...]) -> None:
    packets: list[int] = []
    while 5 not in packets:
        assert len(packets) < 5, packets  # a machine that is busy may have some sent again
        seen = json.loads(probe(bare, *words, "--key-file", key, "-o", "json"))
        assert (seen["mtu"], seen["kind"], seen["protocol"]) == (1500, "ok", "UDP")
        packets.append(seen["packets"])
    assert seen["backward"]["mtu"] == 1500
    assert seen["durationSeconds"] > 0
    assert "a packet of 1500 bytes arrived; " in seen["evidence"][0]


@pytest.mark.usefixtures("responding")
def test_a_black_hole_ends_with_one_and_says_why(bare: "Net", key: str) -> None:
    bare.middle(1450)
    bare.mute()
    text = probe(bare, B4, "--key-file", key, code=1)
    assert text.startswith(f"✗ {B4}: black hole; 1450 bytes arrive, and everything larger, up to 1500, vanishes")
    assert "1451 bytes were lost 6 times" in text


@pytest.mark.usefixtures("responding")
def test_flows_that_take_equal_paths_of_different_mtus(bare: "Net", key: str) -> None:
    bare.second_path(1450)
    seen = json.loads(probe(bare, B4, "--key-file", key, "--flows", "24", "-o", "json", code=1))
    assert (seen["kind"], seen["mtu"]) == ("equal paths differ", 1450)
    assert "1450 and 1500" in seen["sentence"]


@pytest.mark.usefixtures("responding")
def test_one_of_two_equal_paths_is_dead(bare: "Net", key: str) -> None:
    """Whichever flow is the first: what is known of the path is what those tell that are answered."""
    bare.second_path(1500)
    bare.ip("r1", "neigh replace 10.9.4.2 lladdr 02:00:00:00:00:99 dev m4 nud permanent")
    seen = json.loads(probe(bare, B4, "--key-file", key, "--flows", "24", "-o", "json", code=0))
    assert (seen["kind"], seen["mtu"]) == ("ok", 1500)
    (note,) = (note for note in seen["notes"] if "flows" in note)
    found = re.fullmatch(
        r"(\d+) of 24 flows are answered nothing, of whatever size \(source ports [\d, and more]+\): one of several "
        "equal paths is dead, which is no MTU",
        note,
    )
    assert found is not None
    assert 0 < int(found[1]) < 24


def test_without_a_station_icmp_echo_tells_what_it_can(bare: "Net", key: str) -> None:
    bare.middle(1450)
    seen = json.loads(probe(bare, B4, "--key-file", key, "-o", "json", code=1))
    assert (seen["kind"], seen["mtu"], seen["protocol"]) == ("lower", 1450, "ICMP echo")
    assert "no station answers there" in seen["notes"][0]


def test_a_dead_host_ends_with_three(bare: "Net") -> None:
    bare.ip("b", "link set dev e0 down")
    assert "this says nothing about the MTU" in probe(bare, B4, code=3)


@pytest.mark.usefixtures("responding")
def test_without_the_key_nothing_is_told(bare: "Net") -> None:
    seen = json.loads(probe(bare, B4, "-o", "json"))
    assert seen["protocol"] == "ICMP echo"


def test_what_cannot_be_resolved_is_a_wrong_command(bare: "Net") -> None:
    assert "cannot be resolved" in probe(bare, "no-such-host.invalid", code=2)
    assert "HOST is empty" in probe(bare, "", code=2)
    assert "fe80::1 is of one link alone: write through which, as fe80::1%eth0" in probe(bare, "fe80::1", code=2)
    assert "cannot be resolved as IPv6" in probe(bare, "-6", B4, code=2)


def test_a_station_ends_on_ctrl_c_and_says_what_it_did(
    responding: subprocess.Popen[str], bare: "Net", key: str
) -> None:
    probe(bare, B4, "--key-file", key)
    probe(bare, B4, "--one-way", "-4")
    responding.send_signal(signal.SIGINT)
    said, _ = responding.communicate(timeout=60)
    assert responding.returncode == 0
    assert said.startswith("answered ")
    assert "of strangers" in said


def test_a_port_in_use_is_one_sentence(responding: subprocess.Popen[str], bare: "Net", key: str) -> None:
    assert responding.poll() is None
    second = subprocess.run(
        command(bare, "b", "respond", "--key-file", key), capture_output=True, text=True, check=False, timeout=60
    )
    assert second.returncode == 2
    assert second.stderr == "error: UDP port 7843 cannot be used: Address already in use; choose another\n"
