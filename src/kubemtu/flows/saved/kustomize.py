"""Bases and patches, as kustomize joins them, as far as what is read here goes: objects, ConfigMaps made of literals.

Only what a kustomization.yaml names is a patch (kubectl.docs.kubernetes.io, references/kustomize/kustomization: the
fields resources, patches, patchesStrategicMerge, patchesJson6902, configMapGenerator and namespace). Of several
overlays of one base the first is taken, as if it had been named alone. What is remote is said not to be here, and so is
what is not done: prefixes and suffixes of names, charts, plug-ins, replacements.
"""

import os
import re
from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

from kubemtu.core import objects
from kubemtu.core.objects import Object
from kubemtu.core.text import documents, json_values
from kubemtu.flows.saved import patches
from kubemtu.flows.saved.facts import Document, Facts

FILES = frozenset({"kustomization.yaml", "kustomization.yml", "Kustomization"})
ENTRIES_MOST = 1000  # of one list of a kustomization
TRIED_MOST = 1_000_000  # objects for which patches are looked at
# What changes objects and is not done here (kubernetes-sigs/kustomize: api/types/kustomization.go).
_NOT_DONE: Final = {
    **dict.fromkeys(("namePrefix", "nameSuffix"), "is not added to names here"),
    **dict.fromkeys(("helmCharts", "helmChartInflationGenerator"), "is a chart, which is not rendered here"),
    **dict.fromkeys(("generators", "transformers"), "runs plug-ins, which nothing here does"),
    **dict.fromkeys(("replacements", "vars"), "puts values of one object into another, which is not done here"),
}
_NAMESPACED: Final = frozenset({"ConfigMap", "DaemonSet", "Deployment", "HelmChartConfig", "ServiceAccount", "Pod"})
_USER: Final = re.compile(r"(://).*@|^[^/]*@", re.DOTALL)
_PATCH_NAME: Final = re.compile(r"(?:^|[-_.])patch(?:es)?(?:[-_.]|$)", re.IGNORECASE)


class _Kustomization(msgspec.Struct, frozen=True, kw_only=True):
    """One kustomization.yaml: its folder, and what it says."""

    folder: str
    place: str
    body: dict[str, object]

    def listed(self, *keys: str) -> Iterator[object]:
        """Return the entries of the lists under these keys; what is no list has none."""
        for key in keys:
            listed = self.body.get(key)
            yield from listed[:ENTRIES_MOST] if isinstance(listed, list) else ()

    def path(self, relative: str) -> str:
        """Return a path as names of files are: below what was given."""
        return os.path.normpath(f"{self.folder}/{relative}" if self.folder else relative)

    @property
    def resources(self) -> tuple[str, ...]:
        """The files and folders that it is made of."""
        listed = self.listed("resources", "bases", "components")
        return tuple(self.path(each) for each in listed if isinstance(each, str) and not _remote(each))


def take(document: Document, facts: Facts) -> bool:
    """Take a kustomization.yaml."""
    path = document.of.path
    if path.name not in FILES or not isinstance(document.value, dict):
        return False
    folder = "" if str(path.parent) == "." else str(path.parent)
    for key, listed in document.value.items():
        if isinstance(listed, list) and len(listed) > ENTRIES_MOST:
            facts.skip(document.place, f"lists more than {ENTRIES_MOST} {key:.40}; the rest was left out")
    for key, what in _NOT_DONE.items():
        if document.value.get(key):
            facts.leave(
                f"{document.place}, {key}", f"{what}: give what `kustomize build` prints to have that judged, too"
            )
    facts.kustomizations[folder] = (document.place, document.value)
    return True


def take_operations(document: Document, facts: Facts) -> bool:
    """Take a JSON 6902 patch: a list of operations, which names nothing that it patches."""
    value = document.value
    if not patches.are_operations(value):
        return False
    facts.operations[document.of.name] = (document.place, value)
    return True


def outside(facts: Facts) -> tuple[str, ...]:
    """Return what the kustomizations are made of besides and was not among the files: paths from what was given."""
    held = {os.path.normpath(folder) if folder else "." for folder in facts.kustomizations}
    names = {_file(each) for each in facts.objects}
    wanted = (path for each in _all(facts) for path in each.resources if path.startswith(".."))
    return tuple(dict.fromkeys(path for path in wanted if path not in held and path not in names))


