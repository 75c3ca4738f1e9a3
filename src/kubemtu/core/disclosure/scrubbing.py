"""A snapshot for strangers: names and addresses are others, and what is found in it is the same.

Replaced are the names of nodes, pods, namespaces but the system's, clusters and hosts, addresses and what is made of
them, paths of files, and who drove a change. A name in running text is replaced where it can be nothing else: "web" may
be a word, "web-7f9c" is not.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import msgspec

from kubemtu.core import net
from kubemtu.core.disclosure import addresses, renaming
from kubemtu.core.objects import PATCH, Object
from kubemtu.core.snapshot import UNUSED, Snapshot, Unread
from kubemtu.core.text import json_values

TRIES_MOST = 50
_WORD: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?")
_HOST_IN_URL: Final = re.compile(
    r"(?P<before>\b[a-z][a-z0-9+]*://(?:[^\s/@\"']*@)?)(?P<host>[A-Za-z0-9][A-Za-z0-9.-]*)"
)
_CLUSTER: Final = re.compile(r"(?:^|[-_./])cluster(?:[-_.]?(?:name|id))?$|clustername$", re.IGNORECASE)
_CLUSTER_LINE: Final = re.compile(
    r"(?P<head>\bcluster[-_]?name[\"']?\s*[:=]\s*[\"']?)(?P<name>[A-Za-z0-9][\w.-]*)", re.IGNORECASE
)
_LINK: Final = re.compile(r"(?P<prefix>[a-z]+)(?P<suffix>[0-9a-f]{11})")
_PLACE: Final = re.compile(r"(?P<path>[^,]+?)(?P<line>:\d+(?:, items\[\d+\])*)?(?=$|, )")
_NETWORK: Final = re.compile(r"([a-z0-9][a-z0-9.-]*)/")
_PLAIN: Final = re.compile(r"|true|false|\d{1,9}|[\d.:/a-fA-F]+|amd64|arm64|linux|windows")
_HOSTS_KEPT: Final = ("kubernetes.default", "localhost", "docker.io", "quay.io", "ghcr.io", "gcr.io", "registry.k8s.io")
_PUBLIC: Final = re.compile(
    r"(?:^|\.)(?:docker\.io|quay\.io|ghcr\.io|gcr\.io|k8s\.io|mcr\.microsoft\.com|public\.ecr\.aws)$"
)
_NAMED_LABELS: Final = frozenset({"os", "arch", "instance-type"})
_DRIVER: Final = {"user": "somebody", "host": "somewhere"}
_PROVIDER: Final = re.compile(r"[a-z0-9]+://(?:bm-)?|ocid1\.")  # how core.cluster.clouds tells one
_IDENTITIES: Final = frozenset({"machineID", "systemUUID", "bootID"})
_RENAMED: Final = frozenset({"Pod", "Node"})
_SYSTEM: Final = ("kube-", "openshift-")


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """What stays: names of namespaces, beginnings of keys of annotations, and how a pod's link is called after it."""

    namespaces: frozenset[str]
    annotations: frozenset[str]
    link_suffix: Callable[[str, str], str]


def scrubbed(snapshot: Snapshot, key: bytes, kept: Kept) -> Snapshot:
    """Return the snapshot with others' names and addresses in it; `key` decides which.

    Where a replacement happens to be what somebody else was called, another key is tried, made of this one.
    """
    for number in range(TRIES_MOST):
        scrub = _Scrub(snapshot, key + bytes([number]), kept)
        made = scrub.snapshot()
        if not scrub.clashes():
            return made
    return made


