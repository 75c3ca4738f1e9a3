"""A user can have it: installed, used with only the shipped roles, and gone, from the files of the image itself.

The pods of kubemtu run from the unpacked image, and so does the command line, as the image's own user.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.labs import Body, Kube, until

import kubemtu
from kubemtu_lab import images, scenes
from kubemtu_lab.cluster import Lab

pytestmark = [pytest.mark.lab, pytest.mark.timeout(3600)]

ROOT = Path(__file__).parents[2]
CONTAIN = ROOT / "lab/src/kubemtu_lab/container_exec.py"
NAME = f"localhost/kubemtu:{kubemtu.__version__}"
RBAC = "/apis/rbac.authorization.k8s.io/v1"
KUBEMTU = "/apis/kubemtu.io/v1alpha1"
CONFIG = "/api/v1/namespaces/kube-system/configmaps/canal-config"
LEASE = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/kubemtu"
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


@pytest.fixture(scope="module")
def image() -> images.Image:
    """The image, built from this checkout and unpacked."""
    missing = [tool for tool in ("buildah", "debootstrap") if not _has(tool)]
    if os.geteuid() != 0 or missing:
        told = f"the image cannot be built here: {'no ' + ' and '.join(missing) if missing else 'this is not root'}"
        if os.environ.get("CI"):
            pytest.fail(told)
        pytest.skip(told)
    built = subprocess.run([ROOT / "scripts/image"], capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    return images.load(ROOT / "build/image")


def _has(tool: str) -> bool:
    return any((Path(folder) / tool).exists() for folder in ("/usr/bin", "/usr/sbin", "/usr/local/bin"))


class People:
    """One lab without kubemtu, and people who use it there through the command line in the image."""

    def __init__(self, lab: Lab, image: images.Image) -> None:
        self.lab, self.image, self.kube = lab, image, Kube(lab.kubeconfig)
        folder = lab.node_root("node-1") / "run/people"
        folder.mkdir(exist_ok=True)
        config = lab.node_root("node-1") / "etc/kubernetes/kubelet.conf"
        (folder / "config").write_text(config.read_text())
        (folder / "config").chmod(0o644)
        mount = {"source": "/run/people", "target": "/people", "follows": False, "read_only": True}
        told = {"mounts": [mount], "image": image.root, "user": image.user, "group": image.group}
        self._command = [sys.executable, "-I", "-S", str(CONTAIN), json.dumps(told), *image.entrypoint]

    def run(self, *words: str, user: str = "", cluster: bool = True) -> subprocess.CompletedProcess[str]:
        """Run kubemtu from the image, as a user whom the API is told, or as the administrator."""
        whom = ("--kubeconfig", "/people/config", *(("--as", user) if user else ()))
        command = self.lab.command("node-1", [*self._command, *words, *(whom if cluster else ())])
        env = {**self.image.environment, "HOME": "/tmp"}
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300, env=env)

    def bind(self, user: str, role: str) -> None:
        """Give a user one ClusterRole, and nothing else."""
        subject = {"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}
        reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role}
        self.kube.create(
            f"{RBAC}/clusterrolebindings", {"metadata": {"name": user}, "roleRef": reference, "subjects": [subject]}
        )

    def everything(self) -> set[str]:
        """The path of every object of the cluster but what passes: pods, and what the cluster makes of others."""
        found = set()
        groups = [f"/apis/{one['groupVersion']}" for group in self._get("/apis")["groups"] for one in group["versions"]]
        for root in ("/api/v1", *groups):
            for kind in self._get(root)["resources"]:
                if "/" in kind["name"] or kind["name"] in PASSING or "list" not in kind["verbs"]:
                    continue
                for item in self._get(f"{root}/{kind['name']}")["items"] or ():
                    metadata = item["metadata"]
                    found.add(f"{root}/{kind['name']} {metadata.get('namespace', '')}/{metadata['name']}")
        return found

    def _get(self, path: str) -> Any:
        return self.kube.get(path)


PASSING = frozenset({"pods", "events", "controllerrevisions"})


@pytest.fixture(scope="module")
def people(image: images.Image, can_make_labs: None) -> Iterator[People]:
    """A lab whose pods of kubemtu will run from the image, with none of them yet."""
    scene = scenes.named("canal-1500").replace(agents=False, probes=False, image=image.folder, faults=())
    with Lab.up(scene, f"kmtest-{os.getpid()}-install") as lab:
        found = People(lab, image)
        yield found
        found.kube.http.close()


def test_the_image_holds_the_product_and_nothing_else(image: images.Image, people: People) -> None:
    assert (image.user, image.group) == (65532, 65532)
    root = Path(image.root)
    assert not [*root.glob("opt/kubemtu/lib/python3*/site-packages/kubemtu_lab")]
    for tool in ("pip", "pip3", "gcc", "cc", "make"):
        assert not [*root.glob(f"usr/bin/{tool}"), *root.glob(f"opt/kubemtu/bin/{tool}")], tool
    assert people.run("--version", cluster=False).stdout == f"kubemtu {kubemtu.__version__}, image {NAME}\n"
    for command in ("lab", "demo"):
        ended = people.run(command, cluster=False)
        assert (ended.returncode, ended.stdout, ended.stderr.count("\n")) == (2, "", 1)
        assert f"this installation holds no lab, so there is no `kubemtu {command}`" in ended.stderr


def test_installed_used_and_gone(people: People) -> None:
    before, config = people.everything(), people.kube.get(CONFIG)["data"]

    shown = people.run("install", "--dry-run")
    assert (shown.returncode, shown.stdout.splitlines()[-1]) == (0, "Nothing was changed.")
    assert f"image {NAME}:" in shown.stdout
    assert people.everything() == before

    installed = people.run("install", "--yes")
    assert installed.returncode == 0, installed.stdout + installed.stderr
    assert installed.stdout.endswith("✓ kubemtu works on 3 nodes: `kubemtu check` says how they are.\n")
    again = people.run("install", "--dry-run")
    assert "+ " not in again.stdout.replace("(+ made", "")
    assert "~ " not in again.stdout.replace("~ changed", "")
    namespace: Any = people.kube.get("/api/v1/namespaces/kubemtu")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "privileged"

    people.bind("vera", "kubemtu-view")
    people.bind("olga", "kubemtu-operator")
    checked = people.run("check", user="vera")
    assert (checked.returncode, checked.stderr) == (1, "")
    assert "9 pods of 9 may send 1500 bytes" in checked.stdout
    assert "could not be read" not in checked.stdout
    assert people.run("plan", user="vera").returncode == 0

    assert people.run("why", "pod-1a", "pod-2a", user="olga").returncode == 1
    applied = people.run("apply", "--yes", user="olga")
    assert applied.returncode == 0, applied.stdout + applied.stderr
    assert people.run("check", user="olga").returncode == 0
    assert people.run("probe", user="olga").returncode == 0
    back = people.run("rollback", "--yes", user="olga")
    assert back.returncode == 0, back.stdout + back.stderr
    assert people.kube.get(CONFIG)["data"] == config
    not_hers = people.run("uninstall", "--yes", user="olga")
    assert (not_hers.returncode, not_hers.stderr.count("\n")) == (4, 1), not_hers.stdout + not_hers.stderr

    # Nothing goes while something stands, and nothing that is somebody else's.
    under_way: Body = {
        "apiVersion": "kubemtu.io/v1alpha1",
        "kind": "MTUMigration",
        "metadata": {"name": "m"},
        "spec": {"plan": {"cni": "canal"}},
    }
    people.kube.create(f"{KUBEMTU}/mtumigrations", under_way)
    refused = people.run("uninstall", "--yes")
    assert (refused.returncode, refused.stdout) == (7, "")
    assert "nothing was removed: MTUMigration m has not come to its end" in refused.stderr
    people.kube.delete(f"{KUBEMTU}/mtumigrations/m")
    people.kube.create("/api/v1/namespaces/kubemtu/configmaps", {"metadata": {"name": "somebodys"}})
    shown = people.run("uninstall", "--dry-run")
    assert "= ConfigMap somebodys in Namespace kubemtu is not kubemtu's: it stays" in shown.stdout
    assert "- Namespace kubemtu" not in shown.stdout
    people.kube.delete("/api/v1/namespaces/kubemtu/configmaps/somebodys")
    journals = [people.lab.node_root(f"node-{number}") / "run/kubemtu" for number in (1, 2, 3)]
    assert all([*folder.glob("*.jsonl")] for folder in journals)

    gone = people.run("uninstall", "--yes")
    assert gone.returncode == 0, gone.stdout + gone.stderr
    assert gone.stdout.endswith("✓ nothing of kubemtu's own is left in the API, nor of its journals on the nodes.\n")
    for user in ("vera", "olga"):
        assert f"= ClusterRoleBinding {user} names a role of kubemtu" in gone.stdout
        people.kube.delete(f"{RBAC}/clusterrolebindings/{user}")
    until(lambda: people.everything() == before)
    until(lambda: not any([*folder.iterdir()] for folder in journals))
