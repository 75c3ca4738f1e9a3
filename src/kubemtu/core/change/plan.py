"""What would change, in which order, and how it is undone: values that can be shown, saved and applied later."""

import msgspec

from kubemtu.core import net, objects
from kubemtu.core.change import migration

SCHEMA = "kubemtu.io/plan/v1"


class EditValue(msgspec.Struct, frozen=True, kw_only=True, rename="camel", tag="edit"):
    """Change one value of one object of the API and keep every other byte.

    `path` leads from the object's root to the value; `before` is what must stand there now (None: nothing), `after`
    what will (None: nothing, the key is removed). Undo swaps the two. Strings are compared byte for byte.
    """

    ref: objects.Ref
    path: tuple[str, ...]
    before: str | int | None
    after: str | int | None
    why: str

    def undo(self) -> "EditValue":
        """Return the edit that takes this one back, byte for byte."""
        return EditValue(ref=self.ref, path=self.path, before=self.after, after=self.before, why=f"undo: {self.why}")


class Rollout(msgspec.Struct, frozen=True, kw_only=True, rename="camel", tag="rollout"):
    """Restart the pods of a DaemonSet of the CNI, as `kubectl rollout restart` does, and wait until all are ready.

    `conflist` names the file that each node must hold afterwards, and `mtu` what must stand in it; it is checked on
    every node that is observed before the next step begins.
    """

    ref: objects.Ref
    why: str
    conflist: str | None = None
    mtu: int | None = None
    held: tuple[int | None, ...] = ()  # what stands in it now, over all nodes; the undo looks for that, if it is one


class Live(msgspec.Struct, frozen=True, kw_only=True, rename="camel", tag="live"):
    """Change the running pods of all nodes without restarting one: pins, devices, barriers (see core.change.migration).

    A step leads the nodes from its phase `start` to its phase `until`. A decrease has two: the first ends with every
    sender pinned, which is all the relief that running pods need and touches no device; the second moves the devices
    and takes the pins off. What lies between (the configuration, the restart of the CNI's pods) may take its time.
    """

    nodes: tuple["NodeTarget", ...]
    pin_mtu: int  # the smallest MTU, old or new, that any device of the change has: what senders are pinned to
    highest_mtu: int  # the largest
    underlay: int  # the packet between nodes that carries a full pod packet: what the fabric must let through
    why: str
    restore: bool = False  # back to what the nodes' journals recorded
    start: migration.Phase = migration.Phase.RECORD
    until: migration.Phase = migration.Phase.SETTLE
    without: tuple[str, ...] = ()  # nodes that are left as they are, even when their agents answer
    host_mtu: int | None = None  # what nodes themselves send at most to these hosts; None leaves their traffic alone
    host_addresses: tuple[str, ...] = ()  # of all nodes, and of the API server

    @property
    def relieves(self) -> bool:
        """True when the step ends with every sender pinned and no device moved."""
        return self.until is migration.Phase.PIN_PORTS

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
    ports: net.PortRule
    pod_mtu: int  # what pods send at most
    origin_mtu: int  # what pods of this node had before: where a rollback takes pods that were born meanwhile
    device_mtu: int | None = None  # of the pods' devices, where their routes have `pod_mtu`; None: the devices have it
    origin_device_mtu: int | None = None  # the same before, beside `origin_mtu`
    tunnel: str | None = None
    tunnel_mtu: int | None = None
    origin_tunnel_mtu: int | None = None  # what the tunnel had before, where it is changed; None: an older kubemtu's
    bridge: str | None = None
    pod_networks: tuple[str, ...] = ()  # CIDRs: routes into them are where this node sends to pods of other nodes
    running: int = 0  # pods there, whose senders are pinned meanwhile, as observed when the plan was made
    changing: int | None = None  # those of them of which a device has another MTU; None: written by an older kubemtu


Step = EditValue | Rollout | Live


class Plan(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The whole change: `steps` in their order, for one CNI and one pod MTU."""

    cni: str
    target: int
    current: int | None
    steps: tuple[Step, ...]
    remains: tuple[str, ...] = ()  # what this plan leaves as it is, a sentence each
    warnings: tuple[str, ...] = ()
    schema: str = SCHEMA
