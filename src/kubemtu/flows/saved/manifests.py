"""What people have of a cluster in files, as one Snapshot: no cluster needed.

`sources` yields the files, `forms` has the table of those who recognise them, `assembling` puts together what they
found. What is wrong with one document never hides the others: each is read alone, and what cannot be read becomes an
entry with file and line.
"""

import itertools
import time
from collections.abc import Iterator
from pathlib import Path

from kubemtu.core.errors import Malformed, NotRecognised, UsageError
from kubemtu.core.snapshot import Snapshot
from kubemtu.core.text import documents
from kubemtu.core.text.wording import names
from kubemtu.flows.saved import assembling, forms, kustomize, patches, sources
from kubemtu.flows.saved.facts import Facts

READ = (
    "manifests and what `kubectl get -o yaml` prints, must-gather and other dumps, files that clusters are made from,"
    " CNI configurations of nodes, and what `ip` or `ifconfig` prints there"
)
BASES_MOST = 20  # folders and files beside the one that was named


def load(path: Path) -> Snapshot:
    """Read a file, all files below a folder or in an archive, or "-", what is piped in, as an offline Snapshot.

    A saved snapshot comes back as it was. Documents that are no objects of the API are entries in `unread`, and so is
    what is of no use here. A conflist, a subnet.env or a net-conf.json becomes a file of a node that is named after the
    file, or after its folder where several lie together.
    Raises UsageError when there is nothing at `path`, Malformed when nothing there can be used, and NotRecognised for
    patches alone.
    """
    facts, count = Facts(), 0
    for entry in itertools.chain(sources.entries(path, facts), _besides(path, facts)):
        count += 1
        try:
            forms.take(entry.content, entry.name, facts, alone=entry.alone)
        except documents.Broken as why:
            if entry.alone:
                raise Malformed(f"{sources.named(path)} {why}.") from why
            facts.skip(entry.name, str(why))
    if not count and not facts.unread and not facts.unused:
        raise UsageError(f"{sources.named(path)} holds no manifests, nor any other file that could be read.")
    if not facts.any:
        if facts.operations and not facts.unread:
            raise NotRecognised(_lone(facts))
        assembling.snapshot(facts, "", "", 0.0)  # says what is wrong with patches that stand alone
        first = next((f" ({each.what}: {each.message})" for each in facts.unread), "")
        raise Malformed(
            f"{sources.named(path)} holds no Kubernetes object and no CNI configuration that could be read{first}. "
            f"Read are {READ}, in files, folders and archives, or piped in (-)."
        )
    if facts.is_one_snapshot:
        return facts.snapshots[0][1]
    return assembling.snapshot(facts, _source(path), path.resolve().name, time.time())


def _lone(facts: Facts) -> str:
    """Say of JSON 6902 patches that stand alone what they do, and what must be given with them."""
    told = [f"{place} ({patches.said(operations)})" for place, operations in facts.operations.values()]
    are = "is a JSON 6902 patch, which names" if len(told) == 1 else "are JSON 6902 patches, which name"
    return (
        f"{names(told)} {are}"
        " nothing that is patched: give the folder with the kustomization.yaml that does, or what `kustomize build`"
        " prints."
    )


def _besides(path: Path, facts: Facts) -> Iterator[sources.SavedFile]:
    """Yield what a kustomization in the folder at `path` is made of, beside it: `resources: [../../base]`."""
    read: set[str] = set()
    while path != sources.STANDARD_INPUT and path.is_dir() and len(read) < BASES_MOST:
        below = next((each for each in kustomize.outside(facts) if each not in read), None)
        if below is None:
            return
        read.add(below)
        yield from sources.beside(path, below, facts)


def _source(path: Path) -> str:
    if path == sources.STANDARD_INPUT:
        return "standard input"
    return f"{'folder' if path.is_dir() else 'file'} {path}"
