"""Snapshots from a few lines of YAML, as `check --from` would read them."""

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from kubemtu.core.net import Link, NodeFile, NodeObservation, Uplink
from kubemtu.core.objects import Object
from kubemtu.core.snapshot import Snapshot

Reading = Callable[..., Snapshot]
FIXTURES = Path(__file__).parents[2] / ".." / "shared" / "fixtures"


@pytest.fixture
def snapshot() -> Reading:
    """Make a snapshot of YAML documents and, optionally, observed nodes."""

    def read(*texts: str, nodes: tuple[NodeObservation, ...] = ()) -> Snapshot:
        bodies = [body for text in texts for body in yaml.safe_load_all(text) if body]
        return Snapshot(
            source="a test", offline=not nodes, objects=tuple(Object.of(body) for body in bodies), nodes=nodes
        )

    return read


@pytest.fixture
def fixture() -> Reading:
    """Make a snapshot of real manifests, by their names in the folder beside the project; skips where it is absent."""

    def read(*names: str) -> Snapshot:
        if not FIXTURES.is_dir():
            pytest.skip("the folder of real manifests is not beside the project")
        bodies = [body for name in names for body in yaml.safe_load_all((FIXTURES / name).read_text()) if body]
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
