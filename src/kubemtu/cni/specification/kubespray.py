"""kubespray: what the variables of an inventory make of the pod network.

Calico's CNI configuration gets calico_mtu, and that only where it is a number; the tunnels get calico_veth_mtu, or else
calico_mtu, and nothing of both where calico_mtu is not there (kubernetes-sigs/kubespray:
roles/network_plugin/calico/templates/calico-config.yml.j2 and calico-node.yml.j2, from v2.14 on). Cilium, Kube-OVN and
Weave Net have one variable each (roles/network_plugin/{cilium,kube-ovn,weave}/defaults/main.yml; Weave Net until
v2.28), Flannel and kube-router none.
"""

from collections.abc import Iterator, Mapping
from typing import Final

import msgspec

from kubemtu.cni.objects import reading
from kubemtu.cni.programs import netconf
from kubemtu.cni.specification.forms import KUBESPRAY, TEMPLATE
from kubemtu.cni.specification.parsed import NumberKey, SpecificationParsed
from kubemtu.core import codes, encap
from kubemtu.core.cluster import cni_state
from kubemtu.core.codes import Finding
from kubemtu.core.objects import Ref
from kubemtu.core.snapshot import Snapshot

PLUGIN = "kube_network_plugin"
DEFAULT_PLUGIN = "calico"  # roles/kubespray_defaults/defaults/main/main.yml
WEAVE_DEFAULT = 1376  # bytes: roles/network_plugin/weave/defaults/main.yml
NOTE = "run cluster.yml with --tags network for it to come into the cluster, where running pods keep what they have"
NO_KEY: Final = {
    "flannel": "kubespray has no variable for flannel's MTU: flannel takes the NIC's, less its headers",
    "kube-router": "kubespray has no variable for kube-router's MTU: it takes the NIC's",
}
_READ: Final = {
    "calico": frozenset({"calico_mtu", "calico_veth_mtu"}),
    "cilium": frozenset({"cilium_mtu"}),
    "kube-ovn": frozenset({"kube_ovn_mtu"}),
    "weave": frozenset({"weave_mtu"}),
}
_VARIABLE: Final = {"calico": "calico_mtu", "cilium": "cilium_mtu", "kube-ovn": "kube_ovn_mtu", "weave": "weave_mtu"}
_PREFIXES: Final = {"calico": "calico_", "cilium": "cilium_", "kube-ovn": "kube_ovn_", "weave": "weave_"}
CALLED: Final = {"calico": "Calico", "cilium": "Cilium", "kube-ovn": "Kube-OVN", "weave": "Weave Net"}


class Variables(msgspec.Struct, frozen=True):
    """All variables of an inventory, and the file of each: of one that stands twice, the last file's counts."""

    values: Mapping[str, object]
    files: Mapping[str, Ref]
    refs: tuple[Ref, ...]

    def place(self, key: str) -> str:
        """Name where a variable stands, or would."""
        return f"{self.file(key)}, {key}"

    def file(self, key: str) -> Ref:
        """Return the file of a variable; of one that is nowhere, the one that is named after its network."""
        if key in self.files:
            return self.files[key]
        word = key.partition("_mtu")[0].replace("_", "-").removesuffix("-veth")
        named = [ref for ref in self.refs if word in ref.name.rpartition("/")[2]]
        same = [ref for other, ref in self.files.items() if other.startswith(key.partition("_")[0])]
        return (*named, *same, *self.refs)[0]


def read(snapshot: Snapshot) -> cni_state.CniState | None:
    """Describe the pod network of an inventory; None without one, or where it is none of those with an MTU."""
    variables = _variables(snapshot)
    if variables is None:
        return None
    out: list[Finding] = []
    plugin = _plugin(variables)
    if plugin == "calico":
        state = _calico(variables, out)
    elif plugin == "cilium":
        state = _cilium(variables, out)
    elif plugin == "kube-ovn":
        state = _kube_ovn(variables, out)
    elif plugin == "weave":
        state = _weave(variables, out)
    elif plugin in NO_KEY:
        state = _without_key(plugin, variables)
    else:
        return None
    out += _strays(plugin, variables)
    return msgspec.structs.replace(state, findings=tuple(out))


