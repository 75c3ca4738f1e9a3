"""Calico's install-cni and its ConfigMap: `cni_network_config`, and `veth_mtu`, which fills a placeholder in it.

Canal and Calico by manifest both work like this. The placeholder is filled from the variable CNI_MTU of the container
install-cni, which upstream's and Rancher's manifests take from the key veth_mtu.
"""

from typing import Literal

import msgspec

from kubemtu.cni.objects import conflist, daemonset, environment, reading
from kubemtu.core import codes
from kubemtu.core.change.plan import EditValue
from kubemtu.core.cluster import cni_state
from kubemtu.core.codes import Finding
from kubemtu.core.errors import Malformed, UsageError
from kubemtu.core.objects import Object, Ref
from kubemtu.core.snapshot import Snapshot
from kubemtu.core.text import json_edit

CONFIG = "cni_network_config"
VETH = "veth_mtu"
UNSET = "1500"  # what install-cni takes where CNI_MTU is not set: cni-plugin/pkg/install/install.go

Source = Literal["veth_mtu", "another variable", "nothing"]


class InstallerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What the ConfigMap says about the pods' MTU.

    `mtu` in bytes, None for absent or automatic; `filled` is the text that replaces the placeholder. `source` says
    what install-cni fills it from: the key veth_mtu, a variable that is something else, or nothing: then it takes 1500.
    """

    template: conflist.Template | None = None
    veth: str | None = None
    filled: str | None = None
    mtu: int | None = None
    source: Source = "veth_mtu"

    @property
    def placeholder(self) -> bool:
        """True when install-cni fills the MTU in."""
        return self.template is not None and self.template.placeholder

    @property
    def by_veth(self) -> bool:
        """True when veth_mtu is what decides."""
        return self.placeholder and self.source == "veth_mtu"

    @property
    def automatic(self) -> bool:
        """True when install-cni can render the configuration, and it leaves the MTU to Calico."""
        rendered = not self.placeholder or set((self.filled or "").strip()) == {"0"}
        return self.template is not None and self.template.usable and self.mtu is None and rendered


def read(config: Object, agent: Object | None, snapshot: Snapshot, out: list[Finding]) -> InstallerSettings:
    """Read the ConfigMap; what is broken goes to `out`."""
    veth = reading.value(config, out, "data", VETH)
    text = reading.value(config, out, "data", CONFIG)
    if text is None:
        return InstallerSettings(veth=veth)
    template = conflist.template(text, "calico", f"{config}, data.{CONFIG}", out)
    if not template.placeholder:
        return InstallerSettings(template=template, veth=veth, mtu=template.mtu)
    variable = reading.attempt(lambda: daemonset.variable(agent, "CNI_MTU"), None, out, str(agent))
    source, filled, where = _filled(config, agent, variable, veth, snapshot)
    if filled is not None and not filled.strip():
        out.append(
            codes.finding(
                codes.MTU122,
                where,
                'It is empty, so the CNI configuration becomes `"mtu": ,`, which is no JSON: install-cni aborts.',
                'Write the MTU as a quoted number, such as "1450".',
            )
        )
    return InstallerSettings(
        template=template, veth=veth, filled=filled, mtu=reading.mtu(filled, out, where, pasted=True), source=source
    )


def without_effect(config: Object, agent: Object | None, settings: InstallerSettings) -> list[Finding]:
    """Return MTU111 where veth_mtu is set and the pods' MTU comes from elsewhere."""
    place = f"{config}, data.{VETH}"
    literal = settings.template is not None and settings.template.usable and not settings.placeholder
    # "0", as upstream's calico-policy-only.yaml has it beside its literal, asks for nothing.
    if settings.veth is not None and literal and set(settings.veth.strip()) != {"0"}:
        fed = [each for each in environment.variables(agent, []) if each.key == VETH and each.config_map == config.name]
        tunnels = f" It sizes the tunnels alone ({', '.join(each.name for each in fed)})." if fed else ""
        now = "no MTU stands there" if settings.mtu is None else f"{settings.mtu} stands there"
        return [
            codes.finding(
                codes.MTU111,
                place,
                f"{VETH} is {settings.veth!r:.20} but has no effect on pods: {CONFIG} has no __CNI_MTU__, and {now}."
                f"{tunnels}",
                f"Change the integer in {CONFIG}, or put __CNI_MTU__ there, without quotes.",
            )
        ]
    if settings.placeholder and settings.source != "veth_mtu":
        filled = (
            "a variable CNI_MTU of another source"
            if settings.source == "another variable"
            else "nothing, and takes 1500"
        )
        return [
            codes.finding(
                codes.MTU111,
                place,
                f"{VETH} has no effect: install-cni of {agent} fills __CNI_MTU__ from {filled}.",
                f"Let the variable CNI_MTU of install-cni come from the key {VETH}.",
            )
        ]
    return []


