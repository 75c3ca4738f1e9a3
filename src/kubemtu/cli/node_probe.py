"""`kubemtu node respond` and `kubemtu node probe`: the exact path MTU between two hosts, without Kubernetes."""

import contextlib
import ipaddress
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import click
import msgspec

from kubemtu.cli import combined, output, paths, terminal
from kubemtu.core import errors
from kubemtu.core.path import direction, search, verdict
from kubemtu.core.path import wording as path_wording
from kubemtu.core.probe import request
from kubemtu.core.text import wording
from kubemtu.node.evidence import gather
from kubemtu.node.kernel import netns
from kubemtu.node.probe import channel, measuring, namespaces, station, wire

SIGN = {True: ("✓", "green"), False: ("✗", "red")}
FLOWS_MOST = 256
BY_ECHO = "{} is of `kubemtu node respond`, and --icmp asks for an echo of the kernel's: leave one of them out"
key_option = click.option(
    "--key-file",
    type=paths.NamedPath(path_type=Path, dir_okay=False),
    help="The key that both ends share; without it anybody may ask, and nobody measures back.",
)


class DirectionResult(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Report one direction."""

    ending: str
    """"exact": proven; "unreachable": nothing was answered; "lossy", "overloaded": too much was lost to prove more."""
    mtu: int
    """The largest packet that arrived, in bytes; 0 when none did."""
    limit: str | None
    """What stops the next larger size; null when nothing was proven."""
    interface_mtu: int
    """The MTU of the sender's own interface, in bytes."""
    next_size_losses: int
    """How often a packet one byte larger was lost."""
    fitting_packets: int
    """How many packets of up to `mtu` bytes were sent."""
    fitting_lost: int
    """How many of those were lost."""
    rounds: int
    """How many bursts it took."""
    packets: int
    """How many packets were sent."""
    path_mtu_after: int
    """The path MTU that the sender's kernel held afterwards, in bytes; 0 when not known."""
    too_big: tuple[search.TooBig, ...] = ()
    """What routers said of packets larger than `mtu`."""
    segments: direction.Segments | None = None
    """What the sender's TCP is made to believe; null when that was not looked at."""
    nat_address: str = ""
    """The address under which the receiver sees the sender, where that is another."""


class HostProbe(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Report the path between this host and another one."""

    address: str
    """The address that was measured."""
    port: int
    """The port of its station."""
    mtu: int
    """The largest packet that arrives whole, in bytes; 0 when none did."""
    expected: int
    """The size that should arrive, in bytes."""
    kind: verdict.Kind
    """The class of what was measured."""
    is_mtu: str
    """Whether an MTU is the trouble: "yes", "no" or "unknown"."""
    sentence: str
    """What is so, in one sentence."""
    location: str
    """Who or where is at fault; empty when not known."""
    advice: str
    """What to do next."""
    duration_seconds: float
    """How long it took to measure all."""
    packets: int
    """How many packets were sent forward."""
    round_trip_seconds: float
    """The round trip of the smallest packet."""
    protocol: str
    """What was measured by: UDP to a station, or ICMP echo."""
    evidence: tuple[str, ...]
    """What the verdict rests on, a fact each."""
    forward: DirectionResult
    """From this host to the other."""
    backward: DirectionResult | None = None
    """From the other host to this one; null when not measured."""
    forgotten_path_mtus: int = 0
    """How many learned path MTUs were forgotten first."""
    notes: tuple[str, ...] = ()
    """What else is to be said of how it was measured."""


@click.command()
@click.option("--port", default=request.PORT, show_default=True, type=click.IntRange(1, 65535), help="UDP port.")
@key_option
def respond(port: int, key_file: Path | None) -> int:
    """Answer `kubemtu node probe` from other hosts, until interrupted.

    Answers are forty bytes, never longer than what they answer. With a key, only those who hold it are answered, and
    the path back to them is measured when they ask for it. The TCP port of the same number tells what TCP is made to
    believe on the way.
    """
    with station.Station(_key(key_file), port=port, families=station.spoken()) as serving, _until_told() as told:
        with contextlib.suppress(errors.UsageError):  # the TCP port is another's: only masks are not seen then
            serving.listen(port)
        families = wording.names(f"IPv{family}" for family in serving.families)
        terminal.echo(f"answering on UDP port {port} over {families}; end with Ctrl-C")
        if key_file is None:
            terminal.echo(
                terminal.style("without --key-file anybody may ask, and nothing is measured back", fg="yellow"),
                err=True,
            )
        serving.serve(lambda: not told)
        refused = serving.refused
        strangers = refused.foreign + refused.damaged + refused.forged
        terminal.echo(
            f"answered {wording.count(serving.answered, 'packet')}; met with silence: {strangers} of strangers, "
            f"{refused.repeated} repeated, {refused.limited} above the limit"
        )
    return errors.FINE


@click.command()
@click.argument("host")
@click.option(
    "-4",
    "only_4",
    is_flag=True,
    cls=combined.Option,
    beside={"only_6": "give -4 or -6, or neither, which takes what the name has"},
    help="IPv4 only.",
)
@click.option("-6", "only_6", is_flag=True, help="IPv6 only.")
@click.option(
    "--port", default=request.PORT, show_default=True, type=click.IntRange(1, 65535), help="UDP and TCP port."
)
@key_option
@click.option("--expected", type=click.IntRange(100, 65535), help="The MTU expected, in bytes.  [the interface's]")
@click.option("--flows", default=1, show_default=True, type=click.IntRange(1, FLOWS_MOST), help="Source ports to try.")
@click.option("--one-way", is_flag=True, help="Do not have the other end measure back.")
@click.option(
    "--icmp",
    is_flag=True,
    cls=combined.Option,
    beside={"port": BY_ECHO.format("--port"), "key_file": BY_ECHO.format("--key-file")},
    help="Use ICMP echo, for hosts without `kubemtu node respond`.",
)
@click.option("--flush", is_flag=True, help="First forget every path MTU that this host has learned.")
@output.output_option
def probe(
    host: str,
    only_4: bool,
    only_6: bool,
    port: int,
    key_file: Path | None,
    expected: int | None,
    flows: int,
    one_way: bool,
    icmp: bool,
    flush: bool,
    output_format: str,
) -> int:
    """Find the exact MTU of the path to HOST and back, and what limits it.

    HOST runs `kubemtu node respond`; where nothing answers, ICMP echo is tried, which tells less. `--flows 48` finds
    any of four equal paths that differs. Ends with 1 when the path does not carry what is expected.
    """
    _, address = _resolve(host, 4 if only_4 else 6 if only_6 else None)
    way = request.PathRequest(
        name=host,
        source=request.Namespace(node=""),
        address=address,
        port=port,
        expected=expected or 0,
        both_ways=not one_way and not icmp,
        flows=flows,
        detailed=True,
    )
    forgot = gather.flush() if flush else 0
    work = measuring.Measuring("", namespaces.PodNamespaces(netns.Roots()), _key(key_file))
    (result,) = work.measure([way], icmp=icmp)
    probed = _probed(way, result, forgot, keyed=key_file is not None)
    if output_format == "text":
        for line in _lines(probed):
            terminal.echo(line)
    else:
        output.emit(probed, output_format)
    if probed.kind == "unreachable":
        return errors.Unreachable.exit_code
    return errors.FINE if probed.kind == "ok" else errors.FINDINGS


def _probed(way: request.PathRequest, result: request.PathResult, forgot: int, *, keyed: bool) -> HostProbe:
    assert result.forward is not None
    notes = list(result.notes)
    if result.verdict.kind == "unreachable":
        pass  # nothing was measured, in no direction
    elif result.protocol == "UDP" and not keyed:
        notes.append("measured forwards only: without --key-file the other end does not measure back")
    elif result.protocol == "UDP" and way.both_ways and not result.both_ways:
        notes.append("the other end did not measure back; it is too busy, or nothing came back from it")
    verdict = result.verdict
    return HostProbe(
        address=way.address,
        port=way.port,
        mtu=verdict.mtu,
        expected=verdict.expected,
        kind=verdict.kind,
        is_mtu=verdict.is_mtu,
        sentence=verdict.sentence,
        location=verdict.location,
        advice=verdict.advice,
        duration_seconds=result.duration_seconds,
        packets=result.packets,
        round_trip_seconds=result.round_trip_seconds,
        protocol=result.protocol,
        evidence=verdict.evidence,
        forward=_way(result.forward),
        backward=_way(result.backward) if result.backward is not None else None,
        forgotten_path_mtus=forgot,
        notes=tuple(notes),
    )


def _way(measured: direction.Direction) -> DirectionResult:
    found = measured.search
    return DirectionResult(
        ending=found.ending,
        mtu=found.mtu,
        limit=found.limit,
        interface_mtu=found.interface_mtu,
        next_size_losses=found.next_size_losses,
        fitting_packets=found.fitting_packets,
        fitting_lost=found.fitting_lost,
        rounds=found.rounds,
        packets=found.packets,
        path_mtu_after=measured.path_mtu_after,
        too_big=found.too_big,
        segments=measured.segments,
        nat_address=measured.nat_address,
    )


def _lines(probed: HostProbe) -> Iterator[str]:
    sign, colour = SIGN[probed.kind == "ok"]
    if probed.kind in verdict.UNDECIDED:
        sign, colour = "?", "yellow"
    head = path_wording.short(probed.kind, "this machine", "the other end")
    yield terminal.style(f"{sign} {probed.address}: {head}; {probed.sentence}", fg=colour, bold=True)
    for line in probed.evidence:
        yield f"  · {line}"
    if probed.forgotten_path_mtus:
        yield f"  · {wording.count(probed.forgotten_path_mtus, 'learned path MTU')} forgotten first"
    for line in probed.notes:
        yield terminal.style(f"  {line}", fg="yellow")
    if probed.advice and probed.kind != "ok":
        yield f"  → {probed.advice}"
    yield (
        f"  {wording.count(probed.packets, 'packet')} there over {probed.protocol}, verdict after "
        f"{probed.duration_seconds * 1000:.1f} ms, round trip {probed.round_trip_seconds * 1000:.2f} ms"
    )


def _key(path: Path | None) -> wire.Key:
    return wire.Key() if path is None else wire.Key.read(path)


def _resolve(host: str, family: int | None) -> tuple[channel.Family, str]:
    """Return the family and numeric address of a host, with the zone of a link-local one."""
    wanted = {4: socket.AF_INET, 6: socket.AF_INET6}.get(family or 0, socket.AF_UNSPEC)
    if not host.strip():
        raise errors.UsageError("HOST is empty: give a host name or an address")
    try:
        found = socket.getaddrinfo(host, None, wanted, socket.SOCK_DGRAM)
    except (OSError, UnicodeError) as error:
        kind = f" as IPv{family}" if family else ""
        raise errors.UsageError(f"{host} cannot be resolved{kind}: give a host name or an address") from error
    kind_of, _, _, _, endpoint = found[0]
    address = str(endpoint[0])
    if kind_of == socket.AF_INET6 and len(endpoint) == 4 and endpoint[3] and "%" not in address:
        address = f"{address}%{endpoint[3]}"
    if "%" not in address and ipaddress.ip_address(address).is_link_local and kind_of == socket.AF_INET6:
        raise errors.UsageError(f"{host} is of one link alone: write through which, as {address}%eth0")
    return (4 if kind_of == socket.AF_INET else 6), address


@contextlib.contextmanager
def _until_told() -> Iterator[list[int]]:
    """Return a list that SIGINT and SIGTERM fill, so that a station ends between two turns."""
    told: list[int] = []

    def note(number: int, _frame: FrameType | None) -> None:
        told.append(number)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield told
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)
