"""`kubemtu agent`: keep one node true to its NodeMTU."""

import asyncio
import contextlib
import logging
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kubemtu.cli import logs
from kubemtu.core import errors

if TYPE_CHECKING:
    from kubemtu.agent.kernel import PodNetwork


@click.command()
@click.option("--node-name", envvar="NODE_NAME", required=True, help="This node, as the API names it.")
@click.option("--kubeconfig", help="Path to a kubeconfig; in a pod the service account is used.")
@click.option("--context", help="The kubeconfig context to use.")
@click.option("--host-root", default="/", show_default=True, help="Where the node's own file tree is mounted.")
@click.option(
    "--journal",
    default="/run/kubemtu",
    show_default=True,
    help="Folder for the undo journal; it must outlive the agent, and need not outlive a reboot.",
)
@click.option(
    "--namespace",
    envvar="POD_NAMESPACE",
    default="kubemtu",
    show_default=True,
    help="Namespace of the Secret whose key all agents and probes share; the first agent makes it.",
)
@click.option("--pod-prefix", "prefixes", multiple=True, help="Links whose names begin so are host ends of pods.")
@click.option("--pod-bridge", "bridges", multiple=True, help="The ports of this bridge are host ends of pods.")
@click.option("--cni-file", "cni_files", multiple=True, help="A file of the CNI, besides /etc/cni/net.d, to show.")
def agent(
    node_name: str,
    kubeconfig: str | None,
    context: str | None,
    host_root: str,
    journal: str,
    namespace: str,
    prefixes: tuple[str, ...],
    bridges: tuple[str, ...],
    cni_files: tuple[str, ...],
) -> int:
    """Keep one node true to its NodeMTU, and measure what an MTUProbe asks for.

    Runs on every node, in the host's network namespace, with NET_ADMIN, SYS_ADMIN and NET_RAW. It changes nothing while
    its NodeMTU asks for nothing. It answers on UDP and TCP port 7843 whoever holds the key of that Secret. A
    termination signal ends it at once, with exit code 0: what it made so stays so.

    Which links belong to pods, and which files to the CNI, it is told by the DaemonSet that `kubemtu install` makes;
    where none of these three options is given, it takes those of all CNIs that it knows itself.
    """
    to_stderr = logging.StreamHandler(sys.stderr)
    to_stderr.setFormatter(logs.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[to_stderr])
    for noisy in ("httpx2", "httpcore", "httpcore2"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    with contextlib.suppress(asyncio.CancelledError):
        network = _pod_network(prefixes, bridges, cni_files)
        asyncio.run(_run(node_name, kubeconfig, context, Path(host_root), Path(journal), namespace, network))
    return errors.FINE


def _pod_network(prefixes: tuple[str, ...], bridges: tuple[str, ...], cni_files: tuple[str, ...]) -> "PodNetwork":
    from kubemtu.agent.kernel import PodNetwork
    from kubemtu.core import net

    if not (prefixes or bridges or cni_files):
        from kubemtu.cni import registry

        return PodNetwork(ports=registry.ports(), files=registry.node_paths())
    rules = (net.PortRule(prefixes=prefixes), *(net.PortRule(bridge=bridge) for bridge in bridges))
    return PodNetwork(ports=net.PortRules(rules=rules), files=cni_files)


async def _run(
    node: str,
    kubeconfig: str | None,
    context: str | None,
    host_root: Path,
    journal: Path,
    namespace: str,
    network: "PodNetwork",
) -> None:
    from kubemtu.agent import memory
    from kubemtu.agent.agent import Agent
    from kubemtu.kube import api as kube_api
    from kubemtu.kube import connect
    from kubemtu.node.kernel import capabilities, netns

    advice = "have its container keep the capabilities that deploy/agent.yaml gives it"
    capabilities.require(capabilities.MEASURE, advice)
    if capabilities.missing((capabilities.NET_BROADCAST,)):
        log = logging.getLogger("kubemtu.agent")
        log.warning("without CAP_NET_BROADCAST what changes inside pods is seen late, not at once; %s", advice)
    memory.settle()
    roots = netns.Roots() if host_root == Path("/") else netns.Roots.under(host_root)
    async with kube_api.Api(connect.settings(kubeconfig, context)) as api:
        ours = Agent(api=api, node=node, journal=journal, pod_network=network, roots=roots, namespace=namespace)
        task = asyncio.ensure_future(ours.run())
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, task.cancel)
        failure: errors.KubemtuError | None = None
        try:
            await task
        except* errors.KubemtuError as group:
            failure = errors.first(group)
        if failure is not None:
            raise failure
