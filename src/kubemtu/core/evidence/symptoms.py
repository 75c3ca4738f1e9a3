"""What passive evidence says about the MTU: one sentence for each thing that it shows, and how sure it is.

Counts only say something about the time between two readings; of a single one they say what has happened since the
namespace exists. What TCP connections show is in `core.evidence.stalls`. Sizes are of whole IP packets, in bytes.
"""

from collections.abc import Iterator, Mapping, Sequence

import msgspec

from kubemtu.core import net
from kubemtu.core.evidence import stalls
from kubemtu.core.evidence.records import Counters, Evidence, Kind, Symptom
from kubemtu.core.net import PodPort
from kubemtu.core.text import wording

NEAR = 16  # bytes: the kernel's search ends tcp_probe_threshold (8) below what fits, and its steps overlap
HERE = "this namespace"
DISCOVERY = {  # Documentation/networking/ip-sysctl.rst
    1: "packets go out without DF and may be cut on their way, which hides what their size would show",
    2: "packets go out without DF, and what routers say about the path is ignored",
    3: "what routers say about the path is believed only of protocols that can check it",
}


def symptoms(
    before: Evidence | None,
    now: Evidence,
    *,
    ports_before: Sequence[PodPort] = (),
    ports: Sequence[PodPort] = (),
    measured: Mapping[str, int] | None = None,
) -> tuple[Symptom, ...]:
    """List what one namespace shows, what is proven first.

    `before` is an earlier reading of the same namespace. `ports` are the pod ports of the node whose namespace it is,
    with their drop counters, `ports_before` those of the earlier reading. `measured` holds path MTUs that were measured
    exactly, by remote address.
    """
    found = [
        *stalls.stalled(before, now),
        *_probing(before, now),
        *_held(now, measured or {}),
        *_ends(ports_before, ports),
        *_counted(before, now),
        *stalls.clamped(now),
        *_masks(now),
    ]
    return tuple(sorted(found, key=lambda one: one.sure != "proves"))


def risen(before: Evidence | None, now: Evidence) -> Counters:
    """Return what was counted between two readings, or since the namespace exists; a count that fell began anew."""
    if before is None:
        return now.counters
    pairs = {name: (getattr(before.counters, name), getattr(now.counters, name)) for name in Counters.__struct_fields__}
    return Counters(**{name: new - old if new >= old else new for name, (old, new) in pairs.items()})


def _since(before: Evidence | None, now: Evidence) -> str:
    return "since this namespace exists" if before is None else f"within {max(now.at - before.at, 0):.1f} s"


def _probing(before: Evidence | None, now: Evidence) -> Iterator[Symptom]:
    """Tell of the kernel's own search (net/ipv4/tcp_timer.c, tcp_mtu_probing), which begins after seconds of silence.

    A connection that has survived an outage searches as well, on a path that carries everything: then sizes arrive, and
    one that failed was lost. So more must have failed than loss explains, while connections stay small.
    """
    counted, mode = risen(before, now), now.sysctls.tcp_mtu_probing
    failed, arrived = counted.tcp_mtup_fail, counted.tcp_mtup_success
    if not failed and not arrived:
        return
    kept = [one for one in stalls.small(now) if one.packet + NEAR < one.pmtu] if mode else []
    sent, lost = counted.tcp_out_segs + counted.tcp_retrans_segs, counted.tcp_retrans_segs
    unlucky = stalls.chance(sent, lost, failed + arrived, failed)
    likely = unlucky <= stalls.LIKELY
    fact = f"the kernel has searched for a path MTU by itself {_since(before, now)}: "
    fact += f"{wording.count(failed, 'size')} failed and {arrived} arrived"
    if kept:
        sizes = wording.sizes(min(one.packet for one in kept), max(one.packet for one in kept))
        fact += f"; {wording.count(len(kept), 'connection')} now {wording.verb(len(kept), 'send')} packets of {sizes} "
        fact += f"bytes where {max(one.pmtu for one in kept)} is believed"
    if mode == 1:
        cause = "a black hole, masked and still there" if likely else "an outage, or a black hole"
        fact += f". It does so only after seconds of silence: there was {cause}"
    elif mode:
        fact += ". It always does so here, on healthy paths too"
    yield Symptom(
        kind="black hole found by the kernel",
        sentence=fact,
        sure="proves" if mode == 1 and kept and unlucky <= stalls.RISK else "suggests",
        says_mtu=True if likely else None,
        where=HERE,
        peers=tuple(dict.fromkeys(one.remote for one in kept)),
    )


