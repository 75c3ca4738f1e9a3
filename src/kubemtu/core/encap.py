"""What an encapsulation costs: the arithmetic between the MTU of a link and the largest packet of a pod.

All sizes are of IP packets, in bytes, as the MTU of a Linux device counts them: link-layer headers of the NIC itself
never count, an Ethernet header carried *inside* a tunnel does.

    NIC 1500 ▸ IPv4 20 ▸ UDP 8 ▸ VXLAN 8 ▸ Ethernet 14 ▸ pod 1450

Three kinds of cost exist, and only the first is a plain sum:

- Headers. `Encapsulation.headers`.
- ESP pads payload and trailer together to a multiple of 4 (RFC 4303 2.4), so some outer sizes leave up to 3 bytes that
  nobody can use; `inner` rounds down exactly as the kernel does (net/xfrm/xfrm_state.c xfrm_state_mtu).
- WireGuard pads what it encrypts to a multiple of 16, but never beyond the MTU of the route or device it was sent to
  (drivers/net/wireguard/send.c calculate_skb_padding, device.c wg_xmit). So the padding costs nothing at all as long as
  the WireGuard device has the MTU that `inner` gives, whatever it runs over and whatever runs inside it: a VXLAN inside
  WireGuard is only another inner packet, and an IPv6 outer header moves the bound by 20 like everything else. It costs
  up to 15 bytes where the device, or the route into it, allows more than fits (a CNI that takes off less, or a device
  left at the default of 1420 over a smaller link). `inner` assumes the first, `guaranteed` survives the second.
"""

from collections.abc import Callable, Mapping
from difflib import get_close_matches

import msgspec

from kubemtu.core import headers
from kubemtu.core.errors import UsageError
from kubemtu.core.headers import IPV4, IPV6, Header

LARGEST_MTU = 65535  # RFC 791 3.1: the total length is 16 bits; include/uapi/linux/if_ether.h ETH_MAX_MTU
IPV4_MINIMUM = 68  # RFC 791 3.2; include/uapi/linux/if_ether.h ETH_MIN_MTU
IPV4_REASSEMBLY = 576  # RFC 791 3.2: what every host must be able to receive
IPV6_MINIMUM = 1280  # RFC 8200 5; the kernel takes IPv6 off a device below it
NEEDS = {
    IPV4_REASSEMBLY: "IPv4 needs the 576 bytes that every host must take whole (RFC 791, section 3.2)",
    IPV6_MINIMUM: "IPv6 needs 1280 on every link (RFC 8200, section 5)",
}
"""Why pods must have so many bytes, by `least`."""
GENEVE_OPTIONS_MOST = 252  # RFC 8926 3.4: six bits, counting 4-byte words
ESP_ALIGN = 4  # RFC 4303 2.4; net/ipv4/esp4.c: ALIGN(crypto_aead_blocksize(aead), 4), which is 4 for GCM
WIREGUARD_PAD = 16  # drivers/net/wireguard/messages.h MESSAGE_PADDING_MULTIPLE


def least(*, ipv6: bool) -> int:
    """Return the smallest MTU that pods can have, in bytes: with IPv6, or with IPv4 alone."""
    return IPV6_MINIMUM if ipv6 else IPV4_REASSEMBLY


