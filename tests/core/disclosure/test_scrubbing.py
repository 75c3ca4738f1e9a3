"""A scrubbed snapshot: what is found in it is the same, and of whom it was nothing is left."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support import example
from tests.support.shapes import KINDS

from kubemtu.core import net
from kubemtu.core.errors import KubemtuError
from kubemtu.core.objects import Object
from kubemtu.core.rules.report import Report
from kubemtu.core.snapshot import UNUSED, Snapshot, Unread
from kubemtu.flows import decide, observe
from kubemtu.flows.saved import manifests

KEY = bytes(range(32))
FIELDS = ("name", "namespace", "labels", "annotations", "ownerReferences", "nodeName", "addresses", "driver", "uid")
QUOTING = {"MTU122"}  # it names a line and a column, before which something may be struck out
NUMBER = re.compile(r"(?<![\w.-])\d{2,5}(?![\w.-]|\.\d)")
NODES = {"n1": "alpha-master-0.corp.example", "n2": "beta-worker-1.corp.example", "n3": "gamma-worker-2.corp.example"}


def outcome(report: Report) -> object:
    """All of a report but names: verdict, codes, severities, numbers, layers, and each node's sizes."""
    return (
        report.verdict,
        report.recommended_mtu,
        report.current,
        report.layers,
        [
            (each.code, each.severity, () if each.code in QUOTING else tuple(NUMBER.findall(each.message)))
            for each in report.findings
        ],
        [
            (
                each.nic,
                each.nic_mtu,
                each.tunnel_mtu,
                each.conflist_mtu,
                each.pods,
                each.pod_mtus,
                each.host_mtus,
                each.unseen,
            )
            for each in report.nodes
        ],
        len(report.missing),
    )


def renamed(snapshot: Snapshot) -> Snapshot:
    """Give an example names as operators have them, and what else may say whose it is."""
    text = msgspec.json.encode(snapshot).decode()
    for name, other in NODES.items():
        text = re.sub(rf'"{name}"', f'"{other}"', text)
        text = text.replace(f'"canal-{name}"', f'"canal-{other[:4]}-x7k2q"')
    made = msgspec.json.decode(text, type=Snapshot)
    objects = []
    for number, each in enumerate(made.objects):
        body = json.loads(json.dumps(each.body))
        if each.kind == "Pod" and each.namespace == "default":
            was, body["metadata"]["name"] = each.name, f"shop-backend-{number}-abcde"
            body["metadata"] |= {"namespace": "acme-shop", "labels": {"team": "payments-eu"}}
            body["metadata"]["ownerReferences"] = [{"kind": "ReplicaSet", "name": "shop-backend-7f9c"}]
            link = example.link_name("default", was)
            new = example.link_name("acme-shop", body["metadata"]["name"])
            text = msgspec.json.encode(made.nodes).decode().replace(link, new)
            made = msgspec.structs.replace(made, nodes=msgspec.json.decode(text, type=tuple[net.NodeObservation, ...]))
        if each.kind == "Node":
            body["metadata"]["labels"] = {
                "kubernetes.io/hostname": each.name,
                "topology.kubernetes.io/zone": "acme-zone-7",
                "kubernetes.io/os": "linux",
            }
            body["metadata"]["annotations"] = {
                "flannel.alpha.coreos.com/public-ip": f"192.168.77.{10 + number}",
                "cluster.x-k8s.io/cluster-name": "acme-prod",
            }
            body["status"] = {
                "addresses": [
                    {"type": "InternalIP", "address": f"192.168.77.{10 + number}"},
                    {"type": "Hostname", "address": each.name},
                ],
                "nodeInfo": {"machineID": "0123abcd0123abcd", "kernelVersion": "6.1.0"},
            }
        objects.append(Object.of(body, f"acme/prod.yaml:{number}"))
    return msgspec.structs.replace(
        made,
        source="cluster https://api.acme-prod.example:6443",
        objects=tuple(objects),
        unread=(
            Unread(what=f"node {NODES['n1']}", why="malformed", message=f"{NODES['n1']} (192.168.77.10) said nothing."),
            Unread(what="acme/notes.txt", why=UNUSED, message="holds nothing that is known here"),
            Unread(what="acme/prod.yaml:7", why="malformed", message="is no YAML: of acme/prod.yaml"),
        ),
    )


