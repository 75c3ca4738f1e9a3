"""Multus between the runtime and the CNI: its pods restart after the CNI's own, or the change is refused with a reason.

The shapes of the DaemonSets are those of k8snetworkplumbingwg/multus-cni: deployments/multus-daemonset.yml, and
images/multus-daemonset.yml before v4.
"""

import json

import msgspec
import pytest
from tests.support import example

from kubemtu.core import errors, net
from kubemtu.core.change import plan, undo
from kubemtu.core.objects import Object
from kubemtu.core.snapshot import Snapshot
from kubemtu.flows import decide

PATH = "/etc/cni/net.d/00-multus.conf"
AUTO: dict[str, object] = {
    "command": ["/thin_entrypoint"],
    "args": ["--multus-conf-file=auto", "--cni-conf-dir=/host/etc/cni/net.d"],
}


def copying(mtu: int) -> net.NodeFile:
    inner = {"name": "k8s-pod-network", "plugins": [{"type": "calico", "mtu": mtu}, {"type": "portmap"}]}
    text = json.dumps({"name": "multus-cni-network", "type": "multus", "delegates": [inner]})
    return net.NodeFile(path=PATH, text=text)


def daemonset(container: dict[str, object], name: str = "kube-multus-ds") -> Object:
    image = "ghcr.io/k8snetworkplumbingwg/multus-cni:v4.1.0"
    spec = {"template": {"spec": {"containers": [{"name": "kube-multus", "image": image} | container]}}}
    where = {"name": name, "namespace": "kube-system"}
    return Object.of({"kind": "DaemonSet", "apiVersion": "apps/v1", "metadata": where, "spec": spec})


def cluster(veth_mtu: int, file: int, copy: int, *agents: Object) -> Snapshot:
    nodes = tuple(example.node(name, conflist=file, pod=file, files=(copying(copy),)) for name in ("n1", "n2", "n3"))
    made = example.story(veth_mtu, nodes)
    return msgspec.structs.replace(made, objects=(*made.objects, *agents))


def said(steps: tuple[plan.Step, ...]) -> list[object]:
    return [
        (step.ref.name, step.conflist, step.mtu)
        if isinstance(step, plan.Rollout)
        else (step.ref.name, step.after)
        if isinstance(step, plan.EditValue)
        else "live"
        for step in steps
    ]


def test_multus_restarts_after_the_cni_and_must_hold_the_number_then() -> None:
    made, _ = decide.plan(cluster(1500, 1500, 1500, daemonset(AUTO)))
    assert said(made.steps) == [
        "live",
        ("canal-config", "1450"),
        ("canal", example.CONFLIST, 1450),
        ("kube-multus-ds", PATH, 1450),
        "live",
    ]


def test_a_copy_that_is_older_than_the_file_is_made_anew_and_nothing_else_restarts() -> None:
    made, _ = decide.plan(cluster(1450, 1450, 1500, daemonset(AUTO)))
    assert said(made.steps) == [("kube-multus-ds", PATH, 1450)]


def test_a_file_that_did_not_follow_either_is_written_anew_first() -> None:
    made, _ = decide.plan(cluster(1450, 1400, 1400, daemonset(AUTO)))
    assert [one for one in said(made.steps) if one != "live"] == [
        ("canal", example.CONFLIST, 1450),
        ("kube-multus-ds", PATH, 1450),
    ]


def test_a_copy_that_is_right_needs_no_restart() -> None:
    made, _ = decide.plan(cluster(1450, 1450, 1450, daemonset(AUTO)))
    assert made.steps == ()


def test_on_the_way_back_the_copy_is_made_after_the_file_is_back() -> None:
    made, _ = decide.plan(cluster(1500, 1500, 1500, daemonset(AUTO)))
    back = [one for one in said(undo.undo(made, len(made.steps), None)) if one != "live"]
    assert back == [("canal-config", "1500"), ("canal", example.CONFLIST, 1500), ("kube-multus-ds", PATH, 1500)]


@pytest.mark.parametrize(
    ("agents", "reason"),
    [
        ((), "no DaemonSet of multus was read in kube-system"),
        (
            (
                daemonset(
                    {"command": ["/entrypoint.sh"], "args": ["--multus-conf-file=/tmp/multus-conf/70-multus.conf"]}
                ),
            ),
            "is what DaemonSet kube-system/kube-multus-ds copies from /tmp/multus-conf/70-multus.conf",
        ),
        ((daemonset({"command": ["/entrypoint.sh"]}),), "copies from its image"),
    ],
)
def test_a_copy_that_nothing_makes_anew_refuses_the_change(agents: tuple[Object, ...], reason: str) -> None:
    with pytest.raises(errors.UsageError) as refused:
        decide.plan(cluster(1500, 1500, 1500, *agents))
    assert str(refused.value).startswith("new pods would not follow: /etc/cni/net.d/00-multus.conf of n1, n2 and n3")
    assert reason in str(refused.value)


def test_of_several_architectures_each_restarts() -> None:
    agents = (daemonset(AUTO, "kube-multus-ds-amd64"), daemonset(AUTO, "kube-multus-ds-ppc64le"))
    made, _ = decide.plan(cluster(1500, 1500, 1500, *agents))
    assert [step.ref.name for step in made.steps if isinstance(step, plan.Rollout)] == [
        "canal",
        "kube-multus-ds-amd64",
        "kube-multus-ds-ppc64le",
    ]


def test_a_file_of_another_network_that_sorts_first_refuses_the_change() -> None:
    left = net.NodeFile(path="/etc/cni/net.d/10-bridge.conf", text='{"name": "old", "type": "bridge", "mtu": 9000}')
    nodes = (example.node("n1", conflist=1500, pod=1500, files=(left,)), example.node("n2", conflist=1500, pod=1500))
    with pytest.raises(errors.UsageError, match=r"on n1 the runtime takes /etc/cni/net.d/10-bridge.conf and not"):
        decide.plan(example.story(1500, nodes))


def test_where_multus_has_renamed_the_cnis_file_it_copies_the_new_one() -> None:
    nodes = tuple(example.node(name, path=PATH, text=copying(1500).text, pod=1500) for name in ("n1", "n2"))
    made = example.story(1500, nodes)
    snapshot = msgspec.structs.replace(made, objects=(*made.objects, daemonset(AUTO)))
    planned, _ = decide.plan(snapshot)
    assert [one for one in said(planned.steps) if one != "live"] == [
        ("canal-config", "1450"),
        ("canal", example.CONFLIST, 1450),
        ("kube-multus-ds", PATH, 1450),
    ]
