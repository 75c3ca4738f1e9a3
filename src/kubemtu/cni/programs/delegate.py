"""flannel's CNI configuration: `delegate.mtu` of the plugin of type flannel, which overrides FLANNEL_MTU."""

import msgspec

from kubemtu.core import codes, encap
from kubemtu.core.codes import Finding
from kubemtu.core.errors import Malformed
from kubemtu.core.text import json_edit, json_spans
from kubemtu.core.text.json_spans import JsonNode

PLUGIN = "flannel"


class Given(msgspec.Struct, frozen=True, kw_only=True):
    """The CNI configuration of flannel. `mtu` is delegate.mtu in bytes, None when absent or broken."""

    text: str
    inside: str
    mtu: int | None = None
    absent: bool = True
    usable: bool = True


def read(text: str, place: str, out: list[Finding]) -> Given | None:
    """Read the CNI configuration; None when it is no JSON or has no plugin of flannel (MTU122), wrong types MTU112."""
    try:
        index, plugin = _plugin(text, place)
        found = json_edit.read_member(text[plugin.start : plugin.end], ("delegate", "mtu"), fold=True, source=place)
    except Malformed as why:
        out.append(
            codes.finding(
                codes.MTU122, place, str(why), "Correct the text there; compare it with flannel's own manifest."
            )
        )
        return None
    inside = "delegate.mtu" if index is None else f"plugins[{index}].delegate.mtu"
    if found.kind == "absent" or found.raw == "null" or found.value == 0:
        return Given(text=text, inside=inside, absent=found.kind == "absent")
    if found.kind == "integer" and found.value is not None and 0 < found.value <= encap.LARGEST_MTU:
        return Given(text=text, inside=inside, mtu=found.value, absent=False)
    out.append(
        codes.finding(
            codes.MTU112,
            f"{place}, {inside}",
            f"The MTU is {found.raw}; the bridge plugin takes only an integer: no new pod can start.",
            "Write the number without quotes, or remove it.",
        )
    )
    return Given(text=text, inside=inside, absent=False, usable=False)


def write(text: str, mtu: int, place: str) -> str:
    """Return the text with `delegate.mtu` set to an integer, every other byte kept.

    Raises Malformed when the text is no such configuration, or the plugin has no delegate to put it into.
    """
    _, plugin = _plugin(text, place)
    held = text[plugin.start : plugin.end]
    written = json_edit.set_member(held, ("delegate", "mtu"), mtu, fold=True, source=place)
    return text[: plugin.start] + written + text[plugin.end :]


def _plugin(text: str, place: str) -> tuple[int | None, JsonNode]:
    """Return the only plugin of type flannel and its place in the list, None for a bare plugin."""
    found = json_edit.read_plugin_mtu(text, PLUGIN, source=place)  # says what is wrong, with line and column
    root = json_spans.parse(text, source=place)
    listed = next((member.value for member in root.members if member.key == "plugins"), None)
    return (None, root) if listed is None else (found.plugin, listed.items[found.plugin])