def keys(config: Object, settings: InstallerSettings) -> tuple[cni_state.MtuKey, ...]:
    """Return where the pods' MTU is kept, the one in force first."""
    ref = reading.ref(config, "configmaps")
    out = []
    if settings.template is not None and not settings.placeholder:
        out.append(
            cni_state.MtuKey(
                ref=ref,
                path=("data", CONFIG),
                inside=settings.template.inside,
                means="pod",
                value=settings.mtu,
                effective=settings.template.usable,
            )
        )
    if settings.by_veth or settings.veth is not None:
        number = settings.mtu if settings.by_veth else reading.mtu(settings.veth, [], "")
        out.append(
            cni_state.MtuKey(ref=ref, path=("data", VETH), means="pod", value=number, effective=settings.by_veth)
        )
    return tuple(out)


def path(agent: Object | None, usual: str, snapshot: Snapshot, out: list[Finding]) -> str:
    """Return the file on the node that install-cni writes; `usual` is its name where no variable gives one."""
    place = str(agent)
    name = reading.attempt(lambda: daemonset.resolve(agent, "CNI_CONF_NAME", snapshot), None, out, place)
    folder = reading.attempt(lambda: daemonset.host_path(agent, "/host/etc/cni/net.d"), None, out, place)
    return f"{folder or '/etc/cni/net.d'}/{name or usual}"


def edits(config: Object, agent: Ref, settings: InstallerSettings, target: int) -> list[EditValue]:
    """Return the edit that gives new pods `target` bytes; none when it says so already.

    Raises UsageError when something else fills the MTU in, and Malformed when the text cannot be edited.
    """
    ref, out = reading.ref(config, "configmaps"), []
    if settings.template is not None and not settings.placeholder:
        before = settings.template.text
        after = json_edit.set_plugin_mtu(
            before, "calico", target, source=f"{config}, data.{CONFIG}", feeds=conflist.FEEDS
        )
        return edit(ref, ("data", CONFIG), before, after, f"new pods get {target}")
    if settings.source != "veth_mtu":
        raise UsageError(
            f"{agent} does not fill the MTU from {VETH}: let the variable CNI_MTU of its container install-cni come"
            f" from that key of {config}, then plan again."
        )
    if settings.template is not None and settings.template.quoted:
        before = settings.template.text
        after = conflist.unquoted(before, f"{config}, data.{CONFIG}")
        out += edit(ref, ("data", CONFIG), before, after, "the plugin takes a number only, and no text in quotes")
    held = config.get("data", VETH)
    return out + edit(
        ref, ("data", VETH), held if isinstance(held, str | int) else None, str(target), f"new pods get {target}"
    )


def edit(
    ref: Ref, where: tuple[str | int, ...], before: str | int | None, after: str | int, why: str
) -> list[EditValue]:
    """Return one edit, or none when nothing would change."""
    return [] if before == after else [EditValue(ref=ref, path=where, before=before, after=after, why=why)]


def rendered(snapshot: Snapshot, file_path: str | None) -> tuple[int | None, ...]:
    """Return the MTU that the CNI configuration of each node holds, where one was read; None: none, or broken."""
    files = [node.file(file_path) for node in snapshot.nodes] if file_path is not None else []
    return tuple(_number(file.text) for file in files if file is not None)


def _number(text: str) -> int | None:
    try:
        return json_edit.read_plugin_mtu(text, "calico").value
    except Malformed:
        return None


def _filled(
    config: Object, agent: Object | None, variable: daemonset.Variable | None, veth: str | None, snapshot: Snapshot
) -> tuple[Source, str | None, str]:
    """Return where the placeholder's value comes from, the value, and how to name its place."""
    here = f"{config}, data.{VETH}"
    if agent is None or (variable is not None and variable.key == VETH):
        return "veth_mtu", veth, here
    if variable is None:
        return "nothing", UNSET, here
    return "another variable", daemonset.resolve(agent, "CNI_MTU", snapshot), f"{agent}, variable CNI_MTU"
