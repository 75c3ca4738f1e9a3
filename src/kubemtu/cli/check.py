"""`kubemtu check`: find what is wrong with the pod network's MTU."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kubemtu.cli import combined, kubeflags, output, paths, sourceflags, terminal, wrapping
from kubemtu.core import encap, errors

if TYPE_CHECKING:
    from kubemtu.core.snapshot import Snapshot
    from kubemtu.flows.measure import mesh

SAYS_THE_MTU = {"file": "{} says already which MTU to lead to: leave out --mtu and --nic-mtu"}
SAYS_WHAT_IS_APART = {"file": "{} says already what is told apart: leave out --per-node and --egress-mtu"}
FILES = "--from reads saved files, and --{} says which cluster is asked, as whom: leave one of them out"
NIC_MTU = click.option(
    "--nic-mtu",
    cls=combined.Option,
    beside=SAYS_THE_MTU,
    type=click.IntRange(encap.IPV4_MINIMUM, encap.LARGEST_MTU),
    metavar="N",
    help="What the smallest NIC between the nodes carries, in bytes, where the nodes do not show it.",
)
PER_NODE = click.option(
    "--per-node",
    is_flag=True,
    cls=combined.Option,
    beside=SAYS_WHAT_IS_APART,
    help="Give each node's pods what its own NIC carries, with routes of less towards the pods of nodes with less.",
)
EGRESS_MTU = click.option(
    "--egress-mtu",
    "egress",
    cls=combined.Option,
    beside=SAYS_WHAT_IS_APART,
    metavar="N|auto",
    help="What goes out of the cluster at most, in bytes, by pods' default routes; --mtu is then for its own networks.",
)
NOT_SHOWN = {
    "nic_mtu": "--nic-mtu",
    "save": "--save",
    "namespace": "--namespace",
    "verbose": "--verbose",
    "prove": "--prove",
    "prometheus": "--prometheus",
    "survey": "--survey",
    "output_format": "--output",
}
REPORTS = ("sarif", "junit", "markdown")  # kubemtu.cli.reports.WRITERS, which is imported when one is asked for
FROM = click.option(
    "--from",
    "source",
    cls=combined.Option,
    beside={name: FILES.format(flag) for name, flag in kubeflags.NAMES.items()},
    type=paths.NamedPath(path_type=Path),
    metavar="PATH",
    help="Read files instead of a cluster: one, a folder, an archive of them, or - for what is piped in.",
)


@click.command()
@FROM
@NIC_MTU
@click.option(
    "--save",
    type=paths.NamedPath(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Also write all that was read, for --from.",
)
@click.option(
    "--scrub",
    is_flag=True,
    cls=combined.Option,
    needs={"save": "--scrub is about what is saved: name a file by --save FILE"},
    help="Save with other names and addresses, which are judged the same.",
)
@click.option("-n", "--namespace", metavar="NAME", help="Say nothing of running pods of other namespaces.")
@click.option("-v", "--verbose", is_flag=True, help="Name every node and every place, however many; so does -o wide.")
@click.option(
    "--prove",
    is_flag=True,
    cls=combined.Option,
    beside={"source": "--prove measures a cluster, and --from reads saved files: leave one of them out"},
    help="Also measure what the network carries, between all nodes and probe pods.",
)
@sourceflags.source_flags
@click.option(
    "--show-commands",
    is_flag=True,
    cls=combined.Option,
    beside={
        name: f"--show-commands shows which commands --exec runs, and nothing else: leave it out, or {flag}"
        for name, flag in NOT_SHOWN.items()
    },
    help="Only show which commands --exec runs, and where.",
)
@output.option("text", "wide", *output.WRITERS, *REPORTS)
@kubeflags.kube_flags
def check(
    flags: kubeflags.KubeFlags,
    source: Path | None,
    nic_mtu: int | None,
    save: Path | None,
    scrub: bool,
    namespace: str | None,
    prove: bool,
    looking: sourceflags.SourceFlags,
    show_commands: bool,
    verbose: bool,
    output_format: str,
) -> int:
    """Find what is wrong with the pod network's MTU. Reads only; with --prove it has the agents send packets.

    Where no agent is, --exec looks at the nodes by commands that only read, in pods that run there already, and
    --survey by pods that it makes: it shows them and asks before, and removes them.
    Exits with 0 when everything is right, with 1 when something is not or cannot be told.
    """
    from kubemtu.cli import render
    from kubemtu.flows import decide

    sourceflags.of_a_cluster(looking, source, show_commands=show_commands)
    if show_commands:
        terminal.write(asyncio.run(sourceflags.commands(flags)).encode())
        return errors.FINE
    if prove:
        snapshot, proven = asyncio.run(_proven(flags, looking, quiet=output_format not in {"text", "wide"}))
    else:
        snapshot, proven = read(flags, source, looking), None
    if save is not None:
        from kubemtu.flows import observe

        observe.save(snapshot, save, scrub=scrub)
    found = decide.check(snapshot, nic_mtu, namespace, proven)
    if output_format in {"text", "wide"}:
        terminal.echo(render.report(found, wrapping.width(), whole=verbose or output_format == "wide"))
    elif output_format in REPORTS:
        from kubemtu.cli import reports

        terminal.write(reports.WRITERS[output_format](found))
    else:
        output.emit(found, output_format)
    return errors.FINE if found.verdict == "healthy" else errors.FINDINGS


def read(
    flags: kubeflags.KubeFlags,
    source: Path | None,
    looking: sourceflags.SourceFlags = sourceflags.AGENTS,
    *,
    services: bool = False,
) -> "Snapshot":
    """Read the cluster that the flags name, or what lies at `source`; `looking` says by what else than agents.

    `services`: also which addresses Services have.
    """
    import msgspec

    from kubemtu.core.cluster import service_networks
    from kubemtu.flows.saved import manifests

    sourceflags.of_a_cluster(looking, source)
    if source is not None:
        found = manifests.load(source)
        known = service_networks.of(found.objects) if services else ()
        return msgspec.structs.replace(found, service_networks=known or found.service_networks)
    return asyncio.run(_observed(flags, looking, services=services))


async def _proven(
    flags: kubeflags.KubeFlags, looking: sourceflags.SourceFlags, *, quiet: bool
) -> "tuple[Snapshot, mesh.MeshReport]":
    from kubemtu.cli import planning, probe
    from kubemtu.flows import observe
    from kubemtu.flows.measure import mesh

    async with planning.connected(flags) as api:
        snapshot = await observe.observe(api)
        with probe.telling(quiet=quiet) as tell:
            proven = await mesh.run(api, snapshot, tell=tell)  # by agents alone, whoever else sees a node
        return await sourceflags.filled(api, snapshot, looking), proven


async def _observed(flags: kubeflags.KubeFlags, looking: sourceflags.SourceFlags, *, services: bool) -> "Snapshot":
    from kubemtu.cli import planning
    from kubemtu.flows import observe

    async with planning.connected(flags) as api:
        found = await observe.observe(api)
        if services:
            found = await observe.with_services(api, found)
        return await sourceflags.filled(api, found, looking)
