"""A plan's edits for whoever keeps the cluster in a repository: patches for kustomize, and their own file, edited.

Where Argo CD, Flux or a pipeline writes the objects, an edit of the cluster is taken back at the next sync: the change
belongs into the files that they write from. Restarts and running pods are no files; what of the plan is left is said.
"""

import json
import re
from collections.abc import Sequence
from typing import Final

import msgspec
import yaml

from kubemtu.core import objects
from kubemtu.core.change.plan import EditValue, Live, Plan, Rollout, Step
from kubemtu.core.cluster.cni_state import CniState
from kubemtu.core.errors import Malformed, UsageError
from kubemtu.core.planning.values_key import ValuesKey
from kubemtu.core.text import documents, manifest_edit, yaml_edit
from kubemtu.core.text.wording import names

ADDON = "eks-addon"
_KIND: Final = re.compile(r"^(?:- )?kind:", re.MULTILINE)  # of a document that no parser takes


class Edited(msgspec.Struct, frozen=True, kw_only=True):
    """A file with a plan's edits in it: the new `text`, what was changed there, and what stands in other files."""

    text: str
    changed: tuple[str, ...]
    elsewhere: tuple[str, ...] = ()


def edits(planned: Plan) -> tuple[EditValue, ...]:
    """Return the edits of a plan, in their order."""
    return tuple(step for step in planned.steps if isinstance(step, EditValue))


def in_place(planned: Plan, text: str, source: str, state: CniState, keys: Sequence[ValuesKey] = ()) -> Edited:
    """Write the edits of a plan into the text of a file; all that is not edited stays, byte for byte.

    A file of manifests gets the edits of the objects that it holds, any other one the number of one of `keys`. Raises
    Malformed when it holds none of the objects, or not what the plan starts from, or is of no form that is known.
    """
    if any(edit.ref.of_file for edit in edits(planned)):
        return _in_file(planned, text, source)
    if not _holds_objects(text):
        return _values(planned, text, source, state, keys)
    changed: dict[str, None] = {}
    elsewhere: dict[str, None] = {}
    for edit in edits(planned):
        if edit.creates:
            continue
        name = (edit.ref.kind, edit.ref.name, edit.ref.namespace)
        if not manifest_edit.holds(text, name, source):
            elsewhere[str(edit.ref)] = None
            continue
        text = _edited(edit, text, name, source)
        changed[str(edit.ref)] = None
    if elsewhere and not changed:
        raise Malformed(f"{source} holds none of {names(elsewhere)}: name the file that does.")
    return Edited(text=text, changed=tuple(changed), elsewhere=tuple(elsewhere))


def _holds_objects(text: str) -> bool:
    """Say whether a document of a text is an object of the API, in YAML or JSON, or a list of them.

    A `kind` further inside tells nothing: values of charts have such keys, and addons of RKE's cluster.yml are texts.
    """
    for _, document in documents.split(text):
        try:
            value = documents.read(document)
        except documents.Broken:
            if _KIND.search(document):
                return True
            continue
        listed = value if isinstance(value, list) else [value]
        if any(isinstance(each, dict) and {"kind", "apiVersion"} <= each.keys() for each in listed):
            return True
        if any(isinstance(each, dict) and {"kind", "metadata"} <= each.keys() for each in listed):
            return True
    return False


def _in_file(planned: Plan, text: str, source: str) -> Edited:
    """Write the edits of documents that are no objects: those that stand in this file, by what they hold now.

    A key that is still to be added belongs into the file that the plan names.
    """
    changed: dict[str, None] = {}
    elsewhere: dict[str, None] = {}
    for edit in edits(planned):
        kind, before, after = edit.ref.said_kind, edit.before, edit.after
        if isinstance(before, dict) or isinstance(after, dict):
            raise Malformed(f"{edit.ref} gets a whole item, which is not written into {source}: add it there by hand.")
        said = f"{edit.ref}, {objects.dotted(edit.path)}"
        named = kind or before is not None or _last(source) == _last(edit.ref.name)
        if not named or not manifest_edit.holds_in_file(text, kind, edit.path, before, source):
            elsewhere[said] = None
            continue
        text = manifest_edit.set_in_file(text, kind, edit.path, before, after, source=source)
        changed[said] = None
    if elsewhere and not changed:
        raise Malformed(
            f"{source} does not hold what the plan starts from at {names(elsewhere)}: name the file that does."
        )
    return Edited(text=text, changed=tuple(changed), elsewhere=tuple(elsewhere))