def _held(now: Evidence, measured: Mapping[str, int]) -> Iterator[Symptom]:
    """Yield path MTUs that a kernel holds below its device's: learned ones, and those that connections still go by."""
    held: dict[str, tuple[int, int, int, bool]] = {}
    for one in now.connections:
        if 0 < one.pmtu < one.device_mtu and not 0 < one.route_mtu <= one.pmtu:
            held[one.remote] = (one.pmtu, one.device_mtu, 0, False)
    for seen in now.learned:
        held[seen.destination] = (seen.mtu, seen.device_mtu, seen.expires, seen.locked)
    groups: dict[tuple[int, int, bool, int | None], list[str]] = {}
    for address, (mtu, device, _expires, locked) in held.items():
        groups.setdefault((mtu, device, locked, measured.get(address)), []).append(address)
    for (mtu, device, locked, truth), addresses in groups.items():
        lasts = max(held[address][2] for address in addresses)
        to = wording.names(addresses)
        fact = f"the kernel holds {mtu} bytes for the path to {to}" + (f", where {device} leave" if device else "")
        fact += f", for {lasts} s more" if lasts else ""
        stale = truth is not None and truth > mtu
        if stale:
            fact += (
                f", but {truth} bytes arrive: it is of a time that is over, or of another of several equal paths, or "
                "was forged (`ip route flush cache` forgets what was learned)"
            )
        elif locked:
            fact += (
                "; a router claimed less than net.ipv4.route.min_pmtu, which is rarely true, and DF is left out since"
            )
        elif truth is not None and truth < mtu:
            fact += f", but only {truth} bytes arrive: something beyond drops what is larger without a word"
        else:
            fact += ": a router said so, and senders adapt" + ("" if truth is None else f"; {truth} bytes arrive")
        yield Symptom(
            kind="stale path MTU" if stale else "path MTU learned",
            sentence=fact,
            sure="suggests" if truth is None else "proves",
            says_mtu=True,
            where=f"the path to {to}",
            peers=tuple(addresses),
        )


def _ends(before: Sequence[PodPort], now: Sequence[PodPort]) -> Iterator[Symptom]:
    """Return the drops that both ends of a veth have counted: the one that sent, and the one that refused."""
    known = {(port.inode, port.host_index): port for port in before}
    for port in now:
        old = known.get((port.inode, port.host_index))
        for way in _ways(port, old):
            lost, high = min(way.drops), max(way.drops)
            if lost and (way.differ or 10 * lost >= 9 * high):  # a tenth passes between looking at both
                yield _dropped(port, way, lost, "" if old else " so far")


class _PortDirection(msgspec.Struct, frozen=True):
    """One direction through a port: what its receiving and its sending end dropped, and their MTUs."""

    name: str
    drops: tuple[int, int]
    mtus: tuple[int, int]
    receiver: str
    counters: str

    @property
    def differ(self) -> bool:
        """Whether the receiver drops some of what the sender may send."""
        return self.mtus[0] + net.VLAN_SLACK < self.mtus[1]


def _ways(port: PodPort, old: PodPort | None) -> tuple[_PortDirection, _PortDirection]:
    host_rx, host_tx, pod_rx, pod_tx = _drops(port, old)
    own = port.pod_mtu if port.pod_mtu is not None else port.host_mtu  # no agent shows a port without its own end
    out = "rx_dropped of the host end = tx_dropped in the pod"
    back = "tx_dropped of the host end = rx_dropped in the pod"
    return (
        _PortDirection("the pod sent", (host_rx, pod_tx), (port.host_mtu, own), "the host end", out),
        _PortDirection("the pod was sent", (pod_rx, host_tx), (own, port.host_mtu), "the pod's end", back),
    )


