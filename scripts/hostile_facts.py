"""Facts that people have in hand, made hostile: what `check --from` is given, in every form and container.

Small files of every kind are taken, some of them are changed (a value, a name, bytes, their place), and put alone, into
a folder, an archive, an archive in an archive or a pipe, whose own bytes are changed at times. Credentials stand in
them: their signs are such that no rule of disclosure lets them pass, wherever damage moves them to.
"""

import bz2
import contextlib
import copy
import functools
import gzip
import io
import json
import lzma
import os
import random
import shutil
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import msgspec
import yaml
from hostile import ESCAPES, Case, as_json, damaged, mutated
from tests.support import example

SECRET = "h2$Zm9v@k!~9"  # noqa: S105 - nobody's
KUSTOMIZATION = f"""\
resources: [canal.json]
patches: [{{path: p.yaml}}]
configMapGenerator: [{{name: x, literals: ['token={SECRET}']}}]
"""
IFCONFIG = """\
eth0: flags=4163<UP,BROADCAST,RUNNING,MULTICAST>  mtu 1450
        inet 10.0.0.1  netmask 255.255.255.0
"""
ROUTES = """\
default via 10.0.0.254 dev eth0 proto dhcp metric 100
10.0.0.0/24 dev eth0 scope link mtu lock 1400
"""
MACHINE = f"""\
version: v1alpha1
machine:
  type: controlplane
  token: {SECRET!r}
  ca: {{crt: {SECRET!r}, key: {SECRET!r}}}
  install: {{image: 'ghcr.io/siderolabs/installer:v1.12.1', wipe: false}}
  network:
    interfaces: [{{interface: eth0, mtu: 1450, wireguard: {{privateKey: {SECRET!r}}}}}, {{interface: eth1, mtu: 9000}}]
    kubespan: {{enabled: true, mtu: 1420}}
cluster:
  secret: {SECRET!r}
  network: {{cni: {{name: flannel, flannel: {{backendMTU: 1400}}}}}}
  inlineManifests:
  - name: x
    contents: |
      {{apiVersion: v1, kind: ConfigMap, metadata: {{name: cilium-config, namespace: kube-system}}, data: {{mtu: '9'}}}}
      ---
      {{apiVersion: v1, kind: Secret, metadata: {{name: s}}, data: {{a: {SECRET!r}}}}}
---
apiVersion: v1alpha1
kind: KubeFlannelCNIConfig
backendType: vxlan
backendMTU: 1500
---
{{apiVersion: v1alpha1, kind: WireguardConfig, name: wg0, mtu: 1420, privateKey: {SECRET!r}}}
---
{{apiVersion: v1alpha1, kind: LinkConfig, name: eth1, mtu: 1450}}
---
{{apiVersion: v1alpha1, kind: DHCPv4Config, name: eth1}}
"""
INVENTORY = f"""\
# one network
kube_network_plugin: calico
calico_mtu: 1450   # bytes
calico_veth_mtu: '1440'
kube_ovn_mtu: "{{{{ nic_mtu - 100 }}}}"
weave_password: {SECRET!r}
"""
SERVER = f"cni: [multus, canal]\ntoken: {SECRET!r}\nflannel-backend: vxlan\ncluster-cidr: 10.42.0.0/16\n"
RKE = f"nodes: [{{address: n1}}]\nssh_key: {SECRET!r}\nnetwork: {{plugin: canal, mtu: 1450}}\n"
SHAPES = Path(__file__).parents[1] / "tests/shapes"
FORMS = (
    ("-o", "json"),
    ("-o", "yaml"),
    ("-o", "wide"),
    ("-v",),
    (),
    (),
    ("-o", "sarif"),
    ("-o", "junit"),
    ("-o", "markdown"),
)
CONTAINERS = ("alone", "folder", "tar", "tar.gz", "tar.xz", "tar.bz2", "zip", "nested", "pipe", "gz", "packed pipe")


