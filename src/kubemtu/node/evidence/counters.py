"""The counts and settings of the calling thread's network namespace.

/proc/net is that of the process' first thread, so /proc/thread-self/net is read (fs/proc/proc_net.c); /proc/sys/net
shows the namespace of whoever looks (net/sysctl_net.c). Formats: net/ipv4/proc.c, net/ipv6/proc.c, RFC 2011, RFC 4293.
"""

import contextlib
from pathlib import Path
from typing import Final, NamedTuple

from kubemtu.core.evidence import records

PROC: Final = Path("/proc")
_COUNTED: Final = {
    "IpFragFails": "ip_frag_fails",
    "IpFragOKs": "ip_frag_oks",
    "IpFragCreates": "ip_frag_creates",
    "IpReasmOKs": "ip_reasm_oks",
    "IpReasmFails": "ip_reasm_fails",
    "IpOutDiscards": "ip_out_discards",
    "IcmpInDestUnreachs": "icmp_in_dest_unreachs",
    "IcmpMsgInType3": "icmp_in_type3",
    "IcmpMsgOutType3": "icmp_out_type3",
    "Ip6InTooBigErrors": "ip6_in_too_big_errors",
    "Ip6FragFails": "ip6_frag_fails",
    "Ip6FragOKs": "ip6_frag_oks",
    "Ip6FragCreates": "ip6_frag_creates",
    "Ip6ReasmOKs": "ip6_reasm_oks",
    "Ip6ReasmFails": "ip6_reasm_fails",
    "Ip6OutDiscards": "ip6_out_discards",
    "Icmp6InPktTooBigs": "icmp6_in_pkt_too_bigs",
    "Icmp6OutPktTooBigs": "icmp6_out_pkt_too_bigs",
    "TcpOutSegs": "tcp_out_segs",
    "TcpRetransSegs": "tcp_retrans_segs",
    "TcpExtTCPTimeouts": "tcp_timeouts",
    "TcpExtTCPRetransFail": "tcp_retrans_fail",
    "TcpExtTCPAbortOnTimeout": "tcp_abort_on_timeout",
    "TcpExtTCPMTUPFail": "tcp_mtup_fail",
    "TcpExtTCPMTUPSuccess": "tcp_mtup_success",
}
_SET: Final = {
    "tcp_mtu_probing": "net/ipv4/tcp_mtu_probing",
    "tcp_base_mss": "net/ipv4/tcp_base_mss",
    "ip_no_pmtu_disc": "net/ipv4/ip_no_pmtu_disc",
    "route_min_pmtu": "net/ipv4/route/min_pmtu",
    "ipv6_accept_ra_mtu": "net/ipv6/conf/default/accept_ra_mtu",
}


def read(troubles: list[str], proc: Path = PROC) -> records.Counters:
    """Read the counts; a file that cannot be read adds a sentence to `troubles` and counts nothing."""
    found: dict[str, int] = {}
    for name in ("snmp", "snmp6", "netstat"):
        try:
            text = (proc / "thread-self/net" / name).read_text()
        except FileNotFoundError:
            if name != "snmp6":  # a kernel without IPv6 has none
                troubles.append(f"/proc/net/{name} is not there: its counts are not known")
        except OSError as error:
            troubles.append(f"/proc/net/{name}: {error.strerror}; let kubemtu read it")
        else:
            found |= listed(text) if name == "snmp6" else paired(text)
    return records.Counters(**{field: found.get(name, 0) for name, field in _COUNTED.items()})


class Cut(NamedTuple):
    """Fragments that were made so far, and packets that should have been cut and might not be, of both families."""

    made: int
    refused: int


def cut(proc: Path = PROC) -> Cut:
    """Read FragCreates and FragFails of this namespace, without everything else. Raises OSError."""
    net = proc / "thread-self/net"
    found = paired((net / "snmp").read_text())
    with contextlib.suppress(FileNotFoundError):  # a kernel without IPv6
        found |= listed((net / "snmp6").read_text())
    return Cut(
        found.get("IpFragCreates", 0) + found.get("Ip6FragCreates", 0),
        found.get("IpFragFails", 0) + found.get("Ip6FragFails", 0),
    )


def settings(proc: Path = PROC) -> records.Sysctls:
    """Read the settings; one that this kernel has not, or that cannot be read, stays None."""
    return records.Sysctls(**{field: _number(proc / "sys" / path) for field, path in _SET.items()})


def paired(text: str) -> dict[str, int]:
    """Parse the counts of snmp and netstat: a line of names, then one of numbers, each after the same prefix."""
    found: dict[str, int] = {}
    names: dict[str, list[str]] = {}
    for line in text.splitlines():
        prefix, _, rest = line.partition(":")
        words = rest.split()
        if prefix not in names:
            names[prefix] = words
            continue
        for name, word in zip(names.pop(prefix), words, strict=False):
            if word.lstrip("-").isdigit():
                found[prefix + name] = int(word)
    return found


def listed(text: str) -> dict[str, int]:
    """Return the counts of snmp6: a name and a number on each line."""
    pairs = (line.split() for line in text.splitlines())
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdigit()}


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None
