"""MTU130 and MTU122: a file that sorts before the CNI's own, and what new pods get by it."""

import json

import pytest
from tests.support import example

from kubemtu.core import codes, net
from kubemtu.core.cluster import layout, topology
from kubemtu.core.rules import report, runtime

MULTUS = "/etc/cni/net.d/00-multus.conf"


def file(path: str, body: object) -> net.NodeFile:
    return net.NodeFile(path=path, text=body if isinstance(body, str) else json.dumps(body))


def calico(mtu: object) -> dict[str, object]:
    return {"name": "k8s-pod-network", "plugins": [{"type": "calico", "mtu": mtu}, {"type": "portmap"}]}


def copying(mtu: object) -> dict[str, object]:
    return {"name": "multus-cni-network", "type": "multus", "delegates": [calico(mtu)]}


def model(*files: net.NodeFile, nodes: tuple[str, ...] = ("n1",), **changed: object) -> topology.Topology:
    seen = tuple(example.node(name, files=files, **changed) for name in nodes)  # type: ignore[arg-type]  # as there
    return layout.model(example.cluster(seen), example.state())


def judge(*files: net.NodeFile, nodes: tuple[str, ...] = ("n1",)) -> tuple[codes.Finding, ...]:
    return runtime.find(model(*files, nodes=nodes))


@pytest.mark.parametrize(
    "files",
    [
        (file(MULTUS, copying(1450)),),
        (file(MULTUS, {"type": "multus-shim", "clusterNetwork": "/host/etc/cni/net.d/10-canal.conflist"}),),
        (file(MULTUS, {"type": "multus", "clusterNetwork": "k8s-pod-network"}),),
        (file("/etc/cni/net.d/00-multus.conflist", {"name": "m", "plugins": [copying(1450)]}),),
        (file("/etc/cni/net.d/99-loopback.conf", {"type": "loopback"}),),
        (file("/etc/cni/net.d/10-calico.conflist.bak", calico(1500)),),
        (file("/etc/cni/net.d/multus.d/daemon-config.json", {"type": "x"}),),
        (file("/etc/cni/net.d/05-chained.conflist", calico(1450)),),
    ],
)
def test_what_gives_new_pods_the_same_is_not_spoken_of(files: tuple[net.NodeFile, ...]) -> None:
    found = model(*files)
    assert runtime.find(found) == ()
    assert report.report(found).nodes[0].conflist_mtu == 1450


def test_a_copy_that_multus_made_once_counts_and_not_the_file_that_it_was_made_of() -> None:
    (wrong,) = judge(file(MULTUS, copying(1500)), nodes=("n1", "n2"))
    assert (wrong.code, wrong.severity) == ("MTU130", "error")
    assert wrong.place == "nodes n1 and n2, /etc/cni/net.d/00-multus.conf"
    assert wrong.message == (
        "The runtime takes this file, the first by name in its folder: multus goes by a copy of the CNI's "
        "configuration within it, and new pods here get 1500; /etc/cni/net.d/10-canal.conflist says 1450. The path "
        "between nodes carries 1450: packets of 1451-1500 bytes do not fit."
    )
    assert wrong.remedy.startswith("Restart the pods of multus, which copy /etc/cni/net.d/10-canal.conflist when they")


def test_new_pods_are_told_by_the_file_that_is_taken() -> None:
    found = model(file(MULTUS, copying(1500)))
    said = report.report(found)
    assert said.nodes[0].conflist_mtu == 1500
    assert said.verdict == "broken"
    assert not [one for one in said.findings if one.code in {"MTU103", "MTU110"}]


def test_a_copy_below_the_path_is_a_warning() -> None:
    (wrong,) = judge(file(MULTUS, copying(1400)))
    assert (wrong.code, wrong.severity) == ("MTU130", "warning")
    assert "new pods here get 1400" in wrong.message


def test_a_copy_with_an_mtu_in_quotes_starts_no_pod() -> None:
    (wrong,) = judge(file(MULTUS, copying("1450")))
    assert (wrong.code, wrong.severity) == ("MTU130", "error")
    assert 'with the MTU "1450", which the plugin refuses: no new pod starts here' in wrong.message


@pytest.mark.parametrize(
    ("path", "body", "runs"),
    [
        ("/etc/cni/net.d/10-bridge.conf", {"type": "bridge", "mtu": 9000}, "bridge"),
        ("/etc/cni/net.d/05-cilium.conflist", {"plugins": [{"type": "cilium-cni"}]}, "cilium-cni"),
        ("/etc/cni/net.d/00-loopback.json", {"type": "loopback"}, "loopback"),
    ],
)
def test_what_another_network_left_is_named_with_the_way_to_take_it_away(path: str, body: object, runs: str) -> None:
    (wrong,) = judge(file(path, body))
    assert (wrong.code, wrong.severity, wrong.place) == ("MTU130", "error", f"node n1, {path}")
    assert f"it runs {runs}, which is another pod network" in wrong.message
    assert "/etc/cni/net.d/10-canal.conflist is not read" in wrong.message
    assert wrong.remedy.endswith(f"mv {path} {path}.bak.")


