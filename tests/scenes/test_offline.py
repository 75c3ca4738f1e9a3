"""`kubemtu check --from`: real manifests are recognised for what they are, broken ones end in a sentence."""

import copy
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml
from tests.support.labs import Body
from tests.support.scenes.cluster import Told, run, told
from tests.support.scenes.networks import NETWORKS
from tests.support.shapes import ALONE, KINDS, MANIFESTS, Kind, rows

from kubemtu_lab import manifests
from kubemtu_lab.scene import Canal


class Known(NamedTuple):
    """What must be said of a manifest over NICs of 1500."""

    about: tuple[str, str, str]
    verdict: str
    found: tuple[str, ...]
    recommended: int | None = 1450


def written(folder: Path, *objects: Body) -> Path:
    """The objects as a file of manifests."""
    file = folder / "manifests.yaml"
    file.write_text(yaml.safe_dump_all(objects))
    return file


def check(path: Path) -> Told:
    """What is said of saved manifests over NICs of 1500."""
    return told(run("check", "-o", "json", "--from", path, "--nic-mtu", "1500"))


INLINE = "data.cni_network_config, plugins[0].mtu"
CANAL = "ConfigMap kube-system/canal-config"
FLANNEL = "ConfigMap kube-flannel/kube-flannel-cfg"
AWS = "DaemonSet kube-system/aws-node, spec.template.spec.containers[0].env"
CILIUM = "ConfigMap kube-system/cilium-config, data.mtu"
VERSION, UNKNOWN = "MTU117 warning: DaemonSet kube-system/cilium", "version not known"


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("canal-a", Known(("canal", "era A (no MTU)", "vxlan"), "broken", (f"MTU119 error: {CANAL}, {INLINE}",))),
        ("canal-a-1450", Known(("canal", "era A (inline integer)", "vxlan"), "healthy", ())),
        ("canal-b", Known(("canal", "era B (no MTU)", "vxlan"), "broken", (f"MTU119 error: {CANAL}, {INLINE}",))),
        ("canal-b-1450", Known(("canal", "era B (inline integer)", "vxlan"), "healthy", ())),
        ("canal-c", Known(("canal", "era C (veth_mtu)", "vxlan"), "healthy", ())),
        ("flannel", Known(("flannel", "manifest", "vxlan"), "healthy", ())),
        (
            "flannel-1500",
            Known(
                ("flannel", "manifest", "vxlan"),
                "broken",
                (f'MTU119 error: {FLANNEL}, data["cni-conf.json"], plugins[0].delegate.mtu',),
            ),
        ),
        (
            "flannel-base",
            Known(
                ("flannel", "manifest", "vxlan"),
                "healthy",
                (f'MTU119 note: {FLANNEL}, data["net-conf.json"], Backend.MTU',),
            ),
        ),
    ],
)
def test_the_manifests_that_the_lab_deploys(tmp_path: Path, name: str, known: Known) -> None:
    judge(check(written(tmp_path, *manifests.network(NETWORKS[name]))), known)


def judge(now: Told, known: Known) -> None:
    """Hold what is said against what must be."""
    assert (now.cni, now.variant, now.encapsulation) == known.about
    assert (now.verdict, now.recommended_mtu) == (known.verdict, known.recommended), now.summary
    assert tuple(now.marks) == known.found
    assert now.code == (0 if known.verdict == "healthy" else 1)


