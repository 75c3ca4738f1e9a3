"""What a lab is made of, as data: nodes and their NICs, the CNI and what its ConfigMap says, pods, and what is wrong.

    pod-1a   pod-1b                         pod-2a   pod-2b
      |eth0    |                              |        |
      |cali..  |cali..    node-1              |        |          node-2
      +----+---+                              +----+---+
           | flannel.1 (VXLAN 1, UDP 8472)         | flannel.1
    API ---| eth0 192.168.77.1                     | eth0 192.168.77.2
    =======+==================== fabric ===========+==========  switch ports, each with an MTU
                                    | 192.168.77.254: the way to the rest of the world, which is not there

All MTUs are bytes of the IP packet. A Scene is pure: it can be printed, compared, changed with `replace` and sent to
the supervisor as JSON.
"""

from typing import Literal, Self

import msgspec

from kubemtu.core import errors
from kubemtu_lab import addressing
from kubemtu_lab.image_tools import Kind


class Nic(msgspec.Struct, frozen=True, kw_only=True):
    """One NIC of a node and the switch port it is plugged into.

    The first NIC of a node has 192.168.77.N, fd00:77::N or both, by the scene's families, and the default route, the
    second 192.168.78.N or fd00:78::N, and so on. The API server is behind the first NIC of the first node. A port takes
    less only once all is up and was seen by the agents: no node could join through such a port.
    `port_mtu` None means that the port takes whatever the NIC sends. Otherwise a port drops larger packets without a
    word, both those that the node sends (the port's end of the veth does not receive them) and those that go to the
    node (the bridge does not forward them); a veth takes four bytes more than its MTU, room for a VLAN tag
    (is_skb_forwardable). With another `port_way` it drops them in that one direction only and to the byte; nft does it.
    """

    name: str = "eth0"
    mtu: int = 1500
    port_mtu: int | None = None
    port_way: Literal["both", "to-node", "from-node"] = "both"


class Node(msgspec.Struct, frozen=True, kw_only=True):
    """One node; its place in the scene decides its addresses and its pods', as `addressing` has them."""

    name: str
    nics: tuple[Nic, ...] = (Nic(),)
    pods: tuple[str, ...] = ()


class Canal(msgspec.Struct, frozen=True, kw_only=True, tag="canal"):
    """Canal as RKE deployed it.

    Era A (2018): no MTU anywhere unless `mtu` was written into the CNI JSON by hand. Era B: RKE writes it there.
    Era C: ConfigMap key `veth_mtu`; `mtu` None gives RKE's default of 1450.
    """

    era: Literal["A", "B", "C"] = "A"
    mtu: int | None = None
    iface: str = ""
    backend: Literal["vxlan", "host-gw"] = "vxlan"  # net-conf.json Backend.Type; host-gw routes packets as they are
    backend_mtu: int | None = None  # net-conf.json Backend.MTU: of the underlay, flannel subtracts 50
    rke2: bool = False
    """Whether RKE2's chart has made it, from a HelmChartConfig; its ConfigMap is as in era C, under another name."""
    values: bool = True
    """Whether RKE2's chart has a HelmChartConfig; without one it has its own defaults."""

    @property
    def config_map(self) -> str:
        """The ConfigMap's name."""
        return "rke2-canal-config" if self.rke2 else "canal-config"


class Flannel(msgspec.Struct, frozen=True, kw_only=True, tag="flannel"):
    """kube-flannel with the bridge plugin as its delegate."""

    backend: Literal["vxlan", "host-gw"] = "vxlan"
    backend_mtu: int | None = None
    delegate_mtu: int | None = None
    iface: str = ""


class Calico(msgspec.Struct, frozen=True, kw_only=True, tag="calico"):
    """Calico over VXLAN, by its operator's Installation or by its manifest; `mtu` None: Felix finds it.

    The operator itself is an owner: without `Owner(kind="operator")` nobody renders anything anew.
    """

    mtu: int | None = None
    operator: bool = True


