"""Which cloud a node is in, and what that documents: literals from the providers' own pages."""

import pytest

from kubemtu.core import net
from kubemtu.core.cluster import clouds
from kubemtu.core.objects import Object
from kubemtu.core.snapshot import Snapshot


def node(provider: object = None, *, name: str = "n1", **labels: str) -> Object:
    spec = {} if provider is None else {"providerID": provider}
    return Object.of({"kind": "Node", "metadata": {"name": name, "labels": labels}, "spec": spec})


@pytest.mark.parametrize(
    ("provider", "name"),
    [
        ("aws:///eu-central-1a/i-0435c40fb88349161", "AWS"),
        ("gce://a-project/europe-west1-b/gke-pool-1", "Google Cloud"),
        ("azure:///subscriptions/x/resourceGroups/y/providers/Microsoft.Compute/virtualMachines/z", "Azure"),
        ("hcloud://1234567", "Hetzner Cloud"),
        ("hrobot://42", "Hetzner"),
        ("hcloud://bm-42", "Hetzner"),
        ("openstack:///7a1e", "OpenStack"),
        ("digitalocean://9", "DigitalOcean"),
        ("oci://ocid1.instance.oc1.phx.abc", "Oracle Cloud"),
        ("ocid1.instance.oc1.phx.abc", "Oracle Cloud"),
        ("alicloud://cn-hangzhou.i-1", "Alibaba Cloud"),
    ],
)
def test_the_provider_id_names_the_cloud(provider: str, name: str) -> None:
    found = clouds.cloud(node(provider))
    assert found is not None
    assert found.name == name


@pytest.mark.parametrize("provider", [None, "", "k3s://node-1", "kind://docker/kind/kind-control-plane", "metal3://x"])
def test_elsewhere_no_cloud_is_made_up(provider: str | None) -> None:
    assert clouds.cloud(node(provider)) is None


def test_a_provider_id_that_is_no_text_is_no_cloud() -> None:
    assert clouds.cloud(node(7)) is None


def test_a_managed_cluster_s_labels_stand_in_for_a_provider_id_that_was_not_read() -> None:
    assert clouds.cloud(node(None, **{"eks.amazonaws.com/nodegroup": "a"})) is clouds.AWS
    assert clouds.cloud(node(None, **{"kubernetes.azure.com/mode": "system"})) is clouds.AZURE
    assert clouds.cloud(node("k3s://n1", **{"eks.amazonaws.com/nodegroup": "a"})) is None


def test_the_way_out_is_the_least_that_any_of_them_documents() -> None:
    """AWS: 1500 through an internet gateway, 9001 inside (Network MTU for your EC2 instance)."""
    limit = clouds.outside([clouds.AWS, None, clouds.OPENSTACK])
    assert limit is not None
    assert str(limit) == (
        "AWS documents 1500 through an internet gateway (Network MTU for your EC2 instance,"
        " AWSEC2/latest/UserGuide/network_mtu)"
    )
    assert clouds.outside([clouds.OPENSTACK, None]) is None


def test_nodes_by_name() -> None:
    snapshot = Snapshot(source="t", objects=(node("aws:///a/i-1"), node("k3s://n2", name="n2")))
    assert clouds.of(snapshot) == {"n1": clouds.AWS}


@pytest.mark.parametrize(
    ("provider", "source", "kind", "documented"),
    [
        ("hcloud://1", "10.0.0.2", "", 1450),  # Hetzner: Architecture, cloud/networks
        ("hcloud://1", "203.0.114.7", "", 1500),
        ("hcloud://1", "10.0.0.2", "wireguard", None),  # what the VPN has is its own affair
        ("hrobot://1", "10.0.1.2", "vlan", 1400),  # Hetzner: vSwitch
        ("hrobot://1", "10.0.1.2", "", None),
        ("gce://p/z/n", "10.0.0.2", "", 8896),  # Google: Maximum transmission unit
        ("aws:///z/i", "10.0.0.2", "", 9001),
        ("azure:///x", "10.0.0.2", "", 9000),  # Azure: Configure MTU for virtual machines
        ("oci://x", "10.0.0.2", "", 9000),  # Oracle: Hanging Connection
        ("alicloud://x", "10.0.0.2", "", 8500),  # Alibaba: Jumbo Frames
        ("openstack:///x", "10.0.0.2", "", None),
    ],
)
def test_what_is_documented_goes_by_the_way_that_is_taken(
    provider: str, source: str, kind: str, documented: int | None
) -> None:
    found = clouds.cloud(node(provider))
    assert found is not None
    link = net.Link(index=2, name="x", mtu=1500, kind=kind)
    limit = found.carries(net.Uplink(peer="10.0.0.9", device="x", mtu=1500, source=source), link)
    assert (limit.mtu if limit is not None else None) == documented
