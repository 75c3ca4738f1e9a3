"""Merges the books of all senders, receivers and ports into one Tally. Pure, and it believes nothing.

    lost silently = sent − received − told        each a set of numbers, per flow

Each of the three comes from another program or kernel, so they can contradict each other; then BooksDisagree is raised
instead of a result.
"""

import itertools
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from kubemtu_lab.traffic import plan as plans
from kubemtu_lab.traffic import wire
from kubemtu_lab.traffic.errors import BooksDisagree
from kubemtu_lab.traffic.numbers import Numbers
from kubemtu_lab.traffic.tally import Counts, Interval, Losses, Moment, PortDrops, Tally

_SUMMED = tuple(name for name in Counts.__struct_fields__ if not name.endswith("_ms"))


def balance(
    plan: plans.Plan,
    moments: Sequence[Moment],
    ended: float,
    books: Mapping[str, Iterable[wire.Books]],
    *,
    drops: Sequence[Mapping[str, PortDrops]] = (),
    backlog_drops: int = 0,
) -> Tally:
    """Merge all books into one Tally.

    `books` by place; `drops` by place at every moment and once more at the end, or empty when nobody read them;
    `ended` in seconds of CLOCK_MONOTONIC, when sending stopped. Raises BooksDisagree.
    """
    if drops and len(drops) != len(moments) + 1:
        raise BooksDisagree(f"{len(drops)} readings of the drop counters for {len(moments)} marks and an end")
    pages = _Pages(books)
    _check_strangers(plan, pages)
    rows = [_Row() for _ in moments]
    losses = [_udp(flow, pages, rows) for flow in plan.udp]
    for flow in plan.tcp:
        _tcp(flow, pages, rows)
    for kernel in pages.kernel.values():
        for row, again in zip(rows, _per_interval(kernel.retransmits, len(rows), "retransmits"), strict=True):
            row.counts["retransmits"] += again
    for row, before, after in zip(rows, drops, drops[1:], strict=False):
        row.counts["veth_drops"] += _crossing(before, after)
    _check_ports(plan, pages, drops)
    ends = [*(moment.at for moment in moments[1:]), ended]
    intervals = tuple(row.interval(moment, end) for row, moment, end in zip(rows, moments, ends, strict=True))
    return _total(plan, pages, intervals, losses, backlog_drops=backlog_drops)


def _total(
    plan: plans.Plan, pages: "_Pages", intervals: Sequence[Interval], losses: Sequence[Losses], *, backlog_drops: int
) -> Tally:
    counts: Counter[str] = Counter()
    for interval in intervals:
        counts.update({name: getattr(interval, name) for name in _SUMMED})
    overflow = sum(kernel.receiver_overflow for kernel in pages.kernel.values())
    missing = counts["udp_lost_silently"]
    if overflow > missing:
        raise BooksDisagree(f"receivers' own buffers dropped {overflow} datagrams, but only {missing} are missing")
    seconds = intervals[-1].ends - intervals[0].begins if intervals else 0.0
    return Tally(
        seconds=seconds,
        intervals=tuple(intervals),
        losses=tuple(one for one in losses if one.lost),
        udp_duplicates=sum(arrivals.duplicates for arrivals in pages.arrivals.values()),
        udp_reordered=sum(arrivals.reordered for arrivals in pages.arrivals.values()),
        tcp_wrong_answers=sum(asked.wrong for asked in pages.asked.values()),
        receiver_overflow=overflow,
        backlog_drops=backlog_drops,
        errors=_errors(pages),
        kernel={place: kernel.counts for place, kernel in pages.kernel.items()},
        samples=tuple(pages.samples),
        flaws=tuple(_flaws(plan, counts, seconds, overflow=overflow, backlog_drops=backlog_drops)),
        tcp_longest_stall_ms=max((interval.tcp_longest_stall_ms for interval in intervals), default=0.0),
        connect_longest_ms=max((interval.connect_longest_ms for interval in intervals), default=0.0),
        **counts,
    )