def hint(snapshot: Snapshot) -> str:
    """Say of an inventory whose network is not judged which it asks for; empty where there is none."""
    variables = _variables(snapshot)
    if variables is None:
        return ""
    said = variables.values.get(PLUGIN)
    if said == TEMPLATE:
        return f"{variables.place(PLUGIN)} is an expression of Jinja: give the file that it comes from."
    return f"{variables.place(PLUGIN)} is {said!r:.40}, of which kubespray's variables hold no MTU."


def _variables(snapshot: Snapshot) -> Variables | None:
    refs = [(reading.ref(each, "files"), each) for each in snapshot.each(KUBESPRAY) if each.of_file]
    refs.sort(key=lambda one: "all" not in one[0].name.split("/"))  # all/ comes first, the others as they were read
    values: dict[str, object] = {}
    files: dict[str, Ref] = {}
    for ref, each in refs:
        for key, value in each.body.items():
            if key not in {"apiVersion", "kind", "metadata"} and value is not None:
                values[key], files[key] = value, ref
    return Variables(values, files, tuple(ref for ref, _ in refs)) if refs else None


def _plugin(variables: Variables) -> str:
    said = variables.values.get(PLUGIN)
    if isinstance(said, str):
        return said
    speaking = [plugin for plugin, prefix in _PREFIXES.items() if any(map(prefix.__eq__, _prefixes(variables, prefix)))]
    return speaking[0] if len(speaking) == 1 else DEFAULT_PLUGIN


def _prefixes(variables: Variables, prefix: str) -> Iterator[str]:
    return (prefix for key in variables.values if key.startswith(prefix))


def _mtu(variables: Variables, key: str, out: list[Finding], *, text: bool = True) -> int | None:
    """Read an MTU, which YAML may hold as a number or as text; an expression of Jinja is not known, which is said."""
    held = variables.values.get(key)
    place = variables.place(key)
    if held == TEMPLATE:
        out.append(
            codes.finding(
                codes.MTU117,
                place,
                "The value is an expression of Jinja, and what it becomes is not known here.",
                "Give the file that it comes from, or the cluster's own objects.",
            )
        )
        return None
    if text and isinstance(held, str):
        return reading.mtu(held, out, place)
    return reading.member({key: held}, key, out, str(variables.file(key)))


def _key(variables: Variables, key: str, *, adds: int = 0, text: bool = False) -> NumberKey:
    held = variables.values.get(key)
    before = held if isinstance(held, int | str) and not isinstance(held, bool) else None
    return NumberKey(ref=variables.file(key), path=(key,), before=before, adds=adds, text=text)


def _number(variables: Variables, key: str, value: int | None, *, subtracts: int | None = None) -> cni_state.MtuKey:
    ref = variables.file(key)
    if subtracts is None:
        return cni_state.MtuKey(ref=ref, path=(key,), means="pod", value=value)
    return cni_state.MtuKey(ref=ref, path=(key,), means="base", value=value, subtracts=subtracts)


def _state(
    plugin: str,
    around: tuple[encap.Encapsulation, ...],
    name: str,
    *,
    pod_mtu: int | None,
    keys: tuple[NumberKey, ...],
    mtu_keys: tuple[cni_state.MtuKey, ...],
    subtracts: int | None = None,
    known: bool = True,
    refused: str = "",
    source: str = "",
) -> cni_state.CniState:
    called = CALLED.get(plugin, plugin)
    parsed = SpecificationParsed(
        tool="kubespray", network=called, keys=keys, mtu=pod_mtu, refused=refused, note=NOTE if not refused else ""
    )
    return cni_state.CniState(
        name="",  # the caller's
        variant=f"kubespray, {called}",
        encapsulation=around,
        encapsulation_known=known,
        encapsulation_name=name if known else "unknown",
        pod_mtu=pod_mtu,
        subtracts=subtracts if pod_mtu is None and known else None,
        mtu_keys=mtu_keys,
        source=source,
        parsed=parsed,
    )


