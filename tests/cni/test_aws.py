"""The AWS VPC CNI: a number in quotes, two variables, and what each version does with a wrong one.

Bounds, defaults and the name of the file are those of aws/amazon-vpc-cni-k8s: cmd/aws-vpc-cni/main.go,
pkg/networkutils/network.go (GetEthernetMTU, GetPodMTU) and names.go.
"""

import hashlib
import types
from collections.abc import Callable, Mapping

import pytest
import yaml
from tests.support.driver import run_cni

from kubemtu.cni import aws, registry
from kubemtu.core.change.plan import EditValue, Rollout
from kubemtu.core.cluster.cni_state import CniState
from kubemtu.core.errors import UsageError
from kubemtu.core.net import Link, NodeFile, NodeObservation, PodPort, Route, Uplink
from kubemtu.core.snapshot import Snapshot
from kubemtu.flows import decide

Reading = Callable[..., Snapshot]
DAEMONSET = "DaemonSet kube-system/aws-node"
NOTHING: Mapping[str, object] = types.MappingProxyType({})
CONFLIST = """{"cniVersion": "0.4.0", "name": "aws-cni", "disableCheck": true, "plugins": [
  {"name": "aws-cni", "type": "aws-cni", "vethPrefix": "eni", "mtu": %s},
  {"name": "egress-cni", "type": "egress-cni", "mtu": "9001", "enabled": "false"},
  {"type": "portmap", "capabilities": {"portMappings": true}, "snat": true}]}"""


def agent(
    version: str = "v1.19.2", variables: Mapping[str, object] = NOTHING, metadata: Mapping[str, object] = NOTHING
) -> str:
    env = [{"name": name, **({"value": held} if isinstance(held, str) else {"valueFrom": held})} for name, held in
           {"AWS_VPC_K8S_CNI_LOGLEVEL": "DEBUG", **variables}.items()]  # fmt: skip
    containers = [{"name": "aws-node", "image": f"amazon-k8s-cni:{version}", "env": env}, {"name": "aws-eks-nodeagent"}]
    body = {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"name": "aws-node", "namespace": "kube-system", **metadata},
        "spec": {"template": {"spec": {"containers": containers}}},
    }
    return yaml.safe_dump(body)


def pod(name: str, mtu: int, prefix: str = "eni") -> PodPort:
    return PodPort(
        netns=name,
        inode=1,
        host_link=prefix + hashlib.sha1(f"default.{name}".encode(), usedforsecurity=False).hexdigest()[:11],
        host_index=9,
        host_mtu=mtu,
        pod_link="eth0",
        pod_index=2,
        pod_mtu=mtu,
        routes=(Route(family=4, destination="default", device="eth0", gateway="169.254.1.1"),),
    )


def node(
    mtu: str | None = '"9001"', nic: int = 9001, name: str = "n1", pods: tuple[PodPort, ...] = ()
) -> NodeObservation:
    files = (NodeFile(path="/etc/cni/net.d/10-aws.conflist", text=CONFLIST % mtu),) if mtu is not None else ()
    return NodeObservation(
        node=name,
        links=(Link(index=2, name="eth0", mtu=nic, up=True),),
        uplinks=(Uplink(peer="10.0.0.2", device="eth0", mtu=nic),),
        ports=pods,
        files=files,
    )


def read(snapshot: Snapshot) -> CniState:
    state = registry.recognise(snapshot)
    assert state.name == "aws-vpc-cni"
    return state


