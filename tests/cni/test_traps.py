"""Traps that others have met, each with the report of it: the test that shows what kubemtu does about it.

A row names tests as `folder/test_file.py::test_function` below `tests`; one without any is a limit, and
docs/critiques.md names its reports. Small cases that no other test has stand at the end.
"""

import ast
import functools
import re
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
import yaml
from tests.support import example, reported

from kubemtu.cni import registry
from kubemtu.core import encap, net
from kubemtu.core.change.plan import EditValue
from kubemtu.core.cluster import layout
from kubemtu.core.rules import overlay
from kubemtu.core.rules.report import Report
from kubemtu.core.snapshot import Snapshot
from kubemtu.flows import decide

Reading = Callable[..., Snapshot]
TESTS = Path(__file__).parents[1]
CRITIQUES = (TESTS.parent / "docs" / "critiques.md").read_text()
HERE = "cni/test_traps.py::"
CALICO = "projectcalico/calico"
CILIUM = "cilium/cilium"
RKE2 = "rancher/rke2"
ARC = "actions/actions-runner-controller"
HETZNER = "mysticaltech/terraform-hcloud-kube-hetzner"
CAPZ = "kubernetes-sigs/cluster-api-provider-azure"

# reports (owner/repository#number, several of one repository joined by commas), what happens, tests
TRAPS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("rancher/rancher#15010,14689", "The console drops keys of an empty value, and the CNI's pods do not start.",
     ("scenes/test_story.py::test_step_4_the_console_drops_canal_iface_and_the_next_canal_pod_fails",
      "cni/test_canal.py::test_a_key_that_the_daemonset_needs_is_missing")),
    ("rancher/dashboard#16559", "The next console drops empty keys again, of a Secret.",
     ("cni/test_canal_steps.py::test_a_lost_canal_iface_comes_back_first",)),
    ("rancher/dashboard#16317", "The next console makes a space of an empty value.",
     ("cni/test_canal.py::test_a_blank_or_a_list_is_no_name_of_a_nic",)),
    ("rancher/rancher#24096", "RKE renders its addon anew and takes a manual edit back.",
     ("cni/test_canal_owners.py::test_rke_will_take_a_manual_edit_back",
      "scenes/test_restarts.py::test_the_plan_warns_that_rke_will_take_it_back")),
    (f"rancher/rancher#25807 {RKE2}#2959", "A changed ConfigMap restarts no pod of the CNI.",
     ("cli/test_why_not.py::test_the_key_was_changed_and_nothing_restarted",
      "scenes/test_story.py::test_step_5_a_change_is_not_read_until_canal_restarts")),
    ("k3s-io/helm-controller: pkg/controllers/chart/chart.go", "An upgrade puts a chart's own number back.",
     ("scenes/test_owners.py::test_what_a_chart_is_given_stays_and_what_is_changed_behind_it_does_not",)),
    (f"{CALICO}#2200", "An MTU in quotes, where the plugin takes an integer, keeps pods from starting.",
     ("cni/test_canal.py::test_an_mtu_in_quotes_keeps_pods_from_starting",
      "flows/test_reported.py::test_the_quotes_around_a_placeholder_are_taken_away")),
    ("gardener-attic/gardener-extensions#502", "Gardener's own field is text, Calico's is a number.", ()),
    ("aws/amazon-vpc-cni-k8s#2293", "The AWS plugin takes text where others take an integer.",
     ("cni/test_aws.py::test_what_the_plugin_makes_of_a_text",
      "cni/test_aws.py::test_a_number_without_quotes_is_refused")),
    ("coreos/tectonic-installer#3172", "A placeholder that is filled with nothing leaves no JSON.",
     ("cni/test_canal.py::test_a_veth_mtu_that_cannot_be",
      "core/rules/test_config.py::test_a_file_that_is_no_json_stops_new_pods")),
    (f"{CALICO}#2200 containerd/cri#981 containerd/containerd#11715", "The runtime gives new pods what it read before.",
     ()),
    (f"{CALICO}#5008,2831", "Pods keep the MTU that they were born with, and a node shows several.",
     ("core/rules/test_pods.py::test_pods_older_than_the_configuration_are_counted_not_listed",
      "cli/test_why_not.py::test_restarted_and_the_pods_are_older")),
    (f"{CALICO}#4102", "veth_mtu is set, and the template has no placeholder for it.",
     ("cni/test_canal.py::test_veth_mtu_without_a_placeholder_does_nothing",
      "cni/test_calico.py::test_policy_only_has_a_literal_that_veth_mtu_does_not_reach")),
    (f"{CALICO}#6133", "The operator takes an edit of what it writes back.",
     ("cni/test_calico.py::test_the_operators_change_is_an_integer_in_the_installation_alone",)),
    (f"{CALICO}#9718,10270 tigera/operator#5289", "Without Felix' MTU file a pod gets the kernel's 1500.",
     (HERE + "test_a_pod_that_was_born_before_felix_wrote_its_file",)),
    (f"{CILIUM}#14339 {HETZNER}#847 hcloud-k8s/terraform-hcloud-kubernetes#450",
     "The agent takes the MTU of another NIC than the one between the nodes.",
     ("cni/test_cilium.py::test_an_agent_that_has_found_another_nic",)),
    (f"{HETZNER}#2286", "An installer reckons without WireGuard: what is taken off depends on features and version.",
     ("cni/test_cilium.py::test_what_each_version_takes_off", "cni/test_cilium.py::test_pods_get_the_base_less_that")),
    (f"{HETZNER}#2027", "NICs say 1500, and the fabric below them carries 1400.",
     ("core/rules/test_path.py::test_a_fabric_that_carries_less_than_the_nics_say_is_believed",
      "scenes/test_nics.py::test_a_switch_that_carries_less_is_seen_by_apply_and_not_by_check")),
    ("SlashNephy/infrastructure#10290,10487 sini/nix-config#123", "A VPN's device makes all pods small.",
     ("cni/test_cilium.py::test_an_agent_that_has_found_another_nic",)),
    ("tailscale/tailscale#18565", "What runs over a VPN of 1280 stalls in its TLS handshake.",
     ("flows/test_reported.py::test_ipv6_cannot_live_over_a_vpn",)),
    ("sini/nix-config#122", "The headers are taken off by hand, and by the CNI once more.",
     ("cni/test_cilium.py::test_the_headers_were_taken_off_by_hand_already",
      "core/rules/test_config.py::test_a_key_that_counts_the_underlay_is_told_in_its_own_terms")),
    ("rancher/rke2-charts#670", "Felix finds the NIC's MTU and knows nothing of flannel's tunnel.",
     ("cni/test_canal.py::test_upstream_leaves_it_to_felix_which_does_not_know_flannel",)),
    ("flannel-io/flannel: pkg/backend/vxlan/device.go", "A tunnel that is there keeps its MTU, whatever is configured.",
     ("core/rules/test_overlay.py::test_flannel_keeps_the_device_of_an_older_configuration",
      "cli/test_why_not.py::test_a_tunnel_that_kept_its_mtu")),
    ("kubesphere/kubekey#1572", "A tunnel cannot be made larger than what its NIC leaves, and Felix tries it for ever.",
     (HERE + "test_a_tunnel_that_its_agent_would_have_larger_than_the_nic_leaves",
      "core/planning/test_planner.py::test_a_number_that_cannot_be_is_refused_with_the_reason")),
    ("flannel-io/flannel#1011,1736", "Backend.MTU is read by no older flanneld.",
     ("cni/test_canal.py::test_backend_mtu_has_no_effect_before_flannel_0_21_3",)),
    ("flannel-io/flannel#1775", "Backend.MTU counts the underlay: 1500 there changes nothing on NICs of 1500.",
     (HERE + "test_the_pods_number_written_where_flannel_takes_the_underlays",
      "core/rules/test_config.py::test_a_key_that_counts_the_underlay_is_told_in_its_own_terms")),
    ("flannel-io/flannel: pkg/backend/vxlan/vxlan_network.go",
     "Flannel takes 50 off for IPv6 outside as well, where 70 are needed.",
     ("flows/test_reported.py::test_flannel_takes_50_off_for_ipv6_as_well",)),
    ("k3s-io/k3s#5101", "Flannel's WireGuard device had the whole MTU of its NIC.",
     (HERE + "test_a_wireguard_device_as_large_as_its_nic",)),
    (f"{CILIUM}#23917,45940", "WireGuard pads, and 80 bytes are not enough.",
     ("cni/test_cilium.py::test_wireguard_over_ipv6_before_the_padding_was_counted",)),
    (f"{CALICO}#2026,1709 kubernetes-retired/kube-aws#1349", "Nodes have different NICs: some paths hang.",
     ("core/rules/test_link.py::test_a_larger_node_sends_what_a_smaller_one_cannot_take",
      "core/cluster/test_topology.py::test_host_network_pods_are_no_pods_of_the_pod_network",
      "scenes/test_nics.py::test_mixed")),
    ("coreos/bugs#2443 systemd/systemd#9102 poseidon/typhoon#228", "An update gives the NIC another MTU under the CNI.",
     (HERE + "test_a_nic_that_became_smaller_under_its_pods",
      "scenes/test_nics.py::test_a_raised_nic_leaves_the_tunnel_behind")),
    (f"{CILIUM}#17107", "The CNI itself changes the NIC's MTU.", ()),
    (f"{CILIUM}#37824,45799,46028", "A restarted agent resizes the pods' other networks too.",
     ("cni/test_cilium.py::test_secondary_networks_that_a_restart_resizes",
      "flows/change/test_apply_births.py::test_a_second_interface_and_the_hosts_network_are_left_alone")),
    ("containernetworking/plugins#393,404", "A secondary macvlan larger than its master is refused.",
     ("cni/test_network_definitions.py::test_a_macvlan_that_is_refused_is_said_with_its_place_both_numbers_and_what_to_do",)),
    ("spidernet-io/spiderpool#5677", "The second veth of an underlay pod keeps 1500 beside an overlay.",
     ("cni/test_network_definitions.py::test_the_way_to_services_by_veth0",)),
    (f"{ARC}#393,959,1046,3691 {CALICO}#2334 docker-library/docker#102 coder/envbox#167 moby/moby#20178",
     "Docker inside a pod takes 1500, and downloads in its containers hang.",
     ("core/rules/test_inner.py::test_docker_in_a_pod_is_named_with_what_it_costs_and_what_to_start_it_with",
      "core/rules/test_inner.py::test_each_program_is_recognised_and_told_its_own_number",
      "scenes/test_inner.py::test_docker_in_a_pod_is_named_where_it_hangs_and_is_left_alone")),
    (f"projectcalico/felix#756 {CALICO}#3895", "Bulk TCP gets through although single large packets do not.",
     ("core/rules/test_path.py::test_a_tunnel_as_large_as_the_nic_hides_it_by_fragmenting_the_outside",
      "node/probe/test_probe_scenes.py::test_a_scene_is_judged_rightly")),
    ("google/gvisor#14011", "Segments that were joined are dropped, and single packets of every size arrive.", ()),
    (f"{CALICO}#7120 {CILIUM}#26193,12968,8129 cloudnativelabs/kube-router#685",
     "A policy drops the ICMP error, and the sender never learns of the smaller path.",
     ("scenes/test_why.py::test_pods_larger_than_the_tunnel_with_icmp_and_without",)),
    ("aws/aws-network-policy-agent#207,561", "The network policy agent drops the ICMP error.",
     ("scenes/test_why.py::test_pods_larger_than_the_tunnel_with_icmp_and_without",)),
    (f"{CALICO}#8854", "By a Service in eBPF the ICMP error does not come to the pod behind it.",
     ("core/why/test_legs.py::test_a_service_is_answered_by_its_endpoints_but_for_the_one_who_asks",
      "scenes/test_why.py::test_a_service_by_its_name_its_address_and_a_node_port")),
    ("istio/istio#25170,25976", "The API server does not reach a webhook any more, so no pod is made.", ()),
    ("kubernetes/kubernetes#68546 kubernetes/dns#282", "Dummy devices show 1500, and carry nobody's packets.",
     (HERE + "test_dummy_devices_of_1500_are_no_fault",)),
    (f"kubernetes/kubernetes#83739 Azure/AKS#2873 microsoft/SDN#517 {CAPZ}#1335", "Windows has rules of its own.",
     ("cni/test_windows.py::test_they_are_no_silent_nodes_and_named_as_what_they_are",
      "cni/test_windows.py::test_a_fabric_of_1400_is_too_small_for_what_windows_gives")),
    (f"{CAPZ}#1353", "Azure's NICs say 1500, and the fabric cuts above 1400.", ()),
    (f"{CILIUM}#45423", "Below 1280 a device loses its IPv6.",
     ("core/rules/test_pods.py::test_a_pod_below_1280_loses_ipv6",
      "core/planning/test_planner.py::test_a_number_that_cannot_be_is_refused_with_the_reason",
      "scenes/test_flannel.py::test_below_1280_ipv6_is_gone_for_good")),
    ("systemd/systemd#13914", "The MTU of IPv6 on a NIC is set back by itself.", ()),
    ("cloudnativelabs/kube-router#1383", "A node's address on the loopback device makes an MTU of 65536.",
     ("cni/test_kuberouter.py::test_the_mtu_of_the_loopback_device",)),
    ("kubernetes/kubernetes#35625", "The kubelet's own flag for the MTU reaches no CNI.",
     ("cni/test_canal.py::test_the_kubelets_own_mtu_reaches_nobody",)),
    ("weaveworks/weave#3293", "Weave's bridge keeps the old MTU until it is reset.",
     ("cni/test_weave.py::test_a_bridge_that_keeps_the_old_number",)),
    ("karmab/kcli#788", "OVN-Kubernetes does not start when its number and 58 are more than the NIC has.",
     ("cni/test_ovnkubernetes.py::test_the_key_is_the_pods_own",)),
    ("openshift/enhancements#926", "OpenShift's MTU changes by a migration, and otherwise drops packets.",
     ("cni/test_openshift.py::test_no_number_is_changed_behind_the_operator",
      "cni/test_openshift.py::test_a_number_that_was_changed_without_a_migration")),
    ("kubevirt/kubevirt#987,18845", "A virtual machine has 1500 behind a smaller pod.",
     ("core/rules/test_inner.py::test_a_virtual_machine_that_is_bridged_to_the_pod_loses_what_is_larger",
      "core/planning/test_within.py::test_a_guest_that_is_bridged_to_the_pod_is_a_warning")),
    ("canonical/microk8s#4142", "The tunnel is right on a small NIC, and the veths have 1500.",
     (HERE + "test_a_right_tunnel_hides_no_pods_that_are_too_large",)),
    ("CentaurusInfra/mizar#182", "tcp_mtu_probing masks a path that is too small.",
     ("scenes/test_why.py::test_the_kernels_own_search_masks_it",
      "core/evidence/test_symptoms.py::test_masks_are_named")),
    (f"{CALICO}#2072", "A variable of the agent hides what FelixConfiguration says.",
     ("cni/test_calico.py::test_a_variable_hides_the_felix_configuration",)),
    ("rancher/rancher#13984", "A new number in canal-config, and a reboot, change no cali* link.",
     ("cli/test_why_not.py::test_restarted_and_the_pods_are_older",
      "cni/test_canal_steps.py::test_era_a_gets_one_line_more_and_keeps_every_other_byte")),
    (f"{CALICO}#2588", "NIC and tunnel have jumbo frames, and pods 1500.",
     (HERE + "test_pods_of_1500_under_a_tunnel_of_9000",)),
    ("projectcalico/calico: felix/dataplane/linux/int_dataplane.go", "No NIC's name matches the pattern: 1460.",
     ("cni/test_calico.py::test_the_detection_sees_nics_by_name", "cni/test_canal.py::test_felix_misses_a_bond")),
)  # fmt: skip
NAMED = sorted({name for _, _, tests in TRAPS for name in tests})


