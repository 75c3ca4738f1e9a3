"""`kubemtu lab`: a cluster on this machine, made of network namespaces, that hurts where a real one does."""

import os
import time
from typing import TYPE_CHECKING, Literal, NoReturn

import click
import msgspec

from kubemtu.cli import numbers, terminal
from kubemtu.core import errors
from kubemtu.core.text import printable

if TYPE_CHECKING:  # what the other commands need not load
    from kubemtu_lab import scene as scenes
    from kubemtu_lab.cluster import Lab


_PORT = "What a switch port (all) lets through once all is up; WAY: to-node or from-node, for that direction only."
_WAYS: "dict[str, Literal['both', 'to-node', 'from-node']]" = {
    "": "both",
    "both": "both",
    "to-node": "to-node",
    "from-node": "from-node",
}


@click.group()
def lab() -> None:
    """Build a cluster on this machine out of network namespaces: real kernel, real API, no images, no root needed."""


def _mtu(_context: click.Context, parameter: click.Parameter, value: int | None) -> int | None:
    if value is not None and not 68 <= value <= 65535:
        raise click.BadParameter(f"{value} is no MTU; IPv4 devices take 68 to 65535 bytes", param=parameter)
    return value


@lab.command()
@click.option("--scene", "scene_name", default="canal-1500", show_default=True, help="What to build; see --scenes.")
@click.option("--scenes", "list_scenes", is_flag=True, help="List the scenes and build nothing.")
@click.option("--nodes", type=click.IntRange(1, 200), help="Number of nodes.")
@click.option("--pods", type=click.IntRange(0, 100), help="Pods on each node.")
@click.option("--nic-mtu", type=int, callback=_mtu, help="MTU of every node's first NIC.")
@click.option("--port-mtu", "ports", multiple=True, metavar="[NODE=]MTU[:WAY]", help=_PORT)
@click.option("--pod-mtu", type=int, callback=_mtu, help="MTU that the CNI is configured to give to pods.")
@click.option("--fault", "faults", multiple=True, metavar="NAME[=MTU]", help="One more fault: see --scenes.")
@click.option(
    "--daemon-seconds", type=numbers.FiniteRange(0, 120), help="How long a restarted CNI daemon is not ready."
)
@click.option("--agents/--no-agents", default=None, help="Run the kubemtu agent on every node.")
@click.option("--probes/--no-probes", default=None, help="Run a kubemtu probe on every node, and the agents with it.")
@click.option(
    "--daemon",
    "daemons",
    multiple=True,
    type=click.Choice(["kube-proxy", "node-exporter", "kube-vip"]),
    help="Run one more pod in the host's network on every node, with what is in its image.",
)
@click.option("--image", metavar="FOLDER", help="Run kubemtu's pods from an unpacked image, as scripts/image makes it.")
@click.option("--name", help="Name of the lab; default: the scene's.")
def up(
    *,
    scene_name: str,
    list_scenes: bool,
    nodes: int | None,
    pods: int | None,
    nic_mtu: int | None,
    ports: tuple[str, ...],
    pod_mtu: int | None,
    faults: tuple[str, ...],
    daemon_seconds: float | None,
    agents: bool | None,
    probes: bool | None,
    daemons: "tuple[Literal['kube-proxy', 'node-exporter', 'kube-vip'], ...]",
    image: str | None,
    name: str | None,
) -> None:
    """Start a lab and tell how to use it. It lives on until `kubemtu lab down`."""
    from kubemtu_lab import images
    from kubemtu_lab import scene as scenes
    from kubemtu_lab.cluster import Lab
    from kubemtu_lab.scenes import FAULTS, SCENES, named

    if list_scenes:
        for each in SCENES.values():
            terminal.echo(f"{each.name:18} {each.summary}")
        terminal.echo("\nfaults for --fault:")
        for key, (_, summary) in FAULTS.items():
            terminal.echo(f"{key:18} {summary}")
        return
    found = scenes.resized(named(scene_name), nodes=nodes, pods=pods, nic_mtu=nic_mtu, pod_mtu=pod_mtu)
    for port in ports:
        found = _with_port(found, port)
    for fault in faults:
        found = _with_fault(found, fault)
    if daemon_seconds is not None:
        found = found.replace(daemon_seconds=daemon_seconds)
    if probes is not None:
        found = found.replace(probes=probes, agents=probes or found.agents)
    found = found.replace(daemons=tuple(dict.fromkeys((*found.daemons, *daemons))))
    if image is not None:
        found = found.replace(image=str(images.load(image).folder))
    if agents is not None:
        found = found.replace(agents=agents)
    if name is not None and not name.replace("-", "").isalnum():
        raise errors.UsageError(f"{name} is no name for a lab; use letters, digits and dashes")
    began = time.monotonic()
    made = Lab.up(found, name, tethered=False)
    _welcome(made, found, time.monotonic() - began)


def _with_port(scene: "scenes.Scene", written: str) -> "scenes.Scene":
    from kubemtu_lab.scenes import black_hole

    words, _, way = written.partition(":")
    node, _, mtu = words.rpartition("=")
    if not (mtu.isascii() and mtu.isdigit() and len(mtu) <= 5) or not 68 <= int(mtu) <= 65535:
        raise errors.UsageError(f"--port-mtu {written}: write an MTU of 68 to 65535 bytes, or NODE=MTU")
    if way not in _WAYS:
        raise errors.UsageError(f"--port-mtu {written}: a port drops in both directions, or :to-node, or :from-node")
    for each in [node] if node else [every.name for every in scene.nodes]:
        scene = black_hole(scene, each, int(mtu), _WAYS[way])
    return scene