def _last(path: str) -> str:
    return path.rpartition("/")[2]


def _edited(edit: EditValue, text: str, name: tuple[str, str, str | None], source: str) -> str:
    before, after = edit.before, edit.after
    if before is None and isinstance(after, dict):
        added = manifest_edit.add_item(text, name, edit.path, after, source=source)
        if added is not None:
            return added
    if isinstance(before, dict) or isinstance(after, dict):
        item = ", ".join(yaml_edit.member(*each) for each in after.items()) if isinstance(after, dict) else ""
        raise Malformed(
            f"{objects.dotted(edit.path)} of {edit.ref} is a whole item of a list, which is not written into {source}:"
            f" {f'add {{{item}}}' if item else 'take it away'} there by hand."
        )
    return manifest_edit.set_value(text, name, edit.path, before, after, source=source)


def _values(planned: Plan, text: str, source: str, state: CniState, keys: Sequence[ValuesKey]) -> Edited:
    """Write the number into a file of values that is told by its keys to be one, or holds nothing yet.

    Any other file is refused: what reads it has no use for the number, and what was meant would stay as it is.
    """
    suiting = [key for key in keys if key.suits(state) and not key.chart and not key.head and key.form != ADDON]
    if not suiting and not edits(planned):
        return Edited(text=text, changed=())
    if not suiting:
        raise Malformed(
            f"{source} holds no object of the API, and no other file is known that {state.said} is deployed from here:"
            " name a file of manifests."
        )
    root = yaml_edit.compose(text, source)
    key = next((key for key in suiting if _is_for(key, text, root)), None)
    if key is None:
        first = suiting[0]
        number = first.number(planned, state)
        raise Malformed(
            f"{source} does not look like {first.file.partition(';')[0]}: it has none of"
            f" {names(('.'.join(first.path), *first.signs))}. Name another file, or write"
            f" {'.'.join(first.path)}: {number} there by hand."
        )
    edited = yaml_edit.set_value(text, key.path, key.number(planned, state), source=source)
    return Edited(text=edited, changed=(f"{'.'.join(key.path)} ({key.file})",) if edited != text else ())


def _is_for(key: ValuesKey, text: str, root: yaml.Node | None) -> bool:
    """Say whether a file holds the key, or one of those by which such a file is told, or nothing but comments."""
    if root is None or root.start_mark.index == root.end_mark.index:
        return True
    there = manifest_edit.ObjectPlace(start=0, end=len(text), root=root)
    return isinstance(there.at(key.path), yaml.ScalarNode) or any(there.at((sign,)) is not None for sign in key.signs)


def values(planned: Plan, form: str, state: CniState, keys: Sequence[ValuesKey]) -> str:
    """Return the number of a plan as a file of that form holds it. Raises UsageError where none is known."""
    key = next((key for key in keys if key.form == form and key.suits(state)), None)
    if key is None:
        known = names(dict.fromkeys(key.form for key in keys if key.suits(state)))
        instead = "--in-place FILE edits your file" if planned.of_files else "-o kustomize has the edits as patches"
        raise UsageError(
            f"no {form} is known that {state.said} ({state.variant or 'as it is here'}) is deployed from"
            f"{f'; -o {known} has the number' if known else ''}: {instead}"
        )
    if form == ADDON:
        return _nested(key.path, str(key.number(planned, state)))
    written = yaml_edit.set_value(key.head, key.path, key.number(planned, state))
    if key.chart:
        return _chart_config(planned, key.chart, written)
    return f"# {key.file}\n" + "".join(f"# {line}\n" for line in left(planned)) + written


def notes(planned: Plan, form: str, state: CniState, keys: Sequence[ValuesKey]) -> tuple[str, ...]:
    """Say beside the text of a form, which has no place for it, whose it is and what of the plan it leaves."""
    if form != ADDON:
        return ()
    whose = (key.file for key in keys if key.form == form and key.suits(state))
    return (*(f"{file[0].upper()}{file[1:]}." for file in whose), *left(planned))


