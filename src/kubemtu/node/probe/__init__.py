"""Measures the MTU of a path exactly, in about one round trip, between two programs that speak UDP with each other.

    wire      what a datagram says, and the key that makes it ours
    channel   one UDP socket that never fragments, and what the kernel tells about it
    gate      who is answered: nobody without the key, nothing twice, and only so many a second
    session   one search on one path: core.search and core.burst, driven by datagrams
    station   the loop over channels and sessions; it measures, answers, and measures back when asked
    echo      the same searches over ICMP echo, for hosts that have no station

No root and no capability is needed, except for ICMP echo.
"""
