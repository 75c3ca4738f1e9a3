"""Pages of lists, decoded into what is wanted of each entry: the same as decoding all and taking that."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support import example

from kubemtu.core.cluster import attachments, pods
from kubemtu.core.objects import Object, Ref
from kubemtu.core.snapshot import Snapshot
from kubemtu.flows import shapes
from kubemtu.flows.measure import members
from kubemtu.kube import listing, records

ANY = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=5,
)
DAEMONSET = Ref(api_version="apps/v1", kind="DaemonSet", plural="daemonsets", name="canal", namespace="kube-system")


def or_any(usual: st.SearchStrategy[object]) -> st.SearchStrategy[object]:
    """Mostly what a server writes, and now and then anything."""
    return st.one_of(usual, usual, usual, ANY)


def mapping(**members: st.SearchStrategy[object]) -> st.SearchStrategy[object]:
    """A mapping of some of these members, and one that nobody knows."""
    optional = {name: or_any(each) for name, each in members.items()}
    return or_any(st.fixed_dictionaries({}, optional=optional | {"unknown": ANY}))


TIME = st.sampled_from(["2026-01-01T00:00:00Z", "yesterday"])
CONTAINER = mapping(
    name=st.sampled_from(["install-cni", "app"]),
    image=st.sampled_from(["kindest/node:v1.31.0", "nginx"]),
    state=mapping(
        running=mapping(startedAt=TIME),
        terminated=mapping(finishedAt=TIME),
        waiting=mapping(reason=st.just("CreateContainerConfigError"), message=st.text(max_size=5)),
    ),
)
STATUSES = [
    '[{"name": "k8s-pod-network", "interface": "eth0", "default": true}]',
    '[{"name": "k8s-pod-network", "default": true}, {"name": "default/jumbo", "interface": "net1", "mtu": 9000}]',
    '[{"name": "default/jumbo", "interface": "net1"}]',
    "",
]
POD = mapping(
    metadata=mapping(
        name=st.sampled_from(["a", "b"]),
        namespace=st.sampled_from(["kube-system", "default"]),
        ownerReferences=st.lists(
            mapping(kind=st.sampled_from(["DaemonSet", "ReplicaSet", "EphemeralRunner"]), name=st.just("canal")),
            max_size=2,
        ),
        annotations=mapping(
            **{
                pods.NETWORKS: st.sampled_from(["jumbo@net1", '[{"name": "jumbo", "interface": "net1"}]', "[", ""]),
                pods.PRIMARY: st.sampled_from(["a/b", " "]),
                pods.STATUS[0]: st.sampled_from(STATUSES),
                pods.STATUS[1]: st.sampled_from(STATUSES),
            }
        ),
        labels=mapping(**{"app.kubernetes.io/name": st.just("kubemtu-probe")}),
        deletionTimestamp=TIME,
    ),
    spec=mapping(nodeName=st.just("n1"), hostNetwork=st.booleans()),
    status=mapping(
        phase=st.just("Running"),
        podIP=st.just("10.42.1.7"),
        podIPs=st.lists(mapping(ip=st.just("10.42.1.7")), max_size=2),
        initContainerStatuses=st.lists(CONTAINER, max_size=2),
        containerStatuses=st.lists(CONTAINER, max_size=2),
    ),
)


def read(items: list[object]) -> object:
    """What the shape of pods makes of a page."""
    text = bytearray(msgspec.json.encode({"kind": "PodList", "metadata": {"continue": "x"}, "items": items}))
    page = shapes.shapes()["Pod"].decode(text)
    text.clear()  # no part of the answer is held
    return page


def said(body: object) -> object:
    """What the model is told of a pod, however it was read."""
    fault = listing.fault(body)
    if fault is not None:
        return fault
    assert isinstance(body, dict)
    one = Object.of({"kind": "Pod", "apiVersion": "v1", **body})
    snapshot = Snapshot(source="", objects=(one,))
    try:
        probes = one.get("metadata", "labels", members.PROBES)
        return pods.running(snapshot), pods.cni_pods(snapshot, DAEMONSET), probes, attachments.uses(snapshot)
    except Exception as error:
        return type(error), str(error)


@given(st.lists(POD, max_size=3))
def test_pods_say_the_same_however_they_are_read(items: list[object]) -> None:
    page = read(items)
    assert isinstance(page, dict)
    assert page["metadata"] == {"continue": "x"}
    assert [said(one) for one in page["items"]] == [said(one) for one in items]


@pytest.mark.parametrize(
    "text", [b"", b"[]", b"null", b'{"items": 3}', b'{"kind": "Status", "code": 404}', b'{"items": [']
)
def test_what_is_no_list_is_what_it_is(text: bytes) -> None:
    shape = shapes.shapes()["Pod"]
    try:
        expected: object = msgspec.json.decode(text)
    except msgspec.DecodeError:
        with pytest.raises(msgspec.DecodeError):
            shape.decode(text)
    else:
        assert shape.decode(text) == expected


@pytest.mark.parametrize(
    "entry", [b'{"metadata": ' * 5000, b'{"metadata": {"name": "\xff"}}', b'{"metadata": {"name": "\\ud800"}}']
)
def test_an_entry_that_cannot_be_decoded_is_one_exception(entry: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        shapes.shapes()["Pod"].decode(b'{"kind": "PodList", "items": [' + entry + b"]}")


def test_of_a_node_its_cloud_is_kept() -> None:
    spec = {"podCIDR": "10.42.0.0/24", "providerID": "hcloud://1", "taints": []}
    node: dict[str, object] = {"kind": "Node", "metadata": {"name": "n1"}, "spec": spec}
    page = shapes.shapes()["Node"].decode(msgspec.json.encode({"kind": "NodeList", "items": [node]}))
    assert isinstance(page, dict)
    wanted = {"podCIDR": "10.42.0.0/24", "providerID": "hcloud://1"}
    assert page["items"][0]["spec"] == wanted
    assert shapes.slim(Object.of(node)).get("spec") == wanted


def test_what_an_agent_told_is_read_as_the_value_that_it_is() -> None:
    seen = example.node("n1", ports=None)
    bodies: list[dict[str, object]] = [
        {
            "metadata": {"name": "n1"},
            "status": {"observedAt": "2026-01-01T00:00:00Z", "observation": msgspec.to_builtins(seen)},
        },
        {"metadata": {"name": "n2"}, "status": {"observedAt": "2026-01-01T00:00:00Z", "observation": {"node": 7}}},
        {"metadata": {"name": "n3"}, "status": {"probes": {"a": 1}}},
    ]
    page = shapes.shapes()["NodeMTU"].decode(msgspec.json.encode({"kind": "NodeMTUList", "items": bodies}))
    assert isinstance(page, dict)
    first, second, third = (Object.of({"kind": "NodeMTU"} | body) for body in page["items"])
    assert records.node_of(first).observation == seen
    assert second.body["status"] == bodies[1]["status"]
    assert third.body["status"] == bodies[2]["status"]
