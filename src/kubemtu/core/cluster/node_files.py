"""What lies on a node and decides the MTU of its next pod: the conflist, and the file that its plugin reads besides.

A runtime does not ask whose file it takes: of those in its folder that end in .conf, .conflist or .json it is the first
by name. containerd takes that one (containerd/go-cni: opts.go loadFromConfDir, up to max_conf_num, which is 1 unless
somebody changes it) and makes no pod while it is broken; CRI-O passes over what it cannot read (cri-o/ocicni:
pkg/ocicni/ocicni.go loadNetworks), and so does cri-dockerd. Where CRI-O has a cni_default_network, the name of the
network counts instead.
"""

import json
import re
from collections.abc import Iterable, Sequence

import msgspec

from kubemtu.core import net
from kubemtu.core.disclosure import files

KERNEL_DEFAULT = 1500  # drivers/net/veth.c leaves ether_setup's ETH_DATA_LEN when nobody gives an MTU
DIGITS = re.compile(r"[-+]?[0-9]{1,9}")
STRING_OR_PLACEHOLDER = re.compile(r'"(?:[^"\\]|\\.)*"|__[A-Z0-9_]+?__')


class PluginRule(msgspec.Struct, frozen=True, kw_only=True):
    """How one CNI plugin comes to the MTU of a new pod: what each CNI's module declares of the plugin that it runs.

    The member of the plugin's own configuration decides; where it is absent or 0, the first group that `line` finds in
    `file`; where there is no such file, `otherwise`, unless the member `waits` is true: then no pod starts. A plugin
    that makes no interface itself hands on to another, whose configuration it carries as a copy in the list `copies`,
    or which it finds by the file or the network that `names` holds.
    """

    plugin: str  # the `type` of the first plugin of the conflist
    member: tuple[str, ...] = ("mtu",)
    file: str = ""
    line: str = r"\A\s*([0-9]{1,6})\s*\Z"  # int() takes digits of any script, and a plus sign
    otherwise: int | None = None  # bytes
    otherwise_by: str = ""
    waits: str = ""
    written_by: str = ""  # the daemon that writes `file` anew at each start, so that it follows the configuration
    stands_for: str = ""  # how the name of a conflist ends that `file` stands for, where only files were saved
    copies: str = ""  # member that lists copies of whole configurations, of which the first makes the pod's interface
    names: str = ""  # member that names one instead, by its file or by its network; it goes before `copies`
    quoted: tuple[int, int, int] | None = None  # the member is text: its least, its most, and what all else stands for
    raised: bool = False  # but a number below the least, which stands for the least

    def number(self, member: object) -> object:
        """Return the MTU in bytes that the member stands for, or the member itself where the plugin refuses it."""
        if self.quoted is None or member is None:
            return member
        if not isinstance(member, str):
            return "no text"
        least, most, otherwise = self.quoted
        given = int(member) if DIGITS.fullmatch(member) else otherwise
        if self.raised and given < least:
            return least
        return given if least <= given <= most else otherwise

    def written(self, observation: net.NodeObservation) -> int | None:
        """Return the MTU in bytes that `file` of a node gives; None where it is absent or has none."""
        file = observation.file(self.file) if self.file else None
        return self.read(file.text) if file is not None else None

    def read(self, text: str) -> int | None:
        """Return the MTU in bytes that a text of `file` gives; None where it has none."""
        found = re.search(self.line, text, re.MULTILINE)
        return (int(found[1]) or None) if found is not None else None


class Taken(msgspec.Struct, frozen=True, kw_only=True):
    """The configuration that the runtime takes on one node, where it is not the CNI's own file.

    `plugin` is the type that it runs first, `runs` that of the plugin which makes the pod's interface: the same, unless
    the first hands on; None: it is not known, `names` being something that was not seen. `gives` in bytes, as of
    `Rendered`.
    """

    path: str
    plugin: str
    runs: str | None
    copied: bool = False  # what `runs` is told is a copy within this file
    names: str = ""  # the file or network that it goes by instead, and that was not seen
    valid: bool = True
    literal: int | None = None
    gives: int | None = None
    refused: str = ""


