"""kube-router: what each version takes off the NIC, tunnels that are used or not, and a file that is written once."""

from collections.abc import Callable

import msgspec
import pytest
import yaml
from tests.support.findings import judged

from kubemtu.cni import kuberouter, registry
from kubemtu.core.change.plan import EditValue, Rollout
from kubemtu.core.cluster.cni_state import CniState
from kubemtu.core.errors import NotRecognised, UsageError
from kubemtu.core.net import Link, NodeFile, NodeObservation
from kubemtu.core.snapshot import Snapshot
from kubemtu.flows import decide

Reading = Callable[..., Snapshot]
Observing = Callable[..., NodeObservation]
ONCE = "if [ ! -f /etc/cni/net.d/10-kuberouter.conflist ]; then cp /etc/kube-router/cni-conf.json /etc; fi"
ALWAYS = "cp /etc/kube-router/cni-conf.json /etc/cni/net.d/10-kuberouter.conflist"
CNI = '{"cniVersion": "0.3.0", "name": "mynet", "plugins": [{"type": "bridge", "bridge": "kube-bridge"%s}]}'


def config(more: str = "") -> str:
    metadata = {"name": "kube-router-cfg", "namespace": "kube-system"}
    data = {"cni-conf.json": CNI % more}
    return yaml.safe_dump({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data})


def agent(*args: str, version: str = ":v2.1.0", script: str = ONCE) -> str:
    containers = [{"name": "kube-router", "image": f"kube-router{version}", "args": ["--run-router=true", *args]}]
    initial = [{"name": "install-cni", "image": "kube-router", "command": ["/bin/sh", "-c", script]}]
    spec = {"template": {"spec": {"initContainers": initial, "containers": containers}}}
    metadata = {"name": "kube-router", "namespace": "kube-system"}
    return yaml.safe_dump({"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": metadata, "spec": spec})


def read(snapshot: Snapshot) -> CniState:
    state = kuberouter.read(snapshot)
    assert state is not None
    return state


FULL = "--overlay-type=full"
# pkg/controllers/routing of each tag: v1.1 to v1.5 GetMTUFromNodeIP takes 20 off with the overlay, v1.6 on nothing;
# before v1.1 the plugin bridge leaves the kernel's 1500. What fits 1500: 1480 in IPIP (RFC 2003), 1472 in FoU.
DERIVED: list[tuple[str, tuple[str, ...], int | None, int | None, int, list[tuple[str, str]]]] = [
    ("", (), None, 0, 1500, []),
    (":v2.1.0", ("--enable-overlay=false",), None, 0, 1500, []),
    (":v2.1.0", (FULL,), None, 0, 1480, [("MTU119", "error")]),
    (":v2.1.0", (FULL, "--overlay-encap=fou"), None, 0, 1472, [("MTU119", "error")]),
    (":v1.6.0", (FULL,), None, 0, 1480, [("MTU119", "error")]),
    (":v1.5.0", (FULL,), None, 20, 1480, []),
    (":v1.1.0", (FULL,), None, 20, 1480, []),
    (":v1.5.0", ("--enable-overlay=false",), None, 0, 1500, []),
    (":v1.0.0", (), 1500, None, 1500, []),
    (":v1.0.0", (FULL,), 1500, None, 1480, [("MTU119", "error")]),
    (":v0.1.0", ("--enable-overlay=false",), 1500, None, 1500, []),
    (":v2.1.0", ("--auto-mtu=false",), 1500, None, 1500, []),
]


@pytest.mark.parametrize(("version", "args", "mtu", "taken", "carries", "findings"), DERIVED)
def test_each_version_takes_off_its_own_number(
    snapshot: Reading,
    version: str,
    args: tuple[str, ...],
    mtu: int | None,
    taken: int | None,
    carries: int,
    findings: list[tuple[str, str]],
) -> None:
    files = snapshot(config(), agent(*args, version=version))
    state = read(files)
    assert (state.pod_mtu, state.subtracts) == (mtu, taken)
    assert min([one.inner(1500) for one in state.encapsulation], default=1500) == carries
    assert judged(files, 1500) == findings
    assert state.findings == ()


def test_a_number_that_auto_mtu_writes_over(snapshot: Reading) -> None:
    state = read(snapshot(config(', "mtu": 1400'), agent()))
    (finding,) = state.findings
    assert (finding.code, finding.severity) == ("MTU111", "warning")
    assert finding.place == 'ConfigMap kube-system/kube-router-cfg, data["cni-conf.json"], plugins[0].mtu'
    assert "It says 1400 and has no effect" in finding.message
    assert state.pod_mtu is None


@pytest.mark.parametrize(
    ("more", "nic", "mtu", "findings"),
    [
        (', "mtu": 1400', 1400, 1400, []),
        (', "mtu": 1400', 1500, 1400, [("MTU119", "note")]),
        (', "mtu": 1500', 1450, 1500, [("MTU119", "error")]),
        ("", 1450, 1500, [("MTU119", "error")]),
        (', "mtu": "1400"', 1500, 1500, [("MTU112", "error")]),
    ],
)
def test_without_auto_mtu_the_configuration_counts(
    snapshot: Reading, more: str, nic: int, mtu: int, findings: list[tuple[str, str]]
) -> None:
    files = snapshot(config(more), agent("--auto-mtu=false"))
    assert read(files).pod_mtu == mtu
    assert judged(files, nic) == findings


