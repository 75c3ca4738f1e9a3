"""What would change, in which order, and how it is undone: values that can be shown, saved and applied later."""

from collections.abc import Sequence

import msgspec

from kubemtu.core import net, objects
from kubemtu.core.change import migration

SCHEMA = "kubemtu.io/plan/v1"


class EditValue(msgspec.Struct, frozen=True, kw_only=True, rename="camel", tag="edit"):
    """Change one value of one object of the API and keep every other byte.

    `path` leads from the object's root to the value, through lists by index (the one behind the last item adds one, and
    undo takes it away); `before` is what must stand there now (None: nothing), `after`
    what will (None: nothing, the key is removed). Undo swaps the two. Strings are compared byte for byte.
    With `creates` there is no object before, and the one that is made holds that value alone; undo deletes it.
    """

    ref: objects.Ref
    """The object."""
    path: tuple[str | int, ...]
    """Keys, and indices of lists, that lead from the object's root to the value."""
    before: objects.Value
    """What must stand there now; null: nothing."""
    after: objects.Value
    """What will stand there; null: nothing, the key is removed. A mapping is a new item of a list (a variable)."""
    why: str
    """What for."""
    creates: bool = False
    """True where the object itself is made, or deleted on the way back."""
    found: objects.Value = None
    """What an earlier run of the same change has written, and may stand there instead of `before`; null: nothing."""

    @property
    def over_found(self) -> "EditValue":
        """The edit that starts from what an earlier run of the same change has written."""
        return msgspec.structs.replace(self, before=self.found, found=None, creates=False)

    def undo(self) -> "EditValue":
        """Return the edit that takes this one back, byte for byte."""
        return msgspec.structs.replace(self, before=self.after, after=self.before, found=None, why=f"undo: {self.why}")

    def made(self) -> dict[str, object]:
        """Return the whole object that is made, or was, where the edit creates one."""
        metadata = {"name": self.ref.name} | ({"namespace": self.ref.namespace} if self.ref.namespace else {})
        bare: dict[str, object] = {"apiVersion": self.ref.api_version, "kind": self.ref.kind, "metadata": metadata}
        return objects.placed(bare, self.path, self.before if self.after is None else self.after)


class Rollout(msgspec.Struct, frozen=True, kw_only=True, rename="camel", tag="rollout"):
    """Restart the pods of a DaemonSet of the CNI, as `kubectl rollout restart` does, and wait until all are ready.

    `conflist` names the file that each node must hold afterwards, and `mtu` what must stand in it; it is checked on
    every node that is observed before the next step begins.
    """

    ref: objects.Ref
    """The DaemonSet."""
    why: str
    """What for."""
    conflist: str | None = None
    """File that each node must hold afterwards; null: none is looked for."""
    mtu: int | None = None
    """What must stand in it, in bytes."""
    held: tuple[int | None, ...] = ()
    """What stands in it now, over all nodes, where that is what is configured; the way back looks for it, where it is
    one number."""
    rendered: "Rendering | None" = None
    """What an operator must have rendered first from what was edited; null: nothing is waited for."""


