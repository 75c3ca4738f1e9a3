"""What a CNI module tells about the pod network it recognised: where the MTU is kept, what it means, what it makes."""

from typing import Literal

import msgspec

from kubemtu.core import encap, headers, net, objects
from kubemtu.core.cluster import node_files, policy
from kubemtu.core.codes import Finding


class MtuKey(msgspec.Struct, frozen=True, kw_only=True):
    """One place where the MTU is configured.

    `means` says what the number counts: "pod" = the pod's own IP packet, "base" = the underlay's (the CNI subtracts
    the encapsulation itself), "tunnel" = the tunnel device. `value` is the integer in bytes, None when absent or
    automatic; `effective` is False when the number reaches no pod (no placeholder, shadowed by the environment ...).
    """

    ref: objects.Ref
    path: tuple[str | int, ...]
    inside: str = ""  # where in the text at `path`: 'plugins[0].mtu', 'Backend.MTU'
    means: Literal["pod", "base", "tunnel"]
    value: int | None
    subtracts: int = 0  # bytes that the CNI itself takes off a "base" number; its own constant, right or not
    effective: bool = True
    copied: bool = False  # somebody writes there what another key says: it is no place to change
    written_by: str = ""  # who wrote it last, and when, as the API server notes it; empty where it does not

    def __str__(self) -> str:
        return f"{self.ref}, {objects.dotted(self.path)}" + (f", {self.inside}" if self.inside else "")


class WindowsPart(msgspec.Struct, frozen=True, kw_only=True):
    """What makes the pods' network on nodes of Windows, as far as the API shows it.

    `takes` are the bytes that it puts around a packet; None: not known. `mtu` is the number that it is given there, in
    bytes, and `key` where; None: it has no key for one, or that is empty. `nic` names the NIC that it is told to use.
    """

    name: str
    place: str
    network: str = ""  # "an overlay of VXLAN"
    takes: int | None = None
    mtu: int | None = None
    key: str = ""
    nic: str = ""
    ignores: str = ""  # what the same CNI obeys elsewhere, and does not here: a sentence


class OtherTunnel(msgspec.Struct, frozen=True, kw_only=True):
    """The second tunnel device of a pod network that has one for each family of addresses.

    `key` is where it is given an MTU of its own, set or not; None: not known.
    """

    device: str
    encapsulation: encap.Encapsulation
    key: MtuKey | None = None

    @property
    def family(self) -> int:
        """The family of the packets that it carries, 4 or 6, which is that of the packets around them."""
        return 6 if self.encapsulation.headers[0] == headers.IPV6 else 4


class CniState(msgspec.Struct, frozen=True, kw_only=True):
    """One recognised pod network."""

    name: str  # the module's NAME
    called: str = ""  # as sentences call it, where `name` is not the network's own
    variant: str = ""  # "era B (inline integer)", "operator", "RKE2"
    encapsulation: tuple[encap.Encapsulation, ...] = ()  # every one that may carry a pod's packet; empty: none
    encapsulation_known: bool = True  # False: what says it could not be read, so an empty tuple does not mean none
    encapsulation_name: str = "none"  # as users say it: "vxlan", "ipip", "none", "vxlan (CrossSubnet)"
    pod_mtu: int | None = (
        None  # what a pod made from this configuration sends at most, in bytes; None: each node decides
    )
    by_route: bool = False  # pods' routes have that MTU, and their devices more; False: the devices have it
    device_mtu: int | None = None  # with `by_route`, what their devices have, in bytes; None: what they have now
    subtracts: int | None = None  # bytes that the CNI itself takes off a NIC where no MTU is configured, right or not
    computed_by: str = ""  # the daemon that gives new pods `pod_mtu`, or the NIC less `subtracts`, and writes no file
    reserves: int = 0  # bytes beyond the headers that the CNI leaves free by design: pods that do too waste nothing
    conflist_mtu: int | None = None  # the literal that each node's conflist must hold, in bytes; None: not a literal
    born_by_node: dict[str, int] = {}  # what pods are born with on nodes that are configured apart, in bytes
    per_pool: str = ""  # the object that gives the nodes which it selects an MTU of their own, as a sentence names it
    mtu_keys: tuple[MtuKey, ...] = ()  # the first is the one to change
    source: str = ""  # where the MTU is set when no object of the API has a key for it
    fixed: int | None = None  # what a tunnel has that none of the keys can raise, in bytes
    fixed_by: str = ""  # what holds it there
    daemonset: objects.Ref | None = None  # whose restart makes a change take effect
    conflist: str | None = None  # path on the node of the rendered CNI configuration
    conflist_template: str | None = None  # what it is rendered from, placeholders and all
    ports: net.PortRule = net.PortRule()  # which links of a node are its pods'
    bridge: str | None = None  # that pods hang on, or the node's own port of their switch
    tunnel: str | None = None  # name of the tunnel device
    other_tunnel: OtherTunnel | None = None  # of dual stack, beside that: each family of addresses has its own
    passed_by: frozenset[str] = frozenset()  # those tunnels that nodes of one subnet do not take towards each other
    subnets: dict[str, str] = {}  # of the nodes' own IPv4 addresses, by node, as the CNI knows them for that
    tunnel_key: MtuKey | None = None  # where the tunnel is given an MTU of its own, set or not; None: not known
    tunnel_stays: str = ""  # why a tunnel may have another MTU than it is given, a sentence for people
    companions: tuple[str, ...] = ()  # devices of the node that the CNI gives the pods' MTU as well
    companions_by: str = ""  # what gives it to them, and when: ends a sentence that begins with "or"
    tunnel_mtu: int | None = None  # what the configuration makes of it, in bytes; None: the NIC less the encapsulation
    pod_networks: tuple[str, ...] = ()  # CIDRs
    plugin_mtus: tuple[node_files.PluginRule, ...] = ()  # how the plugins on the nodes come to a new pod's MTU
    nic_names: tuple[str, ...] = ()  # NICs that the configuration names; empty: by route
    nic_key: str = ""  # where they are named, for messages
    nic_reader: str = ""  # what reads them when it starts, and exits where none of them is there
    windows: tuple[WindowsPart, ...] = ()  # what makes pods' network on nodes of Windows
    cautions: tuple[str, ...] = ()  # what its own daemon does beside, when it restarts, a sentence each
    bounds: tuple[policy.Bound, ...] = ()  # what files that nodes are made from say of the network below the pods'
    owner: str = ""  # who will write the source back: "RKE (cluster.yml network.mtu)", "Helm ..."; empty: nobody
    ipv6: bool = False  # pods have IPv6
    findings: tuple[Finding, ...] = ()  # what is wrong in the configuration alone
    parsed: object = None  # what the module's `read` has found, for its own `steps`

    @property
    def said(self) -> str:
        """Return what sentences call it."""
        return self.called or self.name

    @property
    def cost(self) -> int:
        """The bytes that headers take off a packet between nodes at most."""
        return max((layers.cost for layers in self.encapsulation), default=0)

    def outer(self, mtu: int) -> int:
        """Return the packet between nodes that a pod's packet of `mtu` bytes becomes at most, in bytes.

        Raises UsageError where either size is no MTU.
        """
        return max((layers.outer(mtu) for layers in self.encapsulation), default=mtu)