def _hole(node: "scenes.Node", nic: "scenes.Nic", *, is_first: bool) -> str:
    """Return what a port does to the cluster that is up."""
    way = {"both": "", "to-node": " of what is sent to it", "from-node": " of what it sends"}[nic.port_way]
    silent = "the API server itself is behind it" if is_first else "its kubelet and daemons reach the API through it"
    return (
        f"The switch port of {node.name}, {nic.name}, takes {nic.port_mtu} bytes{way}, its NIC has {nic.mtu}: "
        f"{silent}, and larger packets vanish."
    )


def _with_fault(scene: "scenes.Scene", written: str) -> "scenes.Scene":
    from kubemtu_lab.scenes import FAULTS

    name, _, mtu = written.partition("=")
    if name not in FAULTS:
        raise errors.UsageError(f"--fault {written}: there is no such fault; choose one of: {', '.join(FAULTS)}")
    make = FAULTS[name][0]
    if mtu and not (mtu.isascii() and mtu.isdigit() and len(mtu) <= 5):
        raise errors.UsageError(f"--fault {written}: write NAME=MTU, in bytes")
    return make(scene, int(mtu) if mtu else None)


def _welcome(lab: "Lab", scene: "scenes.Scene", seconds: float) -> None:
    pods = [pod for node in scene.nodes for pod in node.pods]
    terminal.echo(
        f"lab {lab.name} is up ({seconds:.1f} s): {len(scene.nodes)} nodes, {len(pods)} pods. {scene.summary}."
    )
    if lab.unready:
        terminal.echo(f"Not ready, as this scene has it: {', '.join(lab.unready)}.")
    for place, node in enumerate(scene.nodes):
        for number, nic in enumerate(node.nics):
            if nic.port_mtu is not None and nic.port_mtu < nic.mtu:
                terminal.echo(_hole(node, nic, is_first=place == number == 0))
    terminal.echo(f"\n  export KUBECONFIG={lab.kubeconfig}")
    terminal.echo("  kubemtu check")
    if pods:
        terminal.echo(f"  kubemtu lab exec {pods[0]} -- ip link")
    terminal.echo(f"  kubemtu lab down {lab.name}")


@lab.command()
@click.argument("name", required=False)
@click.option("--all", "everything", is_flag=True, help="End all labs of this user, and remove what is left of any.")
def down(name: str | None, everything: bool) -> None:
    """End a lab: every process, namespace and link of it. Without NAME: the only one."""
    from kubemtu_lab import cluster, state

    if everything:
        if name is not None:
            raise errors.UsageError("give a NAME or --all, not both")
        ended = cluster.end_all()
        terminal.echo(f"ended: {', '.join(ended)}" if ended else "there was no lab")
        return
    remains = state.root() / name if name else None
    if remains is None or not remains.is_dir():
        remains = state.find(name)
    was_up = cluster.end(remains)
    terminal.echo(f"lab {remains.name} is down" if was_up else f"lab {remains.name} had ended; its folder is removed")


@lab.command("ls")
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
def list_labs(output: str) -> None:
    """List this user's labs."""
    from kubemtu_lab import state

    rows = []
    for folder in state.folders():
        record = state.read(folder)
        up_now = state.supervisor_of(folder) is not None
        pods = len([each for each in (folder / "pods").glob("*.*") if each.suffix not in (".log", ".new")])
        rows.append(
            {
                "name": folder.name,
                "state": ("up" if record and record.ready else "starting") if up_now else "ended",
                "scene": record.scene if record else "",
                "nodes": sorted(record.nodes) if record else [],
                "pods": pods if up_now else 0,
                "created": record.created if record else None,
                "pid": record.pid if record and up_now else None,
                "kubeconfig": str(folder / "kubeconfig"),
            }
        )
    if output == "json":
        terminal.echo(msgspec.json.format(printable.encode(rows), indent=2).decode())
    elif not rows:
        terminal.echo("no lab is up; `kubemtu lab up` makes one")
    else:
        terminal.echo(f"{'NAME':18} {'STATE':9} {'SCENE':18} {'NODES':>5} {'PODS':>5}  KUBECONFIG")
        for row in rows:
            count = len(row["nodes"]) if isinstance(row["nodes"], list) else 0
            terminal.echo(
                f"{row['name']:18} {row['state']:9} {row['scene']:18} {count:>5} {row['pods']:>5}  {row['kubeconfig']}"
            )


@lab.command("exec", context_settings={"ignore_unknown_options": True})
@click.option("--lab", "name", help="Name of the lab.  [the one that KUBECONFIG names, or the only one]")
@click.argument("place", metavar="POD|NODE|fabric")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED, metavar="-- COMMAND...")
def execute(name: str | None, place: str, command: tuple[str, ...]) -> NoReturn:
    """Run a program of this machine in a pod's network, on a node, or on the switch ("fabric").

    Pods of other namespaces than default are written NAMESPACE/POD.
    """
    from kubemtu_lab import state
    from kubemtu_lab.cluster import Lab

    held = os.environ.get("KUBECONFIG")
    meant = next((each.name for each in state.folders() if str(each / "kubeconfig") == held), None)
    argv = Lab.find(name or meant).command(place, command)
    os.execv(argv[0], argv)  # noqa: S606  # the command is the user's own
