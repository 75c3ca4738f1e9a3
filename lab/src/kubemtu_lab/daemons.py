"""What the containers of the canal and kube-flannel DaemonSets do to their node when they start.

Each is one function from the container's resolved environment to its effect on this node's disk and links; it raises
ContainerFailed where the real program would end with an error. None of them looks again later: an edited ConfigMap
acts at the next start, a hand-edited file is overwritten then, and an existing flannel.1 keeps the MTU it has.
Sources: calico cni-plugin/pkg/install/install.go, flannel main.go, pkg/backend/vxlan/{vxlan,device}.go,
calico felix/dataplane/linux/int_dataplane.go.
"""

import hashlib
import ipaddress
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from kubemtu.core.errors import KubemtuError
from kubemtu.core.objects import Object
from kubemtu.node.errors import Refused
from kubemtu.node.kernel import links
from kubemtu_lab import addressing, attach, scene
from kubemtu_lab.rtnl import Rtnl

VXLAN_HEADERS, VXLAN6_HEADERS = 50, 70  # outer Ethernet, IPv4 or IPv6, UDP, VXLAN: RFC 7348 section 5
FLANNEL_PORT = 8472
FELIX_NICS = re.compile(r"^((en|wl|ww|sl|ib)[Pcopsvx].*|(eth|wlan|wwan).*)")
FELIX_FALLBACK = 1460
ANNOTATION = "flannel.alpha.coreos.com"
VXLAN, HOST_GW = "vxlan", "host-gw"
NO_ADDRESS = "0.0.0.0"  # noqa: S104  # what flannel's host-gw tells of IPv4 where it is off
_TOLD: Mapping[addressing.Family, tuple[str, str]] = {
    4: ("backend-data", "public-ip"),
    6: ("backend-v6-data", "public-ipv6"),
}
"""Names of flannel's annotations (pkg/subnet/kube/annotations.go): how a node is told, and where it is."""
INSTALL_DEFAULTS = {"CNI_MTU": "1500", "LOG_LEVEL": "warn", "DATASTORE_TYPE": "kubernetes"}


class ContainerFailed(KubemtuError):
    """The program of a container ended with an error; the message is its last words."""

    exit_code = 1


def install_calico_cni(env: Mapping[str, str]) -> None:
    """Render CNI_NETWORK_CONFIG into /etc/cni/net.d/$CNI_CONF_NAME by plain text substitution, as install-cni does."""
    values = {
        "KUBERNETES_NODE_NAME": env.get("KUBERNETES_NODE_NAME", ""),
        "KUBECONFIG_FILEPATH": "/etc/cni/net.d/calico-kubeconfig",
        "SERVICEACCOUNT_TOKEN": "lab-service-account-token",
        "KUBERNETES_SERVICE_HOST": env.get("KUBERNETES_SERVICE_HOST", ""),
        "KUBERNETES_SERVICE_PORT": env.get("KUBERNETES_SERVICE_PORT", ""),
    }
    rendered = env.get("CNI_NETWORK_CONFIG", "")
    for name in ("LOG_LEVEL", "DATASTORE_TYPE", "CNI_MTU"):
        values[name] = env.get(name, INSTALL_DEFAULTS[name])
    for name, value in values.items():
        rendered = rendered.replace(f"__{name}__", value)
    try:
        msgspec.json.decode(rendered)
    except msgspec.DecodeError as error:
        raise ContainerFailed(f"{rendered} is not a valid json object\nerror: {error}") from None
    name = env.get("CNI_CONF_NAME", "10-calico.conflist")
    old = env.get("CNI_OLD_CONF_NAME", "10-calico.conflist")
    if old != name:
        (attach.CONFIG_FOLDER / old).unlink(missing_ok=True)
    _write(attach.CONFIG_FOLDER / name, rendered, 0o600)


def install_flannel_cni(config: str, target: Path) -> None:
    """Copy cni-conf.json to its place, as it is."""
    _write(target, config, 0o644)


