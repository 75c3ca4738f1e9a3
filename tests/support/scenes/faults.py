"""What goes wrong in a cluster, each as a context: the fault is there inside, and taken back afterwards."""

import contextlib
import json
import os
from collections.abc import Callable, Iterator

import yaml
from tests.support.labs import Body, is_ready, until
from tests.support.scenes.cluster import CONFIG, FLANNEL_CONFIG, Cluster

Fault = Callable[[Cluster], contextlib.AbstractContextManager[None]]
POOL = "/apis/crd.projectcalico.org/v1/ippools/default-ipv4-ippool"
CONFIG_MAPS = "/api/v1/namespaces/kube-system/configmaps"


@contextlib.contextmanager
def none(_: Cluster) -> Iterator[None]:
    """Nothing is wrong."""
    yield


def configured(path: str = CONFIG, /, *, restarted: bool | str = False, **keys: str | None) -> Fault:
    """Keys of the CNI's ConfigMap are changed, None drops one; its pods are `restarted` everywhere, or on one node."""

    @contextlib.contextmanager
    def fault(cluster: Cluster) -> Iterator[None]:
        before = cluster.kube.get(path)["data"]
        assert isinstance(before, dict)
        cluster.set_config(path, **keys)
        nodes = [] if not restarted else [restarted] if isinstance(restarted, str) else list(cluster.lab.record.nodes)
        for node in nodes:
            cluster.kube.restart_daemon(node, path.split("/")[4])
        try:
            yield
        finally:
            # A merge keeps keys that were added: they are named to be dropped.
            held = cluster.kube.get(path)["data"]
            assert isinstance(held, dict)
            cluster.kube.merge(path, {"data": dict.fromkeys(held.keys() - before.keys()) | before})
            for node in nodes:
                cluster.kube.restart_daemon(node, path.split("/")[4])

    return fault


def inline(old: str, new: str, *, restarted: bool | str = False) -> Fault:
    """Change the text of cni_network_config."""

    @contextlib.contextmanager
    def fault(cluster: Cluster) -> Iterator[None]:
        text = cluster.config("cni_network_config")
        assert old in text
        with configured(restarted=restarted, cni_network_config=text.replace(old, new))(cluster):
            yield

    return fault


def net_conf(path: str = CONFIG, *, restarted: bool | str = False, **backend: str | int) -> Fault:
    """Make the Backend of net-conf.json another."""
    text = json.dumps({"Network": "10.244.0.0/16", "Backend": {"Type": "vxlan"} | backend})
    return configured(path, restarted=restarted, net_conf_json=text)


def delegate(mtu: int, *, restarted: bool | str = False) -> Fault:
    """flannel's delegate is told an MTU."""

    @contextlib.contextmanager
    def fault(cluster: Cluster) -> Iterator[None]:
        chain = json.loads(cluster.config("cni-conf.json", FLANNEL_CONFIG))
        chain["plugins"][0]["delegate"]["mtu"] = mtu
        with configured(FLANNEL_CONFIG, restarted=restarted, cni_conf_json=json.dumps(chain))(cluster):
            yield

    return fault


def together(*faults: Fault) -> Fault:
    """Several faults at once."""

    @contextlib.contextmanager
    def fault(cluster: Cluster) -> Iterator[None]:
        with contextlib.ExitStack() as stack:
            for each in faults:
                stack.enter_context(each(cluster))
            yield

    return fault


def links(places: dict[str, int]) -> Fault:
    """Set the MTUs of links by hand: {"node-1 flannel.1": 1400}; "node-1 cali*" is every pod port of the node."""

    @contextlib.contextmanager
    def fault(cluster: Cluster) -> Iterator[None]:
        before: dict[tuple[str, str], int] = {}
        for where, mtu in places.items():
            place, pattern = where.split()
            for name, held in cluster.links(place).items():
                if name == pattern or (pattern.endswith("*") and name.startswith(pattern[:-1])):
                    before[place, name] = held
                    cluster.ip(place, "link", "set", name, "mtu", str(mtu))
        assert before
        try:
            yield
        finally:
            for (place, name), held in before.items():
                cluster.ip(place, "link", "set", name, "mtu", str(held))

    return fault


def pod_ends(pod: str, mtu: int) -> Fault:
    """Both ends of a pod's interface have another MTU, as if the pod had been born with it."""

    @contextlib.contextmanager
    def fault(cluster: Cluster) -> Iterator[None]:
        place = cluster.lab.pod(pod)
        with links({f"{place.node} {place.host_link}": mtu, f"{pod} eth0": mtu})(cluster):
            yield

    return fault