# "new" of the figures: RKE's era A and B without network.mtu give pods 1500 on VXLAN, which leaves 1450 of 1500.
SHAPED = {
    "canal-a.yaml": Known(("canal", "era A (no MTU)", "vxlan"), "broken", (f"MTU119 error: {CANAL}, {INLINE}",)),
    "canal-b.yaml": Known(("canal", "era B (no MTU)", "vxlan"), "broken", (f"MTU119 error: {CANAL}, {INLINE}",)),
    "canal-b-1400.yaml": Known(
        ("canal", "era B (inline integer)", "vxlan"), "healthy", (f"MTU119 note: {CANAL}, {INLINE}",)
    ),
    "canal-c.yaml": Known(("canal", "era C (veth_mtu)", "vxlan"), "healthy", ()),
    "canal-c-1400.yaml": Known(
        ("canal", "era C (veth_mtu)", "vxlan"), "healthy", (f"MTU119 note: {CANAL}, data.veth_mtu",)
    ),
    "calico-manifest.yaml": Known(("calico", "manifest", "ipip"), "healthy", (), 1480),
    "calico-operator.yaml": Known(("calico", "operator", "vxlan (CrossSubnet)"), "healthy", ()),
    "flannel.yaml": Known(("flannel", "manifest", "vxlan"), "healthy", ()),
    "calico-operator-1400.yaml": Known(
        ("calico", "operator", "vxlan (CrossSubnet)"),
        "healthy",
        ("MTU119 note: Installation default, spec.calicoNetwork.mtu",),
    ),
    "canal-text-mtu.yaml": Known(
        ("canal", "era B (inline integer)", "vxlan"),
        "broken",
        (f"MTU112 error: {CANAL} (FILE:2), {INLINE}",),
    ),
    "canal-lost-key.yaml": Known(
        ("canal", "era B (inline integer)", "vxlan"),
        "broken",
        (f"MTU108 error: {CANAL} (FILE:2), key canal_iface",),
    ),
    "rke2-canal.yaml": Known(
        ("canal", "RKE2, era C (veth_mtu)", "vxlan"),
        "broken",
        ("MTU119 error: HelmChartConfig kube-system/rke2-canal, spec.valuesContent, calico.vethuMTU",),
    ),
    # flannel leaves WireGuard 80, what it takes over IPv6: 1500 - 40 - 8 - 16 - 16.
    "rke2-canal-wireguard.yaml": Known(
        ("canal", "RKE2, era C (veth_mtu)", "wireguard"),
        "broken",
        ("MTU119 error: HelmChartConfig kube-system/rke2-canal, spec.valuesContent, calico.vethuMTU",),
        1420,
    ),
    "k3s-net-conf.json": Known(
        ("flannel", "without objects in the API", "vxlan"), "broken", ("MTU119 error: Backend.MTU in net-conf.json",)
    ),
    "subnet.env": Known(
        ("flannel", "without objects in the API", "unknown"),
        "incomplete",
        ("MTU117 warning: net-conf.json",),
        None,
    ),
    # Of NICs of 1500: Antrea takes 50 off for Geneve, 42 and 38 for GRE in IPsec; Kube-OVN 100; OVN of OpenShift 100.
    "antrea.yaml": Known(("antrea", "encap", "geneve"), "healthy", ()),
    "antrea-ipsec.yaml": Known(("antrea", "encap", "gre in ipsec"), "healthy", (), 1420),
    "antrea-0.13.yaml": Known(("antrea", "encap", "geneve"), "healthy", ()),
    "kube-ovn-0.9.yaml": Known(("kube-ovn", "geneve", "geneve"), "healthy", (), 1400),
    "kube-ovn-1.8.yaml": Known(("kube-ovn", "geneve", "geneve"), "healthy", (), 1400),
    "kube-router.yaml": Known(("kube-router", "auto-mtu", "none (ipip between networks)"), "healthy", (), 1500),
    "openshift.yaml": Known(
        ("openshift", "OVNKubernetes", "geneve"),
        "healthy",
        ("MTU140 note: Network cluster (FILE:2), spec.migration.mtu",),
        1400,
    ),
    # Jumbo frames are the default of the AWS VPC CNI, and NICs of 1500 do not carry them.
    "aws.yaml": Known(("aws-vpc-cni", "v1.23.1", "none"), "broken", (f"MTU119 error: {AWS}, POD_MTU",), 1500),
    "aws-gov.yaml": Known(("aws-vpc-cni", "v1.23.1", "none"), "broken", (f"MTU119 error: {AWS}, POD_MTU",), 1500),
    "aws-kops.yaml": Known(("aws-vpc-cni", "v1.23.0", "none"), "broken", (f"MTU119 error: {AWS}, POD_MTU",), 1500),
    "kindnet.yaml": Known(("kindnet", "", "none"), "healthy", (), 1500),
    "azure-cns.yaml": Known(("azure-cni", "CNS", "none"), "healthy", (), 1500),
    # Cilium takes 50 off for a tunnel, 77 for IPsec, 80 for WireGuard, and 95 from v1.19.5 on.
    "cilium.yaml": Known(("cilium", UNKNOWN, "vxlan + wireguard"), "incomplete", (VERSION,), 1355),
    "cilium-1.6.yaml": Known(("cilium", UNKNOWN, "vxlan"), "healthy", ()),
    "cilium-1.9.yaml": Known(("cilium", UNKNOWN, "geneve + ipsec"), "healthy", (f"MTU119 note: {CILIUM}",), 1373),
    "cilium-1.13.yaml": Known(("cilium", UNKNOWN, "vxlan"), "healthy", ()),
    "cilium-1.13-wireguard.yaml": Known(("cilium", UNKNOWN, "wireguard"), "healthy", (), 1420),
    "cilium-1.17.yaml": Known(("cilium", UNKNOWN, "geneve + wireguard"), "incomplete", (VERSION,), 1355),
    "cilium-kops.yaml": Known(("cilium", "v1.18.12", "vxlan"), "healthy", ()),
    "cilium-kops-eni.yaml": Known(("cilium", "v1.18.12", "none"), "healthy", (), 1500),
    "cilium-kops-ipv6.yaml": Known(("cilium", "v1.18.12", "none"), "healthy", (), 1500),
}
NOT_OURS = {
    "aws.conflist": "It looks like the AWS VPC CNI (file /etc/cni/net.d/FILE), of which DaemonSet kube-system/aws-node",
    "cilium-chained.yaml": "It looks like Cilium, chained behind another CNI that makes the pods' interfaces",
    "felix.yaml": "Other pod networks are not covered yet.",
    "macvlan.yaml": "Other pod networks are not covered yet.",
}


