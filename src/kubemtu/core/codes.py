"""The closed catalogue of what can be wrong: each code keeps its meaning for ever, and a retired one is never reused.

The numbers say nothing; the titles are what people search for. `docs/codes.md` is `markdown()` of this file.
"""

from typing import Literal

import msgspec

from kubemtu.core.places import NodePlace

Severity = Literal["error", "warning", "note"]


class Finding(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One thing that is wrong, or could be better, at one place.

    `code` is from kubemtu.core.codes; `place` names the node, device, pod, object and key it is about, most general
    first ("node n1, pod default/web-1, eth0"); `message` says what is so and what it costs; `remedy` what to do.
    """

    code: str
    """Code of the finding, MTU101 and up (docs/codes.md)."""
    severity: Severity
    """How much it matters."""
    place: str
    """The node, device, pod, object and key it is about, most general first."""
    message: str
    """What is so, and what it costs."""
    remedy: str
    """What to do."""
    nodes: tuple[str, ...] = ()
    """Names of the nodes that it is about, all of them, where `place` names the first few; empty where it is about
    objects, or about all nodes."""


class Code(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One kind of finding: what it is called, why it matters, and how to see it without kubemtu.

    `severity` is what it usually is: an error loses packets or keeps pods from starting, a warning costs speed or will
    become an error, a note only says what could not be seen.
    """

    code: str
    name: str
    severity: Severity
    title: str
    why: str
    verify: str


MTU101 = Code(
    code="MTU101",
    name="pod-mtu-above-path",
    severity="error",
    title="A pod may send packets that the path between nodes does not carry",
    why="TCP connections open and then hang at the first full-sized segment, because nobody on an overlay reports what"
    " was dropped to the sender, or because the report is filtered on its way.",
    verify="From the pod: ping -M do -s <pod MTU - 28> <pod on another node>. It is lost, and a smaller one is not.",
)
MTU102 = Code(
    code="MTU102",
    name="pod-mtu-below-path",
    severity="warning",
    title="Pods use less than the path carries",
    why="Nothing is lost, but each packet carries less than it could: on jumbo frames this costs throughput and CPU.",
    verify="Compare `ip link show eth0` in a pod with the NIC's MTU minus the encapsulation.",
)
MTU103 = Code(
    code="MTU103",
    name="config-not-rolled-out",
    severity="error",
    title="A node's CNI configuration is not what the cluster's configuration says",
    why="The file on the node is written when the CNI's pod starts. A changed ConfigMap restarts nothing by itself, so"
    " new pods on this node still get the old MTU.",
    verify="On the node: grep mtu /etc/cni/net.d/*.conflist, and compare it with the ConfigMap.",
)
MTU104 = Code(
    code="MTU104",
    name="pods-older-than-config",
    severity="error",
    title="Running pods have another MTU than new pods will get",
    why="A pod keeps the MTU it was born with. Until all have the same, old and new pods may send each other packets"
    " that the other's interface refuses without a word.",
    verify="`ip link` on the node: the host ends of pods show more than one MTU.",
)
MTU105 = Code(
    code="MTU105",
    name="veth-ends-differ",
    severity="error",
    title="The two ends of a pod's interface have different MTUs",
    why="A veth drops what is larger than the receiving end's MTU, silently: no ICMP error is sent.",
    verify="Compare `ip link show eth0` in the pod with the host end; look at the drop counters of both.",
)
MTU106 = Code(
    code="MTU106",
    name="mixed-nics",
    severity="warning",
    title="Nodes reach each other through NICs of different MTUs",
    why="The smallest one decides for everybody; whatever is computed from a single node is wrong for the others.",
    verify="On each node: ip route get <address of another node>, then ip link show <that device>.",
)
MTU107 = Code(
    code="MTU107",
    name="wrong-tunnel-device",
    severity="error",
    title="The tunnel device does not have the MTU that its configuration gives it",
    why="Flannel does not change the MTU of a tunnel device that exists already, so a new configuration leaves the old"
    " device behind: packets between the two sizes are dropped or fragmented.",
    verify="Compare `ip -d link show type vxlan` with the NIC's MTU minus the encapsulation.",
)
MTU108 = Code(
    code="MTU108",
    name="required-key-missing",
    severity="error",
    title="A key that the CNI's pods need is not in its ConfigMap",
    why="A container whose configMapKeyRef finds no key does not start. Pods that run keep running, so the loss shows"
    " only at the next restart, and then on every node. An empty value is not a missing one.",
    verify="kubectl describe pod: 'couldn't find key canal_iface in ConfigMap kube-system/canal-config'.",
)
MTU109 = Code(
    code="MTU109",
    name="nic-not-on-node",
    severity="error",
    title="The configuration names a NIC that this node does not have",
    why="The CNI's agent exits at its next start, and the node's pods lose their network.",
    verify="On the node: ip link show <name>.",
)
MTU110 = Code(
    code="MTU110",
    name="conflist-hand-edited",
    severity="warning",
    title="A node's CNI configuration was edited by hand",
    why="The next restart of the CNI's pod renders the file anew and takes the edit back.",
    verify="Compare the file on the node with the template in the ConfigMap, placeholders aside.",
)
MTU111 = Code(
    code="MTU111",
    name="setting-without-effect",
    severity="warning",
    title="An MTU is set where nothing reads it",
    why="Whoever set it believes that it works. Another value is in force, or none.",
    verify="Follow the number: template placeholder, environment variable, version of the image.",
)
MTU112 = Code(
    code="MTU112",
    name="mtu-wrong-type",
    severity="error",
    title="An MTU has the wrong type or cannot be an MTU",
    why='CNI plugins parse strictly: "mtu": "1450" instead of 1450 makes every new pod fail to start. Other places,'
    " such as a ConfigMap's values, must be strings.",
    verify="Read the value with its quotes: kubectl get configmap -o yaml.",
)
MTU113 = Code(
    code="MTU113",
    name="source-owned",
    severity="warning",
    title="The object that holds the MTU is written by something else",
    why="A change made here lasts until its owner writes again: at the next upgrade, sync or reconciliation.",
    verify="kubectl get <object> -o yaml --show-managed-fields; the labels and annotations name Helm, Argo CD, Flux or"
    " an operator.",
)
MTU114 = Code(
    code="MTU114",
    name="ipv6-below-1280",
    severity="error",
    title="An MTU below 1280 on a pod network with IPv6",
    why="IPv6 needs 1280 bytes on every link (RFC 8200, section 5); Linux removes IPv6 from a device below that.",
    verify="In a pod: ip -6 addr shows nothing on eth0.",
)
MTU115 = Code(
    code="MTU115",
    name="route-mtu-above-device",
    severity="error",
    title="A route's MTU is larger than its device's",
    why="The sender believes the route; the device drops.",
    verify="ip route show | grep mtu, and compare with ip link show of the same device.",
)
MTU116 = Code(
    code="MTU116",
    name="pin-left-behind",
    severity="warning",
    title="A route still has the MTU of a change that is over",
    why="A pin keeps senders at the smaller size while devices change. Left behind, it costs throughput for ever.",
    verify="ip route show | grep 'mtu lock'.",
)
MTU117 = Code(
    code="MTU117",
    name="object-unreadable",
    severity="warning",
    title="An object, or a part of one, could not be read",
    why="What cannot be read cannot be judged: what is said about the rest may be incomplete.",
    verify="kubectl get <object> -o yaml, at the path that the message names.",
)
MTU118 = Code(
    code="MTU118",
    name="node-not-observed",
    severity="note",
    title="A node, or some of its pods, were not observed",
    why="Its NIC, its tunnel and its pods are unknown; the smallest NIC of the cluster may be there. Pods whose"
    " interfaces are not found may have any MTU.",
    verify="kubectl -n kubemtu get pods -o wide: does an agent run on this node?",
)
MTU119 = Code(
    code="MTU119",
    name="configured-mtu-wrong",
    severity="error",
    title="The configured MTU is not what the path carries",
    why="Every pod that is created from now on gets it: too large loses packets, too small costs throughput.",
    verify="Take the smallest NIC between the nodes, subtract the encapsulation, compare with the configured number.",
)
MTU120 = Code(
    code="MTU120",
    name="nic-not-detected",
    severity="warning",
    title="Calico's MTU detection does not see the NIC that carries the pods' packets",
    why="Felix takes the smallest MTU of the NICs whose names match mtuIfacePattern, and 1460 where none does. Names"
    " such as bond0, team0, em1 or vlan10 do not match the default pattern.",
    verify="Compare the names in `ip -br link` with mtuIfacePattern; on the node: cat /var/lib/calico/mtu.",
)
MTU121 = Code(
    code="MTU121",
    name="bridge-mtu",
    severity="warning",
    title="The bridge of the pod network has another MTU than its pods",
    why="A bridge drops silently what is larger than its ports' or its own MTU; one that was set by hand no longer"
    " follows its ports.",
    verify="ip link show cni0, and the ports: ip link show master cni0.",
)
MTU122 = Code(
    code="MTU122",
    name="conflist-invalid",
    severity="error",
    title="The CNI configuration is not what a CNI configuration must be",
    why="Rendered, it is not valid JSON, or has no plugins. The node becomes NotReady, or new pods fail to start.",
    verify="Render the template and parse it: python3 -m json.tool.",
)
MTU123 = Code(
    code="MTU123",
    name="measured-below-expected",
    severity="error",
    title="The network carries less than the interfaces say",
    why="A switch port, a middlebox or a tunnel below the nodes takes less than what is sent, and no interface shows"
    " it: full-size packets vanish, and connections hang once they send one.",
    verify="`kubemtu probe --mesh` shows every pair; between two, `kubemtu node probe` finds the size to the byte.",
)
MTU124 = Code(
    code="MTU124",
    name="tunnel-cuts-packets",
    severity="warning",
    title="A tunnel's packets are cut in pieces on the way",
    why="Everything arrives, but each full packet travels as two: throughput falls to a fraction, and losing one piece"
    " loses both. No probe inside the tunnel sees it; the node's counters do.",
    verify="On the node: `nstat -az IpFragCreates` rises with each full-size packet between pods.",
)
MTU125 = Code(
    code="MTU125",
    name="not-measured",
    severity="note",
    title="What the network carries could not be measured everywhere",
    why="Who answers nothing of any size may be down or filtered, and too much loss hides a size: neither says anything"
    " about the MTU, and neither is proven to be right.",
    verify="See that the kubemtu agents and probe pods run, and that UDP port 7843 or ICMP echo passes.",
)
MTU126 = Code(
    code="MTU126",
    name="path-known",
    severity="note",
    title="The path between nodes is known to carry less than its interfaces say",
    why="An MTUPolicy says so, and everything here goes by it: pods of that size are right, and larger ones are not."
    " The nodes' own packets still go by their interfaces.",
    verify="kubectl get mtupolicies; `kubemtu check --prove` measures whether it is still so.",
)
MTU127 = Code(
    code="MTU127",
    name="policy-not-used",
    severity="warning",
    title="An MTUPolicy is not used",
    why="It has expired, cannot be read, or speaks of nodes that are not there: what it was written for is not heeded"
    " any more.",
    verify="kubectl get mtupolicies -o yaml: spec.expires, spec.pathMtu and spec.nodes.",
)
MTU128 = Code(
    code="MTU128",
    name="change-unfinished",
    severity="warning",
    title="A change of the pod MTU has not ended",
    why="While it stands, its pins hold senders back, and pods that are born or nodes that join depend on the agents."
    " One whose driver was killed stands until somebody carries it on or takes it back.",
    verify="kubectl get mtumigrations; its status.journal says who drove it and when it moved.",
)
MTU129 = Code(
    code="MTU129",
    name="spec-refused",
    severity="warning",
    title="A node's agent refuses what its NodeMTU asks",
    why="An agent obeys only a change that exists, and only what is of the pod network: no NIC, no other device, no"
    " size out of bounds. Somebody has written something else, by hand, by a mistake or on purpose.",
    verify="kubectl get nodemtu NODE -o yaml: the condition Accepted in its status.",
)
MTU130 = Code(
    code="MTU130",
    name="runtime-takes-another-file",
    severity="error",
    title="The runtime takes another CNI configuration than the CNI's own",
    why="A runtime takes the first file by name in its folder, whoever wrote it: what a CNI before has left there, or a"
    " copy of the CNI's configuration that a plugin before it made once. A change of the MTU then reaches no new pod.",
    verify="On the node: ls /etc/cni/net.d/*.conf* /etc/cni/net.d/*.json, and look for mtu in the first of them.",
)
MTU131 = Code(
    code="MTU131",
    name="larger-inside-pod",
    severity="warning",
    title="A device inside a pod is larger than the pod",
    why="A daemon that runs containers or virtual machines in a pod takes 1500 unless it is told another number. They"
    " announce segments that the pod does not take: builds and downloads in them hang, while the pod itself is well.",
    verify="In the pod: ip -d link. Compare docker0, br-..., k6t-... and their ports with eth0.",
)
MTU132 = Code(
    code="MTU132",
    name="held-size-missing",
    severity="warning",
    title="A pod or a node lacks what a change that is in force gives all others",
    why="Sizes by destination are routes inside the pods, and no CNI keeps them: the nodes' agents do. A node that"
    " joined later is not in the change, and a pod without the routes sends too much to nodes that take less.",
    verify="In the pod: ip route. Compare with spec.networkMtus and spec.defaultRouteMtu of its node's NodeMTU.",
)
MTU135 = Code(
    code="MTU135",
    name="cloud-limit",
    severity="warning",
    title="A NIC or a pod says more than the cloud documents for the way",
    why="A cloud's network takes what its provider says, whatever an operating system gave a NIC. What is larger is cut"
    " or dropped there, often without an ICMP error. A document is no measurement, so this is a reason to measure.",
    verify="Look up the page that the message names; from a pod: ping -M do -s <size - 28> <pod on another node>.",
)
MTU136 = Code(
    code="MTU136",
    name="vpn-above-nic",
    severity="warning",
    title="A VPN under the nodes is larger than the NIC below it leaves",
    why="Nodes reach each other by a VPN whose own headers go around every packet. What does not fit below leaves as"
    " two fragments, which halves the throughput and which many networks drop; no device of the pod network shows it.",
    verify="On the node: ip route get <address of another node>, then ip link show of that device and of the NIC.",
)
MTU138 = Code(
    code="MTU138",
    name="other-network-mtu",
    severity="warning",
    title="A network beside the pod network has an MTU that does not fit",
    why="Pods may have further networks (NetworkAttachmentDefinitions), each with a device and an MTU of its own. What"
    " asks for more than the device below it has is refused with the whole pod (macvlan, vlan) or loses what is larger"
    " (bridge, ipvlan). kubemtu reads these networks and never changes them.",
    verify="kubectl get network-attachment-definitions -A -o yaml: mtu, master and bridge in spec.config; on the node:"
    " ip -d link. In a pod: ip link show net1.",
)
MTU139 = Code(
    code="MTU139",
    name="other-network-refused",
    severity="warning",
    title="The definition of a network beside the pod network is refused, or cannot be read",
    why="spec.config is a JSON text that no API server looks into: a lost comma, a number in quotes or a device that is"
    " not there shows only when the next pod of the network does not start. As a note: it could not be judged.",
    verify="kubectl get network-attachment-definition NAME -o jsonpath={.spec.config} | python3 -m json.tool; kubectl"
    " describe pod: the events name the plugin and what it refuses.",
)
MTU140 = Code(
    code="MTU140",
    name="platform-migration",
    severity="note",
    title="The platform's own migration of the MTU is under way, or is refused",
    why="OpenShift's network operator changes the MTU by a migration, which reboots every node twice. While it lasts,"
    " devices and routes differ on purpose; one that is refused leaves the operator degraded and changes nothing.",
    verify="oc get network.operator.openshift.io cluster -o yaml: spec.migration.mtu; oc get co network; oc get mcp.",
)
MTU141 = Code(
    code="MTU141",
    name="windows-nodes",
    severity="note",
    title="Nodes run Windows, whose MTU nobody here sees",
    why="Windows' Host Networking Service gives pods their MTU: 1450 on NICs of 1500, whatever is configured for the"
    " others. Where the path carries less than that leaves room for, their packets vanish, or are cut, and Windows does"
    " not put pieces of its overlay together (kubernetes/kubernetes#83739).",
    verify="On such a node: Get-NetIPInterface -AddressFamily IPv4 | ft InterfaceAlias, NlMtu.",
)
MTU142 = Code(
    code="MTU142",
    name="nodes-own-encryption",
    severity="warning",
    title="The nodes' own packets are encrypted, and their routes do not know it",
    why="Only pods' routes leave room for what encryption adds. What nodes and pods on their network say to each other"
    " leaves by the NIC's MTU, grows behind it, and is cut, or lost where the network takes no pieces.",
    verify="On a node: ip route get OTHER-NODE has no mtu; `nstat -az IpFragCreates` rises with each full-size packet.",
)
MTU144 = Code(
    code="MTU144",
    name="nic-left-to-dhcp",
    severity="note",
    title="A node's configuration takes over a NIC from DHCP and says no MTU",
    why="DHCP may give a NIC less than the usual 1500, as private networks of clouds need. A document that configures"
    " the same NIC without an MTU has been seen to undo that, and nothing in the files tells which of the two it has.",
    verify="On the node: talosctl get links, or ip link show.",
)
MTU145 = Code(
    code="MTU145",
    name="tunnel-above-far-nic",
    severity="warning",
    title="A node's tunnel, or its NIC past the tunnel, takes more than another node's NIC does",
    why="Pods may all fit, and what the nodes themselves send, and pods on their network, still goes by the tunnel's"
    " MTU: datagrams that are larger than the other node's NIC leaves room for vanish in front of it, without an ICMP"
    " error. TCP agrees on less; DNS, QUIC and storage over UDP are what hangs. Where nodes of one subnet reach each"
    " other past the tunnel (CrossSubnet, DirectRouting), it is the NIC's own MTU that they go by.",
    verify="On the node itself: ping -M do -s <its tunnel's MTU - 28> <pod on the other node>. It is lost without a"
    " word, and one of the pod's MTU is not.",
)
CODES: tuple[Code, ...] = (
    MTU101,
    MTU102,
    MTU103,
    MTU104,
    MTU105,
    MTU106,
    MTU107,
    MTU108,
    MTU109,
    MTU110,
    MTU111,
    MTU112,
    MTU113,
    MTU114,
    MTU115,
    MTU116,
    MTU117,
    MTU118,
    MTU119,
    MTU120,
    MTU121,
    MTU122,
    MTU123,
    MTU124,
    MTU125,
    MTU126,
    MTU127,
    MTU128,
    MTU129,
    MTU130,
    MTU131,
    MTU132,
    MTU135,
    MTU136,
    MTU138,
    MTU139,
    MTU140,
    MTU141,
    MTU142,
    MTU144,
    MTU145,
)  # fmt: skip


def finding(code: Code, place: str | NodePlace, message: str, remedy: str, severity: Severity | None = None) -> Finding:
    """Make a finding of that code; `severity` only where this case is better or worse than the code usually is."""
    return Finding(
        code=code.code,
        severity=severity or code.severity,
        place=str(place),
        message=message,
        remedy=remedy,
        nodes=place.nodes if isinstance(place, NodePlace) else (),
    )


def markdown() -> str:
    """Write the catalogue as the page `docs/codes.md`."""
    lines = ["# Codes", "", "| code | name | severity | title |", "|---|---|---|---|"]
    lines += [
        f"| [{code.code}](#{code.code.lower()}) | {code.name} | {code.severity} | {code.title} |" for code in CODES
    ]
    for code in CODES:
        lines += ["", f"## {code.code}", "", f"**{code.title}** ({code.name}, {code.severity})", "", code.why, ""]
        lines += [f"See it yourself: {code.verify}"]
    return "\n".join(lines) + "\n"
