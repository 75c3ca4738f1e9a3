"""`kubemtu node`: the MTU of this one node's pods, without Kubernetes.

Everything is read from the kernel and written by node.change.engine, with the same pins, phases and journal as in a
cluster; what is missing is the other nodes, whose senders nobody pins here.
"""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import click
import msgspec

from kubemtu.cli import node_probe, output, terminal
from kubemtu.cli.wrapping import aligned
from kubemtu.core import errors, net
from kubemtu.core.change import migration
from kubemtu.core.text import wording
from kubemtu.node import observe
from kubemtu.node.change import journal, single


@click.group()
def node() -> None:
    """Show or set the MTU of this one node's pods, without Kubernetes."""


@node.command()
@click.option(
    "--prefix", "prefixes", multiple=True, help="Host ends whose name begins so are pod ports.  [each known CNI's]"
)
@click.option("--bridge", help="Ports of this bridge are pod ports.  [a known CNI's]")
@click.option("--journal", "directory", default=str(journal.DIRECTORY), show_default=True, help="Folder of journals.")
@output.output_option
def show(prefixes: tuple[str, ...], bridge: str | None, directory: str, output_format: str) -> int:
    """Show links, both ends of every pod port, and pins left behind (read-only).

    Ends with 1 when packets are being lost or pins were left behind.
    """
    _require_capabilities()
    seen, rule = _look(prefixes, bridge)
    found = single.view(seen, rule, journal.Journal.names(Path(directory)))
    if output_format == "text":
        for line in _lines(found):
            terminal.echo(line)
    else:
        output.emit(found, output_format)
    return errors.FINDINGS if found.sick else errors.FINE


