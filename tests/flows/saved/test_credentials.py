"""No credential comes out again, whatever it came in by: neither printed nor saved, scrubbed or not."""

import io
import json
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from kubemtu.cli import main
from kubemtu.core.net import NodeFile, NodeObservation
from kubemtu.core.objects import Object
from kubemtu.core.snapshot import Snapshot
from kubemtu.flows import wants

SECRET = "hunter2Zm9vYmFy"
LAST = "kubectl.kubernetes.io/last-applied-configuration"


def planted(kind: str, version: str, name: str, namespace: str | None) -> dict[str, object]:
    """Make an object of a kind with a credential in each of the places where one may stand."""
    metadata = {"name": name, "annotations": {LAST: json.dumps({"token": SECRET}), "x/token": SECRET}}
    return {
        "apiVersion": version,
        "kind": kind,
        "metadata": metadata | ({"namespace": namespace} if namespace else {}),
        "data": {"token": SECRET, "etcd_key": SECRET, "x": f"a: 1\npassword: {SECRET}\n"},
        "stringData": {"password": SECRET},
        "spec": {
            "password": SECRET,
            "valuesContent": f"calico:\n  password: {SECRET}\nurl: https://me:{SECRET}@host/\n",
            "config": json.dumps({"type": "x", "k8s_auth_token": SECRET}),
            "template": {
                "spec": {
                    "containers": [
                        {"name": "c", "env": [{"name": "A_TOKEN", "value": SECRET}], "args": [f"--token={SECRET}"]}
                    ]
                }
            },
        },
        "status": {"token": SECRET},
    }


OBJECTS = [
    planted(want.kind, want.api_versions[0], want.name or "any", want.namespace) for want in wants.of_cluster()
] + [
    planted("Secret", "v1", "s", "kube-system"),
    planted("MachineConfig", "x/v1", "m", None),
]
CANAL: dict[str, object] = {
    "apiVersion": "v1",
    "kind": "ConfigMap",
    "metadata": {"name": "canal-config", "namespace": "kube-system"},
    "data": {
        "net-conf.json": json.dumps({"Network": "10.42.0.0/16", "Backend": {"Type": "wireguard", "PSK": SECRET}}),
        "veth_mtu": "1420",
        "canal_iface": "",
        "masquerade": "true",
        "cni_network_config": json.dumps({"plugins": [{"type": "calico", "mtu": 1420, "k8s_auth_token": SECRET}]}),
    },
}
MACHINE = f"""\
version: v1alpha1
machine:
  token: {SECRET}
  ca: {{crt: {SECRET}, key: {SECRET}}}
  install: {{image: 'me:{SECRET}@registry.example.com/installer:v1.12.1'}}
  network: {{interfaces: [{{interface: eth0, mtu: 1450, wireguard: {{privateKey: {SECRET}}}}}]}}
  files: [{{path: /x, content: {SECRET}}}]
cluster:
  secret: {SECRET}
  aescbcEncryptionSecret: {SECRET}
  network: {{cni: {{name: flannel, urls: ['https://me:{SECRET}@example.com/']}}}}
  inlineManifests: [{{name: s, contents: '{{apiVersion: v1, kind: Secret, data: {{a: {SECRET}}}}}'}}]
---
{{apiVersion: v1alpha1, kind: WireguardConfig, name: wg0, privateKey: {SECRET}, peers: [{{presharedKey: {SECRET}}}]}}
---
{{apiVersion: v1alpha1, kind: KubeSpanConfig, enabled: true, secret: {SECRET}}}
"""
FILES = {
    "controlplane.yaml": MACHINE,
    "controlplane-broken.yaml": MACHINE.replace("  files: [", "  files: [["),
    "vars.yml": f"calico_mtu: 1450\nweave_password: {SECRET}\nkube_encrypt_token: {SECRET}\n",
    "config.yaml": f"cni: canal\ntoken: {SECRET}\nagent-token: {SECRET}\n",
    "cluster.yml": f"nodes: [{{ssh_key: {SECRET}}}]\nnetwork: {{plugin: canal, options: {{x: {SECRET}}}}}\n",
    "objects.json": json.dumps({"apiVersion": "v1", "kind": "List", "items": [CANAL, *OBJECTS]}),
    "objects.yaml": "\n---\n".join(json.dumps(each) for each in OBJECTS),
    "broken.yaml": f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: canal-config}}\ndata: {{t: {SECRET}}}\n b: [\n",
    "broken.json": f'{{"kind": "ConfigMap", "flannel": 1, "token": "{SECRET}", }}',
    "n1/10-canal.conflist": json.dumps({"plugins": [{"type": "calico", "policy": {"k8s_auth_token": SECRET}}]}),
    "n1/net-conf.json": json.dumps({"Network": "10.42.0.0/16", "Backend": {"Type": "wireguard", "PSK": SECRET}}),
    "n1/subnet.env": f"FLANNEL_MTU=1420\nTOKEN={SECRET}\n",
    "n1/calico-kubeconfig": f"apiVersion: v1\nkind: Config\nusers: [{{user: {{token: {SECRET}}}}}]\n",
    "n1/config.env": f"K3S_TOKEN={SECRET}\n",
    "n1/99-other.conf": f"# {SECRET}\n",
    "n1/unknown.txt": f'{{"cniVersion": "1.0.0", "type": "x", "password": "{SECRET}"}}',
    "patch.yaml": f"- {{op: replace, path: /data/password, value: {SECRET}}}\n",
    "kustomization.yaml": f"configMapGenerator: [{{name: canal-config, literals: [token={SECRET}]}}]\n",
    "notes.txt": f"the password is {SECRET}\n",
    "secrets.yaml": json.dumps(OBJECTS[-2]),
    "n1-ip-a.txt": f"2: eth0: <UP> mtu 1500 qdisc noqueue state UP\n    link/ether 02:00:00:00:00:01 {SECRET}\n",
}