@functools.cache
def seeds() -> tuple[tuple[str, bytes | object], ...]:
    """Return the files that inputs are made of: a name, and a text or a JSON value."""
    story = example.story(1450, example.trio(pod=1500))
    objects = [dict(one.body) for one in story.objects]
    objects[0] = json.loads(json.dumps(objects[0]))
    objects[0]["data"] |= {"token": SECRET, "etcd_key": SECRET}  # type: ignore[operator]
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "data": {"a": SECRET}}
    nodes = [each for each in objects if each["kind"] == "Node"]
    wireguard = {"Network": "10.42.0.0/16", "Backend": {"Type": "wireguard", "PSK": SECRET, "MTU": 1400}}
    conflist = json.loads(example.rendered(1450))
    conflist["plugins"][0]["policy"] = {"type": "k8s", "k8s_auth_token": SECRET}
    small = msgspec.json.decode(msgspec.json.encode(msgspec.structs.replace(story, nodes=story.nodes[:1])))
    link = [
        {
            "ifindex": 2,
            "ifname": "eth0",
            "flags": ["UP"],
            "mtu": 1500,
            "operstate": "UP",
            "address": "02:00:00:00:00:01",
        },
        {
            "ifindex": 5,
            "ifname": "flannel.1",
            "mtu": 1450,
            "linkinfo": {"info_kind": "vxlan", "info_data": {"id": 1, "port": 8472}},
        },
        {
            "ifindex": 7,
            "link_index": 2,
            "ifname": "cali0123456789a",
            "mtu": 1500,
            "linkinfo": {"info_kind": "veth"},
            "link_netnsid": 1,
        },
    ]
    route = [
        {"dst": "default", "gateway": "192.168.77.254", "dev": "eth0"},
        {"dst": "10.42.1.0/24", "dev": "flannel.1", "metrics": [{"mtu": 1400}]},
    ]
    shown = {
        "nic": "eth0",
        "nic_mtu": 1500,
        "tunnels": [],
        "bridge": None,
        "ports": [
            {
                "host_link": "cali1",
                "host_mtu": 1500,
                "netns": "x",
                "pod_link": "eth0",
                "pod_mtu": 1450,
                "addresses": [],
                "pins": [],
                "others": [],
            }
        ],
        "pins": [],
        "journals": [],
        "troubles": [],
    }
    dump = b"\n".join(
        [
            as_json({"kind": "NodeList", "apiVersion": "v1", "items": nodes}),
            b"==== START logs for container a of pod b/c ====\n{ log "
            + SECRET.encode()
            + b"\n==== END logs for container a of pod b/c ====",
            as_json({"kind": "PodList", "apiVersion": "v1", "items": objects[-2:]}),
        ]
    )
    top, time = "must-gather.local.1/quay-io-x", "20260101-101010"
    made: list[tuple[str, bytes | object]] = [
        ("canal.json", {"apiVersion": "v1", "kind": "List", "items": [*objects[:2], secret]}),
        ("canal.yaml", yaml.safe_dump_all(objects[:2]).encode()),
        ("pods.json", {"apiVersion": "v1", "kind": "PodList", "items": objects[-3:]}),
        ("nodes.yaml", yaml.safe_dump({"apiVersion": "v1", "kind": "List", "items": nodes}).encode()),
        ("n1/10-canal.conflist", conflist),
        ("n1/net-conf.json", wireguard),
        ("n1/subnet.env", f"FLANNEL_NETWORK=10.42.0.0/16\nFLANNEL_MTU=1450\nTOKEN={SECRET}\n".encode()),
        ("n1/calico-kubeconfig", f"apiVersion: v1\nkind: Config\nusers: [{{token: '{SECRET}'}}]\n".encode()),
        ("n1-ip-link.json", link),
        ("n1-ip-route.json", route),
        ("n1-show.json", shown),
        ("snapshot.json", small),
        ("dump.txt", dump),
        (
            "kustomization.yaml",
            KUSTOMIZATION.encode(),
        ),
        (
            "p.yaml",
            [
                {"op": "replace", "path": "/data/veth_mtu", "value": "1400"},
                {"op": "add", "path": "/data/password", "value": SECRET},
            ],
        ),
        (
            "p.yaml",
            {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"name": "canal-config", "namespace": "kube-system"},
                "data": {"veth_mtu": "1400"},
            },
        ),
        (f"{top}/cluster-scoped-resources/core/nodes/n1.yaml", nodes[0]),
        (
            f"{top}/namespaces/kube-system/core/configmaps.yaml",
            {"apiVersion": "v1", "kind": "ConfigMapList", "items": objects[:1]},
        ),
        (f"cilium-sysdump/k8s-nodes-{time}.yaml", {"apiVersion": "v1", "kind": "NodeList", "items": nodes}),
        (f"cilium-sysdump/cniconf-canal-n1-10-x.conflist-{time}.txt", conflist),
        ("h-2026-01-02_03_04_05/systeminfo/hostname", b"n1\n"),
        ("h-2026-01-02_03_04_05/networking/cni/10-canal.conflist", conflist),
        ("config/network.json", {"metadata": {"name": "cluster"}, "status": {"clusterNetworkMTU": 1450}}),
        ("controlplane.yaml", MACHINE.encode()),
        *zip(("worker.json", "flannel.json"), yaml.safe_load_all(MACHINE), strict=False),
        ("group_vars/k8s_cluster/k8s-net.yml", INVENTORY.encode()),
        ("vars.json", yaml.safe_load(INVENTORY)),
        ("config.yaml", SERVER.encode()),
        ("cluster.yml", RKE.encode()),
        ("cluster.json", yaml.safe_load(RKE)),
        ("secrets.yaml", secret),
        ("notes.txt", f"the password is {SECRET}\n".encode()),
    ]
    made += [(f"n1-{path.name}", path.read_bytes()) for path in sorted((SHAPES / "printed").glob("*"))]
    return (*made, ("n2-ifconfig.txt", IFCONFIG.encode()), ("n2-ip-r.txt", ROUTES.encode()))


