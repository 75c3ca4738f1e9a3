"""Networks beside the pod network: what each definition gives a pod, what carries it, what is said and what is left.

What plugins do is that of containernetworking/plugins at 3d27709f (macvlan.go and vlan.go loadConf refuse an MTU above
the master's; bridge.go and ptp.go give it to both ends of a veth; tuning.go sets the pod's alone), of the kernel
(drivers/net/macvlan.c, net/bridge/br_forward.c) and of spidernet-io/spiderpool at a7fbd3b2.
"""

import json
from collections.abc import Mapping

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support import example

from kubemtu.cli import other_networks, render, reports
from kubemtu.cni.programs import chain
from kubemtu.core import net
from kubemtu.core.change.plan import Live
from kubemtu.core.cluster import attachments
from kubemtu.core.codes import Finding
from kubemtu.core.errors import NotRecognised, UsageError
from kubemtu.core.objects import Object
from kubemtu.core.rules.attachments import OtherNetwork
from kubemtu.core.rules.report import Report
from kubemtu.core.snapshot import Snapshot, Unread
from kubemtu.flows import decide, observe
from kubemtu.flows.change import targets

NETWORKS = "k8s.v1.cni.cncf.io/networks"
STATUS = "k8s.v1.cni.cncf.io/network-status"
PRIMARY = "v1.multus-cni.io/default-network"
SPIDER = "spiderpool.spidernet.io/v2beta1"
JUMBO = "NetworkAttachmentDefinition default/jumbo"


def definition(config: object, name: str = "jumbo", **metadata: object) -> Object:
    text = config if isinstance(config, str) else json.dumps(config)
    body: dict[str, object] = {
        "apiVersion": "k8s.cni.cncf.io/v1",
        "kind": "NetworkAttachmentDefinition",
        "metadata": {"name": name, "namespace": "default", **metadata},
        "spec": {"config": text} if text else {},
    }
    return Object.of(body)


def link(name: str, mtu: int, kind: str = "", master: str | None = None) -> net.Link:
    return net.Link(index=20, name=name, mtu=mtu, kind=kind, master=master)


def cluster(*objects: Object, links: tuple[net.Link, ...] = (), **notes: Mapping[str, object]) -> Snapshot:
    """A healthy cluster of three nodes with these links and objects; `notes` are annotations of pods web_1_0 ..."""
    nodes = tuple(
        msgspec.structs.replace(seen, links=(*seen.links, *links))
        for seen in (example.node(f"n{n}") for n in (1, 2, 3))
    )
    made = example.story(1450, nodes)
    kept = []
    for each in made.objects:
        body = dict(each.body)
        noted = notes.get(each.name.replace("-", "_"))
        if noted is not None:
            texts = {key: value if isinstance(value, str) else json.dumps(value) for key, value in noted.items()}
            body["metadata"] = {"name": each.name, "namespace": "default", "annotations": texts}
        kept.append(Object.of(body))
    return msgspec.structs.replace(made, objects=(*kept, *objects))


def about(report: Report) -> list[Finding]:
    return [one for one in report.findings if one.code in {"MTU138", "MTU139", "MTU111"}]


def judged(config: object, *links: net.Link) -> tuple[OtherNetwork, list[tuple[str, str, str]]]:
    found = decide.check(cluster(definition(config), links=links))
    (line,) = found.other_networks
    return line, [(one.code, one.severity, one.place.removeprefix(f"{JUMBO}, ")) for one in about(found)]


