"""What a saved snapshot holds: nothing that may be a credential, and all that the rules need."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support import example

from kubemtu.core.disclosure import objects
from kubemtu.core.net import NodeFile, NodeObservation
from kubemtu.core.objects import Object, Want
from kubemtu.core.snapshot import Snapshot
from kubemtu.flows import decide, wants

SECRET = "s3cr3t-Zm9v"
WANTS = (
    Want(kind="ConfigMap", plural="configmaps", api_versions=("v1",), name="wanted"),
    Want(kind="DaemonSet", plural="daemonsets", api_versions=("apps/v1",)),
)


def saved(*bodies: dict[str, object]) -> str:
    return msgspec.json.encode(
        objects.handed(Snapshot(source="s", objects=tuple(map(Object.of, bodies))), WANTS)
    ).decode()


def config(**data: str) -> dict[str, object]:
    return {"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "wanted"}, "data": data}


@pytest.mark.parametrize(
    "body",
    [
        {"kind": "Secret", "metadata": {"name": "wanted"}, "data": {"a": SECRET}},
        {"kind": "ConfigMap", "metadata": {"name": "other"}, "data": {"a": SECRET}},
        {"kind": "Deployment", "metadata": {"name": "wanted"}, "spec": {"a": SECRET}},
        config(etcd_key=SECRET),
        config(endpoints=f"https://user:{SECRET}@host:2379"),
        config(long=SECRET * 20),
        config(cni_network_config=json.dumps({"type": "calico", "k8s_auth_token": SECRET})),
        config(values=f"mtu: 1450\n  password: {SECRET}\n{SECRET}\n"),
        {
            "kind": "ConfigMap",
            "metadata": {
                "name": "wanted",
                "annotations": {"kubectl.kubernetes.io/last-applied-configuration": f'"{SECRET}"'},
                "managedFields": [{"a": SECRET}],
            },
        },
        {"kind": "DaemonSet", "spec": {"env": [{"name": "DB_PASSWORD", "value": SECRET}]}},
        {"kind": "DaemonSet", "spec": {"args": [f"--token={SECRET}"]}},
        {"kind": "DaemonSet", "spec": {"args": ["--token", SECRET]}},
    ],
)
def test_a_credential_is_not_handed_on(body: dict[str, object]) -> None:
    assert SECRET not in saved({"apiVersion": "v1"} | body)


def test_what_the_rules_need_is() -> None:
    body = config(veth_mtu="1450", canal_iface="", cni_network_config='{"type": "calico", "mtu": __CNI_MTU__}')
    image = "docker.io/rancher/calico-cni:v3.28.1@sha256:0123456789abcdef"
    agent: dict[str, object] = {
        "kind": "DaemonSet",
        "apiVersion": "apps/v1",
        "spec": {"image": image, "env": [{"name": "CNI_MTU", "value": "1450"}], "args": ["--iface=eth0"]},
    }
    found = json.loads(saved(body, agent))["objects"]
    assert [one["body"] for one in found] == [body, agent]


def test_files_of_nodes_are_struck_out_too() -> None:
    files = (
        NodeFile(path="/etc/cni/net.d/10-x.conflist", text=json.dumps({"type": "x", "token": SECRET})),
        NodeFile(path="/etc/cni/net.d/kubeconfig", text=SECRET),
    )
    found = objects.handed(Snapshot(source="s", nodes=(NodeObservation(node="n", files=files),)), WANTS)
    assert [file.path for file in found.nodes[0].files] == ["/etc/cni/net.d/10-x.conflist"]
    assert SECRET not in found.nodes[0].files[0].text


def test_a_saved_snapshot_is_judged_as_the_cluster_was() -> None:
    whole = example.story(1500, example.trio(pod=1500, conflist=1500))
    assert decide.check(objects.handed(whole, wants.of_cluster())) == decide.check(whole)


TREE = st.recursive(
    st.just(SECRET),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["token", "k8s_auth_token", "etcd_key", "psk", "client-secret"]), inner, max_size=3
        )
    ),
    max_leaves=8,
)


@given(TREE)
def test_a_credential_is_not_handed_on_wherever_it_stands(value: object) -> None:
    body: dict[str, object] = {"kind": "DaemonSet", "apiVersion": "apps/v1", "spec": {"token": value}}
    assert SECRET not in saved(body)


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("# a comment\nmtu: 1450\n", "# (9 characters not shown)\nmtu: 1450\n"),
        ("a:\n  - s3cr3t@x\n  - 7\n", "a:\n  - (8 characters not shown)\n  - (1 characters not shown)\n"),
        ("---\na: |\n  line@one\n", "---\na: |\n  (8 characters not shown)\n"),
        ("strange/key@x:\n  mtu: 1\n", "(13 characters not shown):\n  mtu: 1\n"),
        ("veth: ١٤٥٠\nb: 1\n", "veth: ١٤٥٠\nb: 1\n"),
    ],
)
def test_what_makes_a_text_yaml_stays(text: str, kept: str) -> None:
    assert json.loads(saved(config(values=text)))["objects"][0]["body"]["data"]["values"] == kept
