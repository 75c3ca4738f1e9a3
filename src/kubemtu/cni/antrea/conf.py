"""Antrea's antrea-agent.conf: how pods' packets travel, and what each version takes off the NIC by itself.

Read in antrea-io/antrea: cmd/antrea-agent/options.go and pkg/agent/config/node_config.go at fc70f2bb, and at the tags
that are named here.
"""

import re

import msgspec

from kubemtu.cni.objects import reading
from kubemtu.cni.programs import ovs
from kubemtu.core import codes, encap
from kubemtu.core.codes import Finding
from kubemtu.core.encap import Encapsulation
from kubemtu.core.text import yaml_edit

Version = tuple[int, int, int]

NEWEST: Version = (999, 0, 0)  # where no image tag tells
FROM_NIC_SINCE: Version = (0, 9, 0)  # before, the number was a constant: cmd/antrea-agent/options.go of v0.8.0
GENEVE_SINCE: Version = (0, 8, 0)  # as default; vxlan before
ENCRYPTION_MODE_SINCE: Version = (1, 3, 0)  # before, enableIPSecTunnel
EXACT_SINCE: tuple[Version, ...] = ((1, 13, 4), (1, 14, 2), (1, 15, 0))  # antrea-io/antrea#5880, by branch
CONSTANTS = {"vxlan": 1450, "geneve": 1450, "gre": 1462, "stt": 1500}  # bytes, before FROM_NIC_SINCE
ESP = 38  # bytes: IPSecESPOverhead
IPV6 = 20
KEY = ("defaultMTU",)
COMMENT = re.compile(rf"^#\s*{KEY[0]}:.*\n", re.MULTILINE)
MODES = ("encap", "noEncap", "hybrid", "networkPolicyOnly")
TUNNELS = {"vxlan": "vxlan", "geneve": "geneve", "gre": "gretap:key", "stt": "stt"}
"""What each tunnelType sends: the port that serves all peers has `key=flow`, which GRE carries in 4 bytes."""


class AgentConf(msgspec.Struct, frozen=True, kw_only=True):
    """One antrea-agent.conf, read. `mtu` is defaultMTU in bytes: the pods' own, None for automatic."""

    mtu: int | None = None
    mode: str = "encap"
    tunnel: str = "geneve"
    encryption: str = "none"
    gateway: bool = False  # of Multi-cluster: packets to other clusters go through the tunnel in every mode
    gateway_encrypts: bool = False
    nic: str = ""
    host_gateway: str = "antrea-gw0"
    known: bool = True
    version: Version = NEWEST

    @property
    def encapsulates(self) -> bool:
        """True when packets between nodes go through the tunnel, if not all of them."""
        return self.mode in {"encap", "hybrid"}

    @property
    def exact(self) -> bool:
        """True from the versions on that take off what WireGuard and GRE with a key cost."""
        branch = next((since for since in EXACT_SINCE if since[:2] == self.version[:2]), EXACT_SINCE[-1])
        return self.version >= branch

    def encapsulations(self, families: tuple[str, ...]) -> tuple[Encapsulation, ...]:
        """Return what may be around a pod's packet; empty when nothing is."""
        found: tuple[Encapsulation, ...] = ()
        if self.encryption == "wireguard":
            # Until EXACT_SINCE the device left 80 bytes, what IPv6 takes, on IPv4 too, and it bounds the path.
            found = ovs.over("wireguard", families if self.exact else ("ipv6",))
        elif self.encapsulates:
            # With IPsec each peer has a port of its own, which sends no key (pkg/ovs/ovsconfig/ovs_client.go).
            name = "gretap" if self.encryption == "ipsec" and self.tunnel == "gre" else TUNNELS[self.tunnel]
            found = ovs.over(name, families)
            if self.encryption == "ipsec":
                found = tuple(encap.within(encap.esp_transport(), one) for one in found)
        if self.gateway:
            across = ovs.over(TUNNELS[self.tunnel], families)
            if self.gateway_encrypts:
                across = tuple(
                    encap.within(encap.parse("wireguard", outer=family), one)
                    for family, one in zip(families, across, strict=True)
                )
            found += across
        return tuple(dict.fromkeys(found))

    def subtracts(self, *, ipv6: bool) -> int:
        """Return the bytes that this version takes off a NIC by itself, right or not."""
        wireguard = (60 if self.exact else 80) + (IPV6 if ipv6 and self.exact else 0)
        gre = 42 if self.exact else 38
        tunnel = {"vxlan": 50, "geneve": 50, "gre": gre, "stt": 0}[self.tunnel] + (IPV6 if ipv6 else 0)
        if self.gateway and self.exact:
            return tunnel + (wireguard if self.gateway_encrypts else 0)
        taken = tunnel if self.encapsulates or self.gateway else 0
        if self.encryption == "wireguard" and self.exact:
            return wireguard
        return taken + (ESP if self.encryption == "ipsec" else 0)

    @property
    def constant(self) -> int | None:
        """The pods' MTU of versions that do not look at the NIC, in bytes; None for all others."""
        if self.version >= FROM_NIC_SINCE:
            return None
        size = CONSTANTS[self.tunnel] if self.encapsulates else 1500
        return size - (ESP if self.encryption == "ipsec" and self.version >= (0, 5, 0) else 0)

    @property
    def name(self) -> str:
        """The encapsulation as users say it."""
        if not self.known:
            return "unknown"
        if self.encryption == "wireguard":
            return "wireguard"
        if not self.encapsulates:
            return f"{self.tunnel} between clusters" if self.gateway else "none"
        with_ipsec = " in ipsec" if self.encryption == "ipsec" else ""
        return f"{self.tunnel}{with_ipsec}{' (hybrid)' if self.mode == 'hybrid' else ''}"