@pytest.mark.parametrize("held", ["--run-router=false", "--run-router=0"])
def test_a_firewall_is_not_the_pod_network(snapshot: Reading, held: str) -> None:
    files = snapshot(agent(held))
    assert kuberouter.read(files) is None
    if held.endswith("false"):
        with pytest.raises(NotRecognised, match="as a firewall only"):
            registry.recognise(files)


def seen(node: NodeObservation, mtu: int, *tunnels: str) -> NodeObservation:
    links = tuple(Link(index=20 + number, name=name, mtu=1480, kind="ipip") for number, name in enumerate(tunnels))
    text = CNI % f', "mtu": {mtu}'
    file = NodeFile(path="/etc/cni/net.d/10-kuberouter.conflist", text=text)
    return msgspec.structs.replace(node, links=(*node.links, *links), files=(file,))


@pytest.mark.parametrize(
    ("tunnels", "mtu", "name", "found"),
    [
        ((), 1500, "none (ipip between networks)", []),
        (("tun-1921680101",), 1500, "ipip", ["MTU119"]),
        (("tun-1921680101",), 1480, "ipip", []),
    ],
)
def test_tunnels_count_where_there_are_any(
    snapshot: Reading, node: Observing, tunnels: tuple[str, ...], mtu: int, name: str, found: list[str]
) -> None:
    nodes = tuple(seen(node(each), mtu, *tunnels) for each in ("n1", "n2"))
    files = snapshot(config(), agent(), nodes=nodes)
    assert read(files).encapsulation_name == name
    codes = [one.code for one in decide.check(files).findings]
    assert list(dict.fromkeys(codes)) == found


def test_what_the_nics_give_is_left_to_them(snapshot: Reading, node: Observing) -> None:
    files = snapshot(config(), agent(), nodes=(node("n1"), node("n2")))
    state = read(files)
    assert kuberouter.steps(state, 1500) == ()
    with pytest.raises(UsageError) as caught:
        kuberouter.steps(state, 1480)
    for words in ("--auto-mtu=false", '"mtu": 1480', "remove /etc/cni/net.d/10-kuberouter.conflist on each node"):
        assert words in str(caught.value)


def test_a_file_that_is_written_once_is_not_rolled_out(snapshot: Reading) -> None:
    state = read(snapshot(config(', "mtu": 1500'), agent("--auto-mtu=false")))
    with pytest.raises(UsageError, match="only where there is none"):
        kuberouter.steps(state, 1400)
    assert kuberouter.steps(state, 1500) == ()


def test_a_file_that_is_written_anew_is(snapshot: Reading) -> None:
    state = read(snapshot(config(', "mtu": 1500'), agent("--auto-mtu=false", script=ALWAYS)))
    edit, restart = kuberouter.steps(state, 1400)
    assert isinstance(edit, EditValue)
    assert isinstance(restart, Rollout)
    assert edit.after == str(edit.before).replace("1500", "1400")
    assert (restart.conflist, restart.mtu) == ("/etc/cni/net.d/10-kuberouter.conflist", 1400)


def test_a_configuration_alone_does_not_say_whether_it_counts(snapshot: Reading) -> None:
    """--auto-mtu, --enable-overlay and --overlay-encap stand in the DaemonSet alone."""
    state = read(snapshot(config(', "mtu": 1400')))
    assert (state.pod_mtu, state.subtracts, state.encapsulation_known) == (None, None, False)
    assert [one.code for one in state.findings] == ["MTU117"]
    assert decide.check(snapshot(config(', "mtu": 1400'))).verdict == "incomplete"


def test_what_was_not_read(snapshot: Reading) -> None:
    assert [one.code for one in read(snapshot(agent())).findings] == ["MTU117"]
    with pytest.raises(UsageError, match="ConfigMap kube-system/kube-router-cfg was not read"):
        kuberouter.steps(read(snapshot(agent())), 1400)
    with pytest.raises(UsageError, match="DaemonSet kube-system/kube-router was not read"):
        kuberouter.steps(read(snapshot(config())), 1400)


@pytest.mark.parametrize("mtu", [65536, 65535])
def test_the_mtu_of_the_loopback_device(snapshot: Reading, node: Observing, mtu: int) -> None:
    """A node's address on lo: the plugin makes no veth of 65536 (cloudnativelabs/kube-router#1383)."""
    path = "/etc/cni/net.d/10-kuberouter.conflist"
    seen = msgspec.structs.replace(node(), files=(NodeFile(path=path, text=CNI % f', "mtu": {mtu}'),))
    (finding,) = decide.check(snapshot(config(), agent(), nodes=(seen,))).findings
    assert (finding.severity, finding.place) == ("error", f"node n1, {path}")
    assert finding.code == ("MTU112" if mtu == 65536 else "MTU119")
    assert ("65536 is what a loopback device has" in finding.message) is (mtu == 65536)