def references(reports: str) -> list[str]:
    """Write each report of a row in full: "a/b#1,2 c/d#3" are three."""
    groups = re.findall(r"([\w.-]+/[\w.-]+)#([\d,]+)", reports)
    return [f"{repository}#{number}" for repository, numbers in groups for number in numbers.split(",")]


UNSEEN = sorted({each for reports, _, tests in TRAPS if not tests for each in references(reports)})


@functools.cache
def functions(file: str) -> frozenset[str]:
    tree = ast.parse((TESTS / file).read_text())
    return frozenset(one.name for one in tree.body if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef))


@pytest.mark.parametrize("name", NAMED)
def test_the_test_of_a_trap_is_there(name: str) -> None:
    file, _, function = name.partition("::")
    assert (TESTS / file).is_file()
    assert function in functions(file)


@pytest.mark.parametrize("reference", UNSEEN)
def test_a_trap_without_a_test_is_a_limit_that_is_said(reference: str) -> None:
    assert re.search(rf"(?<![\w.-]){re.escape(reference)}(?!\d)", CRITIQUES)


def test_each_trap_has_a_source_and_one_sentence_of_its_own() -> None:
    for reports, sentence, _ in TRAPS:
        assert references(reports) or ": " in reports
        assert sentence.endswith(".")
    assert len({sentence for _, sentence, _ in TRAPS}) == len(TRAPS)


