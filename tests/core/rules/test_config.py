"""MTU103, MTU110, MTU112, MTU114, MTU119, MTU122: the number in the cluster, and each node's files."""

import msgspec
import pytest
from tests.support import example

from kubemtu.core import codes, encap, net, objects
from kubemtu.core.cluster import layout
from kubemtu.core.cluster.cni_state import CniState, MtuKey
from kubemtu.core.rules import config

KEY = "ConfigMap kube-system/canal-config, data.veth_mtu"
FILE = "node n1, /etc/cni/net.d/10-canal.conflist"


def judge(state: CniState, *seen: net.NodeObservation, nic_mtu: int | None = None) -> tuple[codes.Finding, ...]:
    return config.find(layout.model(example.cluster(seen), state, nic_mtu))


def test_a_healthy_cluster_has_none() -> None:
    assert judge(example.state(), example.node("n1"), example.node("n2")) == ()


def test_a_number_too_large_for_the_path() -> None:
    (wrong,) = judge(example.state(1500), example.node("n1", conflist=1500))
    assert (wrong.code, wrong.severity, wrong.place) == ("MTU119", "error", KEY)
    assert wrong.message == (
        "New pods get 1500, but the path between nodes carries 1450 (NIC 1500 ▸ IPv4 20 ▸ UDP 8 ▸ VXLAN 8 ▸ "
        "Ethernet 14 ▸ pod 1450). Each of them will send packets of 1451-1500 bytes that do not fit."
    )
    assert wrong.remedy.startswith("Set it to 1450:")


def test_a_number_that_wastes_jumbo_frames() -> None:
    (wrong,) = judge(example.state(), example.node("n1", nic=9000))
    assert (wrong.code, wrong.severity) == ("MTU119", "warning")
    assert "TCP gets 7.7% less" in wrong.message


def test_a_key_that_counts_the_underlay_is_told_in_its_own_terms() -> None:
    key = MtuKey(
        ref=example.CONFIG_MAP,
        path=("data", "net-conf.json"),
        inside="Backend.MTU",
        means="base",
        value=1550,
        subtracts=50,
    )
    (wrong,) = judge(example.state(1500, mtu_keys=(key,)), example.node("n1", conflist=1500))
    assert wrong.place == 'ConfigMap kube-system/canal-config, data["net-conf.json"], Backend.MTU'
    assert wrong.remedy.startswith("Set it to 1500:")


def test_nothing_configured_is_judged_by_what_the_nodes_decide() -> None:
    state = example.state(None, conflist_template=None)
    (wrong,) = judge(state, example.node("n1", conflist=None, pod=1500), example.node("n2", conflist=None, pod=1500))
    assert (wrong.code, wrong.severity) == ("MTU119", "error")
    assert wrong.place == "nodes n1 and n2, the kernel's default, without /var/lib/calico/mtu"
    assert wrong.message.startswith("No MTU is configured, so new pods here get 1500, but")


def test_offline_with_a_given_nic_the_number_is_still_judged() -> None:
    (wrong,) = judge(example.state(1500), nic_mtu=1500)
    assert wrong.code == "MTU119"


def test_a_changed_configuration_restarts_nothing() -> None:
    before, after = example.node("n1", conflist=1500), example.node("n2")
    (stale,) = judge(example.state(), before, after)
    assert (stale.code, stale.severity, stale.place) == ("MTU103", "error", FILE)
    assert stale.message.startswith("The file says 1500, the configuration 1450. New pods on this node get 1500:")
    assert "kubectl -n kube-system rollout restart daemonset/canal" in stale.remedy


def test_a_node_that_still_has_less_breaks_nothing() -> None:
    (stale,) = judge(example.state(), example.node("n1", conflist=1400))
    assert (stale.code, stale.severity) == ("MTU103", "warning")


def test_a_node_without_the_number_that_was_configured() -> None:
    (stale,) = judge(example.state(), example.node("n1", conflist=None))
    assert stale.code == "MTU103"
    assert stale.message.startswith("The file says no MTU, the configuration 1450. New pods on this node get 1500")


@pytest.mark.parametrize(
    ("after_installing", "code"), [(-1.0, "MTU103"), (2.0, "MTU103"), (2.5, "MTU110"), (9e5, "MTU110")]
)
def test_a_file_written_after_the_installer_had_finished_was_edited_by_hand(after_installing: float, code: str) -> None:
    # date -u -d 2026-11-01T10:00:00Z +%s
    seen = example.node("n1", conflist=1400, modified=1793527200.0 + after_installing)
    (found,) = judge(example.state(), seen)
    assert (found.code, found.place) == (code, FILE)


