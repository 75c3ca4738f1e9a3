"""Kube-OVN: --mtu of kube-ovn-cni is the pods' own; 0 or absent takes a constant off the NIC.

kube-ovn-cni reads its arguments when it starts and gives ovn0 and new pods that number; a Subnet's spec.mtu counts for
its pods before it, and an underlay Subnet (one on a VLAN) takes what its provider network's NIC has
(kubeovn/kube-ovn: pkg/daemon/config.go initNicConfig, pkg/daemon/handler.go, at 1533681d and the tags named here).
"""

import re

import msgspec

from kubemtu.cni.knowledge import CalcKey, Knowledge
from kubemtu.cni.objects import daemonset, owners, reading, strays
from kubemtu.cni.programs import kubelet, ovs
from kubemtu.core import codes, encap, rights
from kubemtu.core.change import plan
from kubemtu.core.cluster import cni_state
from kubemtu.core.codes import Finding
from kubemtu.core.encap import Encapsulation
from kubemtu.core.errors import UsageError
from kubemtu.core.objects import NODES, Object, Want, daemonsets
from kubemtu.core.planning.values_key import ValuesKey
from kubemtu.core.snapshot import Snapshot

NAME = "kube-ovn"
NAMESPACES = ("kube-system", "kube-ovn")  # the second until v0.10
AGENT = "kube-ovn-cni"
CONTAINER = "cni-server"
FLAG = "--mtu"
DEFAULT_SUBNET = "ovn-default"
GATEWAY = "ovn0"  # pkg/util/const.go NodeNic
GROUP = "kubeovn.io"
CONFLIST = "/etc/cni/net.d/01-kube-ovn.conflist"
BY_TYPE_SINCE = {(1, 10): (1, 10, 5)}  # before, Geneve's number was taken for every type, and nothing for IPv6
BY_TYPE_AFTER = (1, 11, 0)
SUBTRACTS = {"geneve": 100, "vlan": 100, "vxlan": 50, "stt": 72}  # pkg/util/const.go
IPV6 = 20
# OVN puts the ports into an option of 8 bytes (ovn-org/ovn: northd, tunnel key metadata), where VXLAN has no room.
TUNNELS = {"geneve": "geneve:8", "vxlan": "vxlan", "stt": "stt"}
PLAIN = re.compile(r"[A-Za-z0-9_@-]{1,15}")  # a name that is no pattern: --iface takes regular expressions
WANTS = (
    *(daemonsets(namespace) for namespace in NAMESPACES),
    Want(kind="Subnet", plural="subnets", api_versions=(f"{GROUP}/v1",)),
    NODES,
    kubelet.WANT,
)
_STACKS: tuple[tuple[str, ...], ...] = (("geneve:8",), ("vxlan",), ("stt",), ("esp-transport", "geneve:8"), ())
KNOWLEDGE = Knowledge(
    recognised_by="Kube-OVN (DaemonSet kube-system/kube-ovn-cni)",
    ports=(ovs.PORTS,),
    calc_keys=(CalcKey("Kube-OVN", f"DaemonSet kube-system/{AGENT}", FLAG, "pod", _STACKS),),
    values_keys=(
        ValuesKey(  # kubeovn/kube-ovn: charts/kube-ovn-v2/values.yaml, templates/agent/agent-daemonset.yaml
            form="helm-values",
            path=("networking", "pods", "mtu"),
            counts="pod",
            file="values of the chart kube-ovn-v2; the chart kube-ovn has no MTU among its values",
            owner="Helm",
            signs=("networking",),
        ),
    ),
    words=("kube-ovn", "kubeovn"),
    edited=(rights.patch("daemonsets", AGENT, group="apps"), rights.patch("subnets", group=GROUP)),
)


class Arguments(msgspec.Struct, frozen=True, kw_only=True):
    """What kube-ovn-cni is told. `at` is the path of the argument with the MTU, or of where one would be added."""

    mtu: int | None = None
    held: str | None = None  # the argument as it stands
    at: tuple[str | int, ...] = ()
    apart: bool = False  # the flag and its number are two arguments: `at` is the number's
    kind: str = "geneve"
    nics: tuple[str, ...] = ()
    ipsec: bool = False
    primary: bool = True
    version: tuple[int, int, int] | None = None

    @property
    def by_type(self) -> bool:
        """True from the versions on that take off what each type and IPv6 cost."""
        if self.version is None:
            return True
        return self.version >= BY_TYPE_SINCE.get(self.version[:2], BY_TYPE_AFTER)

    def encapsulations(self, families: tuple[str, ...]) -> tuple[Encapsulation, ...]:
        """Return what may be around a pod's packet; empty when nothing is."""
        name = TUNNELS.get(self.kind)
        found = ovs.over(name, families) if name is not None else ()
        return tuple(encap.within(encap.esp_transport(), one) for one in found) if self.ipsec else found

    def subtracts(self, *, ipv6: bool) -> int | None:
        """Return the bytes that this version takes off the NIC; None for a type that it does not know."""
        if not self.by_type:
            return SUBTRACTS["geneve"]
        taken = SUBTRACTS.get(self.kind)
        return None if taken is None else taken + (IPV6 if ipv6 else 0)


