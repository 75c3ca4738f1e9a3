"""Keys that somebody set and nothing reads: they look like the right one, and whoever wrote them believes they work."""

from collections.abc import Iterable, Iterator

from kubemtu.cni.objects import daemonset, environment, reading
from kubemtu.core import codes
from kubemtu.core.codes import Finding
from kubemtu.core.objects import Object

DEPTH_MOST = 20  # of what is walked; an Installation nests to about ten
# felix/config/config_params.go (any case of letters), and cni-plugin/pkg/install/install.go.
VARIABLES = frozenset(
    {
        "CNI_MTU",
        "FELIX_IPINIPMTU",
        "FELIX_VXLANMTU",
        "FELIX_VXLANMTUV6",
        "FELIX_WIREGUARDMTU",
        "FELIX_WIREGUARDMTUV6",
        "FELIX_MTUIFACEPATTERN",
        "FELIX_REQUIREMTUFILE",
        "REQUIRE_MTU_FILE",
    }
)
CONTAINERS = frozenset({"calico-node", "install-cni", "kube-flannel"})


def in_config_map(config: Object | None, agent: Object | None, known: Iterable[str], right: str) -> list[Finding]:
    """Return MTU111 for each key of a ConfigMap that speaks of an MTU and that no container takes a variable from.

    Nothing is said without the DaemonSet, or where it takes whole ConfigMaps (envFrom): then any key may be read.
    """
    held = config.get("data") if config is not None else None
    if config is None or agent is None or not isinstance(held, dict) or _takes_all(agent):
        return []
    taken = {each.key for each in environment.variables(agent, []) if each.config_map == config.name} | set(known)
    found = [key for key in held if isinstance(key, str) and "mtu" in key.lower() and key not in taken]
    return [reading.stray(f"{config}, data.{key}", key, right) for key in found]


def in_environment(agent: Object | None, right: str) -> list[Finding]:
    """Return MTU111 for each variable of the CNI's own containers that speaks of an MTU and that none of them knows."""
    found = dict.fromkeys(
        each.name
        for each in environment.variables(agent, [])
        if each.container in CONTAINERS and "MTU" in each.name.upper() and each.name.upper() not in VARIABLES
    )
    return [reading.stray(f"{agent}, variable {name}", name, right) for name in found]


def in_tree(found: object, known: Iterable[str], words: Iterable[str]) -> Iterator[str]:
    """Yield the dotted path of each key whose name contains one of `words` and whose path is none of `known`."""
    known, words = frozenset(known), tuple(words)
    yield from (path for path, key in _walk(found, "", 0) if path not in known and any(w in key.lower() for w in words))


def misplaced(resource: Object | None, *parts: str) -> list[Finding]:
    """Return MTU111 for each of `parts` that stands in `metadata`, by an indentation too deep."""
    if resource is None:
        return []
    return [
        codes.finding(
            codes.MTU111,
            f"{resource}, metadata.{part}",
            f"{part} stands inside metadata, where it is read by nothing: its indentation is too deep.",
            f"Move {part} to the left, beside metadata.",
        )
        for part in parts
        if resource.get("metadata", part) is not None
    ]


def _takes_all(agent: Object) -> bool:
    nothing: tuple[Object, ...] = ()
    found = reading.attempt(lambda: tuple(daemonset.containers(agent)), nothing, [], str(agent))
    return any(each.get("envFrom") for each in found)


def _walk(found: object, at: str, depth: int) -> Iterator[tuple[str, str]]:
    if not isinstance(found, dict) or depth > DEPTH_MOST:
        return
    for key, held in found.items():
        path = f"{at}.{key}" if at else str(key)
        yield path, str(key)
        yield from _walk(held, path, depth + 1)
