"""Flannel's net-conf.json: the backend, the MTU it is given, and what flannel makes of both.

Two costs exist side by side. What the wire takes is `core.encap`'s. What flannel subtracts is its own constant, which
is 50 for VXLAN over IPv6 too, where the headers take 70 (flannel-io/flannel: pkg/backend/vxlan/vxlan_network.go).
"""

import json

import msgspec

from kubemtu.cni.objects import reading
from kubemtu.core import codes, encap
from kubemtu.core.codes import Finding
from kubemtu.core.encap import Encapsulation
from kubemtu.core.errors import Malformed
from kubemtu.core.text import json_edit, json_spans


class Backend(msgspec.Struct, frozen=True, kw_only=True):
    """What a backend type of flannel is: the encapsulation, what flannel subtracts, and the device it makes."""

    encapsulation: str
    subtracts: int  # bytes
    device: str | None = None
    device6: str | None = None  # that it makes for IPv6 beside it, or alone where the network has no IPv4
    takes_mtu: bool = False  # Backend.MTU is honoured, from flannel v0.21.3 (flannel#1736)


# flannel-io/flannel at cdf76059: pkg/backend/<type>.
BACKENDS: dict[str, Backend] = {
    "vxlan": Backend(
        encapsulation="vxlan", subtracts=50, device="flannel.{vni}", device6="flannel-v6.{vni}", takes_mtu=True
    ),
    "wireguard": Backend(encapsulation="wireguard", subtracts=80, device="flannel-wg", takes_mtu=True),
    "host-gw": Backend(encapsulation="none", subtracts=0),
    "udp": Backend(encapsulation="udp", subtracts=28, device="flannel0"),
    "ipip": Backend(encapsulation="ipip", subtracts=20, device="flannel.ipip"),
    "ipsec": Backend(encapsulation="esp-tunnel", subtracts=77),
    "alloc": Backend(encapsulation="none", subtracts=0),
    "tencent-vpc": Backend(encapsulation="none", subtracts=0),
    "ali-vpc": Backend(encapsulation="none", subtracts=0),  # these three until v0.20: routes of the cloud
    "aws-vpc": Backend(encapsulation="none", subtracts=0),
    "gce": Backend(encapsulation="none", subtracts=0),
    # Runs the commands that stand beside it, whatever they are (pkg/backend/extension/extension.go).
    "extension": Backend(encapsulation="", subtracts=0),
}


def backend(kind: object) -> Backend | None:
    """Return the backend of that name, as a file says it; None for what is no name of one."""
    return BACKENDS.get(kind) if isinstance(kind, str) else None


MTU_SINCE = (0, 21, 3)
UDP_ENCAP = 8  # what flannel's ipsec subtracts besides, with UDPEncap


class NetConf(msgspec.Struct, frozen=True, kw_only=True):
    """One net-conf.json, read. `base` is Backend.MTU: the underlay's MTU in bytes, from which flannel subtracts."""

    kind: str  # the backend's type as written
    backend: Backend | None  # None: a type that is not in the table
    base: int | None = None
    vni: int = 1
    ipv4: bool = True
    ipv6: bool = False
    udp_encap: bool = False
    direct: bool = False
    networks: tuple[str, ...] = ()

    @property
    def known(self) -> bool:
        """True when it is known what goes around a packet, or that nothing does."""
        return self.backend is not None and self.backend.encapsulation != ""

    @property
    def subtracts(self) -> int:
        """The bytes that flannel itself subtracts from the underlay's MTU."""
        cost = self.backend.subtracts if self.backend is not None else 0
        return cost + (UDP_ENCAP if self.udp_encap and self.kind == "ipsec" else 0)

    @property
    def device(self) -> str | None:
        """The name of the tunnel device, None where the backend makes none; of two that over IPv4."""
        if self.backend is None or not self.backend.device:
            return None
        alone = self.backend.device6 if self.ipv6 and not self.ipv4 else None
        return (alone or self.backend.device).format(vni=self.vni)

    @property
    def device6(self) -> str | None:
        """The name of the device for IPv6 beside that for IPv4, None where there are no two."""
        if self.backend is None or not self.backend.device6 or not (self.ipv4 and self.ipv6):
            return None
        return self.backend.device6.format(vni=self.vni)

    @property
    def encapsulations(self) -> tuple[Encapsulation, ...]:
        """What may be around a pod's packet, for each family of the underlay; empty when nothing is."""
        if self.backend is None or self.backend.encapsulation in {"", "none"}:
            return ()
        name = self.backend.encapsulation + (":natt" if self.kind == "ipsec" and self.udp_encap else "")
        families = (("ipv4",) if self.ipv4 else ()) + (("ipv6",) if self.ipv6 else ())
        if self.kind == "wireguard":
            families = ("ipv6",)  # flannel leaves 80 bytes, what IPv6 takes, on IPv4 too: its device bounds the path
        return tuple(encap.parse(name, outer=family) for family in families)

    @property
    def name(self) -> str:
        """The encapsulation as users say it."""
        if not self.known:
            return "unknown"
        if self.kind == "vxlan" and self.direct:
            return "vxlan (DirectRouting)"
        return self.kind if self.encapsulations else "none"


