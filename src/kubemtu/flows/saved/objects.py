"""Objects of the API: manifests, and lists of them as `kubectl get -o yaml` and `-o json` write them."""

from kubemtu.core.objects import Object
from kubemtu.flows.saved import bundles
from kubemtu.flows.saved.facts import Document, Facts


def take(document: Document, facts: Facts) -> bool:
    """Take an object, or each of a list of them; what is neither is said, since nothing else takes it."""
    _take(bundles.named(document).value, document.place, facts)
    return True


def _take(value: object, where: str, facts: Facts) -> None:
    if not isinstance(value, dict):
        what = "a list" if isinstance(value, list) else "a single value"
        facts.skip(where, f"is {what}, not an object with apiVersion and kind")
        return
    kind, version = value.get("kind"), value.get("apiVersion")
    if not isinstance(kind, str) or not isinstance(version, str) or not kind:
        facts.skip(where, "is no Kubernetes object: it has no apiVersion and kind")
        return
    items = value.get("items")
    if (kind == "List" or (kind.endswith("List") and "items" in value)) and (isinstance(items, list) or items is None):
        if kind.removesuffix("List") in bundles.unneeded():
            facts.leave(where, f"is a list of {kind.removesuffix('List')}, of which no rule reads any")
            return
        for index, item in enumerate(items or []):
            place = f"{where}, items[{index}]"
            if isinstance(item, dict) and kind != "List":  # items of a typed list leave both out
                item = {"apiVersion": version, "kind": kind.removesuffix("List")} | item  # noqa: PLW2901
            if isinstance(item, dict) and isinstance(of := item.get("kind"), str) and of in bundles.unneeded():
                facts.leave(place, f"is of the kind {of}, of which no rule reads any")
                continue
            _take(item, place, facts)
        return
    metadata = value.get("metadata")
    if metadata is not None and not isinstance(metadata, dict):
        facts.skip(where, f"is a {kind} whose metadata is no mapping")
        return
    for field in ("name", "namespace"):
        said: object = metadata.get(field) if metadata else None
        if said is not None and not isinstance(said, str):
            facts.skip(where, f"is a {kind} whose metadata.{field} is {said!r:.40}, not a string: put it in quotes")
            return
    facts.objects.append(Object.of(value, where))