def _nested(path: Sequence[str], value: str) -> str:
    """Return the value at a path as JSON."""
    nested: object = value
    for key in reversed(path):
        nested = {key: nested}
    return json.dumps(nested, indent=2) + "\n"


def _chart_config(planned: Plan, chart: str, values: str) -> str:
    """Return the HelmChartConfig that gives a chart of the server's these values."""
    there = f"kubectl -n kube-system get helmchartconfig {chart} -o yaml"
    rest = left(msgspec.structs.replace(planned, steps=tuple(step for step in planned.steps if not _creates(step))))
    notes = [f"The only one of this name counts: where there is one ({there}), put the values into it.", *rest]
    head = f"apiVersion: helm.cattle.io/v1\nkind: HelmChartConfig\nmetadata:\n  name: {chart}\n"
    body = "".join(f"    {line}\n" for line in values.splitlines())
    return (
        "".join(f"# {line}\n" for line in notes)
        + head
        + f"  namespace: kube-system\nspec:\n  valuesContent: |-\n{body}"
    )


def kustomization(planned: Plan) -> str:
    """Return a kustomization.yaml with a JSON patch (RFC 6902) for each object that the plan edits, and what is left.

    Source of the form: kubernetes-sigs/kustomize, api/types/patch.go and selector.go. Raises UsageError for edits of
    what is no object.
    """
    if of_file := next((edit for edit in edits(planned) if edit.ref.of_file), None):
        raise UsageError(
            f"{of_file.ref} is no object of the API, so kustomize cannot patch it: --in-place FILE edits it"
        )
    patches = []
    by_object: dict[objects.Ref, list[EditValue]] = {}
    for edit in edits(planned):
        if edit.creates:
            continue  # a patch needs what it patches
        by_object.setdefault(edit.ref, []).append(edit)
    for ref, of_one in by_object.items():
        operations = yaml.dump([_operation(edit) for edit in of_one], Dumper=_Dumper, sort_keys=False)
        patches.append({"target": _target(ref), "patch": operations})
    whole = {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization", "patches": patches}
    body: str = yaml.dump(whole, Dumper=_Dumper, sort_keys=False, allow_unicode=True)
    return "".join(f"# {line}\n" for line in left(planned)) + body


def _creates(step: Step) -> bool:
    return isinstance(step, EditValue) and step.creates


def left(planned: Plan) -> tuple[str, ...]:
    """Say what of a plan no file holds, a line each."""
    lines = []
    for step in planned.steps:
        if isinstance(step, EditValue) and step.creates:
            kind = step.ref.kind.lower()
            lines.append(f"{step.ref} is not there yet: kubemtu plan -o {kind} prints what is to be added.")
        if isinstance(step, Rollout):
            where = f" -n {step.ref.namespace}" if step.ref.namespace else ""
            kind = step.ref.kind.lower()
            lines.append(f"Once it is applied: kubectl{where} rollout restart {kind}/{step.ref.name}")
    if any(isinstance(step, Live) for step in planned.steps):
        lines.append("Running pods keep what they have: kubemtu apply changes them as they run.")
    return tuple(lines)


def _target(ref: objects.Ref) -> dict[str, str]:
    group, _, version = ref.api_version.rpartition("/")
    target = {"group": group, "version": version, "kind": ref.kind, "name": ref.name, "namespace": ref.namespace or ""}
    return {key: value for key, value in target.items() if value}


def _operation(edit: EditValue) -> dict[str, object]:
    if edit.after is None:
        return {"op": "remove", "path": pointer(edit.path)}
    return {"op": "add" if edit.before is None else "replace", "path": pointer(edit.path), "value": edit.after}


def pointer(path: Sequence[str | int]) -> str:
    """Return a path as a JSON pointer (RFC 6901, section 3)."""
    return "".join(f"/{str(key).replace('~', '~0').replace('/', '~1')}" for key in path)


class _Dumper(yaml.SafeDumper):
    """Writes texts of several lines as blocks, as people write them."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)
