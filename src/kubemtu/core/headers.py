"""Every header a pod's packet may be wrapped in, once, as data: sizes are summed, never remembered.

The source beside each size is where to check it. Sizes count octets on the wire. "The kernel" is Linux; its files are
named by their path in the source tree.
"""

import msgspec


class Header(msgspec.Struct, frozen=True):
    """One header, or trailer, as it lies on the wire.

    `size` counts bytes. `source` is the RFC section, IEEE standard or kernel file that says so.
    """

    name: str
    """What it is called."""
    size: int
    """Its bytes."""
    source: str
    """The RFC section, IEEE standard or kernel file that says so."""


ETHERNET = Header("Ethernet", 14, "IEEE 802.3 3.1.1")
VLAN = Header("802.1Q tag", 4, "IEEE 802.1Q 9.3")

IPV4 = Header("IPv4", 20, "RFC 791 3.1")
IPV6 = Header("IPv6", 40, "RFC 8200 3")
# Linux' IPv6 tunnels add it unless made with `encaplimit none` (net/ipv6/ip6_tunnel.c IPV6_DEFAULT_TNL_ENCAP_LIMIT).
ENCAP_LIMIT = Header("encapsulation limit", 8, "RFC 2473 4.1.1")

TCP = Header("TCP", 20, "RFC 9293 3.1")
UDP = Header("UDP", 8, "RFC 768")
ICMP = Header("ICMP echo", 8, "RFC 792")

VXLAN = Header("VXLAN", 8, "RFC 7348 5")
GENEVE = Header("Geneve", 8, "RFC 8926 3.4")
# Looks like TCP to NICs, which cut and join it, and has no connection behind it.
STT_TCP = Header("STT's TCP-like header", 20, "draft-davie-stt-08 3")
STT = Header("STT", 18, "draft-davie-stt-08 3.1")
GRE = Header("GRE", 4, "RFC 2784 2.1")
GRE_CHECKSUM = Header("GRE checksum", 4, "RFC 2784 2.1")
GRE_KEY = Header("GRE key", 4, "RFC 2890 2")
GRE_SEQUENCE = Header("GRE sequence", 4, "RFC 2890 2")

WIREGUARD = Header("WireGuard", 16, "WireGuard paper 5.4.6; drivers/net/wireguard/messages.h struct message_data")
WIREGUARD_TAG = Header("Poly1305 tag", 16, "RFC 8439 2.5; drivers/net/wireguard/messages.h noise_encrypted_len")

ESP = Header("ESP", 8, "RFC 4303 2")
ESP_IV = Header("AES-GCM IV", 8, "RFC 4106 3.1")
ESP_TRAILER = Header("ESP trailer", 2, "RFC 4303 2")
ESP_ICV = Header("AES-GCM ICV", 16, "RFC 4106 6")


def geneve_options(size: int) -> Header:
    """Name the variable part of a Geneve header, `size` bytes of it (RFC 8926 3.4; a multiple of 4, at most 252)."""
    return Header("Geneve options", size, "RFC 8926 3.5")