def install_declared(text: str, target: str) -> None:
    """Write a text to its place on the node, as the installer of a CNI that is only declared does."""
    Path(target).parent.mkdir(parents=True, exist_ok=True)
    _write(Path(target), text, 0o644)


def number_in(text: str) -> str:
    """Return the last number of a configuration, which is the MTU of a CNI that is only declared."""
    numbers: list[str] = re.findall(r"[0-9]+", text)
    return numbers[-1] if numbers else text


def with_number(conflist: str, number: str, literal: str) -> str:
    """Return the configuration with the number in place of its placeholder, with quotes or without."""
    return conflist.replace(f'"{scene.DECLARED_MTU}"', number if literal == "number" else f'"{number}"')


def copy_for_multus() -> None:
    """Copy the first other configuration by name into 00-multus.conf, as multus does when it starts."""
    names = sorted(each.name for each in attach.CONFIG_FOLDER.iterdir() if each.suffix in {".conf", ".conflist"})
    first = next((name for name in names if not name.startswith("00-multus.conf")), None)
    if first is None:
        raise ContainerFailed(f'cannot find valid master CNI config in "{attach.CONFIG_FOLDER}"')
    delegate = msgspec.json.decode((attach.CONFIG_FOLDER / first).read_bytes())
    conf = {"cniVersion": "0.3.1", "name": "multus-cni-network", "type": "multus", "delegates": [delegate]}
    _write(attach.CONFIG_FOLDER / "00-multus.conf", msgspec.json.encode(conf).decode(), 0o600)


def felix_mtu_file(image: str, devices: list[links.Device]) -> None:
    """Publish the host's MTU for the calico plugin, as felix does from v3.17 on; flannel's headers it ignores."""
    version = re.search(r":v(\d+)\.(\d+)", image)
    if version is None or (int(version[1]), int(version[2])) < (3, 17):
        return
    write_mtu_file(detected_mtu(devices))


def detected_mtu(devices: list[links.Device]) -> int:
    """Return the smallest MTU of the NICs that felix looks at."""
    return min((link.mtu for link in devices if link.up and FELIX_NICS.match(link.name)), default=FELIX_FALLBACK)


def write_mtu_file(mtu: int) -> None:
    """Publish an MTU for the calico plugin."""
    _write(attach.CALICO_MTU_FILE, str(mtu), 0o644)


class Peer(msgspec.Struct, frozen=True, kw_only=True):
    """What flannel's annotations on a Node tell the other nodes in one address family."""

    network: str
    public: str
    mac: str  # empty with host-gw, which needs none


class Flanneld(msgspec.Struct, kw_only=True):
    """The backend of one node, once it has started; `devices` by family: the tunnel, or the NIC where there is none."""

    kind: str
    devices: dict[addressing.Family, str]
    annotations: dict[str, str]  # what the other nodes must know, as flannel writes it on its own Node
    peers: dict[str, tuple[Peer, ...]]
    domain: str = ANNOTATION  # of the annotations by which the nodes tell each other

    def learn(self, rtnl: Rtnl, node: Object) -> bool:
        """Program the way to another node's pods: neighbour, forwarding entry, route. False: nothing new.

        A node that says less than all families need is left out, as flannel does (pkg/subnet/kube/kube.go nodeToLease).
        """
        told = {family: _peer(node, family, self.kind, self.domain) for family in self.devices}
        found = tuple(each for each in told.values() if each is not None)
        if len(found) < len(told) or self.peers.get(node.name) == found:
            return False
        for peer, device in zip(found, self.devices.values(), strict=True):
            if self.kind == HOST_GW:
                rtnl.add_route(peer.network, device, via=peer.public)
            else:
                _program(rtnl, device, peer.network, peer.mac, peer.public)
        self.peers[node.name] = found
        return True

    def forget(self, rtnl: Rtnl, node: str) -> None:
        """Take the routes to a removed node's pods away."""
        for peer in self.peers.pop(node, ()):
            rtnl.delete_route(peer.network)


