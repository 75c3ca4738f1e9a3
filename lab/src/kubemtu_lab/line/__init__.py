"""A line of two hosts with two routers between them, out of named network namespaces, to measure paths on.

    network   the namespaces, their links and addresses; what is between the routers has a round-trip time
    relay     that round-trip time: a process that holds packets between two TUN devices
    faults    what can be wrong with a line, each as a value that can be committed
    scene     one line with its faults, and what is right to say about it; sizes, boxes and tunnels hold them
    scenes    all of them
    ends      stations at the two hosts

`kubemtu_lab.cluster` builds whole clusters; a line is the smallest thing on which a path can be measured.
"""