@pytest.mark.parametrize(
    ("version", "variables", "pods"),
    [
        ("v1.5.7", {}, 9001),
        ("v1.6.3", {"AWS_VPC_ENI_MTU": "1500"}, 1500),
        ("v1.16.4", {"AWS_VPC_ENI_MTU": "9001"}, 9001),
        ("v1.16.4", {"AWS_VPC_ENI_MTU": "9001", "POD_MTU": "8951"}, 8951),
        ("v1.19.2", {"POD_MTU": "1500"}, 1500),
        ("v1.23.1", {"AWS_VPC_ENI_MTU": "576"}, 576),
        ("v1.23.1", {"ENABLE_IPv6": "true", "AWS_VPC_ENI_MTU": "1280"}, 1280),
        ("latest", {"POD_MTU": "1400"}, 1400),
    ],
)
def test_what_new_pods_get(snapshot: Reading, version: str, variables: dict[str, str], pods: int) -> None:
    whole = snapshot(agent(version, variables))
    state = read(whole)
    assert (state.pod_mtu, state.conflist_mtu, state.findings) == (pods, pods, ())
    assert (state.encapsulation, state.encapsulation_known, state.by_route) == ((), True, False)
    assert [one for one in decide.check(whole, pods).findings if one.severity != "warning"] == []


@pytest.mark.parametrize(
    ("variables", "variant"),
    [
        ({}, "v1.19.2"),
        ({"ENABLE_PREFIX_DELEGATION": "true"}, "v1.19.2, prefix delegation"),
        ({"ENABLE_POD_ENI": "true", "ENABLE_PREFIX_DELEGATION": "1"}, "v1.19.2, prefix delegation, branch ENIs"),
        ({"ENABLE_POD_ENI": "false"}, "v1.19.2"),
    ],
)
def test_prefixes_and_branch_enis(snapshot: Reading, variables: dict[str, str], variant: str) -> None:
    state = read(snapshot(agent(variables=variables)))
    assert (state.variant, state.ports.prefixes) == (variant, ("eni", "vlan"))


def test_another_prefix_of_veths(snapshot: Reading) -> None:
    assert read(snapshot(agent(variables={"AWS_VPC_K8S_CNI_VETHPREFIX": "pod"}))).ports.prefixes == ("pod", "vlan")


# what: version, variables; code, the end of the place, words of the message, what new pods get
WRONG: list[tuple[str, str, dict[str, str], str, str, str, int | None]] = [
    ("POD_MTU is a word", "v1.19.2", {"POD_MTU": "jumbo"}, "MTU112", "POD_MTU", "is no number: aws-node exits", None),
    ("POD_MTU is empty", "v1.19.2", {"POD_MTU": ""}, "MTU112", "POD_MTU", "is no number: aws-node exits", None),
    ("POD_MTU too small", "v1.19.2", {"POD_MTU": "575"}, "MTU112", "POD_MTU", "none from 576 to 9001", None),
    ("POD_MTU too large", "v1.19.2", {"POD_MTU": "9002"}, "MTU112", "POD_MTU", "none from 576 to 9001", None),
    ("POD_MTU with a space", "v1.19.2", {"POD_MTU": "1450 "}, "MTU112", "POD_MTU", "'1450 ', which is no number", None),
    ("below 1280 with IPv6", "v1.19.2", {"ENABLE_IPv6": "true", "POD_MTU": "1200"}, "MTU112", "POD_MTU",
     "none from 1280 to 9001", None),
    ("the ENIs' is a word", "v1.19.2", {"AWS_VPC_ENI_MTU": "x"}, "MTU112", "AWS_VPC_ENI_MTU", "exits on it", None),
    ("the same before v1.16.4", "v1.11.0", {"AWS_VPC_ENI_MTU": "9100"}, "MTU112", "AWS_VPC_ENI_MTU",
     "it is not used, and pods get 9001", 9001),
    ("too small before v1.16.4", "v1.11.0", {"AWS_VPC_ENI_MTU": "150"}, "MTU112", "AWS_VPC_ENI_MTU",
     "it is not used, and pods get 576", 576),
    ("POD_MTU before v1.16.4", "v1.16.3", {"POD_MTU": "1400"}, "MTU111", "POD_MTU", "does not know POD_MTU yet", 9001),
    ("above the ENIs", "v1.19.2", {"POD_MTU": "9001", "AWS_VPC_ENI_MTU": "1500"}, "MTU119", "POD_MTU",
     "packets of 1501-9001 bytes do not fit", 9001),
    ("another variable", "v1.19.2", {"AWS_VPC_CNI_MTU": "1400"}, "MTU111", "variable AWS_VPC_CNI_MTU",
     "read by nothing; the key is POD_MTU", 9001),
    ("another one before v1.16.4", "v1.12.0", {"CNI_MTU": "1400"}, "MTU111", "variable CNI_MTU",
     "the key is AWS_VPC_ENI_MTU", 9001),
]  # fmt: skip


