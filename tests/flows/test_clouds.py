"""What a cloud documents, beside what was measured: check as a whole."""

import msgspec
import pytest
from tests.support import example

from kubemtu.core.objects import Object
from kubemtu.core.snapshot import Snapshot
from kubemtu.flows import decide
from kubemtu.flows.measure.mesh import MeshReport


def at(provider: str, **changed: object) -> Snapshot:
    """Return canal over VXLAN on three healthy nodes of a cloud, but for what is changed."""
    made = example.story(1450, example.trio(**changed))
    placed = tuple(
        Object.of({**one.body, "spec": {"providerID": provider}}) if one.kind == "Node" else one for one in made.objects
    )
    return msgspec.structs.replace(made, objects=placed)


def found(snapshot: Snapshot, proven: MeshReport | None = None) -> list[tuple[str, str]]:
    return [(one.code, one.severity) for one in decide.check(snapshot, proven=proven).findings]


def test_a_nic_that_says_more_than_documented_is_minded_until_it_is_measured() -> None:
    hetzner = at("hcloud://1")
    report = decide.check(hetzner)
    assert report.verdict == "suboptimal"
    assert report.summary.startswith("By what interfaces say nothing is lost, but mind nodes n1, n2 and n3: Their NICs")
    assert "Hetzner Cloud documents 1450 in a private network" in report.summary
    assert found(hetzner, MeshReport(ok=True, layers=())) == []
    assert found(hetzner, MeshReport(ok=False, layers=())) == [("MTU135", "warning")]


def test_what_a_measurement_bounds_is_no_longer_the_document_s() -> None:
    """`plan --nic-mtu 1450` leads to pods of 1400, which fit what Hetzner documents."""
    plan, _ = decide.plan(at("hcloud://1"), nic_mtu=1450)
    assert plan.target == 1400


@pytest.mark.parametrize(
    "provider", ["aws:///z/i", "gce://p/z/n", "oci://x", "openstack:///x", "hrobot://1", "kind://x"]
)
def test_elsewhere_the_same_cluster_is_healthy(provider: str) -> None:
    assert found(at(provider)) == []


def test_a_note_leaves_a_cluster_healthy() -> None:
    azure = decide.check(at("azure:///subscriptions/x"))
    assert ([one.code for one in azure.findings], azure.verdict) == (["MTU135"], "healthy")