def joined(facts: Facts) -> list[Object]:
    """Return the objects as they are with all patches that are named; a patch that patches nothing is marked."""
    held = [_Held(object=each, file=_file(each)) for each in facts.objects]
    used: set[str] = set()
    known = {each.folder: each for each in _all(facts)}
    referred = {path for each in known.values() for path in each.resources}
    taken: dict[str, str] = {}
    build = _Build(known=known, held=held, facts=facts, used=used)
    for folder, each in known.items():
        if folder in referred or (folder == "" and "." in referred):
            continue
        bases = [path for path in each.resources if path in known]
        other = next((taken[base] for base in bases if base in taken), None)
        if other is not None:
            facts.leave(each.place, f"is another overlay of what {other} changes, which was judged: give one folder")
            used |= {path for path, _ in _patch_files(each)}
            held[:] = [one for one in held if one.file not in used]
            continue
        taken |= dict.fromkeys(bases, each.place)
        build.apply(each)
    _mark_left(held, used, facts)
    return [one.object for one in held if one.file not in used]


class _Held(msgspec.Struct, kw_only=True):
    """An object, and the file that it came from; patches replace the object."""

    object: Object
    file: str


def _all(facts: Facts) -> list[_Kustomization]:
    return [
        _Kustomization(folder=folder, place=place, body=body) for folder, (place, body) in facts.kustomizations.items()
    ]


class _Build(msgspec.Struct, kw_only=True):
    """One building: what is there, and what each kustomization was found to be made of."""

    known: dict[str, _Kustomization]
    held: list[_Held]
    facts: Facts
    used: set[str]
    made: dict[str, list[_Held]] = msgspec.field(default_factory=dict)
    tried: int = 0

    def apply(self, each: _Kustomization) -> list[_Held]:
        """Apply a kustomization to what it is made of, its bases before, each once; return what that is."""
        if each.folder in self.made:
            return self.made[each.folder]
        self.made[each.folder] = []  # for one that is made of itself
        named = {path for path, _ in _patch_files(each)}
        own = {id(one): one for one in self._parts(each, named)}
        generated = list(_generated(each, own.values(), self.facts))
        self.held += generated
        own |= {id(one): one for one in generated}
        for to, body, place in _patches(each, self.held, self.facts):
            self.tried += len(own)
            if self.tried > TRIED_MOST:
                self.facts.skip(each.place, "has too many patches for too many objects; the rest was left out")
                break
            fitting = [one for one in own.values() if patches.fits(to, one.object)]
            for one in fitting:
                _patch(one, body, place, self.facts)
            if fitting:
                self.used |= {place.rpartition(":")[0]} & named
        namespace = each.body.get("namespace")
        if isinstance(namespace, str):
            for one in own.values():
                _put(one, namespace)
        self.made[each.folder] = list(own.values())
        return self.made[each.folder]

    def _parts(self, each: _Kustomization, named: set[str]) -> Iterator[_Held]:
        for path in dict.fromkeys(each.resources):
            base = self.known.get("" if path == "." else path)
            if base is not None and base.folder != each.folder:
                yield from self.apply(base)
            else:
                yield from (one for one in self.held if one.file == path)
        if not each.resources:  # patches beside a base that nothing names: of the same folder
            yield from (one for one in self.held if _folder(one.file) == each.folder and one.file not in named)
        for relative in each.listed("resources", "bases", "components"):
            if isinstance(relative, str) and _remote(relative):
                said = f"is made of {_named(relative):.200}, which is not here: give `kustomize build` of it"
                self.facts.skip(each.place, said)


def _patch(one: _Held, body: object, place: str, facts: Facts) -> None:
    changed = patches.applied(one.object, body)
    if isinstance(changed, str):
        facts.skip(place, f"does not fit {one.object}: {changed}")
    else:
        one.object = Object.of(changed, f"{one.object.origin}, patched by {place}")


def _put(one: _Held, namespace: str) -> None:
    metadata = one.object.body.get("metadata")
    if one.object.get("kind") in _NAMESPACED and isinstance(metadata, dict):
        one.object = Object.of({**one.object.body, "metadata": {**metadata, "namespace": namespace}}, one.object.origin)


def _patch_files(each: _Kustomization) -> Iterator[tuple[str, object]]:
    """Yield the files that it names as patches, and the target of each; None: what the patch itself names."""
    for entry in each.listed("patches", "patchesStrategicMerge", "patchesJson6902"):
        if isinstance(entry, str) and "\n" not in entry:
            yield each.path(entry), None
        elif isinstance(entry, dict) and isinstance(path := entry.get("path"), str):
            yield each.path(path), entry.get("target")


