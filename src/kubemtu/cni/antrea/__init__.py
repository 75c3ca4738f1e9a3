"""Antrea: defaultMTU of antrea-agent.conf is the pods' own, and 0 leaves it to the NIC less what the tunnel takes.

The ConfigMap is antrea-config, or antrea-config-HASH where kustomize made it (up to v1.6): the DaemonSet's volume says
which. antrea-agent reads it when it starts, gives antrea-gw0 and new pods that number, and leaves running pods as they
are (antrea-io/antrea: pkg/agent/agent.go getInterfaceMTU, pkg/agent/cniserver/server.go).
"""

import msgspec

from kubemtu.cni.antrea import conf as antrea_conf
from kubemtu.cni.antrea.conf import KEY, AgentConf
from kubemtu.cni.knowledge import CalcKey, Knowledge, Mounted
from kubemtu.cni.objects import conflist, daemonset, owners, reading, strays
from kubemtu.cni.programs import installer, kubelet, ovs
from kubemtu.core import codes, encap, places, rights
from kubemtu.core.change import plan
from kubemtu.core.cluster import cni_state
from kubemtu.core.codes import Finding
from kubemtu.core.errors import UsageError
from kubemtu.core.objects import NODES, Object, Ref, Want, config_map, daemonsets
from kubemtu.core.planning.values_key import ValuesKey
from kubemtu.core.snapshot import Snapshot
from kubemtu.core.text import json_edit

NAME = "antrea"
NAMESPACE = "kube-system"
AGENT = "antrea-agent"
CONFIG_MAP = "antrea-config"
CONF = "antrea-agent.conf"
CNI_CONFS = ("antrea-cni.conflist", "antrea-cni.conf")  # the second until v0.8
CONFLIST = "/etc/cni/net.d/10-antrea.conflist"
TUNNEL = "antrea-wg0"  # pkg/agent/wireguard/client_linux.go; all other tunnels are devices of the switch
WANTS = (
    config_map(NAMESPACE, CONFIG_MAP),
    daemonsets(NAMESPACE),
    Want(kind="AntreaAgentInfo", plural="antreaagentinfos", api_versions=("crd.antrea.io/v1beta1",)),
    NODES,
    kubelet.WANT,
)

_STACKS: tuple[tuple[str, ...], ...] = (("vxlan",), ("geneve",), ("gretap:key",), ("wireguard",), ())
KNOWLEDGE = Knowledge(
    recognised_by="Antrea (DaemonSet kube-system/antrea-agent, or its ConfigMap antrea-config)",
    ports=(ovs.PORTS,),
    calc_keys=(CalcKey("Antrea", "ConfigMap kube-system/antrea-config", f"{CONF} defaultMTU", "pod", _STACKS),),
    values_keys=(
        ValuesKey(  # antrea-io/antrea: build/charts/antrea/values.yaml, conf/antrea-agent.conf
            form="helm-values",
            path=("defaultMTU",),
            counts="pod",
            file="values of the chart antrea",
            owner="Helm",
            signs=("trafficEncapMode", "tunnelType", "trafficEncryptionMode", "transportInterface", "antreaProxy"),
        ),
    ),
    words=("antrea",),
    mounted=(Mounted(namespace=NAMESPACE, daemonset=AGENT, prefix=f"{CONFIG_MAP}-"),),
    edited=(rights.patch("configmaps", CONFIG_MAP), rights.patch("daemonsets", AGENT, group="apps")),
)


class AntreaParsed(msgspec.Struct, frozen=True, kw_only=True):
    """What is read of one Antrea: its ConfigMap, and the texts of it that hold a number or could."""

    config: Object | None = None
    text: str | None = None  # antrea-agent.conf
    cni_key: str = ""  # the key of the CNI configuration, where that has an MTU of its own
    cni_text: str = ""
    behind: bool = False  # some agent runs with another number than is configured


