"""`kubemtu node respond` and `kubemtu node probe`: the exact path MTU between two hosts, without Kubernetes."""

import contextlib
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import click
import msgspec

from kubemtu.cli import output, render
from kubemtu.core import errors, pathverdict, search, words
from kubemtu.node.probe import channel, echo, paths, station, wire

SIGN = {True: ("✓", "green"), False: ("✗", "red")}
FLOWS_MOST = 256
key_option = click.option(
    "--key-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The key that both ends share; without it anybody may ask, and nobody measures back.",
)


class Way(msgspec.Struct, frozen=True, kw_only=True):
    """One direction, for programs: sizes in bytes, `fitting` packets up to `mtu` sent, `fitting_lost` of them lost."""

    ending: str
    mtu: int
    limit: str | None
    top: int
    losses: int
    fitting: int
    fitting_lost: int
    rounds: int
    packets: int
    believed: int
    quotes: tuple[search.Quote, ...] = ()


class Probed(msgspec.Struct, frozen=True, kw_only=True):
    """What `-o json` prints; `seconds` and `packets` are those of the forward direction, `total_seconds` of all."""

    address: str
    port: int
    mtu: int
    verdict: str
    sentence: str
    seconds: float
    total_seconds: float
    packets: int
    rtt: float
    over: str
    evidence: tuple[str, ...]
    forward: Way
    back: Way | None = None
    notes: tuple[str, ...] = ()


@click.command()
@click.option("--port", default=wire.PORT, show_default=True, type=click.IntRange(1, 65535), help="UDP port.")
@key_option
def respond(port: int, key_file: Path | None) -> int:
    """Answer `kubemtu node probe` from other hosts, until interrupted.

    Answers are forty bytes, never longer than what they answer. With a key, only those who hold it are answered, and
    the path back to them is measured when they ask for it.
    """
    with station.Station(_key(key_file), port=port, families=_families()) as serving, _until_told() as told:
        families = words.names(f"IPv{family}" for family in serving.families)
        render.echo(f"answering on UDP port {port} over {families}; end with Ctrl-C")
        if key_file is None:
            click.secho("without --key-file anybody may ask, and nothing is measured back", fg="yellow", err=True)
        serving.serve(lambda: not told)
        refused = serving.gate.refused
        strangers = refused.foreign + refused.damaged + refused.forged
        render.echo(
            f"answered {words.count(serving.answered, 'packet')}; met with silence: {strangers} of strangers, "
            f"{refused.repeated} repeated, {refused.limited} above the limit"
        )
    return errors.FINE


@click.command()
@click.argument("host")
@click.option("-4", "family", flag_value=4, type=int, help="IPv4 only.")
@click.option("-6", "family", flag_value=6, type=int, help="IPv6 only.")
@click.option("--port", default=wire.PORT, show_default=True, type=click.IntRange(1, 65535), help="UDP port.")
@key_option
@click.option("--expected", type=click.IntRange(100, 65535), help="The MTU expected, in bytes.  [the interface's]")
@click.option("--flows", default=1, show_default=True, type=click.IntRange(1, FLOWS_MOST), help="Source ports to try.")
@click.option("--one-way", is_flag=True, help="Do not have the other end measure back.")
@click.option("--icmp", is_flag=True, help="Use ICMP echo, for hosts without `kubemtu node respond`.")
@output.output_option
def probe(
    host: str,
    family: int | None,
    port: int,
    key_file: Path | None,
    expected: int | None,
    flows: int,
    one_way: bool,
    icmp: bool,
    output_format: str,
) -> int:
    """Find the exact MTU of the path to HOST and back, and what limits it.

    HOST runs `kubemtu node respond`; where nothing answers, ICMP echo is tried, which tells less. `--flows 48` finds
    any of four equal paths that differs. Ends with 1 when the path does not carry what is expected.
    """
    one, address = _resolve(host, family)
    key = _key(key_file)
    target = paths.Target(address=address, port=port, expected=expected, back=key.secret and not one_way and not icmp)
    probed = _probe(target, one, key, icmp=icmp, flows=flows)
    if output_format == "text":
        for line in _lines(probed):
            render.echo(line)
    else:
        output.emit(probed, output_format)
    if probed.verdict == "unreachable":
        return errors.Unreachable.exit_code
    return errors.FINE if probed.verdict == "ok" else errors.FINDINGS


