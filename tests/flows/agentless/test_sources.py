"""Several sources, one snapshot: each shows what none before it did."""

from collections.abc import Sequence

from tests.support import example

from kubemtu.core import net
from kubemtu.core.snapshot import Snapshot, Unread
from kubemtu.flows.agentless import sources

NO_AGENT = "it has no NodeMTU: NICs, tunnel and running pods of this node are unknown."


def blind(*names: str) -> Snapshot:
    """Make a cluster of which no agent tells."""
    silent = tuple(Unread(what=f"node {name}", why="no agent", message=NO_AGENT) for name in names)
    return example.cluster(nodes=(), silent=names, unread=silent)


def seen(name: str, by: net.SeenBy) -> net.NodeObservation:
    return net.NodeObservation(node=name, seen_by=by)


class Scripted:
    """A source that shows what it was made with, and remembers which nodes it was asked for."""

    def __init__(self, by: net.SeenBy, shows: Sequence[str], unread: Sequence[Unread] = ()) -> None:
        self.asked: list[tuple[str, ...]] = []
        self._by, self._shows, self._unread = by, shows, tuple(unread)

    async def __call__(self, _snapshot: Snapshot, names: Sequence[str]) -> sources.Shown:
        self.asked.append(tuple(names))
        return tuple(seen(name, self._by) for name in names if name in self._shows), self._unread


async def test_each_source_is_asked_for_what_none_before_it_showed() -> None:
    first, second = Scripted("exec", ["n1"]), Scripted("prometheus", ["n1", "n2"])
    snapshot = await sources.filled(blind("n1", "n2", "n3"), [first, second])
    assert first.asked == [("n1", "n2", "n3")]
    assert second.asked == [("n2", "n3")]
    assert [(node.node, node.seen_by) for node in snapshot.nodes] == [("n1", "exec"), ("n2", "prometheus")]
    assert [entry.what for entry in snapshot.unread] == ["node n3"]


async def test_nobody_is_asked_where_agents_show_every_node() -> None:
    source = Scripted("exec", ["n1"])
    snapshot = example.cluster()
    assert await sources.filled(snapshot, [source]) == snapshot
    assert source.asked == []


async def test_an_agent_is_believed_before_anybody_else() -> None:
    snapshot = example.cluster(silent=("n8",))
    shown = sources.merged(snapshot, ((seen("n1", "exec"), seen("n8", "exec")), ()))
    assert [(node.node, node.seen_by) for node in shown.nodes] == [
        ("n1", "agent"),
        ("n2", "agent"),
        ("n3", "agent"),
        ("n8", "exec"),
    ]


async def test_a_node_that_nobody_could_show_has_one_entry_with_all_reasons() -> None:
    hung = Unread(what="node n1", why="unreachable", message="its pod kube-system/a did not answer within 10 s.")
    refused = Unread(what="pods/exec", why="forbidden", message="dev may not exec.")
    snapshot = await sources.filled(blind("n1"), [Scripted("exec", [], [hung, refused])])
    assert snapshot.unread == (
        refused,
        Unread(
            what="node n1",
            why="unreachable",
            message="it has no NodeMTU: NICs, tunnel and running pods of this node are unknown; its pod kube-system/a "
            "did not answer within 10 s.",
        ),
    )


async def test_what_else_could_not_be_read_stays_said() -> None:
    secret = Unread(what="ConfigMap kube-system/canal-config", why="forbidden", message="RBAC says no.")
    snapshot = example.cluster(nodes=(), silent=("n1",), unread=(secret,))
    shown = await sources.filled(snapshot, [Scripted("exec", ["n1"])])
    assert shown.unread == (secret,)
