"""OpenShift: the network operator owns the MTU of OVN-Kubernetes and OpenShift SDN, and changes it by migration only.

status.clusterNetworkMTU of Network.config.openshift.io is what is in force, spec.defaultNetwork.*.mtu of
Network.operator.openshift.io what was asked for; a change of the latter alone is refused, and what stands in
ovnkube-config is written back. So everything here is read, and the command is said that begins a migration
(openshift/cluster-network-operator at 2a6a57fe: pkg/network/ovn_kubernetes.go isOVNKubernetesChangeSafe, mtu.go;
release-4.14: pkg/network/openshift_sdn.go). OpenShift 3 has no operator: `openshift_sdn` reads that.
"""

import json

import msgspec

from kubemtu.cni.knowledge import CalcKey, Knowledge
from kubemtu.cni.objects import reading
from kubemtu.cni.openshift import sdn as openshift_sdn
from kubemtu.cni.openshift.migration import OpenShiftMigration
from kubemtu.cni.openshift.sdn import SdnParsed
from kubemtu.cni.programs import kubelet, ovn, ovs
from kubemtu.core import codes, encap
from kubemtu.core.change import plan
from kubemtu.core.cluster import cni_state
from kubemtu.core.codes import Finding
from kubemtu.core.encap import Encapsulation
from kubemtu.core.errors import UsageError
from kubemtu.core.objects import NODES, Object, Want, config_map
from kubemtu.core.snapshot import Snapshot

NAME = "openshift"
OPERATOR = "operator.openshift.io"
CONFIG = "config.openshift.io"
NAMESPACE = "openshift-ovn-kubernetes"
CONF_MAP = "ovnkube-config"
OWNER = "the OpenShift network operator"
OVERHEAD = {"OVNKubernetes": 100, "OpenShiftSDN": 50}  # bytes: getOVNEncapOverhead, isOpenShiftSDNChangeSafe
IPSEC = 46
CONFIGS = {"OVNKubernetes": "ovnKubernetesConfig", "OpenShiftSDN": "openshiftSDNConfig"}
WANTS = (
    Want(kind="Network", plural="networks", api_versions=(f"{OPERATOR}/v1",), name="cluster"),
    Want(kind="Network", plural="networks", api_versions=(f"{CONFIG}/v1",), name="cluster"),
    config_map(NAMESPACE, CONF_MAP),
    *openshift_sdn.WANTS,
    *ovn.WANTS,
    NODES,
    kubelet.WANT,
)
_BEHIND = "only its own migration changes it, and reboots the nodes"
KNOWLEDGE = Knowledge(
    recognised_by="OpenShift (Network cluster of operator.openshift.io or config.openshift.io, or DaemonSet sdn)",
    ports=(ovs.PORTS,),
    calc_keys=(
        CalcKey(
            "OpenShift", "Network.operator cluster", "spec.migration.mtu.network.to", "pod", ovn.STACKS, note=_BEHIND
        ),
        *openshift_sdn.CALC_KEYS,
    ),
    words=("openshift",),
    edited=openshift_sdn.EDITED,
)


class Networks(msgspec.Struct, frozen=True, kw_only=True):
    """What both Networks say. `mtu` is what is in force and `asked` what the operator's spec has, in bytes."""

    kind: str = ""
    mtu: int | None = None
    asked: int | None = None
    ipsec: bool = False
    natt: bool = False
    overlay: bool = True
    networks: tuple[str, ...] = ()

    @property
    def overhead(self) -> int:
        """The bytes that the operator keeps between the pods' MTU and the machines'."""
        return OVERHEAD[self.kind] + (IPSEC if self.ipsec else 0) if self.overlay else 0

    def encapsulations(self, families: tuple[str, ...]) -> tuple[Encapsulation, ...]:
        """Return what may be around a pod's packet; empty when nothing is."""
        if not self.overlay:
            return ()
        if self.kind == "OpenShiftSDN":
            return (encap.vxlan(),)
        return ovn.around(families, ipsec=self.ipsec, natt=self.natt)

    @property
    def name(self) -> str:
        """The encapsulation as users say it."""
        if not self.overlay:
            return "none"
        tunnel = "vxlan" if self.kind == "OpenShiftSDN" else "geneve"
        return f"{tunnel} in ipsec" if self.ipsec else tunnel


