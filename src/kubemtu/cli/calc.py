"""`kubemtu calc`: what headers leave of a NIC's MTU, with the working, and the key of each CNI it belongs into.

The first --encap is the one nearest the NIC, as packets meet it on the wire from the outside in: VXLAN inside WireGuard
is `--encap wireguard --encap vxlan`.
"""

from collections.abc import Iterator

import click
import msgspec

from kubemtu.cli import terminal, wrapping
from kubemtu.cli.output import emit, output_option
from kubemtu.cni.knowledge import Counts
from kubemtu.core import encap, headers
from kubemtu.core.errors import UsageError

WIREGUARD_DEFAULT = 1420  # drivers/net/wireguard/device.c wg_setup: 1500 - 80


class CalcLayer(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One encapsulation of the stack: the MTU it runs over, and the MTU that its device offers inside, in bytes."""

    name: str
    """The encapsulation."""
    over: int
    """The MTU that it runs over, in bytes."""
    mtu: int
    """The MTU that its device offers inside, in bytes."""
    cost: int
    """What it takes off, in bytes."""


class Mss(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The TCP segment that a pod's MTU leaves, without options, in bytes (RFC 9293 3.7.1)."""

    ipv4: int
    """Over IPv4, in bytes."""
    ipv6: int
    """Over IPv6, in bytes."""


class CalcNumber(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Where a CNI keeps its MTU, and the number that belongs there.

    `counts` says what the number counts: the "pod" packet, the "base" (the NIC's packet, from which the CNI subtracts
    by itself), or the MTU of the "tunnel" device.
    """

    cni: str
    """The CNI."""
    object: str
    """The object or file that holds it."""
    key: str
    """The key in it."""
    counts: Counts
    """What the number counts: the "pod" packet, the "base" (the NIC's packet, from which the CNI subtracts by
    itself), or the MTU of the "tunnel" device.
    """
    value: int
    """The number that belongs there, in bytes."""
    note: str = ""
    """What else to know; else empty."""


class Answer(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What `calc` found; sizes in bytes of IP packets. `headers` add up to `cost`, which is `nic` - `pod_mtu`."""

    nic: int
    """The MTU of the NIC, in bytes."""
    pod_mtu: int
    """The MTU that pods get, in bytes."""
    cost: int
    """What encapsulation takes off: `nic` less `podMtu`, in bytes."""
    layers: tuple[CalcLayer, ...]
    """The encapsulations, nearest the NIC first."""
    headers: tuple[headers.Header, ...]
    """All headers and trailers, which add up to `cost`."""
    mss: Mss | None
    """The TCP segment that the pods' MTU leaves; null where it leaves none."""
    keys: tuple[CalcNumber, ...]
    """Where each CNI that can have this keeps its number."""
    warnings: tuple[str, ...]
    """What is wrong with this stack, a sentence each."""


@click.command(
    epilog=f"Encapsulations: {', '.join(encap.FORMS)}. Options follow a colon: geneve:8, gre:key,seq, vxlan:vlan."
)
@click.option("--nic", type=int, required=True, metavar="BYTES", help="The MTU of the nodes' NIC.")
@click.option(
    "--encap",
    "encaps",
    multiple=True,
    default=("none",),
    metavar="NAME",
    help="How packets travel between nodes; repeat it for one inside the other, the one nearest the NIC first.",
)
@click.option(
    "--outer",
    "outers",
    multiple=True,
    default=("ipv4",),
    type=click.Choice(tuple(encap.OUTERS)),
    help="The family of the outer packets: once for all, or once for each --encap.  [default: ipv4]",
)
@output_option
def calc(nic: int, encaps: tuple[str, ...], outers: tuple[str, ...], output_format: str) -> None:
    """Show what headers leave of a NIC's MTU, and which key it belongs into.

    \b
    kubemtu calc --nic 1500 --encap vxlan
    kubemtu calc --nic 9000 --encap wireguard --encap vxlan   (VXLAN inside WireGuard)
    """
    found = answer(nic, stack(encaps, outers))
    if output_format != "text":
        emit(found, output_format)
        return

    for line in _text(found, wrapping.width()):
        terminal.echo(line)


def stack(encaps: tuple[str, ...], outers: tuple[str, ...]) -> encap.Stack:
    """Read the encapsulations, nearest the NIC first; raises UsageError for unknown ones and for a miscount."""
    if len(outers) == 1:
        outers *= len(encaps)
    if len(outers) != len(encaps):
        raise UsageError(
            f"{len(outers)} outer families for {len(encaps)} encapsulations: give --outer once, or once for each."
        )
    layers = (encap.parse(name, outer) for name, outer in zip(encaps, outers, strict=True))
    return encap.Stack(tuple(layer for layer in layers if layer.kind != "none"))


def answer(nic: int, layers: encap.Stack) -> Answer:
    """Work everything out; raises UsageError when the NIC's MTU is none, or too small for the headers."""
    pod = layers.inner(nic)
    mtus = (nic, *layers.mtus(nic))
    return Answer(
        nic=nic,
        pod_mtu=pod,
        cost=nic - pod,
        layers=tuple(
            CalcLayer(name=layer.name, over=over, mtu=mtu, cost=over - mtu)
            for layer, over, mtu in zip(layers.layers, mtus, mtus[1:], strict=False)
        ),
        headers=layers.working(nic),
        mss=_mss(pod),
        keys=tuple(_keys(nic, pod, layers)),
        warnings=tuple(_warnings(mtus, layers)),
    )


def _mss(pod: int) -> Mss | None:
    if pod < encap.IPV4_MINIMUM:
        return None
    tcp = headers.TCP.size
    return Mss(ipv4=pod - headers.IPV4.size - tcp, ipv6=pod - headers.IPV6.size - tcp)


def _keys(nic: int, pod: int, layers: encap.Stack) -> Iterator[CalcNumber]:
    from kubemtu.cni import registry

    kinds = tuple(layer.kind for layer in layers.layers)
    names = tuple(layer.name for layer in layers.layers)
    for place in registry.calc_keys():
        if kinds not in place.stacks and names not in place.stacks:
            continue
        value, note = pod, place.note
        if place.subtracts is not None:
            own = place.subtracts(layers)
            # A CNI that subtracts less than the headers take must be given less to begin with.
            base = min(nic, pod + own)
            value = base if place.counts == "base" else base - own
            if base - own != pod or base != nic:
                note = f"{place.subtracter} subtracts {own} by itself: pods get {base - own}"
        six = "V6" if place.counts == "tunnel" and kinds != ("ipip",) and layers.layers[0].over_ipv6 else ""
        yield CalcNumber(
            cni=place.cni, object=place.object, key=place.key + six, counts=place.counts, value=value, note=note
        )


def _warnings(mtus: tuple[int, ...], layers: encap.Stack) -> Iterator[str]:
    """Say what the number alone does not; `mtus` are the NIC's and those of each layer inside."""
    pod = mtus[-1]
    if pod < encap.IPV4_MINIMUM:
        yield f"{pod} is below {encap.IPV4_MINIMUM}, which IPv4 requires of every link (RFC 791 3.2)."
    elif pod < encap.IPV6_MINIMUM:
        yield (
            f"{pod} is below {encap.IPV6_MINIMUM}, which IPv6 requires of every link (RFC 8200 5): "
            "the kernel takes IPv6 off such a device."
        )
    for layer, over, mtu in zip(layers.layers, mtus, mtus[1:], strict=False):
        if layer.over_ipv6 and over < encap.IPV6_MINIMUM:
            yield f"{layer.name} runs over IPv6, which needs {encap.IPV6_MINIMUM}, but {over} is all it gets."
        if layer.pad > 1:
            yield _padding(layer, mtu, over)
        if layer.align > 1:
            yield (
                f"{layer.name} fills every packet up to a multiple of {layer.align}: the largest costs {layer.cost} "
                f"bytes, others up to {layer.most}."
            )
        if layer.kind in {"ipip", "gre", "gretap"} and layer.over_ipv6 and headers.ENCAP_LIMIT not in layer.headers:
            yield (
                f"Linux adds 8 bytes to {layer.name} over IPv6 unless the tunnel has `encaplimit none`: "
                f"then write {layer.name}{',' if ':' in layer.name else ':'}encaplimit."
            )
        if layer.name == "geneve":
            yield "OVN adds 8 bytes of options to Geneve: for whatever runs on OVN write geneve:8."


def _padding(layer: encap.Encapsulation, mtu: int, over: int) -> str:
    default = "" if mtu == WIREGUARD_DEFAULT else f", not the default of {WIREGUARD_DEFAULT}"
    sentence = (
        f"WireGuard fills packets up to a multiple of {layer.pad}, but never beyond its device's MTU: "
        f"give the WireGuard device {mtu}{default}."
    )
    bounded = mtu - mtu % layer.pad
    if bounded == mtu:
        return sentence
    return f"{sentence} Where the device, or the route into it, allows more, only packets up to {bounded} fit {over}."


def _text(answer: Answer, columns: int | None) -> Iterator[str]:

    yield from wrapping.wrapped(_picture(answer), columns, hang=2)
    if len(answer.layers) > 1:
        order = " ▸ ".join(layer.name for layer in answer.layers)
        yield from wrapping.wrapped(f"The first --encap is the one nearest the NIC: NIC ▸ {order} ▸ pod.", columns)
    yield ""
    for line in _working(answer):
        yield from wrapping.wrapped(line, columns, hang=6)
    if answer.mss is not None:
        yield ""
        payload = answer.pod_mtu - headers.IPV4.size - headers.ICMP.size
        mss = answer.mss
        said = f"TCP MSS {mss.ipv4} over IPv4, {mss.ipv6} over IPv6; `ping -M do -s {payload}` just fits."
        yield from wrapping.wrapped(said, columns, indent=2)
    for warning in answer.warnings:
        yield ""
        yield from wrapping.wrapped(f"! {warning}", columns, hang=2, style={"fg": "yellow"})
    yield ""
    if not answer.keys:
        yield "No CNI that kubemtu knows encapsulates like this."
        return
    head = "Where it belongs, by CNI (pod: the pod's MTU; base: the NIC's, the CNI subtracts; tunnel: the device's):"
    yield from wrapping.wrapped(head, columns)
    yield from _table(answer.keys, columns)


def _picture(answer: Answer) -> str:
    between = [f"{header.name} {header.size}" for header in answer.headers]
    return " ▸ ".join([f"NIC {answer.nic}", *between, f"pod {answer.pod_mtu}"])


def _working(answer: Answer) -> Iterator[str]:
    """Subtract header by header, with what is left inside each layer."""
    wide = max(len(name) for name in ("NIC", *(header.name for header in answer.headers)))
    yield f"  {'NIC':<{wide}}  {answer.nic:>6}"
    left = answer.nic
    ends = {layer.mtu: layer.name for layer in answer.layers[:-1]}
    for header in answer.headers:
        left -= header.size
        yield f"  {header.name:<{wide}}  {-header.size:>6}  {header.source}"
        if left in ends:
            yield f"  {'':<{wide}}  {left:>6}  inside {ends.pop(left)}"
    apart = f"{answer.cost} less than" if answer.cost else "the same as"
    yield f"  {'pod':<{wide}}  {answer.pod_mtu:>6}  {apart} the NIC"


def _table(keys: tuple[CalcNumber, ...], columns: int | None) -> Iterator[str]:
    """Return a line for each key; where that is too long, what is behind the name of the CNI on lines of its own."""
    lines = wrapping.aligned([(str(key.value), key.counts, key.cni) for key in keys], indent=2)
    for line, key in zip(lines, keys, strict=True):
        place = f"{key.object}, {key.key}" + (f" ({key.note})" if key.note else "")
        if columns is None or len(line) + 2 + len(place) <= columns:
            yield f"{line}  {place}"
        else:
            yield line.rstrip()
            yield from wrapping.wrapped(place, columns, indent=6, hang=2)
