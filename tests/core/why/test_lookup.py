"""What people name, and what it means here: pods, nodes, Services, addresses; one clear sentence for anything else."""

from collections.abc import Sequence

import msgspec
import pytest
from tests.support.known import N1, SERVICES, SNAPSHOT, endpoints, find, pod, port

from kubemtu.core import errors
from kubemtu.core.snapshot import Snapshot, Unread
from kubemtu.core.why import endpoints as why_endpoints

NEITHER = "neither a node, nor a pod or Service in namespace"
LISTED = "`kubectl get nodes,pods,services -A` lists what there is, as NAMESPACE/NAME"
OWNS = "has no address of its own: name one of its pods"


@pytest.mark.parametrize("word", ["web-1", "pod/web-1", "po/default/web-1", "default/web-1"])
def test_a_pod_by_its_name(word: str) -> None:
    found = find(word)
    assert (found.kind, found.name, found.node, found.agent_node, found.link) == (
        "pod",
        "default/web-1",
        "n1",
        "n1",
        "cali1",
    )
    assert found.addresses == ("10.42.1.10", "fd00:42:1::10")
    assert (found.mtu, found.host_mtu, found.has_tunnel, found.veth_differs) == (1450, 1450, True, False)


def test_a_namespace_that_was_chosen_is_that_of_bare_names() -> None:
    assert find("pg-0", namespace="db").name == "db/pg-0"


def test_a_pod_whose_node_no_agent_tells_of() -> None:
    found = find("db/pg-0")
    assert (found.node, found.agent_node, found.has_agent, found.unreported) == ("n2", "", False, True)


def test_the_two_ends_of_a_veth_may_differ() -> None:
    found = find("web-2")
    assert (found.mtu, found.host_mtu, found.veth_differs) == (1400, 1450, True)


@pytest.mark.parametrize("word", ["n1", "node/n1", "no/n1"])
def test_a_node(word: str) -> None:
    found = find(word)
    assert (found.kind, found.name, found.agent_node, found.link) == ("node", "n1", "n1", "")
    assert found.mtu == 1500  # the smallest of its NICs


def test_a_pod_of_its_nodes_own_network_is_where_its_node_is() -> None:
    found = find("exporter")
    assert (found.kind, found.name, found.agent_node, found.link, found.mtu) == (
        "pod",
        "default/exporter",
        "n1",
        "",
        1500,
    )


@pytest.mark.parametrize(
    ("word", "name", "addresses"),
    [
        ("10.42.1.10", "default/web-1", ("10.42.1.10",)),
        ("10.42.1.10:8080", "default/web-1", ("10.42.1.10",)),
        ("fd00:42:1::10", "default/web-1", ("fd00:42:1::10",)),
        ("[fd00:42:1::10]:8080", "default/web-1", ("fd00:42:1::10",)),
        ("192.0.2.1", "n1", ("192.0.2.1",)),
        ("192.0.2.1:22", "n1", ("192.0.2.1",)),
        ("203.0.113.7:443", "203.0.113.7", ("203.0.113.7",)),
        ("10.42.1.99", "10.42.1.99", ("10.42.1.99",)),  # whose pod has ended
    ],
)
def test_an_address(word: str, name: str, addresses: Sequence[str]) -> None:
    found = find(word)
    assert (found.name, found.addresses) == (name, addresses)


@pytest.mark.parametrize("word", ["svc/web", "service/default/web", "10.43.0.7:80", "198.51.100.1", "198.51.100.2:443"])
def test_a_service_by_its_name_and_by_each_of_its_addresses(word: str) -> None:
    found = find(word)
    assert (found.kind, found.name) == ("service", "svc default/web")
    assert found.addresses == ("10.43.0.7", "198.51.100.1", "198.51.100.2")
    assert [member.name for member in found.members] == ["default/web-1", "db/pg-0"]


def test_a_node_port_is_the_service_by_that_node() -> None:
    found = find("192.0.2.2:30080")
    assert (found.kind, found.name) == ("service", "svc default/web by port 30080 of n2")
    assert found.via_node is not None
    assert (found.via_node.name, found.addresses, len(found.members)) == ("n2", (), 2)


