"""`kubemtu install` and `kubemtu uninstall`: put kubemtu into a cluster, and take it out again, whole."""

import asyncio
from collections.abc import Awaitable
from typing import TYPE_CHECKING, TypeVar

import click

from kubemtu.cli import combined, kubeflags, terminal
from kubemtu.core import errors
from kubemtu.core.text.wording import count

if TYPE_CHECKING:
    from kubemtu.flows.install import Settings

T = TypeVar("T")

PRINTED = "-o yaml prints manifests and talks to no cluster, and {} is about what stands in one: leave one of them out"
YES = click.option("--yes", "-y", is_flag=True, help="Do not ask.")
DRY_RUN = click.option("--dry-run", is_flag=True, help="Show what would be done, and do nothing.")


@click.command()
@click.option("--image", metavar="REFERENCE", help="The image to run.  [the one that `kubemtu --version` names]")
@click.option("--probes/--no-probes", default=True, help="Run a probe pod on each node too.  [they are run]")
@click.option(
    "--allow-downgrade",
    is_flag=True,
    cls=combined.Option,
    beside={"output_format": PRINTED.format("--allow-downgrade")},
    help="Write over kinds that a newer kubemtu has defined.",
)
@click.option(
    "--force-conflicts",
    is_flag=True,
    cls=combined.Option,
    beside={"output_format": PRINTED.format("--force-conflicts")},
    help="Take over fields that others manage, as kubectl's flag does.",
)
@click.option(
    "-o",
    "--output",
    "output_format",
    type=click.Choice(("text", "yaml")),
    default="text",
    show_default=True,
    help="yaml: print the manifests, for GitOps or kubectl, and talk to no cluster.",
)
@DRY_RUN
@YES
@kubeflags.kube_flags
def install(
    flags: kubeflags.KubeFlags,
    image: str | None,
    probes: bool,
    allow_downgrade: bool,
    force_conflicts: bool,
    output_format: str,
    dry_run: bool,
    yes: bool,
) -> int:
    """Put the agents, the probes, the kinds and the roles into a cluster, and wait until every node is seen.

    Shows what it would write, and asks. Run again, it brings an older installation up to date. It changes nothing on a
    node. Ends with 1 where a node runs no agent. Needs the rights of a cluster administrator.
    """
    from kubemtu.flows.install import Settings
    from kubemtu.image import is_reference, reference

    image = image or reference()
    if image is None:
        raise errors.UsageError(
            "this kubemtu was built from source, so no image belongs to it: name one with --image, as `scripts/image` "
            "of a checkout makes it and a registry of yours holds it"
        )
    if not is_reference(image):
        raise errors.UsageError(
            f"--image {image!r:.200} is no reference of an image: write REGISTRY/NAME:TAG, or REGISTRY/NAME@sha256:... "
            "behind which nobody can put another image"
        )
    wanted = Settings(image=image, probes=probes, downgrade=allow_downgrade, force=force_conflicts)
    if output_format == "yaml":
        from kubemtu.kube import shipped

        terminal.echo(shipped.dump(shipped.everything(image, probes=probes)), nl=False)
        return errors.FINE
    return asyncio.run(_install(flags, wanted, dry_run=dry_run, yes=yes))


