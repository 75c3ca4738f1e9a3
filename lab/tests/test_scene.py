"""Scenes and the objects that they become: values only, no namespace is made here."""

import json
import re

import msgspec
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from kubemtu.core import errors
from kubemtu_lab import addressing, attach, containers, manifests, scenes
from kubemtu_lab.scene import (
    Canal,
    ConfigEdit,
    Flannel,
    HandSet,
    Nic,
    Owner,
    OwnerKind,
    Scene,
    nodes,
    resized,
)


def bodies(scene: Scene, kind: str) -> dict[str, dict[str, object]]:
    """Return the objects of a kind, by name."""
    found = {}
    for body in manifests.objects(scene):
        if body["kind"] == kind:
            metadata = body["metadata"]
            assert isinstance(metadata, dict)
            found[metadata["name"]] = body
    return found


def config(scene: Scene) -> dict[str, str]:
    """Return the keys of the CNI's ConfigMap."""
    (body,) = bodies(scene, "ConfigMap").values()
    found: dict[str, str] = msgspec.convert(body["data"], dict[str, str])
    return found


def template(scene: Scene) -> dict[str, list[dict[str, object]]]:
    """Return the containers of the CNI's DaemonSet."""
    (body,) = bodies(scene, "DaemonSet").values()
    spec = msgspec.json.decode(msgspec.json.encode(body))["spec"]["template"]["spec"]
    return {part: spec.get(part, []) for part in ("initContainers", "containers")}


def referred(scene: Scene) -> set[str]:
    """Return the ConfigMap keys that the DaemonSet's variables refer to."""
    text = json.dumps(template(scene))
    return {each for each in config(scene) if f'"key": "{each}"' in text}


def test_era_a_has_no_mtu_anywhere_and_installs_by_a_sidecar() -> None:
    scene = scenes.named("canal-1500")
    keys = config(scene)
    assert set(keys) == {"canal_iface", "masquerade", "cni_network_config", "net-conf.json"}
    assert keys["canal_iface"] == ""
    assert "mtu" not in keys["cni_network_config"].lower()
    assert "MTU" not in keys["net-conf.json"]
    assert "__SERVICEACCOUNT_TOKEN__" in keys["cni_network_config"]
    assert [each["name"] for each in template(scene)["containers"]] == ["calico-node", "install-cni", "kube-flannel"]
    assert referred(scene) == {"canal_iface", "masquerade", "cni_network_config"}


def test_era_b_has_a_number_in_the_json_and_installs_first() -> None:
    scene = scenes.named("canal-healthy")
    assert json.loads(config(scene)["cni_network_config"])["plugins"][0]["mtu"] == 1450
    assert "veth_mtu" not in config(scene)
    assert [each["name"] for each in template(scene)["initContainers"]] == ["install-cni"]
    without = config(scene.replace(cni=Canal(era="B")))
    assert "mtu" not in json.loads(without["cni_network_config"])["plugins"][0]


def test_era_c_has_its_number_as_text_under_a_key_and_an_unquoted_placeholder() -> None:
    scene = scenes.named("canal-veth-mtu")
    assert config(scene)["veth_mtu"] == "1450"
    assert '"mtu": __CNI_MTU__,' in config(scene)["cni_network_config"]
    assert referred(scene) == {"canal_iface", "masquerade", "cni_network_config", "veth_mtu"}
    assert config(scene.replace(cni=Canal(era="C")))["veth_mtu"] == "1450"  # RKE's default


def test_flannel_counts_backend_mtu_on_the_underlay_and_delegate_mtu_in_the_pod() -> None:
    scene = scenes.named("flannel").replace(cni=Flannel(backend_mtu=9000, delegate_mtu=8950))
    assert json.loads(config(scene)["net-conf.json"])["Backend"] == {"Type": "vxlan", "MTU": 9000}
    assert json.loads(config(scene)["cni-conf.json"])["plugins"][0]["delegate"]["mtu"] == 8950
    assert json.loads(config(scenes.named("flannel"))["net-conf.json"])["Backend"] == {"Type": "vxlan"}


