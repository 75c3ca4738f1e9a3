"""What a chain of CNI plugins makes of an MTU: the one that makes the interface, and those that come after it.

Read in containernetworking/plugins at 3d27709f: plugins/main/{bridge,macvlan,ipvlan,vlan,host-device,ptp,tap,dummy} and
plugins/meta/tuning; k8snetworkplumbingwg/sriov-cni at 1b7acc5b: pkg/types/types.go, which reads no mtu. Plugins take
their configuration by Go's encoding/json: members by any case, and a number in quotes is an error that ends the pod.
"""

import json
from collections.abc import Mapping, Sequence

import msgspec

from kubemtu.core import encap
from kubemtu.core.cluster import attachments, node_files
from kubemtu.core.objects import type_name

COORDINATOR = "coordinator"
COORDINATOR_MTU = 1500  # spidernet-io/spiderpool: cmd/coordinator/cmd/cni_types.go defaultUnderlayVethMTU
IFACER = "ifacer"
TUNING = frozenset({"tuning", "cnv-tuning"})
# Plugins that work on an interface which another has made.
META = TUNING | {
    *("bandwidth", "portmap", "sbr", "vrf", "firewall", "rdma", "route-override", COORDINATOR, IFACER),
}

Plugin = Mapping[str, object]


class Maker(msgspec.Struct, frozen=True, kw_only=True):
    """How one plugin that makes an interface comes to its MTU.

    `lower` is the member that names the device of the node which carries it, `assumed` its name where there is none;
    `veth`: the node keeps an end of its own, which a later plugin does not change.
    """

    reads_mtu: bool = True
    lower: str = ""
    assumed: str = ""
    required: bool = False
    by_default_route: bool = False
    made: bool = False  # the device is made where it is missing, or moves into the pod
    inherits: bool = False
    otherwise: int | None = None
    above: attachments.Above = ""
    veth: bool = False


_DEFAULT = node_files.KERNEL_DEFAULT
_BRIDGE = Maker(lower="bridge", assumed="cni0", made=True, otherwise=_DEFAULT, above="lost", veth=True)
MAKERS: Mapping[str, Maker] = {
    # macvlan.go and vlan.go loadConf: invalid MTU, must be [0, master MTU]; so says the kernel (drivers/net/macvlan.c,
    # net/8021q/vlan_netlink.c), which takes the device's where none is given.
    "macvlan": Maker(lower="master", by_default_route=True, inherits=True, above="refused"),
    "vlan": Maker(lower="master", required=True, inherits=True, above="refused"),
    "ipvlan": Maker(lower="master", by_default_route=True, inherits=True, above="lost"),
    "bridge": _BRIDGE,
    "cnv-bridge": _BRIDGE,
    "ptp": Maker(otherwise=_DEFAULT, veth=True),
    "tap": Maker(lower="bridge", otherwise=_DEFAULT, above="lost"),
    "dummy": Maker(reads_mtu=False, otherwise=_DEFAULT),
    "host-device": Maker(reads_mtu=False, lower="device", made=True, inherits=True),
    "sriov": Maker(reads_mtu=False),
    "ib-sriov": Maker(reads_mtu=False),
}


