"""CNI ADD and DEL as the calico and flannel plugins do them, on one node of a lab.

The plugin chain is read from this node's disk, for each new pod anew, and what a pod got it keeps: that is why a
corrected ConfigMap alone changes nothing. Sources: calico cni-plugin/pkg/{types,dataplane/linux}, containernetworking
plugins/main/bridge, flannel-io/cni-plugin flannel_linux.go, libcni/api.go (ConfFiles: by name, the first that loads).
"""

import contextlib
import hashlib
import ipaddress
import os
import secrets
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple, TypeVar

import msgspec

from kubemtu.core.errors import KubemtuError
from kubemtu.core.objects import Object
from kubemtu_lab import filesystem, kernel
from kubemtu_lab.rtnl import Rtnl

CONFIG_FOLDER = Path("/etc/cni/net.d")
NETNS_FOLDER = Path("/run/netns")
SUBNET_FILE = Path("/run/flannel/subnet.env")
CALICO_MTU_FILE = Path("/var/lib/calico/mtu")
CALICO_MAC = "ee:ee:ee:ee:ee:ee"
CALICO_GATEWAY = "169.254.1.1"
CALICO_GATEWAY6 = "fe80::ecee:eeff:feee:eeee"
KERNEL_MTU = 1500
SWITCH_MTU = 65000  # what Open vSwitch gives its tunnel devices; nothing of the switch itself limits a packet
NO_CONFIG = "network plugin is not ready: cni config uninitialized"

Result = TypeVar("Result")
_go_kind = {str: "string", float: "number 1.5", bool: "bool", dict: "object", list: "array"}


class AttachFailed(KubemtuError):
    """A plugin refused; the message is the plugin's."""

    exit_code = 9


class Attachment(msgspec.Struct, frozen=True, kw_only=True):
    """What a running pod has: the name of its namespace below /run/netns, the host end of its veth, its addresses."""

    netns: str
    host_link: str
    addresses: tuple[str, ...]


class Chain(msgspec.Struct, frozen=True):
    """A CNI configuration list as loaded: the file it came from and its first plugin's object."""

    file: Path
    plugin: Object


def load_chain(folder: Path = CONFIG_FOLDER) -> Chain | None:
    """Return the first configuration of the folder that loads, by name; None when there is none."""
    for file in sorted(folder.iterdir()):
        if file.suffix not in (".conf", ".conflist", ".json"):
            continue
        with contextlib.suppress(msgspec.DecodeError, OSError):
            body = Object.of(msgspec.json.decode(file.read_bytes(), type=dict[str, object]), str(file))
            first = next(body.each("plugins"), None) if file.suffix == ".conflist" else body
            if first is not None and first.get("type"):
                return Chain(file, first)
    return None


class _Sandbox(NamedTuple):
    """What a plugin is given: the pod as NAMESPACE.NAME, its fresh namespace, a socket in there, its addresses."""

    pod: str
    netns: str
    inner: Rtnl
    addresses: tuple[str, ...]


class Addresses:
    """host-local: the addresses of this node's pod networks, handed out in turn so that none is soon used again."""

    def __init__(self, networks: tuple[str, ...]) -> None:
        self.networks = [ipaddress.ip_network(each) for each in networks]
        self._taken: set[int] = set()
        self._last = 1

    def take(self) -> tuple[int, tuple[str, ...]]:
        """Return a free place and the addresses at it, one per network. Raises AttachFailed when all are taken."""
        size = min(self.networks[0].num_addresses, 1 << 16)
        for step in range(1, size):
            place = 2 + (self._last - 2 + step) % (size - 3)
            if place not in self._taken:
                self._taken.add(place)
                self._last = place
                return place, tuple(str(network[place]) for network in self.networks)
        raise AttachFailed(f"no IP addresses available in range set: {self.networks[0][1]}-{self.networks[0][-2]}")

    def give_back(self, place: int) -> None:
        """Make the addresses at a place free."""
        self._taken.discard(place)