def found(report: Report) -> list[tuple[str, str]]:
    return [(one.code, one.severity) for one in report.findings]


def test_dummy_devices_of_1500_are_no_fault() -> None:
    """The example's nodes have docker0, kube-ipvs0 and nodelocaldns of 1500, here on NICs of 1400."""
    seen = example.trio(nic=1400, pod=1350, conflist=1350)
    assert {link.name for link in seen[0].links if link.mtu == 1500} == {"docker0", "kube-ipvs0", "nodelocaldns"}
    report = decide.check(example.story(1350, seen))
    assert (report.verdict, report.findings) == ("healthy", ())


def test_a_right_tunnel_hides_no_pods_that_are_too_large() -> None:
    """A cloud's own overlay leaves NICs of 1442; VXLAN in it leaves 1392."""
    report = decide.check(example.story(1500, example.trio(nic=1442, tunnel=1392, pod=1500, conflist=1500)))
    assert found(report) == [("MTU119", "error"), ("MTU101", "error")]
    assert report.recommended_mtu == 1392


def test_pods_of_1500_under_a_tunnel_of_9000() -> None:
    snapshot = example.story(1500, example.trio(nic=9050, tunnel=9000, pod=1500, conflist=1500))
    assert found(decide.check(snapshot)) == [("MTU119", "warning"), ("MTU102", "warning")]
    plan, _ = decide.plan(snapshot)
    assert (plan.target, [one.after for one in plan.steps if isinstance(one, EditValue)]) == (9000, ["9000"])


