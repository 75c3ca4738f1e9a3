"""By what nodes are looked at that no agent shows: options of several commands, and the sources that they ask for."""

import os
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec, TypeVar

import click
import msgspec

from kubemtu.cli import combined, kubeflags, paths, terminal
from kubemtu.core import errors
from kubemtu.core.text import printable
from kubemtu.core.text.wording import count, names

if TYPE_CHECKING:
    from kubemtu.core.snapshot import Snapshot
    from kubemtu.flows.agentless.places import Container
    from kubemtu.flows.agentless.promql import Prometheus, PrometheusAddress
    from kubemtu.flows.agentless.sources import Source
    from kubemtu.kube.api import Api

P = ParamSpec("P")
R = TypeVar("R")


class SourceFlags(msgspec.Struct, frozen=True, kw_only=True):
    """Which sources were asked for, beside the agents."""

    by_exec: bool = False
    pods: tuple[str, ...] = ()  # "namespace/name", to be looked into
    prometheus: str = ""
    match: str = ""
    ca: Path | None = None
    token_file: Path | None = None
    survey: bool = False
    survey_namespace: str = ""
    yes: bool = False

    def sources(self, api: "Api") -> "list[Source]":
        """Return them in the order in which they are asked: what shows most of a node comes first."""
        chosen: list[Source] = []
        if self.by_exec:
            from kubemtu.flows.agentless import execs

            chosen.append(lambda snapshot, nodes: execs.observe(api, snapshot, nodes))
        if self.prometheus:
            from kubemtu.flows.agentless import prometheus

            metrics = self._metrics(api)
            chosen.append(
                lambda snapshot, nodes: prometheus.observe(metrics, snapshot, nodes, now=api.now(), match=self.match)
            )
        if self.survey:
            from kubemtu.flows.agentless import survey

            chosen.append(
                lambda snapshot, nodes: survey.observe(api, snapshot, nodes, self._approve, self.survey_namespace)
            )
        return chosen

    async def _approve(self, description: str) -> None:
        """Show what a survey makes, and ask. Raises UsageError where nobody can answer, Interrupted for a no."""
        from kubemtu.cli import planning

        terminal.echo(f"--survey makes\n{description}", err=True, nl=False)
        if not self.yes and not sys.stdout.isatty():
            raise errors.UsageError("--survey asks before it makes pods, and stdout is no terminal: add --yes")
        planning.confirm("Make them?", yes=self.yes)

    def check(self) -> None:
        """Raise UsageError for options that make no sense, before anything is asked of anybody."""
        if self.prometheus:
            from kubemtu.flows.agentless import prometheus, promql

            prometheus.checked(self.match)
            if not promql.SERVICE.fullmatch(self.prometheus):
                self._target()

    def _target(self) -> "PrometheusAddress":
        from kubemtu.flows.agentless import promql

        return promql.target(self.prometheus, os.environ, ca=self.ca, token_file=self.token_file)

    def _metrics(self, api: "Api") -> "Prometheus":
        from kubemtu.flows.agentless import promql

        if promql.SERVICE.fullmatch(self.prometheus):
            return promql.ByService(api, self.prometheus)
        return promql.Direct(self._target())

    @property
    def any(self) -> bool:
        """Return whether any was asked for."""
        return self.by_exec or bool(self.prometheus) or self.survey


AGENTS = SourceFlags()
OF_PROMETHEUS = {
    "prometheus": "--prometheus-match, -ca and -token-file belong to --prometheus: give that as well",
}
_OPTIONS = (
    click.option(
        "--exec",
        "by_exec",
        is_flag=True,
        help="Look at nodes without an agent by read-only commands in pods that run there.",
    ),
    click.option(
        "--exec-pod",
        "exec_pods",
        multiple=True,
        metavar="NAMESPACE/NAME",
        help="As --exec, and look into this pod as well: at its own end, and at containers and VMs that it runs.",
    ),
    click.option(
        "--prometheus",
        metavar="URL",
        default="",
        help="Take MTUs of nodes without an agent from node_exporter's metrics there; NAMESPACE/SERVICE:PORT asks"
        " through the API server. A token is read from KUBEMTU_PROMETHEUS_TOKEN.",
    ),
    click.option(
        "--prometheus-match",
        "match",
        cls=combined.Option,
        needs=OF_PROMETHEUS,
        metavar="MATCHERS",
        default="",
        help="Only series of these labels: 'cluster=\"a\"'.",
    ),
    click.option(
        "--prometheus-ca",
        "ca",
        cls=combined.Option,
        needs=OF_PROMETHEUS,
        type=paths.NamedPath(path_type=Path),
        metavar="FILE",
        help="Certificates to trust there.",
    ),
    click.option(
        "--prometheus-token-file",
        "token_file",
        cls=combined.Option,
        needs=OF_PROMETHEUS,
        type=paths.NamedPath(path_type=Path),
        metavar="FILE",
        help="Bearer token to show there.",
    ),
    click.option(
        "--survey",
        is_flag=True,
        help="Look at nodes without an agent by a short-lived, unprivileged pod on each, from an image that it has;"
        " shows them and asks first.",
    ),
    click.option(
        "--survey-namespace",
        metavar="NAME",
        cls=combined.Option,
        needs={"survey": "--survey-namespace says where --survey makes its pods: give that as well"},
        default="",
        help="Where those pods are made; by default where the CNI's are.",
    ),
    click.option(
        "--yes",
        "-y",
        is_flag=True,
        cls=combined.Option,
        needs={
            "survey": "--yes answers what --survey asks, and nothing else here asks: give that as well, or leave it out"
        },
        help="Do not ask whether to make them.",
    ),
)