class ChainMtu(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a chain: as the fields of AttachedNetwork are called."""

    plugin: str = ""
    maker: Maker | None = None
    mtu: int | None = None
    by: str = ""
    lower: str = ""
    made_of: str = ""
    in_pod: bool = False
    node_end: int | None = None
    coordinator: Plugin | None = None
    refused: str = ""
    without_effect: tuple[str, ...] = ()


def plugins(text: str) -> tuple[Plugin, ...] | str:
    """Return the plugins of a configuration, or why nobody can use it, as a clause behind "it"."""
    try:
        whole: object = json.loads(text)
    except ValueError as why:
        return f"is no JSON ({why})"
    except RecursionError:
        return "is no JSON that anybody reads: it nests too deep"
    if not isinstance(whole, dict):
        return "is no JSON object"
    listed = whole.get("plugins", [whole])
    if not isinstance(listed, list) or not listed or not all(isinstance(each, dict) for each in listed):
        return "has no list of plugins"
    untyped = [place for place, each in enumerate(listed) if not isinstance(each.get("type"), str) or not each["type"]]
    if untyped:
        return f"names no type of plugin{f' in plugins[{untyped[0]}]' if 'plugins' in whole else ''}"
    return tuple(listed)


def read(listed: Sequence[Plugin]) -> ChainMtu:
    """Read a chain; the plugin that makes the interface is the first that is none of META."""
    place = next((place for place, each in enumerate(listed) if each["type"] not in META), None)
    if place is None:
        return ChainMtu(coordinator=_typed(listed, COORDINATOR))
    making = _folded(listed[place])
    kind = str(listed[place]["type"])
    maker = MAKERS.get(kind)
    at = f"plugins[{place}]." if len(listed) > 1 else ""
    mtu, refused, idle = _mtu(making.get("mtu"), f"{at}mtu", kind, maker)
    lower = making.get(maker.lower) if maker is not None and maker.lower else None
    named = lower if isinstance(lower, str) and lower else maker.assumed if maker is not None else ""
    if maker is not None and maker.required and not named and not refused:
        refused = f"{kind} needs {at}{maker.lower}, and it is not there"
    found = ChainMtu(
        plugin=kind,
        maker=maker,
        mtu=mtu,
        by=f"{at}mtu" if mtu is not None else "",
        lower=named,
        in_pod=making.get("linkincontainer") is True,
        made_of=_made_of(listed, named),
        coordinator=_typed(listed, COORDINATOR),
        refused=refused,
        without_effect=idle,
    )
    return _tuned(found, listed)


def _tuned(made: ChainMtu, listed: Sequence[Plugin]) -> ChainMtu:
    """Return the chain with what the plugin tuning sets at its end, which is the pod's end of a veth alone."""
    for place, each in enumerate(listed):
        if each["type"] not in TUNING:
            continue
        body = _folded(each)
        args = body.get("args")
        asked = args.get("cni") if isinstance(args, dict) else None
        by, held = f"plugins[{place}].mtu", body.get("mtu")
        if isinstance(asked, dict) and asked.get("mtu") is not None:
            by, held = f"plugins[{place}].args.cni.mtu", asked["mtu"]
        mtu, refused, _ = _mtu(held, by, str(each["type"]), Maker())
        end = None
        if made.maker is not None and made.maker.veth:
            end = made.node_end or made.mtu or made.maker.otherwise
        if mtu is not None:
            made = msgspec.structs.replace(made, mtu=mtu, by=by, node_end=end)
        made = msgspec.structs.replace(made, refused=made.refused or refused)
    return made


def _mtu(held: object, place: str, kind: str, maker: Maker | None) -> tuple[int | None, str, tuple[str, ...]]:
    """Return the MTU that a member gives, why the plugin refuses it, and where it has no effect."""
    if held is None or (held == 0 and not isinstance(held, bool)):
        return None, "", ()
    if maker is not None and not maker.reads_mtu:
        return None, "", (place,)
    if isinstance(held, bool) or not isinstance(held, int):
        if maker is None:
            return None, "", ()  # some plugins take text
        said = f'"{held}"' if isinstance(held, str) and len(held) <= 20 else type_name.get(type(held), "a fraction")
        return None, f"{place} is {said}, and {kind} takes an integer alone", ()
    if not encap.IPV4_MINIMUM <= held <= encap.LARGEST_MTU:
        limits = f"between {encap.IPV4_MINIMUM} and {encap.LARGEST_MTU}"
        return None, f"{place} is {held}, and an MTU is {limits}", ()
    return held, "", ()


def _made_of(listed: Sequence[Plugin], lower: str) -> str:
    """Return the interface of which a plugin before makes `lower`, as a VLAN: it has that one's MTU."""
    making = _typed(listed, IFACER)
    interfaces = making.get("interfaces") if making is not None else None
    if not isinstance(interfaces, list) or len(interfaces) != 1 or not isinstance(interfaces[0], str):
        return ""
    return interfaces[0] if lower.startswith(f"{interfaces[0]}.") else ""


def _typed(listed: Sequence[Plugin], kind: str) -> Plugin | None:
    return next((each for each in listed if each["type"] == kind), None)


def _folded(plugin: Plugin) -> dict[str, object]:
    """Return the members in lower case, as encoding/json matches them; of two the later counts."""
    return {str(key).lower(): held for key, held in plugin.items()}