class Plugins:
    """The plugins of one node. Its methods enter pods' namespaces: call them on one thread that does nothing else."""

    def __init__(self, addresses: Addresses) -> None:
        self._addresses = addresses
        self._thread = threading.get_ident()
        self._home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        self._node = Rtnl()
        self._places: dict[str, int] = {}

    def inside(self, netns: str | None, act: Callable[[], Result]) -> Result:
        """Call `act` in a pod's namespace (None: in the node's own)."""
        if netns is None:
            return act()
        descriptor = os.open(NETNS_FOLDER / netns, os.O_RDONLY | os.O_CLOEXEC)
        try:
            kernel.setns(descriptor, kernel.CLONE_NEWNET)
            return act()
        finally:
            self._return_home()
            os.close(descriptor)

    def add(self, namespace: str, pod: str) -> Attachment:
        """Give a pod a network namespace and a veth into it.

        Raises AttachFailed with the words that kubelet and plugin use, and leaves nothing behind then.
        """
        chain = load_chain()
        if chain is None:
            raise AttachFailed(NO_CONFIG)
        config = _handed(chain.plugin)
        kind = config.text("type") or ""
        known = {"calico": self._add_calico, "flannel": self._add_flannel}
        plugin = known.get(kind) or (self._add_declared if config.get("prefix") else None)
        if plugin is None:
            raise AttachFailed(f'failed to find plugin "{kind}" in path [/opt/cni/bin]')
        with contextlib.ExitStack() as undo:
            place, found = self._addresses.take()
            undo.callback(self._addresses.give_back, place)
            netns = f"cni-{uuid.UUID(bytes=secrets.token_bytes(16), version=4)}"
            inner = self._new_netns(netns)
            undo.callback(self._delete_netns, netns)
            with inner:
                host_link = plugin(config, _Sandbox(f"{namespace}.{pod}", netns, inner, found))
            undo.pop_all()
        self._places[netns] = place
        return Attachment(netns=netns, host_link=host_link, addresses=found)

    def delete(self, attachment: Attachment) -> None:
        """Take a pod's veth and namespace away; what is gone already is fine."""
        if self._node.find(attachment.host_link):
            self._node.delete_link(attachment.host_link)
        self._delete_netns(attachment.netns)
        self._addresses.give_back(self._places.pop(attachment.netns, 0))

    # -- calico

    def _add_calico(self, config: Object, sandbox: _Sandbox) -> str:
        return self._add_routed(sandbox, "cali", _integer(config, "mtu") or _calico_mtu_file() or KERNEL_MTU)

    def update(self, attachments: Iterable[Attachment]) -> None:
        """Give running pods what new ones get, host ends first, where the plugin's agent does so when it starts.

        As cilium/cilium does from v1.17 on: pkg/mtu/endpoint_updater.go.
        """
        chain = load_chain()
        gateway = chain.plugin.text("gateway") if chain is not None else None
        if chain is not None and gateway and self._node.find(gateway):
            self._node.set_mtu(gateway, _declared_mtus(chain.plugin)[0])
        if chain is None or not chain.plugin.flag("updates"):
            return
        device, route = _declared_mtus(chain.plugin)
        attachments = tuple(attachments)
        for each in attachments:
            self._node.set_mtu(each.host_link, device)
        for each in attachments:
            self.inside(each.netns, lambda: _resize(device, route))

    def _add_declared(self, config: Object, sandbox: _Sandbox) -> str:
        device, route = _declared_mtus(config)
        bridge, gateway, once = config.text("bridge"), config.text("gateway"), config.get("once")
        if bridge and gateway and isinstance(once, list):
            if not self._node.find(bridge):
                self._make_once(bridge, gateway, [str(each) for each in once], device)
            return self._add_port(bridge, self._node.device(bridge).mtu, sandbox)
        if bridge and gateway:
            return self._add_switched(config, sandbox, device)
        if bridge:
            return self._add_port(bridge, device, sandbox)
        return self._add_routed(sandbox, config.text("prefix") or "", device, route)

    def _make_once(self, bridge: str, datapath: str, veth: list[str], mtu: int) -> None:
        """Make a bridge and a veth from it into a datapath, for which another bridge stands.

        Only the datapath is given another number later (weaveworks/weave net/bridge.go, fastdpImpl.init), and pods get
        what the bridge has, the smallest of its ports (net/veth.go, CreateAndAttachVeth).
        """
        near, far = veth
        self._node.add_bridge(bridge, mtu=mtu)
        self._node.add_bridge(datapath, mtu=mtu)
        self._node.add_veth(near, far, mtu=mtu)
        self._node.bring_up(near, master=bridge)
        self._node.bring_up(far, master=datapath)

    def _add_switched(self, config: Object, sandbox: _Sandbox, mtu: int) -> str:
        """Make a veth that is a port of a switch, into which the node has a way of its own.

        A bridge stands for Open vSwitch's datapath, and a second one for its own port: both drop what is larger than
        the device it leaves by (net/openvswitch/vport.c ovs_vport_send, net/bridge/br_forward.c).
        """
        switch, gateway = config.text("bridge") or "", config.text("gateway") or ""
        key = hashlib.sha1(sandbox.netns.encode(), usedforsecurity=False).hexdigest()
        name = sandbox.pod.partition(".")[2][:8].lstrip("-")
        host_link = (config.text("prefix") or "").format(pod=name, key=key[:6], id=key[:12])
        if not self._node.find(switch):
            self._node.add_bridge(switch, mtu=SWITCH_MTU)
            self._node.add_bridge(gateway, mtu=mtu)
            self._node.add_veth("patch-to-gw", "patch-to-sw", mtu=SWITCH_MTU)
            self._node.bring_up("patch-to-gw", master=switch)
            self._node.bring_up("patch-to-sw", master=gateway)
            self._node.set_mtu(gateway, mtu)
        ways = [f"{network[1]}/{network.prefixlen}" for network in self._addresses.networks]
        for way in ways:
            self._node.add_address(gateway, way)
        with self._descriptor(sandbox.netns) as descriptor:
            self._node.add_veth(host_link, "eth0", peer_netns=descriptor, mtu=mtu)
        self._node.bring_up(host_link, master=switch)
        sandbox.inner.bring_up("lo")
        sandbox.inner.bring_up("eth0")
        for each, way in zip(sandbox.addresses, ways, strict=True):
            address, length = way.split("/")
            sandbox.inner.add_address("eth0", f"{each}/{length}")
            sandbox.inner.add_route("::/0" if ":" in each else "0.0.0.0/0", "eth0", via=address)
        return host_link

    def _add_routed(self, sandbox: _Sandbox, prefix: str, mtu: int, route_mtu: int | None = None) -> str:
        """Make a veth whose host end is routed, without a bridge; `route_mtu` is of the pod's default route."""
        inner = sandbox.inner
        host_link = prefix + hashlib.sha1(sandbox.pod.encode(), usedforsecurity=False).hexdigest()[:11]
        if self._node.find(host_link):
            self._node.delete_link(host_link)
        with self._descriptor(sandbox.netns) as descriptor:
            self._node.add_veth(host_link, "eth0", peer_netns=descriptor, mtu=mtu, mac=CALICO_MAC)
        inner.bring_up("lo")
        inner.bring_up("eth0")
        for each in sandbox.addresses:
            v6 = ":" in each
            inner.add_address("eth0", f"{each}/{128 if v6 else 32}")
            if not v6:
                inner.add_route(f"{CALICO_GATEWAY}/32", "eth0")
            gateway = CALICO_GATEWAY6 if v6 else CALICO_GATEWAY
            inner.add_route("::/0" if v6 else "0.0.0.0/0", "eth0", via=gateway, mtu=route_mtu)
            self._node.add_route(f"{each}/{128 if v6 else 32}", host_link)
        # neigh.proxy_delay: without it the first ARP request of a pod waits up to 0.8 s (felix endpoint_mgr.go).
        filesystem.write_sysctl(f"ipv4/conf/{host_link}/proxy_arp", 1)
        filesystem.write_sysctl(f"ipv4/neigh/{host_link}/proxy_delay", 0)
        filesystem.write_sysctl(f"ipv4/conf/{host_link}/forwarding", 1)
        return host_link

    # -- flannel, which hands on to bridge, and bridge

    def _add_flannel(self, config: Object, sandbox: _Sandbox) -> str:
        subnet = _subnet_file()
        mtu = _integer(config, "delegate", "mtu", go="NetConf.mtu") or int(subnet["FLANNEL_MTU"])
        hairpin = config.flag("delegate", "hairpinMode") or False
        return self._add_port(config.text("delegate", "bridge") or "cni0", mtu, sandbox, hairpin=hairpin)

    def _add_port(self, bridge: str, mtu: int, sandbox: _Sandbox, *, hairpin: bool = False) -> str:
        """Make a veth that is a port of a bridge, which is made with the first of them, and the pods' gateway."""
        inner = sandbox.inner
        gateways = [f"{network[1]}/{network.prefixlen}" for network in self._addresses.networks]
        if not self._node.find(bridge):
            self._node.add_bridge(bridge, mtu=mtu)
        for gateway in gateways:
            self._node.add_address(bridge, gateway)
        host_link = f"veth{secrets.token_hex(4)}"
        with self._descriptor(sandbox.netns) as descriptor:
            self._node.add_veth(host_link, "eth0", peer_netns=descriptor, mtu=mtu)
        self._node.bring_up(host_link, master=bridge)
        if hairpin:
            self._node.set_hairpin(host_link)
        inner.bring_up("lo")
        inner.bring_up("eth0")
        for each, gateway in zip(sandbox.addresses, gateways, strict=True):
            way, length = gateway.split("/")
            inner.add_address("eth0", f"{each}/{length}")
            inner.add_route("::/0" if ":" in each else "0.0.0.0/0", "eth0", via=way)
        return host_link

    # -- namespaces

    def _new_netns(self, netns: str) -> Rtnl:
        path = NETNS_FOLDER / netns
        path.touch(mode=0o444)
        try:
            kernel.unshare(kernel.CLONE_NEWNET)
            kernel.mount("/proc/thread-self/ns/net", path, "", kernel.MS_BIND)
            # Duplicate address detection would hold a pod's IPv6 address back for a second.
            filesystem.write_sysctl("ipv6/conf/default/accept_dad", 0)
            return Rtnl()
        finally:
            self._return_home()

    def _delete_netns(self, netns: str) -> None:
        path = NETNS_FOLDER / netns
        with contextlib.suppress(FileNotFoundError, OSError):
            kernel.unmount(path)
        path.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _descriptor(self, netns: str) -> Iterator[int]:
        descriptor = os.open(NETNS_FOLDER / netns, os.O_RDONLY | os.O_CLOEXEC)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def _return_home(self) -> None:
        kernel.setns(self._home, kernel.CLONE_NEWNET)


