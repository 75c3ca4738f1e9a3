"""Spiderpool's own objects: a SpiderMultusConfig, of which it makes a NetworkAttachmentDefinition, and its coordinator.

Read in spidernet-io/spiderpool at a7fbd3b2: pkg/multuscniconfig/multusconfig_informer.go (generateNetAttachDef),
pkg/k8s/apis/spiderpool.spidernet.io/v2beta1, cmd/coordinator/cmd (veth0 and its MTU).
"""

import json

from kubemtu.cni.programs import chain
from kubemtu.core.objects import Object, Want
from kubemtu.core.snapshot import Snapshot

GROUP = "spiderpool.spidernet.io/v2beta1"
CONFIG = "SpiderMultusConfig"
COORDINATOR = "SpiderCoordinator"
WANTS = (
    Want(kind=CONFIG, plural="spidermultusconfigs", api_versions=(GROUP,)),
    Want(kind=COORDINATOR, plural="spidercoordinators", api_versions=(GROUP,)),
)
_WITH_MASTER = ("macvlan", "ipvlan", "vlan")
_CNI_NAMES = {"ib-sriov": "ib-sriov", "ipoib": "ipoib", "ovs": "ovs", "sriov": "sriov"}


def rendered(config: Object) -> str:
    """Return the configuration that Spiderpool makes of a SpiderMultusConfig; empty for one that names none."""
    kind = config.get("spec", "cniType")
    if kind is None or kind == "custom":
        custom = config.get("spec", "customCNI")
        return custom if isinstance(custom, str) else ""
    held = config.get("spec", {"ib-sriov": "ibsriov"}.get(str(kind), str(kind)))
    own = held if isinstance(held, dict) else {}
    plugins: list[dict[str, object]] = []
    if str(kind) in _WITH_MASTER:
        plugins += _with_master(str(kind), own)
    else:
        made: dict[str, object] = {"type": _CNI_NAMES.get(str(kind), str(kind))}
        plugins.append(made | ({"bridge": own["bridge"]} if "bridge" in own else {}))
    chained = config.get("spec", "chainCNIJsonData")
    for text in chained if isinstance(chained, list) else ():
        plugins += [dict(each) for each in _parsed(text)]
    if config.get("spec", "enableCoordinator") is not False:
        coordinator = config.get("spec", "coordinator")
        given = coordinator if isinstance(coordinator, dict) else {}
        kept = {key: given[key] for key in ("vethMTU", "mode") if key in given}
        plugins.append({"type": chain.COORDINATOR, **kept})
    if kind == "sriov" and isinstance(own.get("mtu"), int) and own["mtu"] > 0:
        plugins.append({"type": "tuning", "mtu": own["mtu"]})
    return json.dumps({"name": config.name, "plugins": plugins})


def veth(coordinator: chain.Plugin, snapshot: Snapshot) -> tuple[int, str, bool]:
    """Return the MTU of the veth that a coordinator makes, where it is from, and whether every pod gets that veth.

    In mode auto those get it whose first interface is of this network (coordinatorModeAndFirstInvoke).
    """
    mode = coordinator.get("mode")
    default = next(snapshot.each(COORDINATOR), None)
    if not mode and default is not None:
        mode = default.get("spec", "mode")
    own = coordinator.get("vethMTU")
    if isinstance(own, int) and not isinstance(own, bool) and own > 0:
        return own, "vethMTU of its coordinator", mode == "underlay"
    held = default.get("spec", "vethMTU") if default is not None else None
    if isinstance(held, int) and not isinstance(held, bool) and held > 0:
        return held, f"spec.vethMTU of {default}", mode == "underlay"
    return chain.COORDINATOR_MTU, "the coordinator's own default", mode == "underlay"


def _with_master(kind: str, own: dict[str, object]) -> list[dict[str, object]]:
    """Return the plugins of a network on one interface, on several that are bonded, or on a VLAN of either."""
    masters = own.get("master")
    listed = [each for each in masters if isinstance(each, str)] if isinstance(masters, list) else []
    bond = own.get("bond")
    master = listed[0] if len(listed) == 1 else bond.get("name") if isinstance(bond, dict) else None
    vlan = own.get("vlanID") if kind != "vlan" else None
    before: list[dict[str, object]] = []
    if vlan or len(listed) > 1:
        before = [{"type": chain.IFACER, "interfaces": listed, "vlanID": vlan or 0}]
    made: dict[str, object] = {"type": kind, "master": f"{master}.{vlan}" if vlan else master}
    return [*before, made | ({"mtu": own["mtu"]} if own.get("mtu") else {})]


def _parsed(text: object) -> tuple[chain.Plugin, ...]:
    found = chain.plugins(text) if isinstance(text, str) else ""
    return found if isinstance(found, tuple) else ()
