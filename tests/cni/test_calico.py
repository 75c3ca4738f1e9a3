"""Calico by manifest and by operator: what feeds the pods, what feeds the tunnels, and which of two settings wins."""

from collections.abc import Callable

import pytest
import yaml

from kubemtu.cni import calico
from kubemtu.core.change.plan import EditValue, Rollout
from kubemtu.core.cluster.cni_state import CniState
from kubemtu.core.errors import UsageError
from kubemtu.core.net import NodeObservation
from kubemtu.core.snapshot import Snapshot

Reading = Callable[..., Snapshot]
FED = ("FELIX_IPINIPMTU", "FELIX_VXLANMTU", "FELIX_WIREGUARDMTU")


def config(veth: str | None = "0", mtu: str = "__CNI_MTU__") -> str:
    held = {"calico_backend": "bird", "cni_network_config": f'{{"plugins": [{{"type": "calico", "mtu": {mtu}}}]}}'}
    if veth is not None:
        held["veth_mtu"] = veth
    metadata = {"name": "calico-config", "namespace": "kube-system"}
    return yaml.safe_dump({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": held})


def agent(namespace: str = "kube-system", version: str = "v3.28.1", fed: tuple[str, ...] = FED, **literal: str) -> str:
    def key(name: str, of: str) -> dict[str, object]:
        return {"name": name, "valueFrom": {"configMapKeyRef": {"name": "calico-config", "key": of}}}

    install = [key("CNI_NETWORK_CONFIG", "cni_network_config"), key("CNI_MTU", "veth_mtu")]
    running: list[object] = [key("CALICO_NETWORKING_BACKEND", "calico_backend")]
    running += [key(name, "veth_mtu") for name in fed]
    running += [{"name": name, "value": value} for name, value in literal.items()]
    spec = {
        "initContainers": [{"name": "install-cni", "image": f"calico/cni:{version}", "env": install}],
        "containers": [{"name": "calico-node", "image": f"calico/node:{version}", "env": running}],
    }
    body = {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"name": "calico-node", "namespace": namespace},
        "spec": {"template": {"spec": spec}},
    }
    return yaml.safe_dump(body)


def pool(
    ipip: str = "Never",
    vxlan: str = "Never",
    cidr: str = "10.1.0.0/16",
    group: str = "projectcalico.org/v3",
    **more: object,
) -> str:
    spec = {"cidr": cidr, "ipipMode": ipip, "vxlanMode": vxlan} | more
    return yaml.safe_dump({"apiVersion": group, "kind": "IPPool", "metadata": {"name": "p"}, "spec": spec})


def felix(**spec: object) -> str:
    body = {"apiVersion": "crd.projectcalico.org/v1", "kind": "FelixConfiguration", "metadata": {"name": "default"}}
    return yaml.safe_dump(body | {"spec": spec})


def installation(mtu: object = None, status: object = None, encapsulation: str = "VXLAN", **spec: object) -> str:
    network: dict[str, object] = {"ipPools": [{"cidr": "10.1.0.0/16", "encapsulation": encapsulation}]}
    if mtu is not None:
        network["mtu"] = mtu
    body = {"apiVersion": "operator.tigera.io/v1", "kind": "Installation", "metadata": {"name": "default"}}
    return yaml.safe_dump(
        body | {"spec": {"calicoNetwork": network} | spec, "status": {"mtu": status} if status else {}}
    )


def read(snapshot: Snapshot) -> CniState:
    state = calico.read(snapshot)
    assert state is not None
    return state


def codes(state: CniState) -> list[str]:
    return [finding.code for finding in state.findings]


def steps(snapshot: Snapshot, target: int) -> tuple[list[EditValue], list[Rollout]]:
    found = calico.steps(read(snapshot), target)
    return [one for one in found if isinstance(one, EditValue)], [one for one in found if isinstance(one, Rollout)]


def test_veth_mtu_feeds_pods_and_tunnels(snapshot: Reading) -> None:
    state = read(snapshot(config("1440"), agent(), pool(ipip="Always")))
    assert state.variant == "manifest"
    assert (state.pod_mtu, state.conflist_mtu) == (1440, 1440)
    assert (state.tunnel, state.tunnel_mtu) == ("tunl0", 1440)
    assert state.encapsulation_name == "ipip"
    assert [one.cost for one in state.encapsulation] == [20]
    assert state.conflist == "/etc/cni/net.d/10-calico.conflist"
    assert state.findings == ()


@pytest.mark.parametrize(
    ("modes", "costs", "name", "tunnel"),
    [
        ({"ipip": "CrossSubnet"}, [20], "ipip (CrossSubnet)", "tunl0"),
        ({"vxlan": "Always"}, [50], "vxlan", "vxlan.calico"),
        ({"vxlan": "CrossSubnet"}, [50], "vxlan (CrossSubnet)", "vxlan.calico"),
        ({"vxlan": "Always", "cidr": "fd00::/48"}, [70], "vxlan over IPv6", "vxlan-v6.calico"),
        ({"vxlan": "Always", "disabled": True}, [50], "vxlan", "vxlan.calico"),
        ({}, [], "none", None),
    ],
)
def test_the_pools_decide_the_encapsulation(
    snapshot: Reading, modes: dict[str, str], costs: list[int], name: str, tunnel: str | None
) -> None:
    state = read(snapshot(config("1400"), agent(), pool(**modes)))
    assert [one.cost for one in state.encapsulation] == costs
    assert (state.encapsulation_name, state.tunnel) == (name, tunnel)
    assert state.ipv6 == ("cidr" in modes)


def test_both_api_groups_are_read_and_other_projects_pools_are_not(snapshot: Reading) -> None:
    foreign = pool(vxlan="Always", group="whereabouts.cni.cncf.io/v1alpha1")
    state = read(snapshot(config("1400"), agent(), pool(ipip="Always", group="crd.projectcalico.org/v1"), foreign))
    assert state.encapsulation_name == "ipip"


def test_a_pool_cannot_be_both(snapshot: Reading) -> None:
    state = read(snapshot(config("1400"), agent(), pool(ipip="Always", vxlan="Always")))
    assert [(one.code, one.severity) for one in state.findings] == [("MTU117", "error")]
    assert sorted(one.cost for one in state.encapsulation) == [20, 50]


def test_without_pools_the_first_pool_that_calico_node_would_make_counts(snapshot: Reading) -> None:
    made = read(snapshot(config("1400"), agent(CALICO_IPV4POOL_IPIP="Always", CALICO_IPV4POOL_CIDR="10.9.0.0/16")))
    assert (made.encapsulation_name, made.pod_networks) == ("ipip", ("10.9.0.0/16",))
    assert read(snapshot(config("1400"), agent())).encapsulation_name == "none"


def test_nothing_says_which_encapsulation(snapshot: Reading) -> None:
    state = read(snapshot(config("1400")))
    assert codes(state) == ["MTU117"]
    assert "encapsulation is unknown" in state.findings[0].message


@pytest.mark.parametrize(
    ("nodes", "pods"),
    [(((9001,), {}), 8951), (((1500,), {}), 1450), (((1500,), {"felix": "1420\n"}), 1420)],
)
def test_automatic_takes_the_nic_less_the_encapsulation_or_what_felix_wrote(
    snapshot: Reading,
    node: Callable[..., NodeObservation],
    nodes: tuple[tuple[int], dict[str, str]],
    pods: int,
) -> None:
    (mtu,), files = nodes
    seen = snapshot(config(), agent(), pool(vxlan="Always"), nodes=(node(mtu=mtu, **files),))
    assert read(seen).pod_mtu == pods


def test_automatic_without_nodes_is_open(snapshot: Reading) -> None:
    state = read(snapshot(config(), agent(), pool(vxlan="Always")))
    assert (state.pod_mtu, state.conflist_mtu, state.findings) == (None, None, ())


def test_before_3_17_zero_meant_the_kernels_default(snapshot: Reading) -> None:
    assert read(snapshot(config(), agent(version="v3.16.5"), pool())).pod_mtu == 1500


def test_a_felix_configuration_sizes_the_tunnel_and_so_the_pods(snapshot: Reading) -> None:
    state = read(snapshot(config(), agent(fed=()), pool(vxlan="Always"), felix(vxlanMTU=1400)))
    assert (state.pod_mtu, state.tunnel_mtu) == (1400, 1400)
    assert state.findings == ()


@pytest.mark.parametrize(("literal", "wins"), [("0", "'0' (automatic)"), ("1480", "'1480'")])
def test_a_variable_hides_the_felix_configuration(snapshot: Reading, literal: str, wins: str) -> None:
    found = snapshot(config(), agent(fed=(), FELIX_IPINIPMTU=literal), pool(ipip="Always"), felix(ipipMTU=1400))
    state = read(found)
    (finding,) = state.findings
    assert finding.code == "MTU111"
    assert f"FELIX_IPINIPMTU to {wins}" in finding.message
    assert [key.effective for key in state.mtu_keys if key.means == "tunnel"] == [False]


def test_an_empty_variable_hides_nothing(snapshot: Reading) -> None:
    state = read(snapshot(config(), agent(fed=(), FELIX_IPINIPMTU=""), pool(ipip="Always"), felix(ipipMTU=1400)))
    assert (state.tunnel_mtu, state.findings) == (1400, ())


@pytest.mark.parametrize(
    ("fed", "literal", "field"),
    [
        ((), {}, "vxlanMTU"),
        ((), {"FELIX_VXLANMTU": ""}, "vxlanMTU"),
        ((), {"FELIX_VXLANMTU": "0"}, None),
        (FED, {}, None),
    ],
)
def test_where_a_tunnel_is_given_an_mtu_of_its_own(
    snapshot: Reading, fed: tuple[str, ...], literal: dict[str, str], field: str | None
) -> None:
    key = read(snapshot(config("1450"), agent(fed=fed, **literal), pool(vxlan="Always"))).tunnel_key
    assert str(key) == (f"FelixConfiguration default, spec.{field}" if field else "None")


def test_wireguard_costs_most(snapshot: Reading) -> None:
    state = read(snapshot(config("1440"), agent(), pool(vxlan="Always"), felix(wireguardEnabled=True)))
    assert state.tunnel == "wireguard.cali"
    assert [one.cost for one in state.encapsulation] == [50, 60]


def test_a_tunnel_that_is_configured_smaller_than_the_pods(snapshot: Reading) -> None:
    state = read(snapshot(config("1500"), agent(fed=(), FELIX_IPINIPMTU="1440"), pool(ipip="Always")))
    (finding,) = state.findings
    assert (finding.code, finding.severity) == ("MTU119", "error")
    assert "packets of 1441-1500 bytes do not fit" in finding.message


def test_policy_only_has_a_literal_that_veth_mtu_does_not_reach(snapshot: Reading) -> None:
    state = read(snapshot(config("1440", mtu="1500"), agent(), pool()))
    assert (state.variant, state.pod_mtu) == ("manifest (inline integer)", 1500)
    assert codes(state) == ["MTU111"]


@pytest.mark.parametrize(
    ("spec", "code"),
    [
        ({"vxlanMTU": "1400"}, "MTU112"),
        ({"vxlanMTU": 99999}, "MTU112"),
        ({"mtuIfacePattern": "^(eth"}, "MTU117"),
        ({"mtuIfacePattern": 7}, "MTU117"),
        ({"wireguardEnabled": "yes"}, "MTU117"),
    ],
)
def test_a_felix_configuration_that_is_broken(snapshot: Reading, spec: dict[str, object], code: str) -> None:
    assert codes(read(snapshot(config("1400"), agent(fed=()), pool(), felix(**spec)))) == [code]


def test_a_key_that_the_daemonset_needs_is_missing(snapshot: Reading) -> None:
    state = read(snapshot(config(None), agent(), pool()))
    assert [one.place for one in state.findings if one.code == "MTU108"] == [
        "ConfigMap kube-system/calico-config, key veth_mtu"
    ]


def test_manifest_changes_one_key(snapshot: Reading) -> None:
    (edit,), (restart,) = steps(snapshot(config(), agent(), pool(vxlan="Always")), 1450)
    assert (edit.path, edit.before, edit.after) == (("data", "veth_mtu"), "0", "1450")
    assert str(restart.ref) == "DaemonSet kube-system/calico-node"
    assert (restart.conflist, restart.mtu) == ("/etc/cni/net.d/10-calico.conflist", 1450)


def test_policy_only_changes_the_literal(snapshot: Reading) -> None:
    (edit,), _ = steps(snapshot(config("0", mtu="1500"), agent(), pool()), 1400)
    assert edit.path == ("data", "cni_network_config")
    assert edit.after == '{"plugins": [{"type": "calico", "mtu": 1400}]}'


def test_a_tunnel_that_another_setting_keeps_small_is_raised_with_the_pods(snapshot: Reading) -> None:
    found = snapshot(config("1400"), agent(fed=()), pool(vxlan="Always"), felix(vxlanMTU=1400))
    (pods, tunnel), _ = steps(found, 1450)
    assert pods.after == "1450"
    assert (str(tunnel.ref), tunnel.path, tunnel.before, tunnel.after) == (
        "FelixConfiguration default",
        ("spec", "vxlanMTU"),
        1400,
        1450,
    )
    assert len(steps(found, 1300)[0]) == 1


def test_a_tunnel_that_a_variable_keeps_small_stops_everything(snapshot: Reading) -> None:
    found = snapshot(config("1400"), agent(fed=(), FELIX_VXLANMTU="1400"), pool(vxlan="Always"))
    with pytest.raises(UsageError, match=r"FELIX_VXLANMTU to '1400'.*raise it there to 1450"):
        steps(found, 1450)


def test_the_operator_holds_an_integer(snapshot: Reading) -> None:
    state = read(snapshot(installation(1400, 1400)))
    assert (state.variant, state.pod_mtu, state.conflist_mtu) == ("operator", 1400, 1400)
    assert state.owner == ""
    (caution,) = state.cautions
    assert caution.startswith("The tigera operator writes ConfigMap calico-system/cni-config and DaemonSet")
    assert caution.endswith("takes back what is changed in them by hand.")
    assert str(state.daemonset) == "DaemonSet calico-system/calico-node"
    assert (state.tunnel, state.tunnel_mtu) == ("vxlan.calico", 1400)
    assert state.mtu_keys[0].path == ("spec", "calicoNetwork", "mtu")
    assert state.findings == ()


@pytest.mark.parametrize(
    ("word", "costs"),
    [("IPIP", [20]), ("IPIPCrossSubnet", [20]), ("VXLAN", [50]), ("VXLANCrossSubnet", [50]), ("None", []), ("", [20])],
)
def test_the_operators_words_for_encapsulations(snapshot: Reading, word: str, costs: list[int]) -> None:
    assert [one.cost for one in read(snapshot(installation(encapsulation=word))).encapsulation] == costs


def test_the_operators_pools_give_way_to_those_that_exist(snapshot: Reading) -> None:
    assert read(snapshot(installation(), pool(ipip="Always"))).encapsulation_name == "ipip"


def rendered(mtu: int) -> str:
    """Return what the operator makes of an Installation (tigera/operator: pkg/render/node.go, nodeCNIConfigMap)."""
    metadata = {"name": "cni-config", "namespace": "calico-system"}
    config = f'{{"plugins": [{{"type": "calico", "mtu": {mtu}}}]}}'
    return yaml.safe_dump({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"config": config}})


