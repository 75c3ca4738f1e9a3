"""What lies on a node and decides the MTU of its next pod: the conflist, flannel's subnet.env, Calico's mtu file."""

import json
import re

import msgspec

from kubemtu.core import net
from kubemtu.core.disclosure import files

SUBNET_ENV = "/run/flannel/subnet.env"
CALICO_MTU = "/var/lib/calico/mtu"
KERNEL_DEFAULT = 1500  # drivers/net/veth.c leaves ether_setup's ETH_DATA_LEN when nobody gives an MTU

FLANNEL_MTU = re.compile(r'^\s*FLANNEL_MTU="?([0-9]+)"?\s*$', re.MULTILINE)
DIGITS = re.compile(r"[0-9]{1,6}")  # int() takes those of any script, and a plus sign
STRING_OR_PLACEHOLDER = re.compile(r'"(?:[^"\\]|\\.)*"|__[A-Z0-9_]+?__')


class Rendered(msgspec.Struct, frozen=True, kw_only=True):
    """The conflist of one node, and what a pod gets that is created now.

    `literal` is the number in the conflist itself, `gives` what results, in bytes of the pod's IP packet; `by` is the
    file that decided it. `plugins` are the parsed members of the list, None when the text is not a CNI configuration.
    """

    path: str
    text: str
    modified: float
    plugins: tuple[dict[str, object], ...] | None
    literal: int | None = None
    gives: int | None = None
    by: str = ""
    refused: str = ""  # an MTU that is no integer, as it stands there: the plugin refuses the whole file


def of(seen: net.NodeObservation, path: str | None) -> Rendered | None:
    """Read the conflist at `path`, or, where that is absent, the one that the kubelet would take; None: none seen."""
    file = seen.file(path) if path else None
    if file is None:
        # containerd and CRI-O take the first by name (containernetworking/cni: libcni/conf.go ConfFiles, sorted).
        found = sorted(
            (file for file in seen.files if file.path.startswith(files.CNI_FOLDER)),
            key=lambda candidate: candidate.path,
        )
        file = next((one for one in found if one.path.endswith((".conflist", ".conf", ".json"))), None)
    if file is None:
        return _by_flannel(seen) if path is not None and path.endswith("flannel.conflist") else None
    plugins = plugins_of(file.text)
    if plugins is None:
        return Rendered(path=file.path, text=file.text, modified=file.modified, plugins=None)
    member = mtu_member(plugins)
    if member is not None and (not isinstance(member, int) or isinstance(member, bool)):
        return Rendered(
            path=file.path, text=file.text, modified=file.modified, plugins=plugins, refused=json.dumps(member)
        )
    literal = member if isinstance(member, int) else None
    gives, by = _gives(seen, plugins, literal, file.path)
    return Rendered(
        path=file.path,
        text=file.text,
        modified=file.modified,
        plugins=plugins,
        literal=literal,
        gives=gives,
        by=by,
    )


def _by_flannel(seen: net.NodeObservation) -> Rendered | None:
    """What subnet.env says where only files of a node were saved, and its conflist was not among them."""
    file, gives = seen.file(SUBNET_ENV), subnet_mtu(seen)
    if file is None or gives is None or seen.links:
        return None
    return Rendered(path=file.path, text=file.text, modified=file.modified, plugins=(), gives=gives, by=SUBNET_ENV)


def plugins_of(text: str) -> tuple[dict[str, object], ...] | None:
    """The plugins of a conflist (or the one of a .conf), bare placeholders read as 0; None: it is no such thing."""
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


def mtu_member(plugins: tuple[dict[str, object], ...]) -> object:
    """What the conflist gives the pod network's plugin as MTU; 0 and absent, both "decide yourself", are None."""
    main = plugins[0]
    delegate = main.get("delegate")
    place = delegate if main.get("type") == "flannel" and isinstance(delegate, dict) else main
    return place.get("mtu") or None


def subnet_mtu(seen: net.NodeObservation) -> int | None:
    """FLANNEL_MTU of /run/flannel/subnet.env, which flanneld writes when it starts."""
    file = seen.file(SUBNET_ENV)
    read = FLANNEL_MTU.search(file.text) if file is not None else None
    return int(read[1]) if read is not None else None


def _gives(
    seen: net.NodeObservation, plugins: tuple[dict[str, object], ...], literal: int | None, path: str
) -> tuple[int | None, str]:
    if literal is not None:
        return literal, path
    kind = plugins[0].get("type")
    if kind == "flannel":
        found = subnet_mtu(seen)
        return (found, SUBNET_ENV) if found else (None, "")
    if kind == "calico":
        file = seen.file(CALICO_MTU)
        if file is not None:
            return (int(file.text), CALICO_MTU) if DIGITS.fullmatch(file.text.strip()) else (None, "")
        # Without the file the veth stays as the kernel made it (projectcalico/calico: cni-plugin/pkg/plugin).
        return KERNEL_DEFAULT, "the kernel's default"
    return None, ""


def filled(text: str, value: str) -> str:
    """Put a value where a placeholder stands bare; what stands in a string stays."""
    return STRING_OR_PLACEHOLDER.sub(lambda found: found[0] if found[0].startswith('"') else value, text)
