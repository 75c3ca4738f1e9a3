"""Files that clusters are made from, as people give them: with what such files hold besides."""

from pathlib import Path

from kubemtu.core.snapshot import Snapshot
from kubemtu.flows.saved import manifests

SECRET = "R2FsbGltYXVmcnk="  # nobody's
DOCUMENT = "apiVersion: v1alpha1\nkind: "


def machine(network: str = "cni: {name: flannel}", host: str = "", version: str = "v1.12.3") -> str:
    """Return a machine configuration, with what such files hold besides."""
    lines = [
        "version: v1alpha1",
        "machine:",
        "  type: worker",
        f"  token: {SECRET}",
        f"  ca: {{crt: {SECRET}, key: {SECRET}}}",
        f"  install: {{image: 'ghcr.io/siderolabs/installer:{version}'}}" if version else "  install: {disk: /dev/sda}",
        f"  network: {{{host}}}",
        "cluster:",
        f"  secret: {SECRET}",
        *([f"  network: {{{network}}}"] if network else []),
    ]
    return "\n".join(lines) + "\n"


KUBESPAN = "kubespan: {enabled: true}"
FLANNEL = f"{DOCUMENT}KubeFlannelCNIConfig\nbackendType: vxlan\n"
ON = f"{DOCUMENT}KubeSpanConfig\nenabled: true\n"


def nic(mtu: int, name: str = "eth0") -> str:
    """Return a document that gives a NIC its MTU."""
    return f"{DOCUMENT}LinkConfig\nname: {name}\nmtu: {mtu}\n"


def given(folder: Path, *texts: str) -> Snapshot:
    """Read documents as one file."""
    path = folder / "machine.yaml"
    path.write_text("---\n".join(texts))
    return manifests.load(path)
