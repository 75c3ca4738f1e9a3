"""A chart that RKE2's server deploys, and the HelmChartConfig that holds its values, as YAML in a text.

What stands there is laid over the chart's own values, key by key, so that one that holds a single number changes
nothing else (k3s-io/helm-controller: pkg/controllers/chart/chart.go, valuesSecret; docs.rke2.io/helm).
"""

import msgspec
import yaml

from kubemtu.cni.objects import reading, strays
from kubemtu.core import codes, rights
from kubemtu.core.change.plan import EditValue
from kubemtu.core.codes import Finding
from kubemtu.core.objects import Object, Ref, Want
from kubemtu.core.snapshot import Snapshot
from kubemtu.core.text import yaml_edit

GROUP = "helm.cattle.io"
KIND, PLURAL = "HelmChartConfig", "helmchartconfigs"
NAMESPACE = "kube-system"  # where the charts of the server are; a HelmChartConfig counts beside its chart only
PATH = ("spec", "valuesContent")
RELEASE = "meta.helm.sh/release-name"


class Chart(msgspec.Struct, frozen=True, kw_only=True):
    """One chart of the server by its name, and its HelmChartConfig: None where there is none.

    `hidden` is True where it could not be looked for, so that None does not mean that there is none.
    """

    name: str
    held: Object | None = None
    hidden: bool = False

    @property
    def ref(self) -> Ref:
        """The address of the HelmChartConfig, also where it is not there yet."""
        if self.held is not None:
            return reading.ref(self.held, PLURAL)
        return Ref(api_version=f"{GROUP}/v1", kind=KIND, plural=PLURAL, name=self.name, namespace=NAMESPACE)


def want(name: str) -> Want:
    """Return what must be read to know the values of a chart."""
    return Want(kind=KIND, plural=PLURAL, api_versions=(f"{GROUP}/v1",), namespace=NAMESPACE, name=name)


def right(*names: str) -> rights.Rule:
    """Return the right to change the values of these charts where a HelmChartConfig holds some."""
    return rights.patch(PLURAL, *names, group=GROUP)


def of(name: str, snapshot: Snapshot) -> Chart:
    """Return a chart as it was read."""
    held = snapshot.find(KIND, name, NAMESPACE)
    about = {str(want(name)), PLURAL}
    hidden = any(one.what in about and one.why not in {"absent", "not in the files"} for one in snapshot.unread)
    return Chart(name=name, held=held, hidden=held is None and hidden)


def releases(resource: Object | None, name: str) -> bool:
    """Say whether Helm has made an object for the release of that name."""
    return resource is not None and resource.get("metadata", "annotations", RELEASE) == name


def values(resource: Object, out: list[Finding]) -> object:
    """Read the values of a HelmChartConfig, parsed; what is broken goes to `out`, and reads as absent."""
    out += strays.misplaced(resource, *PATH)
    text = reading.value(resource, out, *PATH)
    try:
        read: object = yaml.safe_load(text or "")
    except (yaml.YAMLError, RecursionError, ValueError) as why:
        said = f"The values are no YAML ({' '.join(str(why).split()):.160}), so Helm cannot install them."
        out.append(codes.finding(codes.MTU117, place(resource), said, "Correct the text there."))
        return None
    return read


def place(resource: Object) -> str:
    """Name where the values stand, for a finding."""
    return f"{resource}, {'.'.join(PATH)}"


def at(values: object, path: tuple[str, ...]) -> object:
    """Return what stands in parsed values at a path of keys; None where nothing does."""
    for key in path:
        if not isinstance(values, dict):
            return None
        values = values.get(key)
    return values


def mtu(
    values: object, path: tuple[str, ...], resource: Object, out: list[Finding], *, pasted: bool = False
) -> int | None:
    """Return an MTU of parsed values, in bytes; what is none goes to `out` as MTU112. `pasted` as in `reading.mtu`."""
    held = at(values, path)
    where = f"{place(resource)}, {'.'.join(path)}"
    if isinstance(held, int) and not isinstance(held, bool):
        return reading.bounded(held, out, where)
    if held is None or isinstance(held, str):  # Helm renders a quoted number and a bare one alike
        return reading.mtu(held, out, where, pasted=pasted)
    out.append(codes.finding(codes.MTU112, where, f"{held!r:.40} is not a number of bytes.", "Write one integer."))
    return None


def edits(chart: Chart, path: tuple[str, ...], number: int, why: str, *, make: bool) -> list[EditValue]:
    """Return the edit of a chart's values that sets one number, or, with `make`, the HelmChartConfig with it alone.

    Raises Malformed when the values cannot be edited.
    """
    source = f"{chart.ref}, {'.'.join(PATH)}"
    if chart.held is None:
        if chart.hidden or not make:
            return []
        text = yaml_edit.set_value("", path, number, source=source)
        why = f"{why}; there is none yet, and it holds nothing else"
        return [EditValue(ref=chart.ref, path=PATH, before=None, after=text, why=why, creates=True)]
    before = chart.held.text(*PATH)
    after = yaml_edit.set_value(before or "", path, number, source=source)
    return [EditValue(ref=chart.ref, path=PATH, before=before, after=after, why=why)] if before != after else []


def drift(chart: Chart, path: tuple[str, ...], place: str, live: int | None) -> Finding | None:
    """Return MTU113 where the values of a chart say another number than the live object, at "OBJECT, KEY"."""
    held = _number(chart.held, path)
    if held is None or live is None or held == live:
        return None
    key = place.rpartition(".")[2]
    return codes.finding(
        codes.MTU113,
        place,
        f"{key} is {live} and {chart.held} says {held}: the next upgrade of the chart makes it {held}.",
        f"Change {'.'.join(path)} of the HelmChartConfig to the MTU that is wanted.",
    )


def unwritten(chart: Chart, path: tuple[str, ...], place: str) -> Finding:
    """Return MTU113, a note: no HelmChartConfig holds an MTU, and the change of one makes it."""
    return codes.finding(
        codes.MTU113,
        place,
        "Helm writes this object, and no HelmChartConfig holds an MTU: a change made here alone lasts until the next"
        " upgrade of the chart.",
        f"Change it by `kubemtu apply`, which makes {chart.ref} with {'.'.join(path)} as well; or by hand from what"
        " `kubemtu plan -o helmchartconfig` prints.",
        "note",
    )


def _number(held: Object | None, path: tuple[str, ...]) -> int | None:
    text = held.get(*PATH) if held is not None else None
    try:
        values: object = yaml.safe_load(text) if isinstance(text, str) else None
    except (yaml.YAMLError, RecursionError, ValueError):
        return None  # the text is a finding of its own where it is read as a whole, and Helm installs nothing from it
    number = at(values, path)
    if isinstance(number, str) and reading.NUMBER.fullmatch(number):
        return int(number)
    return number if isinstance(number, int) and not isinstance(number, bool) else None
