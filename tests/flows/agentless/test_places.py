"""Which containers of a node are tried, in which order, and where they have the CNI's folders."""

from tests.support.commanded import cluster, pod

from kubemtu.core.objects import Object, Ref
from kubemtu.flows.agentless import places

CANAL = Ref(api_version="apps/v1", kind="DaemonSet", plural="daemonsets", name="canal", namespace="kube-system")
MTU = "/var/lib/calico/mtu"


def volume(name: str, path: str) -> dict[str, object]:
    return {"name": name, "hostPath": {"path": path}}


def mounts(**where: str) -> list[dict[str, str]]:
    return [{"name": name, "mountPath": path} for name, path in where.items()]


def test_the_cnis_own_pod_comes_first_and_kubemtus_last() -> None:
    pods = [
        pod("agent-1", "n1", "kubemtu-agent"),
        pod("aaa", "n1", "something"),
        pod("exporter-1", "n1", "prometheus-node-exporter", "monitoring"),
        pod("kube-proxy-1", "n1", "kube-proxy"),
        pod("weave-1", "n1", "weave-net"),
        pod("canal-1", "n1"),
        pod("canal-2", "n2"),
    ]
    found = places.host_pods(cluster(pods), CANAL, {("kube-system", "weave-net")})
    assert [one.name for one in found["n1"]] == ["canal-1", "weave-1", "kube-proxy-1", "exporter-1", "aaa", "agent-1"]
    assert [one.name for one in found["n2"]] == ["canal-2"]


def test_a_static_pod_is_known_by_its_own_name() -> None:
    static = pod("kube-proxy-n1", "n1", "n1")
    (one,) = places.host_pods(cluster([static]), None, ())["n1"]
    assert one.owner == "n1"
    bare = Object.of({**static.body, "metadata": {"name": "kube-proxy-n1", "namespace": "kube-system"}})
    (one,) = places.host_pods(cluster([bare]), None, ())["n1"]
    assert (one.owner, one.rank) == ("kube-proxy-n1", 2)


def test_paths_of_the_node_are_those_that_the_pod_says() -> None:
    spec: dict[str, object] = {
        "volumes": [volume("a", "/etc/cni/net.d/"), volume("b", "/var/lib/calico"), {"name": "c", "emptyDir": {}}],
        "containers": [
            {"name": "first", "volumeMounts": mounts(c="/etc/cni/net.d")},
            {"name": "second", "volumeMounts": mounts(a="/host/net.d", b="/calico/")},
        ],
    }
    found = places.containers(pod("canal-1", "n1", spec=spec), "canal", [MTU, "/run/flannel/subnet.env"])
    assert [(one.place.container, one.has) for one in found] == [("first", 0), ("second", 2)]
    assert (found[1].folders, found[1].files) == ({"/etc/cni/net.d": "/host/net.d"}, {MTU: "/calico/mtu"})


def test_a_folder_that_is_mounted_as_part_of_a_larger_one_and_another_distributions_folder() -> None:
    whole: dict[str, object] = {
        "volumes": [volume("root", "/")],
        "containers": [{"name": "main", "volumeMounts": mounts(root="/rootfs")}],
    }
    (one,) = places.containers(pod("x", "n1", spec=whole), "x", [MTU])
    assert (one.folders, one.files) == ({"/etc/cni/net.d": "/rootfs/etc/cni/net.d"}, {MTU: f"/rootfs{MTU}"})
    k3s: dict[str, object] = {
        "volumes": [volume("cni", "/var/lib/rancher/k3s/agent/etc/cni/net.d")],
        "containers": [{"name": "main", "volumeMounts": mounts(cni="/host/etc/cni/net.d")}],
    }
    (one,) = places.containers(pod("x", "n1", spec=k3s), "x", [MTU])
    assert one.folders == {"/var/lib/rancher/k3s/agent/etc/cni/net.d": "/host/etc/cni/net.d"}


def test_a_container_that_does_not_run_and_a_part_of_a_volume_are_left_out() -> None:
    spec: dict[str, object] = {
        "volumes": [volume("a", "/etc/cni/net.d")],
        "containers": [
            {"name": "main", "volumeMounts": [{"name": "a", "mountPath": "/x", "subPath": "y"}]},
            {"name": "waiting", "volumeMounts": mounts(a="/z")},
        ],
    }
    made = pod("x", "n1", spec=spec)
    status = {"phase": "Running", "containerStatuses": [{"name": "main", "state": {"running": {}}}]}
    (one,) = places.containers(Object.of({**made.body, "status": status}), "x", [])
    assert (one.place.container, one.folders) == ("main", {})