def start_flanneld(rtnl: Rtnl, node: Object, config: str, iface: str, addresses: Mapping[str, list[str]]) -> Flanneld:
    """Choose the NIC, make sure of flannel.<VNI>, write subnet.env. `addresses`: of the node, by device name."""
    try:
        net = Object.of(msgspec.json.decode(config, type=dict[str, object]), "net-conf.json")
    except msgspec.DecodeError as error:
        raise ContainerFailed(f"failed to parse net-conf.json: {error}") from None
    enabled = {4: net.flag("EnableIPv4") is not False, 6: net.flag("EnableIPv6") is True}
    families = [each for each in addressing.DUAL if enabled[each] and _network(node, each)]
    if not families:
        raise ContainerFailed(f"subnet of node {node.name} is in no family that net-conf.json enables")
    nic = _external_interface(rtnl, iface, families[0])
    public: dict[addressing.Family, str] = {}
    for family in families:
        own = addressing.of_family(addresses.get(nic.name, []), family)
        if own is None:
            raise ContainerFailed(f"failed to find {addressing.NAMES[family]} address for interface {nic.name}")
        public[family] = own
    backend = {key.lower(): value for key, value in net.mapping("Backend").items()}
    outer, vni, port = backend.get("mtu") or nic.mtu, backend.get("vni", 1), backend.get("port") or FLANNEL_PORT
    if not isinstance(outer, int) or not isinstance(vni, int) or not isinstance(port, int):
        raise ContainerFailed("error decoding VXLAN backend config: json: cannot unmarshal string into Go value")
    kind = str(backend.get("type", "udp")).lower()
    if kind not in (HOST_GW, VXLAN):
        raise ContainerFailed(f"error during creation of backend: the lab has no backend {kind}")
    domain = str(backend.get("domain") or ANNOTATION)
    started = Flanneld(kind=kind, devices={}, annotations={}, peers={}, domain=domain)
    told = {"backend-type": kind, "kube-subnet-manager": "true"}
    mtu = nic.mtu if kind == HOST_GW else outer - VXLAN_HEADERS
    for family, own in public.items():
        if kind == HOST_GW:
            started.devices[family], data = nic.name, "null"
        else:
            device = str(backend.get("device") or f"flannel.{vni}") if family == 4 else f"flannel-v6.{vni}"
            # flannel asks for the same MTU over IPv6, and the kernel gives no more than fits (vxlan_config_apply).
            fits = mtu if family == 4 else min(mtu, nic.mtu - VXLAN6_HEADERS)
            _ensure(rtnl, device, nic, vni=vni, port=port, local=own, mtu=fits)
            _address(rtnl, device, _network(node, family))
            started.devices[family], data = device, _backend(rtnl, device, vni)
        told |= dict(zip(_TOLD[family], (data, own), strict=True))
    if kind == HOST_GW and 4 not in public:
        told |= dict(zip(_TOLD[4], ("null", NO_ADDRESS), strict=True))
    started.annotations = {f"{domain}/{key}": value for key, value in told.items()}
    _write_subnet(net, node, families, mtu)  # 50 less with IPv6 too, where the headers take 70 (pkg/backend/vxlan)
    return started


def _write_subnet(net: Object, node: Object, families: Sequence[addressing.Family], mtu: int) -> None:
    """Write subnet.env as flannel does (pkg/subnet/subnet.go, WriteSubnetFile)."""
    lines: dict[str, str] = {}
    for family in families:
        name, key = ("", "Network") if family == 4 else ("IPV6_", "IPv6Network")
        lines[f"FLANNEL_{name}NETWORK"] = net.text(key) or ""
        lines[f"FLANNEL_{name}SUBNET"] = _first(_network(node, family))
    lines |= {"FLANNEL_MTU": str(mtu), "FLANNEL_IPMASQ": "true"}
    attach.SUBNET_FILE.parent.mkdir(exist_ok=True)
    _write(attach.SUBNET_FILE, "".join(f"{key}={value}\n" for key, value in lines.items()), 0o644)