def _patches(
    each: _Kustomization, held: Iterable[_Held], facts: Facts
) -> Iterator[tuple[patches.PatchTarget, object, str]]:
    """Yield its patches in their order: whom each is for, what it says, and where it stands."""
    files: dict[str, list[_Held]] = {}
    for one in held:
        files.setdefault(one.file, []).append(one)
    for path, target in _patch_files(each):
        if path in facts.operations:
            place, operations = facts.operations[path]
            yield patches.target(target), operations, place
        for one in files.get(path, ()):
            yield patches.target(target, one.object.body), one.object.body, one.object.origin
        if path not in files and path not in facts.operations:
            facts.skip(each.place, f"names the patch {path}, which is not here or could not be read")
    for entry in each.listed("patches", "patchesStrategicMerge", "patchesJson6902"):
        text = entry.get("patch") if isinstance(entry, dict) else entry
        if not isinstance(text, str) or (isinstance(entry, str) and "\n" not in entry):
            continue
        try:
            bodies = [documents.read(part) for _, part in documents.split(text)]
        except documents.Broken as why:
            facts.skip(each.place, f"holds a patch that {why}")
            continue
        for body in bodies:
            yield patches.target(entry.get("target") if isinstance(entry, dict) else None, body), body, each.place


def _generated(each: _Kustomization, own: Iterable[_Held], facts: Facts) -> Iterator[_Held]:
    """Yield the ConfigMaps that it makes; what it merges into one that is there is put into that."""
    texts = {name: file.text for name, file in facts.files}
    maps = {one.object.get("metadata", "name"): one for one in own if one.object.get("kind") == "ConfigMap"}
    for entry in each.listed("configMapGenerator"):
        if not isinstance(entry, dict) or not isinstance(name := entry.get("name"), str):
            continue
        data: dict[str, object] = {}
        for literal in json_values.texts(entry.get("literals")):
            key, equals, value = literal.partition("=")
            data |= {key: value.strip("\"'")} if equals else {}
        for given in json_values.texts(entry.get("files")):
            key, equals, path = given.partition("=")
            path = each.path(path if equals else given)
            if path in texts:
                data[key if equals else path.rpartition("/")[2]] = texts[path]
            else:
                facts.skip(each.place, f"makes the ConfigMap {name:.253} of {path}, which is not here")
        base = maps.get(name)
        behaviour = entry.get("behavior", "create")
        if base is not None and behaviour in ("merge", "replace"):
            old = base.object.get("data") if behaviour == "merge" else None
            body = {**base.object.body, "data": {**(old if isinstance(old, dict) else {}), **data}}
            base.object = Object.of(body, f"{base.object.origin}, patched by {each.place}")
        else:
            namespace = entry.get("namespace")
            metadata = {"name": name} | ({"namespace": namespace} if isinstance(namespace, str) else {})
            body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}
            yield _Held(object=Object.of(body, each.place + ("" if behaviour == "create" else objects.PATCH)), file="")


def _mark_left(held: Iterable[_Held], used: set[str], facts: Facts) -> None:
    """Mark patches that patch nothing here, told by a kustomization or their names; say it of JSON 6902 patches."""
    for path, (place, operations) in facts.operations.items():
        if path not in used:
            facts.skip(place, f"is a JSON 6902 patch ({patches.said(operations)}), and what it patches is not here")
    named = {path for each in _all(facts) for path, _ in _patch_files(each)} - used
    for one in held:
        if (one.file in named or _PATCH_NAME.search(one.file)) and "patched by" not in one.object.origin:
            one.object = Object.of(one.object.body, f"{one.object.origin}{objects.PATCH}")


def _remote(path: str) -> bool:
    return "://" in path or path.startswith("git@") or "?ref=" in path or bool(re.match(r"[\w-]+\.[a-z]+/.+/", path))


def _named(remote: str) -> str:
    """Name a repository without the password, the key (`sshkey`) or the token that its address may hold."""
    return _USER.sub(r"\1", remote.partition("?")[0])


def _file(found: Object) -> str:
    return found.origin.partition(", ")[0].rpartition(":")[0]


def _folder(file: str) -> str:
    return file.rpartition("/")[0]