@pytest.mark.parametrize("row", WRONG, ids=[row[0] for row in WRONG])
def test_what_is_wrong(snapshot: Reading, row: tuple[str, str, dict[str, str], str, str, str, int | None]) -> None:
    _, version, variables, code, place, words, pods = row
    state = read(snapshot(agent(version, variables)))
    (finding,) = state.findings
    assert (finding.code, state.pod_mtu) == (code, pods)
    assert finding.place.startswith(DAEMONSET)
    assert finding.place.endswith(place)
    assert words in finding.message


def test_a_variable_in_another_container(snapshot: Reading) -> None:
    body = yaml.safe_load(agent())
    body["spec"]["template"]["spec"]["initContainers"] = [
        {"name": "aws-vpc-cni-init", "env": [{"name": "POD_MTU", "value": "1400"}]}
    ]
    state = read(snapshot(yaml.safe_dump(body)))
    (finding,) = state.findings
    assert (finding.code, state.pod_mtu) == ("MTU111", 9001)
    assert finding.place == f"{DAEMONSET}, container aws-vpc-cni-init, variable POD_MTU"


def test_jumbo_frames_behind_a_path_of_1500(snapshot: Reading) -> None:
    (finding,) = decide.check(snapshot(agent(variables={"AWS_VPC_ENI_MTU": "9001"})), 1500).findings
    assert (finding.code, finding.severity) == ("MTU119", "error")
    assert "New pods get 9001, but the path between nodes carries 1500" in finding.message


@pytest.mark.parametrize(
    ("held", "gives"),
    [('"9001"', 9001), ('"1500"', 1500), ('"575"', 9001), ('"9002"', 9001), ('"jumbo"', 9001), ('"+1500"', 1500)],
)
def test_what_the_plugin_makes_of_a_text(snapshot: Reading, held: str, gives: int) -> None:
    seen = node(held, pods=(pod("web", 1400),))
    report = decide.check(snapshot(agent(), nodes=(seen,)))
    (older,) = [one for one in report.findings if one.code == "MTU104"]
    assert f"a pod created now gets {gives}" in older.message


@pytest.mark.parametrize(("held", "gives"), [("150", 576), ("9002", 9001), ("1200", 1200)])
def test_what_plugins_before_v1_16_4_make_of_it(snapshot: Reading, held: str, gives: int) -> None:
    """GetEthernetMTU of v1.11: below 576 it is 576, above 9001 9001; IPv6 has no bound of its own yet."""
    old = agent("v1.11.0", {"AWS_VPC_ENI_MTU": held, "ENABLE_IPv6": "true"})
    report = decide.check(snapshot(old, nodes=(node(f'"{held}"'),)))
    assert "MTU103" not in {one.code for one in report.findings}
    assert report.nodes[0].conflist_mtu == gives


@pytest.mark.parametrize("held", ["9001", "[1500]", "true"])
def test_a_number_without_quotes_is_refused(snapshot: Reading, held: str) -> None:
    """Go's encoding/json puts no number into a string: LoadNetConf fails."""
    (finding,) = decide.check(snapshot(agent(), nodes=(node(held),))).findings
    assert (finding.code, finding.place) == ("MTU112", "node n1, /etc/cni/net.d/10-aws.conflist")
    assert finding.message == f"The MTU is {held}; the plugin takes only a text, so no new pod starts here."
    assert finding.remedy.startswith("Write the number in quotes")


