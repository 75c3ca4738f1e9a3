"""`kubemtu policy`: write down what the path between nodes carries, for every command and for GitOps."""

import asyncio
from typing import TYPE_CHECKING

import click

from kubemtu.cli import combined, kubeflags, output, terminal
from kubemtu.core import encap, errors

if TYPE_CHECKING:
    from kubemtu.core.cluster.policy import Policy

PATH_MTU = click.IntRange(encap.IPV4_MINIMUM, encap.LARGEST_MTU)


@click.command()
@click.option(
    "--path-mtu",
    required=True,
    type=PATH_MTU,
    metavar="N",
    help="The largest IP packet that gets through between nodes, in bytes, as it was measured or is known.",
)
@click.option("--reason", required=True, metavar="TEXT", help="Who says so, or how it was measured.")
@click.option(
    "--expires", metavar="TIME|DAYSd", help="Until when it holds: an RFC 3339 time, or a number of days such as 90d."
)
@click.option("--node", "nodes", multiple=True, metavar="NAME", help="Only from and to this node; may be repeated.")
@click.option("--name", default="path", show_default=True, metavar="NAME", help="The name of the object.")
@click.option("--apply", "write", is_flag=True, help="Write it into the cluster, after asking.")
@click.option(
    "--yes",
    "-y",
    is_flag=True,
    cls=combined.Option,
    needs={
        "write": "--yes answers what --apply asks, and nothing is asked without: give that as well, or leave it out"
    },
    help="Do not ask.",
)
@output.output_option
@kubeflags.kube_flags
def policy(
    flags: kubeflags.KubeFlags,
    path_mtu: int,
    reason: str,
    expires: str | None,
    nodes: tuple[str, ...],
    name: str,
    write: bool,
    yes: bool,
    output_format: str,
) -> int:
    """Write down what the path between nodes carries where their interfaces say more (an MTUPolicy).

    Prints the object, for a repository; with --apply it also goes into the cluster. Every command then goes by it:
    `check`, `plan` and `apply` take pods to what it leaves, `probe` and `check --prove` expect no more. It changes
    nothing by itself.

    Example: `kubemtu policy --path-mtu 1404 --reason "overlay of the hosting company, measured" --expires 90d`.
    """
    if write:
        return asyncio.run(_written(flags, (path_mtu, reason, nodes, name, expires), yes, output_format))
    import time

    from kubemtu.core.cluster import policy as core

    made = _made(path_mtu, reason, nodes, name, expires, time.time())
    output.emit(core.body(made), "json" if output_format == "json" else "yaml")
    return errors.FINE


async def _written(
    flags: kubeflags.KubeFlags,
    chosen: tuple[int, str, tuple[str, ...], str, str | None],
    yes: bool,
    output_format: str,
) -> int:
    from kubemtu.cli import planning
    from kubemtu.core.cluster import policy as core
    from kubemtu.flows import policies

    async with planning.connected(flags) as api:
        before = await policies.present(api, chosen[3])
        made = _made(*chosen, api.now())
        await policies.fits(api, made)
        if output_format == "text":
            for line in _shown(before, made):
                terminal.echo(line)
        planning.confirm("Write it into the cluster?", yes=yes)
        written = await policies.write(api, made, before)
    if output_format == "text":
        terminal.echo(f"{core.KIND} {made.name} is written: every command goes by it where interfaces say more.")
    else:
        output.emit(written, output_format)
    return errors.FINE


def _shown(before: "Policy | None", policy: "Policy") -> list[str]:
    """Return the object that will be written, and what stands there now."""
    import msgspec

    from kubemtu.core.cluster import policy as core

    text = msgspec.yaml.encode(core.body(policy)).decode()
    if before is None:
        return [text]
    return [f"It takes the place of: {before.path_mtu}, {before.reason}", text]


def _made(path_mtu: int, reason: str, nodes: tuple[str, ...], name: str, expires: str | None, now: float) -> "Policy":
    """Return the policy that was asked for. Raises UsageError."""
    from kubemtu.core.cluster import policy as core
    from kubemtu.flows import policies

    policy = core.Policy(
        name=name,
        path_mtu=path_mtu,
        reason=" ".join(reason.split()),
        nodes=tuple(dict.fromkeys(nodes)),  # a name twice is refused by the API
        expires=policies.expiry(expires, now),
    )
    core.checked(policy, now)
    return policy