def case(chance: random.Random, number: int, folder: Path) -> Case:
    """Make an input: some files, what was done to them, and how they are given."""
    place = folder / "facts"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    chosen = chance.sample(seeds(), chance.choice((1, 1, 1, 2, 3, 5)))
    held = {}
    for name, content in chosen:
        held[_name(name, chance)] = _content(content, chance)
    container = chance.choice(CONTAINERS)
    words, around = _given(container, held, place, chance)
    command = ["plan" if chance.random() < 0.1 else "check", "--from", words, *chance.choice(FORMS)]
    if command[0] == "plan":
        command = [word for word in command if word in {"plan", "--from", words}]
    elif chance.random() < 0.3:
        command += ["--save", str(folder / "saved.json")] + (["--scrub"] if chance.random() < 0.5 else [])
    if chance.random() < 0.1:
        command += ["--nic-mtu", chance.choice(("1500", "1400", "68", "9001"))]
    return Case(words=tuple(command), what=f"{container} of {', '.join(name for name, _ in chosen)}", around=around)


def _content(content: object, chance: random.Random) -> bytes:
    if isinstance(content, bytes):
        return damaged(content, chance) if chance.random() < 0.7 else content
    if chance.random() < 0.6:
        content = mutated(copy.deepcopy(content), chance, chance.randrange(1, 4))
    text = as_json(content)
    return damaged(text, chance) if text and chance.random() < 0.3 else text


def _name(name: str, chance: random.Random) -> str:
    match chance.randrange(30):
        case 0:
            return f"../{name}"
        case 1:
            return f"/{name}"
        case 2:
            return name.replace("n1", chance.choice(ESCAPES).replace("\0", "\x01") + "n")
        case 3:
            return "/".join(["a"] * chance.choice((3, 70, 900))) + f"/{name}"
        case 4:
            return name.rpartition(".")[0] or name
        case 5:
            return f"{name}{chance.choice(('.gz', '.txt', '.bak', '.conf', '.env', '.yaml', '.json'))}"
        case _:
            return name


def _given(container: str, held: dict[str, bytes], place: Path, chance: random.Random) -> tuple[str, object]:
    """Put the files into their container; return what stands behind --from, and what is to be set around it."""
    around: object = contextlib.nullcontext
    if container == "folder":
        for name, content in held.items():
            path = place / os.path.normpath(f"/{name}"[:200]).lstrip("/")
            with contextlib.suppress(OSError, ValueError):
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
        return str(place), around
    name, content = next(iter(held.items()))
    if container in {"alone", "pipe"}:
        path = place / (Path(name).name[:100].replace("/", "_") or "x")
    else:
        content, path = _packed(container, held, chance), place / f"x.{container.replace(' ', '-')}"
        if chance.random() < 0.25 and content:
            content = damaged(content, chance)
    path.write_bytes(content)
    if "pipe" in container:
        return "-", functools.partial(_standard_input, path)
    return str(path), around


def _packed(container: str, held: dict[str, bytes], chance: random.Random) -> bytes:
    if container == "gz":
        return gzip.compress(next(iter(held.values())))
    if container == "zip":
        return _zipped(held)
    whole = _tarred(held, chance)
    if container == "nested":
        inner = chance.choice((gzip.compress, lzma.compress, bytes))(whole)
        whole = _tarred({"inner.tar": inner, "bomb.gz": _bomb()}, chance)
        return _zipped({"x.tgz": gzip.compress(whole)}) if chance.random() < 0.3 else whole
    pack = {"tar.gz": gzip.compress, "tar.xz": lzma.compress, "tar.bz2": bz2.compress, "packed pipe": gzip.compress}
    return pack.get(container, bytes)(whole)


@functools.cache
def _bomb() -> bytes:
    return gzip.compress(bytes(24 << 20))


def _zipped(held: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in held.items():
            archive.writestr(name, content)
    return out.getvalue()


def _tarred(held: dict[str, bytes], chance: random.Random) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=chance.choice((tarfile.PAX_FORMAT, tarfile.GNU_FORMAT))) as archive:
        for name, content in held.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            if chance.random() < 0.05:
                member.type, member.linkname, member.size = (
                    chance.choice((tarfile.SYMTYPE, tarfile.FIFOTYPE)),
                    "/dev/zero",
                    0,
                )
            archive.addfile(member, io.BytesIO(content))
    return out.getvalue()


@contextlib.contextmanager
def _standard_input(path: Path) -> Iterator[None]:
    kept = os.dup(0)
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.dup2(descriptor, 0)
        yield
    finally:
        os.dup2(kept, 0)
        os.close(kept)
        os.close(descriptor)