def test_a_file_of_the_same_plugin_by_another_name_counts() -> None:
    (wrong,) = judge(file("/etc/cni/net.d/10-calico.conflist", calico(1500)))
    assert (wrong.code, wrong.severity) == ("MTU130", "error")
    assert "it runs the same plugin (calico) by itself, and new pods here get 1500" in wrong.message


def test_a_broken_file_that_sorts_first_starts_no_pod_with_containerd_and_is_passed_over_by_cri_o() -> None:
    junk = file("/etc/cni/net.d/00-half.conflist", '{"plugins": [')
    (wrong,) = judge(junk)
    assert (wrong.code, wrong.severity) == ("MTU122", "error")
    assert wrong.remedy.endswith("mv /etc/cni/net.d/00-half.conflist /etc/cni/net.d/00-half.conflist.bak.")
    seen = (example.node("n1", files=(junk,)),)
    cluster = example.cluster(seen)
    for found in cluster.each("Node"):
        found.body["status"] = {"nodeInfo": {"containerRuntimeVersion": "cri-o://1.30.2"}}
    assert runtime.find(layout.model(cluster, example.state())) == ()


def test_what_was_not_seen_is_said_to_be_unknown() -> None:
    shim = {"type": "multus-shim", "clusterNetwork": "/host/run/multus/cni/net.d/10-ovn-kubernetes.conf"}
    found = model(file(MULTUS, shim))
    (wrong,) = runtime.find(found)
    assert (wrong.code, wrong.severity) == ("MTU130", "warning")
    assert "goes by /host/run/multus/cni/net.d/10-ovn-kubernetes.conf, which was not seen" in wrong.message
    assert report.report(found).nodes[0].conflist_mtu is None
    assert runtime.unknown(found).startswith("What new pods get on n1 was not seen")


@pytest.mark.parametrize("members", [{}, {"delegates": []}, {"delegates": [7]}, {"delegates": [{"name": "x"}]}])
def test_multus_that_hands_on_to_nothing_starts_no_pod(members: dict[str, object]) -> None:
    (wrong,) = judge(file(MULTUS, {"type": "multus"} | members))
    assert (wrong.code, wrong.severity) == ("MTU122", "error")


def test_only_what_no_restart_renews_hinders_a_change() -> None:
    assert runtime.hindrance(model(file(MULTUS, copying(1500))), 1450) == ""
    stray = model(file("/etc/cni/net.d/10-bridge.conf", {"type": "bridge"}))
    assert runtime.hindrance(stray, 1450).startswith(
        "on n1 the runtime takes /etc/cni/net.d/10-bridge.conf and not /etc/cni/net.d/10-canal.conflist"
    )
    assert runtime.hindrance(model(file("/etc/cni/net.d/05-chained.conflist", calico(1450))), 1450) == ""


@pytest.mark.parametrize(
    ("path", "hindered"), [("/etc/cni/net.d/00-old.conf", True), ("/etc/cni/net.d/87-old.conf", False)]
)
def test_another_networks_file_where_the_cnis_own_is_missing(path: str, hindered: bool) -> None:
    seen = example.node("n1", path=path, text='{"name": "old", "type": "bridge", "mtu": 9000}')
    found = layout.model(example.cluster((seen, example.node("n2"))), example.state())
    (wrong,) = runtime.find(found)
    assert (wrong.code, wrong.severity, wrong.place) == ("MTU130", "error", f"node n1, {path}")
    assert wrong.message.startswith(
        "The CNI's own file, /etc/cni/net.d/10-canal.conflist, is not there, and the runtime takes this one: it "
        "runs bridge"
    )
    assert [one for one in report.judge(found) if one.code in {"MTU103", "MTU110"}] == []
    assert bool(runtime.hindrance(found, 1450)) is hindered


def test_a_file_of_the_cnis_own_plugin_by_another_name_is_its_own() -> None:
    seen = example.node("n1", path="/etc/cni/net.d/11-renamed.conflist")
    assert runtime.find(layout.model(example.cluster((seen,)), example.state())) == ()


def test_multus_may_have_renamed_the_file_that_it_has_copied() -> None:
    seen = example.node("n1", path=MULTUS, text=json.dumps(copying(1500)))
    found = layout.model(example.cluster((seen,)), example.state())
    assert runtime.find(found) == ()
    (stale,) = [one for one in report.judge(found) if one.code == "MTU103"]
    assert stale.place == "node n1, /etc/cni/net.d/00-multus.conf"
    assert stale.message.startswith("The file says 1500, the configuration 1450")