def _probe(target: paths.Target, one: channel.Family, key: wire.Key, *, icmp: bool, flows: int) -> Probed:
    notes: list[str] = []
    over: type[channel.Channel] = echo.EchoChannel if icmp else channel.Channel
    measured = _measure(target, one, key, over, flows)
    if not icmp and all(path.forward.found.ending == "unreachable" for path in measured):
        with contextlib.suppress(errors.Forbidden):  # then the silence of the station is all there is to tell
            echoed = _measure(msgspec.structs.replace(target, back=False), one, key, echo.EchoChannel, 1)
            if echoed[0].forward.found.mtu:
                measured, over = echoed, echo.EchoChannel
    if over is echo.EchoChannel:
        notes.append(echo.LIMITS[one])
    elif not key.secret:
        notes.append("measured forwards only: without --key-file the other end does not measure back")
    elif target.back and (measured[0].back is None or measured[0].back.state in {"refused", "unreachable"}):
        notes.append("the other end did not measure back; it is too busy, or nothing came back from it")
    verdict = paths.judge(measured[0])
    if len(measured) > 1:
        together = pathverdict.judge_flows(
            [paths.direction(path.forward) for path in measured], expected=target.expected
        )
        verdict = together if together.kind == "equal paths differ" else verdict
    return _probed(measured, verdict, "ICMP echo" if over is echo.EchoChannel else "UDP", notes)


def _measure(
    target: paths.Target, one: channel.Family, key: wire.Key, over: type[channel.Channel], flows: int
) -> list[paths.Path]:
    """One station for each flow, because a flow is its port; sizes found once are asked for first afterwards."""
    found: list[paths.Path] = []
    for number in range(flows):
        seen = tuple(dict.fromkeys(path.forward.found.mtu for path in found if path.forward.found.mtu))
        wanted = msgspec.structs.replace(target, also=seen, back=target.back and number == 0)
        with station.Station(key, families=(one,), over=over) as asking:
            found += asking.measure([wanted])
        if found[-1].forward.found.ending == "unreachable" and number == 0:
            break
    return found


def _probed(measured: list[paths.Path], verdict: pathverdict.Verdict, over: str, notes: list[str]) -> Probed:
    first = measured[0]
    back = first.back
    returned = paths.returned(back) if back is not None and back.state not in {"running", "refused"} else None
    return Probed(
        address=first.target.address,
        port=first.target.port,
        mtu=verdict.mtu,
        verdict=verdict.kind,
        sentence=verdict.sentence,
        seconds=round(first.forward.seconds, 6),
        total_seconds=round(sum(path.seconds for path in measured), 6),
        packets=sum(path.forward.found.packets for path in measured),
        rtt=round(first.forward.rtt, 6),
        over=over,
        evidence=verdict.evidence,
        forward=_way(paths.direction(first.forward)),
        back=_way(returned) if returned is not None else None,
        notes=tuple(notes),
    )


def _way(one: pathverdict.Direction) -> Way:
    found = one.found
    return Way(
        ending=found.ending,
        mtu=found.mtu,
        limit=found.limit,
        top=found.top,
        losses=found.losses,
        fitting=found.fitting,
        fitting_lost=found.fitting_lost,
        rounds=found.rounds,
        packets=found.packets,
        believed=one.believed,
        quotes=found.quotes,
    )


def _lines(probed: Probed) -> Iterator[str]:
    sign, colour = SIGN[probed.verdict == "ok"]
    if probed.verdict in pathverdict.UNDECIDED:
        sign, colour = "?", "yellow"
    yield click.style(f"{sign} {probed.address}: {probed.verdict}; {probed.sentence}", fg=colour, bold=True)
    for line in probed.evidence:
        yield f"  · {line}"
    for line in probed.notes:
        yield click.style(f"  {line}", fg="yellow")
    yield (
        f"  {words.count(probed.packets, 'packet')} there over {probed.over}, verdict after "
        f"{probed.seconds * 1000:.1f} ms, round trip {probed.rtt * 1000:.2f} ms"
    )


def _key(path: Path | None) -> wire.Key:
    return wire.Key() if path is None else wire.Key.read(path)


def _families() -> tuple[channel.Family, ...]:
    """Those that this machine has: a kernel without IPv6 is no reason not to answer."""
    return (4, 6) if socket.has_ipv6 and Path("/proc/net/if_inet6").exists() else (4,)


def _resolve(host: str, family: int | None) -> tuple[channel.Family, str]:
    """The family and numeric address of a host, with the zone of a link-local one."""
    wanted = {4: socket.AF_INET, 6: socket.AF_INET6}.get(family or 0, socket.AF_UNSPEC)
    try:
        found = socket.getaddrinfo(host, None, wanted, socket.SOCK_DGRAM)
    except (OSError, UnicodeError) as error:
        kind = f" as IPv{family}" if family else ""
        raise errors.UsageError(f"{host} cannot be resolved{kind}: give a host name or an address") from error
    kind_of, _, _, _, endpoint = found[0]
    address = str(endpoint[0])
    if kind_of == socket.AF_INET6 and len(endpoint) == 4 and endpoint[3] and "%" not in address:
        address = f"{address}%{endpoint[3]}"
    return (4 if kind_of == socket.AF_INET else 6), address


@contextlib.contextmanager
def _until_told() -> Iterator[list[int]]:
    """A list that SIGINT and SIGTERM fill, so that a station ends between two turns."""
    told: list[int] = []

    def note(number: int, _frame: FrameType | None) -> None:
        told.append(number)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield told
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)
