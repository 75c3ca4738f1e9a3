"""Measure the MTU of a path exactly, in about one round trip, between two programs that speak UDP with each other.

    wire      what a datagram says, and the key that makes it ours
    channel   one UDP socket that never fragments, and what the kernel tells about it
    admission who is answered: nobody without the key, nothing twice, and only so many a second
    session   one search on one path: core.path.search and core.path.burst, driven by datagrams; sessions: those under
              way
    sweep     one packet to each of many peers: who answers needs no search
    paths     what is measured and what came of it, as values
    station   the loop, in one namespace or many, over its parts:
      measurement   all targets of one call, swept and searched
      receiver      what comes in, handed to whom it is for
      answers       what is admitted, and searches back towards whoever asked
    echo      the same searches over ICMP echo, for hosts that have no station
    mss       what the kernel tells about the segments of a TCP connection
    segments  what TCP is made to believe on a path: a clamp is found by what it does
    outer     the largest packet that this host's own tunnel sends on in one piece

No root and no capability is needed, except for ICMP echo.
"""