def test_every_scene_has_nodes_with_networks_and_a_pool_without_encapsulation() -> None:
    for scene in scenes.SCENES.values():
        made = bodies(scene, "Node")
        network = "10.244.2.0/24" if 4 in scene.families else "fd00:10:244:2::/64"
        assert msgspec.convert(made["node-2"]["spec"], dict[str, object])["podCIDR"] == network
        if isinstance(scene.cni, Canal):
            pool = msgspec.convert(bodies(scene, "IPPool")["default-ipv4-ippool"]["spec"], dict[str, object])
            assert pool["ipipMode"] == "Never"


def test_agents_are_a_daemonset_of_their_own() -> None:
    scene = scenes.named("canal-1500").replace(agents=True)
    agent = json.dumps(bodies(scene, "DaemonSet")["kubemtu-agent"])
    assert '"agent", "--host-root=/host", "--journal=/host/run/kubemtu", "--pod-prefix=cali"' in agent
    assert '"--kubeconfig", "/etc/kubernetes/in-cluster.conf"' in agent
    assert "kubemtu-agent" not in bodies(scenes.named("canal-1500"), "DaemonSet")


def test_scenes_compose() -> None:
    scene = scenes.only_host_ends(scenes.lost_iface(scenes.named("canal-1500")), 1450)
    assert scene.faults[0] == ConfigEdit(namespace="kube-system", name="canal-config", key="canal_iface", value=None)
    assert scene.faults[1:] == tuple(HandSet(node=f"node-{each}", links="cali*", mtu=1450) for each in (1, 2, 3))
    assert scenes.named("canal-1500").faults == ()
    assert scenes.only_host_ends(scenes.named("flannel"), 1400).faults[0] == HandSet(
        node="node-1", links="veth*", mtu=1400
    )
    hole = scenes.black_hole(scenes.named("canal-iface"), "node-2", 1400)
    assert hole.nodes[1].nics == (Nic(name="eno1", port_mtu=1400), Nic(name="ens5", mtu=9000))


def test_a_scene_survives_being_written_down() -> None:
    more = scenes.udp_filtered(scenes.icmp_filtered(scenes.named("flannel")), 7843)
    for scene in (*scenes.SCENES.values(), more):
        assert msgspec.json.decode(msgspec.json.encode(scene), type=Scene) == scene


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (lambda: scenes.named("canal"), "there is no scene canal; choose one of: canal-1500, "),
        (lambda: scenes.named("flannel").with_nics("node-9"), "scene flannel has no node node-9; it has node-1, "),
        (lambda: Scene(name="s", summary="", nodes=nodes(1, 1) * 2), "two nodes are called node-1"),
        (lambda: Scene(name="s", summary="", nodes=()), "1 to 200 nodes, not 0"),
        (lambda: scenes.FAULTS["only-host-ends"][0](scenes.named("flannel"), None), "needs an MTU"),
    ],
)
def test_impossible_scenes_are_refused_with_a_sentence(wrong: object, told: str) -> None:
    assert callable(wrong)
    with pytest.raises(errors.UsageError) as refused:
        wrong()
    assert told in str(refused.value)


@given(count=st.integers(1, 60), pods=st.integers(0, 60), nic=st.integers(1280, 9216), pod=st.integers(1280, 9216))
def test_a_resized_scene_has_what_was_asked_and_keeps_the_rest(count: int, pods: int, nic: int, pod: int) -> None:
    before = scenes.named("canal-iface")
    after = resized(before, nodes=count, pods=pods, nic_mtu=nic, pod_mtu=pod)
    assert [each.name for each in after.nodes] == [f"node-{place}" for place in range(1, count + 1)]
    assert all(len(each.pods) == pods for each in after.nodes)
    assert all(each.nics == (Nic(name="eno1", mtu=nic), Nic(name="ens5", mtu=9000)) for each in after.nodes)
    assert after.cni == Canal(era="A", mtu=pod, iface="ens5")
    assert resized(before) == before


def test_addresses_follow_from_the_place_of_a_node() -> None:
    assert addressing.node(3, addressing.DUAL) == ["192.168.77.3", "fd00:77::3"]
    assert addressing.node(200, addressing.DUAL, 1) == ["192.168.78.200", "fd00:78::c8"]
    assert addressing.pod_networks(3, addressing.DUAL) == ("10.244.3.0/24", "fd00:10:244:3::/64")
    assert addressing.host_port("fd00:77::1", 6443) == "[fd00:77::1]:6443"  # RFC 3986, section 3.2.2
    assert addressing.host_port("192.168.77.1", 6443) == "192.168.77.1:6443"