class Rendered(msgspec.Struct, frozen=True, kw_only=True):
    """The conflist of one node, and what a pod gets that is created now.

    `literal` is the number in the conflist itself; `gives` is what results, in bytes of the pod's IP packet, from the
    file that the runtime takes, and `by` is what decided it, `written_by` the daemon that writes that anew at each
    start. `plugins` are the parsed members of the list, None when the text is not a CNI configuration. `taken` is the
    file that the runtime takes in place of this one, and `own` what this one would give; None: this is the one. Where
    the CNI's own file is gone and a copy of it is left within another, this is the copy, and so is `taken`.
    """

    path: str
    text: str
    modified: float
    plugins: tuple[dict[str, object], ...] | None
    literal: int | None = None
    gives: int | None = None
    by: str = ""
    written_by: str = ""
    refused: str = ""  # an MTU of a type that the plugin refuses, with the whole file, as it stands there
    as_text: bool = False  # the plugin takes it as text only
    taken: Taken | None = None
    own: int | None = None


def of(
    observation: net.NodeObservation, path: str | None, rules: Iterable[PluginRule] = (), *, runtime: str = ""
) -> Rendered | None:
    """Read the conflist at `path`, and the file that the runtime takes in its place; None: none was seen.

    Where there is none at `path`, it is the one that the runtime takes. `runtime` as a Node's containerRuntimeVersion.
    """
    rules = tuple(rules)
    own = observation.file(path) if path else None
    listed = listing(observation, path)
    if not listed and not observation.links:  # saved files tell their names, and not always their folder
        listed = listing(observation, None)
    lenient = [one for one in listed if runtime and not runtime.startswith("containerd") and plugins_of(one.text)]
    first = next(iter(lenient or listed), None)
    if own is None:
        if first is None:
            return _alone(observation, path, rules) if path is not None else None
        theirs, taken = _rendered(observation, first, listed, rules)
        return msgspec.structs.replace(theirs, taken=taken, own=theirs.gives) if taken.copied else theirs
    mine, _ = _rendered(observation, own, listed, rules)
    if first is None or first.path == own.path:
        return mine
    theirs, taken = _rendered(observation, first, listed, rules)
    if theirs.path == own.path:
        return mine  # by way of a plugin that reads the very file
    return msgspec.structs.replace(
        mine, gives=theirs.gives, by=theirs.by, written_by=theirs.written_by, taken=taken, own=mine.gives
    )


def computed(found: Rendered | None, path: str | None, gives: int | None, by: str) -> Rendered | None:
    """Return what new pods get where a daemon decides it that writes no file: `gives`, unless a file says otherwise."""
    if gives is None or (found is not None and (found.gives is not None or found.refused)):
        return found
    if found is None:
        return Rendered(path=path or "", text="", modified=0, plugins=(), gives=gives, by=by)
    own = found.plugins[0].get("type") if found.plugins else None
    if found.taken is not None and found.taken.runs != own:
        return found  # another plugin makes the interface, whatever this daemon computes
    return msgspec.structs.replace(found, gives=gives, by=by)


def listing(observation: net.NodeObservation, path: str | None) -> list[net.NodeFile]:
    """Return the configurations in the folder of `path`, in the order in which runtimes look at them."""
    folder = path.rpartition("/")[0] + "/" if path else files.CNI_FOLDER
    found = (file for file in observation.files if file.path.startswith(folder) and file.path.endswith(files.SUFFIXES))
    return sorted((file for file in found if "/" not in file.path[len(folder) :]), key=lambda file: file.path)


