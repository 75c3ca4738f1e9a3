"""What agents told, and of when: an old report is no report."""

import datetime as dt
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
import yaml
from tests.support import example
from tests.support import shapes as shapes_of
from tests.support.scripted_api import scripted

from kubemtu.core import errors, net
from kubemtu.core.objects import Object
from kubemtu.core.snapshot import Snapshot
from kubemtu.flows import decide, observe, shapes
from kubemtu.kube import api as kube_api
from kubemtu.kube import connect, crd, mtu
from kubemtu_lab import api as lab_api

NOW = 1793527200.0  # date -u -d 2026-11-01T10:00:00Z +%s


def told(seen: net.NodeObservation | None, seconds_ago: float, name: str = "n1") -> Object:
    """The NodeMTU of a node whose agent last told something that long ago."""
    status: dict[str, object] = {
        "observedAt": dt.datetime.fromtimestamp(NOW - seconds_ago, dt.UTC).isoformat().replace("+00:00", "Z")
    }
    if seen is not None:
        status["observation"] = msgspec.to_builtins(seen)
    return Object.of(
        {"apiVersion": "kubemtu.io/v1alpha1", "kind": "NodeMTU", "metadata": {"name": name}, "status": status}
    )


def test_a_fresh_report_is_what_the_node_shows() -> None:
    seen, silent = observe.observations([told(example.node("n1"), 59)], ["n1"], NOW)
    assert (seen, silent) == ((example.node("n1"),), ())


def test_an_old_report_is_none() -> None:
    seen, (silent,) = observe.observations([told(example.node("n1"), 61)], ["n1"], NOW)
    assert seen == ()
    assert (silent.what, silent.why) == ("node n1", "no agent")
    assert silent.message.startswith("its agent last told something 61 seconds ago")


def test_a_node_without_a_report_is_named() -> None:
    _seen, (silent,) = observe.observations([], ["n1"], NOW)
    assert (silent.what, silent.why, silent.message[:19]) == ("node n1", "no agent", "it has no NodeMTU: ")


def test_a_report_without_an_observation_is_none() -> None:
    _seen, (silent,) = observe.observations([told(None, 1)], ["n1"], NOW)
    assert silent.message.startswith("its NodeMTU holds no observation yet")


def test_a_broken_report_hides_no_other() -> None:
    broken = Object.of({"kind": "NodeMTU", "metadata": {"name": "n1"}, "status": {"observation": {"node": 7}}})
    seen, (unread,) = observe.observations([broken, told(example.node("n2"), 1, "n2")], ["n1", "n2"], NOW)
    assert [one.node for one in seen] == ["n2"]
    assert (unread.what, unread.why) == ("node n1", "malformed")


def test_a_node_that_has_left_is_not_missed() -> None:
    assert observe.observations([told(example.node("n1"), 1)], [], NOW)[1] == ()


def test_pods_are_kept_without_what_is_nobodys_business() -> None:
    pod = Object.of(
        {
            "kind": "Pod",
            "apiVersion": "v1",
            "metadata": {"name": "web", "namespace": "default", "annotations": {"token": "secret"}},
            "spec": {"nodeName": "n1", "containers": [{"env": [{"name": "PASSWORD", "value": "secret"}]}]},
            "status": {"phase": "Running", "podIP": "10.42.1.10"},
        }
    )
    kept = shapes.slim(pod)
    assert "secret" not in str(kept.body)
    assert (kept.name, kept.text("spec", "nodeName"), kept.text("status", "podIP")) == ("web", "n1", "10.42.1.10")


def test_other_objects_are_kept_whole() -> None:
    config, _agent = example.canal()
    assert shapes.slim(config) is config


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[kube_api.Api]:
    """The administrator's connection to an API server of the lab, without nodes behind it."""
    path = tmp_path / "kubeconfig"
    async with lab_api.api() as server:
        path.write_text(yaml.safe_dump(server.kubeconfig()), "utf-8")
        async with kube_api.Api(connect.settings(str(path), environ={})) as connected:
            yield connected