class Declared(msgspec.Struct, frozen=True, kw_only=True, tag="declared"):
    """A CNI that is nothing but this declaration: routed veths, a VXLAN device or none, and one number.

    Its DaemonSet has a container that writes the plugin's configuration and the number to each node; the plugin gives
    pods veths of that MTU, or, limited by route, veths of 1500 and a default route of that MTU. With `subtracts` the
    number is the underlay's: veths have it, and default routes so many bytes less.
    """

    name: str  # of the DaemonSet, of its configuration on the node (10-NAME.conflist), and of the plugin
    config_map: str
    key: str = "mtu"  # the ConfigMap's, which holds the pods' MTU
    mtu: int
    prefix: str  # of the host ends of its pods' veths; with {pod}, {key} or {id} in it their whole names
    tunnel: str = ""  # name of the VXLAN device; empty: nodes route pods' packets to each other as they are
    vni: int = 1
    mtu_file: str  # absolute path on the node
    by_route: bool = False
    subtracts: int = 0
    daemonset: str = ""  # its name, where it is not `name`
    plugin: str = ""  # the type of the plugin, where it is not `name`
    data: tuple[tuple[str, str], ...] = ()  # what else the ConfigMap holds
    agent: str = ""  # the container that configures the node; empty: an init container of no real one's name
    image: str = ""  # of that container
    variables: tuple[str, ...] = ()  # of that container: the first that is set holds the number, and no ConfigMap
    follows_nic: bool = False  # the number is what the NIC has when that container starts
    updates: bool = False  # that container gives running pods the number as well, host ends first
    form: str = "{}"  # the text of `key`, around the number, which is the last in it
    arguments: tuple[str, ...] = ()  # of that container, beside the lab's own
    flag: str = ""  # of that container: the number stands there, and in no ConfigMap
    namespace: str = "kube-system"  # of the DaemonSet and the ConfigMap
    number_in: tuple[str, str] | None = None
    """Namespace and name of another ConfigMap that has `key`, which something else brings to the nodes."""
    bridge: str = ""  # that the veths are ports of; empty: each is routed
    gateway: str = ""  # the node's own way into that, as into a switch, of the number that its container was given last
    once: tuple[str, str] | None = None
    """A veth from the bridge into `gateway`, which is no way of the node's then; made with the bridge, it keeps what it
    was made with, and new pods get what the bridge has."""
    literal: Literal["", "number", "text"] = ""  # how the plugin's configuration holds the number, beside the file


Cni = Canal | Flannel | Calico | Declared


OwnerKind = Literal["helm", "helm-chart-config", "argo-cd", "flux", "addon", "rke", "operator"]


class Owner(msgspec.Struct, frozen=True, kw_only=True):
    """Who keeps the CNI's ConfigMap, and writes it back as it was rendered when somebody has changed it.

    `seconds` after it was changed; None: only when somebody upgrades, as `Lab.reconcile` does. The charts of RKE2 are
    upgraded whenever their HelmChartConfig changes, too.
    """

    kind: OwnerKind
    seconds: float | None = None


class ConfigEdit(msgspec.Struct, frozen=True, kw_only=True, tag="config-edit"):
    """Somebody changed a ConfigMap after the pods had started; `value` None: the key was lost."""

    namespace: str
    name: str
    key: str
    value: str | None


class Reconfigured(msgspec.Struct, frozen=True, kw_only=True, tag="reconfigured"):
    """Somebody configured the CNI anew after the pods had started, and perhaps restarted its DaemonSet."""

    cni: Cni
    restarted: bool


class HandSet(msgspec.Struct, frozen=True, kw_only=True, tag="hand-set"):
    """Somebody set the MTU of links on a node by hand; `links` is a name, or a start of names with a star."""

    node: str
    links: str
    mtu: int


class IcmpFiltered(msgspec.Struct, frozen=True, kw_only=True, tag="icmp-filtered"):
    """A firewall on a node swallows the ICMP that the node itself sends: path-MTU discovery goes blind."""

    node: str


class PolicyDropped(msgspec.Struct, frozen=True, kw_only=True, tag="filtered"):
    """A network policy on a node drops what others begin to send to its pods; answers to the pods themselves pass.

    `pod` is POD or NAMESPACE/POD, none for all pods that the node has or gets; `port` None stands for all. It acts
    where the node forwards: not on what the node itself sends, nor between two ports of one bridge (flannel's cni0).
    Raises UsageError for a port of a protocol that has none.
    """

    node: str
    pod: str = ""
    protocol: Literal["udp", "tcp", "icmp", "all"] = "all"
    port: int | None = None

    def __post_init__(self) -> None:
        if self.port is not None and self.protocol not in ("udp", "tcp"):
            raise errors.UsageError(f"a filter of {self.protocol} has no port; name udp or tcp")


ExecFault = Literal[
    "hangs",
    "floods",
    "broken-utf8",
    "escapes",
    "wrong-numbers",
    "huge-line",
    "breaks",
    "not-running",
    "refused",
    "silent",
]
"""What a command in a container does instead: nothing for ever, write for ever, write what is no text, what a terminal
would obey, numbers that are none or too large, or 64 MiB without an end of line, break off in its middle; or no
container runs, or the kubelet refuses connections, or does not even answer to them."""


class ExecBroken(msgspec.Struct, frozen=True, kw_only=True, tag="exec-broken"):
    """Commands in the containers of a node go wrong (pods/exec); `container` names those that do, none all of them."""

    node: str
    how: ExecFault
    container: str = ""


Fault = ConfigEdit | Reconfigured | HandSet | IcmpFiltered | PolicyDropped | ExecBroken


