"""Reads what a network namespace shows of an MTU that is wrong, without a packet sent or a process looked at.

    connections  established TCP connections, by NETLINK_SOCK_DIAG
    counters     /proc/net/snmp, snmp6 and netstat, and the settings that decide what they mean
    gather       all of it as one value, and the way to forget learned path MTUs

What it means is `core.evidence.symptoms`. A namespace is entered by a thread of its own (node.kernel.netns), never a
mount or PID one.
"""