async def _install(flags: kubeflags.KubeFlags, settings: "Settings", *, dry_run: bool, yes: bool) -> int:
    from kubemtu.cli import planning
    from kubemtu.flows import install as flow

    async with planning.connected(flags) as api:
        pieces = await flow.survey(api, settings)
        marks = {"make": ("+", "green"), "change": ("~", "yellow"), "leave": ("=", "white")}
        terminal.echo(f"{api.connection.server}, image {settings.image}:")
        for piece in pieces:
            mark, colour = marks[piece.what]
            terminal.echo(f"  {terminal.style(mark, fg=colour)} {piece}")
        terminal.echo("  (+ made, ~ changed, = there already)")
        if not await flow.binds_agents(api):
            terminal.echo(
                "  ! this API server has no ValidatingAdmissionPolicy (new in Kubernetes 1.30): whoever takes the "
                "token of one agent can write the status of every NodeMTU"
            )
        if dry_run:
            terminal.echo("Nothing was changed.")
            return errors.FINE
        if any(piece.what != "leave" for piece in pieces):
            planning.confirm("Install this?", yes=yes)
        work = flow.carry_out(api, settings, lambda text: terminal.echo(f"    {text}"))
        nodes, without = await _interruptible(work, "install")
    if without:
        from kubemtu.core.text.wording import names

        sign = terminal.style("?", fg="yellow")
        terminal.echo(
            f"{sign} kubemtu works on {nodes} of {nodes + len(without)} nodes; node {names(without)} runs no agent: "
            "see why the DaemonSet kubemtu/kubemtu-agent has no pod there."
        )
        return errors.FINDINGS
    terminal.echo(
        f"{terminal.style('✓', fg='green')} kubemtu works on {count(nodes, 'node')}: `kubemtu check` says how they are."
    )
    return errors.FINE


@click.command()
@DRY_RUN
@YES
@kubeflags.kube_flags
def uninstall(flags: kubeflags.KubeFlags, dry_run: bool, yes: bool) -> int:
    """Take kubemtu out of a cluster, all of it; what it has changed of the pod network stays as it is.

    Refuses while a change or a pin stands. What is not ours in the namespace kubemtu stays, and is named. Ends with 1
    where a node keeps its journals because no agent there answers. Needs the rights of a cluster administrator.
    """
    return asyncio.run(_uninstall(flags, dry_run=dry_run, yes=yes))


async def _uninstall(flags: kubeflags.KubeFlags, *, dry_run: bool, yes: bool) -> int:
    from kubemtu.cli import planning
    from kubemtu.flows import uninstall as flow

    async with planning.connected(flags) as api:
        removal = await flow.survey(api)
        there = await api.get(flow.NAMESPACE) is not None
        if not removal.ours and not (there and not removal.strangers):
            terminal.echo(f"There is nothing of kubemtu in {api.connection.server}.")
            return errors.FINE
        terminal.echo(f"{api.connection.server}:")
        namespace = [flow.NAMESPACE] if there and not removal.keeps_namespace else []
        for ref in (*removal.ours, *namespace):
            terminal.echo(f"  {terminal.style('-', fg='red')} {ref}")
        for text in removal.strangers:
            terminal.echo(f"  = {text} in Namespace kubemtu is not kubemtu's: it stays, and with it the namespace")
        for text in removal.bound:
            terminal.echo(f"  = {text} names a role of kubemtu, was made by somebody else, and stays")
        if removal.undo:
            terminal.echo(f"  ! {removal.undo} cannot be taken back afterwards: `kubemtu rollback` needs its record")
        if dry_run:
            terminal.echo("Nothing was removed.")
            return errors.FINE
        planning.confirm("Remove this?", yes=yes)
        work = flow.carry_out(api, removal, lambda text: terminal.echo(f"    {text}"))
        keeping = await _interruptible(work, "uninstall")
        left = await flow.survey(api)
    if left.ours:
        anew = ", ".join(map(str, left.ours))
        raise errors.Surprise(f"something made {anew} anew while it was removed; see what does, then run this again")
    ours = "nothing of kubemtu's own is left in the API"
    if keeping:
        from kubemtu.core.text.wording import names, verb

        sign = terminal.style("?", fg="yellow")
        said = f"{verb(len(keeping), 'keep')} /run/kubemtu until a reboot, for no agent there answered"
        terminal.echo(f"{sign} {ours}; node {names(keeping)} {said}.")
        return errors.FINDINGS
    terminal.echo(f"{terminal.style('✓', fg='green')} {ours}, nor of its journals on the nodes.")
    return errors.FINE


async def _interruptible(work: Awaitable[T], command: str) -> T:
    try:
        return await work
    except asyncio.CancelledError:
        raise errors.Interrupted(f"interrupted; running `kubemtu {command}` again goes on from there") from None
