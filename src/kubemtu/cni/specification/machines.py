"""NICs and KubeSpan as Talos' machine configurations have them: what is below the pods' network, whichever it is.

machine.network.interfaces and machine.network.kubespan, or documents of their own from v1.12 (LinkConfig) and v1.13
(KubeSpanConfig) on (siderolabs/talos: pkg/machinery/config/types/v1alpha1/v1alpha1_types.go, types/network/*.go).
"""

from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from kubemtu.cni.objects import reading
from kubemtu.cni.specification.forms import MACHINE
from kubemtu.core import codes, encap, headers
from kubemtu.core.cluster import policy
from kubemtu.core.codes import Finding
from kubemtu.core.objects import Object
from kubemtu.core.snapshot import Snapshot

KUBESPAN, DHCP = "KubeSpanConfig", "DHCPv4Config"
LINKS: Final = ("LinkConfig", "BondConfig", "VLANConfig")
KUBESPAN_DEFAULT, KUBESPAN_LEAST = 1420, 1280  # bytes: pkg/machinery/constants/constants.go
OVER_IPV4, OVER_IPV6 = encap.wireguard(headers.IPV4), encap.wireguard(headers.IPV6)
JUMBO = 1000  # bytes that KubeSpan leaves unused before that is said


class Setting(msgspec.Struct, frozen=True, kw_only=True):
    """One key that gives a link its MTU, in bytes; None: it is not there."""

    link: str
    place: str
    mtu: int | None


class KubeSpan(msgspec.Struct, frozen=True, kw_only=True):
    """KubeSpan where it is on: its MTU in bytes, given or Talos' own; `key` names the key, there or not."""

    mtu: int
    given: bool
    key: str
    takes_pods: bool  # it carries pods' packets itself (advertiseKubernetesNetworks)

    @property
    def place(self) -> str:
        """Where its number stands, or would."""
        return self.key if self.given else f"{self.key} (default)"


class Underlay(msgspec.Struct, frozen=True, kw_only=True):
    """What is below the pods' network by these files: bounds of its paths, and what is wrong there."""

    bounds: tuple[policy.Bound, ...] = ()
    findings: tuple[Finding, ...] = ()


def underlay(snapshot: Snapshot) -> Underlay:
    """Return what machine configurations say of the network between the nodes, whichever pod network there is."""
    out: list[Finding] = []
    settings = list(_settings(snapshot, out))
    over = kubespan(snapshot, out)
    nic = _nic(settings, out)
    if any(node.links for node in snapshot.nodes):
        nic = None  # what NICs have was seen
    out += _left_to_dhcp(snapshot, settings)
    bounds = []
    if nic is not None and nic.mtu is not None:
        bounds.append(policy.Bound(path_mtu=nic.mtu, by=nic.place, reason=f"the MTU of {nic.link}"))
    if over is not None:
        carries = over.mtu
        if nic is not None and nic.mtu is not None:
            out += _against(over, nic.place, nic.mtu)
            carries = min(carries, max(nic.mtu - OVER_IPV4.cost, encap.IPV4_MINIMUM))
        bounds.append(policy.Bound(path_mtu=carries, by=over.place, reason="KubeSpan's MTU, between all nodes"))
    return Underlay(bounds=tuple(bounds), findings=tuple(out))


def kubespan(snapshot: Snapshot, out: list[Finding]) -> KubeSpan | None:
    """Return KubeSpan where one of the files has it on; each node has its own, so the smallest counts."""
    found = []
    for machine in of_file(snapshot, MACHINE):
        held = machine.get("machine", "network", "kubespan")
        if isinstance(held, dict):
            found.append((held, f"{ref(machine)}, machine.network.kubespan"))
    found += [(document.body, ref(document)) for document in of_file(snapshot, KUBESPAN)]
    on = []
    for held, place in found:
        if held.get("enabled") is not True:
            continue
        mtu = reading.member(held, "mtu", out, place)
        key = f"{place}{'.' if ', ' in place else ', '}mtu"
        if mtu is not None and mtu < KUBESPAN_LEAST:
            out.append(
                codes.finding(
                    codes.MTU112,
                    key,
                    f"Talos refuses an MTU of {mtu} for KubeSpan: it must be at least {KUBESPAN_LEAST}, for IPv6.",
                    f"Write {KUBESPAN_LEAST} or more.",
                )
            )
        takes_pods = held.get("advertiseKubernetesNetworks") is True
        on.append(KubeSpan(mtu=mtu or KUBESPAN_DEFAULT, given=mtu is not None, key=key, takes_pods=takes_pods))
    return min(on, key=lambda each: each.mtu, default=None)


def of_file(snapshot: Snapshot, kind: str) -> Iterator[Object]:
    """Return the documents of a kind that were read from files, and no objects of the API of that name."""
    return (each for each in snapshot.each(kind) if each.of_file)


def ref(source: Object) -> str:
    """Return how sentences name a document."""
    return str(reading.ref(source, ""))