@pytest.mark.parametrize(("said", "held"), [(1400, 1400), (None, 0)])
def test_what_the_operator_has_rendered_from_the_installation_is_nothing_to_say(
    snapshot: Reading, said: int | None, held: int
) -> None:
    assert read(snapshot(installation(said, 1400), rendered(held))).findings == ()


@pytest.mark.parametrize(("said", "held", "text"), [(1400, 1500, "It says 1500 and"), (None, 1450, "It says 1450 and")])
def test_what_is_changed_behind_the_installation_will_be_taken_back(
    snapshot: Reading, said: int | None, held: int, text: str
) -> None:
    (found,) = read(snapshot(installation(said, 1400), rendered(held))).findings
    assert (found.code, found.severity) == ("MTU113", "warning")
    assert found.place == "ConfigMap calico-system/cni-config, data.config"
    assert found.message.startswith(f"{text} the Installation {said or 'none'}: the tigera operator writes it anew")


def test_a_restart_waits_for_what_the_operator_renders(snapshot: Reading) -> None:
    (restart,) = steps(snapshot(installation(1450)), 1400)[1]
    assert restart.rendered is not None
    assert (str(restart.rendered.ref), restart.rendered.path) == (
        "ConfigMap calico-system/cni-config",
        ("data", "config"),
    )
    (by_manifest,) = steps(snapshot(config("1440"), agent()), 1400)[1]
    assert by_manifest.rendered is None