def read(snapshot: Snapshot) -> cni_state.CniState | None:
    """Describe Antrea, or return None when it is not there, or adds nothing but policies to another CNI."""
    agent = snapshot.find("DaemonSet", AGENT, NAMESPACE)
    config = _config(agent, snapshot)
    if agent is None and config is None:
        return None
    out: list[Finding] = list(kubelet.findings(snapshot))
    version = reading.attempt(lambda: daemonset.version(agent, AGENT), None, out, str(agent))
    place = f'{config}, data["{CONF}"]'
    text = reading.value(config, out, "data", CONF) if config is not None else None
    conf = antrea_conf.read(text or "", place, version, out) if text is not None else AgentConf(known=False)
    if conf.mode == "networkPolicyOnly":
        return None
    if text is None:
        effect = f"so what {agent or config} gives to pods, and what goes around their packets, is unknown"
        out.append(reading.unread(f"ConfigMap {NAMESPACE}/{CONFIG_MAP}, {CONF}", effect, snapshot))
    out += _strays(text, place)
    cni_key, template = _template(config, out)
    literal = template.mtu if template is not None else None
    pod_mtu = literal or conf.mtu or conf.constant
    families = ovs.families(snapshot)
    around = conf.encapsulations(families) if conf.known else ()
    taken = conf.subtracts(ipv6="ipv6" in families) if conf.known else None
    out += _contradictions(conf, literal, f"{config}, data.{cni_key}")
    behind = _behind(pod_mtu, agent, snapshot)
    return cni_state.CniState(
        name=NAME,
        variant=conf.mode if text is not None else "",
        encapsulation=around,
        encapsulation_known=conf.known,
        encapsulation_name=conf.name,
        pod_mtu=pod_mtu,
        subtracts=taken if pod_mtu is None else None,
        reserves=max((taken or 0) - ovs.taken(around), 0),
        conflist_mtu=literal,
        mtu_keys=_keys(config, conf, cni_key, literal, template),
        daemonset=_daemonset(agent),
        conflist=CONFLIST,
        conflist_template=template.text if template is not None else None,
        ports=ovs.PORTS,
        bridge=conf.host_gateway,
        tunnel=TUNNEL if conf.encryption == "wireguard" else None,
        tunnel_stays="antrea-agent sets it when it starts.",
        nic_names=(conf.nic,) if conf.nic else (),
        nic_key=f"{place}, transportInterface" if conf.nic else "",
        nic_reader=AGENT,
        computed_by=AGENT,
        owner=owners.of(config or agent, out),
        ipv6=ovs.has_ipv6(snapshot),
        findings=tuple(dict.fromkeys([*out, *behind])),
        parsed=AntreaParsed(
            config=config,
            text=text,
            cni_key=cni_key if literal is not None else "",
            cni_text=template.text if template is not None else "",
            behind=bool(behind),
        ),
    )


def steps(state: cni_state.CniState, target: int) -> tuple[plan.EditValue | plan.Rollout, ...]:
    """List the edit of defaultMTU, that of the CNI configuration where it holds a number too, and the restart.

    Raises UsageError when the ConfigMap was not read, and Malformed when its text cannot be edited.
    """
    encap.check(target)
    found = state.parsed
    assert isinstance(found, AntreaParsed)
    assert state.daemonset is not None
    if found.config is None or found.text is None:
        raise UsageError(
            f"The ConfigMap that {state.daemonset} reads was not read: allow `get` on it (the cluster's own role"
            " view has that), then plan again."
        )
    ref = reading.ref(found.config, "configmaps")
    place = f'{found.config}, data["{CONF}"]'
    after = antrea_conf.write(found.text, target, place)
    why = f"{AGENT} gives its gateway and new pods {target}"
    edits = installer.edit(ref, ("data", CONF), found.text, after, why)
    if found.cni_key:
        source = f"{found.config}, data.{found.cni_key}"
        edited = json_edit.set_plugin_mtu(found.cni_text, "antrea", target, source=source)
        edits += installer.edit(ref, ("data", found.cni_key), found.cni_text, edited, f"new pods get {target}")
    if not edits and not found.behind:
        return ()
    restart = plan.Rollout(
        ref=state.daemonset,
        why="antrea-agent reads its configuration only when it starts",
        conflist=CONFLIST if found.cni_key else None,
        mtu=target if found.cni_key else None,
    )
    return (*edits, restart)