def source_flags(command: Callable[P, R]) -> Callable[P, R]:
    """Add the options; the command gets them as `looking`, a SourceFlags."""

    def collected(*args: P.args, **kwargs: P.kwargs) -> R:
        pods = kwargs.pop("exec_pods")
        assert isinstance(pods, tuple)
        given = {name: kwargs.pop(name) for name in SourceFlags.__struct_fields__ if name != "pods"}
        given["by_exec"] = bool(given["by_exec"] or pods)
        kwargs["looking"] = msgspec.convert({**given, "pods": pods}, SourceFlags)
        return command(*args, **kwargs)

    collected.__name__ = command.__name__
    collected.__doc__ = command.__doc__
    collected.__dict__.update(command.__dict__)  # click keeps the parameters of inner decorators here
    whole: Callable[P, R] = collected
    for option in reversed(_OPTIONS):
        whole = option(whole)
    return whole


def of_a_cluster(looking: SourceFlags, source: Path | None, *, show_commands: bool = False) -> None:
    """Raise UsageError for sources that are of a cluster, where saved files are read, and for what makes no sense."""
    looking.check()
    if source is not None and (looking.any or show_commands):
        flag = "--show-commands" if show_commands else "--exec-pod" if looking.pods else "--exec"
        flag = flag if show_commands or looking.by_exec else "--prometheus" if looking.prometheus else "--survey"
        raise errors.UsageError(f"{flag} looks at a cluster, and --from reads saved files: leave one of them out")


async def filled(api: "Api", snapshot: "Snapshot", looking: SourceFlags) -> "Snapshot":
    """Return the snapshot with what the sources show of nodes that no agent does."""
    if not looking.any:
        return snapshot
    from kubemtu.flows.agentless import named_pods, sources

    snapshot = await sources.filled(snapshot, looking.sources(api))
    return await named_pods.looked_into(api, snapshot, looking.pods)


async def commands(flags: kubeflags.KubeFlags) -> str:
    """Say which commands --exec would run, and where. Asks the API alone."""
    from kubemtu.cli import planning
    from kubemtu.flows import observe

    async with planning.connected(flags) as api:
        return await listing(api, await observe.observe(api))


async def listing(api: "Api", snapshot: "Snapshot") -> str:
    """Say which commands would be run on the nodes of a snapshot that nobody has shown.

    Raises Forbidden where nodes or pods may not be read: which commands there would be cannot be told then.
    """
    from kubemtu.flows import observe
    from kubemtu.flows.agentless import execs, sources

    observe.permitted(snapshot, "nodes", "pods")
    reader, found = execs.NodeReader(api, snapshot), {}
    for node in sources.silent(snapshot):
        found[node] = await reader.all_containers(node)
    if not found:
        return f"{_all_shown(snapshot)}, so nothing would be run.\n"
    return "".join(f"{printable.one_line(line)}\n" for line in _listing(found))


def _all_shown(snapshot: "Snapshot") -> str:
    """Say that none of the nodes that were read is left to be looked at; nobody looks at one of Windows."""
    nodes = snapshot.of_kind("Node")
    whole = bool(nodes) and all(snapshot.observation(node.name) is not None for node in nodes)
    if whole and not any(entry.what == "nodes" for entry in snapshot.unread):
        return "An agent shows every node"
    return "Of the nodes that could be read none runs Linux without an agent"


def _listing(found: "dict[str, list[Container]]") -> Iterator[str]:
    from kubemtu.flows.agentless import commands as fixed

    yield f"{count(len(found), 'node')} without an agent. `--exec` runs these commands and no others, without a shell."
    yield "The network, in the first container of a pod that has the tools of the first form, else of the next:"
    for number, (_, forms) in enumerate(fixed.FORMS):
        yield from (f"  {'or' if number and not at else '  '} {shlex.join(argv)}" for at, argv in enumerate(forms))
    for argv, places in _of_files(found).items():
        yield f"What the CNI keeps on the node, in {names(places)}:"
        yield f"     {shlex.join(argv)}"
    yield "Containers, the one that is tried first before the others:"
    for node, containers in found.items():
        yield f"  {node}: {'; '.join(str(one.place) for one in containers) or 'none on its own network'}"


def _of_files(found: "dict[str, list[Container]]") -> dict[tuple[str, ...], Sequence[str]]:
    """Return the commands that show files, each with the containers that it is for."""
    from kubemtu.flows.agentless import commands as fixed

    listed: dict[tuple[str, ...], dict[str, None]] = {}
    for containers in found.values():
        for one in containers:
            if one.folders or one.files:
                argv = fixed.listed(tuple(one.folders.values()), tuple(one.files.values()))
                listed.setdefault(argv, {})[f"{one.place.namespace}/{one.owner} (container {one.place.container})"] = (
                    None
                )
    return {argv: tuple(places) for argv, places in listed.items()}
