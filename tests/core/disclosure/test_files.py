"""What of a node's files may be published."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubemtu.core.disclosure import files

CALICO = """{
  "name": "k8s-pod-network",
  "plugins": [
    {
      "type": "calico",
      "mtu": __CNI_MTU__,
      "policy": {"type": "k8s", "k8s_auth_token": "eyJhbGciOiJSUzI1NiJ9.e30.c2ln"},
      "etcd_key": "-----BEGIN RSA PRIVATE KEY-----",
      "pin": 123456
    },
    {"type": "portmap", "capabilities": {"portMappings": true}}
  ]
}
"""
SHOWN = """{
  "name": "k8s-pod-network",
  "plugins": [
    {
      "type": "calico",
      "mtu": __CNI_MTU__,
      "policy": {"type": "k8s", "k8s_auth_token": "(29 characters not shown)"},
      "etcd_key": "(31 characters not shown)",
      "pin": "(6 characters not shown)"
    },
    {"type": "portmap", "capabilities": {"portMappings": true}}
  ]
}
"""
SECRET = "s3cr3t-Zm9v"


def test_a_configuration_keeps_what_rules_use_and_its_layout() -> None:
    assert files.shown("/etc/cni/net.d/10-calico.conflist", CALICO) == SHOWN


@pytest.mark.parametrize(
    "path",
    [
        "/etc/cni/net.d/calico-kubeconfig",
        "/etc/cni/net.d/calico-tls/etcd-key",
        "/etc/cni/net.d/10-calico.conflist.bak",
        "/etc/kubernetes/admin.yaml",
        "/etc/shadow",
    ],
)
def test_other_files_have_no_business_elsewhere(path: str) -> None:
    assert files.shown(path, SECRET) is None


@pytest.mark.parametrize(
    ("path", "text", "shown"),
    [
        (
            "/run/flannel/subnet.env",
            "FLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n",
            "FLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n",
        ),
        (
            "/run/flannel/subnet.env",
            'FLANNEL_MTU="1450"\nTOKEN=abc\n',
            'FLANNEL_MTU="1450"\n(9 characters not shown)\n',
        ),
        ("/var/lib/calico/mtu", "1450\n", "1450\n"),
        ("/var/lib/calico/mtu", "1450 abc", "(8 characters not shown)\n"),
        ("/var/lib/calico/mtu", "٣", "(1 characters not shown)\n"),
        (
            "/var/lib/rancher/k3s/agent/etc/flannel/net-conf.json",
            '{"Network": "10.42.0.0/16", "Backend": {"Type": "wireguard", "PSK": "Zm9vYmFy"}}',
            '{"Network": "10.42.0.0/16", "Backend": {"Type": "wireguard", "PSK": "(8 characters not shown)"}}',
        ),
        (
            "/etc/cni/net.d/10-x.conf",
            '{"k8s_api_root": "https://user:s3cret@192.0.2.1:6443"}',
            '{"k8s_api_root": "(34 characters not shown)"}',
        ),
        (
            "/etc/cni/net.d/10-x.conf",
            '{"type": "bridge", token: abc',
            '{"type": "bridge", ' + "(5 characters not shown): (3 characters not shown)",
        ),
    ],
)
def test_every_kind_of_file_keeps_its_own_part(path: str, text: str, shown: str) -> None:
    assert files.shown(path, text) == shown


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.just(SECRET) | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["token", "key", "ipam", "x"]), inner, max_size=3)
    ),
    max_leaves=12,
)


@given(JSON, st.integers(0, 400), st.integers(0, 5), st.sampled_from([None, 0, 2]))
def test_a_secret_stays_whatever_the_syntax(value: object, at: int, lost: int, indent: int | None) -> None:
    text = json.dumps({"type": "calico", "mtu": 1450, "inner": value}, indent=indent)
    text = text[:at] + text[at + lost :]  # also with a quote, a colon or a brace lost
    assert SECRET not in files.strike(text, files.CNI_MEMBERS)


@given(JSON)
def test_what_was_json_stays_json_with_the_same_members(value: object) -> None:
    struck = json.loads(files.strike(json.dumps({"type": "calico", "mtu": 1450, "inner": value}), files.CNI_MEMBERS))
    assert (struck["type"], struck["mtu"], list(struck)) == ("calico", 1450, ["type", "mtu", "inner"])


def test_the_length_of_what_was_struck_out_can_be_read_back() -> None:
    assert files.length("(29 characters not shown)") == 29
    assert files.length("29 characters") is None
    assert files.length(29) is None
