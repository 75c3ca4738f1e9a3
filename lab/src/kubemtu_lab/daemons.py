"""What the containers of the canal and kube-flannel DaemonSets do to their node when they start.

Each is one function from the container's resolved environment to its effect on this node's disk and links; it raises
ContainerFailed where the real program would end with an error. None of them looks again later: an edited ConfigMap
acts at the next start, a hand-edited file is overwritten then, and an existing flannel.1 keeps the MTU it has.
Sources: calico cni-plugin/pkg/install/install.go, flannel main.go, pkg/backend/vxlan/{vxlan,device}.go,
calico felix/dataplane/linux/int_dataplane.go.
"""

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path

import msgspec

from kubemtu.core.errors import KubemtuError
from kubemtu.core.objects import Object
from kubemtu.node.errors import Refused
from kubemtu.node.kernel import links
from kubemtu_lab import attach, scene
from kubemtu_lab.rtnl import Rtnl

VXLAN_HEADERS, VXLAN6_HEADERS = 50, 70  # outer Ethernet, IPv4 or IPv6, UDP, VXLAN: RFC 7348 section 5
FLANNEL_PORT = 8472
FELIX_NICS = re.compile(r"^((en|wl|ww|sl|ib)[Pcopsvx].*|(eth|wlan|wwan).*)")
FELIX_FALLBACK = 1460
ANNOTATION = "flannel.alpha.coreos.com"
VXLAN, HOST_GW = "vxlan", "host-gw"
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
    """What flannel's annotations on a Node tell the other nodes, per address family."""

    network: str
    network6: str | None
    public: str
    public6: str | None
    mac: str  # empty with host-gw, which needs none
    mac6: str | None


class Flanneld(msgspec.Struct, kw_only=True):
    """The backend of one node, once it has started; `device` is the tunnel, or the NIC where there is none."""

    kind: str
    device: str
    device6: str | None
    annotations: dict[str, str]  # what the other nodes must know, as flannel writes it on its own Node
    peers: dict[str, Peer]
    domain: str = ANNOTATION  # of the annotations by which the nodes tell each other

    def learn(self, rtnl: Rtnl, node: Object) -> bool:
        """Program the way to another node's pods: neighbour, forwarding entry, route. False: nothing new."""
        peer = _peer(node, self.kind, self.domain)
        if peer is None or self.peers.get(node.name) == peer:
            return False
        if self.kind == HOST_GW:
            rtnl.add_route(peer.network, self.device, via=peer.public)
            self.peers[node.name] = peer
            return True
        _program(rtnl, self.device, peer.network, peer.mac, peer.public)
        if self.device6 and peer.network6 and peer.mac6 and peer.public6:
            _program(rtnl, self.device6, peer.network6, peer.mac6, peer.public6)
        self.peers[node.name] = peer
        return True

    def forget(self, rtnl: Rtnl, node: str) -> None:
        """Take the route to a removed node's pods away."""
        peer = self.peers.pop(node, None)
        for network in (peer.network, peer.network6) if peer else ():
            if network:
                rtnl.delete_route(network)