def _calico(variables: Variables, out: list[Finding]) -> cni_state.CniState:
    values = variables.values
    modes = {key: values.get(key, default) for key, default in (("ipip", "Never"), ("vxlan", "Always"))}
    modes = {key: values.get(f"calico_{key}_mode", default) for key, default in modes.items()}
    wireguard = values.get("calico_wireguard_enabled") is True
    unknown = TEMPLATE in {*modes.values(), values.get("calico_wireguard_enabled")}
    on = [kind for kind, mode in modes.items() if mode != "Never"]
    if values.get("calico_ipip_mode", "Never") != "Never" and "calico_vxlan_mode" not in values:
        on = ["ipip"]  # before v2.20 that was the default, and VXLAN was off
    name = "wireguard" if wireguard else "vxlan" if "vxlan" in on else "ipip" if on else "none"
    around = (encap.parse(name),) if name != "none" and not unknown else ()
    held, veth = values.get("calico_mtu"), values.get("calico_veth_mtu")
    if held is not None and isinstance(held, str) and held != TEMPLATE:
        out.append(_as_text(variables, held))
        pods = None
    else:
        pods = _mtu(variables, "calico_mtu", out, text=False)
    tunnels = _mtu(variables, "calico_veth_mtu", out)
    if veth is not None and held is None:
        out.append(
            codes.finding(
                codes.MTU111,
                variables.place("calico_veth_mtu"),
                "kubespray looks at calico_veth_mtu only where calico_mtu is given, and gives it to the tunnels alone:"
                " pods get calico_mtu (kubernetes-sigs/kubespray: roles/network_plugin/calico/templates).",
                "Write the pods' MTU into calico_mtu; calico_veth_mtu is not needed then.",
            )
        )
        tunnels = None
    keys = [_key(variables, "calico_mtu")]
    if pods is not None and tunnels is not None and tunnels != pods:
        keys.append(_key(variables, "calico_veth_mtu", text=True))
        if tunnels < pods and name != "none":
            out.append(
                codes.finding(
                    codes.MTU119,
                    variables.place("calico_mtu"),
                    f"Pods get calico_mtu, {pods}, and the tunnel between the nodes calico_veth_mtu, {tunnels}: packets"
                    f" of {tunnels + 1}-{pods} bytes do not fit.",
                    "Write the same number into both: the NICs' MTU less the headers.",
                )
            )
    return _state(
        "calico",
        around,
        name,
        pod_mtu=pods,
        known=not unknown,
        subtracts=max((one.cost for one in around), default=0) if held is None else None,
        keys=tuple(keys),
        mtu_keys=(_number(variables, "calico_mtu", pods),),
        refused="calico_mtu is an expression of Jinja: change what it comes from" if held == TEMPLATE else "",
    )


def _as_text(variables: Variables, held: str) -> Finding:
    return codes.finding(
        codes.MTU112,
        variables.place("calico_mtu"),
        f"{held!r:.40} is text, and kubespray puts only a number into the CNI configuration: the tunnels get it, and"
        " pods what the plugin decides.",
        "Write the number without quotes.",
    )


