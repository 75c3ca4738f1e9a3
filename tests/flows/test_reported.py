"""What people reported, as files: each case stands for its kind, with the answer that its report came to in the end."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.support import reported

from kubemtu.core import errors, net
from kubemtu.core.change.plan import EditValue, Plan
from kubemtu.core.rules.report import Report
from kubemtu.core.snapshot import Snapshot
from kubemtu.flows import decide
from kubemtu.flows.saved import manifests

Files = Callable[..., Snapshot]
DUAL = '{"Network": "10.244.0.0/16", "EnableIPv6": true, "IPv6Network": "fd00:10:244::/56", "Backend": %s}'


@pytest.fixture
def files(tmp_path: Path) -> Files:
    """Read texts as files of one folder: "manifests.yaml" first, others by name (a dot is written __)."""

    def load(text: str = "", **more: str) -> Snapshot:
        if text:
            (tmp_path / "manifests.yaml").write_text(text)
        for name, held in more.items():
            (tmp_path / name.replace("__", ".")).write_text(held)
        return manifests.load(tmp_path)

    return load


def codes(found: Report) -> list[tuple[str, str]]:
    return [(one.code, one.severity) for one in found.findings]


def said(found: Report, code: str) -> str:
    return "\n".join(f"{one.place}: {one.message} {one.remedy}" for one in found.findings if one.code == code)


def edits(made: Plan) -> dict[str, object]:
    return {".".join(map(str, step.path)): step.after for step in made.steps if isinstance(step, EditValue)}


def test_a_literal_for_pods_and_a_key_for_the_tunnels_are_changed_together(files: Files) -> None:
    snapshot = files(reported.calico("1440", "1500", "vxlan") + "---\n" + reported.pool(vxlan="Always"))
    found = decide.check(snapshot, 1500)
    assert found.verdict == "broken"
    assert "key veth_mtu of ConfigMap calico-config (it fills FELIX_VXLANMTU)" in said(found, "MTU119")
    made, _ = decide.plan(snapshot, nic_mtu=1500)
    changed = edits(made)
    assert (made.target, changed["data.veth_mtu"]) == (1450, "1450")
    assert '"mtu": 1450' in str(changed["data.cni_network_config"])


def test_one_number_for_pods_and_tunnels_on_a_small_nic(files: Files) -> None:
    snapshot = files(reported.calico("1440") + "---\n" + reported.pool(ipip="Always"))
    made, _ = decide.plan(snapshot, nic_mtu=1450)
    assert edits(made) == {"data.veth_mtu": "1430"}


def test_a_tunnel_that_a_literal_holds_leads_the_pods_to_it(files: Files) -> None:
    env = (reported.variable("FELIX_IPINIPMTU", "1440"),)
    snapshot = files(reported.calico(None, "1500", env=env) + "---\n" + reported.pool(ipip="Always"))
    found = decide.check(snapshot, 1500)
    assert found.recommended_mtu == 1440
    assert "Set it to 1440" in said(found, "MTU119")
    made, _ = decide.plan(snapshot, nic_mtu=1500)
    assert made.target == 1440
    assert "FELIX_IPINIPMTU of DaemonSet kube-system/calico-node holds the tunnel at 1440" in " ".join(made.warnings)
    after = decide.check(decide.edited(snapshot, [one for one in made.steps if isinstance(one, EditValue)]), 1500)
    assert after.verdict == "healthy"


@pytest.mark.parametrize(
    ("backend", "env", "why"),
    [
        ("vxlan", ("CALICO_IPV4POOL_VXLAN", "Never"), "calico_backend is vxlan"),
        ("bird", ("NO_DEFAULT_POOLS", "true"), "NO_DEFAULT_POOLS"),
    ],
)
def test_pools_that_calico_node_does_not_make_are_not_guessed(
    files: Files, backend: str, env: tuple[str, str], why: str
) -> None:
    snapshot = files(reported.calico(backend=backend, env=(reported.variable(*env),)))
    found = decide.check(snapshot, 1500)
    assert (found.verdict, found.encapsulation) == ("incomplete", "unknown")
    assert why in said(found, "MTU117")
    with pytest.raises(errors.UsageError, match="encapsulation between nodes could not be read"):
        decide.plan(snapshot, nic_mtu=1500)


def test_a_new_clusters_pool_comes_from_the_variables(files: Files) -> None:
    snapshot = files(reported.calico(env=(reported.variable("CALICO_IPV4POOL_IPIP", "Always"),)))
    found = decide.check(snapshot, 1500)
    assert (found.verdict, found.encapsulation, found.recommended_mtu) == ("healthy", "ipip", 1480)


def test_the_automatic_key_beside_a_literal_asks_for_nothing(files: Files) -> None:
    assert codes(decide.check(files(reported.calico("0", "1500", "none")), 1500)) == []


@pytest.mark.parametrize(("nic", "gets", "carries"), [(1500, 1450, 1430), (9000, 8950, 8930)])
def test_flannel_takes_50_off_for_ipv6_as_well(files: Files, nic: int, gets: int, carries: int) -> None:
    snapshot = files(reported.flannel(DUAL % '{"Type": "vxlan"}'))
    found = decide.check(snapshot, nic)
    assert codes(found) == [("MTU119", "error")]
    assert f"new pods get {gets}, but the path between nodes carries {carries}" in said(found, "MTU119")
    without = decide.check(snapshot)
    assert "on NICs of 1500, new pods get 1450 and the path carries 1430" in said(without, "MTU119")
    made, topology = decide.plan(snapshot, nic_mtu=nic)
    assert (made.target, topology.born) == (carries, gets)


@pytest.mark.parametrize(("more", "gets"), [("", 1423), (', "UDPEncap": true', 1415)])
def test_flannels_constant_for_ipsec(files: Files, more: str, gets: int) -> None:
    backend = '{"Type": "ipsec", "PSK": "x"%s}' % more  # noqa: UP031 - braces of JSON
    found = decide.check(files(reported.flannel('{"Network": "10.244.0.0/16", "Backend": %s}' % backend)), 1500)  # noqa: UP031
    assert f"new pods get {gets}" in said(found, "MTU119")


def test_canals_automatic_follows_the_nic_and_not_flannel(files: Files) -> None:
    found = decide.check(files(reported.canal("0")), 9001)
    assert "new pods get 9001, but the path between nodes carries 8951" in said(found, "MTU119")
    assert "1450" not in said(found, "MTU119")
    assert "on NICs of 1500, new pods get what" not in said(found, "MTU119")


def test_a_backend_that_runs_commands_is_not_guessed_at(files: Files) -> None:
    snapshot = files(reported.canal("1400", backend="extension"))
    found = decide.check(snapshot, 1500)
    assert (found.verdict, found.encapsulation) == ("incomplete", "unknown")
    with pytest.raises(errors.UsageError, match="give --mtu N"):
        decide.plan(snapshot, nic_mtu=1500)


def test_a_backend_of_a_cloud_puts_nothing_around(files: Files) -> None:
    found = decide.check(files(reported.flannel('{"Network": "10.244.0.0/16", "Backend": {"Type": "ali-vpc"}}')), 1500)
    assert (codes(found), found.encapsulation, found.recommended_mtu) == ([], "none", 1500)


def test_the_quotes_around_a_placeholder_are_taken_away(files: Files) -> None:
    snapshot = files(reported.canal("1400", '"__CNI_MTU__"'))
    assert ("MTU112", "error") in codes(decide.check(snapshot, 1500))
    made, _ = decide.plan(snapshot, nic_mtu=1500)
    changed = edits(made)
    assert changed["data.veth_mtu"] == "1450"
    assert '"mtu": __CNI_MTU__,' in str(changed["data.cni_network_config"])
    after = decide.check(decide.edited(snapshot, [one for one in made.steps if isinstance(one, EditValue)]), 1500)
    assert after.verdict == "healthy"


def test_nothing_restarts_into_what_would_not_come_up(files: Files) -> None:
    broken = '{"Network": "10.244.0.0/16", "Backend": {"MacPrefix": 0E-2A, "Type": "vxlan", "MTU": 1450}}'
    snapshot = files(reported.flannel(broken))
    assert ("MTU122", "error") in codes(decide.check(snapshot, 1500))
    with pytest.raises(errors.UsageError, match=r"no restart is planned.*MTU122"):
        decide.plan(snapshot, 1400)


def test_flanneld_has_no_flag_for_the_mtu(files: Files) -> None:
    plain = '{"Network": "10.244.0.0/16", "Backend": {"Type": "vxlan"}}'
    snapshot = files(reported.flannel(plain, "--mtu=1400"))
    found = decide.check(snapshot, 1500)
    assert codes(found) == [("MTU111", "error")]
    assert "it exits" in said(found, "MTU111")
    with pytest.raises(errors.UsageError, match="no restart is planned"):
        decide.plan(snapshot, 1400)


@pytest.mark.parametrize("veth", ["+1450", "١٤٥٠", "1_450", "01450", "1450.0"])
def test_a_text_that_makes_no_json_number(files: Files, veth: str) -> None:
    snapshot = files(reported.canal(veth))
    found = decide.check(snapshot, 1500)
    assert (found.verdict, codes(found)) == ("broken", [("MTU112", "error")])
    made, _ = decide.plan(snapshot, nic_mtu=1500)
    assert edits(made) == {"data.veth_mtu": "1450"}


def test_null_is_absent(files: Files) -> None:
    found = decide.check(files(reported.canal("0", "null")), 1500)
    assert [code for code, _ in codes(found)] == ["MTU119"]
    assert "1450" in said(found, "MTU119")


VALUES = "flannel:\n  backend: vxlan\n  iface: bond0\n%s"


@pytest.mark.parametrize(
    ("values", "key", "right"),
    [
        ("calico:\n  vethMTU: 8950\n", "calico.vethMTU", "calico.vethuMTU"),
        ("calico:\n  encapsulation: None\n", "calico.encapsulation", "flannel.backend"),
        ("calico:\n  mtu: 8950\n", "calico.mtu", "calico.vethuMTU"),
        ("mtu: 8950\n", "mtu", "calico.vethuMTU"),
    ],
)
def test_values_that_the_chart_does_not_know(files: Files, values: str, key: str, right: str) -> None:
    found = decide.check(files(reported.chart(VALUES % values)), 1500)
    assert codes(found) == [("MTU111", "warning")]
    assert f"{key} is read by nothing; the key is {right}." in said(found, "MTU111")


@pytest.mark.parametrize(
    ("word", "remedy"),
    [
        ("VXLAN", "Move the value to flannel.backend."),
        ("None", "Take it away: flannel.backend takes flannel's words and not Calico's, vxlan, host-gw "),
        ("VXLANCrossSubnet", "Take it away: flannel.backend takes flannel's words and not Calico's, vxlan, host-gw "),
    ],
)
def test_calicos_word_is_not_sent_where_flannel_would_stop_at_it(files: Files, word: str, remedy: str) -> None:
    """flanneld exits at a backend of no name that it knows (flannel-io/flannel: pkg/backend/manager.go)."""
    found = decide.check(files(reported.chart(VALUES % f"calico:\n  encapsulation: {word}\n")), 1500)
    (stray,) = found.findings
    assert stray.remedy.startswith(remedy)


def test_fields_that_the_operator_does_not_know(files: Files) -> None:
    pools = [{"cidr": "10.244.0.0/16", "encapsulation": "VXLAN"}]
    spec = {"mtu": 8950, "calicoNetwork": {"vethMTU": 8950, "ipPools": pools}}
    found = decide.check(files(reported.installation(**spec)), 9000)
    assert codes(found) == [("MTU111", "warning"), ("MTU111", "warning")]
    assert "spec.mtu is read by nothing; the key is spec.calicoNetwork.mtu." in said(found, "MTU111")
    assert "spec.calicoNetwork.vethMTU is read by nothing" in said(found, "MTU111")


def test_variables_and_keys_that_calico_does_not_know(files: Files) -> None:
    env = (reported.variable("CALICO_MTU", "1400"), reported.variable("FELIX_MTU", "1400"))
    text = reported.calico(env=env, mtu="__CNI_MTU__", calico_mtu="1400")
    found = decide.check(files(text + "---\n" + reported.pool(vxlan="Always")), 1500)
    for name in ("CALICO_MTU", "FELIX_MTU", "calico_mtu"):
        assert f"{name} is read by nothing; the key is veth_mtu" in said(found, "MTU111")
    assert len(found.findings) == 3


def test_values_beside_their_place(files: Files) -> None:
    text = (
        "apiVersion: helm.cattle.io/v1\nkind: HelmChartConfig\nmetadata:\n  name: rke2-canal\n  namespace: kube-system"
    )
    text += "\n  spec:\n    valuesContent: |-\n      flannel:\n        backend: wireguard\n"
    found = decide.check(files(text), 1500)
    assert codes(found) == [("MTU111", "warning")]
    assert "spec stands inside metadata, where it is read by nothing" in said(found, "MTU111")


def test_the_underlays_number_given_for_the_pods_in_rke2(files: Files) -> None:
    found = decide.check(files(reported.chart("flannel:\n  mtu: 1450\ncalico:\n  vethuMTU: 1450\n")), 1500)
    assert "spec.valuesContent, flannel.mtu" in said(found, "MTU119")
    assert "makes the tunnel 1400 (1450 − 50); packets of 1401-1450 bytes do not fit" in said(found, "MTU119")
    assert "net-conf.json" not in said(found, "MTU119")


def test_wireguard_under_rke2s_default(files: Files) -> None:
    made, _ = decide.plan(files(reported.chart("flannel:\n  backend: wireguard\n")), nic_mtu=1500)
    assert (made.current, made.target) == (1450, 1420)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (reported.chart("calico:\n  iface: eth1\n", "rke2-calico"), "holds calico, which is read by nothing"),
        (reported.installation(cni={"type": "AmazonVPC"}), "the AWS VPC CNI"),
    ],
)
def test_what_is_no_network_of_ours_is_named(files: Files, text: str, sentence: str) -> None:
    with pytest.raises(errors.NotRecognised, match=sentence):
        decide.check(files(text), 1500)


def test_kube_router_as_a_firewall_is_not_the_pods_network(files: Files) -> None:
    router = {"name": "kube-router", "args": ["--run-router=false", "--run-firewall=true"]}
    body = reported.daemonset("kube-router", "kube-system", {"name": "install-cni"}, router)
    with pytest.raises(errors.NotRecognised, match="as a firewall only"):
        decide.check(files(json.dumps(body)), 1500)


@pytest.mark.parametrize("broken", ["data:\n veth_mtu: '1'\n  canal_iface: ''\n", "data:\n  a: b\nveth_mtu: 'x\n"])
def test_broken_yaml_is_called_broken(files: Files, broken: str) -> None:
    agent = reported.canal().partition("---\n")[2]
    head = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: canal-config, namespace: kube-system}\n"
    found = decide.check(files(f"{head}{broken}---\n{agent}"), 1500)
    assert found.verdict == "broken"
    assert ("MTU117", "error") in codes(found)
    assert "manifests.yaml:" in said(found, "MTU117")
    assert "Allow `get`" not in said(found, "MTU117")


def test_a_template_is_not_broken_yaml(files: Files) -> None:
    found = decide.check(files(reported.canal(), other__yaml="{{- if .Values.x }}\na: [\n{{ end }}\n"), 1500)
    assert found.verdict == "healthy"


def test_a_patch_alone_lacks_nothing(files: Files) -> None:
    patch = json.dumps(reported.config_map("canal-config", "kube-system", {"veth_mtu": "1400"}))
    found = decide.check(files(patch), 1500)
    assert "MTU108" not in {one.code for one in found.findings}
    assert "this is a patch" in said(found, "MTU117")


def test_a_base_is_judged_with_its_patch(files: Files) -> None:
    patch = json.dumps(reported.config_map("canal-config", "kube-system", {"veth_mtu": "1400"}))
    kustomization = "resources: [manifests.yaml]\npatches:\n- path: mtu.yaml\n"
    snapshot = files(reported.canal(), kustomization__yaml=kustomization, mtu__yaml=patch)
    found = decide.check(snapshot, 1450)
    assert (found.verdict, reported.unread(snapshot)) == ("healthy", [])
    made, _ = decide.plan(snapshot, nic_mtu=9000)
    assert made.current == 1400


def test_flannels_configuration_under_another_name(tmp_path: Path) -> None:
    path = tmp_path / "flannel-network-mgr-config.json"
    path.write_text('{"Network": "10.1.0.0/16", "Backend": {"Type": "vxlan"}}')
    found = decide.check(manifests.load(path), 1500)
    assert (found.cni, found.recommended_mtu, found.verdict) == ("flannel", 1450, "healthy")


def test_subnet_env_that_flanneld_will_write_anew(files: Files) -> None:
    found = decide.check(files(reported.k3s("k3s-1", "k3s-2"), subnet__env="FLANNEL_MTU=1500\n"), 1450)
    assert codes(found) == [("MTU119", "error")]
    told = said(found, "MTU119")
    assert "/run/flannel/subnet.env" in told
    assert "will write 1400" in told
    assert "an edit here does not last" in told
    assert "--flannel-conf" in told


def test_subnet_env_that_is_older_than_net_conf(tmp_path: Path) -> None:
    node = tmp_path / "node-1"
    node.mkdir()
    (node / "net-conf.json").write_text('{"Network":"10.42.0.0/16","Backend":{"Type":"wireguard","MTU":1400}}')
    (node / "subnet.env").write_text("FLANNEL_MTU=1420\n")
    found = decide.check(manifests.load(tmp_path), 1500)
    assert "MTU103" in {one.code for one in found.findings}
    assert "The file says 1420, the configuration 1320" in said(found, "MTU103")
    assert "restarted" in said(found, "MTU103")


def test_ipv6_cannot_live_over_a_vpn(files: Files) -> None:
    found = decide.check(files(reported.k3s("a", "b")), 1280)
    assert (found.recommended_mtu, codes(found)) == (1230, [("MTU114", "warning")])
    assert "IPv6 cannot live on it" in found.summary


def nodes(*links: net.Link) -> tuple[net.NodeObservation, ...]:
    way = net.Uplink(peer="192.0.2.2", device="bond0", mtu=9000)
    end = net.PodPort(
        netns="cni-1", inode=7, host_link="cali1", host_index=9, host_mtu=8950,
        pod_link="eth0", pod_index=3, pod_mtu=8950,
    )  # fmt: skip
    felix = net.NodeFile(path="/var/lib/calico/mtu", text="8950")
    rendered = net.NodeFile(path="/etc/cni/net.d/10-calico.conflist", text=reported.conflist("0"))
    bond = (
        net.Link(index=5, name="bond0", mtu=9000, kind="bond"),
        net.Link(index=2, name="ens1f0np0", mtu=9000, master="bond0"),
        net.Link(index=8, name="vxlan.calico", mtu=8950, kind="vxlan", vxlan=net.Vxlan(vni=4096, lower="bond0")),
    )
    seen = net.NodeObservation(
        node="n1", links=(*bond, *links), uplinks=(way,), ports=(end,), files=(felix, rendered)
    )  # fmt: skip
    return (seen,)


def bonded(files: Files, *links: net.Link) -> Report:
    saved = files(reported.calico() + "---\n" + reported.pool(vxlan="Always"))
    return decide.check(Snapshot(source="a cluster", objects=saved.objects, nodes=nodes(*links)))


def test_a_bond_whose_slave_is_detected_is_no_trouble(files: Files) -> None:
    assert bonded(files).findings == ()
    smaller = bonded(files, net.Link(index=3, name="eno1", mtu=1500))
    assert "MTU120" in {one.code for one in smaller.findings}


def test_the_devices_of_calicos_ebpf_are_looked_at(files: Files) -> None:
    pair = [
        net.Link(index=index, name=name, mtu=1500, kind="veth")
        for index, name in ((6, "bpfin.cali"), (7, "bpfout.cali"))
    ]
    found = bonded(files, *pair)
    assert codes(found) == [("MTU107", "warning")]
    assert "bpfin.cali and bpfout.cali have 1500, and pods of this node 8950" in said(found, "MTU107")
    assert "ip link set dev bpfout.cali mtu 8950 on this node, or restart calico-node there: from v3.28.1 on" in said(
        found, "MTU107"
    )


def test_a_plan_of_a_healthy_manifest_is_empty(files: Files) -> None:
    plain = '{"Network": "10.244.0.0/16", "Backend": {"Type": "vxlan"}}'
    made, _ = decide.plan(files(reported.flannel(plain)), nic_mtu=1500)
    assert made.steps == ()