def folder(path: Path) -> Path:
    for name, text in FILES.items():
        (path / "given" / name).parent.mkdir(parents=True, exist_ok=True)
        (path / "given" / name).write_text(text)
    return path / "given"


def tar(path: Path) -> Path:
    with tarfile.open(path / "given.tar.gz", "w:gz") as archive:
        for name, text in FILES.items():
            member = tarfile.TarInfo(name)
            member.size = len(text.encode())
            archive.addfile(member, io.BytesIO(text.encode()))
    return path / "given.tar.gz"


def archive(path: Path) -> Path:
    with zipfile.ZipFile(path / "given.zip", "w") as made:
        for name, text in FILES.items():
            made.writestr(name, text)
    return path / "given.zip"


def snapshot(path: Path) -> Path:
    files = tuple(NodeFile(path=f"/etc/cni/net.d/{Path(name).name}", text=text) for name, text in FILES.items())
    made = Snapshot(
        source="cluster https://k:6443",
        objects=tuple(Object.of(each) for each in (CANAL, *OBJECTS)),
        nodes=(NodeObservation(node="n1", files=files),),
    )
    (path / "given.json").write_bytes(msgspec.json.encode(made))
    return path / "given.json"


def alone(name: str) -> Callable[[Path], Path]:
    return lambda path: folder(path) / name


FORMS = {"folder": folder, "tar": tar, "zip": archive, "snapshot": snapshot} | {name: alone(name) for name in FILES}


@pytest.mark.parametrize("form", FORMS)
def test_no_credential_comes_out(form: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = FORMS[form](tmp_path)
    for number, words in enumerate(
        (["-o", "json"], ["-v"], ["-o", "yaml"], ["-o", "wide", "--scrub"], ["-o", "sarif"], ["-o", "markdown"])
    ):
        kept = tmp_path / f"saved-{number}.json"
        code = main.run(["check", "--from", str(path), *words, "--save", str(kept)])
        said = capfd.readouterr()
        assert code in {0, 1, 5, 6}
        assert SECRET not in said.out + said.err
        assert not kept.exists() or SECRET not in kept.read_text()
        if form in {"folder", "tar", "zip", "snapshot", "objects.json"}:
            assert code == 1
            assert "canal-config" in kept.read_text()
