"""What commands find in containers that are played: the programs of their images, and the folders of their volumes."""

import json
from collections.abc import Callable

import pytest
from tests.support.lab_api import kubectl_of

from kubemtu.core.objects import Object
from kubemtu_lab import image_tools, scene, scenes
from kubemtu_lab.cluster import Lab

pytestmark = pytest.mark.lab
NODE_PODS = ("kube-proxy", "node-exporter", "kube-vip")
Execute = Callable[..., str]


def commands(lab: Lab, namespace: str, name: str) -> Execute:
    """Return what runs a command in a pod, and returns what it wrote; its errors where there is nothing else."""
    kubectl = kubectl_of(lab.kubeconfig)

    def run(*command: str, container: str = "") -> str:
        chosen = ("-c", container) if container else ()
        found = kubectl("exec", "-n", namespace, name, *chosen, "--", *command)
        return (found.stdout or found.stderr).decode()

    return run


@pytest.fixture(scope="module")
def lab(start: Callable[..., Lab]) -> Lab:
    found = scene.resized(scenes.named("flannel"), nodes=1, pods=1)
    return start(found.replace(name="images", daemons=NODE_PODS))


@pytest.fixture
def flannel(lab: Lab) -> Execute:
    return commands(lab, "kube-flannel", "ds/kube-flannel-ds")


@pytest.fixture(scope="module")
def canal(start: Callable[..., Lab]) -> Execute:
    found = scene.resized(scenes.named("canal-veth-mtu"), nodes=1, pods=1)
    return commands(start(found.replace(name="images-canal")), "kube-system", "ds/canal")


@pytest.fixture
def node_pod(lab: Lab) -> Callable[[str], Execute]:
    return lambda name: commands(lab, "kube-system", f"ds/{name}")


def test_flannels_image_has_busybox_and_iproute2(flannel: Execute) -> None:
    links = json.loads(flannel("ip", "-d", "-j", "link", "show", "flannel.1"))
    assert (links[0]["mtu"], links[0]["linkinfo"]["info_data"]["id"]) == (1450, 1)
    assert "BusyBox" in flannel("ls", "--help")


def test_flannel_shows_its_subnet_and_its_configuration_and_no_cni_folder(lab: Lab, flannel: Execute) -> None:
    assert "FLANNEL_MTU=1450" in flannel("cat", "/run/flannel/subnet.env")
    assert '"Type": "vxlan"' in flannel("cat", "/etc/kube-flannel/net-conf.json")
    assert "No such file" in flannel("ls", "/etc/cni/net.d")
    assert "FLANNEL_MTU=1450" in (lab.node_root("node-1") / "run/flannel/subnet.env").read_text()
    assert [each.name for each in (lab.node_root("node-1") / "etc/cni/net.d").iterdir()] == ["10-flannel.conflist"]


def test_calicos_container_shows_the_cni_folder_below_host_and_felixs_number(canal: Execute) -> None:
    shown = canal("cat", "/host/etc/cni/net.d/10-canal.conflist", container="calico-node")
    assert json.loads(shown)["plugins"][0]["mtu"] == 1450
    assert canal("cat", "/var/lib/calico/mtu", container="calico-node") == "1500"
    assert "No such file" in canal("ls", "/etc/cni/net.d", container="calico-node")
    assert "No such file" in canal("ls", "/host/etc/cni/net.d", container="kube-flannel")
    assert json.loads(canal("ip", "-j", "link", "show", "eth0", container="calico-node"))[0]["mtu"] == 1500


def test_kube_proxys_image_has_cat_and_neither_ls_nor_ip(node_pod: Callable[[str], Execute]) -> None:
    assert node_pod("kube-proxy")("cat", "/sys/class/net/eth0/mtu") == "1500\n"
    assert node_pod("kube-proxy")("cat", "/var/lib/kube-proxy/config.conf") == "kind: KubeProxyConfiguration\n"
    for missing in ("ls", "ip"):
        assert f'exec: "{missing}": executable file not found in $PATH' in node_pod("kube-proxy")(missing)


def test_node_exporters_image_has_busyboxs_ip_and_shows_the_node_below_host(node_pod: Callable[[str], Execute]) -> None:
    # busybox ip takes the index of a peer in another namespace for one of its own, and knows no JSON.
    assert "mtu 1500" in node_pod("node-exporter")("ip", "link", "show", "eth0")
    assert "BusyBox" in node_pod("node-exporter")("ip", "-j", "link")
    assert node_pod("node-exporter")("cat", "/host/sys/class/net/eth0/mtu") == "1500\n"
    assert node_pod("node-exporter")("id") == "uid=65534 gid=65534\n"


def test_an_image_of_one_program_has_no_shell(node_pod: Callable[[str], Execute]) -> None:
    for missing in ("sh", "cat"):
        assert f'exec: "{missing}": executable file not found in $PATH' in node_pod("kube-vip")(missing, "/")


def test_a_pod_does_not_show_the_folders_of_its_node(lab: Lab) -> None:
    assert commands(lab, "default", "pod-1a")("ls", "/var/lib/calico", "/run") == "/run:\n\n/var/lib/calico:\n"


def test_an_image_may_be_like_another(start: Callable[..., Lab]) -> None:
    found = scene.resized(scenes.named("flannel"), nodes=1, pods=0)
    lab = start(found.replace(name="images-other", images={"kube-flannel": "scratch"}))
    told = commands(lab, "kube-flannel", "ds/kube-flannel-ds")("cat", "/etc/hosts")
    assert 'exec: "cat": executable file not found in $PATH' in told


@pytest.mark.parametrize(
    ("image", "kind"),
    [
        ("rancher/calico-node:v3.28.1", "ubi"),
        ("ghcr.io/flannel-io/flannel:v0.25.5@sha256:00", "alpine"),
        ("localhost:5000/kube-proxy", "distroless"),
        ("rancher/calico-cni:v3.28.1", "scratch"),
        ("rancher/calico-cni:v3.1.1", "busybox"),
        ("registry.example/web:1", None),
    ],
)
def test_images_are_known_by_their_last_name(image: str, kind: str | None) -> None:
    assert image_tools.kind_of(Object.of({"name": "c", "image": image}), {}) == kind
