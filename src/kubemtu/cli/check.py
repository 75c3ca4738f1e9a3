"""`kubemtu check`: find what is wrong with the pod network's MTU."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kubemtu.cli import kubeflags, output, terminal, wrapping
from kubemtu.core import encap, errors

if TYPE_CHECKING:
    from kubemtu.core.snapshot import Snapshot
    from kubemtu.flows.measure import mesh

NIC_MTU = click.option(
    "--nic-mtu",
    type=click.IntRange(encap.IPV4_MINIMUM, encap.LARGEST_MTU),
    metavar="N",
    help="What the smallest NIC between the nodes carries, in bytes, where the nodes do not show it.",
)
REPORTS = ("sarif", "junit", "markdown")  # kubemtu.cli.reports.WRITERS, which is imported when one is asked for
FROM = click.option(
    "--from",
    "source",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="Read files instead of a cluster: one, a folder, an archive of them, or - for what is piped in.",
)


@click.command()
@FROM
@NIC_MTU
@click.option(
    "--save",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Also write all that was read, for --from.",
)
@click.option("-n", "--namespace", metavar="NAME", help="Say nothing of running pods of other namespaces.")
@click.option("-v", "--verbose", is_flag=True, help="Name every node and every place, however many; so does -o wide.")
@click.option("--prove", is_flag=True, help="Also measure what the network carries, between all nodes and probe pods.")
@output.option("text", "wide", *output.WRITERS, *REPORTS)
@kubeflags.kube_flags
def check(
    flags: kubeflags.KubeFlags,
    source: Path | None,
    nic_mtu: int | None,
    save: Path | None,
    namespace: str | None,
    prove: bool,
    verbose: bool,
    output_format: str,
) -> int:
    """Find what is wrong with the pod network's MTU. Reads only; with --prove it has the agents send packets.

    Exits with 0 when everything is right, with 1 when something is not or cannot be told.
    """
    from kubemtu.cli import render
    from kubemtu.flows import decide, observe

    if prove and source is not None:
        raise errors.UsageError("--prove measures a cluster, and --from reads saved files: leave one of them out")
    if prove:
        snapshot, proven = asyncio.run(_proven(flags, quiet=output_format not in {"text", "wide"}))
    else:
        snapshot, proven = read(flags, source), None
    if save is not None:
        observe.save(snapshot, save)
    found = decide.check(snapshot, nic_mtu, namespace, proven)
    if output_format in {"text", "wide"}:
        terminal.echo(render.report(found, wrapping.width(), whole=verbose or output_format == "wide"))
    elif output_format in REPORTS:
        from kubemtu.cli import reports

        terminal.write(reports.WRITERS[output_format](found))
    else:
        output.emit(found, output_format)
    return errors.FINE if found.verdict == "healthy" else errors.FINDINGS


def read(flags: kubeflags.KubeFlags, source: Path | None) -> "Snapshot":
    """Read the cluster that the flags name, or what lies at `source`."""
    from kubemtu.flows.saved import manifests

    if source is not None:
        return manifests.load(source)
    return asyncio.run(_observed(flags))


async def _proven(flags: kubeflags.KubeFlags, *, quiet: bool) -> "tuple[Snapshot, mesh.MeshReport]":
    from kubemtu.cli import planning, probe
    from kubemtu.flows import observe
    from kubemtu.flows.measure import mesh

    async with planning.connected(flags) as api:
        snapshot = await observe.observe(api)
        with probe.telling(quiet=quiet) as tell:
            return snapshot, await mesh.run(api, snapshot, tell=tell)


async def _observed(flags: kubeflags.KubeFlags) -> "Snapshot":
    from kubemtu.cli import planning
    from kubemtu.flows import observe

    async with planning.connected(flags) as api:
        return await observe.observe(api)