def test_a_service_without_an_address_of_its_own_and_only_what_is_ready_behind_it() -> None:
    found = find("svc/db/pg")
    assert (found.addresses, [member.name for member in found.members]) == ((), ["db/pg-0"])


def test_no_more_endpoints_than_can_be_measured() -> None:
    many = endpoints("web", *(f"10.42.9.{number}" for number in range(20)))
    found = find("svc/web", services=(SERVICES[0], many))
    assert (len(found.members), found.member_count) == (8, 20)


@pytest.mark.parametrize(
    ("word", "sentence"),
    [
        ("n2", "n2 is more than one thing here; write node/n2 or pod/default/n2"),
        ("api", "api is more than one thing here; write pod/default/api or svc/default/api"),
        ("nobody", f"nobody is {NEITHER} default, nor an address; {LISTED}"),
        ("web-", f"web- is {NEITHER} default, nor an address; {LISTED}"),
        ("pg-0", f"pg-0 is {NEITHER} default, nor an address; did you mean db/pg-0?"),
        ("db/web", f"db/web is {NEITHER} db, nor an address; did you mean svc/default/web?"),
        ("svc/pg", "there is no service pg in namespace default; did you mean svc/db/pg?"),
        ("pod/web", "there is no pod web in namespace default; did you mean default/web-1 or default/web-2?"),
        ("node/n9", "there is no node n9; `kubectl get nodes -A` lists what there is"),
        ("deploy/web", f"a Deployment {OWNS}; did you mean default/web-1 or default/web-2?"),
        ("sts/db/pg", f"a StatefulSet {OWNS}; did you mean db/pg-0?"),
        ("late", "pod default/late is Pending and has no address yet; wait until it runs"),
        ("job-1", "pod default/job-1 is Succeeded: it has no network any more; name one that runs"),
        ("127.0.0.1", "127.0.0.1 is nobody's in particular: name a pod, a node, a Service or their address"),
        (
            "255.255.255.255",
            "255.255.255.255 is nobody's in particular: name a pod, a node, a Service or their address",
        ),
        ("::", ":: is nobody's in particular: name a pod, a node, a Service or their address"),
        ("svc/", "an end has no name: write a pod, a node, a Service or an address"),
        ("/", "an end has no name: write a pod, a node, a Service or an address"),
        ("", "an end has no name: write a pod, a node, a Service or an address"),
    ],
)
def test_what_means_nothing_or_two_things_is_one_sentence(word: str, sentence: str) -> None:
    with pytest.raises(errors.UsageError) as refused:
        find(word)
    assert str(refused.value) == sentence


def test_a_namespace_that_is_called_like_a_kind_is_still_one() -> None:
    snapshot = msgspec.structs.replace(
        SNAPSHOT, objects=(*SNAPSHOT.objects, pod("x", "n1", "10.42.1.77", namespace="jobs"))
    )
    assert find("jobs/x", snapshot=snapshot).name == "jobs/x"


def test_what_may_not_be_read_is_not_taken_for_absent() -> None:
    with pytest.raises(
        errors.Forbidden, match="svc/web cannot be looked up: Services and EndpointSlices may not be read"
    ):
        find("svc/web", services=None)
    with pytest.raises(errors.UsageError, match=r"nor an address \(Services may not be read\)"):
        find("web", services=None)
    unread = (Unread(what="pods", why="forbidden", message="no"),)
    with pytest.raises(errors.Forbidden, match="web-1 cannot be looked up: pods may not be read"):
        find("web-1", snapshot=Snapshot(source="a test", unread=unread))


def test_an_address_that_only_a_node_shows() -> None:
    seen = msgspec.structs.replace(N1, ports=(port("cali9", "10.42.1.50"),))
    found = why_endpoints.holder("10.42.1.50", msgspec.structs.replace(SNAPSHOT, nodes=(seen,)))
    assert (found.name, found.link, found.has_agent) == ("netns cni-cali9", "cali9", True)
