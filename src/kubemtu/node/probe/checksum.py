"""The checksum of the internet's protocols: ICMP's and TCP's (RFC 1071)."""


def of(packet: bytes) -> int:
    """Compute the checksum of a packet: the ones' complement sum is the number modulo 65535, as 65536 leaves 1."""
    padded = packet + b"\0" * (len(packet) % 2)
    return ~(int.from_bytes(padded, "big") % 0xFFFF or 0xFFFF) & 0xFFFF
