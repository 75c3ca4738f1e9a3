"""The programs in the images of played containers, for those who execute commands there; what is missing, too.

A container of an image that is known here has the image's programs (the machine's, or busybox by that name), the
machine's libraries, and of its node only what its volumes show. Sources: flannel-io/flannel `images/Dockerfile`
(Alpine with iproute2), projectcalico/calico `node/Dockerfile.amd64` (UBI), kubernetes/release
`images/build/distroless-iptables` (kube-proxy's: dash and seven programs, no ls and no ip), prometheus/node_exporter
`Dockerfile` (busybox), kube-vip `Dockerfile` (nothing but its own program).
"""

import re
import shutil
from collections.abc import Mapping
from typing import Literal

import msgspec

from kubemtu.core.objects import Object

Kind = Literal["alpine", "ubi", "busybox", "distroless", "scratch"]
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_APPLETS = (
    *("cat", "ls", "sh", "echo", "grep", "head", "tail", "wc", "sleep", "readlink", "find", "printf", "id", "uname"),
    *("sort", "tr", "cut", "sed", "awk", "env", "hostname", "dd", "seq", "yes", "true", "false", "kill", "ps", "tee"),
    *("stat", "test", "[", "xargs", "tar", "date", "basename", "dirname", "mount", "df", "du", "uniq", "md5sum"),
)
_NET_APPLETS = ("ip", "ifconfig", "route", "netstat", "ping")
_PROXYS = ("cat", "chmod", "grep", "ln", "rm", "sleep", "wc")
_KINDS: Mapping[str, Kind] = {
    "flannel": "alpine",
    "coreos-flannel": "alpine",
    "calico-node": "ubi",
    "node": "ubi",  # calico/node
    "calico-cni": "scratch",
    "cni": "scratch",  # calico/cni, but see _OF_OLD
    "kube-proxy": "distroless",
    "node-exporter": "busybox",
    "kube-vip": "scratch",
}
"""By the last part of an image's name, without its tag."""
_OF_OLD: Mapping[str, tuple[tuple[int, int], Kind]] = {
    "calico-cni": ((3, 17), "busybox"),
    "cni": ((3, 17), "busybox"),
    "calico-node": ((3, 9), "alpine"),
    "node": ((3, 9), "alpine"),
}
"""What an image was like before a version: Calico's were made from Alpine, and calico/cni was a shell script."""


class Tools(msgspec.Struct, frozen=True):
    """The programs of an image: `files` of the machine by their path in the image, `links` to them by theirs."""

    files: Mapping[str, str] = {}
    links: Mapping[str, str] = {}


def kind_of(container: Object, chosen: Mapping[str, Kind]) -> Kind | None:
    """Return what an image is like; None for one that is not known. `chosen` says otherwise, by container."""
    image, _, tag = (container.text("image") or "").partition("@")[0].rpartition("/")[2].partition(":")
    if (name := container.text("name") or "") in chosen:
        return chosen[name]
    before, kind = _OF_OLD.get(image, ((0, 0), None))
    version = re.match(r"v?(\d+)\.(\d+)", tag)
    if version and (int(version[1]), int(version[2])) < before:
        return kind
    return _KINDS.get(image)


def tools(kind: Kind) -> Tools:
    """Return the programs of such an image; those that this machine lacks are missing."""
    match kind:
        case "alpine":
            return _busybox(_APPLETS, own={"ip": "/sbin/ip"})
        case "busybox":
            return _busybox(_APPLETS + _NET_APPLETS)
        case "ubi":
            return Tools(_of_the_machine("/usr/bin", _APPLETS) | _of_the_machine("/usr/sbin", ("ip", "ifconfig")))
        case "distroless":
            return Tools(_of_the_machine("/bin", _PROXYS) | _of_the_machine("/bin", ("dash",)), {"/bin/sh": "dash"})
        case "scratch":
            return Tools()


def _of_the_machine(folder: str, names: tuple[str, ...]) -> dict[str, str]:
    places = {name: shutil.which(name, path=f"/usr/bin:/bin:{PATH}") for name in names}
    return {f"{folder}/{name}": place for name, place in places.items() if place}


def _busybox(applets: tuple[str, ...], own: Mapping[str, str] | None = None) -> Tools:
    """Return busybox with these applets, but where `own` names a path for a program of the machine's."""
    files = {path: found for name, path in (own or {}).items() if (found := shutil.which(name, path=PATH))}
    busybox = shutil.which("busybox", path=PATH)
    if busybox is None:
        return Tools(files | _of_the_machine("/bin", tuple(each for each in applets if each not in _NET_APPLETS)))
    return Tools(files | {"/bin/busybox": busybox}, {f"/bin/{name}": "busybox" for name in applets})
