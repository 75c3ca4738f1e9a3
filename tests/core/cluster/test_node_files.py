"""What a node's files decide for its next pod."""

import pytest
from tests.support import example

from kubemtu.cni import registry
from kubemtu.core import net
from kubemtu.core.cluster import node_files

ENV = "/run/flannel/subnet.env"
OURS = example.CONFLIST
CALICO = '{"plugins": [{"type": "calico", "mtu": %s}]}'
FLANNEL = '{"plugins": [{"type": "flannel", "delegate": {"isDefaultGateway": true%s}}]}'
SUBNET = "FLANNEL_NETWORK=10.42.0.0/16\nFLANNEL_SUBNET=10.42.1.1/24\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n"


def seen(*files: tuple[str, str]) -> net.NodeObservation:
    return net.NodeObservation(node="n1", files=tuple(net.NodeFile(path=path, text=text) for path, text in files))


@pytest.mark.parametrize(
    ("files", "literal", "gives", "by"),
    [
        (((OURS, CALICO % 1450),), 1450, 1450, OURS),
        (((OURS, CALICO % 0),), None, 1500, "the kernel's default"),
        (((OURS, CALICO % 0), ("/var/lib/calico/mtu", "1440\n")), None, 1440, "/var/lib/calico/mtu"),
        (((OURS, CALICO % 0), ("/var/lib/calico/mtu", "none")), None, None, ""),
        (((OURS, FLANNEL % ""), (ENV, SUBNET)), None, 1450, ENV),
        (((OURS, FLANNEL % ', "mtu": 1400'), (ENV, SUBNET)), 1400, 1400, OURS),
        (((OURS, FLANNEL % ""),), None, None, ""),
        (((OURS, '{"plugins": [{"type": "other"}]}'),), None, None, ""),
        (((OURS, CALICO % '"1450"'),), None, None, ""),
    ],
)  # fmt: skip
def test_the_next_pods_mtu(files: tuple[tuple[str, str], ...], literal: int | None, gives: int | None, by: str) -> None:
    found = node_files.of(seen(*files), OURS, registry.plugin_mtus())
    assert found is not None
    assert (found.literal, found.gives, found.by) == (literal, gives, by)


@pytest.mark.parametrize("text", ['{"plugins": [', "[]", '{"plugins": []}', '{"plugins": [1]}', '{"name": "x"}', "1"])
def test_what_is_no_cni_configuration_has_no_plugins(text: str) -> None:
    found = node_files.of(seen((OURS, text)), OURS, registry.plugin_mtus())
    assert found is not None
    assert found.plugins is None


def test_the_kubelet_takes_the_first_by_name_where_the_cni_names_no_file() -> None:
    files = (
        ("/etc/cni/net.d/20-b.conflist", CALICO % 2),
        ("/etc/cni/net.d/10-a.conf", '{"type": "calico", "mtu": 1400}'),
    )
    found = node_files.of(seen(*files), None, registry.plugin_mtus())
    assert found is not None
    assert (found.path, found.gives) == ("/etc/cni/net.d/10-a.conf", 1400)


def test_no_file_is_nothing() -> None:
    assert node_files.of(seen(("/run/flannel/subnet.env", SUBNET)), None, registry.plugin_mtus()) is None


def test_a_placeholder_stands_for_a_number_outside_strings_only() -> None:
    text = '{"plugins": [{"type": "calico", "mtu": __CNI_MTU__, "k8s": "https://__HOST__:__PORT__"}]}'
    found = node_files.plugins_of(text)
    assert found == ({"type": "calico", "mtu": 0, "k8s": "https://__HOST__:__PORT__"},)