def _cilium(variables: Variables, out: list[Finding]) -> cni_state.CniState:
    base = _mtu(variables, "cilium_mtu", out)
    mode = variables.values.get("cilium_tunnel_mode", "vxlan")
    encrypted = variables.values.get("cilium_encryption_enabled", False)
    name = mode if mode in {"vxlan", "geneve"} else "none"
    known = encrypted is False and (name != "none" or mode == "disabled")
    around = (encap.parse(str(name)),) if known and name != "none" else ()
    taken = max((one.cost for one in around), default=0)
    refused = "" if known else "what Cilium takes off here goes by its version and its encryption: plan in the cluster"
    if variables.values.get("cilium_mtu") == TEMPLATE:
        refused = "cilium_mtu is an expression of Jinja: change what it comes from"
    return _state(
        "cilium",
        around,
        str(name),
        pod_mtu=base - taken if base is not None and known else None,
        known=known,
        subtracts=taken,
        keys=(_key(variables, "cilium_mtu", adds=taken, text=True),),
        mtu_keys=(_number(variables, "cilium_mtu", base, subtracts=taken),),
        refused=refused,
    )


def _kube_ovn(variables: Variables, out: list[Finding]) -> cni_state.CniState:
    mtu = _mtu(variables, "kube_ovn_mtu", out)
    on_vlan = variables.values.get("kube_ovn_network_type", "geneve") == "vlan"
    kind = variables.values.get("kube_ovn_tunnel_type", "geneve")
    known = on_vlan or kind in {"geneve", "vxlan", "stt"}
    name = "none (VLAN)" if on_vlan else str(kind)
    around = (encap.parse(str(kind)),) if known and not on_vlan else ()
    return _state(
        "kube-ovn",
        around,
        name,
        pod_mtu=mtu,
        known=known,
        keys=(_key(variables, "kube_ovn_mtu", text=True),),
        mtu_keys=(_number(variables, "kube_ovn_mtu", mtu),),
        refused="kube_ovn_mtu is an expression of Jinja: change what it comes from"
        if variables.values.get("kube_ovn_mtu") == TEMPLATE
        else "",
    )


def _weave(variables: Variables, out: list[Finding]) -> cni_state.CniState:
    said = variables.values.get("weave_mtu")
    mtu = _mtu(variables, "weave_mtu", out)
    encrypted = variables.values.get("weave_password") is True
    return _state(
        "weave",
        (encap.parse("esp-transport+vxlan"),) if encrypted else (encap.parse("vxlan"),),
        "vxlan, encrypted" if encrypted else "vxlan",
        pod_mtu=mtu or (WEAVE_DEFAULT if said != TEMPLATE else None),
        keys=(_key(variables, "weave_mtu", text=True),),
        mtu_keys=(_number(variables, "weave_mtu", mtu),),
        refused="weave_mtu is an expression of Jinja: change what it comes from" if said == TEMPLATE else "",
    )


def _without_key(plugin: str, variables: Variables) -> cni_state.CniState:
    kind = variables.values.get("flannel_backend_type", "vxlan") if plugin == "flannel" else "host-gw"
    backend = netconf.backend(kind)
    known = plugin == "flannel" and backend is not None and backend.encapsulation != ""
    name = backend.encapsulation if backend is not None and known else "none"
    return _state(
        plugin,
        (encap.parse(name),) if known and name != "none" else (),
        name,
        pod_mtu=None,
        known=known,
        subtracts=backend.subtracts if backend is not None and known else None,
        keys=(),
        mtu_keys=(),
        refused=NO_KEY[plugin],
        source=f"the NICs of the nodes ({NO_KEY[plugin].partition(':')[0]})",
    )


def _strays(plugin: str, variables: Variables) -> Iterator[Finding]:
    """Name variables that speak of this network's MTU and that no template of kubespray has."""
    prefix = _PREFIXES.get(plugin, f"{plugin.replace('-', '_')}_")
    read = _READ.get(plugin, frozenset())
    for key in variables.values:
        if key.startswith(prefix) and key.endswith("_mtu") and key not in read:
            right = _VARIABLE.get(plugin)
            if right is not None:
                yield reading.stray(variables.place(key), key, right)
            else:
                yield codes.finding(
                    codes.MTU111,
                    variables.place(key),
                    f"No template of kubespray has {key}: {NO_KEY[plugin]}.",
                    "Take it away; another MTU is given by the NICs.",
                )