def _config(agent: Object | None, snapshot: Snapshot) -> Object | None:
    """Return the ConfigMap that the DaemonSet mounts; without one the first that has antrea-agent.conf."""
    volumes = agent.get("spec", "template", "spec", "volumes") if agent is not None else None
    for volume in volumes if isinstance(volumes, list) else ():
        source = volume.get("configMap") if isinstance(volume, dict) else None
        name = source.get("name") if isinstance(source, dict) else None
        if isinstance(name, str) and name.startswith(CONFIG_MAP):
            return snapshot.find("ConfigMap", name, NAMESPACE)
    return next((one for one in snapshot.each("ConfigMap", NAMESPACE) if one.get("data", CONF) is not None), None)


def _strays(text: str | None, place: str) -> list[Finding]:
    values = reading.tree(text, [], place, "") if text is not None else {}
    found = strays.in_tree(values, {KEY[0]}, ("mtu",))
    return [reading.stray(f"{place}, {path}", path, KEY[0]) for path in found]


def _template(config: Object | None, out: list[Finding]) -> tuple[str, conflist.Template | None]:
    """Return the key of the CNI configuration, and what stands there; an MTU in it counts more than defaultMTU."""
    for key in CNI_CONFS if config is not None else ():
        text = reading.value(config, out, "data", key) if config is not None else None
        if text is not None:
            return key, conflist.template(text, "antrea", f'{config}, data["{key}"]', out)
    return CNI_CONFS[0], None


def _contradictions(conf: AgentConf, literal: int | None, place: str) -> list[Finding]:
    gateway = conf.mtu or conf.constant
    if literal is None or gateway is None or literal <= gateway:
        return []
    return [
        codes.finding(
            codes.MTU119,
            place,
            f"New pods get {literal}, but defaultMTU gives {conf.host_gateway} {gateway}: what pods send out of their"
            f" node in packets of {gateway + 1}-{literal} bytes is dropped by Open vSwitch, without an ICMP error.",
            "Remove the mtu from the CNI configuration, so that antrea-agent gives pods what its gateway has.",
        )
    ]


def _keys(
    config: Object | None, conf: AgentConf, cni_key: str, literal: int | None, template: conflist.Template | None
) -> tuple[cni_state.MtuKey, ...]:
    if config is None:
        return ()
    ref = reading.ref(config, "configmaps")
    own = cni_state.MtuKey(
        ref=ref, path=("data", CONF), inside=KEY[0], means="pod", value=conf.mtu, effective=literal is None
    )
    if literal is None or template is None:
        return (own,)
    above = cni_state.MtuKey(ref=ref, path=("data", cni_key), inside=template.inside, means="pod", value=literal)
    return (own, above)


def _daemonset(agent: Object | None) -> Ref:
    return daemonset.ref(agent, NAMESPACE, AGENT)


def _behind(mtu: int | None, agent: Object | None, snapshot: Snapshot) -> list[Finding]:
    """Return MTU103 for agents that say, from v2.6 on, that they run with another number than is configured."""
    others: dict[int, list[str]] = {}
    for said in snapshot.each("AntreaAgentInfo"):
        now = said.get("networkInfo", "podMTU")
        if mtu is not None and isinstance(now, int) and not isinstance(now, bool) and now not in {0, mtu}:
            others.setdefault(now, []).append(said.name)
    ref = _daemonset(agent)
    return [
        codes.finding(
            codes.MTU103,
            places.on(nodes, "AntreaAgentInfo"),
            f"antrea-agent gives pods {now} here, and the configuration says {mtu}: it has not been restarted since.",
            f"kubectl -n {ref.namespace} rollout restart daemonset/{ref.name}",
        )
        for now, nodes in others.items()
    ]
