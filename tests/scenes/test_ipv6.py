"""A cluster of IPv6 alone, from the wrong number to the right one: every command, and a change under traffic.

flannel takes 50 off for VXLAN over IPv6 as well (flannel-io/flannel: pkg/backend/vxlan/vxlan_network.go), where the
headers take 40 + 8 + 8 + 14 = 70 (RFC 8200, 768, 7348; IEEE 802.3): pods get 1450, and 1430 fit.
"""

import json
import re
from pathlib import Path

import pytest
from tests.support.labs import until
from tests.support.scenes import faults, situations
from tests.support.scenes.cases import Case, judge
from tests.support.scenes.cluster import Cluster, measured, run, told
from tests.support.scenes.traffic import apply_under_traffic, lossless

from kubemtu_lab import scenes
from kubemtu_lab.scene import nodes

pytestmark = [pytest.mark.lab, pytest.mark.usefixtures("has_nft")]

SCENE = scenes.named("ipv6-1450").replace(name="alone", nodes=nodes(2, 1), probes=True)
CUT_OFF = SCENE.replace(name="alone-cut-off", probes=False, grace_seconds=8.0)
SUBNET = "/run/flannel/subnet.env"
IPV4 = re.compile(r"\b\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3}\b")

on_lab = pytest.mark.parametrize("cluster", [SCENE], indirect=True)


@pytest.fixture
def lab(cluster: Cluster) -> Cluster:
    """Return the lab, all of whose agents see their probe pods."""
    until(lambda: all(len(situations.seen_ends(cluster, node)) == 2 for node in cluster.lab.record.nodes))
    return cluster


def proven(lab: Cluster, code: int = 0) -> list[str]:
    """What `kubemtu check --prove` has measured; it must end with that code."""
    ended = lab.run("check", "--prove", "-o", "json")
    assert ended.code == code, f"{ended.out}{ended.err}"
    return [str(line) for line in json.loads(ended.out)["proven"]]


@on_lab
def test_the_20_bytes_are_found_by_every_command_and_mended_under_traffic(lab: Cluster, tmp_path: Path) -> None:
    _wrong(lab)
    counted = apply_under_traffic(lab)
    assert lossless(counted), counted
    _right(lab, tmp_path)
    lab.rollback()
    lab.until(lambda now: now.current == [1450], "that pods have what they had")


def _wrong(lab: Cluster) -> None:
    marks = lab.until(lambda now: {"MTU119", "MTU101"} == {one.code for one in now.findings}, "both").marks
    assert marks[0] == f"MTU119 error: nodes node-1 and node-2, {SUBNET}"
    assert marks[1].startswith("MTU101 error: nodes node-1 and node-2, 4 pods: ")
    case = Case(
        "flannel-forgets-the-20-bytes-of-ipv6",
        faults.none,
        "broken",
        tuple(marks),
        recommended=1430,
        says=("NIC 1500 ▸ IPv6 40 ▸ UDP 8 ▸ VXLAN 8 ▸ Ethernet 14 ▸ pod 1430", "Backend.MTU to 1480"),
        steps=('net-conf.json:  -> ,"MTU":1480', "rollout", "live"),
    )
    now = judge(lab, case)
    assert [(each.name, each.size) for each in now.layers] == [
        ("NIC", 1500),
        ("IPv6", 40),
        ("UDP", 8),
        ("VXLAN", 8),
        ("Ethernet", 14),
        ("pod", 1430),
    ]
    measured(lambda: _measured(lab))


def _measured(lab: Cluster) -> None:
    assert proven(lab, code=1) == [
        "nodes, IPv6: 2 of 2 ordered pairs carry 1500 bytes",
        "pods, IPv6: 0 of 2 ordered pairs carry 1450 bytes",
    ]
    asked = lab.run("why", "pod-1a", "pod-2a", "-o", "json")
    diagnosis = json.loads(asked.out)["diagnosis"]
    assert (asked.code, diagnosis["isMtu"], diagnosis["mtu"]) == (1, "yes", 1430)
    assert diagnosis["location"] == "at the tunnel of node-1, which takes 1430"


