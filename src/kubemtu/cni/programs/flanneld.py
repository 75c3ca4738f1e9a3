"""flanneld as a container, alone or inside canal: the NIC it is told to use, and whether it reads Backend.MTU."""

import re
from collections.abc import Iterable

import msgspec

from kubemtu.cni.objects import daemonset, reading
from kubemtu.cni.programs import netconf
from kubemtu.core import codes, encap, places
from kubemtu.core.cluster import cni_state, node_files
from kubemtu.core.codes import Finding
from kubemtu.core.errors import UsageError
from kubemtu.core.objects import Object, Ref
from kubemtu.core.snapshot import Snapshot
from kubemtu.core.text.wording import these, verb

CONTAINER = "kube-flannel"
NET_CONF = "net-conf.json"  # the key of the ConfigMap
VARIABLE = "FLANNELD_IFACE"
SUBNET_ENV = "/run/flannel/subnet.env"  # what flanneld writes when it starts
PLUGIN_MTU = node_files.PluginRule(
    plugin="flannel",
    member=("delegate", "mtu"),
    file=SUBNET_ENV,
    line=r'^\s*FLANNEL_MTU="?([0-9]{1,6})"?\s*$',
    written_by="flannel",
    stands_for="flannel.conflist",
)
PUBLIC_ADDRESSES = ("flannel.alpha.coreos.com/public-ip", "flannel.alpha.coreos.com/public-ipv6")
"""Annotations of a Node, where its tunnels end (pkg/subnet/kube/annotations.go). Without IPv4 there is the second;
backends without a tunnel write 0.0.0.0 into the first then (kube.go, AcquireLease; pkg/backend/hostgw)."""
STAYS = (
    "Flannel takes over a device that exists and never changes its MTU, so a restart does not help; "
    f"{SUBNET_ENV} may say another number than the device has."
)
STACKS: tuple[tuple[str, ...], ...] = (("vxlan",), ("wireguard",))
ANNOTATION = "flannel.alpha.coreos.com/backend-type"
FLAG = re.compile(r"--?[a-z-]*mtu(?:=|$)", re.IGNORECASE)  # main.go of flannel v0.5 to v0.28 has no such flag
NIC_NAME = re.compile(r"(?=.*[A-Za-z])[^\s/:,]{1,15}")  # IFNAMSIZ; an address has a colon, or no letter


class Flanneld(msgspec.Struct, frozen=True, kw_only=True):
    """What flanneld is told. `reads_mtu` is None where no image tag says which version runs."""

    nic_names: tuple[str, ...] = ()
    reads_mtu: bool | None = None


def read(agent: Object | None, snapshot: Snapshot, out: list[Finding]) -> Flanneld:
    """Read the container kube-flannel of a DaemonSet; what is broken goes to `out`."""
    if agent is None:
        return Flanneld()
    place = str(agent)
    version = reading.attempt(lambda: daemonset.version(agent, CONTAINER), None, out, place)
    container = reading.attempt(lambda: daemonset.container(agent, CONTAINER), None, out, place)
    said = reading.attempt(lambda: daemonset.resolve(agent, VARIABLE, snapshot), None, out, place)
    for word in dict.fromkeys(each for each in daemonset.arguments(container) if FLAG.match(each)):
        flag = word.partition("=")[0]
        out.append(
            codes.finding(
                codes.MTU111,
                f"{agent}, container {CONTAINER}",
                f"flanneld is started with {word}, and has no flag {flag}: it exits, so each of its pods that restarts"
                " stays down.",
                f"Take {flag} away; the MTU belongs into Backend.MTU of net-conf.json.",
                "error",
            )
        )
    flags = daemonset.flag_values(container, "iface")
    names = flags or ((said,) if said else ())  # a flag goes before the variable
    out += () if _others(agent, container, snapshot) else no_names(names, place if flags else _place(agent))
    return Flanneld(
        nic_names=tuple(name for name in names if NIC_NAME.fullmatch(name)),
        reads_mtu=None if version is None else version >= netconf.MTU_SINCE,
    )