def read(text: str, place: str, out: list[Finding]) -> NetConf | None:
    """Read a net-conf.json; None when nothing can be read. What is broken goes to `out` (MTU112, MTU117, MTU122)."""
    try:
        json_spans.parse(text, source=place)
        members = _folded(json.loads(text))
        backend = _folded(members.get("backend"))
    except (Malformed, ValueError, RecursionError) as why:
        out.append(
            codes.finding(
                codes.MTU122,
                place,
                f"{why} Flannel exits on it.".replace("..", "."),
                "Correct the text there; compare it with the CNI's own manifest.",
            )
        )
        return None
    # Without a Backend flannel takes udp; a Backend without a Type is none (pkg/subnet/config.go).
    kind = _text(backend.get("type")) if "backend" in members else "udp"
    known = BACKENDS.get(kind.lower())
    if known is None:
        out.append(
            codes.finding(
                codes.MTU117,
                place,
                f"The backend {kind!r:.40} is none that kubemtu knows: what it subtracts is unknown.",
                f"Use one of {', '.join(BACKENDS)}.",
            )
        )
    elif not known.encapsulation:
        out.append(
            codes.finding(
                codes.MTU117,
                f"{place}, Backend.Type",
                f"The backend {kind} runs commands of its own: what they put around a packet cannot be read.",
                "Look at the commands and compute it with `kubemtu calc`, or measure it with `kubemtu probe`; then give"
                " the MTU with --mtu.",
            )
        )
    out += _strays(members, backend, place)
    vni = backend.get("vni")
    networks = tuple(cidr for key in ("network", "ipv6network") if (cidr := _text(members.get(key))))
    return NetConf(
        kind=kind.lower(),
        backend=known,
        base=base(text, place, out),
        vni=vni if isinstance(vni, int) and not isinstance(vni, bool) and vni > 0 else 1,
        ipv4=members.get("enableipv4") is not False,
        ipv6=members.get("enableipv6") is True,
        udp_encap=backend.get("udpencap") is True,
        direct=backend.get("directrouting") is True,
        networks=networks,
    )


def _strays(members: dict[str, object], backend: dict[str, object], place: str) -> list[Finding]:
    """Return MTU111 for each member that speaks of an MTU and is none of flannel's (pkg/subnet/config.go)."""
    found = [key for key in members if "mtu" in key]
    found += [f"Backend.{key}" for key in backend if "mtu" in key and key != "mtu"]
    return [reading.stray(f"{place}, {key}", key, "Backend.MTU, the underlay's") for key in found]


def base(text: str, place: str, out: list[Finding]) -> int | None:
    """Read Backend.MTU, in bytes of the underlay's packet; None for absent and 0. A wrong type is MTU112."""
    where = f"{place}, Backend.MTU"
    try:
        found = json_edit.read_member(text, ("Backend", "MTU"), fold=True, source=place)
    except Malformed as why:
        out.append(codes.finding(codes.MTU112, where, str(why), "Write one integer, such as 1500."))
        return None
    if found.kind == "integer" and found.value is not None:
        return reading.bounded(found.value, out, where)
    if found.kind != "absent" and found.raw != "null":
        out.append(
            codes.finding(
                codes.MTU112,
                where,
                f"The MTU is {found.raw}; flannel accepts only an integer and exits on anything else.",
                "Write the number without quotes.",
            )
        )
    return None


def _folded(found: object) -> dict[str, object]:
    """Return the members of an object by lower-case key, as Go's encoding/json matches them; {} for anything else."""
    return {str(key).lower(): held for key, held in found.items()} if isinstance(found, dict) else {}


def _text(found: object) -> str:
    return found if isinstance(found, str) else ""
