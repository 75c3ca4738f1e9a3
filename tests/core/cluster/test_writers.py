"""Who wrote a value last, by what the API server notes."""

import pytest

from kubemtu.core.cluster import writers
from kubemtu.core.objects import Object


def entry(manager: str, time: str, fields: object, **more: object) -> dict[str, object]:
    said = {"manager": manager, "operation": "Update", "time": time, "fieldsType": "FieldsV1", "fieldsV1": fields}
    return said | more


DATA: dict[str, object] = {"f:data": {".": {}, "f:veth_mtu": {}}}


def written(*entries: object) -> Object:
    """Make a ConfigMap with these entries, as kube-apiserver writes them for an edit of data.veth_mtu."""
    return Object.of({"kind": "ConfigMap", "metadata": {"name": "canal-config", "managedFields": list(entries)}})


def test_the_last_of_several_that_wrote_it() -> None:
    found = writers.last(
        written(
            entry("kubectl-client-side-apply", "2026-11-01T10:00:00Z", DATA),
            entry("argocd-controller", "2026-11-03T10:00:00Z", DATA),
            entry("kubectl-edit", "2026-11-02T10:00:00Z", DATA),
        ),
        ("data", "veth_mtu"),
    )
    assert str(found) == "argocd-controller, 2026-11-03T10:00:00Z"


@pytest.mark.parametrize(
    "other",
    [
        entry("kubectl-edit", "2026-11-09T10:00:00Z", {"f:data": {"f:canal_iface": {}}}),
        entry("kubectl-label", "2026-11-09T10:00:00Z", {"f:metadata": {"f:labels": {}}}),
        entry("controller", "2026-11-09T10:00:00Z", DATA, subresource="status"),
        entry("", "2026-11-09T10:00:00Z", DATA),
        entry("kubectl-edit", "2026-11-09T10:00:00Z", ["f:data"]),
    ],
)
def test_who_wrote_something_else_did_not_write_it(other: object) -> None:
    assert writers.last(written(other), ("data", "veth_mtu")) is None
    mine = entry("helm", "2026-11-01T10:00:00Z", DATA)
    assert writers.last(written(mine, other), ("data", "veth_mtu")) == writers.Writer(
        manager="helm", time="2026-11-01T10:00:00Z"
    )


def test_a_list_of_a_pod_template_is_noted_by_keys() -> None:
    fields: dict[str, object] = {
        "f:spec": {"f:template": {"f:spec": {"f:containers": {'k:{"name":"cni-server"}': {"f:args": {}}}}}}
    }
    daemonset = written(entry("kubectl-patch", "2026-11-01T10:00:00Z", fields))
    found = writers.last(daemonset, ("spec", "template", "spec", "containers", 0, "args", 2))
    assert found == writers.Writer(manager="kubectl-patch", time="2026-11-01T10:00:00Z")


@pytest.mark.parametrize("junk", [None, "x", 7, ["x"], [{"manager": 5}], [{"manager": "a", "fieldsV1": 3}]])
def test_junk_is_nobody(junk: object) -> None:
    resource = Object.of({"kind": "ConfigMap", "metadata": {"name": "a", "managedFields": junk}})
    assert writers.last(resource, ("data", "veth_mtu")) is None