def _drops(port: PodPort, old: PodPort | None) -> list[int]:
    """Return the drops since the earlier reading, or at all: received and sent, at the host end and in the pod."""
    names = ("host_rx_dropped", "host_tx_dropped", "pod_rx_dropped", "pod_tx_dropped")
    earlier = [getattr(old, name) if old else 0 for name in names]
    found = [getattr(port, name) for name in names]
    return [new - past if new >= past else new for new, past in zip(found, earlier, strict=True)]


def _dropped(port: PodPort, way: _PortDirection, lost: int, so_far: str) -> Symptom:
    ends = f"{port.host_link} has {port.host_mtu} and {port.pod_link} in the pod {port.pod_mtu or '?'}"
    if way.differ:
        what = f"{way.receiver} is smaller than what is sent to it, and drops it without a word"
    else:
        what = "that does not drop any more, or there is another reason"
    return Symptom(
        kind="veth ends differ",
        sentence=f"{wording.count(lost, 'packet')} that {way.name} vanished between the ends of its interface{so_far} "
        f"({way.counters}); {ends}: {what}",
        sure="proves" if way.differ else "suggests",
        says_mtu=True if way.differ else None,
        where=f"{port.host_link} ({port.netns})",
    )


def _counted(before: Evidence | None, now: Evidence) -> Iterator[Symptom]:
    counted, since = risen(before, now), _since(before, now)
    if refused := counted.ip_frag_fails + max(counted.ip6_frag_fails, counted.ip6_in_too_big_errors):
        fact = (
            f"this host itself refused {wording.count(refused, 'packet')} {since}, each too large for the next device "
        )
        yield _here(
            "refused here", fact + "and told the sender unless that is filtered (FragFails)", sure=True, mtu=True
        )
    if made := counted.ip_frag_creates + counted.ip6_frag_creates:
        fact = f"this host made {wording.count(made, 'fragment')} {since} (FragCreates): of large datagrams without "
        yield _here(
            "fragmented here", fact + "DF, or of a tunnel's outer packets because its device's MTU is too large"
        )
    joined = counted.ip_reasm_oks + counted.ip6_reasm_oks
    failed = counted.ip_reasm_fails + counted.ip6_reasm_fails
    if joined + failed:
        fact = (
            f"{wording.count(joined, 'packet')} for this host came in fragments {since}, and {failed} more not whole "
        )
        yield _here(
            "reassembled here", fact + "(ReasmOKs, ReasmFails): whoever sent them had a smaller device on the way"
        )
    if said := counted.icmp6_in_pkt_too_bigs:
        fact = (
            f"routers said {wording.count(said, 'time')} {since} that an IPv6 packet was too big (Icmp6InPktTooBigs): "
        )
        yield _here(
            "path MTU learned", fact + "a path is smaller than the device, and senders adapt", sure=True, mtu=True
        )
    if ended := counted.tcp_abort_on_timeout:
        fact = f"the kernel gave up {wording.count(ended, 'connection')} {since} that nobody answered any more "
        yield _here("connections given up", fact + "(TCPAbortOnTimeout): an outage, or large packets that vanish")


def _masks(now: Evidence) -> Iterator[Symptom]:
    if probing := now.sysctls.tcp_mtu_probing:
        fact = f"net.ipv4.tcp_mtu_probing is {probing}: a TCP connection finds its way out of a black hole "
        fact += "after some seconds of silence" if probing == 1 else "by itself"
        yield _here("masked", fact + ", each anew, and UDP and QUIC do not: the fault is masked, and still there")
    if (mode := now.sysctls.ip_no_pmtu_disc) and mode in DISCOVERY:
        yield _here("discovery off", f"net.ipv4.ip_no_pmtu_disc is {mode}: {DISCOVERY[mode]}")


def _here(kind: Kind, sentence: str, *, sure: bool = False, mtu: bool | None = None) -> Symptom:
    return Symptom(kind=kind, sentence=sentence, sure="proves" if sure else "suggests", says_mtu=mtu, where=HERE)
