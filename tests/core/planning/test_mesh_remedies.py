"""What to do about what a mesh found: between pods it depends on what is so between their nodes."""

from tests.support import example
from tests.support.rounds import Rule, hole, measured

from kubemtu.core import encap
from kubemtu.core.cluster import layout
from kubemtu.core.cluster.topology import Topology
from kubemtu.core.headers import IPV6
from kubemtu.core.mesh.faults import Fault, infer
from kubemtu.core.planning import mesh_remedies
from kubemtu.core.rules import measured as rules


def faults(rule: Rule, *, expected: int = 1500, size: int = 8) -> tuple[Fault, ...]:
    return infer(measured(size, rule, expected=expected))


RECEIVES_LESS = faults(hole(lambda _, receiver: receiver == 3))
EVERYWHERE = faults(hole(lambda _, __: True))


def test_between_nodes_the_size_that_fits_is_named() -> None:
    (fault,) = RECEIVES_LESS
    found = mesh_remedies.advised(fault, "nodes", 1500, None)
    assert found.sentence == fault.sentence
    assert found.advice == (
        "Look at the NIC of n3 and at its port on the switch, in the direction towards the node. Until then "
        "`kubemtu plan --nic-mtu 1450` shows the pod MTU that fits."
    )


def test_what_pods_lack_because_their_nodes_do_is_said_so() -> None:
    (pods,) = faults(lambda _, receiver: ("black hole", 1400) if receiver == 3 else None, expected=1450)
    found = mesh_remedies.advised(pods, "pods", 1450, RECEIVES_LESS)
    assert found.sentence == f"{pods.sentence}; it follows from the 1450 that arrive between the nodes themselves"
    assert "`kubemtu plan --nic-mtu 1450`" in found.advice


def test_pods_larger_than_their_tunnel_are_told_what_fits_it() -> None:
    (fault,) = EVERYWHERE
    found = mesh_remedies.advised(fault, "pods", 1500, ())
    assert found.sentence == (
        "between pods of any two nodes at most 1450 bytes arrive, not 1500: larger packets vanish; between the nodes "
        "themselves all arrives"
    )
    assert found.advice == (
        "Run `kubemtu plan --mtu 1450`: it shows the change to what arrives between pods, and `kubemtu apply --mtu "
        "1450` makes it, live."
    )
    assert "between the nodes" not in mesh_remedies.advised(fault, "pods", 1500, None).sentence


def test_what_is_only_between_the_pods_of_a_node_is_not_the_switchs() -> None:
    (fault,) = RECEIVES_LESS
    assert mesh_remedies.advised(fault, "pods", 1500, ()).advice == (
        "Between the nodes themselves all arrives: look at the tunnel there and at its pods' interfaces, which "
        "`kubemtu check` shows."
    )


def test_where_the_nics_differ_that_is_it() -> None:
    (fault,) = RECEIVES_LESS
    assert mesh_remedies.advised(fault, "pods", 1500, (), mixed=True).advice == (
        "The NICs of the nodes differ, and the smallest decides: `kubemtu plan` shows the pod MTU that fits it."
    )


def test_pods_are_left_to_themselves_where_something_else_is_between_their_nodes() -> None:
    (fault,) = RECEIVES_LESS
    assert mesh_remedies.advised(fault, "pods", 1500, EVERYWHERE) == fault


def test_what_is_no_matter_of_size_has_no_number() -> None:
    for rule in (
        lambda _, receiver: ("unreachable", 0) if receiver == 3 else None,
        lambda _, receiver: ("loss", 1300) if receiver == 3 else None,
        lambda sender, _: ("refused here", 1400) if sender == 3 else None,
    ):
        for fault in faults(rule):
            assert mesh_remedies.advised(fault, "nodes", 1500, None) == fault


# As findings of a check


def test_a_fault_is_a_finding_with_the_same_words() -> None:
    (found,) = rules.find("nodes", RECEIVES_LESS, ())
    assert (found.code, found.severity, found.place) == ("MTU123", "error", "node n3, measured between nodes")
    assert found.message == (
        "n3 receives at most 1450 bytes: from all 7 other nodes larger packets vanish, while n3's own packets of 1500 "
        "arrive everywhere. This was measured, and is certain."
    )


def test_a_sentence_that_begins_with_no_name_begins_with_a_capital() -> None:
    (found,) = rules.find("pods", faults(hole(lambda sender, _: sender == 3)), ())
    assert found.message.startswith("What n3 sends arrives up to 1450 bytes: ")
    (found,) = rules.find("pods", EVERYWHERE, ())
    assert found.place == "all nodes, measured between pods"
    assert found.message.startswith("Between any two nodes at most 1450 bytes arrive")


def test_silence_is_no_finding_of_size() -> None:
    found = rules.find("nodes", faults(lambda _, receiver: ("unreachable", 0) if receiver == 3 else None), ())
    assert [(one.code, one.severity) for one in found] == [("MTU125", "note")]


def test_tunnels_that_cut_are_a_warning() -> None:
    (found,) = rules.find("pods", (), ("n1", "n2"))
    assert (found.code, found.severity, found.place) == ("MTU124", "warning", "nodes n1 and n2, measured between pods")


def of_ipv6() -> Topology:
    """Pods with IPv6, over VXLAN over IPv6 (70 bytes), on NICs of 1500."""
    seen = tuple(example.node(f"n{number}", tunnel=1430, pod=1430, conflist=1430) for number in range(1, 9))
    return layout.model(example.cluster(seen), example.state(1430, encapsulation=(encap.vxlan(IPV6),), ipv6=True))


def test_where_ipv6_has_too_little_no_command_is_named_that_would_refuse() -> None:
    """1349 less 70 are 1279, and no link of IPv6 may have that (RFC 8200, section 5)."""
    narrow = faults(lambda _, receiver: ("black hole", 1349) if receiver == 3 else None)
    (between_nodes,) = narrow
    (between_pods,) = faults(lambda _, receiver: ("black hole", 1279) if receiver == 3 else None, expected=1430)
    (everywhere,) = faults(lambda _, __: ("black hole", 1279), expected=1430)
    network = of_ipv6()
    for found in (
        mesh_remedies.advised(between_nodes, "nodes", 1500, None, network=network),
        mesh_remedies.advised(between_pods, "pods", 1430, narrow, network=network),
        mesh_remedies.advised(between_pods, "pods", 1430, (), network=network),
        mesh_remedies.advised(everywhere, "pods", 1430, (), network=network),
        mesh_remedies.advised(everywhere, "pods", 1430, None, network=network),
    ):
        assert "kubemtu plan" not in found.advice, found.advice
        assert "IPv6 needs 1280 on every link (RFC 8200, section 5), so no pod MTU suits it." in found.advice
    (enough,) = faults(lambda _, receiver: ("black hole", 1350) if receiver == 3 else None)
    assert "`kubemtu plan --nic-mtu 1350`" in mesh_remedies.advised(enough, "nodes", 1500, None, network=network).advice
