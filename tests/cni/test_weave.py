"""Weave Net: one variable, a default that no NIC decides, and a bridge that keeps what it was made with."""

from collections.abc import Callable

import msgspec
import pytest
import yaml
from tests.support.findings import judged

from kubemtu.cni import weave
from kubemtu.core.change.plan import EditValue, Live, Rollout
from kubemtu.core.cluster.cni_state import CniState
from kubemtu.core.net import Link, NodeObservation, PodPort
from kubemtu.core.snapshot import Snapshot
from kubemtu.flows import decide

Reading = Callable[..., Snapshot]
Observing = Callable[..., NodeObservation]
ENV = ("spec", "template", "spec", "containers", 0, "env")


def agent(**variables: str | None) -> str:
    env: list[dict[str, object]] = [{"name": "HOSTNAME", "value": "n"}]
    for name, value in variables.items():
        source = {"secretKeyRef": {"name": "weave-passwd", "key": "weave-passwd"}}
        env.append({"name": name, "value": value} if value is not None else {"name": name, "valueFrom": source})
    containers = [
        {"name": "weave", "image": "weaveworks/weave-kube:2.8.1", "env": env},
        {"name": "weave-npc", "image": "weaveworks/weave-npc:2.8.1", "env": [{"name": "HOSTNAME", "value": "n"}]},
    ]
    body = {"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "weave-net", "namespace": "kube-system"}}
    return yaml.safe_dump({**body, "spec": {"template": {"spec": {"containers": containers}}}})


def read(snapshot: Snapshot) -> CniState:
    state = weave.read(snapshot)
    assert state is not None
    return state


# net/bridge.go: 1376 without WEAVE_MTU. What fits 1500: 1450 in VXLAN (RFC 7348), 1416 with ESP around it (RFC 4303).
@pytest.mark.parametrize(
    ("variables", "nic", "mtu", "name", "findings"),
    [
        ({}, 1460, 1376, "vxlan", [("MTU119", "note")]),
        ({}, 1426, 1376, "vxlan", []),
        ({}, 1400, 1376, "vxlan", [("MTU119", "error")]),
        ({}, 9001, 1376, "vxlan", [("MTU119", "warning")]),
        ({"WEAVE_MTU": "1450"}, 1500, 1450, "vxlan", []),
        ({"WEAVE_MTU": "1500"}, 1500, 1500, "vxlan", [("MTU119", "error")]),
        ({"WEAVE_MTU": "8951"}, 9001, 8951, "vxlan", []),
        ({"WEAVE_MTU": ""}, 1426, 1376, "vxlan", []),
        ({"WEAVE_MTU": "1450", "WEAVE_PASSWORD": None}, 1500, 1450, "vxlan in ipsec", [("MTU119", "error")]),
        ({"WEAVE_MTU": "1416", "WEAVE_PASSWORD": None}, 1500, 1416, "vxlan in ipsec", []),
        ({"WEAVE_MTU": "1300"}, 1350, 1300, "vxlan", []),
    ],
)
def test_the_variable_is_the_pods_own(
    snapshot: Reading,
    variables: dict[str, str | None],
    nic: int,
    mtu: int,
    name: str,
    findings: list[tuple[str, str]],
) -> None:
    files = snapshot(agent(**variables))
    state = read(files)
    assert (state.pod_mtu, state.encapsulation_name, state.findings) == (mtu, name, ())
    assert judged(files, nic) == findings


@pytest.mark.parametrize(
    ("variables", "code", "place"),
    [
        ({"WEAVE_MTU": "jumbo"}, "MTU112", "variable WEAVE_MTU"),
        ({"WEAVE_MTU": "70000"}, "MTU112", "variable WEAVE_MTU"),
        ({"MTU": "1400"}, "MTU111", "container weave, variable MTU"),
        ({"WEAVE_NO_FASTDP": "1"}, "MTU117", "variable WEAVE_NO_FASTDP"),
    ],
)
def test_what_is_broken_or_cannot_be_known(
    snapshot: Reading, variables: dict[str, str | None], code: str, place: str
) -> None:
    (finding,) = read(snapshot(agent(**variables))).findings
    assert (finding.code, finding.place) == (code, f"DaemonSet kube-system/weave-net, {place}")


def test_a_number_that_is_broken_is_not_taken_for_the_default(snapshot: Reading) -> None:
    assert read(snapshot(agent(WEAVE_MTU="jumbo"))).pod_mtu is None
    sleeve = read(snapshot(agent(WEAVE_NO_FASTDP="1")))
    assert (sleeve.pod_mtu, sleeve.encapsulation_known) == (None, False)


@pytest.mark.parametrize(
    ("variables", "path", "before", "after"),
    [
        ({"WEAVE_MTU": "1376"}, (*ENV, 1, "value"), "1376", "1450"),
        ({}, (*ENV, 1), None, {"name": "WEAVE_MTU", "value": "1450"}),
    ],
)
def test_one_variable_is_edited(
    snapshot: Reading, variables: dict[str, str | None], path: object, before: object, after: object
) -> None:
    edit, restart = weave.steps(read(snapshot(agent(**variables))), 1450)
    assert isinstance(edit, EditValue)
    assert isinstance(restart, Rollout)
    assert (edit.path, edit.before, edit.after) == (path, before, after)
    assert weave.steps(read(snapshot(agent(**variables))), 1376) == ()


def seen(node: NodeObservation, bridge: int, once: int = 1376) -> NodeObservation:
    port = PodPort(
        netns="cni-1",
        inode=1,
        host_link="vethwepl1a2b3c4",
        host_index=20,
        host_mtu=bridge,
        pod_link="eth0",
        pod_index=2,
        pod_mtu=bridge,
        bridge="weave",
        addresses=("10.32.0.2",),
    )
    own = (
        Link(index=30, name="weave", mtu=bridge, kind="bridge"),
        Link(index=31, name="vethwe-bridge", mtu=once, kind="veth", master="weave"),
        Link(index=32, name="datapath", mtu=bridge, kind="openvswitch"),
    )
    return msgspec.structs.replace(node, links=(*node.links, *own), ports=(port,))


def test_a_bridge_that_keeps_the_old_number(snapshot: Reading, node: Observing) -> None:
    """weave#3293: a new WEAVE_MTU reaches no pod until the bridge is made anew."""
    nodes = tuple(seen(node(name), 1376) for name in ("n1", "n2"))
    files = snapshot(agent(WEAVE_MTU="1300"), nodes=nodes)
    findings = read(files).findings
    assert [(one.code, one.severity, one.place) for one in findings] == [
        ("MTU103", "error", "node n1, weave"),
        ("MTU103", "error", "node n2, weave"),
    ]
    assert "new pods here get 1376" in findings[0].message
    assert "a reboot makes it anew, and with Docker `weave reset`" in findings[0].remedy


def test_it_is_lowered_live_with_its_bridge(snapshot: Reading, node: Observing) -> None:
    nodes = tuple(seen(node(name, mtu=1400), 1376) for name in ("n1", "n2"))
    made, _ = decide.plan(snapshot(agent(), nodes=nodes))
    assert (made.target, [step.__class__.__name__ for step in made.steps]) == (
        1350,
        ["Live", "EditValue", "Rollout", "Live"],
    )
    live = made.steps[-1]
    assert isinstance(live, Live)
    assert {to.bridge for to in live.nodes} == {"weave"}


def test_it_is_not_raised_above_what_is_made_once(snapshot: Reading, node: Observing) -> None:
    nodes = tuple(seen(node(name, mtu=9001), 1376) for name in ("n1", "n2"))
    checked = decide.check(snapshot(agent(), nodes=nodes))
    assert checked.recommended_mtu == 1376
    state = read(snapshot(agent(), nodes=nodes))
    assert (state.fixed, state.fixed_by.split(",")[0]) == (1376, "vethwe-bridge")


def test_nothing_of_it_is_there(snapshot: Reading) -> None:
    assert weave.read(snapshot("")) is None
