"""Files that a cluster is made from and that are no objects of the API: the few keys that are read become objects.

All else in them may be certificates, keys and tokens, and is left where it is.
"""

from kubemtu.cni import registry
from kubemtu.core.objects import Object
from kubemtu.flows.saved.facts import Document, Facts


def take(document: Document, facts: Facts) -> bool:
    """Take a document that one of the known tools makes clusters from."""
    value = document.value
    if not isinstance(value, dict):
        return False
    for form in registry.file_forms():
        kept = form.reduce(value)
        if kept is None:
            continue
        if not kept:
            facts.leave(document.place, f"is {form.what}, of which nothing is needed")
            return True
        # Of several documents in one file each has a name, else they would be taken for one.
        name = document.place if "/" in str(kept.get("apiVersion")) else document.of.name
        facts.objects.append(Object.of({**kept, "metadata": {"name": name}}))
        return True
    return False