class KubeOvnParsed(msgspec.Struct, frozen=True, kw_only=True):
    """What is read of one Kube-OVN: its arguments, and the Subnets that have a number of their own."""

    agent: Object
    told: Arguments
    subnets: tuple[tuple[Object, int], ...] = ()
    on_vlan: bool = False


def read(snapshot: Snapshot) -> cni_state.CniState | None:
    """Describe Kube-OVN, or return None when it is not there, or only adds networks to another CNI's pods."""
    agent = next((one for space in NAMESPACES if (one := snapshot.find("DaemonSet", AGENT, space)) is not None), None)
    if agent is None:
        return None
    out: list[Finding] = list(kubelet.findings(snapshot))
    told = _arguments(agent, out)
    if not told.primary:
        return None
    families = ovs.families(snapshot)
    on_vlan = _on_vlan(told, snapshot)
    around = told.encapsulations(families) if not on_vlan else ()
    known = told.kind in SUBTRACTS
    if not known:
        out.append(_unknown(told.kind, agent))
    taken = told.subtracts(ipv6="ipv6" in families) if not on_vlan else 0
    subnets = _subnets(snapshot, out)
    default = next((mtu for subnet, mtu in subnets if subnet.name == DEFAULT_SUBNET), None)
    pod_mtu = default or (None if on_vlan else told.mtu)
    out += _apart(subnets, pod_mtu)
    out += strays.misplaced(agent, "spec")
    return cni_state.CniState(
        name=NAME,
        variant=told.kind + (" with ipsec" if told.ipsec else ""),
        encapsulation=around,
        encapsulation_known=known,
        encapsulation_name=_name(told, on_vlan=on_vlan) if known else "unknown",
        pod_mtu=pod_mtu,
        subtracts=taken if pod_mtu is None else None,
        reserves=max((taken or 0) - ovs.taken(around), 0),
        mtu_keys=_keys(agent, told, subnets),
        computed_by=AGENT,
        daemonset=reading.ref(agent, "daemonsets"),
        conflist=CONFLIST,
        ports=ovs.PORTS,
        bridge=GATEWAY,
        nic_names=told.nics,
        nic_key=f"{agent}, --iface" if told.nics else "",
        nic_reader=AGENT,
        owner=owners.of(agent, out),
        ipv6=any(":" in str(one.get("spec", "cidrBlock")) for one in snapshot.each("Subnet")) or ovs.has_ipv6(snapshot),
        pod_networks=_networks(snapshot),
        findings=tuple(dict.fromkeys(out)),
        parsed=KubeOvnParsed(agent=agent, told=told, subnets=subnets, on_vlan=on_vlan),
    )


def steps(state: cni_state.CniState, target: int) -> tuple[plan.EditValue | plan.Rollout, ...]:
    """List the edit of --mtu, of the Subnets whose own number is larger or is the default's, and the restart.

    Raises UsageError for the type vlan, whose pods have what the NIC has, and where there is no place for the argument.
    """
    encap.check(target)
    found = state.parsed
    assert isinstance(found, KubeOvnParsed)
    told = found.told
    if found.on_vlan:
        raise UsageError(
            f"Pods of {found.agent} are on the VLAN of their provider network and have the MTU of its NIC: set that, or"
            " spec.mtu of the Subnets."
        )
    if not told.at:
        raise UsageError(
            f"{found.agent} has no container {CONTAINER} with arguments, so --mtu cannot be given there: add"
            f" {FLAG}={target} where it is made from."
        )
    ref = reading.ref(found.agent, "daemonsets")
    why = f"{AGENT} gives ovn0 and new pods {target}"
    after = str(target) if told.apart else f"{FLAG}={target}"
    edits = []
    if told.mtu != target:
        edits.append(plan.EditValue(ref=ref, path=told.at, before=told.held, after=after, why=why))
    for subnet, mtu in found.subnets:
        if mtu > target or (subnet.name == DEFAULT_SUBNET and mtu != target):
            edits.append(
                plan.EditValue(
                    ref=reading.ref(subnet, "subnets"),
                    path=("spec", "mtu"),
                    before=mtu,
                    after=target,
                    why=f"it counts before {FLAG} for the pods of this Subnet",
                )
            )
    if not edits:
        return ()
    return (*edits, plan.Rollout(ref=ref, why=f"{AGENT} reads its arguments only when it starts"))