class Encapsulation(msgspec.Struct, frozen=True, kw_only=True):
    """Headers that the underlay carries around one inner IP packet.

    `headers` lists them from the outside in, and `trailer` what follows the packet inside the aligned part.
    `inside` are headers of a second encapsulation, which the first one encrypts along with the packet (`within`).
    `align` is the multiple that these, the packet and the trailer must fill together; `pad` is the multiple that the
    sender fills up to as far as its own device's MTU allows. `name` is what `parse` reads.
    """

    name: str
    headers: tuple[Header, ...]
    inside: tuple[Header, ...] = ()
    trailer: tuple[Header, ...] = ()
    align: int = 1
    pad: int = 1

    @property
    def kind(self) -> str:
        """The name without its options, such as "geneve" of "geneve:8"."""
        return self.name.partition(":")[0]

    @property
    def over_ipv6(self) -> bool:
        """True when the packets around are IPv6's."""
        return IPV6 in self.headers + self.inside

    @property
    def cost(self) -> int:
        """The bytes of all headers and trailers, without padding."""
        return sum(header.size for header in self.headers + self.inside + self.trailer)

    @property
    def aligned(self) -> int:
        """The bytes beside the packet that are aligned, or padded, along with it."""
        return sum(header.size for header in self.inside + self.trailer)

    @property
    def most(self) -> int:
        """The cost with the most padding that the format can demand, in bytes."""
        return self.cost + self.align - 1

    def inner(self, outer: int) -> int:
        """Give the largest inner packet that an outer MTU lets through.

        Raises UsageError when `outer` is no MTU, or leaves nothing for a packet.
        """
        check(outer)
        room = outer - self.cost + self.aligned
        return self._positive(room - room % self.align - self.aligned, outer)

    def guaranteed(self, outer: int) -> int:
        """Give the largest inner packet that fits even where the tunnel device's own MTU does not bound the padding."""
        size = self.inner(outer) + self.aligned
        return self._positive(size - size % self.pad - self.aligned, outer) if self.pad > 1 else self.inner(outer)

    def outer(self, inner: int) -> int:
        """Give the outer packet's size for an inner packet of `inner` bytes, padding that the format demands included.

        Raises UsageError when either is no MTU.
        """
        check(inner)
        tail = self.aligned
        size = self.cost - tail + -(-(inner + tail) // self.align) * self.align
        if size > LARGEST_MTU:
            raise UsageError(
                f"A packet of {inner} would need {size} bytes with {self.name}, and an IP packet has at most 65535."
            )
        return size

    def working(self, outer: int) -> tuple[Header, ...]:
        """List what lies between an outer MTU and `inner` of it, outside in; the sizes add up to the difference."""
        parts = self.headers + self.inside + self.trailer
        unused = outer - self.inner(outer) - self.cost
        if unused:
            parts += (Header(f"unused (multiple of {self.align})", unused, "RFC 4303 2.4"),)
        return parts

    def _positive(self, size: int, outer: int) -> int:
        if size < 1:
            raise UsageError(
                f"An MTU of {outer} is too small for {self.name}, whose headers alone take {self.cost}: "
                f"give one of at least {self.outer(IPV4_MINIMUM)}."
            )
        return size


class Stack(msgspec.Struct, frozen=True):
    """Encapsulations one inside the other; the first is the one nearest the NIC."""

    layers: tuple[Encapsulation, ...]

    @property
    def cost(self) -> int:
        """The bytes of all headers and trailers of all layers, without padding."""
        return sum(layer.cost for layer in self.layers)

    def mtus(self, nic: int) -> tuple[int, ...]:
        """List the MTU of each tunnel device over a NIC of `nic`, nearest the NIC first; the last is the pod's."""
        found = []
        for layer in self.layers:
            nic = layer.inner(nic)
            found.append(nic)
        return tuple(found)

    def inner(self, nic: int) -> int:
        """Give the largest pod packet that a NIC with an MTU of `nic` lets through."""
        check(nic)
        return self.mtus(nic)[-1] if self.layers else nic

    def guaranteed(self, nic: int) -> int:
        """Give the largest pod packet that fits even where no tunnel device's MTU bounds WireGuard's padding."""
        check(nic)
        for layer in self.layers:
            nic = layer.guaranteed(nic)
        return nic

    def outer(self, inner: int) -> int:
        """Give the NIC MTU that a pod packet of `inner` bytes needs."""
        check(inner)
        for layer in reversed(self.layers):
            inner = layer.outer(inner)
        return inner

    def working(self, nic: int) -> tuple[Header, ...]:
        """List what lies between the NIC's MTU and the pod's, outside in; the sizes add up to the difference."""
        found: tuple[Header, ...] = ()
        for layer in self.layers:
            found += layer.working(nic)
            nic = layer.inner(nic)
        return found


def check(mtu: int) -> None:
    """Raise UsageError unless `mtu` is a size that an IP packet can have."""
    if not 1 <= mtu <= LARGEST_MTU:
        raise UsageError(f"An MTU of {mtu} cannot be: give a number of bytes from {IPV4_MINIMUM} to {LARGEST_MTU}.")


def none() -> Encapsulation:
    """Describe a pod network that routes packets as they are (host-gw, BGP, cloud routes)."""
    return Encapsulation(name="none", headers=())


def ipip(outer: Header = IPV4, *, encaplimit: bool = False) -> Encapsulation:
    """Describe IP in IP (RFC 2003; over IPv6 RFC 2473, where Linux adds an encapsulation limit by default)."""
    return Encapsulation(name=_name("ipip", encaplimit=encaplimit), headers=_over(outer, encaplimit=encaplimit))


def udp(outer: Header = IPV4) -> Encapsulation:
    """Describe IP directly in UDP (foo-over-udp, a tun device and a program)."""
    return Encapsulation(name="udp", headers=(outer, headers.UDP))


def vxlan(outer: Header = IPV4, *, vlan: bool = False) -> Encapsulation:
    """Describe VXLAN; `vlan` when the frames inside carry an 802.1Q tag."""
    return Encapsulation(
        name=_name("vxlan", vlan=vlan), headers=(outer, headers.UDP, headers.VXLAN, *_frame(vlan=vlan))
    )


def geneve(outer: Header = IPV4, *, options: int = 0, vlan: bool = False) -> Encapsulation:
    """Describe Geneve with `options` bytes of options (OVN sends 8), `vlan` as in VXLAN.

    Raises UsageError when no Geneve header can have so many bytes of options.
    """
    if options % 4 or not 0 <= options <= GENEVE_OPTIONS_MOST:
        raise UsageError(
            f"Geneve options take a multiple of 4 bytes, at most {GENEVE_OPTIONS_MOST} (RFC 8926 3.4), not {options}."
        )
    extra = (headers.geneve_options(options),) if options else ()
    name = f"geneve:{options}" if options else "geneve"
    return Encapsulation(
        name=_name(name, vlan=vlan), headers=(outer, headers.UDP, headers.GENEVE, *extra, *_frame(vlan=vlan))
    )


def stt(outer: Header = IPV4) -> Encapsulation:
    """Describe STT (draft-davie-stt), as Open vSwitch sends it."""
    return Encapsulation(name="stt", headers=(outer, headers.STT_TCP, headers.STT, headers.ETHERNET))


def gre(
    outer: Header = IPV4, *, key: bool = False, seq: bool = False, csum: bool = False, encaplimit: bool = False
) -> Encapsulation:
    """Describe IP in GRE (RFC 2784), with the optional fields that the flags ask for (RFC 2890)."""
    return Encapsulation(
        name=_name("gre", key=key, seq=seq, csum=csum, encaplimit=encaplimit),
        headers=(*_over(outer, encaplimit=encaplimit), *_gre(key=key, seq=seq, csum=csum)),
    )


def gretap(
    outer: Header = IPV4,
    *,
    key: bool = False,
    seq: bool = False,
    csum: bool = False,
    vlan: bool = False,
    encaplimit: bool = False,
) -> Encapsulation:
    """Describe Ethernet in GRE, as Linux' gretap and Open vSwitch send it."""
    return Encapsulation(
        name=_name("gretap", key=key, seq=seq, csum=csum, vlan=vlan, encaplimit=encaplimit),
        headers=(*_over(outer, encaplimit=encaplimit), *_gre(key=key, seq=seq, csum=csum), *_frame(vlan=vlan)),
    )


def wireguard(outer: Header = IPV4) -> Encapsulation:
    """Describe WireGuard; its padding is `pad`, and the head of this module says when it costs anything."""
    return Encapsulation(
        name="wireguard", headers=(outer, headers.UDP, headers.WIREGUARD, headers.WIREGUARD_TAG), pad=WIREGUARD_PAD
    )


def within(outer: Encapsulation, inner: Encapsulation) -> Encapsulation:
    """Describe an encapsulation whose packets travel inside another one, as one: Geneve in ESP, VXLAN in WireGuard.

    The inner one must not align anything itself: what is encrypted twice has two paddings.
    """
    return Encapsulation(
        name=f"{outer.name}+{inner.name}",
        headers=outer.headers,
        inside=outer.inside + inner.headers + inner.inside,
        trailer=inner.trailer + outer.trailer,
        align=outer.align,
        pad=outer.pad,
    )


def esp_tunnel(outer: Header = IPV4, *, natt: bool = False) -> Encapsulation:
    """Describe IPsec ESP in tunnel mode with AES-GCM, `natt` when it runs in UDP (RFC 3948)."""
    return _esp(_name("esp-tunnel", natt=natt), (outer,), natt=natt)


def esp_transport(*, natt: bool = False) -> Encapsulation:
    """Describe IPsec ESP in transport mode with AES-GCM: no outer IP header, the inner packet lends its own.

    The inner header's 20 or 40 bytes stay outside the aligned part; both are multiples of 4, so nothing changes by it.
    """
    return _esp(_name("esp-transport", natt=natt), (), natt=natt)


def _esp(name: str, outer: tuple[Header, ...], *, natt: bool) -> Encapsulation:
    return Encapsulation(
        name=name,
        headers=(*outer, *((headers.UDP,) if natt else ()), headers.ESP, headers.ESP_IV, headers.ESP_ICV),
        trailer=(headers.ESP_TRAILER,),
        align=ESP_ALIGN,
    )


def _over(outer: Header, *, encaplimit: bool) -> tuple[Header, ...]:
    if encaplimit and outer is not IPV6:
        raise UsageError(
            "Only IPv6 tunnels carry an encapsulation limit (RFC 2473): leave encaplimit out, or let ipv6 be the outer."
        )
    return (outer, headers.ENCAP_LIMIT) if encaplimit else (outer,)


def _gre(*, key: bool, seq: bool, csum: bool) -> tuple[Header, ...]:
    optional = ((csum, headers.GRE_CHECKSUM), (key, headers.GRE_KEY), (seq, headers.GRE_SEQUENCE))
    return (headers.GRE, *(header for wanted, header in optional if wanted))


def _frame(*, vlan: bool) -> tuple[Header, ...]:
    return (headers.ETHERNET, headers.VLAN) if vlan else (headers.ETHERNET,)


def _name(base: str, **flags: bool) -> str:
    words = [word for word, wanted in flags.items() if wanted]
    if not words:
        return base
    return base + ("," if ":" in base else ":") + ",".join(words)


class _Form(msgspec.Struct, frozen=True):
    """How one encapsulation is written: its builder, and the words and the number that may follow its colon."""

    build: Callable[..., Encapsulation]
    flags: tuple[str, ...] = ()
    number: str = ""
    outer: bool = True


FORMS: Mapping[str, _Form] = {
    "none": _Form(none, outer=False),
    "ipip": _Form(ipip, ("encaplimit",)),
    "vxlan": _Form(vxlan, ("vlan",)),
    "geneve": _Form(geneve, ("vlan",), "options"),
    "gre": _Form(gre, ("key", "seq", "csum", "encaplimit")),
    "gretap": _Form(gretap, ("key", "seq", "csum", "vlan", "encaplimit")),
    "wireguard": _Form(wireguard),
    "esp-tunnel": _Form(esp_tunnel, ("natt",)),
    "esp-transport": _Form(esp_transport, ("natt",), outer=False),
    "udp": _Form(udp),
    "stt": _Form(stt),
}
OUTERS: Mapping[str, Header] = {"ipv4": IPV4, "ipv6": IPV6}


def parse(text: str, outer: str = "ipv4") -> Encapsulation:
    """Read an encapsulation such as "vxlan", "geneve:8" (bytes of options), "gre:key,seq" or "vxlan:vlan".

    `outer` is the family of the packets that carry it, "ipv4" or "ipv6"; those without an outer header ignore it.
    "esp-transport+geneve:8" is Geneve within ESP. Raises UsageError when a name, an option or the family is unknown,
    naming the known ones.
    """
    first, plus, rest = text.partition("+")
    if plus:
        return within(parse(first, outer), parse(rest, outer))
    name, colon, rest = text.strip().lower().partition(":")
    form = FORMS.get(name)
    if form is None:
        raise UsageError(f"{text!r} is no encapsulation{_closest(name)}: use one of {', '.join(FORMS)}.")
    if outer not in OUTERS:
        raise UsageError(f"{outer!r} is no outer family: use one of {', '.join(OUTERS)}.")
    chosen: dict[str, bool | int] = {}
    for word in rest.split(",") if colon else ():
        if word in form.flags:
            chosen[word] = True
        elif form.number and word.isascii() and word.isdigit() and len(word) <= 5:
            chosen[form.number] = int(word)
        else:
            raise UsageError(f"{text!r} has the unknown option {word!r}: {_options(name, form)}.")
    return form.build(OUTERS[outer], **chosen) if form.outer else form.build(**chosen)


def _closest(name: str) -> str:
    close = get_close_matches(name, FORMS, n=1)
    return f" (did you mean {close[0]}?)" if close else ""


def _options(name: str, form: _Form) -> str:
    known = [*form.flags, *(["the bytes of its options"] if form.number else [])]
    return f"{name} takes {', '.join(known)}" if known else f"{name} takes none"
