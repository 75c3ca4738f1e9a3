"""Files that a cluster is made from and that are no objects of the API: the few keys that are read become objects.

All else in them may be certificates, keys and tokens, and is left where it is. Manifests that they hold as texts are
read as if they stood beside them.
"""

from typing import Final

from kubemtu.cni import registry
from kubemtu.core.objects import Object
from kubemtu.core.text import documents
from kubemtu.flows.saved import objects
from kubemtu.flows.saved.facts import Document, Facts, Text

# Folders of an inventory (docs.ansible.com: inventory_guide/intro_inventory).
GROUP_VARIABLES, HOST_VARIABLES = "group_vars", "host_vars"
DEEP_MOST: Final = 2  # texts in texts: what talosctl printed, and the manifests in that


def take(document: Document, facts: Facts) -> bool:
    """Take a document that one of the known tools makes clusters from."""
    path, value = document.of.path, document.value
    if HOST_VARIABLES in path.parts and isinstance(value, dict) and "kind" not in value:
        facts.leave(document.place, "holds variables of one host, and what is judged is what all have")
        return True
    if _take(document, facts, DEEP_MOST):
        return True
    if GROUP_VARIABLES in path.parts and isinstance(value, dict) and "kind" not in value:
        facts.leave(document.place, "holds variables of which nothing is needed")
        return True
    return False


def _take(document: Document, facts: Facts, deep: int) -> bool:
    value = document.value
    if not isinstance(value, dict):
        return False
    for form in registry.file_forms():
        kept = form.reduce(value)
        if kept is None:
            continue
        texts = tuple(form.inner(value)) if deep else ()
        for label, text in texts:
            _inside(document, label, text, facts, deep - 1)
        if kept:
            # Of several documents in one file each has a name, else they would be taken for one.
            name = document.place if "/" in str(kept.get("apiVersion")) else document.of.name
            facts.objects.append(Object.of({**kept, "metadata": {"name": name}}))
        elif not texts:
            facts.leave(document.place, f"is {form.what}, of which nothing is needed")
        return True
    return False


def _inside(document: Document, label: str, text: str, facts: Facts, deep: int) -> None:
    """Take the manifests of a text inside a document; what is wrong with one is said at the document's place."""
    for _, part in documents.split(text):
        try:
            value = documents.read(part)
        except documents.Broken as why:
            facts.skip(f"{document.place}, {label}", str(why))
            continue
        of = Text(name=document.of.name, text=part)
        inner = Document(of=of, value=value, text=part, line=document.line)
        if value is not None and not _take(inner, facts, deep):
            objects.take(inner, facts)