def start_flanneld(rtnl: Rtnl, node: Object, config: str, iface: str, addresses: Mapping[str, list[str]]) -> Flanneld:
    """Choose the NIC, make sure of flannel.<VNI>, write subnet.env. `addresses`: of the node, by device name."""
    try:
        net = Object.of(msgspec.json.decode(config, type=dict[str, object]), "net-conf.json")
    except msgspec.DecodeError as error:
        raise ContainerFailed(f"failed to parse net-conf.json: {error}") from None
    nic = _external_interface(rtnl, iface)
    own = addresses.get(nic.name, [])
    public = next((each for each in own if ":" not in each), None)
    public6 = next((each for each in own if ":" in each), None)
    if public is None:
        raise ContainerFailed(f"failed to find IPv4 address for interface {nic.name}")
    backend = {key.lower(): value for key, value in net.mapping("Backend").items()}
    outer, vni, port = backend.get("mtu") or nic.mtu, backend.get("vni", 1), backend.get("port") or FLANNEL_PORT
    if not isinstance(outer, int) or not isinstance(vni, int) or not isinstance(port, int):
        raise ContainerFailed("error decoding VXLAN backend config: json: cannot unmarshal string into Go value")
    kind = str(backend.get("type", "udp")).lower()
    if kind == HOST_GW:
        _write_subnet(net, node, nic.mtu)
        told = {"backend-type": kind, "backend-data": "null", "kube-subnet-manager": "true", "public-ip": public}
        domain = str(backend.get("domain") or ANNOTATION)
        annotations = {f"{domain}/{key}": value for key, value in told.items()}
        return Flanneld(kind=kind, device=nic.name, device6=None, annotations=annotations, peers={}, domain=domain)
    if kind != VXLAN:
        raise ContainerFailed(f"error during creation of backend: the lab has no backend {kind}")
    mtu = outer - VXLAN_HEADERS
    subnet, subnet6 = node.text("spec", "podCIDR") or "", _second_network(node)
    device = str(backend.get("device") or f"flannel.{vni}")
    domain = str(backend.get("domain") or ANNOTATION)
    _ensure(rtnl, device, nic, vni=vni, port=port, local=public, mtu=mtu)
    _address(rtnl, device, subnet)
    annotations = {
        f"{domain}/backend-type": VXLAN,
        f"{domain}/backend-data": _backend(rtnl, device, vni),
        f"{domain}/kube-subnet-manager": "true",
        f"{domain}/public-ip": public,
    }
    device6 = None
    if subnet6 and public6:
        # flannel asks for the same MTU here, and the kernel gives no more than fits (vxlan_config_apply).
        fits = min(mtu, nic.mtu - VXLAN6_HEADERS)
        device6 = f"flannel-v6.{vni}"
        _ensure(rtnl, device6, nic, vni=vni, port=port, local=public6, mtu=fits)
        _address(rtnl, device6, subnet6)
        annotations |= {
            f"{domain}/backend-v6-data": _backend(rtnl, device6, vni),
            f"{domain}/public-ipv6": public6,
        }
    _write_subnet(net, node, mtu)  # 50 less with IPv6 too, where the headers take 70 (pkg/backend/vxlan)
    return Flanneld(kind=kind, device=device, device6=device6, annotations=annotations, peers={}, domain=domain)


def _write_subnet(net: Object, node: Object, mtu: int) -> None:
    lines = {
        "FLANNEL_NETWORK": net.text("Network") or "",
        "FLANNEL_SUBNET": _first(node.text("spec", "podCIDR") or ""),
        "FLANNEL_MTU": str(mtu),
        "FLANNEL_IPMASQ": "true",
    }
    attach.SUBNET_FILE.parent.mkdir(exist_ok=True)
    _write(attach.SUBNET_FILE, "".join(f"{key}={value}\n" for key, value in lines.items()), 0o644)


def _external_interface(rtnl: Rtnl, iface: str) -> links.Device:
    if iface:
        found = rtnl.find(iface)
        if found is None:
            raise ContainerFailed(
                f"Could not find valid interface matching {iface}: error looking up interface {iface}: route ip+net: "
                "no such network interface\n"
                "Failed to find interface to use that matches the interfaces and/or regexes provided"
            )
        return found
    index = rtnl.default_device()
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


def _peer(node: Object, kind: str, domain: str) -> Peer | None:
    """Return what another node tells; None while it tells nothing, or runs another backend, which flannel ignores."""
    notes = node.mapping("metadata", "annotations")
    told = {key.removeprefix(f"{domain}/"): value for key, value in notes.items() if key.startswith(f"{domain}/")}
    public, network = told.get("public-ip"), node.text("spec", "podCIDR")
    mac, mac6 = _mac(told.get("backend-data")), _mac(told.get("backend-v6-data"))
    public6 = told.get("public-ipv6")
    if not network or told.get("backend-type") != kind or not isinstance(public, str):
        return None
    if kind == VXLAN and not mac:
        return None
    return Peer(
        network=network,
        network6=_second_network(node),
        public=public,
        public6=public6 if isinstance(public6, str) else None,
        mac=mac or "",
        mac6=mac6,
    )


def _backend(rtnl: Rtnl, device: str, vni: int) -> str:
    return msgspec.json.encode({"VNI": vni, "VtepMAC": rtnl.mac(device)}).decode()


def _mac(written: object) -> str | None:
    if not isinstance(written, str):
        return None
    return Object.of(msgspec.json.decode(written, type=dict[str, object] | None) or {}).text("VtepMAC")


def _second_network(node: Object) -> str | None:
    return node.text("spec", "podCIDRs", 1)


def _address(rtnl: Rtnl, device: str, subnet: str) -> None:
    way = subnet.partition("/")[0]
    rtnl.add_address(device, f"{way}/{128 if ':' in way else 32}")


def _first(subnet: str) -> str:
    network, length = subnet.split("/")
    return f"{network.rpartition('.')[0]}.1/{length}"


def _write(target: Path, text: str, mode: int) -> None:
    # Written beside and renamed, so that nobody reads half of it.
    fresh = target.with_name(f".{target.name}.new")
    fresh.write_text(text)
    fresh.chmod(mode)
    fresh.rename(target)