ETH1 = link("eth1", 1500)
ETH1_JUMBO = link("eth1", 9000)
NOTHING: list[tuple[str, str, str]] = []
REFUSED = [("MTU138", "warning", "spec.config, mtu")]
# what: configuration, links of each node; what a new pod gets, what is found
CASES: list[tuple[str, object, tuple[net.Link, ...], tuple[int, ...], list[tuple[str, str, str]]]] = [
    ("macvlan takes its master's", {"type": "macvlan", "master": "eth1"}, (ETH1_JUMBO,), (9000,), NOTHING),
    ("macvlan, 0 is none", {"type": "macvlan", "master": "eth1", "mtu": 0}, (ETH1_JUMBO,), (9000,), NOTHING),
    ("macvlan below it", {"type": "macvlan", "master": "eth1", "mtu": 1400}, (ETH1,), (1400,), NOTHING),
    ("macvlan above it", {"type": "macvlan", "master": "eth1", "mtu": 9000}, (ETH1,), (), REFUSED),
    ("macvlan on the default route's", {"type": "macvlan", "mtu": 1501}, (), (), REFUSED),
    ("macvlan of another case", {"type": "macvlan", "Master": "eth1", "MTU": 9000}, (ETH1,), (), REFUSED),
    ("macvlan within the pod", {"type": "macvlan", "master": "net1", "linkInContainer": True, "mtu": 9000}, (ETH1,),
     (9000,), NOTHING),
    ("macvlan on nothing", {"type": "macvlan", "master": "eth7"}, (ETH1,), (),
     [("MTU139", "warning", "spec.config, master")]),
    ("vlan above its master", {"type": "vlan", "master": "eth1", "vlanId": 5, "mtu": 1504}, (ETH1,), (), REFUSED),
    ("vlan without one", {"type": "vlan", "vlanId": 5}, (ETH1,), (), [("MTU139", "warning", "spec.config")]),
    ("ipvlan is let through", {"type": "ipvlan", "master": "eth1", "mtu": 9000}, (ETH1,), (9000,), REFUSED),
    ("ipvlan takes its master's", {"type": "ipvlan", "master": "eth1"}, (ETH1,), (1500,), NOTHING),
    ("bridge without a number", {"type": "bridge", "bridge": "br1"}, (), (1500,), NOTHING),
    ("bridge with pods alone", {"type": "bridge", "bridge": "br1", "mtu": 9000},
     (link("br1", 1500, "bridge"), link("veth9", 1500, "veth", "br1")), (9000,), NOTHING),
    ("bridge with a smaller NIC", {"type": "bridge", "bridge": "br1", "mtu": 9000},
     (link("br1", 9000, "bridge"), link("eth1", 1500, "", "br1")), (9000,), REFUSED),
    ("bridge, a VLAN tag above its NIC", {"type": "bridge", "bridge": "br1", "mtu": 1504},
     (link("br1", 1500, "bridge"), link("eth1", 1500, "", "br1")), (1504,), NOTHING),  # net.VLAN_SLACK
    ("ptp", {"type": "ptp", "mtu": 1400}, (), (1400,), NOTHING),
    ("tap", {"type": "tap"}, (), (1500,), NOTHING),
    ("host-device is as it is", {"type": "host-device", "device": "eth1"}, (ETH1_JUMBO,), (9000,), NOTHING),
    ("host-device reads no mtu", {"type": "host-device", "device": "eth1", "mtu": 1400}, (ETH1_JUMBO,), (9000,),
     [("MTU111", "warning", "spec.config, mtu")]),
    ("tuning above macvlan's master", {"plugins": [{"type": "macvlan", "master": "eth1"}, {"type": "tuning",
     "mtu": 9000}]}, (ETH1,), (), [("MTU138", "warning", "spec.config, plugins[1].mtu")]),
    ("tuning by args", {"plugins": [{"type": "macvlan", "master": "eth1"}, {"type": "tuning", "mtu": 1300,
     "args": {"cni": {"mtu": 1280}}}]}, (ETH1,), (1280,), NOTHING),
    ("tuning one end of a veth", {"plugins": [{"type": "bridge", "bridge": "br1"}, {"type": "tuning", "mtu": 9000}]},
     (), (9000,), [("MTU138", "warning", "spec.config, plugins[1].mtu")]),
    ("what works on it besides", {"plugins": [{"type": "bridge", "bridge": "br1", "mtu": 1400}, {"type": "bandwidth"},
     {"type": "portmap"}, {"type": "sbr"}]}, (), (1400,), NOTHING),
    ("in quotes", {"type": "macvlan", "master": "eth1", "mtu": "1400"}, (ETH1,), (),
     [("MTU139", "warning", "spec.config")]),
    ("true", {"type": "bridge", "mtu": True}, (), (), [("MTU139", "warning", "spec.config")]),
    ("a fraction", {"type": "bridge", "mtu": 1400.5}, (), (), [("MTU139", "warning", "spec.config")]),
    ("less than a veth can have", {"type": "bridge", "mtu": 20}, (), (), [("MTU139", "warning", "spec.config")]),
    ("a plugin that nobody here knows", {"type": "somebodys", "mtu": 1300}, (), (1300,), NOTHING),
    ("text for such a one", {"type": "somebodys", "mtu": "1300"}, (), (), NOTHING),
    ("no JSON", '{"type": "macvlan", "master": "eth1",}', (), (), [("MTU139", "warning", "")]),
    ("no type", {"master": "eth1"}, (), (), [("MTU139", "warning", "")]),
    ("a list without a type", {"plugins": [{"type": "bridge"}, {"mtu": 1}]}, (), (), [("MTU139", "warning", "")]),
    ("no plugins", {"plugins": []}, (), (), [("MTU139", "warning", "")]),
    ("a list", "[]", (), (), [("MTU139", "warning", "")]),
    ("nothing", "", (), (), [("MTU139", "note", "")]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("config", "links", "gets", "findings"), [case[1:] for case in CASES], ids=[c[0] for c in CASES]
)
def test_what_a_definition_gives_and_what_is_said_of_it(
    config: object, links: tuple[net.Link, ...], gets: tuple[int, ...], findings: list[tuple[str, str, str]]
) -> None:
    line, found = judged(config, *links)
    assert [(code, severity, place.removeprefix(JUMBO)) for code, severity, place in found] == findings
    assert line.new_pod_mtus == gets


def test_a_macvlan_that_is_refused_is_said_with_its_place_both_numbers_and_what_to_do() -> None:
    """containernetworking/plugins#393, #404: invalid MTU 9000, must be [0, master MTU(1500)]."""
    found = decide.check(cluster(definition({"type": "macvlan", "master": "eth1", "mtu": 9000}), links=(ETH1,)))
    (one,) = about(found)
    assert one.code == "MTU138"
    assert one.place == "NetworkAttachmentDefinition default/jumbo, spec.config, mtu"
    assert one.message == (
        "It asks for 9000, and eth1 has 1500 on n1, n2 and n3: macvlan refuses every pod of this network there."
    )
    assert one.remedy == (
        "Write at most 1500 there; or raise eth1 on those nodes, if all that is connected to it carries 9000."
        " kubemtu changes no network beside the pod network."
    )
    assert (found.verdict, found.current) == ("suboptimal", (1450,))


@pytest.mark.parametrize(
    ("config", "refused"),
    [
        ({"type": "macvlan", "master": "eth1", "mtu": 9000}, True),
        ({"type": "vlan", "master": "eth1", "vlanId": 5, "mtu": 1504}, True),
        ({"plugins": [{"type": "macvlan", "master": "eth1"}, {"type": "tuning", "mtu": 9000}]}, True),
        ({"type": "macvlan", "master": "eth7", "mtu": 1400}, True),  # no node has it
        ({"type": "vlan", "mtu": 1400}, True),  # no master
        ({"type": "macvlan", "master": "eth1", "mtu": "1400"}, True),  # a number in quotes
        ({"type": "ipvlan", "master": "eth1", "mtu": 9000}, False),  # it starts, and loses packets
        ({"type": "macvlan", "master": "eth1", "mtu": 1500}, False),
        ({"type": "host-device", "device": "eth7"}, False),  # it may have moved into a pod
        ({"type": "bridge", "bridge": "br7", "mtu": 9000}, False),  # it is made
    ],
)
def test_where_every_pod_is_refused_no_new_pod_has_a_size(config: object, refused: bool) -> None:
    (line,) = decide.check(cluster(definition(config), links=(ETH1,))).other_networks
    assert line.refused is refused
    assert line.refused_on == (("n1", "n2", "n3") if refused else ())
    cell = dict(zip(other_networks.HEAD, other_networks.row(line), strict=True))["NEW POD"]
    assert (cell == "refused") is refused
    assert (line.new_pod_mtus == ()) is (refused or cell == "?")


def test_of_nodes_that_differ_those_that_refuse_are_counted_and_the_others_say_the_size() -> None:
    config = definition({"type": "macvlan", "master": "eth1", "mtu": 9000})
    made = cluster(config, links=(ETH1_JUMBO,))
    less = msgspec.structs.replace(made.nodes[0], links=(*made.nodes[0].links[:-1], ETH1))
    none = msgspec.structs.replace(made.nodes[1], links=made.nodes[1].links[:-1])
    (line,) = decide.check(msgspec.structs.replace(made, nodes=(less, none, made.nodes[2]))).other_networks
    assert (line.new_pod_mtus, line.refused, line.refused_on) == ((9000,), False, ("n1", "n2"))
    assert "9000 (refused on 2 nodes)" in other_networks.row(line)


def test_nodes_that_nobody_saw_may_take_what_the_others_refuse() -> None:
    made = cluster(definition({"type": "macvlan", "master": "eth1", "mtu": 9000}), links=(ETH1,))
    (line,) = decide.check(msgspec.structs.replace(made, nodes=made.nodes[:2])).other_networks
    assert (line.new_pod_mtus, line.refused, line.refused_on) == ((), False, ("n1", "n2"))
    assert "? (refused on 2 nodes)" in other_networks.row(line)


def test_nodes_whose_masters_differ_are_said_in_one_finding() -> None:
    made = cluster(definition({"type": "vlan", "master": "eth1", "vlanId": 7, "mtu": 9000}), links=(ETH1,))
    first = msgspec.structs.replace(made.nodes[0], links=(*made.nodes[0].links[:-1], link("eth1", 1400)))
    (one,) = about(decide.check(msgspec.structs.replace(made, nodes=(first, *made.nodes[1:]))))
    assert one.message == (
        "It asks for 9000, and eth1 has 1400 on n1 and eth1 has 1500 on n2 and n3: vlan refuses every pod of this"
        " network there."
    )
    assert one.remedy.startswith("Write at most 1400 there; or raise eth1 on those nodes")


SENTENCES: dict[str, object] = {
    "It asks for 9000, and eth1, which is a port of br1, has 1500 on n1, n2 and n3: pods start, and what they send by"
    " it above 1500 is lost there without a word.": {"type": "bridge", "bridge": "br1", "mtu": 9000},
    "It gives the pod's end 9000, and the node's end of the same veth keeps 1500, as bridge has made it: what the pod"
    " sends above that is lost without a word.": {
        "plugins": [{"type": "bridge", "bridge": "br2"}, {"type": "tuning", "mtu": 9000}]
    },
    'mtu is "1400", and macvlan takes an integer alone: no pod starts with this network, and those that have it keep'
    " what they got.": {"type": "macvlan", "master": "eth1", "mtu": "1400"},
    "spec.config is no JSON (Expecting value: line 1 column 10 (char 9)): no pod starts with this network, and those"
    " that have it keep what they got.": '{"type": }',
    "It has no spec.config, and goes by the file in /etc/cni/multus/net.d of each node whose network is called jumbo,"
    " which was not read: what its pods have is not judged.": "",
}


@pytest.mark.parametrize(("sentence", "config"), SENTENCES.items())
def test_the_sentence_says_what_happens(sentence: str, config: object) -> None:
    there = (link("br1", 9000, "bridge"), link("eth1", 1500, "", "br1"))
    (one,) = about(decide.check(cluster(definition(config), links=there)))
    assert one.message == sentence


def test_a_definition_without_a_configuration_goes_by_the_file_of_its_name() -> None:
    file = net.NodeFile(
        path="/etc/cni/net.d/80-second.conf", text='{"name": "jumbo", "type": "macvlan", "master": "eth1", "mtu": 9000}'
    )
    made = cluster(definition(""), links=(ETH1,))
    nodes = tuple(msgspec.structs.replace(seen, files=(*seen.files, file)) for seen in made.nodes)
    (one,) = about(decide.check(msgspec.structs.replace(made, nodes=nodes)))
    assert one.place == "NetworkAttachmentDefinition default/jumbo, /etc/cni/net.d/80-second.conf, mtu"


def selecting(*networks: str, **shown: int) -> dict[str, object]:
    status = [{"name": "k8s-pod-network", "interface": "eth0", "default": True}]
    status += [{"name": f"default/{name}", "interface": "net1", "mtu": mtu} for name, mtu in shown.items()]
    return {NETWORKS: ", ".join(networks)} | ({STATUS: status} if shown else {})


def test_pods_are_counted_with_what_their_status_shows() -> None:
    snapshot = cluster(
        definition({"type": "macvlan", "master": "eth1"}),
        links=(ETH1_JUMBO,),
        web_1_0=selecting("jumbo@net1", jumbo=9000),
        web_2_0=selecting("default/jumbo"),
        web_3_0={NETWORKS: [{"name": "jumbo", "namespace": "default", "interface": "net7"}]},
    )
    found = decide.check(snapshot)
    (line,) = found.other_networks
    assert (line.pods, line.pod_mtus, line.device, line.device_mtus) == (3, (9000,), "eth1", (9000,))
    assert (found.verdict, about(found)) == ("healthy", [])


@pytest.mark.parametrize(("has", "severity"), [(9000, "warning"), (1300, "note")])
def test_a_pod_that_is_older_than_its_definition(has: int, severity: str) -> None:
    snapshot = cluster(
        definition({"type": "macvlan", "master": "eth1", "mtu": 1400}),
        links=(ETH1,),
        web_1_0=selecting("jumbo", jumbo=has),
    )
    (one,) = about(decide.check(snapshot))
    assert (one.code, one.severity, one.place) == (
        "MTU138", severity, f"{JUMBO}, spec.config, 1 pod: default/web-1-0 net1"
    )  # fmt: skip
    assert one.message == (
        f"1 running pod shows {has} by network-status, and one that starts now gets 1400: the definition, or the device"
        " below it, has changed since."
    )


def test_a_pod_whose_own_annotation_asks_for_another_is_not_older() -> None:
    """k8snetworkplumbingwg/multus-cni: pkg/types/conf.go injectCNIArgs; tuning takes args.cni.mtu."""
    asking = {NETWORKS: [{"name": "jumbo", "cni-args": {"mtu": 1300}}], STATUS: selecting("jumbo", jumbo=1300)[STATUS]}
    tuned = {"plugins": [{"type": "macvlan", "master": "eth1"}, {"type": "tuning"}]}
    assert about(decide.check(cluster(definition(tuned), links=(ETH1,), web_1_0=asking))) == []


def test_one_network_of_two_sizes() -> None:
    both = {"web_1_0": selecting("jumbo"), "web_2_0": selecting("jumbo")}
    made = cluster(definition({"type": "macvlan", "master": "eth1"}), links=(ETH1,), **both)
    first = msgspec.structs.replace(made.nodes[0], links=(*made.nodes[0].links[:-1], ETH1_JUMBO))
    (one,) = about(decide.check(msgspec.structs.replace(made, nodes=(first, *made.nodes[1:]))))
    assert one.message == (
        "It gives no mtu, so its pods take that of eth1: 1500 on n2 and 9000 on n1. What the larger ones send is more"
        " than the others take."
    )


@pytest.mark.parametrize("broken", ["[{]", '{"name": "jumbo"}', '[{"namespace": "x"}]', "a/b/c", '["jumbo"]', ",,"])
def test_an_annotation_that_is_none_is_said_of_the_pod(broken: str) -> None:
    (one,) = about(decide.check(cluster(definition({"type": "bridge"}), web_1_0={NETWORKS: broken})))
    assert (one.code, one.severity, one.place) == ("MTU139", "note", f"pod default/web-1-0, {NETWORKS}")


def test_functions_of_a_nic_have_what_their_policy_gives_them() -> None:
    """k8snetworkplumbingwg/sriov-network-operator: api/v1/sriovnetworknodepolicy_types.go."""

    def policy(mtu: int, name: str) -> Object:
        spec = {"resourceName": "fast", "mtu": mtu, "nicSelector": {"pfNames": ["ens1f0"]}}
        body = {"apiVersion": "sriovnetwork.openshift.io/v1", "kind": "SriovNetworkNodePolicy"}
        return Object.of({**body, "metadata": {"name": name, "namespace": "sriov"}, "spec": spec})

    notes = {"k8s.v1.cni.cncf.io/resourceName": "openshift.io/fast"}
    fast = definition({"type": "sriov", "mtu": 1400}, annotations=notes)
    one = decide.check(cluster(fast, policy(9000, "a")))
    assert one.other_networks[0].new_pod_mtus == (9000,)
    assert [(each.code, each.place) for each in about(one)] == [("MTU111", f"{JUMBO}, spec.config, mtu")]
    two = decide.check(cluster(fast, policy(9000, "a"), policy(1500, "b")))
    assert (two.other_networks[0].new_pod_mtus, [each.code for each in about(two)]) == ((), ["MTU139", "MTU111"])
    assert about(two)[0].message.startswith(
        "SriovNetworkNodePolicies give its functions 9000, 1500: what its pods have"
    )
    plain = definition({"type": "sriov"}, annotations=notes)
    assert about(decide.check(cluster(plain, policy(0, "a")))) == []  # as the NIC is
    assert [each.severity for each in about(decide.check(cluster(plain)))] == ["note"]


def test_a_bridge_of_which_only_a_metric_was_seen_has_no_kind() -> None:
    line, found = judged({"type": "bridge", "bridge": "br1", "mtu": 9000}, link("br1", 1500))
    assert (line.device_mtus, found) == ((), [])


def test_a_subnet_of_its_provider_says_it() -> None:
    """kubeovn/kube-ovn: a definition names a provider, and spec.provider of a Subnet is the same."""
    subnet = {"apiVersion": "kubeovn.io/v1", "kind": "Subnet", "metadata": {"name": "second"}}
    spec = {"provider": "jumbo.default.ovn", "mtu": 1300}
    net1 = definition({"type": "kube-ovn", "provider": "jumbo.default.ovn"})
    found = decide.check(cluster(net1, Object.of({**subnet, "spec": spec})))
    assert found.other_networks[0].new_pod_mtus == (1300,)


def spider(spec: dict[str, object], name: str = "jumbo") -> Object:
    body = {"apiVersion": SPIDER, "kind": "SpiderMultusConfig", "metadata": {"name": name, "namespace": "default"}}
    return Object.of({**body, "spec": spec})


@pytest.mark.parametrize(
    ("spec", "device", "gets", "codes"),
    [
        ({"cniType": "macvlan", "macvlan": {"master": ["eth1"], "mtu": 1480}}, "eth1", (1480,), []),
        ({"cniType": "macvlan", "macvlan": {"master": ["eth1"]}}, "eth1", (1500,), []),
        ({"cniType": "macvlan", "macvlan": {"master": ["eth1"], "vlanID": 7, "mtu": 9000}}, "eth1.7", (),
         ["MTU138"]),
        ({"cniType": "ipvlan", "ipvlan": {"master": ["eth1"], "mtu": 1400}}, "eth1", (1400,), []),
        ({"cniType": "vlan", "vlan": {"master": ["eth1"], "vlanID": 7, "mtu": 1600}}, "eth1", (), ["MTU138"]),
        ({"cniType": "sriov", "sriov": {"resourceName": "x/y", "mtu": 8000}}, None, (8000,), []),
        ({"cniType": "custom", "customCNI": '{"type": "bridge", "mtu": 1400}'}, "cni0", (1400,), []),
        ({"cniType": "custom"}, None, (), ["MTU139"]),
    ],
)  # fmt: skip
def test_what_spiderpool_makes_of_its_own_object(
    spec: dict[str, object], device: str | None, gets: tuple[int, ...], codes: list[str]
) -> None:
    found = decide.check(cluster(spider(spec), links=(ETH1,)))
    (line,) = found.other_networks
    assert (line.device, line.new_pod_mtus, [one.code for one in about(found)]) == (device, gets, codes)


def test_the_definition_that_spiderpool_wrote_is_changed_in_its_own_object() -> None:
    owner = {"kind": "SpiderMultusConfig", "name": "jumbo", "controller": True}
    written = definition({"type": "macvlan", "master": "eth1", "mtu": 9000}, ownerReferences=[owner])
    config = spider({"cniType": "macvlan", "macvlan": {"master": ["eth1"], "mtu": 9000}})
    found = decide.check(cluster(written, config, links=(ETH1,)))
    (one,) = about(found)
    assert one.remedy.startswith("It is written from SpiderMultusConfig jumbo: change it there. Write at most 1500")
    assert [line.written_from for line in found.other_networks] == ["SpiderMultusConfig jumbo"]


@pytest.mark.parametrize(
    ("own", "default", "mode", "has"),
    [
        ({"vethMTU": 1500}, {}, "underlay", 1500),
        ({}, {"vethMTU": 1500}, "underlay", 1500),
        ({}, {}, "underlay", 1500),  # cmd/coordinator/cmd/cni_types.go defaultUnderlayVethMTU
        ({"vethMTU": 1400}, {"vethMTU": 1500}, "underlay", None),
        ({}, {"vethMTU": 1500}, "auto", None),
    ],
)
def test_the_way_to_services_by_veth0(
    own: dict[str, object], default: dict[str, object], mode: str, has: int | None
) -> None:
    """spidernet-io/spiderpool#5677: veth0 keeps 1500 beside an overlay that carries less."""
    coordinator = {"apiVersion": SPIDER, "kind": "SpiderCoordinator", "metadata": {"name": "default"}}
    chained = {"plugins": [{"type": "macvlan", "master": "eth1"}, {"type": "coordinator", "mode": mode, **own}]}
    found = decide.check(cluster(definition(chained), Object.of({**coordinator, "spec": default}), links=(ETH1,)))
    said = [one.message for one in about(found)]
    assert len(said) == (has is not None)
    assert has is None or f"veth0, which has {has} (" in said[0]
    assert has is None or "the pod network behind the node carries 1450" in said[0]


def test_a_pod_whose_own_network_is_another_is_not_of_this_one() -> None:
    """k8snetworkplumbingwg/multus-cni: pkg/k8sclient/k8sclient.go tryLoadK8sPodDefaultNetwork."""
    plain = {"type": "macvlan", "master": "eth1"}
    own = {PRIMARY: "default/jumbo", STATUS: [{"name": "default/jumbo", "interface": "eth0", "default": True}]}
    made = cluster(definition(plain), links=(ETH1,), web_1_0=own)
    nodes = (msgspec.structs.replace(made.nodes[0], ports=made.nodes[0].ports[1:]), *made.nodes[1:])
    found = decide.check(msgspec.structs.replace(made, nodes=nodes))
    assert (found.verdict, found.elsewhere) == ("healthy", ("default/web-1-0",))
    assert [(line.pods, line.own) for line in found.other_networks] == [(1, 1)]
    assert "1 pod has another one as its own network (default/web-1-0)" in render.report(found, None)


def test_such_a_pod_that_looks_like_the_others_is_neither_judged_nor_changed() -> None:
    wrong = tuple(
        msgspec.structs.replace(port, pod_mtu=9000, host_mtu=9000) if port.netns == "cni-web-1-0" else port
        for port in example.node("n1").ports
    )
    made = cluster(definition({"type": "bridge", "bridge": "br1"}), web_1_0={PRIMARY: "jumbo"})
    made = msgspec.structs.replace(made, nodes=(msgspec.structs.replace(made.nodes[0], ports=wrong), *made.nodes[1:]))
    assert decide.check(made).verdict == "healthy"
    planned, _ = decide.plan(made, 1400)
    assert planned.warnings[-1] == (
        "default/web-1-0 has another network of its own by annotation and looks like the pod network's: left out by the"
        " name of its interface, but such a pod that is born during the change is changed with the others; start it"
        " anew afterwards."
    )
    (pins, *_) = [step for step in planned.steps if isinstance(step, Live)]
    first, *others = pins.nodes
    assert (first.node, first.ports.without, first.running) == ("n1", (example.link_name("default", "web-1-0"),), 2)
    assert [target.ports.without for target in others] == [(), ()]
    joined = targets.joined(pins, msgspec.structs.replace(made.nodes[0], node="n4"))
    assert joined.ports == example.state().ports


def test_no_plan_names_another_network_but_as_what_stays() -> None:
    notes = selecting("jumbo")
    snapshot = cluster(definition({"type": "macvlan", "master": "eth1", "mtu": 9000}), links=(ETH1,), web_1_0=notes)
    planned, _ = decide.plan(snapshot, 1400)
    assert "eth1" not in msgspec.json.encode(planned.steps).decode()
    assert "NetworkAttachmentDefinition" not in msgspec.json.encode(planned.steps).decode()
    assert (
        "Networks beside the pod network (default/jumbo), by which 1 pod sends as well: no device of theirs is touched."
        in planned.remains
    )


def test_one_namespace_alone() -> None:
    other = Object.of({**definition({"type": "bridge"}, "theirs").body, "metadata": {"name": "b", "namespace": "x"}})
    snapshot = cluster(definition({"type": "bridge"}), other, web_1_0=selecting("jumbo"))
    assert [line.name for line in decide.check(snapshot).other_networks] == ["default/jumbo", "x/b"]
    assert [line.name for line in decide.check(snapshot, namespace="default").other_networks] == ["default/jumbo"]


def test_many_networks_take_a_page_at_most_and_those_that_are_wrong_come_first() -> None:
    many = [definition({"type": "bridge", "bridge": "br1"}, f"net-{number}") for number in range(2000)]
    wrong = definition({"type": "macvlan", "master": "eth1", "mtu": 9000}, "wrong")
    found = decide.check(cluster(*many, wrong, links=(ETH1,)))
    lines = render.report(found, None).split("\n\n")
    (section,) = [part.splitlines() for part in lines if part.startswith("Other networks")]
    assert section[0] == "Other networks (read, never changed):"
    assert section[1].split() == ["NETWORK", "BY", "ON", "ASKS", "FOR", "NEW", "POD", "PODS", "THEY", "HAVE"]
    assert section[2].split() == ["default/wrong", "macvlan", "eth1", "1500", "9000", "refused", "0", "-"]
    assert section[-1] == "  and 1,991 more: -v shows each"
    assert len(section) == 13
    assert "default/net-1999" in render.report(found, None, whole=True)


def test_without_other_networks_nothing_is_said_of_them() -> None:
    assert "Other networks" not in render.report(decide.check(cluster()), None)


def test_definitions_that_may_not_be_read_are_named() -> None:
    hidden = Unread(what="network-attachment-definitions", why="forbidden", message="may not be listed")
    found = decide.check(msgspec.structs.replace(cluster(), unread=(hidden,)))
    assert [(one.code, one.place) for one in found.findings] == [("MTU117", "network-attachment-definitions")]


def test_a_saved_snapshot_is_judged_the_same_and_a_scrubbed_one_holds_no_namespace() -> None:
    first = definition({"type": "macvlan", "master": "eth1", "mtu": 9000})
    named = Object.of({**first.body, "metadata": {"name": "jumbo", "namespace": "payments"}})
    asking = {NETWORKS: [{"name": "jumbo", "namespace": "payments", "interface": "net1"}]}
    whole = cluster(named, links=(ETH1,), web_1_0=asking, web_2_0={NETWORKS: "payments/jumbo"})
    reduced = observe.reduced(whole)
    assert decide.check(reduced).other_networks == decide.check(whole).other_networks
    scrubbed = observe.scrubbed(reduced, b"k" * 32)
    assert "payments" not in msgspec.json.encode(scrubbed).decode()
    (line,) = decide.check(scrubbed).other_networks
    assert (line.pods, [one.code for one in about(decide.check(scrubbed))]) == (2, ["MTU138"])


@pytest.mark.parametrize(
    "body",
    [
        {"metadata": {"name": 7, "namespace": "default"}, "spec": {"config": "{}"}},
        {"metadata": {"name": "x", "namespace": "default"}, "spec": {"config": {"type": "bridge"}}},
        {"metadata": {"name": "x", "namespace": "default"}, "spec": []},
    ],
)
def test_an_object_that_is_unlike_its_kind_ends_nothing(body: dict[str, object]) -> None:
    kind = {"apiVersion": "k8s.cni.cncf.io/v1", "kind": "NetworkAttachmentDefinition"}
    found = decide.check(cluster(Object.of({**kind, **body})))
    assert [one.code for one in about(found)] == ["MTU139"]


@pytest.mark.parametrize("odd", [[], {}, True, 1.5, "x", None])
def test_fields_of_any_type_end_nothing(odd: object) -> None:
    policy = {"apiVersion": "sriovnetwork.openshift.io/v1", "kind": "SriovNetworkNodePolicy"}
    default = {"apiVersion": SPIDER, "kind": "SpiderCoordinator", "metadata": {"name": "default"}}
    chained = [
        {"type": "macvlan", "mtu": odd, "master": odd},
        {"type": "tuning", "args": odd, "mtu": odd},
        {"type": "coordinator", "mode": odd, "vethMTU": odd},
        {"type": "ifacer", "interfaces": odd},
    ]
    made = cluster(
        spider(dict.fromkeys(("cniType", "macvlan", "customCNI", "coordinator", "chainCNIJsonData"), odd)),
        spider({"cniType": "macvlan", "macvlan": dict.fromkeys(("master", "mtu", "vlanID", "bond"), odd)}, "second"),
        Object.of({**default, "spec": {"mode": odd, "vethMTU": odd}}),
        Object.of({**policy, "metadata": {"name": "p"}, "spec": {"resourceName": odd, "mtu": odd}}),
        definition({"type": "sriov"}, "third", annotations={"k8s.v1.cni.cncf.io/resourceName": odd}),
        definition({"plugins": chained}, "fourth"),
        web_1_0={NETWORKS: [{"name": "jumbo", "cni-args": odd}], STATUS: [{"name": "a/b", "mtu": odd}]},
    )
    assert decide.check(made).verdict in {"healthy", "suboptimal"}


def test_each_writer_carries_them() -> None:
    found = decide.check(cluster(definition({"type": "macvlan", "master": "eth1", "mtu": 9000}), links=(ETH1,)))
    written = {name: write(found).decode() for name, write in reports.WRITERS.items()}
    assert "| default/jumbo | macvlan | eth1 1500 | 9000 | refused | 0 | - |" in written["markdown"]
    (run,) = json.loads(written["sarif"])["runs"]
    assert [(one["name"], one["newPodMtus"], one["refused"]) for one in run["properties"]["otherNetworks"]] == [
        ("default/jumbo", [], True)
    ]
    assert (
        '<property name="other network default/jumbo"'
        ' value="by macvlan, on eth1 1500, asks for 9000, new pod refused, pods 0, they have -" />'
    ) in written["junit"]
    (line,) = json.loads(msgspec.json.encode(found))["otherNetworks"]
    assert line == {
        "name": "default/jumbo", "plugin": "macvlan", "device": "eth1", "deviceMtus": [1500], "mtu": 9000,
        "newPodMtus": [], "pods": 0, "podMtus": [], "own": 0, "writtenFrom": None,
        "refused": True, "refusedOn": ["n1", "n2", "n3"],
    }  # fmt: skip


def meta_file(named: str) -> net.NodeFile:
    text = json.dumps({"name": "multus-cni-network", "type": "multus", "clusterNetwork": named})
    return net.NodeFile(path="/etc/cni/net.d/00-multus.conf", text=text)


def test_the_file_that_the_runtime_takes_names_a_definition() -> None:
    made = cluster(definition({"type": "macvlan", "master": "eth1", "mtu": 1400}), links=(ETH1,))
    nodes = tuple(msgspec.structs.replace(seen, files=(*seen.files, meta_file("jumbo"))) for seen in made.nodes)
    (one,) = [
        each for each in decide.check(msgspec.structs.replace(made, nodes=nodes)).findings if each.code == "MTU130"
    ]
    assert one.severity == "warning"
    assert one.message == (
        "The runtime takes this file, the first by name in its folder: its plugin multus goes by"
        " NetworkAttachmentDefinition default/jumbo, spec.config, so new pods here are of that network (macvlan), and"
        " /etc/cni/net.d/10-canal.conflist makes none of them."
    )


def underlay(named: str, *objects: Object, uplink: str = "eth1") -> Snapshot:
    seen = net.NodeObservation(
        node="n1",
        links=(link("eth0", 1500), link("eth1", 9000)),
        uplinks=(net.Uplink(peer="192.0.2.2", device=uplink, mtu=9000 if uplink == "eth1" else 1500),),
        files=(meta_file(named),),
    )
    return Snapshot(source="a test", objects=objects, nodes=(seen,))


@pytest.mark.parametrize(("mtu", "gets"), [(None, 9000), (0, 9000), (1480, 1480)])
def test_spiderpool_as_the_clusters_own_network(mtu: int | None, gets: int) -> None:
    config = spider({"cniType": "macvlan", "macvlan": {"master": ["eth1"], "mtu": mtu}})
    found = decide.check(underlay("default/jumbo", config))
    assert (found.cni, found.variant, found.encapsulation) == ("spiderpool", "macvlan", "none")
    assert [line.conflist_mtu for line in found.nodes] == [gets]
    assert found.recommended_mtu == 9000
    with pytest.raises(UsageError, match=r"Write 1400 as SpiderMultusConfig default/jumbo, spec\.macvlan\.mtu"):
        decide.plan(underlay("default/jumbo", config), 1400)


def test_spiderpool_on_another_nic_than_the_nodes_way_to_each_other() -> None:
    config = spider({"cniType": "macvlan", "macvlan": {"master": ["eth1"]}})
    found = decide.check(underlay("jumbo", config, uplink="eth0"))
    assert ("MTU117", "master eth1") in [(one.code, one.place) for one in found.findings]


@pytest.mark.parametrize("named", ["", "k8s-pod-network", "/host/etc/cni/net.d/10-calico.conflist"])
def test_spiderpool_beside_another_network_is_not_taken_for_it(named: str) -> None:
    with pytest.raises(NotRecognised):
        decide.check(underlay(named, spider({"cniType": "macvlan", "macvlan": {"master": ["eth1"]}})))


def test_a_network_that_does_not_fit_is_said_beside_a_pod_network_that_is_well() -> None:
    found = decide.check(cluster(definition({"type": "macvlan", "master": "eth1", "mtu": 9000}), links=(ETH1,)))
    assert found.summary == (
        "The pod network is well, but mind a network beside it, NetworkAttachmentDefinition default/jumbo, spec.config,"
        " mtu: It asks for 9000, and eth1 has 1500 on n1, n2 and n3: macvlan refuses every pod of this network there."
    )


def test_a_plan_says_that_new_pods_are_of_another_network() -> None:
    made = cluster(definition({"type": "macvlan", "master": "eth1"}), links=(ETH1,))
    nodes = tuple(msgspec.structs.replace(seen, files=(*seen.files, meta_file("jumbo"))) for seen in made.nodes)
    planned, _ = decide.plan(msgspec.structs.replace(made, nodes=nodes), 1400)
    assert (
        "New pods on n1, n2 and n3 are of another network, jumbo, by the file that the runtime takes: what is planned"
        " here does not reach them."
    ) in planned.remains


MEMBERS = ["plugins", "type", "mtu", "master", "bridge", "args", "cni", "interfaces", "macvlan"]
ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(MEMBERS) | st.text(), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(ANY)
def test_any_configuration_is_read_or_refused_in_one_sentence(config: object) -> None:
    listed = chain.plugins(json.dumps(config))
    if isinstance(listed, str):
        assert "\n" not in listed
        return
    found = chain.read(listed)
    assert found.mtu is None or 68 <= found.mtu <= 65535
    assert not (found.refused and found.mtu is not None and not found.by)


@given(st.text(alphabet='[{"}],:/@ abname\\1', max_size=40) | ANY.map(json.dumps), st.sampled_from(["", "default"]))
def test_any_selection_of_networks_is_read_or_is_none(text: str, namespace: str) -> None:
    found = attachments.selections(text, namespace)
    assert found is None or all(name and not name.startswith("/") for name, _, _ in found)


NAMES = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?", fullmatch=True)


@given(st.lists(st.tuples(st.none() | NAMES, NAMES, st.none() | NAMES), min_size=1, max_size=4))
def test_both_forms_of_a_selection_say_the_same(selected: list[tuple[str | None, str, str | None]]) -> None:
    """multi-net-spec, section 4.1.2: names with commas between, or a list of objects."""
    text = ", ".join(
        (f"{space}/" if space else "") + name + (f"@{device}" if device else "") for space, name, device in selected
    )
    listed = [
        {"name": name} | ({"namespace": space} if space else {}) | ({"interface": device} if device else {})
        for space, name, device in selected
    ]
    expected = [(f"{space or 'here'}/{name}", device or "", None) for space, name, device in selected]
    assert attachments.selections(text, "here") == attachments.selections(json.dumps(listed), "here") == expected


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        (
            ("default/fast", "macvlan", "eth1 9000", "9000", "9000", "2", "1500-9000"),
            "default/fast: by macvlan on eth1 9000, asks for 9000, new pods get 9000; 2 pods with 1500-9000",
        ),
        (
            ("default/torn", "?", "-", "-", "?", "0", "-"),
            "default/torn: by what is not known, what new pods get is not known; no pod",
        ),
        (
            ("default/tap", "tap", "-", "-", "1500", "1,200", "?"),
            "default/tap: by tap, new pods get 1500; 1,200 pods, not looked into",
        ),
        (
            ("default/jumbo", "macvlan", "eth1 1500", "9000", "refused", "0", "-"),
            "default/jumbo: by macvlan on eth1 1500, asks for 9000, new pods are refused; no pod",
        ),
        (
            ("default/jumbo", "macvlan", "eth1 1500", "-", "? (refused on 2 nodes)", "0", "-"),
            "default/jumbo: by macvlan on eth1 1500, what new pods get is not known (refused on 2 nodes); no pod",
        ),
    ],
    ids=["all of it", "nothing", "pods that nobody saw", "refused", "refused where it was seen"],
)
def test_a_narrow_terminal_gets_sentences_without_empty_cells(cells: tuple[str, ...], said: str) -> None:
    assert other_networks._sentence(cells) == said
