"""Volumes of Secrets, and programs that may do less than the lab: late keys, other users, no capabilities."""

import base64
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from tests.support.labs import Body, Kube, container, is_ready, until, waiting

from kubemtu.core.objects import Object
from kubemtu_lab import limits, scenes, volumes
from kubemtu_lab.cluster import Lab
from kubemtu_lab.scene import nodes

SECRETS = "/api/v1/namespaces/default/secrets"
PODS = "/api/v1/namespaces/default/pods"
SLEEP = ["sleep", "300"]
NOBODY = {"runAsUser": 65534, "runAsGroup": 65533, "runAsNonRoot": True}


@pytest.fixture(scope="module")
def lab(start: Callable[..., Lab]) -> Lab:
    return start(scenes.named("canal-1500").replace(name="volumes", nodes=nodes(1, 0)))


@pytest.fixture(scope="module")
def kube(lab: Lab) -> Iterator[Kube]:
    with Kube(lab.kubeconfig) as client:
        yield client


def secret(name: str, **data: str) -> Body:
    encoded = {key.replace("_", "."): base64.b64encode(text.encode()).decode() for key, text in data.items()}
    return {"metadata": {"name": name}, "data": encoded}


def pod(name: str, argv: list[str] = SLEEP, *, context: Body | None = None, **spec: object) -> Body:
    """Make a pod that runs a program of this machine; `context` is its container's securityContext."""
    main = {"name": "main", "image": "lab/exec", "command": argv, "securityContext": context or {}}
    mounts = [{"name": each["name"], "mountPath": f"/{each['name']}"} for each in spec.get("volumes") or ()]  # type: ignore[attr-defined]
    whole = {"nodeName": "node-1", "terminationGracePeriodSeconds": 0, "containers": [main | {"volumeMounts": mounts}]}
    return {"metadata": {"name": name}, "spec": whole | spec}


def of_secret(name: str, **more: object) -> Body:
    return {"name": "key", "secret": {"secretName": name, **more}}


def process(lab: Lab, argv: list[str]) -> Path:
    """Return the /proc folder of a program that runs in the lab."""
    wanted = "\0".join(argv) + "\0"
    found: list[Path] = []

    def is_there() -> bool:
        proc = lab.node_root("node-1") / "proc"
        found[:] = [each for each in proc.iterdir() if each.name.isdigit() and _command(each) == wanted]
        return bool(found)

    until(is_there)
    return found[0]


def _command(folder: Path) -> str:
    try:
        return (folder / "cmdline").read_text()
    except OSError:
        return ""


