"""By which address a node's tunnel is reached: the CNI's own word for it, of whichever family, else the InternalIP."""

import pytest

from kubemtu.core.objects import Object
from kubemtu.flows.change import prove

FLANNEL, CALICO = "flannel.alpha.coreos.com/", "projectcalico.org/"


@pytest.mark.parametrize(
    ("notes", "internal", "end"),
    [
        ({}, ("192.0.2.1",), "192.0.2.1"),
        ({}, ("2001:db8::1",), "2001:db8::1"),
        ({}, (), ""),
        ({FLANNEL + "public-ip": "198.51.100.1"}, ("192.0.2.1",), "198.51.100.1"),
        ({FLANNEL + "public-ip": "198.51.100.1", FLANNEL + "public-ipv6": "2001:db8:1::1"}, (), "198.51.100.1"),
        # Without IPv4 flannel has no public-ip, and its NIC may be another than that of the InternalIP (--iface).
        ({FLANNEL + "public-ipv6": "2001:db8:1::1"}, ("2001:db8::1",), "2001:db8:1::1"),
        # pkg/backend/hostgw and pkg/subnet/kube/kube.go: AcquireLease writes the address that there is not.
        ({FLANNEL + "public-ip": "0.0.0.0", FLANNEL + "public-ipv6": "2001:db8:1::1"}, (), "2001:db8:1::1"),
        ({FLANNEL + "public-ip": "0.0.0.0"}, ("2001:db8::1",), "2001:db8::1"),
        ({CALICO + "IPv4Address": "198.51.100.1/24"}, ("192.0.2.1",), "198.51.100.1"),
        ({CALICO + "IPv6Address": "2001:db8:1::1/64"}, ("2001:db8::1",), "2001:db8:1::1"),
        ({FLANNEL + "public-ip": "none"}, ("192.0.2.1",), "192.0.2.1"),
    ],
)
def test_the_end_of_a_nodes_tunnel(notes: dict[str, str], internal: tuple[str, ...], end: str) -> None:
    addresses = [{"type": "InternalIP", "address": each} for each in internal]
    node = Object.of({"metadata": {"name": "n1", "annotations": notes}, "status": {"addresses": addresses}}, "Node n1")
    assert prove.tunnel_end(node) == end
