"""Multus: a plugin whose file sorts before the CNI's own and hands on to it, by its name or by a copy within itself.

    thin    a copy of the first other file by name, made when its pod starts (cmd/thin_entrypoint/main.go
            createMultusConfig; before v4 images/entrypoint.sh), and again by itself only with --cleanup-config-on-exit
    thick   `clusterNetwork`, the path of that file as the daemon sees it: read for each pod (pkg/server/config)
    given   --multus-conf-file other than auto: delegates that somebody wrote into a ConfigMap, copied to the node

All paths are of k8snetworkplumbingwg/multus-cni. In a copy an old MTU outlives every change of the CNI's own.
"""

from collections.abc import Iterable

from kubemtu.cni.knowledge import Knowledge
from kubemtu.cni.objects import daemonset, reading
from kubemtu.core import rights
from kubemtu.core.change import plan
from kubemtu.core.cluster import node_files
from kubemtu.core.cluster.topology import Node, Topology
from kubemtu.core.errors import UsageError
from kubemtu.core.objects import Object, daemonsets
from kubemtu.core.snapshot import Snapshot
from kubemtu.core.text.wording import names

NAMESPACE = "kube-system"
_DAEMONSETS = ("kube-multus-ds", "kube-multus-ds-amd64", "multus", "rke2-multus-ds", "rke2-multus")
_TYPES = ("multus", "multus-shim")
KNOWLEDGE = Knowledge(
    plugin_mtus=tuple(  # pkg/types/types.go NetConf
        node_files.PluginRule(plugin=each, copies="delegates", names="clusterNetwork") for each in _TYPES
    ),
    edited=(rights.patch("daemonsets", *_DAEMONSETS, group="apps"),),
)
WANTS = (daemonsets(NAMESPACE),)


def steps(topology: Topology, snapshot: Snapshot, aim: int, *, literal: bool) -> tuple[plan.Rollout, ...]:
    """List the restarts that copy the CNI's file anew, once that holds `aim`; none where nothing is copied.

    `literal`: that file will hold the number itself. Raises UsageError with the reason where a copy is outlived by no
    restart that kubemtu knows of.
    """
    copies = [node for node in topology.nodes if _copied(node, aim)]
    if not copies:
        return ()
    path = next(node.rendered.taken.path for node in copies if node.rendered and node.rendered.taken)
    where = f"{path} of {names(node.name for node in copies)}"
    agents = tuple(_agents(snapshot))
    if not agents:
        raise UsageError(
            f"new pods would not follow: {where} holds a copy of the CNI's configuration, which the runtime takes, and"
            f" no DaemonSet of multus was read in {NAMESPACE} to make it anew; write the MTU into that file too,"
            " or restart what wrote it once the CNI's own file is right, then plan again"
        )
    for agent in agents:
        if given := _given(agent):
            raise UsageError(
                f"new pods would not follow: {where} is what {agent} copies from {given}, whose delegates nothing makes"
                f" anew: write the MTU {aim} there, or give it --multus-conf-file=auto, restart it, then plan again"
            )
    return tuple(
        plan.Rollout(
            ref=reading.ref(agent, "daemonsets"),
            why=f"{path} holds a copy of the CNI's configuration, made when its pod starts",
            conflist=path if literal else None,
            mtu=aim if literal else None,
        )
        for agent in agents
    )


def _copied(node: Node, aim: int) -> bool:
    """Return True where the runtime goes by a copy that has another MTU than `aim`, or will have."""
    taken = node.rendered.taken if node.rendered is not None else None
    return taken is not None and taken.copied and taken.gives != aim


def _agents(snapshot: Snapshot) -> Iterable[Object]:
    """Yield the DaemonSets that run multus, told by a container's image or name; one for each architecture, of old."""
    for found in snapshot.each("DaemonSet", NAMESPACE):
        if any("multus" in str(each.get("image")) or "multus" in str(each.get("name")) for each in _containers(found)):
            yield found


def _given(agent: Object) -> str:
    """Return the file that its configuration is copied from, where it is not made of the CNI's own; else nothing."""
    held = _containers(agent)
    given = [value for each in held for value in daemonset.flag_values(each, "multus-conf-file")]
    if given:
        return "" if given[-1] == "auto" else given[-1]
    old = any(word.endswith("/entrypoint.sh") for each in held for word in daemonset.arguments(each))
    return "its image" if old else ""  # images/entrypoint.sh copies 70-multus.conf, later programs have "auto"


def _containers(agent: Object) -> tuple[Object, ...]:
    nothing: tuple[Object, ...] = ()
    return reading.attempt(lambda: tuple(daemonset.containers(agent, "running")), nothing, [], str(agent))
