"""Snapshots from a few lines of YAML, as `check --from` would read them."""

from collections.abc import Callable

import pytest
import yaml
from tests.support.shapes import KINDS, Kind

from kubemtu.core.net import Link, NodeFile, NodeObservation, Uplink
from kubemtu.core.objects import Object
from kubemtu.core.snapshot import Snapshot

Reading = Callable[..., Snapshot]


@pytest.fixture
def snapshot() -> Reading:
    """Make a snapshot of YAML documents and, optionally, observed nodes."""

    def read(*texts: str, nodes: tuple[NodeObservation, ...] = ()) -> Snapshot:
        bodies = [body for text in texts for body in yaml.safe_load_all(text) if body]
        return Snapshot(
            source="a test", offline=not nodes, objects=tuple(Object.of(body) for body in bodies), nodes=nodes
        )

    return read


@pytest.fixture(params=KINDS, ids=repr)
def deployed(request: pytest.FixtureRequest) -> Reading:
    """Make a snapshot of the shapes of these names, or of the manifests that they stand for."""
    kind: Kind = request.param

    def read(*names: str) -> Snapshot:
        bodies = [body for name in names for body in yaml.safe_load_all(kind(name).read_text()) if body]
        return Snapshot(source="a test", offline=True, objects=tuple(Object.of(body) for body in bodies))

    return read


@pytest.fixture
def node() -> Callable[..., NodeObservation]:
    """Make a node with one NIC that leads to its peers, and files."""

    def observe(name: str = "n1", nic: str = "eth0", mtu: int = 1500, **files: str) -> NodeObservation:
        paths = {
            "conflist": "/etc/cni/net.d/10-canal.conflist",
            "calico": "/etc/cni/net.d/10-calico.conflist",
            "felix": "/var/lib/calico/mtu",
            "subnet": "/run/flannel/subnet.env",
            "net_conf": "/var/lib/rancher/k3s/agent/etc/flannel/net-conf.json",
        }
        return NodeObservation(
            node=name,
            links=(Link(index=1, name="lo", mtu=65536), Link(index=2, name=nic, mtu=mtu)),
            uplinks=(Uplink(peer="192.0.2.2", device=nic, mtu=mtu),),
            files=tuple(NodeFile(path=paths[key], text=text) for key, text in files.items()),
        )

    return observe
