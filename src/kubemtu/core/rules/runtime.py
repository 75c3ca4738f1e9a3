"""The file that the runtime takes: where it is not the CNI's own, a change of that reaches no new pod by itself."""

from kubemtu.core import codes, places
from kubemtu.core.cluster import node_files
from kubemtu.core.cluster.node_files import Rendered, Taken
from kubemtu.core.cluster.topology import Node, Topology
from kubemtu.core.codes import Finding, Severity
from kubemtu.core.text.wording import names, sizes


def find(topology: Topology) -> tuple[Finding, ...]:
    """Report a file that sorts before the CNI's own and gives new pods something else (MTU130), or nothing (MTU122)."""
    alike: dict[tuple[str, Taken, int | None], list[Node]] = {}
    for node in topology.nodes:
        if node.rendered is not None and node.rendered.taken is not None and _matters(node.rendered):
            alike.setdefault((node.rendered.path, node.rendered.taken, node.rendered.own), []).append(node)
    found = (_of(topology, own, taken, gives, nodes) for (own, taken, gives), nodes in alike.items())
    lost = (_foreign(node, topology) for node in topology.nodes if foreign(node, topology))
    return (*found, *lost)


def foreign(node: Node, topology: Topology) -> bool:
    """Say whether the CNI's own file is not on a node, and the one that is taken runs another plugin than that."""
    rendered, template = node.rendered, topology.state.conflist_template
    if rendered is None or rendered.taken is not None or template is None or not rendered.plugins:
        return False
    wanted = node_files.plugins_of(template)
    return (
        rendered.path != topology.state.conflist
        and node.seen.file(topology.state.conflist or "") is None
        and wanted is not None
        and wanted[0].get("type") != rendered.plugins[0].get("type")
    )


def _foreign(node: Node, topology: Topology) -> Finding:
    rendered = node.rendered
    assert rendered is not None
    runs = rendered.plugins[0].get("type") if rendered.plugins else ""
    return codes.finding(
        codes.MTU130,
        places.on(node.name, rendered.path),
        f"The CNI's own file, {topology.state.conflist}, is not there, and the runtime takes this one: it runs"
        f" {runs!s:.40}, which is another pod network, and new pods here get"
        f" {rendered.gives or 'what that plugin decides'}.",
        "Restart the CNI's pod on this node, which writes its file; where this one sorts before it,"
        f" {_moved(rendered.path)}.",
    )


def hindrance(topology: Topology, aim: int) -> str:
    """Say why new pods would not get `aim` bytes whatever the CNI's configuration says; empty: they would.

    A copy is not spoken of, which its maker's restart renews, nor what was not seen.
    """
    for node in topology.nodes:
        if (
            node.rendered is not None
            and foreign(node, topology)
            and node.rendered.path < (topology.state.conflist or "")
        ):
            return (
                f"on {node.name} the runtime will take {node.rendered.path} all the same: {_moved(node.rendered.path)}"
            )
        taken = node.rendered.taken if node.rendered is not None else None
        if node.rendered is None or taken is None or taken.copied or (taken.runs is None and taken.valid):
            continue
        if taken.gives != aim or not _same(node.rendered):
            return (
                f"on {node.name} the runtime takes {taken.path} and not {node.rendered.path}, because it is the first"
                f" by name: {_away(taken)}"
            )
    return ""


def apart(topology: Topology, aim: int) -> tuple[str, ...]:
    """Name the nodes where the runtime takes another file than the CNI's own, and not one that gives `aim` bytes."""
    taking = [(node, node.rendered) for node in topology.nodes if node.rendered is not None]
    return tuple(node.name for node, rendered in taking if rendered.taken is not None and rendered.gives != aim)


def unknown(topology: Topology) -> str:
    """Say of which nodes it is not known what new pods go by; empty: of none."""
    hidden = [
        node
        for node in topology.nodes
        if node.rendered is not None and node.rendered.taken is not None
        if node.rendered.taken.runs is None and node.rendered.taken.names
    ]
    if not hidden:
        return ""
    listed = dict.fromkeys(node.rendered.taken.names for node in hidden if node.rendered and node.rendered.taken)
    if all(topology.beside.named(name) is not None for name in listed):
        return (
            f"New pods on {names(node.name for node in hidden)} are of another network, {names(listed)}, by the file"
            " that the runtime takes: what is planned here does not reach them."
        )
    return (
        f"What new pods get on {names(node.name for node in hidden)} was not seen: the runtime takes a plugin that goes"
        f" by {names(listed)}."
    )