def _arguments(agent: Object, out: list[Finding]) -> Arguments:
    """Read the arguments of cni-server; what is broken goes to `out`."""
    place = str(agent)
    server = reading.attempt(lambda: daemonset.container(agent, CONTAINER), None, out, place)
    version = reading.attempt(lambda: daemonset.version(agent, CONTAINER), None, out, place)
    containers = agent.get("spec", "template", "spec", "containers")
    index = next(
        (
            number
            for number, each in enumerate(containers if isinstance(containers, list) else ())
            if isinstance(each, dict) and each.get("name") == CONTAINER
        ),
        None,
    )
    words = server.get("args") if server is not None else None
    at: tuple[str | int, ...] = ()
    held, apart, mtu = None, False, None
    if index is not None and isinstance(words, list):
        place, where = f"{agent}, {FLAG}", ("spec", "template", "spec", "containers", index, "args")
        at, held, apart = _place(words, where)
        mtu = reading.mtu(held.removeprefix(f"{FLAG}=") if held is not None else None, out, place)

    def last(flag: str) -> str:
        return (daemonset.flag_values(server, flag) or ("",))[-1]

    names = last("iface").split(",") if last("iface") else []
    return Arguments(
        mtu=mtu,
        held=held,
        at=at,
        apart=apart,
        kind=last("network-type") or "geneve",
        nics=tuple(names) if all(map(PLAIN.fullmatch, names)) else (),
        ipsec=last("enable-ovn-ipsec") == "true",
        primary=last("non-primary-cni-mode") != "true",
        version=version,
    )


def _place(words: list[object], where: tuple[str | int, ...]) -> tuple[tuple[str | int, ...], str | None, bool]:
    """Return the path of the last argument with the MTU, what stands there, and whether the flag is one before it."""
    for number, word in reversed(list(enumerate(words))):
        if isinstance(word, str) and word.startswith(f"{FLAG}="):
            return (*where, number), word, False
        if word == FLAG and number + 1 < len(words) and isinstance(held := words[number + 1], str):
            return (*where, number + 1), held, True
    return (*where, len(words)), None, False


def _subnets(snapshot: Snapshot, out: list[Finding]) -> tuple[tuple[Object, int], ...]:
    """Return the Subnets of Kube-OVN on the tunnel that have a number of their own."""
    found = []
    for subnet in snapshot.each("Subnet"):
        if not str(subnet.get("apiVersion")).startswith(f"{GROUP}/") or subnet.get("spec", "vlan"):
            continue
        held = subnet.get("spec", "mtu")
        spec = {"mtu": held}
        mtu = reading.member(spec, "mtu", out, f"{subnet}, spec")
        if mtu is not None:
            found.append((subnet, mtu))
    return tuple(found)


def _apart(subnets: tuple[tuple[Object, int], ...], pod_mtu: int | None) -> list[Finding]:
    """Return MTU119 for each Subnet that gives its pods more than all others get."""
    return [
        codes.finding(
            codes.MTU119,
            f"{subnet}, spec.mtu",
            f"Pods of this Subnet get {mtu}, all others {pod_mtu}: what they send in packets of {pod_mtu + 1}-{mtu}"
            " bytes is dropped at the other's interface, without an ICMP error.",
            f"Remove spec.mtu, so that {FLAG} of {AGENT} counts here too.",
        )
        for subnet, mtu in subnets
        if pod_mtu is not None and mtu > pod_mtu
    ]


def _keys(agent: Object, arguments: Arguments, subnets: tuple[tuple[Object, int], ...]) -> tuple[cni_state.MtuKey, ...]:
    ref = reading.ref(agent, "daemonsets")
    default = next(((subnet, mtu) for subnet, mtu in subnets if subnet.name == DEFAULT_SUBNET), None)
    own = cni_state.MtuKey(
        ref=ref, path=arguments.at, inside=FLAG, means="pod", value=arguments.mtu, effective=default is None
    )
    if default is None:
        return (own,) if arguments.at else ()
    subnet, mtu = default
    above = cni_state.MtuKey(ref=reading.ref(subnet, "subnets"), path=("spec", "mtu"), means="pod", value=mtu)
    return (above, own) if arguments.at else (above,)


def _on_vlan(arguments: Arguments, snapshot: Snapshot) -> bool:
    """Return True when the default Subnet is an underlay one: its pods get what its provider network's NIC has."""
    default = snapshot.find("Subnet", DEFAULT_SUBNET)
    return arguments.kind == "vlan" or (default is not None and bool(default.get("spec", "vlan")))


def _name(arguments: Arguments, *, on_vlan: bool) -> str:
    if on_vlan:
        return "none"
    return arguments.kind + (" in ipsec" if arguments.ipsec else "")


def _networks(snapshot: Snapshot) -> tuple[str, ...]:
    default = snapshot.find("Subnet", DEFAULT_SUBNET)
    held = default.get("spec", "cidrBlock") if default is not None else None
    return tuple(held.split(",")) if isinstance(held, str) and held else ()


def _unknown(kind: str, agent: Object) -> Finding:
    return codes.finding(
        codes.MTU117,
        f"{agent}, --network-type",
        f"The type {kind!r:.40} is none that kube-ovn-cni knows, and it exits: what goes around a packet is unknown.",
        f"Use one of {', '.join(SUBTRACTS)}.",
        "error",
    )