def test_the_operator_reports_what_it_sees(snapshot: Reading) -> None:
    state = read(snapshot(installation(status=8951)))
    assert (state.pod_mtu, state.conflist_mtu, state.mtu_keys[0].value) == (8951, None, None)


def test_an_installation_for_another_cni_only_adds_policy(snapshot: Reading) -> None:
    assert calico.read(snapshot(installation(cni={"type": "AmazonVPC"}))) is None


@pytest.mark.parametrize(("mtu", "code"), [("1400", "MTU112"), (True, "MTU112"), (7, "MTU112"), ([1], "MTU112")])
def test_an_installation_whose_mtu_is_none(snapshot: Reading, mtu: object, code: str) -> None:
    state = read(snapshot(installation(mtu)))
    assert codes(state) == [code]
    assert state.pod_mtu is None


@pytest.mark.parametrize(("mtu", "before"), [(None, None), (1450, 1450), ("1450", "1450")])
def test_the_operators_change_is_an_integer_in_the_installation_alone(
    snapshot: Reading, mtu: object, before: object
) -> None:
    (edit,), (restart,) = steps(snapshot(installation(mtu), config("1450"), agent("calico-system")), 1400)
    assert str(edit.ref) == "Installation default"
    assert (edit.path, edit.before, edit.after) == (("spec", "calicoNetwork", "mtu"), before, 1400)
    assert str(restart.ref) == "DaemonSet calico-system/calico-node"


