"""Networks beside the pod network, as a person reads them: a short table, and whose own network is another."""

from collections.abc import Iterator, Sequence

from kubemtu.cli.wrapping import aligned, wrapped
from kubemtu.core.rules.attachments import OtherNetwork
from kubemtu.core.rules.report import Report
from kubemtu.core.text import printable
from kubemtu.core.text.wording import count, names, sizes

LINES_MOST = 10  # networks that get a line; of thousands no more than a page is shown
TITLE = "Other networks (read, never changed):"
HEAD = ("NETWORK", "BY", "ON", "ASKS FOR", "NEW POD", "PODS", "THEY HAVE")


def lines(report: Report, columns: int | None, *, whole: bool = False) -> Iterator[str]:
    """Yield the section; nothing where there is no other network. `whole`: a line for each, however many.

    Those that are spoken of in a finding come first, then those that pods use.
    """
    if report.other_networks:
        yield from _table(report, columns, whole=whole)
    if report.elsewhere:
        number = len(report.elsewhere)
        whose = "its own network" if number == 1 else "their own network"
        yield from wrapped(
            f"{count(number, 'pod')} {'has' if number == 1 else 'have'} another one as {whose}"
            f" ({names(report.elsewhere)}): what is said of the pod network is not about"
            f" {'it' if number == 1 else 'them'}.",
            columns,
            indent=2,
        )


def _table(report: Report, columns: int | None, *, whole: bool) -> Iterator[str]:
    places = {word.rstrip(",") for finding in report.findings for word in finding.place.split()}
    ordered = sorted(report.other_networks, key=lambda each: (each.name not in places, not each.pods))
    shown = ordered if whole else ordered[:LINES_MOST]
    rows = [tuple(map(printable.one_line, row(each))) for each in shown]
    made = [line.rstrip() for line in aligned((HEAD, *rows), indent=2)]
    yield TITLE
    if columns is not None and max(map(len, made)) > columns:
        for cells in rows:
            yield from wrapped(_sentence(cells), columns, indent=2, hang=2)
    else:
        yield from made
    if left := len(ordered) - len(shown):
        yield from wrapped(f"and {left:,} more: -v shows each", columns, indent=2)


def row(network: OtherNetwork) -> tuple[str, ...]:
    """Return the cells of one network; what was not seen is "?", and what it does not have "-"."""
    device = f"{network.device} {_range(network.device_mtus)}".strip() if network.device else "-"
    return (
        network.name,
        network.plugin or "?",
        device,
        str(network.mtu) if network.mtu is not None else "-",
        _new(network),
        f"{network.pods:,}",
        (_range(network.pod_mtus) or "?") if network.pods else "-",
    )


def _new(network: OtherNetwork) -> str:
    """Return what a new pod gets; where every node refuses it that is no size, and not "?" either."""
    if network.refused:
        return "refused"
    refusing = f" (refused on {count(len(network.refused_on), 'node')})" if network.refused_on else ""
    return f"{_range(network.new_pod_mtus) or '?'}{refusing}"


def _sentence(cells: Sequence[str]) -> str:
    name, plugin, device, asks, new, pods, have = cells
    by = f"by {plugin}" if plugin != "?" else "by what is not known"
    said = [by if device == "-" else f"{by} on {device}"]
    said += [f"asks for {asks}"] if asks != "-" else []
    unknown = f"what new pods get is not known{new[1:]}" if new.startswith("?") else f"new pods get {new}"
    said += ["new pods are refused" if new == "refused" else unknown]
    there = {"0": "no pod", "1": "1 pod"}.get(pods, f"{pods} pods")
    return f"{name}: {', '.join(said)}; {there}" + {"-": "", "?": ", not looked into"}.get(have, f" with {have}")


def _range(mtus: Sequence[int]) -> str:
    return sizes(min(mtus), max(mtus)) if mtus else ""