def _matters(rendered: Rendered) -> bool:
    taken = rendered.taken
    if taken is None:
        return False
    return not _same(rendered) or taken.gives != rendered.own or bool(taken.refused)


def _same(rendered: Rendered) -> bool:
    """Return True when the file that is taken makes pods by the plugin of the CNI's own file."""
    own = str(rendered.plugins[0].get("type", "")) if rendered.plugins else None
    return rendered.taken is not None and rendered.taken.runs == own


def _of(topology: Topology, own: str, taken: Taken, gives: int | None, nodes: list[Node]) -> Finding:
    place = places.on((node.name for node in nodes), taken.path)
    first = "The runtime takes this file, the first by name in its folder"
    if not taken.valid:
        return codes.finding(
            codes.MTU122,
            place,
            f"{first}, and it is not a CNI configuration: with containerd no new pod starts here, whatever {own} says.",
            f"See who wrote it, and {_away(taken)}.",
        )
    if taken.runs is None and (other := topology.beside.named(taken.names)) is not None:
        return codes.finding(
            codes.MTU130,
            place,
            f"{first}: its plugin {taken.plugin} goes by {other.place}, so new pods here are of that network"
            f"{f' ({other.plugin})' if other.plugin else ''}, and {own} makes none of them.",
            f"Where that is meant, what is said here of {topology.state.said} concerns older pods alone; else name"
            f" {own} in {taken.path}.",
            "warning",
        )
    if taken.runs is None:
        return codes.finding(
            codes.MTU130,
            place,
            f"{first}: its plugin {taken.plugin} goes by {taken.names}, which was not seen. What new pods get is"
            f" not known, and {own} need not be it.",
            f"Look at {taken.names}, or show that file; `mtu` in it is what counts.",
            "warning",
        )
    if taken.refused:
        number = f"with the MTU {taken.refused}, which the plugin refuses: no new pod starts here"
    else:
        number = f"and new pods here get {taken.gives if taken.gives is not None else 'what that plugin decides'}"
    says = f"{own} says {gives}" if gives is not None else f"{own} is not read"
    if taken.copied:
        fact = f"{first}: {taken.plugin} goes by a copy of the CNI's configuration within it, {number}; {says}."
        remedy = (
            f"Restart the pods of {taken.plugin}, which copy {own} when they start, once that is right: `kubemtu apply`"
            " does both in this order, and says where it cannot."
        )
    elif taken.runs == taken.plugin and any(_same(node.rendered) for node in nodes if node.rendered is not None):
        fact = f"{first}: it runs the same plugin ({taken.plugin}) by itself, {number}; {says}."
        remedy = f"See who wrote it: let that copy the CNI's file anew, or {_away(taken)}."
    else:
        fact = f"{first}: it runs {taken.runs}, which is another pod network, {number}; {own} is not read."
        remedy = f"A CNI that was here before leaves such files: where that is so, {_away(taken)}."
    rooms = [room for node in nodes if (room := topology.room(node)) is not None]
    carries = min(rooms, default=None)
    return codes.finding(
        codes.MTU130, place, f"{fact}{_cost(carries, taken)}", remedy, _severity(carries, taken, nodes)
    )


def _severity(carries: int | None, taken: Taken, nodes: list[Node]) -> Severity:
    alike = all(_same(node.rendered) for node in nodes if node.rendered is not None)
    fits = taken.gives is not None and carries is not None and taken.gives <= carries
    return "warning" if alike and fits and not taken.refused else "error"


def _cost(carries: int | None, taken: Taken) -> str:
    if taken.gives is None or carries is None or taken.gives <= carries:
        return ""
    return f" The path between nodes carries {carries}: packets of {sizes(carries + 1, taken.gives)} bytes do not fit."


def _away(taken: Taken) -> str:
    return _moved(taken.path)


def _moved(path: str) -> str:
    return f"take it away there, or give it a name that no runtime reads: mv {path} {path}.bak"
