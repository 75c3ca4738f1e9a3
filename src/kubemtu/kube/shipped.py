"""What `kubemtu install` puts into a cluster, and what of it is there: one source, which deploy/ is made from too.

The manifests are YAML in the package (`manifests/`, `crds/`); the roles for people come from `kubemtu.access`.
"""

import importlib.resources
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

import yaml

import kubemtu
from kubemtu import access
from kubemtu.cni import registry
from kubemtu.kube import crd, probes

Body = dict[str, object]
NAMESPACE: Final = probes.NAMESPACE
PARTS: Final = ("agent", "probe")
ADMISSION: Final = "admission"
POLICIES: Final = ("admissionregistration.k8s.io/v1", "validatingadmissionpolicies")
"""What binds each agent to its own objects, on servers that have it: Kubernetes 1.30 and newer."""
AGENT, PROBE = "kubemtu-agent", "kubemtu-probe"
PLACEHOLDER: Final = "image: kubemtu\n"
# Behind these lines of the agent's manifest comes what the CNIs declare.
ARGUMENTS: Final = "            - --journal=/host/run/kubemtu\n"
MOUNTS: Final = "            - {name: cni, mountPath: /host/etc/cni/net.d, readOnly: true}\n"
VOLUMES: Final = "          hostPath: {path: /etc/cni/net.d}\n"


def text(part: str, image: str | None = None) -> str:
    """Return the YAML of one part, whose containers have `image`, or that built in a checkout.

    The parts are "agent", "probe" and "admission"; the last runs nothing.
    """
    found = importlib.resources.files("kubemtu.kube").joinpath("manifests", f"{part}.yaml").read_text("utf-8")
    named = image or f"kubemtu:{kubemtu.__version__}"
    quoted = named if re.fullmatch(r"[a-z][a-z0-9.-]*[/:].*", named) else f'"{named}"'  # YAML reads null, 1, [::1] else
    return _with_cnis(found).replace(PLACEHOLDER, f"image: {quoted}\n")


def _with_cnis(manifest: str) -> str:
    """Return the agent's manifest with what the CNIs declare: which links are pods', and the folders of their files."""
    known, paths = registry.ports(), registry.node_paths()
    folders = list(dict.fromkeys(path.rpartition("/")[0] for path in paths))
    names = {folder: folder.strip("/").replace("/", "-").lower() for folder in folders}
    words = (
        *(f"--pod-prefix={prefix}" for prefix in known.prefixes),
        *(f"--pod-bridge={bridge}" for bridge in known.bridges),
        *(f"--cni-file={path}" for path in paths),
    )
    lines = {
        ARGUMENTS: "".join(f"            - {word}\n" for word in words),
        MOUNTS: "".join(
            f"            - {{name: {names[each]}, mountPath: /host{each}, readOnly: true}}\n" for each in folders
        ),
        VOLUMES: "".join(
            f"        - name: {names[each]}\n          hostPath: {{path: {each}, type: DirectoryOrCreate}}\n"
            for each in folders
        ),
    }
    for after, more in lines.items():
        manifest = manifest.replace(after, after + more)
    return manifest


def objects(image: str, *, probes: bool = True) -> tuple[Body, ...]:
    """Return all objects but the definitions of kinds, each once, in an order in which they can be made."""
    bodies: dict[tuple[str, str], Body] = {}
    for part in (*(PARTS if probes else PARTS[:1]), ADMISSION):
        for body in _documents(text(part, image)):
            bodies.setdefault((str(body["kind"]), name_of(body)), body)
    for body in access.roles():
        bodies[str(body["kind"]), name_of(body)] = body
    return tuple(sorted(bodies.values(), key=lambda body: ORDER.index(str(body["kind"]))))


ORDER = (
    "Namespace",
    "ServiceAccount",
    "ClusterRole",
    "ClusterRoleBinding",
    "Role",
    "RoleBinding",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
    "Service",
    "DaemonSet",
)


def is_policy(body: Mapping[str, object]) -> bool:
    """Tell whether an object is one that servers before Kubernetes 1.30 do not know."""
    return body["apiVersion"] == POLICIES[0]


def everything(image: str, *, probes: bool = True) -> tuple[Body, ...]:
    """Return all objects, those of `objects` and the definitions of kinds, which come after the Namespace."""
    first, *rest = objects(image, probes=probes)
    return (first, *crd.definitions(), *rest)


def dump(bodies: Iterable[Mapping[str, object]]) -> str:
    """Return objects as YAML, a document each, as `kubectl apply -f -` takes them."""
    return "---\n".join(_yaml(body) for body in bodies)


def files() -> dict[str, str]:
    """Return the files of deploy/ by their path in it; each can be applied alone, and all in any order."""
    made = {f"crds/{plural}.yaml": crd.text(plural) for plural in crd.plurals()}
    made |= {f"{part}.yaml": text(part) for part in (*PARTS, ADMISSION)}
    head = "# Roles for people: see docs/access.md. Made from kubemtu.access.\n"
    return made | {"roles.yaml": head + dump(access.roles())}


def name_of(body: Mapping[str, object]) -> str:
    """Return the name in the metadata of an object."""
    metadata = body["metadata"]
    assert isinstance(metadata, Mapping)
    return str(metadata["name"])


def _documents(written: str) -> Iterator[Body]:
    loader: type[yaml.SafeLoader | yaml.CSafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    yield from yaml.load_all(written, Loader=loader)


def _yaml(body: Mapping[str, object]) -> str:
    return yaml.dump(body, Dumper=_Plain, sort_keys=False, default_flow_style=False, width=120)


class _Plain(yaml.SafeDumper):
    """Writes what is there twice twice: not everything that reads YAML follows anchors."""

    def ignore_aliases(self, _data: object) -> bool:
        return True
