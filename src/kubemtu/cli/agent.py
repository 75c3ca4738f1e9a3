"""`kubemtu agent`: keep one node true to its NodeMTU."""

import asyncio
import contextlib
import logging
import signal
import sys
from pathlib import Path

import click

from kubemtu.cli import logs
from kubemtu.core import errors


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
def agent(
    node_name: str, kubeconfig: str | None, context: str | None, host_root: str, journal: str, namespace: str
) -> int:
    """Keep one node true to its NodeMTU, and measure what an MTUProbe asks for.

    Runs on every node, in the host's network namespace, with NET_ADMIN, SYS_ADMIN and NET_RAW. It changes nothing while
    its NodeMTU asks for nothing. It answers on UDP and TCP port 7843 whoever holds the key of that Secret. A
    termination signal ends it at once, with exit code 0: what it made so stays so.
    """
    to_stderr = logging.StreamHandler(sys.stderr)
    to_stderr.setFormatter(logs.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[to_stderr])
    for noisy in ("httpx2", "httpcore", "httpcore2"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    with contextlib.suppress(asyncio.CancelledError):
        asyncio.run(_run(node_name, kubeconfig, context, Path(host_root), Path(journal), namespace))
    return errors.FINE


async def _run(
    node: str, kubeconfig: str | None, context: str | None, host_root: Path, journal: Path, namespace: str
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
        task = asyncio.ensure_future(Agent(api=api, node=node, journal=journal, roots=roots, namespace=namespace).run())
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