@node.command("set")
@click.option("--mtu", required=True, type=int, help="The new MTU of the pods, in bytes of the IP packet.")
@click.option("--tunnel-mtu", type=int, help="The new MTU of the tunnel device.")
@click.option("--tunnel", help="The tunnel device, when there is more than one.")
@click.option(
    "--prefix", "prefixes", multiple=True, help="Host ends whose name begins so are pod ports.  [each known CNI's]"
)
@click.option(
    "--bridge", help="Ports of this bridge are pod ports; it changes with them.  [a known CNI's, if there is one]"
)
@click.option("--journal", "directory", default=str(journal.DIRECTORY), show_default=True, help="Folder of journals.")
@click.option("--dry-run", is_flag=True, help="Show what would be done, and do nothing.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@output.output_option
def set_(
    mtu: int,
    tunnel_mtu: int | None,
    tunnel: str | None,
    prefixes: tuple[str, ...],
    bridge: str | None,
    directory: str,
    dry_run: bool,
    yes: bool,
    output_format: str,
) -> int:
    """Change the MTU of all running pods of this node, live, without a restart.

    Pins every sender on this node to the smaller MTU first, changes both ends of every pod port, and takes the pins
    off again. `kubemtu node undo` returns. Senders on other nodes are not pinned: in a cluster, use `kubemtu apply`.
    """
    _require_capabilities()
    seen, rule = _look(prefixes, bridge)
    desired = single.desired(seen, rule, mtu=mtu, tunnel=tunnel, tunnel_mtu=tunnel_mtu, bridge=bridge)
    if output_format == "text" or not yes:
        for line in _plan(seen, desired):
            terminal.echo(line, err=output_format != "text")
    if dry_run:
        if output_format != "text":
            output.emit(desired, output_format)
        return errors.FINE
    _confirm("Change it now?", yes=yes)
    terminal.acting()
    known = single.begin(desired, Path(directory))
    try:
        change = single.walk(known, desired, migration.ORDER, rule)
        known.end()
    finally:
        known.close()
    return _report(change, output_format)


@node.command()
@click.option("--journal", "directory", default=str(journal.DIRECTORY), show_default=True, help="Folder of journals.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@output.output_option
def undo(directory: str, yes: bool, output_format: str) -> int:
    """Take the last `node set` back, from wherever it stands: every device, route and sysctl as recorded."""
    _require_capabilities()
    if single.NAME not in journal.Journal.names(Path(directory)):
        raise errors.UsageError(f"there is nothing to take back: {directory} holds no journal of `kubemtu node set`")
    terminal.acting()
    known = journal.Journal.open(single.NAME, Path(directory))
    try:
        if known.began is None:
            raise errors.UsageError(f"there is nothing to take back: {known.path} is empty")
        desired = msgspec.structs.replace(known.began.desired, restore=True)
        if output_format == "text":
            terminal.echo(
                f"{wording.count(len(known.ports), 'pod')} and every route go back to what {known.path} recorded."
            )
        _confirm("Take it back?", yes=yes)
        change = single.walk(known, desired, migration.ORDER[1:], desired.ports)
        known.remove()
    finally:
        known.close()
    return _report(change, output_format)


def _look(prefixes: tuple[str, ...], bridge: str | None) -> tuple[net.NodeObservation, net.PortRule]:
    """Look at the node, and say which links are taken for pod ports: those named, or those of any CNI that is known."""
    from kubemtu.cni import registry

    known = registry.ports()
    rules = (net.PortRule(prefixes=prefixes or known.prefixes), *(net.PortRule(bridge=each) for each in known.bridges))
    if bridge is not None:
        rules = (*rules[:1], net.PortRule(bridge=bridge))
    seen = observe.observe(os.uname().nodename, ports=net.PortRules(rules=rules))
    bridges = [rule.bridge for rule in rules if rule.bridge is not None]
    there = next((each for each in bridges if seen.link(each) is not None), bridges[0] if bridges else None)
    return seen, net.PortRule(prefixes=prefixes or known.prefixes, bridge=there)


def _lines(report: single.NodeView) -> Iterator[str]:
    yield f"NIC     {report.nic or 'no default route'}" + (f"  {report.nic_mtu}" if report.nic else "")
    for tunnel in report.tunnels:
        over = f" over {tunnel.vxlan.lower}" if tunnel.vxlan and tunnel.vxlan.lower else ""
        yield f"tunnel  {tunnel.name}  {tunnel.mtu}  ({tunnel.kind}{over})"
    if report.bridge is not None:
        yield f"bridge  {report.bridge.name}  {report.bridge.mtu}"
    yield ""
    yield from _table(report.ports)
    for pin in report.pins:
        yield terminal.style(f"pin left on the node: {pin}", fg="yellow")
    for trouble in report.troubles:
        yield terminal.style(f"not read: {trouble}", fg="yellow")
    for name in report.journals:
        yield f"a change can be taken back: journal {name}"


def _table(ports: Sequence[single.PortLine]) -> Iterator[str]:
    if not ports:
        yield "no pod ports"
        return
    rows = [("host end", "MTU", "pod end", "MTU", "namespace")]
    rows += [(p.host_link, str(p.host_mtu), p.pod_link, str(p.pod_mtu), p.netns) for p in ports]
    head, *lines = aligned(rows)
    yield head.rstrip()
    for cells, port in zip(lines, ports, strict=True):
        line = cells
        if port.lost is not None:
            sizes = f"{port.lost[0]}-{port.lost[1]}"
            line += terminal.style(f"  ✗ packets of {sizes} bytes {port.lost_direction} are lost silently", fg="red")
        if port.pins:
            line += terminal.style(f"  pinned: {', '.join(port.pins)}", fg="yellow")
        yield line.rstrip()


def _plan(observation: net.NodeObservation, desired: migration.Desired) -> Iterator[str]:
    present = Counter((port.host_mtu, port.ends[-1]) for port in observation.ports)
    for (host, pod), number in sorted(present.items()):
        now = f"{host}" if host == pod else f"{host} (host end) and {pod} (pod end)"
        yield f"{wording.count(number, 'pod')}: MTU {now} -> {desired.pod_mtu}, both ends"
    if desired.tunnel is not None and desired.tunnel_mtu is not None and (link := observation.link(desired.tunnel)):
        yield f"{link.name}: MTU {link.mtu} -> {desired.tunnel_mtu}"
    if desired.bridge is not None and (link := observation.link(desired.bridge)):
        yield f"{link.name}: MTU {link.mtu} -> {desired.pod_mtu}"
    yield f"Meanwhile every sender of this node is pinned to {desired.pin_mtu} by route; no pod restarts."
    yield (
        "Senders on other nodes are not pinned: what they send above "
        f"{desired.pin_mtu} while this node changes may be lost. In a cluster, use `kubemtu apply`."
    )
    if desired.pod_mtu == desired.highest_mtu > desired.pin_mtu:
        yield "Connections that are open now keep their segment size until they reconnect."


def _report(change: single.Change, output_format: str) -> int:
    if output_format != "text":
        output.emit(change, output_format)
        return errors.FINE
    was = {(port.netns, port.host_link): port for port in change.before}
    for port in change.after:
        old = was.get((port.netns, port.host_link))
        ends = f"{old.host_mtu}/{old.pod_mtu}" if old else "new"
        terminal.echo(f"{port.host_link} / {port.netns} {port.pod_link}: {ends} → {port.host_mtu}/{port.pod_mtu}")
    for note in change.notes:
        terminal.echo(note)
    seconds = sum(phase.duration_seconds for phase in change.phases)
    settings = sum(phase.settings_changed for phase in change.phases)
    pods = wording.count(len(change.after), "pod")
    terminal.echo(f"✓ {pods}, {settings} settings written and read back, in {seconds * 1000:.0f} ms")
    return errors.FINE


def _confirm(question: str, *, yes: bool) -> None:
    from kubemtu.cli import planning

    planning.confirm(question, yes=yes)


def _require_capabilities() -> None:
    from kubemtu.node.kernel import capabilities

    capabilities.require(capabilities.SET, "run it as root")


node.add_command(node_probe.respond)
node.add_command(node_probe.probe)