def test_a_nic_that_became_smaller_under_its_pods() -> None:
    """What was right on NICs of 1500: a tunnel and pods of 1450. One node's NIC has 1400 since its update."""
    small = example.node("n2", nic=1400, tunnel=1450, pod=1450)
    report = decide.check(example.story(1450, (example.node("n1"), small, example.node("n3"))))
    assert ("MTU107", "error") in found(report)
    assert report.recommended_mtu == 1350


@pytest.mark.parametrize(("mtu", "findings"), [(1500, [("MTU107", "node n1, flannel-wg")]), (1420, [])])
def test_a_wireguard_device_as_large_as_its_nic(mtu: int, findings: list[tuple[str, str]]) -> None:
    node = example.node("n1", pod=1420, conflist=1420)
    device = net.Link(index=3, name="flannel-wg", mtu=mtu, kind="wireguard")
    links = tuple(device if link.name == "flannel.1" else link for link in node.links)
    state = example.state(1420, encapsulation=(encap.wireguard(),), encapsulation_name="wireguard", tunnel="flannel-wg")
    seen = layout.model(example.cluster((msgspec.structs.replace(node, links=links),)), state)
    assert [(one.code, one.place) for one in overlay.find(seen)] == findings


def test_a_pod_that_was_born_before_felix_wrote_its_file(snapshot: Reading) -> None:
    """Calico's plugin takes /var/lib/calico/mtu where its configuration says 0, and the kernel's 1500 without it."""
    manifests = reported.calico("0", backend="vxlan") + "---\n" + reported.pool(vxlan="Always")
    template = next(yaml.safe_load_all(manifests))["data"]["cni_network_config"]
    conflist = net.NodeFile(path="/etc/cni/net.d/10-calico.conflist", text=template.replace("__CNI_MTU__", "0"))
    felix = net.NodeFile(path="/var/lib/calico/mtu", text="1450\n")

    def node(name: str, pod: int, *files: net.NodeFile) -> net.NodeObservation:
        eth0 = net.Link(index=2, name="eth0", mtu=1500)
        return net.NodeObservation(
            node=name,
            links=(eth0, net.Link(index=3, name="vxlan.calico", mtu=1450, kind="vxlan")),
            uplinks=(net.Uplink(peer="192.0.2.9", device="eth0", mtu=1500),),
            ports=(example.port(name, f"10.42.1.1{name[1:]}", pod=pod),),
            files=(conflist, *files),
        )

    report = decide.check(snapshot(manifests, nodes=(node("n1", 1450, felix), node("n2", 1500))))
    assert [(one.code, one.severity, one.place) for one in report.findings] == [
        ("MTU119", "error", "node n2, the kernel's default, without /var/lib/calico/mtu"),
        ("MTU101", "error", "node n2, 1 pod: netns cni-n2"),
    ]
    before = decide.check(snapshot(manifests, nodes=(node("n1", 1450, felix), node("n2", 1450))))
    assert [(one.code, one.severity, one.place) for one in before.findings] == [
        ("MTU119", "error", "node n2, the kernel's default, without /var/lib/calico/mtu")
    ]