def read(text: str, place: str, version: Version | None, out: list[Finding]) -> AgentConf:
    """Read an antrea-agent.conf; what is broken goes to `out` (MTU112, MTU117) and is taken for the default."""
    values = reading.tree(text, out, place, "and antrea-agent exits on it")
    at = version or NEWEST
    tunnel = _one_of(values, "tunnelType", (*TUNNELS,), "geneve" if at >= GENEVE_SINCE else "vxlan", out, place)
    mode = _one_of(values, "trafficEncapMode", MODES, "encap", out, place)
    if at >= ENCRYPTION_MODE_SINCE and values.get("trafficEncryptionMode"):
        words = ("none", "ipsec", "wireguard")
        encryption = _one_of(values, "trafficEncryptionMode", words, "none", out, place)
    else:
        encryption = "ipsec" if values.get("enableIPSecTunnel") is True else "none"
    features, multi = values.get("featureGates"), values.get("multicluster")
    enabled = isinstance(features, dict) and features.get("Multicluster") is True
    gateway = multi if enabled and isinstance(multi, dict) and multi.get("enableGateway") is True else {}
    nic, own = values.get("transportInterface"), values.get("hostGateway")
    return AgentConf(
        mtu=reading.member(values, "defaultMTU", out, place),
        mode=mode or "encap",
        tunnel=tunnel or "geneve",
        encryption=encryption or "none",
        gateway=bool(gateway),
        gateway_encrypts=str(gateway.get("trafficEncryptionMode")).lower() == "wireguard",
        nic=nic if isinstance(nic, str) else "",
        host_gateway=own if isinstance(own, str) and own else "antrea-gw0",
        known=None not in {mode, tunnel, encryption},
        version=at,
    )


def write(text: str, mtu: int, place: str) -> str:
    """Return the text with defaultMTU set to an integer, every other byte kept.

    Where the key is absent it goes below the comment that shows it, as people write it there: what stands above may be
    a key whose members are comments yet. Raises Malformed as `yaml_edit.set_value` does.
    """
    plain = yaml_edit.set_value(text, KEY, mtu, source=place)
    shown = COMMENT.search(text)
    if shown is None or KEY[0] in reading.tree(text, [], place, ""):
        return plain
    line_end = "\r\n" if shown[0].endswith("\r\n") else "\n"
    inserted = f"{text[: shown.end()]}{KEY[0]}: {mtu}{line_end}{text[shown.end() :]}"
    return inserted if reading.tree(inserted, [], place, "") == reading.tree(plain, [], place, "") else plain


def _one_of(
    values: dict[str, object], key: str, known: tuple[str, ...], usual: str, out: list[Finding], place: str
) -> str | None:
    """Return the word of `known` that stands there in any case of letters; None for another, which is MTU117."""
    held = values.get(key)
    if held is None or held == "":
        return usual
    for word in known:
        if str(held).lower() == word.lower():
            return word
    out.append(
        codes.finding(
            codes.MTU117,
            f"{place}, {key}",
            f"{str(held)!r:.40} is none that antrea-agent knows, and it exits: what goes around a packet is unknown.",
            f"Use one of {', '.join(known)}.",
            "error",
        )
    )
    return None