def _others(agent: Object, container: Object | None, snapshot: Snapshot) -> bool:
    """Return whether flanneld has other ways to a NIC, which it tries where no name fits."""
    variables = (f"{VARIABLE}_REGEX", f"{VARIABLE}_CAN_REACH")
    held = (reading.attempt(lambda: daemonset.resolve(agent, name, snapshot), None, [], "") for name in variables)  # noqa: B023
    flags = (daemonset.flag_values(container, name) for name in ("iface-regex", "iface-can-reach"))
    return any(held) or any(flags)


def _place(agent: Object) -> str:
    """Return where the variable is filled: a key of a ConfigMap, or the DaemonSet."""
    variable = reading.attempt(lambda: daemonset.variable(agent, VARIABLE), None, [], str(agent))
    if variable is None or variable.config_map is None:
        return f"{agent}, variable {VARIABLE}"
    return f"ConfigMap {agent.namespace}/{variable.config_map}, key {variable.key}"


def no_names(names: Iterable[str], place: str) -> list[Finding]:
    """Return MTU109 where what flanneld is told is no interface's name: it takes it as it stands, and exits.

    Each value is one name or one address, a comma and blanks included (flannel-io/flannel: main.go, flagSlice.Set;
    pkg/ipmatch/match.go); a console may make a blank of an empty value (rancher/dashboard#16317).
    """
    told = list(names)
    odd = [name for name in told if name != name.strip() or "," in name]
    if not odd or len(odd) < len(told):  # the others are tried as well
        return []
    return [
        codes.finding(
            codes.MTU109,
            place,
            f"flanneld is told to use {names_of(odd)}, and no interface can be called so: it takes the value as it"
            " stands, blanks and commas included. What runs keeps running; at its next start flanneld exits, and the"
            " node loses its pod network.",
            'Write the name alone, or "" where the default route is to decide; each further name takes an --iface of'
            " its own.",
        )
    ]


def names_of(odd: Iterable[str]) -> str:
    """Write odd names so that their blanks are seen."""
    return " and ".join(f'"{name}"' for name in odd)


def running(snapshot: Snapshot) -> dict[str, tuple[str, ...]]:
    """Return the backends that the nodes' flannel says it runs, each with the names of its nodes."""
    found: dict[str, tuple[str, ...]] = {}
    for node in snapshot.each("Node"):
        kind = node.get("metadata", "annotations", ANNOTATION)
        if isinstance(kind, str) and kind.lower() in netconf.BACKENDS:
            found[kind.lower()] = (*found.get(kind.lower(), ()), node.name)
    return found


def behind(
    conf: netconf.NetConf | None, agent: Ref | None, snapshot: Snapshot, out: list[Finding]
) -> tuple[netconf.NetConf, ...]:
    """Return the backends besides the configured one that still run somewhere; each goes to `out` as MTU103."""
    if conf is None or conf.backend is None:
        return ()
    now = running(snapshot)
    old = [kind for kind in now if kind != conf.kind]
    for kind in old:
        nodes = now[kind]
        split = "Flannel ignores nodes of another backend, so new ones do not reach these. " if len(now) > 1 else ""
        out.append(
            codes.finding(
                codes.MTU103,
                places.on(nodes, f"annotation {ANNOTATION}"),
                f"flanneld runs {kind} here, and the configuration says {conf.kind}: it has not been restarted since."
                f" {split}What {kind} takes is counted as long as it runs.",
                f"kubectl -n {agent.namespace} rollout restart daemonset/{agent.name}"
                if agent is not None
                else "Restart flanneld on these nodes.",
                "error" if split else "warning",
            )
        )
    return tuple(netconf.NetConf(kind=kind, backend=netconf.BACKENDS[kind]) for kind in old)


def by_annotation(snapshot: Snapshot) -> netconf.NetConf | None:
    """Return what nodes say that their flannel uses; the first known backend, None when none says anything."""
    kind = next(iter(running(snapshot)), None)
    return netconf.NetConf(kind=kind, backend=netconf.BACKENDS[kind]) if kind is not None else None