SECRETS = (
    *NODES.values(),
    *("alpha-master-0", "beta-worker-1", "acme", "shop-backend", "payments", "corp.example", "0123abcd"),
    *("192.168.77.10", "192.168.77.11"),
)


def healthy() -> Snapshot:
    return example.story(1450, example.trio())


def as_deployed() -> Snapshot:
    return example.story(1450, example.trio(pod=1500))


def narrow() -> Snapshot:
    return example.story(1450, (*example.trio()[:2], example.node("n3", nic=1400)))


def silent() -> Snapshot:
    made = example.cluster(example.trio()[:1], silent=("n2", "n3"))
    return msgspec.structs.replace(made, objects=(*example.canal(1450), *made.objects))


def broken() -> Snapshot:
    return example.story("many", example.trio(pod=1500))


@pytest.mark.parametrize("make", [healthy, as_deployed, narrow, silent, broken])
@pytest.mark.parametrize("key", [KEY, b"another"], ids=["one", "another"])
def test_a_scrubbed_snapshot_is_judged_the_same_and_says_nothing_of_whose_it_is(
    make: Callable[[], Snapshot], key: bytes
) -> None:
    original = observe.reduced(renamed(make()))
    scrubbed = observe.scrubbed(original, key)
    assert outcome(decide.check(scrubbed)) == outcome(decide.check(original))
    text = msgspec.json.encode(scrubbed).decode()
    assert [secret for secret in SECRETS if secret in text] == []
    addresses = set(re.findall(r"\b(?:10|192)\.\d+\.\d+\.\d+", msgspec.json.encode(original).decode())) - {"10.0.0.0"}
    assert addresses
    assert sorted(each for each in addresses if f'"{each}"' in text) == []


def test_what_is_one_stays_one_and_lists_stay_in_their_order() -> None:
    scrubbed = observe.scrubbed(observe.reduced(renamed(healthy())), KEY)
    names = [each.name for each in scrubbed.objects if each.kind == "Node"]
    assert names == ["node-1", "node-2", "node-3"]
    assert [each.node for each in scrubbed.nodes] == names
    assert {each.get("spec", "nodeName") for each in scrubbed.objects if each.kind == "Pod"} == set(names)
    assert {each.namespace for each in scrubbed.objects if each.kind == "Pod"} == {"kube-system", "namespace-1"}
    node = next(each for each in scrubbed.objects if each.kind == "Node")
    inner = node.get("status", "addresses")
    assert isinstance(inner, list)
    assert inner[0]["address"] == node.get("metadata", "annotations", "flannel.alpha.coreos.com/public-ip")
    assert inner[1]["address"] == node.get("metadata", "labels", "kubernetes.io/hostname") == "node-1"
    assert node.get("metadata", "labels", "kubernetes.io/os") == "linux"
    assert node.origin.startswith("file-1.yaml:")
    assert scrubbed.source == "cluster https://host-1.example:6443"
    assert [each.what for each in scrubbed.unread] == ["node node-1", "file-1.yaml:7"]
    assert scrubbed.unread[1].message == "is no YAML: of file-1.yaml"


@pytest.mark.parametrize(
    ("provider", "kept"),
    [
        ("azure:///subscriptions/1b2c/resourceGroups/shop/vm-0", "azure://"),
        ("gce://shop-prod/europe-west1-b/gke-shop-1", "gce://"),
        ("hcloud://bm-42", "hcloud://bm-"),
        ("ocid1.instance.oc1.phx.abc", "ocid1."),
        ("shop-machine-7", ""),
    ],
)
def test_of_a_provider_id_the_cloud_stays_and_no_machine(provider: str, kept: str) -> None:
    made = example.story(1450, example.trio())
    node = Object.of({"kind": "Node", "apiVersion": "v1", "metadata": {"name": "n9"}, "spec": {"providerID": provider}})
    scrubbed = observe.scrubbed(msgspec.structs.replace(made, objects=(*made.objects, node)), KEY)
    assert [each.get("spec", "providerID") for each in scrubbed.each("Node")][-1] == kept