class OpenShiftParsed(msgspec.Struct, frozen=True, kw_only=True):
    """What is read of one OpenShift with an operator."""

    said: Networks
    migration: OpenShiftMigration | None


def read(snapshot: Snapshot) -> cni_state.CniState | None:
    """Describe OpenShift's pod network, or return None when it is none, or runs another one's operator."""
    operator, config = _network(snapshot, OPERATOR), _network(snapshot, CONFIG)
    if operator is None and config is None:
        return openshift_sdn.read(snapshot)
    out: list[Finding] = list(kubelet.findings(snapshot))
    said = _said(operator, config, out)
    if said.kind not in OVERHEAD:
        return None  # Calico, Cilium and others have their own objects here
    migration = OpenShiftMigration.of(operator, out)
    families = ovs.families(snapshot)
    around = said.encapsulations(families)
    ipv6 = any(":" in each for each in said.networks)
    if migration is not None and operator is not None:
        out.append(migration.finding(operator, said.mtu, said.overhead, ipv6=ipv6))
    else:
        out += _refused(said, operator)
        out += _overwritten(said, snapshot, out)
    ovn.networks(snapshot, said.mtu, out)
    holder = operator or config
    sdn = said.kind == "OpenShiftSDN"
    return cni_state.CniState(
        name=NAME,
        variant=said.kind + (" with ipsec" if said.ipsec else ""),
        encapsulation=around,
        encapsulation_name=said.name,
        pod_mtu=said.mtu,
        subtracts=said.overhead if said.mtu is None else None,
        reserves=max(said.overhead - ovs.taken(around), 0),
        source=f"{holder}, " + (f"spec.defaultNetwork.{CONFIGS[said.kind]}.mtu" if operator else "its operator's mtu"),
        ports=ovs.PORTS,
        bridge=openshift_sdn.GATEWAY if sdn else ovn.GATEWAY,
        pod_networks=said.networks,
        computed_by=OWNER,
        owner=OWNER,
        ipv6=ipv6,
        findings=tuple(dict.fromkeys(out)),
        parsed=OpenShiftParsed(said=said, migration=migration),
    )


def steps(state: cni_state.CniState, target: int) -> tuple[plan.EditValue | plan.Rollout, ...]:
    """Return nothing where the number is right already; else raise UsageError with the command that begins a migration.

    OpenShift 3, where no operator writes it back, has edits and a restart.
    """
    encap.check(target)
    found = state.parsed
    if isinstance(found, SdnParsed):
        return openshift_sdn.steps(found, target)
    assert isinstance(found, OpenShiftParsed)
    said = found.said
    if said.mtu == target:
        return ()
    if found.migration is not None:
        raise UsageError(
            "A migration of the MTU is under way or asked for already: see `kubemtu check`, and let it end."
        )
    if said.mtu is None:
        raise UsageError(
            "What is in force is not known (status.clusterNetworkMTU of Network.config.openshift.io cluster), and a"
            " migration must name it: allow `get` on it, or add it to the files."
        )
    body = {"network": {"from": said.mtu, "to": target}, "machine": {"to": target + said.overhead}}
    patch = json.dumps({"spec": {"migration": {"mtu": body}}})
    after = json.dumps({"spec": {"migration": None, "defaultNetwork": {CONFIGS[said.kind]: {"mtu": target}}}})
    raise UsageError(
        f"{OWNER} changes the MTU by a migration only, which reboots each node twice, and takes back everything else."
        f" Begin it with: oc patch network.operator.openshift.io cluster --type=merge -p '{patch}' -- and once all"
        f" machine config pools are updated, end it with: oc patch network.operator.openshift.io cluster --type=merge"
        f" -p '{after}'"
    )