def honours(conf: netconf.NetConf, flanneld: Flanneld) -> bool:
    """Return True when Backend.MTU has an effect, as far as the backend and the image tag say."""
    return conf.backend is not None and conf.backend.takes_mtu and flanneld.reads_mtu is not False


def tunnel_mtu(conf: netconf.NetConf, flanneld: Flanneld) -> int | None:
    """Return the MTU in bytes that Backend.MTU gives the tunnel device; None when the NIC decides."""
    return conf.base - conf.subtracts if conf.base is not None and honours(conf, flanneld) else None


def other_tunnel(conf: netconf.NetConf | None, key: cni_state.MtuKey | None) -> cni_state.OtherTunnel | None:
    """Return the device for IPv6, where flannel makes one beside that for IPv4; one key gives both the same MTU.

    The kernel gives it no more than its lower device leaves (drivers/net/vxlan/vxlan_core.c, vxlan_config_apply).
    """
    if conf is None or conf.device6 is None:
        return None
    around = encap.parse(conf.kind, outer="ipv6")
    return cni_state.OtherTunnel(device=conf.device6, encapsulation=around, key=key)


def base_key(config: Object, conf: netconf.NetConf, flanneld: Flanneld) -> cni_state.MtuKey:
    """Return where the ConfigMap of flannel holds the underlay's MTU, set or not."""
    return cni_state.MtuKey(
        ref=reading.ref(config, "configmaps"),
        path=("data", NET_CONF),
        inside="Backend.MTU",
        means="base",
        value=conf.base,
        subtracts=conf.subtracts,
        effective=honours(conf, flanneld),
    )


def tunnel_key(config: Object | None, conf: netconf.NetConf | None, flanneld: Flanneld) -> cni_state.MtuKey | None:
    """Return where the ConfigMap of flannel gives the tunnel its MTU; None where nothing reads that, or is there."""
    if config is None or conf is None or conf.device is None:
        return None
    key = base_key(config, conf, flanneld)
    return key if key.effective else None


def lacking(nic_names: tuple[str, ...], snapshot: Snapshot) -> tuple[str, ...]:
    """Return the nodes that have none of the NICs that flanneld is told to use; none where none is named."""
    if not nic_names:
        return ()
    return tuple(node.node for node in snapshot.nodes if node.links and not any(map(node.link, nic_names)))


def startable(nic_names: tuple[str, ...], nic_key: str, nodes: tuple[str, ...]) -> None:
    """Raise UsageError when a restart would end flanneld for good on nodes, which have none of the NICs named to it."""
    if nodes:
        raise UsageError(
            f"{nic_key} names {', '.join(nic_names)}, which {these('node', nodes)} {verb(len(nodes), 'lack')}: flanneld"
            " would exit there when it restarts, and no pod there would have a network. Name a NIC that every node has,"
            " or none, so that the default route decides; then plan again."
        )


def without_effect(conf: netconf.NetConf, flanneld: Flanneld, place: str) -> Finding | None:
    """Return MTU111 when Backend.MTU is set and nothing reads it."""
    if conf.base is None or honours(conf, flanneld):
        return None
    since = ".".join(map(str, netconf.MTU_SINCE))
    reason = (
        f"flannel reads it from v{since}, and the image is older"
        if conf.backend is not None and conf.backend.takes_mtu
        else f"the backend {conf.kind} does not read it"
    )
    return codes.finding(
        codes.MTU111,
        f"{place}, Backend.MTU",
        f"Backend.MTU is {conf.base} but has no effect: {reason}. The NIC's MTU decides.",
        "Remove it, or set the MTU of the NIC.",
    )


def subtracts(layers: encap.Stack) -> int:
    """Return the constant that flannel subtracts for its encapsulation, over IPv4 and IPv6 alike, in bytes."""
    return netconf.BACKENDS[layers.layers[0].kind].subtracts