class Rendering(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A text that an operator renders: pods that restart before it is written come up with what was there before."""

    ref: objects.Ref
    """The object that holds it."""
    path: tuple[str | int, ...]
    """Keys that lead from the object's root to the text, which is a CNI configuration."""
    plugin: str
    """Type of the plugin in it whose MTU is the one that was edited."""
    by: str
    """Who renders it, and how one sees whether that runs."""


class Live(msgspec.Struct, frozen=True, kw_only=True, rename="camel", tag="live"):
    """Change the running pods of all nodes without restarting one: pins, devices, barriers (see core.change.migration).

    A step leads the nodes from its phase `start` to its phase `until`. A decrease has two: the first ends with every
    sender pinned, which is all the relief that running pods need and touches no device; the second moves the devices
    and takes the pins off. What lies between (the configuration, the restart of the CNI's pods) may take its time.
    """

    nodes: tuple["NodeTarget", ...]
    """What each node shall be."""
    pin_mtu: int
    """What senders are pinned to, in bytes: the smallest MTU, old or new, of any device of the change."""
    highest_mtu: int
    """The largest MTU, old or new, of any device of the change, in bytes."""
    underlay: int
    """The packet between nodes that carries a full pod packet, in bytes: what the network must let through."""
    why: str
    """What for."""
    restore: bool = False
    """True on the way back: to what the nodes have written down."""
    start: migration.Phase = migration.Phase.RECORD
    """Phase that the step begins with."""
    until: migration.Phase = migration.Phase.SETTLE
    """Phase that the step ends with."""
    without: tuple[str, ...] = ()
    """Nodes that are left as they are, even when their agents answer."""
    host_mtu: int | None = None
    """What nodes themselves send at most to `hostAddresses`, in bytes; null leaves their own traffic alone."""
    host_addresses: tuple[str, ...] = ()
    """Addresses of all nodes and of the API server."""
    hold: bool = False
    """True when the change stays in force after its last phase, and pods born later get it too, until it is undone."""

    @property
    def relieves(self) -> bool:
        """True when the step ends with every sender pinned and no device moved."""
        return self.until is migration.Phase.PIN_PORTS

    @property
    def by_route(self) -> bool:
        """True when the pods' routes get their MTU, and their devices keep more."""
        return any(node.device_mtu is not None for node in self.nodes)

    @property
    def pod_mtus(self) -> tuple[int, ...]:
        """The MTUs that pods get, smallest first, in bytes: several where they depend on the node."""
        return tuple(sorted({node.pod_mtu for node in self.nodes}))

    @property
    def only_hosts(self) -> bool:
        """True when the step is about the nodes' own traffic alone, and about no pod's."""
        return self.host_mtu is not None and not any(node.ports.names_any for node in self.nodes)

    @property
    def lets_hosts_go(self) -> bool:
        """True when the step does nothing but take the pins of the nodes' own traffic back."""
        return self.host_mtu is not None and self.restore and self.start is migration.Phase.SETTLE

    def halves(self) -> tuple["Live", "Live"]:
        """Divide a whole change: pin every sender, then move the devices and take the pins off."""
        pins = msgspec.structs.replace(self, until=migration.Phase.PIN_PORTS)
        return pins, msgspec.structs.replace(self, start=migration.Phase.DEVICES)


class NodeTarget(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What one node shall be: MTUs in bytes of the IP packet; None leaves a device alone."""

    node: str
    """Name of the node."""
    ports: net.PortRule
    """Which veths are the pod network's."""
    pod_mtu: int
    """What pods send at most, in bytes."""
    origin_mtu: int
    """What pods of this node had before, in bytes: where a rollback takes pods that were born meanwhile."""
    device_mtu: int | None = None
    """MTU of the pods' devices, in bytes, where only their routes have `podMtu`; null: the devices have it."""
    origin_device_mtu: int | None = None
    """The same before the change."""
    tunnel: str | None = None
    """The overlay's tunnel device; null leaves it alone."""
    tunnel_mtu: int | None = None
    """Its MTU, in bytes."""
    origin_tunnel_mtu: int | None = None
    """What it had before, in bytes, where it is changed."""
    bridge: str | None = None
    """The bridge of the pods; null without one."""
    pod_networks: tuple[str, ...] = ()
    """Prefixes into which this node sends to pods of other nodes."""
    running: int = 0
    """Pods there when the plan was made, whose senders are pinned meanwhile."""
    network_mtus: tuple[net.NetworkMtu, ...] = ()
    """What pods send at most towards single networks, each by a route of its own; the longest prefix decides."""
    default_route_mtu: int | None = None
    """What pods send at most by their default routes, in bytes; null: nothing but `podMtu` limits those."""
    own_networks: tuple[str, ...] = ()
    """Networks that this node's own pods have their addresses of; empty where they are not known."""
    changing: int | None = None
    """How many of the `running` pods have a device with another MTU; null: written by an older kubemtu."""


class PoolPlan(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What the pods of one pool of nodes send at most, where sizes differ by destination: in bytes of the IP packet.

    Nodes of one pool that have different NICs are in several of these.
    """

    pool: str
    """The pool, as its nodes' labels name it; empty where no label tells."""
    nodes: tuple[str, ...]
    """Its nodes."""
    nic_mtu: int | None
    """What their NICs have, in bytes; null where it was not seen."""
    pod_mtu: int
    """What their pods send to anybody at most, in bytes."""
    towards: dict[str, int] = {}
    """What they send at most towards the pods of other pools, in bytes, where that is less."""
    default_route_mtu: int | None = None
    """What they send out of the cluster at most, in bytes; null: `podMtu`."""
    path_mtu: int | None = None
    """What gets through between these nodes and the others, in bytes, where that is less; null: `nicMtu`."""
    path_by: str = ""
    """Who says so, as a clause."""


Step = EditValue | Rollout | Live


def last_live(steps: Sequence[Step]) -> Live | None:
    """Return the step that says how running pods are after these; None where none of them changes running pods."""
    return next((step for step in reversed(steps) if isinstance(step, Live)), None)


class Plan(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The whole change: `steps` in their order, for one CNI and one pod MTU."""

    cni: str
    """The CNI."""
    target: int
    """The MTU that pods shall have, in bytes."""
    current: int | None
    """The MTU that pods get now, in bytes; null when there is not one."""
    steps: tuple[Step, ...]
    """What is done, in this order."""
    remains: tuple[str, ...] = ()
    """What this plan leaves as it is, a sentence each."""
    warnings: tuple[str, ...] = ()
    """What to think of first, a sentence each."""
    least: int | None = None
    """What the configuration gives new pods, in bytes, where agents give those of larger NICs more; null: `target`."""
    pools: tuple[PoolPlan, ...] = ()
    """What pods send at most by the pool of their node, where that differs; empty where it is `target` everywhere."""
    per_node: bool = False
    """True where each node's pods are to have what its own NIC leaves, also while all NICs leave the same."""
    most: int | None = None
    """What no pod is to exceed where each node's pods have their own size, in bytes; 0: nothing but its NIC bounds it;
    null: they have not, or an older kubemtu wrote it."""
    schema: str = SCHEMA
    """Version of this form."""

    @property
    def pod_mtus(self) -> tuple[int, ...]:
        """The MTUs that pods shall have, smallest first, in bytes: `target`, or several that depend on the node."""
        return tuple(sorted({pool.pod_mtu for pool in self.pools})) or (self.target,)

    @property
    def configured(self) -> int:
        """What new pods get by the configuration, in bytes: what suits every node."""
        return self.target if self.least is None else self.least

    @property
    def of_files(self) -> bool:
        """True where it edits files that a cluster is made from, and nothing of a cluster."""
        return any(isinstance(step, EditValue) and step.ref.of_file for step in self.steps)
