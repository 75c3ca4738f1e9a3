"""Files that a node itself has: CNI configurations, and what CNIs keep beside them, however they were named later."""

import re

from kubemtu.cni import registry
from kubemtu.core.disclosure import files as disclosure_files
from kubemtu.core.net import NodeFile
from kubemtu.flows.saved.facts import Document, Facts, Text

NET_CONF = "net-conf.json"  # how its name ends where a document of that form was saved under another one
_IN_NAME = re.compile(r"\d\d-[\w-]+\.conf(?:list)?")
SUFFIXES = frozenset({".conflist", ".conf", ".env"})


def take(text: Text, facts: Facts) -> bool:
    """Take a text that its name says to be a file of a node."""
    name = text.path.name
    if text.path.suffix not in SUFFIXES and not name.endswith(tuple(registry.saved_files())):
        return False
    place = next(
        (held for end, held in registry.saved_files().items() if name.endswith(end)),
        f"{disclosure_files.CNI_FOLDER}{name}",
    )
    facts.files.append((text.name, NodeFile(path=place, text=text.text)))
    return True


def take_net_conf(document: Document, facts: Facts) -> bool:
    """Take a net-conf.json, under whatever name it was saved, as MicroK8s has another one."""
    value = document.value
    if not isinstance(value, dict) or "kind" in value:
        return False
    if not isinstance(value.get("Network"), str) or not isinstance(value.get("Backend"), dict):
        return False
    facts.files.append((document.of.name, NodeFile(path=registry.saved_files()[NET_CONF], text=document.text)))
    return True


def take_cni(document: Document, facts: Facts) -> bool:
    """Take a CNI configuration that its name does not tell, as the cniconf-POD-FILE-DATE.txt of a sysdump."""
    value = document.value
    if not isinstance(value, dict) or "kind" in value or not isinstance(value.get("cniVersion"), str):
        return False
    if not isinstance(value.get("plugins"), list) and not isinstance(value.get("type"), str):
        return False
    found = _IN_NAME.search(document.of.path.name)
    name = found[0] if found is not None else f"{document.of.path.stem}.conflist"
    facts.files.append((document.of.name, NodeFile(path=f"{disclosure_files.CNI_FOLDER}{name}", text=document.text)))
    return True