def hint(network: Object) -> str:
    """Say what is missing where only a Network of OpenShift's tells of a pod network."""
    kind = _kind(network, network, [])
    if kind in OVERHEAD or not kind:
        what = f" with {kind}" if kind else ""
        return f"It looks like OpenShift{what} ({network}), and Network cluster of {OPERATOR} was not read."
    return f"It looks like OpenShift with {kind} ({network}), and that network's own objects were not read."


def _network(snapshot: Snapshot, group: str) -> Object | None:
    for found in snapshot.each("Network"):
        if str(found.get("apiVersion")).partition("/")[0] == group and found.get("metadata", "name") == "cluster":
            return found
    return None


def _said(operator: Object | None, config: Object | None, out: list[Finding]) -> Networks:
    """Read both Networks; what is broken goes to `out`, and reads as absent."""
    kind = _kind(operator, config, out)
    own = operator.get("spec", "defaultNetwork", CONFIGS.get(kind, "")) if operator is not None else None
    held = own if isinstance(own, dict) else {}
    status = config.get("status") if config is not None else None
    place = f"{operator}, spec.defaultNetwork.{CONFIGS.get(kind, '')}"
    asked = reading.member(held, "mtu", out, place)
    force = reading.member(status, "clusterNetworkMTU", out, f"{config}, status") if isinstance(status, dict) else None
    ipsec = held.get("ipsecConfig")
    mode = ipsec.get("mode") or "Full" if isinstance(ipsec, dict) else "Disabled"  # without a mode: as before 4.15
    full = ipsec.get("full") if isinstance(ipsec, dict) else None
    return Networks(
        kind=kind,
        mtu=force if force is not None else asked,
        asked=asked,
        ipsec=mode == "Full",
        natt=isinstance(full, dict) and full.get("encapsulation") == "Always",
        overlay=held.get("transport") != "NoOverlay",
        networks=_networks(config) or _networks(operator),
    )


def _kind(operator: Object | None, config: Object | None, out: list[Finding]) -> str:
    """Return the pod network that both Networks name, "" where neither does."""
    said = reading.text(config, out, "status", "networkType") or reading.text(config, out, "spec", "networkType")
    return said or reading.text(operator, out, "spec", "defaultNetwork", "type") or ""


def _networks(network: Object | None) -> tuple[str, ...]:
    held = network.get("spec", "clusterNetwork") if network is not None else None
    entries = [entry.get("cidr") for entry in held if isinstance(entry, dict)] if isinstance(held, list) else []
    return tuple(cidr for cidr in entries if isinstance(cidr, str) and cidr)


def _refused(said: Networks, operator: Object | None) -> list[Finding]:
    """Return MTU111 where the operator is asked for another number without a migration."""
    if said.asked is None or said.mtu is None or said.asked == said.mtu:
        return []
    return [
        codes.finding(
            codes.MTU111,
            f"{operator}, spec.defaultNetwork.{CONFIGS[said.kind]}.mtu",
            f"It asks for {said.asked} and {said.mtu} is in force: {OWNER} refuses to change the MTU without a"
            " migration, and is degraded until this is taken back.",
            f"Set it back to {said.mtu}; `kubemtu plan` says how a migration is begun.",
            "error",
        )
    ]


def _overwritten(said: Networks, snapshot: Snapshot, out: list[Finding]) -> list[Finding]:
    """Return MTU113 where ovnkube-config was edited by hand: the operator writes it back."""
    config = snapshot.find("ConfigMap", CONF_MAP, NAMESPACE)
    text = reading.value(config, out, "data", "ovnkube.conf") if config is not None else None
    place = f"{config}, ovnkube.conf, mtu"
    now = reading.mtu(ovn.rendered(text or ""), out, place)
    if now is None or said.mtu is None or now == said.mtu:
        return []
    return [
        codes.finding(
            codes.MTU113,
            place,
            f"It says {now}, and {said.mtu} is in force: {OWNER} writes it back, and nodes whose pods restarted"
            " meanwhile have another MTU than the others.",
            f"Put {said.mtu} back; `kubemtu plan` says how the MTU is changed.",
            "error" if now > said.mtu else "warning",
        )
    ]