def test_a_node_that_was_not_restarted(snapshot: Reading) -> None:
    whole = snapshot(agent(variables={"POD_MTU": "1500"}), nodes=(node('"1500"'), node('"9001"', name="n2")))
    smaller, stale = sorted(decide.check(whole).findings, key=lambda one: one.code, reverse=True)
    assert (stale.code, stale.place) == ("MTU103", "node n2, /etc/cni/net.d/10-aws.conflist")
    assert "The file says 9001, the configuration 1500" in stale.message
    assert smaller.code == "MTU119"


def test_healthy_nodes(snapshot: Reading) -> None:
    pods = (pod("web", 9001), pod("own-group", 9001, "vlan"))
    whole = snapshot(agent(variables={"AWS_VPC_ENI_MTU": "9001"}), nodes=(node(pods=pods),))
    assert decide.check(whole).findings == ()
    assert decide.plan(whole)[0].steps == ()


def test_pods_are_named_by_their_veths(snapshot: Reading) -> None:
    body = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {"nodeName": "n1"},
        "status": {"phase": "Running", "podIP": "10.0.0.9"},
    }
    seen = node(nic=1500, pods=(pod("web", 9001),))
    found = decide.check(snapshot(agent(), yaml.safe_dump(body), nodes=(seen,))).findings
    assert "node n1, 1 pod: default/web" in [one.place for one in found if one.code == "MTU101"]


def test_the_edit_where_the_variable_is_there(snapshot: Reading) -> None:
    edit, restart = run_cni(snapshot(agent(variables={"POD_MTU": "9001"})), 1500, 1500).plan.steps
    assert isinstance(edit, EditValue)
    assert edit.path == ("spec", "template", "spec", "containers", 0, "env", 1, "value")
    assert (edit.before, edit.after) == ("9001", "1500")
    assert isinstance(restart, Rollout)
    assert (str(restart.ref), restart.conflist, restart.mtu) == (DAEMONSET, "/etc/cni/net.d/10-aws.conflist", 1500)


def test_the_edit_where_it_is_not(snapshot: Reading) -> None:
    """The ENIs, and with them each node's own interface, keep what they have."""
    edit, _ = run_cni(snapshot(agent(variables={"AWS_VPC_ENI_MTU": "9001"})), 1450, 1500).plan.steps
    assert isinstance(edit, EditValue)
    assert edit.path == ("spec", "template", "spec", "containers", 0, "env", 2)
    assert (edit.before, edit.after) == (None, {"name": "POD_MTU", "value": "1450"})