def _handed(plugin: Object) -> Object:
    """Return what multus runs for the pod's own interface, the first plugin of its first delegate; else the plugin."""
    first = next(plugin.each("delegates"), None) if plugin.text("type") == "multus" else None
    return plugin if first is None else next(first.each("plugins"), first)


def _integer(config: Object, *path: str, go: str = "NetConf.mtu") -> int:
    found = config.get(*path)
    if found is None:
        return 0
    if isinstance(found, int) and not isinstance(found, bool):
        return found
    kind = _go_kind.get(type(found), "value")
    raise AttachFailed(f"json: cannot unmarshal {kind} into Go struct field {go} of type int")


def _calico_mtu_file() -> int:
    try:
        return int(CALICO_MTU_FILE.read_text())
    except (FileNotFoundError, ValueError):
        return 0


def _subnet_file() -> dict[str, str]:
    try:
        lines = SUBNET_FILE.read_text().splitlines()
    except FileNotFoundError:
        raise AttachFailed(f"loadFlannelSubnetEnv failed: open {SUBNET_FILE}: no such file or directory") from None
    return dict(line.split("=", 1) for line in lines if "=" in line)


def _declared_mtus(config: Object) -> tuple[int, int | None]:
    """Return what a CNI that is only declared gives a pod's device, and its default route: None for none."""
    mtu = int(Path(config.text("mtuFile") or "").read_text())
    less = config.integer("subtracts") or 0
    by_route = config.text("limit") == "route"
    return (KERNEL_MTU, mtu) if by_route and not less else (mtu, mtu - less if by_route else None)


def _resize(device: int, route: int | None) -> None:
    """Give the pod whose namespace this is another MTU."""
    inner = Rtnl()
    inner.set_mtu("eth0", device)
    inner.add_route("0.0.0.0/0", "eth0", via=CALICO_GATEWAY, mtu=route)
