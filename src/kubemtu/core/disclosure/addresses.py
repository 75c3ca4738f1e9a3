"""Addresses replaced by others, so that what lies in one network lies in one afterwards, and equal ones stay equal.

Each bit of an address is kept or turned by a keyed hash of the bits before it (Xu, Fan, Ammar, Moon: Prefix-Preserving
IP Address Anonymization, ICNP 2002, with BLAKE2s in AES' place). What kind of network it is of stays to be
seen: private, shared, link-local. Addresses that mean the same everywhere stay as they are.
"""

import functools
import hashlib
import ipaddress
import re
from typing import Final

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_V4: Final = r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?:/\d{1,2})?(?!\w|\.\d)"
_MAC: Final = r"(?<![\w:])(?:[0-9a-fA-F]{2}[:-]){5}[0-9a-fA-F]{2}(?![\w:])"
_V6: Final = r"(?<![\w:.])[0-9a-fA-F]{0,4}:[0-9a-fA-F:]{1,39}(?:(?:\d{1,3}\.){3}\d{1,3})?(?:/\d{1,3})?(?![\w:]|\.\d)"
TOKEN: Final = re.compile(f"(?P<mac>{_MAC})|(?P<v4>{_V4})|(?P<v6>{_V6})", re.ASCII)
"""An address, of IPv4 or IPv6 with or without a prefix length, or of Ethernet; what is none may look like one."""

# Networks whose first bits say what they are (RFC 1918, 6598, 3927, 4193, 4291), the most telling first.
_KEPT: Final = tuple(
    ipaddress.ip_network(text)
    for text in (
        *("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10"),
        *("fe80::/64", "fc00::/7", "::ffff:0:0/96", "2000::/3"),
    )
)
# What is the same on every machine (RFC 1122, 1112, 5771, 4291).
_SAME: Final = tuple(
    ipaddress.ip_network(text)
    for text in ("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3", "::/127", "ff00::/8")
)
_WAYS: Final = frozenset(
    (net.version, at, int(net.network_address) >> (net.max_prefixlen - at))
    for net in (*_KEPT, *_SAME)
    for at in range(net.prefixlen)
)
_ETHERNET_SAME: Final = frozenset({"000000000000", "ffffffffffff", "eeeeeeeeeeee"})  # the last is every pod's gateway


class Replaced:
    """Replaces addresses by a key; the same key gives the same."""

    def __init__(self, key: bytes) -> None:
        self._key = hashlib.blake2s(key).digest()
        self._prefix = functools.lru_cache(maxsize=None)(self._turned)
        self.originals: dict[str, str] = {}

    def text(self, text: str) -> str:
        """Return a text with every address in it replaced; `originals` tells of each what stands for it."""
        return TOKEN.sub(self._token, text)

    def _token(self, found: re.Match[str]) -> str:
        token = found[0]
        made = self._ethernet(token) if found["mac"] is not None else self._network(token)
        if made != token:
            self.originals[token] = made
        return made

    def _ethernet(self, token: str) -> str:
        plain = re.sub(r"[:-]", "", token).lower()
        if plain in _ETHERNET_SAME or int(plain[1], 16) & 1:  # a group address
            return token
        made = "02" + hashlib.blake2s(plain.encode(), key=self._key, digest_size=5).hexdigest()
        made = made.upper() if token.isupper() else made
        return token[2].join(made[at : at + 2] for at in range(0, 12, 2))

    def _network(self, token: str) -> str:
        """Replace an address; of a network only the bits of its prefix, for the others are zero."""
        text, slash, prefix = token.partition("/")
        try:
            address = ipaddress.ip_address(text)
            length = int(prefix) if slash else address.max_prefixlen
            network = ipaddress.ip_network((address, length), strict=False)
        except ValueError:
            return token
        if any(address.version == same.version and address in same for same in _SAME):
            return token
        bits = length if slash and network.network_address == address else address.max_prefixlen
        made = self._address(address, bits)
        return f"{made.compressed}{slash}{prefix}"

    def _address(self, address: Address, bits: int) -> Address:
        size, number, made = address.max_prefixlen, int(address), 0
        for at in range(size):
            bit = number >> (size - 1 - at) & 1
            if at < bits:
                bit ^= self._prefix(address.version, at, number >> (size - at))
            made = made << 1 | bit
        return type(address)(made)

    def _turned(self, version: int, at: int, before: int) -> int:
        """Say whether the bit behind so many others is turned: never on the way to a network that stays what it is."""
        if (version, at, before) in _WAYS:
            return 0
        text = f"{version} {at} {before}".encode()
        return hashlib.blake2s(text, key=self._key, digest_size=1).digest()[0] & 1