async def put(api: kube_api.Api, snapshot: Snapshot) -> None:
    """Make the objects of a snapshot, each with its status."""
    for found in snapshot.objects:
        body = dict(found.body)
        if found.kind == "Pod":
            containers = [{"name": "main", "image": "example/web"}]
            body["spec"] = {"containers": containers, **found.mapping("spec")}
        elif found.kind == "DaemonSet":
            labels = {"k8s-app": found.name}
            template = {"metadata": {"labels": labels}, **found.mapping("spec", "template")}
            body["spec"] = {**found.mapping("spec"), "template": template}
        made = await api.create(body)
        if found.kind == "Pod":
            ref = await api.ref(made.body)
            await api.patch(ref, {"status": found.mapping("status")}, subresource="status")


async def test_a_cluster_is_read_as_it_is(api: kube_api.Api) -> None:
    wanted = example.story(1450, example.trio(pod=1500))
    await put(api, wanted)
    await crd.install(api)
    for seen in wanted.nodes:
        await mtu.set_status(api, seen.node, observation=msgspec.structs.replace(seen, observed_at=NOW))
    found = await observe.observe(api, now=NOW + 5)
    assert [seen.node for seen in found.nodes] == ["n1", "n2", "n3"]
    assert found.unread == ()
    report = decide.check(found)
    assert (report.verdict, report.cni) == ("broken", "canal")
    assert [one.code for one in report.findings] == ["MTU104", "MTU104", "MTU104", "MTU101"]


async def test_without_the_custom_resources_no_node_was_observed(api: kube_api.Api) -> None:
    await put(api, example.story(1450))
    found = await observe.observe(api, now=NOW)
    assert found.nodes == ()
    assert [entry.what for entry in found.unread] == ["node n1", "node n2", "node n3"]
    assert decide.check(found).verdict == "incomplete"


async def test_a_config_map_is_read_that_only_its_daemonset_names(api: kube_api.Api, tmp_path: Path) -> None:
    bodies = list(yaml.safe_load_all((shapes_of.HERE / "antrea-0.13.yaml").read_text()))
    bodies[1]["spec"]["selector"] = {"matchLabels": {"k8s-app": "antrea-agent"}}
    await put(api, Snapshot(source="a shape", objects=tuple(map(Object.of, bodies))))
    found = await observe.observe(api, now=NOW)
    assert found.find("ConfigMap", "antrea-config-0d1e2f3a4b") is not None
    observe.save(found, tmp_path / "snapshot.json")
    kept = msgspec.json.decode((tmp_path / "snapshot.json").read_bytes(), type=Snapshot)
    assert kept.find("ConfigMap", "antrea-config-0d1e2f3a4b") is not None


@pytest.mark.parametrize(("defined", "asked"), [(False, 0), (True, 2)])
async def test_what_other_networks_go_by_is_asked_for_only_where_there_is_one(defined: bool, asked: int) -> None:
    group = "/apis/k8s.cni.cncf.io/v1"
    plural = "network-attachment-definitions"
    kinds = [{"kind": "NetworkAttachmentDefinition", "name": plural, "namespaced": True}]
    one = {"metadata": {"name": "jumbo", "namespace": "default"}, "spec": {"config": "{}"}}
    answers: dict[str, object] = {
        f"GET {group}": {"kind": "APIResourceList", "resources": kinds},
        f"GET {group}/{plural}": {"kind": "List", "metadata": {}, "items": [one] if defined else []},
    }
    api, requests = scripted(answers)
    found = await observe.observe(api, now=NOW)
    assert len(list(found.each("NetworkAttachmentDefinition"))) == defined
    ways = {request.url.path for request in requests}
    groups = {way for way in ways if way.startswith(("/apis/spiderpool.", "/apis/sriovnetwork."))}
    assert len(groups) == asked  # the groups alone: no kind of theirs is there to be listed


def test_what_cannot_be_written_is_said(tmp_path: Path) -> None:
    with pytest.raises(errors.UsageError, match="cannot be written"):
        observe.save(example.cluster(), tmp_path / "nowhere" / "snapshot.json")
