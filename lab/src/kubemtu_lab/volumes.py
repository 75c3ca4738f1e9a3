"""The folders that a container is given: those of its node, and those with the files of a Secret or a ConfigMap.

A pod waits, as kubelet has it wait, until every object is there; files that were written stay as they are, also when
the object changes later. Source: kubernetes `pkg/volume/secret/secret.go`, `pkg/kubelet/volumemanager`.
"""

import base64
import shutil
from collections.abc import Iterator
from pathlib import Path

import msgspec

from kubemtu.core.errors import KubemtuError
from kubemtu.core.objects import Object
from kubemtu.kube import requests, wire
from kubemtu.kube.api import Api
from kubemtu.kube.errors import Action
from kubemtu_lab import informer

FOLDER = Path("/run/lab/pods")
ACCOUNT_FOLDER = "/var/run/secrets/kubernetes.io/serviceaccount"
MODE = 0o644  # core/v1 SecretVolumeSource, defaultMode


class MountFailed(KubemtuError):
    """A volume cannot be made (yet); the message is that of kubelet's event FailedMount."""

    exit_code = 5


class Mount(msgspec.Struct, frozen=True, kw_only=True):
    """A folder of the node, and where a container sees it; `follows`: with what is mounted below it later."""

    source: str
    target: str
    follows: bool = False
    read_only: bool = False


def folder(pod: Object) -> Path:
    """Return what a node keeps of a pod; nothing of it is left when the pod has gone."""
    return FOLDER / informer.uid(pod)


def forget(pod: Object) -> None:
    """Remove what a node keeps of a pod."""
    shutil.rmtree(folder(pod), ignore_errors=True)


async def set_up(api: Api, pod: Object) -> None:
    """Write the files of the Secrets and ConfigMaps of a pod. Raises MountFailed, and what kube.errors draws."""
    for volume in pod.each("spec", "volumes"):
        kind = "secret" if volume.mapping("secret") else "configMap"
        name = volume.text(kind, "secretName" if kind == "secret" else "name")
        if name is None:
            continue
        told = f'MountVolume.SetUp failed for volume "{volume.text("name")}" : '
        found = await api.find("v1", f"{kind.lower()}s", name, pod.namespace)
        if found is None and not volume.flag(kind, "optional"):
            raise MountFailed(f'{told}{kind.lower()} "{name}" not found')
        made = _made(_volume(pod, volume.text("name") or ""))
        try:
            files = [*_files(volume, kind, _contents(found, kind) if found else {})]
        except ValueError as wrong:
            raise MountFailed(f"{told}{wrong}") from None
        for path, content, mode in files:
            target = made / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
            target.chmod(mode)


def mounts(pod: Object, container: Object) -> list[Mount]:
    """Return the folders that a container sees; those of Secrets and ConfigMaps can only be read."""
    sources: dict[str | None, str] = {}
    made = set()
    for volume in pod.each("spec", "volumes"):
        name = volume.text("name")
        if volume.mapping("secret") or volume.mapping("configMap"):
            made.add(name)
            sources[name] = str(_volume(pod, name or ""))
        elif path := volume.text("hostPath", "path"):
            sources[name] = path
    return [
        Mount(
            source=source,
            target=each.text("mountPath") or "",
            follows=each.text("mountPropagation") == "HostToContainer",
            read_only=bool(each.flag("readOnly")) or each.text("name") in made,
        )
        for each in container.each("volumeMounts")
        if (source := sources.get(each.text("name")))
    ]


async def account(api: Api, pod: Object) -> Mount | None:
    """Write the files of a pod's ServiceAccount, with a fresh token; None where the pod names none or wants none of it.

    Raises what kube.errors draws. Source: kubernetes `plugin/pkg/admission/serviceaccount/admission.go`.
    """
    name, namespace = pod.text("spec", "serviceAccountName"), pod.namespace or ""
    wanted = pod.flag("spec", "automountServiceAccountToken")
    if not name or wanted is False:
        return None
    if wanted is None:
        found = await api.find("v1", "serviceaccounts", name, namespace)
        if found is not None and found.flag("automountServiceAccountToken") is False:
            return None
    parts = {"plural": "serviceaccounts", "namespace": namespace, "name": name, "subresource": "token"}
    bound = {"kind": "Pod", "apiVersion": "v1", "name": pod.name, "uid": informer.uid(pod)}
    # As a kubelet's, so that the token tells of the pod's node too (`pkg/volume/projected/projected.go`).
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"boundObjectRef": bound}}
    async with wire.Wire(api.connection, segment=None) as line:  # Api has no verb for this
        answer = await line.request(
            requests.Request(
                action=Action(verb="create", **parts), method="POST", path=requests.path("v1", **parts), body=body
            )
        )
    made = _made(folder(pod))
    (made / "token").write_text(Object.of(answer).text("status", "token") or "")
    (made / "ca.crt").write_text(api.connection.ca or "")
    (made / "namespace").write_text(namespace)
    return Mount(source=str(made), target=ACCOUNT_FOLDER, read_only=True)


def written_account(pod: Object) -> Mount | None:
    """Return the files of a pod's ServiceAccount where `account` has written them."""
    made = folder(pod)
    return Mount(source=str(made), target=ACCOUNT_FOLDER, read_only=True) if (made / "token").exists() else None


def _contents(found: Object, kind: str) -> dict[str, bytes]:
    """Return what is under the keys of an object. Raises ValueError."""
    if kind == "configMap":
        return {key: str(text).encode() for key, text in found.mapping("data").items()}
    return {key: base64.b64decode(str(text), validate=True) for key, text in found.mapping("data").items()}


def _files(volume: Object, kind: str, contents: dict[str, bytes]) -> Iterator[tuple[str, bytes, int]]:
    """Yield path, content and mode of the files of a volume: all keys, or those that it names."""
    mode = volume.integer(kind, "defaultMode") or MODE
    items = [*volume.each(kind, "items")]
    if not items:
        yield from ((key, content, mode) for key, content in contents.items())
    for item in items:
        key, path = item.text("key") or "", item.text("path") or ""
        if key in contents and ".." not in Path(path).parts:
            yield path.lstrip("/"), contents[key], item.integer("mode") or mode
        elif not volume.flag(kind, "optional"):
            what = "config" if kind == "configMap" else kind
            raise ValueError(f"references non-existent {what} key: {key}")


def _made(path: Path) -> Path:
    """Make a folder of a pod, below one that only root enters: other pods see the node's /run too."""
    FOLDER.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.mkdir(parents=True, exist_ok=True)
    return path


def _volume(pod: Object, name: str) -> Path:
    return folder(pod) / "volumes" / name