def _settings(snapshot: Snapshot, out: list[Finding]) -> Iterator[Setting]:
    """Yield what gives NICs, bonds and VLANs their MTU; bridges, dummies and tunnels are no way between nodes."""
    for machine in of_file(snapshot, MACHINE):
        listed = machine.get("machine", "network", "interfaces")
        for number, each in enumerate(listed if isinstance(listed, list) else ()):
            if not isinstance(each, dict) or each.get("ignore") is True or {"bridge", "wireguard"} & each.keys():
                continue
            if each.get("dummy") is True:
                continue
            place = f"{ref(machine)}, machine.network.interfaces[{number}]"
            name = each.get("interface")
            link = name if isinstance(name, str) else f"the NIC that interfaces[{number}] selects"
            yield Setting(link=link, place=f"{place}.mtu", mtu=reading.member(each, "mtu", out, place))
            vlans = each.get("vlans")
            for vlan in vlans if isinstance(vlans, list) else ():
                if isinstance(vlan, dict) and vlan.get("mtu") is not None:
                    mtu = reading.member(vlan, "mtu", out, f"{place}.vlans")
                    yield Setting(link=f"{link}.{vlan.get('vlanId')}", place=f"{place}.vlans", mtu=mtu)
    for kind in LINKS:
        for document in of_file(snapshot, kind):
            name, place = document.get("name"), ref(document)
            mtu = reading.member(document.body, "mtu", out, place)
            yield Setting(link=name if isinstance(name, str) else "a NIC", place=f"{place}, mtu", mtu=mtu)


def _nic(settings: Sequence[Setting], out: list[Finding]) -> Setting | None:
    """Return the NIC that counts where one number is all that is given; of several nobody knows by which it goes."""
    given: dict[str, list[Setting]] = {}
    for each in settings:
        if each.mtu is not None:
            given.setdefault(each.link, []).append(each)
    for link, several in given.items():
        least, most = (pick(several, key=lambda one: one.mtu or 0) for pick in (min, max))
        if least.mtu != most.mtu:
            out.append(
                codes.finding(
                    codes.MTU106,
                    f"{least.place}",
                    f"{link} gets {least.mtu} here and {most.mtu} at {most.place}: nodes made of these reach each other"
                    " through different MTUs.",
                    "Give them one number, or keep the pods to the smallest.",
                )
            )
    held = [each for several in given.values() for each in several]
    return held[0] if held and len({each.mtu for each in held}) == 1 else None


def _against(kubespan: KubeSpan, place: str, nic: int) -> Iterator[Finding]:
    """Hold KubeSpan's MTU against the NIC's: WireGuard takes 60 bytes over IPv4 and 80 over IPv6."""
    most, sure = nic - OVER_IPV4.cost, nic - OVER_IPV6.cost
    if kubespan.mtu > most:
        yield codes.finding(
            codes.MTU119,
            kubespan.place,
            f"KubeSpan has {kubespan.mtu}, and WireGuard leaves {most} of the NIC's {nic} ({place}), or {sure} where"
            " nodes reach each other by IPv6: larger packets are cut into fragments, or lost.",
            _smaller(most, sure),
        )
    elif kubespan.mtu < sure and nic > encap.IPV6_MINIMUM and sure - kubespan.mtu >= JUMBO:
        yield codes.finding(
            codes.MTU119,
            kubespan.place,
            f"KubeSpan has {kubespan.mtu}, where WireGuard leaves {sure} of the NIC's {nic} ({place}): every packet"
            " between nodes is kept to the smaller one, pods' and the nodes' own.",
            f"Write {sure} there, on every node, if the network carries what the NICs say.",
            "warning",
        )


def _smaller(most: int, sure: int) -> str:
    """Say what to do about a KubeSpan of more than WireGuard leaves, over IPv4 and over IPv6."""
    if most < KUBESPAN_LEAST:
        return (
            f"Talos gives KubeSpan no less than {KUBESPAN_LEAST}: give the NICs {KUBESPAN_LEAST + OVER_IPV4.cost} or"
            " more, or leave KubeSpan off."
        )
    over_ipv6 = f"; {sure} where nodes reach each other by IPv6" if sure >= KUBESPAN_LEAST else ""
    return f"Write {most} there, on every node{over_ipv6}."


def _left_to_dhcp(snapshot: Snapshot, settings: Sequence[Setting]) -> Iterator[Finding]:
    """Name NICs that DHCP configures and a document takes over without an MTU.

    Talos merges the two, and on Hetzner such a NIC was seen with 1500 where DHCP says 1450
    (hcloud-k8s/terraform-hcloud-kubernetes#450).
    """
    asked = {document.get("name") for document in of_file(snapshot, DHCP)}
    taken = {each.link for each in settings if each.mtu is not None}
    for document in of_file(snapshot, LINKS[0]):
        name = document.get("name")
        if isinstance(name, str) and name in asked and name not in taken:
            yield codes.finding(
                codes.MTU144,
                f"{ref(document)}, mtu",
                f"{name} has DHCP, and this document takes it over without an MTU: nothing here says what it gets.",
                f"Write the network's MTU here, and look at what {name} has: `talosctl get links`.",
            )