def _right(lab: Cluster, folder: Path) -> None:
    now = lab.healthy()
    assert (now.verdict, now.current, now.recommended_mtu) == ("healthy", [1430], 1430)
    measured(lambda: _carries_1430(lab))
    saved = folder / "cluster.json"
    assert lab.run("check", "--save", saved).code == 0
    assert {*IPV4.findall(saved.read_text())} <= {"127.0.0.1"}  # the loopback that everybody has
    assert told(run("check", "--from", saved, "-o", "json")).verdict == "healthy"
    outside = told(lab.run("check", "--exec", "-o", "json"))
    assert (outside.verdict, outside.recommended_mtu, outside.current) == ("healthy", 1430, [1430])
    refused = lab.run("plan", "--mtu", "1279")
    assert refused.code == 2
    assert "IPv6 needs 1280 on every link (RFC 8200, section 5)" in refused.err


def _carries_1430(lab: Cluster) -> None:
    assert proven(lab) == [
        "nodes, IPv6: 2 of 2 ordered pairs carry 1500 bytes",
        "pods, IPv6: 2 of 2 ordered pairs carry 1430 bytes",
    ]
    for words in (("pod-1a", "pod-2a"), ("pod-1a", "svc/kubemtu/kubemtu-probe"), ("node-1", "node-2")):
        asked = lab.run("why", *words, "-o", "json")
        assert (asked.code, json.loads(asked.out)["diagnosis"]["isMtu"]) == (0, "no"), words


@on_lab
def test_what_leaves_ipv6_too_little_is_said_and_no_command_leads_there(lab: Cluster) -> None:
    """1349 less 70 are 1279; IPv6 needs 1280 on every link (RFC 8200, section 5)."""
    for words in (("plan", "--nic-mtu", "1349"), ("policy", "--path-mtu", "1349", "--reason", "narrow", "--apply")):
        refused = lab.run(*words)
        assert refused.code == 2, refused.out
        assert "IPv6 needs 1280 on every link (RFC 8200, section 5)" in refused.err
    with situations.hole(lab, "node-2", 1349, way="both"):
        measured(lambda: _no_way_there(lab))


def _no_way_there(lab: Cluster) -> None:
    for words in (("probe",), ("check", "--prove"), ("why", "pod-1a", "pod-2a")):
        ended = lab.run(*words, "-o", "json")
        assert ended.code == 1, ended.err
        found = json.loads(ended.out)
        remedy = found["remedy"] if "remedy" in found else found["diagnosis"]["remedy"]
        assert (remedy["cause"], remedy["mtu"], remedy["pathMtu"], remedy["least"]) == ("network", 0, 1349, 1280), words
        assert "`kubemtu plan" not in ended.out, words
        assert "`kubemtu apply" not in ended.out, words
        assert "ip link set" not in ended.out, words


@pytest.mark.parametrize("cluster", [CUT_OFF], indirect=True)
def test_who_was_cut_off_reports_again_once_the_nodes_own_routes_are_pinned(cluster: Cluster) -> None:
    before = {node: cluster.ip(node, "-6", "route") for node in ("node-1", "node-2")}
    cluster.lab.set_port("node-2", 1400)
    until(lambda: cluster.ready("node-2") == "Unknown")
    relieved = cluster.run("relieve", "--yes", "--nic-mtu", "1404", "--hosts", "-o", "json")
    assert relieved.code == 0, relieved.err
    until(lambda: cluster.ready("node-2") == "True")
    assert cluster.host_routes("node-2", "-6") == {"fd00:77::1", "fd00:10:43::1"}
    assert cluster.host_routes("node-1", "-6") == {"fd00:77::2", "fd00:10:43::1"}
    cluster.lab.set_port("node-2", None)
    cluster.rollback()
    assert {node: cluster.ip(node, "-6", "route") for node in ("node-1", "node-2")} == before