def test_a_tunnel_that_its_agent_would_have_larger_than_the_nic_leaves(snapshot: Reading) -> None:
    """veth_mtu sizes Felix' tunnels, too: the kernel refuses VXLAN more than 1450 on a NIC of 1500."""
    size = reported.variable("FELIX_VXLANMTU", "1500")
    manifests = reported.calico("1500", backend="vxlan", env=(size,)) + "---\n" + reported.pool(vxlan="Always")
    template = next(yaml.safe_load_all(manifests))["data"]["cni_network_config"]
    conflist = net.NodeFile(path="/etc/cni/net.d/10-calico.conflist", text=template.replace("__CNI_MTU__", "1500"))
    eth0, tunnel = net.Link(index=2, name="eth0", mtu=1500), net.Link(index=3, name="vxlan.calico", mtu=1450)
    node = net.NodeObservation(
        node="n1",
        links=(eth0, msgspec.structs.replace(tunnel, kind="vxlan")),
        uplinks=(net.Uplink(peer="192.0.2.9", device="eth0", mtu=1500),),
        ports=(example.port("n1", "10.42.1.11", pod=1500),),
        files=(conflist,),
    )
    report = decide.check(snapshot(manifests, nodes=(node,)))
    assert found(report) == [("MTU119", "error"), ("MTU101", "error")]
    assert report.recommended_mtu == 1450


