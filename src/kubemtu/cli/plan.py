"""`kubemtu plan`: show what would change, in which order, and the way back."""

import difflib
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from kubemtu import files
from kubemtu.cli import check, kubeflags, output, paths, sourceflags, terminal, wrapping
from kubemtu.core import errors
from kubemtu.core.change.plan import Plan
from kubemtu.core.text import printable

if TYPE_CHECKING:
    from kubemtu.core.cluster.topology import Topology

# of the files that people keep in repositories, and of what the API of an add-on takes
FORMS = ("kustomize", "helm-values", "cluster.yml", "helmchartconfig", "talos-patch", "kubespray", "eks-addon")
MANIFESTS_MOST = 8 << 20  # bytes of a file that is edited; a CNI's whole manifest has half a megabyte


@click.command()
@click.option("--mtu", default="auto", show_default=True, metavar="N|auto", help="The pod MTU to lead to, in bytes.")
@check.FROM
@check.NIC_MTU
@check.PER_NODE
@check.EGRESS_MTU
@click.option(
    "--out",
    type=paths.NamedPath(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Also write the plan, for `kubemtu apply FILE`.",
)
@click.option(
    "--in-place",
    "repository",
    type=paths.NamedPath(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Also write the edits into this file of yours (manifests, values, cluster.yml); all else in it stays.",
)
@sourceflags.source_flags
@output.option("text", *output.WRITERS, *FORMS)
@kubeflags.kube_flags
def plan(
    flags: kubeflags.KubeFlags,
    looking: sourceflags.SourceFlags,
    mtu: str,
    source: Path | None,
    nic_mtu: int | None,
    per_node: bool,
    egress: str | None,
    out: Path | None,
    repository: Path | None,
    output_format: str,
) -> int:
    """Show what would change, in which order, what it touches, and the way back. Reads only.

    Where the cluster is kept in a repository: -o kustomize prints the edits as patches, -o helm-values, -o cluster.yml,
    -o kubespray and -o talos-patch the number where those files have it, -o helmchartconfig the object that RKE2's
    charts take it from where there is none yet, -o eks-addon the configuration values of the add-on, and
    --in-place FILE writes it into a file of yours.
    """
    from kubemtu.cli import planning
    from kubemtu.flows import decide

    target, apart_by = planning.wanted(mtu), planning.asked(per_node=per_node, egress=egress)
    snapshot = check.read(flags, source, looking, services=apart_by.goes_out)
    made, topology = decide.plan(snapshot, target, nic_mtu, apart_by)
    if out is not None:
        save(made, out)
    if repository is not None:
        _edit(made, topology, repository)
    if output_format in FORMS:
        form, notes = _form(made, topology, output_format)
        terminal.write(printable.printable(form).encode())
        for note in notes:
            terminal.echo(note, err=True)
    elif output_format == "text" and repository is None:
        terminal.echo(planning.text(made, topology, wrapping.width()))
    elif output_format != "text":
        output.emit(made, output_format)
    return errors.FINE


def _form(planned: Plan, topology: "Topology", form: str) -> tuple[str, tuple[str, ...]]:
    """Return the edits as a file of somebody's repository has them, and what is to be said beside it."""
    from kubemtu.cni import registry
    from kubemtu.core.planning import repository

    if form == "kustomize":
        return repository.kustomization(planned), ()
    keys = registry.CNIS[topology.state.name].KNOWLEDGE.values_keys
    return repository.values(planned, form, topology.state, keys), repository.notes(planned, form, topology.state, keys)


def _edit(planned: Plan, topology: "Topology", path: Path) -> None:
    """Write the edits of a plan into a file, and show them as a diff of it. Raises UsageError, Malformed."""
    from kubemtu.cni import registry
    from kubemtu.core.planning import repository

    before = _text(path)
    keys = registry.CNIS[topology.state.name].KNOWLEDGE.values_keys
    edited = repository.in_place(planned, before, str(path), topology.state, keys)
    if edited.text != before:
        if _text(path) != before:
            raise errors.Conflict(f"{path} was changed by somebody else meanwhile, and is left as it is: plan again")
        try:
            files.write(path, edited.text.encode(), keep_mode=True)
        except OSError as why:
            raise errors.UsageError(f"{path} cannot be written: {why.strerror or why}") from why
    changes = difflib.unified_diff(before.splitlines(), edited.text.splitlines(), str(path), str(path), lineterm="")
    for line in changes:
        terminal.echo(line, err=True)
    notes = [f"{ref} stands in another file: edit it there, too." for ref in edited.elsewhere]
    for note in (*notes, *repository.left(planned)) if edited.changed else ("There is nothing to edit.",):
        terminal.echo(note, err=True)


def _text(path: Path) -> str:
    """Read a file that is to be edited. Raises UsageError, Malformed."""
    try:
        return files.read(path, MANIFESTS_MOST).decode()
    except UnicodeDecodeError as why:
        raise errors.Malformed(f"{path} is no text in UTF-8; name a file of manifests") from why
    except OSError as why:
        raise errors.UsageError(f"{path} cannot be read: {why.strerror or why}; name a file of manifests") from why


def save(plan: Plan, path: Path) -> None:
    """Write a plan as JSON, readable by its owner only. Raises UsageError when the file cannot be written."""
    try:
        files.write(path, msgspec.json.format(printable.encode(plan), indent=2) + b"\n")
    except OSError as error:
        raise errors.UsageError(f"{path} cannot be written: {error.strerror or error}; name another file") from error