def test_the_detection_sees_nics_by_name() -> None:
    from kubemtu.core import encap
    from kubemtu.core.net import Link

    default = r"^((en|wl|ww|sl|ib)[Pcopsvx].*|(eth|wlan|wwan).*)"
    nics = [
        Link(index=1, name="lo", mtu=65536),
        Link(index=2, name="eth0", mtu=9000),
        Link(index=3, name="ens5", mtu=8500),
        Link(index=4, name="enp1s0", mtu=1400, up=False),
        Link(index=5, name="bond0", mtu=1500),
    ]
    vxlan = [encap.parse("vxlan")]
    assert calico.auto_mtu(nics, default, vxlan) == 8450
    assert calico.auto_mtu(nics, default, ()) == 8500
    assert calico.auto_mtu(nics[4:], default, vxlan) == 1410  # 1460 − 50: nothing matches
    assert calico.auto_mtu(nics, "^bond", [encap.parse("ipip"), *vxlan]) == 1450


def test_nothing_to_change(snapshot: Reading, node: Callable[..., NodeObservation]) -> None:
    assert steps(snapshot(config("1450"), agent(), pool()), 1450) == ([], [])
    behind = node(calico='{"plugins": [{"type": "calico", "mtu": 1400}]}')
    edits, restarts = steps(snapshot(config("1450"), agent(), pool(), nodes=(node("n0"), behind)), 1450)
    assert edits == []
    assert [restart.mtu for restart in restarts] == [1450]


