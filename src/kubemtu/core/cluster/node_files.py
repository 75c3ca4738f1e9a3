"""What lies on a node and decides the MTU of its next pod: the conflist, and the file that its plugin reads besides."""

import json
import re
from collections.abc import Iterable

import msgspec

from kubemtu.core import net
from kubemtu.core.disclosure import files

KERNEL_DEFAULT = 1500  # drivers/net/veth.c leaves ether_setup's ETH_DATA_LEN when nobody gives an MTU
STRING_OR_PLACEHOLDER = re.compile(r'"(?:[^"\\]|\\.)*"|__[A-Z0-9_]+?__')


class PluginRule(msgspec.Struct, frozen=True, kw_only=True):
    """How one CNI plugin comes to the MTU of a new pod: what each CNI's module declares of the plugin that it runs.

    The member of the plugin's own configuration decides; where it is absent or 0, the first group that `line` finds in
    `file`; where there is no such file, `otherwise`.
    """

    plugin: str  # the `type` of the first plugin of the conflist
    member: tuple[str, ...] = ("mtu",)
    file: str = ""
    line: str = r"\A\s*([0-9]{1,6})\s*\Z"  # int() takes digits of any script, and a plus sign
    otherwise: int | None = None  # bytes
    otherwise_by: str = ""
    written_by: str = ""  # the daemon that writes `file` anew at each start, so that it follows the configuration
    stands_for: str = ""  # how the name of a conflist ends that `file` stands for, where only files were saved

    def written(self, observation: net.NodeObservation) -> int | None:
        """Return the MTU in bytes that `file` of a node gives; None where it is absent or has none."""
        file = observation.file(self.file) if self.file else None
        return self.read(file.text) if file is not None else None

    def read(self, text: str) -> int | None:
        """Return the MTU in bytes that a text of `file` gives; None where it has none."""
        found = re.search(self.line, text, re.MULTILINE)
        return (int(found[1]) or None) if found is not None else None


class Rendered(msgspec.Struct, frozen=True, kw_only=True):
    """The conflist of one node, and what a pod gets that is created now.

    `literal` is the number in the conflist itself, `gives` what results, in bytes of the pod's IP packet; `by` is the
    file that decided it, and `written_by` the daemon that writes that file anew at each start. `plugins` are the parsed
    members of the list, None when the text is not a CNI configuration.
    """

    path: str
    text: str
    modified: float
    plugins: tuple[dict[str, object], ...] | None
    literal: int | None = None
    gives: int | None = None
    by: str = ""
    written_by: str = ""
    refused: str = ""  # an MTU that is no integer, as it stands there: the plugin refuses the whole file


def of(observation: net.NodeObservation, path: str | None, rules: Iterable[PluginRule] = ()) -> Rendered | None:
    """Read the conflist at `path`, or, where that is absent, the one that the kubelet would take; None: none seen."""
    rules = tuple(rules)
    file = observation.file(path) if path else None
    if file is None:
        # containerd and CRI-O take the first by name (containernetworking/cni: libcni/conf.go ConfFiles, sorted).
        found = sorted(
            (file for file in observation.files if file.path.startswith(files.CNI_FOLDER)),
            key=lambda candidate: candidate.path,
        )
        file = next((one for one in found if one.path.endswith((".conflist", ".conf", ".json"))), None)
    if file is None:
        return _alone(observation, path, rules) if path is not None else None
    plugins = plugins_of(file.text)
    if plugins is None:
        return Rendered(path=file.path, text=file.text, modified=file.modified, plugins=None)
    rule = next((rule for rule in rules if rule.plugin == plugins[0].get("type")), PluginRule(plugin=""))
    member = mtu_member(plugins[0], rule)
    if member is not None and (not isinstance(member, int) or isinstance(member, bool)):
        return Rendered(
            path=file.path, text=file.text, modified=file.modified, plugins=plugins, refused=json.dumps(member)
        )
    literal = member if isinstance(member, int) else None
    gives, by = (literal, file.path) if literal is not None else _decided(observation, rule)
    return Rendered(
        path=file.path,
        text=file.text,
        modified=file.modified,
        plugins=plugins,
        literal=literal,
        gives=gives,
        by=by,
        written_by=rule.written_by if by == rule.file else "",
    )


def _alone(observation: net.NodeObservation, path: str, rules: Iterable[PluginRule]) -> Rendered | None:
    """Return what a plugin's file says where only files of a node were saved, and its conflist was not among them."""
    for rule in rules:
        if rule.stands_for and path.endswith(rule.stands_for) and not observation.links:
            file, gives = observation.file(rule.file), rule.written(observation)
            if file is not None and gives is not None:
                return Rendered(
                    path=file.path,
                    text=file.text,
                    modified=file.modified,
                    plugins=(),
                    gives=gives,
                    by=rule.file,
                    written_by=rule.written_by,
                )
    return None


def plugins_of(text: str) -> tuple[dict[str, object], ...] | None:
    """Return the plugins of a conflist (or that of a .conf), bare placeholders read as 0; None: it is no such thing."""
    try:
        whole: object = json.loads(filled(text, "0"))
    except (ValueError, RecursionError):
        return None
    if not isinstance(whole, dict):
        return None
    listed = whole.get("plugins", [whole] if "type" in whole else None)
    if not isinstance(listed, list) or not listed or not all(isinstance(plugin, dict) for plugin in listed):
        return None
    return tuple(listed)


def mtu_member(plugin: dict[str, object], rule: PluginRule) -> object:
    """Return what the conflist gives the plugin as MTU; 0 and absent, both "decide yourself", are None."""
    *way, last = rule.member
    place: object = plugin
    for key in way:
        place = place.get(key) if isinstance(place, dict) else None
    return (place if isinstance(place, dict) else plugin).get(last) or None


def _decided(observation: net.NodeObservation, rule: PluginRule) -> tuple[int | None, str]:
    """Return what decides where the plugin's own configuration does not, and its name."""
    if rule.file and observation.file(rule.file) is not None:
        found = rule.written(observation)
        return (found, rule.file) if found is not None else (None, "")
    return (rule.otherwise, rule.otherwise_by) if rule.otherwise is not None else (None, "")


def filled(text: str, value: str) -> str:
    """Put a value where a placeholder stands bare; what stands in a string stays."""
    return STRING_OR_PLACEHOLDER.sub(lambda found: found[0] if found[0].startswith('"') else value, text)
