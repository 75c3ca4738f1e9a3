"""The edits that change canal's MTU: one key, or one integer inside a text, and every other byte stays."""

from kubemtu.cni.canal import config, rke2
from kubemtu.cni.canal.config import NET_CONF, Canal, CanalParts
from kubemtu.cni.objects import chart, reading
from kubemtu.cni.programs import flanneld, installer
from kubemtu.core.change.plan import EditValue
from kubemtu.core.errors import UsageError
from kubemtu.core.text import json_edit, yaml_edit


def restored(parts: CanalParts, settings: installer.InstallerSettings) -> list[EditValue]:
    """Return the edits that put lost keys back whose usual value is empty. Raises UsageError for any other."""
    missing = config.missing_keys(parts, settings)
    missing.pop(installer.VETH, None)  # the edit of the MTU creates it
    unknown = [key for key in missing if key not in config.MAY_BE_EMPTY]
    if unknown:
        raise UsageError(
            f"{parts.config} lacks {', '.join(unknown)}, and {parts.daemonset} would not come back from a restart:"
            " put the key back first, from the CNI's own manifest."
        )
    return [
        EditValue(
            ref=reading.ref(parts.config, "configmaps"),
            path=("data", key),
            before=None,
            after="",
            why=f"the key was lost, and {parts.daemonset} cannot restart without it",
        )
        for key in missing
        if parts.config is not None
    ]


def base_edits(whole: Canal, target: int) -> list[EditValue]:
    """Return the edit of a Backend.MTU that is in force and gives the tunnel another MTU than the pods will have."""
    parts, conf = whole.parts, whole.conf
    text = parts.config.get("data", NET_CONF) if parts.config is not None else None
    if parts.config is None or not isinstance(text, str):
        return []
    place = f'{parts.config}, data["{NET_CONF}"]'
    if conf is None or conf.base is None or conf.base - conf.subtracts == target:
        return []
    if not flanneld.honours(conf, whole.agent):
        return []
    base = target + conf.subtracts
    after = json_edit.set_member(text, ("Backend", "MTU"), base, fold=True, source=place)
    why = f"flannel subtracts {conf.subtracts} and gives the tunnel {target}"
    return installer.edit(reading.ref(parts.config, "configmaps"), ("data", NET_CONF), text, after, why)


def chart_edits(whole: Canal, target: int, *, make: bool) -> list[EditValue]:
    """Return the edit of RKE2's values: the pods' MTU, and flannel's where one is set. Raises Malformed.

    With `make`, where nothing holds values yet, it is what makes the HelmChartConfig, with the pods' MTU alone.
    """
    parts, values = whole.parts, whole.values
    why = "RKE2 renders canal's ConfigMap from these values at every upgrade of the chart"
    if parts.chart is None:
        return chart.edits(whole.source, rke2.POD, target, why, make=make) if parts.is_rke2 else []
    before = parts.chart.text(*rke2.PATH) or ""
    source = f"{parts.chart}, spec.valuesContent"
    after = yaml_edit.set_value(before, rke2.POD, target, source=source)
    if values.base is not None:
        base = target + values.net_conf().subtracts
        after = yaml_edit.set_value(after, rke2.BASE, base, source=source)
    return installer.edit(reading.ref(parts.chart, "helmchartconfigs"), rke2.PATH, before, after, why)
