"""What a packet size is worth: the share of an Ethernet link that is TCP payload."""

# Around every packet on Ethernet: header 14, frame check sequence 4, preamble and delimiter 8, gap 12 (IEEE 802.3).
ETHERNET = 14 + 4 + 8 + 12
# IPv4 20 (RFC 791), TCP 20 (RFC 9293), timestamps 10 padded to 12 (RFC 7323), which Linux sends by default.
TCP_IN_PACKET = 20 + 20 + 12
GIGABIT = 1_000_000_000  # bits
WORTH_A_WARNING = 0.01  # below one part in a hundred nobody measures the difference
WORTH_A_NOTE = 0.0015  # below that it is room that somebody left: pods of 8000 on 9000 give away 0.13 %


def share(mtu: int, cost: int) -> float:
    """Return the share of the wire that is TCP payload, in full packets of `mtu` bytes with `cost` around each."""
    return max(mtu - TCP_IN_PACKET, 0) / (mtu + cost + ETHERNET)


def lost(mtu: int, possible: int, cost: int) -> float:
    """Return the part of the possible goodput that packets of `mtu` bytes give away, where `possible` bytes fit."""
    return 1 - share(mtu, cost) / share(possible, cost)


def packets(mtu: int, possible: int) -> float:
    """Say how many times as many packets carry the same payload."""
    return (possible - TCP_IN_PACKET) / max(mtu - TCP_IN_PACKET, 1)


def rate(mtu: int) -> float:
    """Return the packets per second that carry 1 Gbit/s of TCP payload, in full packets of `mtu` bytes."""
    return GIGABIT / 8 / max(mtu - TCP_IN_PACKET, 1)