def test_a_name_that_is_a_word_is_replaced_only_where_it_is_one() -> None:
    pod: dict[str, object] = {
        "kind": "Pod",
        "apiVersion": "v1",
        "metadata": {"name": "vxlan", "namespace": "canal"},
        "spec": {"nodeName": "mtu"},
    }
    made = example.story(1450, example.trio())
    scrubbed = observe.scrubbed(
        observe.reduced(msgspec.structs.replace(made, objects=(*made.objects, Object.of(pod)))), KEY
    )
    assert outcome(decide.check(scrubbed)) == outcome(decide.check(made))
    last = scrubbed.objects[-1]
    assert (last.name, last.namespace, last.get("spec", "nodeName")) == ("pod-04", "namespace-1", "node-1")


def test_names_that_look_like_ours_are_replaced_by_others() -> None:
    nodes = (example.node("node-1"), example.node("node-2"))
    scrubbed = observe.scrubbed(observe.reduced(example.story(1450, nodes)), KEY)
    assert [each.node for each in scrubbed.nodes] == ["a-node-1", "a-node-2"]


def test_who_drove_a_change_is_nobody() -> None:
    change: dict[str, object] = {
        "kind": "MTUMigration",
        "apiVersion": "kubemtu.io/v1alpha1",
        "metadata": {"name": "to-1450", "creationTimestamp": "2026-01-01T00:00:00Z"},
        "status": {
            "driver": {"user": "jane.doe", "host": "janes-laptop", "process": 7},
            "journal": [{"time": "t", "what": "a driver takes over: jane.doe on janes-laptop"}],
        },
    }
    made = healthy()
    scrubbed = observe.scrubbed(
        observe.reduced(msgspec.structs.replace(made, objects=(*made.objects, Object.of(change)))), KEY
    )
    text = msgspec.json.encode(scrubbed).decode()
    assert "jane" not in text
    assert "somebody on somewhere" in text


def judged(snapshot: Snapshot, nic: int | None) -> object:
    try:
        return outcome(decide.check(snapshot, nic))
    except KubemtuError as why:
        return type(why)


@pytest.mark.parametrize("path", [path for kind in KINDS for path in kind.all()], ids=lambda path: path.name)
def test_every_shape_is_judged_the_same_saved_and_scrubbed(path: Path) -> None:
    try:
        original = manifests.load(path)
    except KubemtuError:
        return  # what cannot be read is not saved
    reduced = observe.reduced(original)
    scrubbed = observe.scrubbed(reduced, KEY)
    for nic in (None, 1500):
        assert judged(reduced, nic) == judged(original, nic)
        assert judged(scrubbed, nic) == judged(original, nic)


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.sampled_from(["", "n1", "10.0.0.1", "web-1", "a: b"])),
    lambda inner: st.one_of(st.lists(inner, max_size=2), st.dictionaries(st.sampled_from(FIELDS), inner, max_size=3)),
    max_leaves=8,
)
PART = st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=4)


@given(
    kind=st.sampled_from(["Pod", "Node", "ConfigMap", "MTUMigration", "MTUPolicy", "DaemonSet"]),
    parts=st.fixed_dictionaries({"metadata": PART, "spec": PART, "status": PART}),
)
def test_an_object_of_any_shape_is_scrubbed(kind: str, parts: dict[str, object]) -> None:
    body = {"kind": kind, "apiVersion": "v1", **parts}
    made = Snapshot(source="cluster x", objects=(Object.of(body),), nodes=(net.NodeObservation(node="n1"),))
    assert "n1" not in [each.node for each in observe.scrubbed(made, KEY).nodes]
