"""What a node's files decide for its next pod."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
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


WAITS = '0, "require_mtu_file": true'  # projectcalico/calico: cni-plugin/pkg/types/types.go, from v3.31 on


@pytest.mark.parametrize(
    ("files", "literal", "gives", "by"),
    [
        (((OURS, CALICO % 1450),), 1450, 1450, OURS),
        (((OURS, CALICO % 0),), None, 1500, "the kernel's default, without /var/lib/calico/mtu"),
        (((OURS, CALICO % WAITS),), None, None, ""),
        (((OURS, CALICO % WAITS), ("/var/lib/calico/mtu", "1440")), None, 1440, "/var/lib/calico/mtu"),
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


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.just("multus") | st.just("calico"),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["type", "mtu", "plugins", "delegates", "clusterNetwork", "name"]), inner, max_size=4
        )
    ),
    max_leaves=12,
)


@given(JSON, JSON)
def test_whatever_sorts_first_is_a_value_and_no_crash(first: object, own: object) -> None:
    files = (("/etc/cni/net.d/00-x.conflist", json.dumps(first)), (OURS, json.dumps(own)))
    found = node_files.of(seen(*files), OURS, registry.plugin_mtus())
    assert found is not None
    assert found.path in {OURS, files[0][0]}  # its own may hand on to the other, by the network's name
    assert found.gives is None or isinstance(found.gives, int)
    assert hash(found.taken) is not None


def test_a_copy_that_nests_too_deep_is_no_configuration() -> None:
    deep = '{"type": "multus", "delegates": [{"type": "calico", "x": ' + "[" * 900 + "]" * 900 + "}]}"
    for times in (1, 100):
        files = (("/etc/cni/net.d/00-multus.conf", deep.replace("[" * 900, "[" * 900 * times)), (OURS, CALICO % 1450))
        assert node_files.of(seen(*files), OURS, registry.plugin_mtus()) is not None


def test_a_saved_file_stands_for_that_of_another_folder() -> None:
    found = node_files.of(
        seen(("/etc/cni/net.d/10-flannel.conflist", FLANNEL % ', "mtu": 1400')),
        "/var/lib/rancher/k3s/agent/etc/cni/net.d/10-flannel.conflist",
        registry.plugin_mtus(),
    )
    assert found is not None
    assert found.gives == 1400


def test_the_folder_of_the_cnis_own_file_is_the_one_that_is_read() -> None:
    ours = "/var/lib/rancher/k3s/agent/etc/cni/net.d/10-flannel.conflist"
    files = (("/etc/cni/net.d/00-old.conf", '{"type": "bridge"}'), (ours, FLANNEL % ', "mtu": 1400'))
    found = node_files.of(seen(*files), ours, registry.plugin_mtus())
    assert found is not None
    assert (found.gives, found.taken) == (1400, None)