def _external_interface(rtnl: Rtnl, iface: str, family: addressing.Family) -> links.Device:
    if iface:
        found = rtnl.find(iface)
        if found is None:
            raise ContainerFailed(
                f"Could not find valid interface matching {iface}: error looking up interface {iface}: route ip+net: "
                "no such network interface\n"
                "Failed to find interface to use that matches the interfaces and/or regexes provided"
            )
        return found
    index = rtnl.default_device(family)
    for link in links.devices(rtnl):
        if link.index == index:
            return link
    raise ContainerFailed("Failed to find any valid interface to use: failed to get default interface")


def _ensure(rtnl: Rtnl, name: str, nic: links.Device, *, vni: int, port: int, local: str, mtu: int) -> None:
    existing = rtnl.find(name)
    if existing is not None:
        # vxlanLinksIncompat compares VNI, lower device, addresses, port, learning: the MTU is not among them.
        if existing.vxlan is not None and existing.vxlan[:3] == (vni, port, nic.index):
            return
        rtnl.delete_link(name)
    # A locally administered MAC that stays the same for one node and device.
    digest = hashlib.sha1(f"{name} {local}".encode(), usedforsecurity=False).digest()[:5]
    try:
        rtnl.add_vxlan(name, vni=vni, port=port, lower=nic.index, local=local, mtu=mtu, mac=f"02:{digest.hex(':')}")
    except Refused as refusal:
        raise ContainerFailed(f"error registering network: failed to create vxlan device {name}: {refusal}") from None


def _program(rtnl: Rtnl, device: str, network: str, mac: str, remote: str) -> None:
    way = network.partition("/")[0]
    rtnl.add_neighbour(device, way, mac)
    rtnl.add_forwarding(device, mac, remote)
    rtnl.add_route(network, device, via=way, onlink=True)


def _peer(node: Object, family: addressing.Family, kind: str, domain: str) -> Peer | None:
    """Return what another node tells; None while it tells nothing, or runs another backend, which flannel ignores."""
    notes = node.mapping("metadata", "annotations")
    data, public = (notes.get(f"{domain}/{key}") for key in _TOLD[family])
    network, mac = _network(node, family), _mac(data)
    if not network or notes.get(f"{domain}/backend-type") != kind or not isinstance(public, str):
        return None
    if kind == VXLAN and not mac:
        return None
    return Peer(network=network, public=public, mac=mac or "")


def _backend(rtnl: Rtnl, device: str, vni: int) -> str:
    return msgspec.json.encode({"VNI": vni, "VtepMAC": rtnl.mac(device)}).decode()


def _mac(written: object) -> str | None:
    if not isinstance(written, str):
        return None
    return Object.of(msgspec.json.decode(written, type=dict[str, object] | None) or {}).text("VtepMAC")


def _network(node: Object, family: addressing.Family) -> str:
    """Return the network of a node's pods in a family, empty where it has none."""
    listed = node.get("spec", "podCIDRs")
    named = [str(each) for each in listed] if isinstance(listed, list) else [node.text("spec", "podCIDR") or ""]
    return addressing.of_family([each for each in named if each], family) or ""


def _address(rtnl: Rtnl, device: str, subnet: str) -> None:
    way = subnet.partition("/")[0]
    rtnl.add_address(device, f"{way}/{128 if ':' in way else 32}")


def _first(subnet: str) -> str:
    """Return the first address of a network, with the length of its prefix."""
    network = ipaddress.ip_network(subnet)
    return f"{network[1]}/{network.prefixlen}"


def _write(target: Path, text: str, mode: int) -> None:
    # Written beside and renamed, so that nobody reads half of it.
    fresh = target.with_name(f".{target.name}.new")
    fresh.write_text(text)
    fresh.chmod(mode)
    fresh.rename(target)