def test_a_cluster_of_ipv6_alone_names_no_address_of_ipv4() -> None:
    scene = scenes.named("ipv6").replace(probes=True, agents=True)
    texts = [json.dumps(body) for body in manifests.objects(scene) if body["kind"] != "CustomResourceDefinition"]
    assert [text for text in texts if re.search(r"\d+\.\d+\.\d+\.\d+", text)] == []
    assert json.loads(config(scenes.named("ipv6"))["net-conf.json"]) == {
        "EnableIPv4": False,
        "EnableIPv6": True,
        "IPv6Network": "fd00:10:244::/48",
        "Backend": {"Type": "vxlan", "MTU": 1480},
    }
    with pytest.raises(errors.UsageError, match="IPv6 alone is played with kube-flannel only"):
        scene.replace(cni=Canal())


@given(steps=st.lists(st.integers(0, 30), max_size=200))
def test_host_local_never_gives_an_address_twice_nor_the_gateways(steps: list[int]) -> None:
    pool = attach.Addresses(("10.244.1.0/27", "fd00:10:244:1::/64"))
    held: dict[int, tuple[str, ...]] = {}
    for step in steps:
        if step in held:
            pool.give_back(step)
            del held[step]
        elif len(held) < 29:
            place, found = pool.take()
            assert place not in held
            assert 2 <= place <= 30
            assert found == (f"10.244.1.{place}", f"fd00:10:244:1::{place:x}")
            held[place] = found
        else:
            with pytest.raises(attach.AttachFailed, match="no IP addresses available"):
                pool.take()


def test_host_local_does_not_use_an_address_again_at_once() -> None:
    pool = attach.Addresses(("10.244.1.0/24",))
    place, first = pool.take()
    pool.give_back(place)
    assert first == ("10.244.1.2",)
    assert pool.take()[1] == ("10.244.1.3",)


@pytest.mark.parametrize(
    ("written", "read"),
    [("$(NODE)", "n1"), ("--x=$(NODE).$(NODE)", "--x=n1.n1"), ("$(MISSING)", "$(MISSING)"), ("$NODE", "$NODE")],
)
def test_variables_in_commands_are_replaced_as_kubernetes_does(written: str, read: str) -> None:
    assert containers.expand(written, {"NODE": "n1"}) == read


@pytest.mark.parametrize(
    ("kind", "part", "told"),
    [
        ("helm", "labels", {"app.kubernetes.io/managed-by": "Helm"}),
        (
            "argo-cd",
            "annotations",
            {"argocd.argoproj.io/tracking-id": "network:/ConfigMap:kube-flannel/kube-flannel-cfg"},
        ),
        ("flux", "labels", {"kustomize.toolkit.fluxcd.io/namespace": "flux-system"}),
        ("addon", "annotations", {"objectset.rio.cattle.io/owner-gvk": "k3s.cattle.io/v1, Kind=Addon"}),
    ],
)
def test_an_owner_marks_the_configuration_that_it_keeps(kind: OwnerKind, part: str, told: dict[str, str]) -> None:
    scene = scenes.named("flannel").replace(owner=Owner(kind=kind))
    (body,) = bodies(scene, "ConfigMap").values()
    metadata = msgspec.convert(body["metadata"], dict[str, object])
    assert told.items() <= msgspec.convert(metadata[part], dict[str, str]).items()
    assert (
        part not in msgspec.convert(bodies(scenes.named("flannel"), "ConfigMap")["kube-flannel-cfg"], dict)["metadata"]
    )


def test_rke_keeps_what_it_rendered_beside_it() -> None:
    scene = scenes.named("canal-1500").replace(owner=Owner(kind="rke"))
    found = bodies(scene, "ConfigMap")
    kept = msgspec.convert(found["rke-network-plugin"]["data"], dict[str, str])["rke-network-plugin"]
    rendered = [each for each in yaml.safe_load_all(kept) if each["metadata"]["name"] == "canal-config"]
    assert rendered[0]["data"] == found["canal-config"]["data"]