def hand_edited(node: str, path: str, old: str, new: str) -> Fault:
    """Somebody edits a file on a node, an hour after the CNI's pod wrote it."""

    @contextlib.contextmanager
    def fault(cluster: Cluster) -> Iterator[None]:
        file = cluster.lab.node_root(node) / path.lstrip("/")
        before, about = file.read_text(), file.stat()
        assert old in before
        file.write_text(before.replace(old, new))
        os.utime(file, (about.st_mtime + 3600, about.st_mtime + 3600))
        try:
            yield
        finally:
            file.write_text(before)
            os.utime(file, (about.st_atime, about.st_mtime))

    return fault


def route(pod: str, *metrics: str) -> Fault:
    """Give the pod's default route metrics of its own."""

    @contextlib.contextmanager
    def fault(cluster: Cluster) -> Iterator[None]:
        words = ("route", "change", "default", "via", "169.254.1.1", "dev", "eth0")
        cluster.ip(pod, *words, *metrics)
        try:
            yield
        finally:
            cluster.ip(pod, *words)

    return fault


def owned(labels: dict[str, str], annotations: dict[str, str]) -> Fault:
    """Make the ConfigMap somebody's, by its labels and annotations."""

    @contextlib.contextmanager
    def fault(cluster: Cluster) -> Iterator[None]:
        cluster.kube.merge(CONFIG, {"metadata": {"labels": labels, "annotations": annotations}})
        try:
            yield
        finally:
            nothing = {"labels": dict.fromkeys(labels), "annotations": dict.fromkeys(annotations)}
            cluster.kube.merge(CONFIG, {"metadata": nothing})

    return fault


def rendered_by_rke(**keys: str) -> Fault:
    """RKE deploys the network, and remembers having rendered these keys otherwise than they are."""

    @contextlib.contextmanager
    def fault(cluster: Cluster) -> Iterator[None]:
        live = cluster.kube.get(CONFIG)["data"]
        assert isinstance(live, dict)
        metadata = {"name": "canal-config", "namespace": "kube-system"}
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {**live, **keys}}
        with config_map("rke-network-plugin", "rke-network-plugin", yaml.safe_dump(body))(cluster):
            yield

    return fault


def config_map(name: str, key: str, text: str) -> Fault:
    """There is one more ConfigMap in kube-system."""

    @contextlib.contextmanager
    def fault(cluster: Cluster) -> Iterator[None]:
        body: Body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {key: text}}
        cluster.kube.create(CONFIG_MAPS, body)
        try:
            yield
        finally:
            cluster.kube.delete(f"{CONFIG_MAPS}/{name}")

    return fault


def annotated(node: str, key: str, text: str) -> Fault:
    """Give a node an annotation."""

    @contextlib.contextmanager
    def fault(cluster: Cluster) -> Iterator[None]:
        path = f"/api/v1/nodes/{node}"
        cluster.kube.merge(path, {"metadata": {"annotations": {key: text}}})
        try:
            yield
        finally:
            cluster.kube.merge(path, {"metadata": {"annotations": {key: None}}})

    return fault


def pool_mode(mode: str) -> Fault:
    """Calico's address pool says that packets between nodes go IP in IP."""

    @contextlib.contextmanager
    def fault(cluster: Cluster) -> Iterator[None]:
        cluster.kube.merge(POOL, {"spec": {"ipipMode": mode}})
        try:
            yield
        finally:
            cluster.kube.merge(POOL, {"spec": {"ipipMode": "Never"}})

    return fault


@contextlib.contextmanager
def strangers(cluster: Cluster) -> Iterator[None]:
    """Add what is on real nodes besides the pod network: kube-proxy's and NodeLocalDNS' devices, docker0, Multus.

    The two devices are of kind dummy there, which not every kernel has; their names and MTUs are what matters.
    """
    for device, mtu in (("kube-ipvs0", 1500), ("nodelocaldns", 1500), ("docker0", 1500), ("tailscale0", 1280)):
        cluster.ip("node-1", "link", "add", device, "mtu", str(mtu), "up", "type", "bridge")
    inside = cluster.lab.pod("pod-1a").netns
    second = ("peer", "name", "net1", "mtu", "9000", "netns", inside)
    cluster.ip("node-1", "link", "add", "vethnet1", "mtu", "9000", "type", "veth", *second)
    spec = {
        "nodeName": "node-1",
        "hostNetwork": True,
        "containers": [{"name": "main", "image": "registry.example/a:1"}],
    }
    body: Body = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "on-the-host"}, "spec": spec}
    cluster.kube.create("/api/v1/namespaces/default/pods", body)
    until(lambda: is_ready(cluster.kube.pods()["on-the-host"]))
    cluster.until_shown("tailscale0", "net1")
    try:
        yield
    finally:
        cluster.kube.remove_pod("on-the-host")
        for device in ("kube-ipvs0", "nodelocaldns", "docker0", "tailscale0", "vethnet1"):
            cluster.ip("node-1", "link", "delete", device)