@pytest.mark.parametrize(("after_starting", "code"), [(5.0, "MTU103"), (10.5, "MTU110")])
def test_an_installer_that_lingers_gets_time_to_copy_its_binaries(after_starting: float, code: str) -> None:
    snapshot = example.cluster((example.node("n1", conflist=1400, modified=1793527200.0 + after_starting),))
    lingering = [
        {"name": "install-cni", "state": {"running": {"startedAt": "2026-11-01T10:00:00Z"}}},
    ]
    changed = tuple(
        objects.Object.of({**found.body, "status": {"phase": "Running", "containerStatuses": lingering}})
        if found.name == "canal-n1"
        else found
        for found in snapshot.objects
    )
    snapshot = msgspec.structs.replace(snapshot, objects=changed)
    (found,) = config.find(layout.model(snapshot, example.state()))
    assert found.code == code


CALICO = '{"type": "calico", "mtu": 1450, "log_level": "debug"}'
EXTRA = f'{{"name": "k8s-pod-network", "plugins": [{CALICO}, {{"type": "portmap"}}]}}'


@pytest.mark.parametrize(("after_installing", "code"), [(0.0, "MTU103"), (60.0, "MTU110")])
def test_a_file_that_differs_in_more_than_its_mtu(after_installing: float, code: str) -> None:
    """Written by the installer it is of an older template; written later it is somebody's edit."""
    (found,) = judge(example.state(), example.node("n1", text=EXTRA, modified=1793527200.0 + after_installing))
    assert (found.code, found.place) == (code, FILE)
    assert found.message.startswith("The file differs from its template at plugins[0].log_level")


def test_a_file_that_differs_counts_as_edited_where_nobody_knows_when_it_was_installed() -> None:
    snapshot = example.cluster((example.node("n1", text=EXTRA),), objects=())
    (found,) = config.find(layout.model(snapshot, example.state()))
    assert found.code == "MTU110"


def test_a_plugin_that_another_installer_chained_in_is_nobodys_edit() -> None:
    plugins = '{"type": "calico", "mtu": %d}, {"type": "portmap"}, {"type": "istio-cni"}'
    text = f'{{"name": "k8s-pod-network", "plugins": [{plugins}]}}'
    late = 1793527200.0 + 3600
    assert judge(example.state(), example.node("n1", text=text % 1450, modified=late)) == ()
    (found,) = judge(example.state(), example.node("n1", text=text % 1400, modified=late))
    assert found.code == "MTU103"


def test_a_file_that_is_no_json_stops_new_pods() -> None:
    (broken,) = judge(example.state(), example.node("n1", text='{"plugins": [{"type": "calico", "mtu": ,}]}'))
    assert (broken.code, broken.severity, broken.place) == ("MTU122", "error", FILE)


def test_a_quoted_number_stops_new_pods() -> None:
    (broken,) = judge(example.state(), example.node("n1", text='{"plugins": [{"type": "calico", "mtu": "1450"}]}'))
    assert (broken.code, broken.place) == ("MTU112", FILE)
    assert broken.message.startswith('The MTU is "1450";')


def test_flannels_subnet_file_shows_that_flanneld_was_not_restarted() -> None:
    conf = '{"plugins": [{"type": "flannel", "delegate": {}}]}'
    env = net.NodeFile(path="/run/flannel/subnet.env", text="FLANNEL_MTU=1450\n")
    state = example.state(1350, conflist_mtu=None, conflist_template=None)
    found = {one.code: one for one in judge(state, example.node("n1", text=conf, files=(env,)))}
    assert found["MTU103"].place == "node n1, /run/flannel/subnet.env"
    assert found["MTU103"].message.startswith("The file says 1450, the configuration 1350.")


def test_a_configured_number_below_1280_takes_ipv6_away() -> None:
    found = judge(example.state(1200, ipv6=True), example.node("n1", conflist=1200))
    assert [(one.code, one.severity, one.place) for one in found] == [
        ("MTU114", "error", KEY),
        ("MTU119", "warning", KEY),
    ]


def test_a_path_below_1280_suits_no_ipv6_whatever_is_configured() -> None:
    found = judge(example.state(1300, ipv6=True), example.node("n1", nic=1300, conflist=1300))
    assert [(one.code, one.place) for one in found] == [("MTU114", "node n1, eth0")]
    assert "carries 1250" in found[0].message


def test_a_secondary_encapsulation_is_counted_in_the_number() -> None:
    (wrong,) = judge(
        example.state(1480, encapsulation=(encap.ipip(), encap.vxlan())), example.node("n1", conflist=1480)
    )
    assert "carries 1450" in wrong.message