class Scene(msgspec.Struct, frozen=True, kw_only=True):
    """A whole cluster. Faults happen once everything is up, in their order."""

    name: str
    summary: str
    nodes: tuple[Node, ...]
    cni: Cni = Canal()
    version: str = "v1.12.10"  # of Kubernetes, as the nodes report it
    agents: bool = False  # the kubemtu-agent DaemonSet runs
    probes: bool = False  # the kubemtu-probe DaemonSet runs, once an agent, or somebody, has made its Secret
    families: addressing.Families = addressing.IPV4
    """Of nodes, pods, Services and the API server; all of a scene of IPv6 alone has no other address."""
    owner: Owner | None = None
    daemons: tuple[Literal["kube-proxy", "node-exporter", "kube-vip"], ...] = ()
    """More pods in the host's network that every node has, each with what is in its image: see `image_tools`."""
    images: dict[str, Kind] = {}
    """What the image of a played container is like, by the container's name, where it is like another than usual."""
    image: str = ""  # the folder of an unpacked image of kubemtu, whose files its pods run then (kubemtu_lab.images)
    faults: tuple[Fault, ...] = ()
    grace_seconds: float = 40.0
    """After how long without news of its kubelet a node is Ready=Unknown: --node-monitor-grace-period."""
    history: int = 1000
    """How many changes of each kind the API server knows at least, for watches that were away: etcd's, uncompacted."""
    daemon_seconds: float = 0.0
    """How long the CNI's daemon takes to be ready when it is restarted; the real flanneld: 13 to 15 s."""

    def __post_init__(self) -> None:
        names = [node.name for node in self.nodes]
        pods = [pod for node in self.nodes for pod in node.pods]
        for told, found in (("node", names), ("pod", pods)):
            twice = sorted({each for each in found if found.count(each) > 1})
            if twice:
                raise errors.UsageError(f"scene {self.name}: two {told}s are called {twice[0]}; give each its own name")
        if not 1 <= len(self.nodes) <= 200:
            raise errors.UsageError(f"scene {self.name}: a lab has 1 to 200 nodes, not {len(self.nodes)}")
        if 4 not in self.families and not isinstance(self.cni, Flannel):
            raise errors.UsageError(f"scene {self.name}: IPv6 alone is played with kube-flannel only")

    def replace(self, **changes: object) -> Self:
        """Return the scene with other values for these fields."""
        return msgspec.structs.replace(self, **changes)

    def with_fault(self, *faults: Fault) -> Self:
        """Return the scene with more faults at its end."""
        return self.replace(faults=(*self.faults, *faults))

    def with_nics(self, node: str, *nics: Nic) -> Self:
        """Return the scene with other NICs on one node. Raises UsageError when there is no such node."""
        self.number(node)
        nodes = tuple(msgspec.structs.replace(each, nics=nics) if each.name == node else each for each in self.nodes)
        return self.replace(nodes=nodes)

    def number(self, node: str) -> int:
        """Return the place of a node, counted from 1. Raises UsageError when there is no such node."""
        for place, each in enumerate(self.nodes, 1):
            if each.name == node:
                return place
        raise errors.UsageError(f"scene {self.name} has no node {node}; it has {', '.join(n.name for n in self.nodes)}")


def nodes(count: int, pods: int, nic: Nic | None = None) -> tuple[Node, ...]:
    """Return nodes node-1, node-2, ... that are all alike, with pods pod-1a, pod-1b, ... on them."""
    return tuple(alike(place, pods, (nic or Nic(),)) for place in range(1, count + 1))


def resized(
    scene: Scene,
    *,
    nodes: int | None = None,
    pods: int | None = None,
    nic_mtu: int | None = None,
    pod_mtu: int | None = None,
) -> Scene:
    """Return the scene with other numbers of nodes and of pods on each, and other MTUs; None leaves as it is.

    Nodes beyond those of the scene are like its first.
    """
    made = []
    for place in range(1, (nodes or len(scene.nodes)) + 1):
        pattern = scene.nodes[min(place, len(scene.nodes)) - 1 if place <= len(scene.nodes) else 0]
        count = len(pattern.pods) if pods is None else pods
        nics = pattern.nics
        if nic_mtu is not None:
            nics = (msgspec.structs.replace(nics[0], mtu=nic_mtu), *nics[1:])
        made.append(alike(place, count, nics))
    cni = scene.cni
    if pod_mtu is not None:
        field = "delegate_mtu" if isinstance(cni, Flannel) else "mtu"
        cni = msgspec.structs.replace(cni, **{field: pod_mtu})
    return scene.replace(nodes=tuple(made), cni=cni)


def alike(place: int, pods: int, nics: tuple[Nic, ...]) -> Node:
    """Return node-N with pods pod-Na, pod-Nb, ..."""
    return Node(name=f"node-{place}", nics=nics, pods=tuple(f"pod-{place}{_letters(each)}" for each in range(pods)))


def _letters(place: int) -> str:
    letter = chr(ord("a") + place % 26)
    return letter if place < 26 else _letters(place // 26 - 1) + letter


API_PORT = 6443
KUBECONFIG = "/etc/kubernetes/kubelet.conf"  # on every node: the kubelet's own, by the control plane's address
IN_CLUSTER = "/etc/kubernetes/in-cluster.conf"  # on every node: by the address of the Service, as pods have it
DECLARED = "declared"  # first argument of the container that configures a node for a CNI that is only declared
DECLARED_MTU = "__DECLARED_MTU__"  # in the configuration of its plugin
EXEC_IMAGE = "lab/exec"  # the image of containers whose command is a program of this machine