class _Scrub:
    """One pass with one key."""

    def __init__(self, snapshot: Snapshot, key: bytes, kept: Kept) -> None:
        self._of, self._kept = snapshot, kept
        self._replaced = addresses.Replaced(key)
        pods = list(snapshot.each("Pod"))
        nodes = {_text(each.get("metadata", "name")) for each in snapshot.each("Node")}
        nodes |= {seen.node for seen in snapshot.nodes} | {_text(each.get("spec", "nodeName")) for each in pods}
        nodes |= {name for each in snapshot.each("MTUPolicy") for name in json_values.texts(each.get("spec", "nodes"))}
        self._nodes = renaming.Numbered("node", nodes)
        named = [(_text(each.get("metadata", "namespace")), _text(each.get("metadata", "name"))) for each in pods]
        self._pods = renaming.Numbered("pod", (name for _, name in named))
        spaces = {_text(each.get("metadata", "namespace")) for each in snapshot.objects}
        self._spaces = renaming.Numbered("namespace", (name for name in spaces if not self._system(name)))
        self._seen: dict[str, dict[str, str]] = {"host": {}, "cluster": {}, "value": {}, "owner": {}, "file": {}}
        self._suffixes = {
            kept.link_suffix(space, name): kept.link_suffix(self._spaces(space) or space, self._pods(name))
            for space, name in named
        }
        self._words = self._distinctive(pods)

    def _system(self, name: str) -> bool:
        return name in self._kept.namespaces or name.startswith(_SYSTEM)

    def _distinctive(self, pods: Iterable[Object]) -> dict[str, str]:
        """Return names that are replaced in any text: long ones that are no word, and whoever drove a change."""
        own = {
            _text(each.get("metadata", "name")) for each in self._of.objects if _text(each.get("kind")) not in _RENAMED
        }
        made = {
            name: other
            for names in (self._spaces, self._pods, self._nodes)
            for name, other in names.by_name.items()
            if _tells(name) and name not in own
        }
        for name, other in self._nodes.by_name.items():
            if _tells(short := name.partition(".")[0]) and short not in own:
                made.setdefault(short, other)
        for each in self._of.each("MTUMigration"):
            driver = each.get("status", "driver")
            for field, other in _DRIVER.items():
                if isinstance(driver, dict) and isinstance(who := driver.get(field), str) and len(who) > 2:
                    made.setdefault(who, other)
        return made

    # Texts

    def text(self, text: str) -> str:
        """Return a text with all that is replaced anywhere."""
        text = _HOST_IN_URL.sub(lambda found: found["before"] + self._host(found["host"]), text)
        text = _CLUSTER_LINE.sub(lambda found: found["head"] + self._numbered("cluster", found["name"]), text)
        text = self._replaced.text(text)
        return _WORD.sub(lambda found: self._word(found[0]), text) if self._words else text

    def _word(self, word: str) -> str:
        whole = self._words.get(word)
        if whole is None and "." in word:  # "namespace.pod", "pod.namespace.svc"
            return ".".join(self._words.get(part, part) for part in word.split("."))
        return whole or word

    def _host(self, host: str) -> str:
        if node := self._nodes(host):
            return node
        if addresses.TOKEN.fullmatch(host) or host.startswith(_HOSTS_KEPT) or _PUBLIC.search(host):
            return host
        return self._numbered("host", host) + (".example" if "." in host else "")

    def _numbered(self, sort: str, value: str) -> str:
        seen = self._seen[sort]
        return value if value in seen.values() else seen.setdefault(value, f"{sort}-{len(seen) + 1}")

    def _value(self, value: Any, key: str = "") -> Any:
        """Return any value with its texts replaced; `key` is what it stands under."""
        if isinstance(value, dict):
            named = _text(value.get("name"))
            return {
                each: self._value(inner, named if each == "value" and named else each)
                for each, inner in value.items()
                if each != "uid" or not isinstance(inner, str)
            }
        if isinstance(value, list | tuple):
            return [self._value(each, key) for each in value]
        if not isinstance(value, str):
            return value
        if _CLUSTER.search(key) and _WORD.fullmatch(value) and not _PLAIN.fullmatch(value):
            return self._numbered("cluster", value)
        return self._image(value) if key in {"image", "imageID"} else self.text(value)

    def _image(self, image: str) -> str:
        registry, slash, rest = image.partition("/")
        if not slash or not ("." in registry or ":" in registry):
            return self.text(image)
        host, colon, port = registry.partition(":")
        return f"{self._host(host)}{colon}{port}/{rest}"

    # Parts

    def snapshot(self) -> Snapshot:
        """Return all of it."""
        source = self._of.source
        return msgspec.structs.replace(
            self._of,
            source=self.text(source) if source.startswith("cluster ") else f"{source.partition(' ')[0]} (scrubbed)",
            objects=tuple(self._object(each) for each in self._of.objects),
            nodes=tuple(self._observation(each) for each in self._of.nodes),
            unread=tuple(self._unread(each) for each in self._of.unread if each.why != UNUSED),
        )

    def clashes(self) -> bool:
        """Say whether an address stands for one that somebody else had."""
        originals = self._replaced.originals
        return not originals.keys().isdisjoint(originals.values())

    def _object(self, found: Object) -> Object:
        part: Callable[[dict[str, Any]], dict[str, Any]] | None = {"Node": self._node, "Pod": self._pod}.get(
            _text(found.get("kind"))
        )
        body = part(dict(found.body)) if part is not None else self._other(dict(found.body))
        return Object.of(body, self._origin(found.origin))

    def _origin(self, origin: str) -> str:
        patch = origin.endswith(PATCH)
        parts = (
            [part.removeprefix("patched by ") for part in origin.removesuffix(PATCH).split(", patched by ")]
            if origin
            else []
        )
        return ", patched by ".join(_PLACE.sub(self._file, part, count=1) for part in parts) + (PATCH if patch else "")

    def _file(self, found: re.Match[str]) -> str:
        seen, path = self._seen["file"], found["path"]
        suffix = path.rpartition(".")[2]
        ends = f".{suffix}" if suffix in {"yaml", "yml", "json"} else ""
        return seen.setdefault(path, f"file-{len(seen) + 1}{ends}") + (found["line"] or "")

    def _other(self, body: dict[str, Any]) -> dict[str, Any]:
        status = body.get("status")
        if isinstance(status, dict) and isinstance(status.get("driver"), dict):
            driver = {key: _DRIVER.get(key, value) for key, value in status["driver"].items()}
            body["status"] = status | {"driver": driver}
        out: dict[str, Any] = self._value(body)
        self._name_space(out, body)
        return out

    def _name_space(self, out: dict[str, Any], body: Mapping[str, Any]) -> None:
        own, made = body.get("metadata"), out.get("metadata")
        if isinstance(own, dict) and isinstance(made, dict):
            for field in own.keys() & {"name", "namespace"}:
                made[field] = (self._spaces(own[field]) or own[field]) if field == "namespace" else own[field]
            if Object.of(dict(body)).of_file:  # it is named after its file
                made["name"] = _PLACE.sub(self._file, _text(own.get("name")), count=1)

    def _node(self, body: dict[str, Any]) -> dict[str, Any]:
        out: dict[str, Any] = self._value(body)
        metadata, own = out.get("metadata"), body.get("metadata")
        if isinstance(metadata, dict) and isinstance(own, dict):
            metadata["name"] = self._nodes(own.get("name")) or own.get("name")
            for part, judge in (("labels", self._label), ("annotations", self._annotation)):
                held = own.get(part)
                if isinstance(held, dict):
                    metadata[part] = {key: judge(key, value) for key, value in held.items()}
        spec, own_spec = out.get("spec"), body.get("spec")
        if isinstance(spec, dict) and isinstance(own_spec, dict) and "providerID" in spec:
            found = _PROVIDER.match(_text(own_spec["providerID"]))  # the cloud, and no machine, subscription, project
            spec["providerID"] = found[0] if found is not None else ""
        status = out.get("status")
        if isinstance(status, dict):
            status["addresses"] = [self._node_address(each) for each in _list(body, "status", "addresses")]
            if isinstance(info := status.get("nodeInfo"), dict):
                status["nodeInfo"] = {key: value for key, value in info.items() if key not in _IDENTITIES}
        return out

    def _node_address(self, entry: Any) -> Any:
        if not isinstance(entry, dict) or not isinstance(address := entry.get("address"), str):
            return self._value(entry)
        made = self._replaced.text(address)
        return entry | {"address": self._host(address) if made == address else made}

    def _label(self, key: str, value: Any) -> Any:
        if not isinstance(value, str):
            return self._value(value)
        if node := self._nodes(value):
            return node
        telling = key.rpartition("/")[2] in _NAMED_LABELS or _PLAIN.fullmatch(value)
        return self._replaced.text(value) if telling else self._numbered("value", value)

    def _annotation(self, key: str, value: Any) -> Any:
        if key.rpartition("/")[0] in self._kept.annotations or not isinstance(value, str):
            return self._value(value)
        if value[:1] in {"{", "["}:
            return self.text(value)
        return self._label(key, value)

    def _pod(self, body: dict[str, Any]) -> dict[str, Any]:
        out: dict[str, Any] = self._value(body)
        own, metadata = body.get("metadata"), out.get("metadata")
        if isinstance(own, dict) and isinstance(metadata, dict):
            space = own.get("namespace")
            metadata["name"] = self._pods(own.get("name")) or own.get("name")
            if "namespace" in own:
                metadata["namespace"] = self._spaces(space) or space
            if isinstance(notes := own.get("annotations"), dict):
                metadata["annotations"] = {key: self._networks(value) for key, value in notes.items()}
            system = isinstance(space, str) and self._system(space)
            if "labels" in metadata:
                labels = own.get("labels")
                held = labels.items() if system and isinstance(labels, dict) else ()
                metadata["labels"] = {key: value for key, value in held if key == "app.kubernetes.io/name"}
            owners = _list(body, "metadata", "ownerReferences")
            if owners:
                metadata["ownerReferences"] = [self._owner(each, system=system) for each in owners]
        spec = body.get("spec")
        if isinstance(spec, dict) and "nodeName" in spec:
            out["spec"] = out["spec"] | {"nodeName": self._nodes(spec["nodeName"]) or spec["nodeName"]}
        return out

    def _networks(self, value: Any) -> Any:
        """Return an annotation that names networks, a JSON list or names with commas, with other namespaces in it."""
        if not isinstance(value, str):
            return self._value(value)
        try:
            listed: Any = json.loads(value)
        except (ValueError, RecursionError):
            listed = None
        if not isinstance(listed, list):
            return self.text(_NETWORK.sub(lambda found: f"{self._spaces(found[1]) or found[1]}/", value))
        for each in (each for each in listed if isinstance(each, dict)):
            if isinstance(space := each.get("namespace"), str):
                each["namespace"] = self._spaces(space) or space
            if isinstance(name := each.get("name"), str):
                each["name"] = _NETWORK.sub(lambda found: f"{self._spaces(found[1]) or found[1]}/", name)
        return self.text(json.dumps(listed))

    def _owner(self, owner: Any, *, system: bool) -> Any:
        if not isinstance(owner, dict) or not isinstance(name := owner.get("name"), str):
            return owner
        if owner.get("kind") == "DaemonSet" and system:
            return owner
        return owner | {"name": self._nodes(name) or self._numbered("owner", name)}

    def _observation(self, seen: net.NodeObservation) -> net.NodeObservation:
        whole = msgspec.to_builtins(seen)
        links = {name: self._link(name) for name in self._link_names(seen)}
        made = _renamed(self._value(whole), links)
        made["node"] = self._nodes(seen.node) or seen.node
        made["files"] = [{**file, "text": self.text(file["text"])} for file in whole.get("files", ())]
        return msgspec.convert(made, net.NodeObservation)

    def _link_names(self, seen: net.NodeObservation) -> set[str]:
        return {link.name for link in seen.links} | {port.host_link for port in seen.ports}

    def _link(self, name: str) -> str:
        found = _LINK.fullmatch(name)
        if found is None:
            return name
        other = self._suffixes.get(found["suffix"])
        return found["prefix"] + (other or self._kept.link_suffix("a pod", found["suffix"]))

    def _unread(self, entry: Unread) -> Unread:
        kind, blank, rest = entry.what.partition(" ")
        what = self.text(entry.what)
        if kind == "node" and self._nodes(rest):
            what = f"{kind}{blank}{self._nodes(rest)}"
        elif entry.why in {"malformed", "broken"} and ("." in entry.what or "/" in entry.what) and not blank:
            what = self._origin(entry.what)
        message = self.text(entry.message)
        for path, other in self._seen["file"].items():
            message = message.replace(path, other)
        return Unread(what=what, why=entry.why, message=message)


def _renamed(value: Any, links: Mapping[str, str]) -> Any:
    """Return a value with the names of links replaced, as whole texts and as words of a sentence."""
    if isinstance(value, dict):
        return {key: _renamed(each, links) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_renamed(each, links) for each in value]
    if isinstance(value, str):
        return links.get(value) or re.sub(r"\w+", lambda word: links.get(word[0], word[0]), value)
    return value


def _tells(name: str) -> bool:
    """Say whether a name is replaced wherever it stands: it is long, and no word."""
    return len(name) >= 5 and not name.isalpha()


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _list(body: Mapping[str, Any], *path: str) -> list[Any]:
    here: Any = body
    for key in path:
        here = here.get(key) if isinstance(here, dict) else None
    return here if isinstance(here, list) else []