def status(folder: Path) -> dict[str, str]:
    lines = (folder / "status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


@pytest.mark.lab
def test_a_pod_waits_for_its_secret_and_reads_it_then(lab: Lab, kube: Kube) -> None:
    argv = ["sleep", "301"]
    kube.create(PODS, pod("late", argv, volumes=[of_secret("late")]))
    told = 'MountVolume.SetUp failed for volume "key" : secret "late" not found'
    until(lambda: waiting(kube.pods()["late"], "main") == ("ContainerCreating", told))
    assert "podIP" not in str(kube.pods()["late"]["status"])
    kube.create(SECRETS, secret("late", key="hidden", ca_crt="open"))
    until(lambda: is_ready(kube.pods()["late"]))
    found = process(lab, argv) / "root/key"
    assert {each.name: each.read_text() for each in found.iterdir()} == {"key": "hidden", "ca.crt": "open"}
    assert oct((found / "key").stat().st_mode)[-3:] == "644"
    with pytest.raises(OSError, match="Read-only"):
        (found / "more").touch()
    uid = str(kube.pods()["late"]["metadata"]["uid"])  # type: ignore[index]
    kept = lab.node_root("node-1") / "run/lab/pods"
    assert (kept / uid / "volumes/key/key").exists()
    assert oct(kept.stat().st_mode)[-3:] == "700"
    kube.remove_pod("late")
    until(lambda: not (kept / uid).exists())


@pytest.mark.lab
def test_items_choose_keys_paths_and_modes(lab: Lab, kube: Kube) -> None:
    kube.create(SECRETS, secret("items", key="hidden", other="unseen"))
    argv = ["sleep", "302"]
    chosen = of_secret("items", defaultMode=0o440, items=[{"key": "key", "path": "deep/name"}])
    kube.create(PODS, pod("items", argv, volumes=[chosen]))
    found = process(lab, argv) / "root/key"
    assert [each.name for each in found.iterdir()] == ["deep"]
    assert oct((found / "deep/name").stat().st_mode)[-3:] == "440"
    kube.create(PODS, pod("lost", volumes=[of_secret("items", items=[{"key": "no", "path": "no"}])]))
    told = 'MountVolume.SetUp failed for volume "key" : references non-existent secret key: no'
    until(lambda: waiting(kube.pods()["lost"], "main") == ("ContainerCreating", told))
    kube.create(PODS, pod("free", ["sleep", "303"], volumes=[of_secret("nowhere", optional=True)]))
    assert [*(process(lab, ["sleep", "303"]) / "root/key").iterdir()] == []


@pytest.mark.lab
def test_a_program_without_rights_has_none(lab: Lab, kube: Kube) -> None:
    context = NOBODY | {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    argv = ["sleep", "304"]
    kube.create(PODS, pod("nobody", argv, context=context, automountServiceAccountToken=False))
    folder = process(lab, argv)
    told = status(folder)
    assert (told["Uid"].split(), told["Gid"].split()) == (["65534"] * 4, ["65533"] * 4)
    assert {told[each] for each in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {"0000000000000000"}
    assert (told["NoNewPrivs"], told["Groups"]) == ("1", "")
    mounts = [line.split() for line in (folder / "mountinfo").read_text().splitlines()]
    assert all(each[5].startswith("ro") for each in mounts)
    assert "KUBECONFIG" not in (folder / "environ").read_text()
    assert oct((folder / "root/etc/kubernetes/kubelet.conf").stat().st_mode)[-3:] == "600"


@pytest.mark.lab
def test_python_runs_as_another_user_wherever_it_is_installed(lab: Lab, kube: Kube) -> None:
    calc = {"name": "main", "image": "kubemtu:1", "args": ["calc", "--nic", "1500"], "securityContext": NOBODY}
    kube.create(PODS, {"metadata": {"name": "calc"}, "spec": {"nodeName": "node-1", "containers": [calc]}})
    until(lambda: container(kube.pods()["calc"], "main")["restartCount"] != 0)
    log = (lab.folder / "pods/default.calc.main.log").read_text()
    assert log.startswith("NIC 1500 ▸ pod 1500")


@pytest.mark.lab
def test_root_keeps_the_capabilities_that_are_not_dropped(lab: Lab, kube: Kube) -> None:
    argv = ["sleep", "305"]
    kube.create(PODS, pod("root", argv, context={"capabilities": {"drop": ["ALL"], "add": ["NET_RAW"]}}))
    told = status(process(lab, argv))
    assert told["Uid"].split()[0] == "0"
    assert int(told["CapEff"], 16) == int(told["CapBnd"], 16) == 1 << 13  # CAP_NET_RAW
    kube.create(PODS, pod("whole", ["sleep", "306"]))
    assert int(status(process(lab, ["sleep", "306"]))["CapEff"], 16) & (1 << 21)  # CAP_SYS_ADMIN, as ever


@pytest.mark.lab
def test_what_must_not_be_root_is_not_run_as_root(kube: Kube) -> None:
    kube.create(PODS, pod("refused", context={"runAsNonRoot": True}))
    until(lambda: waiting(kube.pods()["refused"], "main")[0] == "CreateContainerConfigError")
    told = waiting(kube.pods()["refused"], "main")[1]
    assert told.startswith('container has runAsNonRoot and image will run as root (pod: "refused_default(')


def limits_of(container: Body, **spec: object) -> limits.Limits:
    body = msgspec.json.decode(msgspec.json.encode({"metadata": {"name": "p"}, "spec": spec}))
    return limits.of(Object.of(body), Object.of({"name": "c", "securityContext": container}))


def test_a_container_says_it_for_itself_or_the_pod_for_all() -> None:
    assert limits_of({}) == limits.Limits()
    assert limits_of({}, securityContext={"runAsUser": 7}) == limits.Limits(user=7, group=0)
    assert limits_of({"runAsUser": 8, "runAsGroup": 9}, securityContext={"runAsUser": 7}).user == 8
    assert limits_of({"privileged": True}) == limits.Limits()
    assert limits_of({"runAsNonRoot": False}, securityContext={"runAsNonRoot": True}) == limits.Limits()
    with pytest.raises(limits.RootRefused, match="container's runAsUser breaks non-root policy"):
        limits_of({"runAsUser": 0}, securityContext={"runAsNonRoot": True})


@pytest.mark.parametrize(
    ("told", "left"),
    [
        ({"drop": ["ALL"]}, []),
        ({"drop": ["all"], "add": ["NET_ADMIN", "CAP_NET_RAW"]}, [12, 13]),  # include/uapi/linux/capability.h
        ({"drop": ["CHOWN"]}, [1, 3, 4, 5, 6, 7, 8, 10, 13, 18, 27, 29, 31]),  # what containerd gives (pkg/oci/spec.go)
        ({"add": ["SYS_TIME"]}, [0, 1, 3, 4, 5, 6, 7, 8, 10, 13, 18, 25, 27, 29, 31]),
    ],
)
def test_capabilities_are_those_of_a_runtime_without_the_dropped(told: Body, left: list[int]) -> None:
    assert limits_of({"capabilities": told}).capabilities == tuple(left)


def test_a_secret_can_only_be_read_and_a_folder_of_the_node_as_it_says() -> None:
    body = pod("p", volumes=[of_secret("s"), {"name": "run", "hostPath": {"path": "/run"}}])
    found = Object.of(msgspec.json.decode(msgspec.json.encode(body)))
    (main,) = found.each("spec", "containers")
    key, run = volumes.mounts(found, main)
    assert (key.target, key.read_only, key.source.endswith("/volumes/key")) == ("/key", True, True)
    assert run == volumes.Mount(source="/run", target="/run")
