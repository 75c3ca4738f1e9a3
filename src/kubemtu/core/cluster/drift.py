"""Where a node's conflist is not what its template renders to, its MTU apart.

install-cni replaces placeholders as plain text (projectcalico/calico: cni-plugin/pkg/install/install.go), so a
placeholder stands for whatever may be there. Both texts are compared as JSON, because layout carries no meaning.
Plugins that others chain into the same file (istio-cni, linkerd-cni) are their installers' work and nobody's edit.
What the agent struck out of the file (core.disclosure.files) is compared by its length.
"""

import json
import re
from collections.abc import Iterator, Mapping

from kubemtu.core.cluster import node_files
from kubemtu.core.disclosure import files

PLACEHOLDER = re.compile(r"__[A-Z0-9_]+?__")
MOST = 5  # enough to recognise an edit by; a file of another CNI differs everywhere


def differences(template: str, text: str) -> tuple[str, ...]:
    """Return the dotted paths where the file differs, the first few; none when either text is no CNI configuration."""
    wanted, found = _parsed(template), _parsed(text)
    if wanted is None or found is None:
        return ()
    out: list[str] = []
    have = _plugins(found)
    for index, plugin in enumerate(_plugins(wanted)):
        match = next((one for one in have if one.get("type") == plugin.get("type")), None)
        out += [f"plugins[{index}]"] if match is None else _compare(plugin, match, f"plugins[{index}]")
    out += _compare(wanted | {"plugins": []}, found | {"plugins": []}, "")
    return tuple(out[:MOST])


def chained(template: str, text: str) -> bool:
    """Return True when the file lists plugins that the template does not."""
    wanted, found = _parsed(template), _parsed(text)
    if wanted is None or found is None:
        return False
    return not {str(one.get("type")) for one in _plugins(found)} <= {str(one.get("type")) for one in _plugins(wanted)}


def _parsed(text: str) -> dict[str, object] | None:
    try:
        whole: object = json.loads(node_files.filled(text, '"__ANY__"'))
    except (ValueError, RecursionError):
        return None
    return whole if isinstance(whole, dict) else None


def _plugins(whole: Mapping[str, object]) -> list[dict[str, object]]:
    listed = whole.get("plugins")
    return [one for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []


def _compare(wanted: object, found: object, path: str) -> Iterator[str]:
    if isinstance(wanted, dict) and isinstance(found, dict):
        for key in dict.fromkeys((*wanted, *found)):
            inner = f"{path}.{key}" if path else str(key)
            if str(key).lower() == "mtu":
                continue
            if key in wanted and key in found:
                yield from _compare(wanted[key], found[key], inner)
            else:
                yield inner
    elif isinstance(wanted, list) and isinstance(found, list) and len(wanted) == len(found):
        for index, (one, other) in enumerate(zip(wanted, found, strict=True)):
            yield from _compare(one, other, f"{path}[{index}]")
    elif (length := files.length(found)) is not None:
        if not _may_have_been(wanted, length):
            yield path
    elif isinstance(wanted, str) and PLACEHOLDER.search(wanted):
        literal = ".*".join(re.escape(part) for part in PLACEHOLDER.split(wanted))
        if not re.fullmatch(literal, found if isinstance(found, str) else json.dumps(found), re.DOTALL):
            yield path
    elif wanted != found:
        yield path


def _may_have_been(wanted: object, length: int) -> bool:
    """Return True where the value that the template asks for can be the one that was struck out."""
    if isinstance(wanted, str) and PLACEHOLDER.search(wanted):
        return True
    written = json.dumps(wanted, ensure_ascii=False)
    return length in ({len(wanted), len(written) - 2} if isinstance(wanted, str) else {len(written)})