class _Row:
    """What one interval comes to, by the names of `Counts`."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.stall_ms = 0.0
        self.connect_ms = 0.0
        self.sizes: set[int] = set()

    def interval(self, moment: Moment, end: float) -> Interval:
        """Return the row as a record."""
        return Interval(
            name=moment.name,
            begins=moment.at,
            ends=end,
            udp_sizes=tuple(sorted(self.sizes)),
            tcp_longest_stall_ms=self.stall_ms,
            connect_longest_ms=self.connect_ms,
            **self.counts,
        )


class _Pages:
    """All books, sorted by what they are about."""

    def __init__(self, books: Mapping[str, Iterable[wire.Books]]) -> None:
        self.sent: dict[int, wire.UdpSent] = {}
        self.told: dict[int, Numbers] = {}
        self.swallowed: dict[int, Numbers] = {}
        self.received: dict[int, Numbers] = {}
        self.arrivals: dict[int, wire.UdpArrivals] = {}
        self.asked: dict[int, wire.TcpAsked] = {}
        self.served: Counter[int] = Counter()
        self.samples: list[wire.Sample] = []
        self.kernel: dict[str, wire.KernelCounts] = {}
        for place, pages in books.items():
            for page in pages:
                self._file(place, page)

    def _file(self, place: str, page: wire.Books) -> None:
        match page:
            case wire.UdpSent():
                self.sent[page.flow] = page
            case wire.IcmpReported():
                _extend(self.told, page.flow, page.runs)
            case wire.PortDropped():
                _extend(self.swallowed, page.flow, page.runs)
            case wire.Received():
                _extend(self.received, page.flow, page.runs)
            case wire.UdpArrivals():
                self.arrivals[page.flow] = page
            case wire.TcpAsked():
                self.asked[page.flow] = page
            case wire.TcpServed():
                self.served[page.flow] += page.answers
            case wire.Sample():
                self.samples.append(page)
            case wire.KernelCounts():
                self.kernel[place] = page


def _extend(books: dict[int, Numbers], flow: int, runs: Sequence[int]) -> None:
    try:
        pairs = list(zip(runs[::2], runs[1::2], strict=True))
        books[flow] = Numbers([*books.get(flow, Numbers()).runs(), *pairs])
    except ValueError as error:
        raise BooksDisagree(f"flow {flow}: {error}") from error


def _per_interval(values: Sequence[int], spans: int, what: str) -> Sequence[int]:
    if len(values) != spans:
        raise BooksDisagree(f"a book has {len(values)} intervals of {what}, but there were {spans} marks")
    return values


def _udp(flow: plans.UdpFlow, pages: _Pages, rows: Sequence[_Row]) -> Losses:
    """Add a flow to the rows of its intervals."""
    where = f"UDP flow {flow.id} from {flow.source} to {flow.address} ({flow.target})"
    if flow.id not in pages.sent:
        raise BooksDisagree(f"{where}: the sender handed over no book")
    book = pages.sent[flow.id]
    sent = Numbers([(0, book.sent)] if book.sent else [])
    told = pages.told.get(flow.id, Numbers())
    swallowed = pages.swallowed.get(flow.id, Numbers())
    received = pages.received.get(flow.id, Numbers())
    for name, numbers in (("received", received), ("told of", told), ("dropped at the sender's port", swallowed)):
        if beyond := numbers.minus(sent):
            raise BooksDisagree(f"{where}: number {next(iter(beyond))} was {name}, but never sent")
    for name, one, other in (
        ("both received and reported by ICMP as dropped", received, told),
        ("both received and dropped at the sender's port", received, swallowed),
        ("both dropped at the sender's port and reported by ICMP", swallowed, told),
    ):
        if both := one.overlap(other):
            raise BooksDisagree(f"{where}: number {next(iter(both))} was {name}")
    lost = sent.minus(received).minus(told)
    spans = len(rows)
    for row, size in zip(rows, _per_interval(book.sizes, spans, "sizes"), strict=True):
        row.sizes.add(size)
    bounds = [*_per_interval(book.firsts, spans, "first numbers"), book.sent]
    if bounds[0] != 0 or bounds != sorted(bounds):
        raise BooksDisagree(f"{where}: the first numbers of its intervals, {book.firsts}, do not ascend from 0")
    for at, (first, stop) in enumerate(itertools.pairwise(bounds)):
        counts = rows[at].counts
        counts["udp_sent"] += stop - first
        for name, numbers in (
            ("udp_received", received),
            ("udp_told_icmp", told),
            ("udp_lost_silently", lost),
            ("udp_lost_at_own_port", swallowed),
        ):
            counts[name] += numbers.below(stop) - numbers.below(first)
        counts["udp_told_emsgsize"] += _per_interval(book.refused, spans, "refusals")[at]
        counts["udp_failed_sends"] += _per_interval(book.failed, spans, "failures")[at]
    return Losses(source=flow.source, target=flow.target, address=flow.address, sent=book.sent, lost=len(lost))


def _tcp(flow: plans.TcpFlow, pages: _Pages, rows: Sequence[_Row]) -> None:
    where = f"TCP flow {flow.id} from {flow.source} to {flow.address} ({flow.target})"
    if flow.id not in pages.asked:
        raise BooksDisagree(f"{where}: the asking side handed over no book")
    book = pages.asked[flow.id]
    if sum(book.answered) > pages.served[flow.id]:
        raise BooksDisagree(f"{where}: {sum(book.answered)} answers came, but {pages.served[flow.id]} were given")
    connects = flow.style == "connect"
    for at, row in enumerate(rows):
        asked, answered, failed, stuck = (
            _per_interval(values, len(rows), "TCP questions")[at]
            for values in (book.asked, book.answered, book.failed, book.stuck)
        )
        # A connection may also end while no question is open; hence an inequality for those that are to stay.
        known = answered + failed + stuck
        if asked > known or answered + stuck > asked or (connects and asked != known):
            raise BooksDisagree(
                f"{where}: {asked} questions, but {answered} answers, {failed} failures and {stuck} that are stuck"
            )
        row.counts["connect_attempts" if connects else "tcp_questions"] += asked
        row.counts["connect_failures" if connects else "tcp_resets"] += failed
        row.counts["tcp_stuck"] += stuck
        if connects:
            row.connect_ms = max(row.connect_ms, book.longest_ms[at])
        else:
            row.stall_ms = max(row.stall_ms, book.longest_ms[at])


def _check_strangers(plan: plans.Plan, pages: _Pages) -> None:
    ids = {flow.id for flow in plan.udp} | {flow.id for flow in plan.tcp}
    seen = {*pages.sent, *pages.received, *pages.told, *pages.asked, *pages.served}
    if strangers := seen - ids:
        raise BooksDisagree(f"the books speak of flow {min(strangers)}, which nobody planned")


def _crossing(before: Mapping[str, PortDrops], after: Mapping[str, PortDrops]) -> int:
    """Count packets that one end of a veth sent and the other end did not take, as the sending ends counted them."""
    crossing = 0
    for place, now in after.items():
        then = before.get(place, PortDrops())
        more = (now.pod_tx_dropped - then.pod_tx_dropped, now.host_tx_dropped - then.host_tx_dropped)
        if min(more) < 0:
            raise BooksDisagree(f"the drop counters of {place} ran backwards: was its link made anew during the run?")
        crossing += sum(more)
    return crossing


def _check_ports(plan: plans.Plan, pages: _Pages, drops: Sequence[Mapping[str, PortDrops]]) -> None:
    """Hold what a pod's socket saw dropped at its own port against what the port counted."""
    if not drops:
        return
    swallowed: Counter[str] = Counter()
    for flow in plan.udp:
        swallowed[flow.source] += len(pages.swallowed.get(flow.id, Numbers()))
    for place, after in drops[-1].items():
        counted = after.pod_tx_dropped - drops[0].get(place, PortDrops()).pod_tx_dropped
        if swallowed[place] > counted:
            raise BooksDisagree(
                f"{place}: {swallowed[place]} datagrams were dropped at its port, but its tx_dropped counts {counted}"
            )


def _errors(pages: _Pages) -> dict[str, int]:
    errors: Counter[str] = Counter()
    for sent in pages.sent.values():
        errors.update(sent.errors)
    for asked in pages.asked.values():
        errors.update(asked.errors)
    return dict(errors)


def _flaws(
    plan: plans.Plan, counts: Mapping[str, int], seconds: float, *, overflow: int, backlog_drops: int
) -> Iterable[str]:
    if overflow:
        yield f"{overflow} datagrams overflowed the receivers' own buffers; the network did not lose them."
    if backlog_drops and counts["udp_lost_silently"]:
        yield f"The machine itself dropped {backlog_drops} packets because it was too busy; they may be among the lost."
    wanted = sum(flow.per_second for flow in plan.udp) * seconds
    if seconds > 1 and counts["udp_sent"] < wanted / 2:
        yield f"Only {counts['udp_sent']} of {wanted:.0f} planned datagrams were sent: the machine was too busy."