def _rendered(
    observation: net.NodeObservation, file: net.NodeFile, listed: Sequence[net.NodeFile], rules: Sequence[PluginRule]
) -> tuple[Rendered, Taken]:
    """Read one file, and what the plugin in it hands on to."""
    taken = Taken(path=file.path, plugin="", runs=None, valid=False)
    nothing = Rendered(path=file.path, text=file.text, modified=file.modified, plugins=None)
    plugins = plugins_of(file.text)
    if plugins is None:
        return nothing, taken
    kind = plugins[0].get("type")
    if not isinstance(kind, str):
        return _made(observation, file, plugins, rules), taken
    handing = next((rule for rule in rules if rule.plugin == kind and (rule.copies or rule.names)), None)
    taken = msgspec.structs.replace(taken, plugin=kind, runs=kind, valid=True)
    if handing is not None:
        named = plugins[0].get(handing.names)
        copied = plugins[0].get(handing.copies)
        if isinstance(named, str) and named:
            other = _named(listed, named)
            if other is None or other.path == file.path:
                return nothing, msgspec.structs.replace(taken, runs=None, names=named[: files.LONGEST])
            file, plugins = other, plugins_of(other.text)
        else:
            text = _text(copied[0]) if isinstance(copied, list) and copied else ""
            file, plugins = msgspec.structs.replace(file, text=text), plugins_of(text)
            taken = msgspec.structs.replace(taken, copied=True)
        if plugins is None or not isinstance(plugins[0].get("type"), str):
            return nothing, msgspec.structs.replace(taken, runs=None, valid=False)
    made = _made(observation, file, plugins, rules)
    return made, msgspec.structs.replace(
        taken,
        runs=str(plugins[0].get("type", "")),
        literal=made.literal,
        gives=made.gives,
        refused=made.refused,
    )


def _text(held: object) -> str:
    """Return a part of a configuration as a text of its own; empty where it nests too deep for that."""
    try:
        return json.dumps(held)
    except RecursionError:
        return ""


def _named(listed: Sequence[net.NodeFile], name: str) -> net.NodeFile | None:
    """Return the configuration of that file, wherever its folder is mounted, or of the network of that name."""
    at_end = "/" + name.rpartition("/")[2]
    by_file = (file for file in listed if file.path.endswith(at_end))
    by_network = (file for file in listed if network(file.text) == name)
    return next(by_file, None) or next(by_network, None)


def _made(
    observation: net.NodeObservation,
    file: net.NodeFile,
    plugins: tuple[dict[str, object], ...],
    rules: Sequence[PluginRule],
) -> Rendered:
    rule = next((rule for rule in rules if rule.plugin == plugins[0].get("type")), PluginRule(plugin=""))
    made = Rendered(path=file.path, text=file.text, modified=file.modified, plugins=plugins)
    held = mtu_member(plugins[0], rule)
    member = rule.number(held)
    if member is not None and (not isinstance(member, int) or isinstance(member, bool)):
        return msgspec.structs.replace(made, refused=json.dumps(held), as_text=rule.quoted is not None)
    literal = member if isinstance(member, int) else None
    waits = bool(rule.waits) and plugins[0].get(rule.waits) is True
    gives, by = (literal, file.path) if literal is not None else _decided(observation, rule, waits=waits)
    return msgspec.structs.replace(
        made, literal=literal, gives=gives, by=by, written_by=rule.written_by if by == rule.file else ""
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
    whole = _whole(text)
    if whole is None:
        return None
    listed = whole.get("plugins", [whole] if "type" in whole else None)
    if not isinstance(listed, list) or not listed or not all(isinstance(plugin, dict) for plugin in listed):
        return None
    return tuple(listed)


def network(text: str) -> object:
    """Return the name of the network that a configuration makes; None where it has none."""
    return (_whole(text) or {}).get("name")


def _whole(text: str) -> dict[str, object] | None:
    try:
        whole: object = json.loads(filled(text, "0"))
    except (ValueError, RecursionError):
        return None
    return whole if isinstance(whole, dict) else None


def mtu_member(plugin: dict[str, object], rule: PluginRule) -> object:
    """Return what the conflist gives the plugin as MTU; 0 and absent, both "decide yourself", are None."""
    *way, last = rule.member
    place: object = plugin
    for key in way:
        place = place.get(key) if isinstance(place, dict) else None
    return (place if isinstance(place, dict) else plugin).get(last) or None


def _decided(observation: net.NodeObservation, rule: PluginRule, *, waits: bool = False) -> tuple[int | None, str]:
    """Return what decides where the plugin's own configuration does not, and its name."""
    if rule.file and observation.file(rule.file) is not None:
        found = rule.written(observation)
        return (found, rule.file) if found is not None else (None, "")
    return (rule.otherwise, rule.otherwise_by) if rule.otherwise is not None and not waits else (None, "")


def filled(text: str, value: str) -> str:
    """Put a value where a placeholder stands bare; what stands in a string stays."""
    return STRING_OR_PLACEHOLDER.sub(lambda found: found[0] if found[0].startswith('"') else value, text)