def test_the_pods_number_written_where_flannel_takes_the_underlays(snapshot: Reading) -> None:
    """Backend.MTU 1500 is what a NIC of 1500 gives anyway: pods have 1450, as before it was written."""
    given = snapshot(reported.flannel('{"Network": "10.244.0.0/16", "Backend": {"Type": "vxlan", "MTU": 1500}}'))
    state = registry.recognise(given)
    assert (state.pod_mtu, state.tunnel_mtu) == (1450, 1450)
    assert decide.check(given, 1500).verdict == "healthy"


def test_what_felix_finds_rightly_by_itself_is_not_written_down(snapshot: Reading) -> None:
    """veth_mtu "0" on NICs of 1500 with VXLAN: Felix has found 1450, and no calico-node is restarted for that."""
    manifests = reported.calico("0", backend="vxlan") + "---\n" + reported.pool(vxlan="Always")
    template = next(yaml.safe_load_all(manifests))["data"]["cni_network_config"]
    node = net.NodeObservation(
        node="n1",
        links=(
            net.Link(index=2, name="eth0", mtu=1500),
            net.Link(index=3, name="vxlan.calico", mtu=1450, kind="vxlan"),
        ),
        uplinks=(net.Uplink(peer="192.0.2.9", device="eth0", mtu=1500),),
        ports=(example.port("n1", "10.42.1.11", pod=1450),),
        files=(
            net.NodeFile(path="/etc/cni/net.d/10-calico.conflist", text=template.replace("__CNI_MTU__", "0")),
            net.NodeFile(path="/var/lib/calico/mtu", text="1450\n"),
        ),
    )
    seen = snapshot(manifests, nodes=(node,))
    assert decide.check(seen).findings == ()
    assert decide.plan(seen)[0].steps == ()
    assert [type(one).__name__ for one in decide.plan(seen, 1400)[0].steps] == ["Live", "EditValue", "Rollout", "Live"]