def test_without_its_configmap_calico_is_described_and_not_changed(snapshot: Reading) -> None:
    found = snapshot(agent(), pool(vxlan="Always"))
    state = read(found)
    assert codes(state) == ["MTU117"]
    assert (state.pod_mtu, state.encapsulation_name) == (None, "vxlan")
    with pytest.raises(UsageError, match="was not read"):
        calico.steps(state, 1450)


def test_a_lost_key_stops_everything(snapshot: Reading) -> None:
    found = snapshot(config("1450").replace("calico_backend", "other"), agent(), pool())
    with pytest.raises(UsageError, match="lacks calico_backend"):
        steps(found, 1400)


@pytest.mark.parametrize(("rendered", "drifted"), [("1440", ["MTU113"]), ("1400", [])])
def test_rke_owns_calico_too(snapshot: Reading, rendered: str, drifted: list[str]) -> None:
    metadata = {"name": "rke-network-plugin", "namespace": "kube-system"}
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}
    store = yaml.safe_dump(body | {"data": {"rke-network-plugin": config(rendered)}})
    state = read(snapshot(config("1400"), agent(), pool(), store))
    assert state.owner == "RKE (cluster.yml: network.mtu)"
    assert codes(state) == drifted
    assert read(snapshot(config("1400"), agent(), pool(), yaml.safe_dump(body))).owner == state.owner