@pytest.mark.parametrize(
    ("version", "variables", "target", "words"),
    [
        ("v1.16.3", {}, 1500, "Before v1.16.4 pods have what the ENIs have"),
        ("v1.19.2", {}, 9002, "takes an MTU from 576 to 9001 only"),
        ("v1.19.2", {"ENABLE_IPv6": "true"}, 1279, "from 1280 to 9001"),
        ("v1.19.2", {"POD_MTU": {"configMapKeyRef": {"name": "c", "key": "k"}}}, 1500, "filled from elsewhere"),
    ],
)
def test_what_cannot_be_edited(
    snapshot: Reading, version: str, variables: dict[str, object], target: int, words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        aws.steps(read(snapshot(agent(version, variables))), target)


def test_a_container_that_is_not_there(snapshot: Reading) -> None:
    body = yaml.safe_load(agent())
    body["spec"]["template"]["spec"]["containers"] = []
    with pytest.raises(UsageError, match="has no container aws-node"):
        aws.steps(read(snapshot(yaml.safe_dump(body))), 1500)


@pytest.mark.parametrize(
    ("metadata", "owner"),
    [
        ({"managedFields": [{"manager": "eks", "operation": "Apply"}]},
         "the EKS add-on vpc-cni (its configuration values: env.POD_MTU)"),
        ({"annotations": {"meta.helm.sh/release-name": "aws-vpc-cni"}}, "Helm (release aws-vpc-cni)"),
        ({"labels": {"addon.kops.k8s.io/name": "networking.amazon-vpc-routed-eni"}},
         "kops (addon networking.amazon-vpc-routed-eni)"),
        ({}, ""),
    ],
)  # fmt: skip
def test_who_writes_it_back(snapshot: Reading, metadata: dict[str, object], owner: str) -> None:
    assert read(snapshot(agent(metadata=metadata))).owner == owner


def test_where_the_tigera_operator_adds_policy_only(snapshot: Reading) -> None:
    installation = {
        "apiVersion": "operator.tigera.io/v1",
        "kind": "Installation",
        "metadata": {"name": "default"},
        "spec": {"cni": {"type": "AmazonVPC"}},
    }
    assert read(snapshot(agent(), yaml.safe_dump(installation))).pod_mtu == 9001


def test_where_another_cni_is_chained_behind_it(snapshot: Reading) -> None:
    chained = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "cilium-config", "namespace": "kube-system"},
        "data": {"cni-chaining-mode": "aws-cni", "routing-mode": "native"},
    }
    assert read(snapshot(agent(), yaml.safe_dump(chained))).pod_mtu == 9001


def test_the_value_of_the_chart(snapshot: Reading) -> None:
    whole = snapshot(agent(metadata={"annotations": {"meta.helm.sh/release-name": "aws-vpc-cni"}}))
    (value,) = [key for key in aws.KNOWLEDGE.values_keys if key.suits(read(whole))]
    assert (value.path, value.number(decide.plan(whole, 1400, 1500)[0], read(whole))) == (("env", "POD_MTU"), 1400)
    assert not [key for key in aws.KNOWLEDGE.values_keys if key.suits(read(snapshot(agent())))]


def test_calico_that_only_adds_policy(snapshot: Reading) -> None:
    """As aws/amazon-vpc-cni-k8s had it in config/master/calico.yaml: calico-node without a ConfigMap."""
    calico = {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"name": "calico-node", "namespace": "kube-system"},
        "spec": {"template": {"spec": {"containers": [{"name": "calico-node", "image": "calico/node:v3.13.4"}]}}},
    }
    assert read(snapshot(agent(), yaml.safe_dump(calico))).pod_mtu == 9001


def test_one_that_no_node_runs(snapshot: Reading) -> None:
    """As Cilium's guide for ENIs leaves it, with a node selector that no node has."""
    body = yaml.safe_load(agent()) | {"status": {"desiredNumberScheduled": 0}}
    other = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "cilium-config", "namespace": "kube-system"},
        "data": {"routing-mode": "native", "ipam": "eni"},
    }
    whole = snapshot(yaml.safe_dump(body), yaml.safe_dump(other), nodes=(node(None),))
    assert registry.recognise(whole).name == "cilium"


def test_the_remedy_is_the_edit_that_is_planned(snapshot: Reading) -> None:
    (finding,) = decide.check(snapshot(agent(variables={"AWS_VPC_ENI_MTU": "9001"})), 1500).findings
    assert finding.place == f"{DAEMONSET}, spec.template.spec.containers[0].env, POD_MTU"
    assert finding.remedy.startswith("Set it to 1500: `kubemtu plan --nic-mtu 1500` shows the edit")
    (old,) = decide.check(snapshot(agent("v1.16.0", {"AWS_VPC_ENI_MTU": "9001"})), 1500).findings
    assert old.place == f"AWS_VPC_ENI_MTU of {DAEMONSET}"
    assert old.remedy == "Give pods 1500: `kubemtu plan --nic-mtu 1500` says what that takes."