@pytest.mark.parametrize(("path", "known"), rows(SHAPED))
def test_manifests_as_they_are_deployed(path: Path, known: Known) -> None:
    found = tuple(mark.replace("FILE", path.name) for mark in known.found)
    judge(check(path), known._replace(found=found))


@pytest.mark.parametrize(("path", "words"), rows(NOT_OURS))
def test_manifests_of_other_networks_are_named_and_not_judged(path: Path, words: str) -> None:
    ended = run("check", "--from", path)
    assert (ended.code, ended.out) == (6, "")
    assert words.replace("FILE", path.name) in ended.err


@pytest.mark.parametrize("kind", KINDS, ids=repr)
def test_every_file_has_a_row(kind: Kind) -> None:
    assert MANIFESTS.keys() == SHAPED.keys() | NOT_OURS.keys()
    there = {file for file in kind.folder.rglob("*") if file.is_file() and file.suffix not in (".py", ".pyc", ".md")}
    others = {*kind.folder.rglob("cnis/*"), *kind.folder.rglob("printed/*")}  # of which some have a row
    alone = {kind.folder / name for name in ALONE}
    assert there - others - alone == {*kind.all()} - others


GOOD = list(manifests.network(Canal(era="C", mtu=1450)))


@pytest.mark.parametrize(
    ("name", "content", "code", "words"),
    [
        ("empty.yaml", b"", 5, "holds no Kubernetes object"),
        ("empty.json", b"", 5, "is no JSON"),
        ("broken.json", b'{"kind": "ConfigMap", ', 5, "broken.json:1: is no JSON"),
        ("broken.yaml", b"kind: ConfigMap\n  data: [", 5, "broken.yaml:2: is no YAML"),
        ("template.yaml", b"{{ if .MTU }}\nkind: ConfigMap\n{{ end }}", 5, "render it first"),
        ("binary.yaml", bytes(range(256)), 5, "is no text in UTF-8"),
        ("nul.yaml", b"kind: \0", 5, "is no YAML"),
        ("bomb.yaml", b"a: &a [x, x]\nb: &b [*a, *a]\n" * 40, 5, "holds no Kubernetes object"),
        ("deep.json", b"[" * 100_000, 5, "nests too deep"),
        ("list.yaml", b"- 1\n- 2", 5, "is a list, not an object"),
        ("other.yaml", b"apiVersion: v1\nkind: Secret\nmetadata: {name: x}", 6, "No pod network"),
        ("absent.yaml", None, 2, "No such file or directory"),
    ],
)
def test_what_is_no_manifest_ends_in_one_sentence(
    tmp_path: Path, name: str, content: bytes | None, code: int, words: str
) -> None:
    file = tmp_path / name
    if content is not None:
        file.write_bytes(content)
    for command in ("check", "plan"):
        ended = run(command, "--from", file)
        assert (ended.code, ended.out) == (code, ""), ended
        assert ended.err.startswith("error: ")
        assert ended.err.count("\n") == 1
        assert words in ended.err


def test_a_broken_file_does_not_hide_its_neighbours(tmp_path: Path) -> None:
    written(tmp_path, *GOOD)
    (tmp_path / "broken.yaml").write_text("kind: [")
    now = check(tmp_path)
    assert (now.verdict, now.cni, now.marks) == ("healthy", "canal", [])
    assert [entry.partition(":")[0] for entry in now.missing] == ["broken.yaml"]


def test_a_daemonset_without_its_config_map(tmp_path: Path) -> None:
    (daemonset,) = (body for body in GOOD if body["kind"] == "DaemonSet")
    now = check(written(tmp_path, daemonset))
    assert (now.verdict, now.code, now.encapsulation, now.recommended_mtu) == ("incomplete", 1, "unknown", None)
    assert now.marks == ["MTU117 warning: ConfigMap kube-system/canal-config"]
    ended = run("plan", "--from", tmp_path, "--nic-mtu", "1500")
    assert ended.code == 2


@pytest.mark.parametrize("key", ["cni_network_config", "net-conf.json", "veth_mtu", "canal_iface", "masquerade"])
def test_every_key_that_is_needed_is_missed(tmp_path: Path, key: str) -> None:
    objects = copy.deepcopy(GOOD)
    (config,) = (body for body in objects if body["kind"] == "ConfigMap")
    data = config["data"]
    assert isinstance(data, dict)
    del data[key]
    now = check(written(tmp_path, *objects))
    missed = now.one("MTU108")
    assert missed.place.startswith(f"{CANAL} (manifests.yaml:")
    assert missed.place.endswith(f"), key {key}")
    assert (missed.severity, now.verdict) == ("error", "broken")
