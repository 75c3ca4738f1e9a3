"""What was printed on nodes and saved: outputs of ip, ifconfig and route, and of `kubemtu node show`."""

import re
from collections.abc import Iterable, Iterator, Mapping

from kubemtu.cni import registry
from kubemtu.core.errors import Malformed
from kubemtu.core.net import NodeObservation
from kubemtu.core.printed import node_show, observation, outputs, talos, values
from kubemtu.core.printed.values import Output
from kubemtu.flows.saved.facts import Document, Facts, Printed, Text

# sosreport/sos: report/plugins/networking.py runs each command in each namespace, and names files after commands
_NAMESPACE = re.compile(r"ip_netns_exec_(.+?)_(?:ip|ifconfig|route)(?:_|$)")


def take(text: Text, facts: Facts) -> bool:
    """Take a text in which tools of a node printed links, addresses or routes, whatever its name."""
    if not outputs.recognise(text.text):
        return False
    output = outputs.parse(text.text)
    if (space := _NAMESPACE.match(text.path.name)) is not None:
        output = Output(inside={space[1]: output}, remarks=output.remarks)
    if output.says:
        facts.printed.append(Printed(name=text.name, output=output, host=outputs.host(text.text)))
    else:
        why = output.remarks[0] if output.remarks else "no link, address or route stands in it"
        facts.leave(text.name, f"tells nothing of a node: {why}")
    return True


def take_shown(document: Document, facts: Facts) -> bool:
    """Take what `kubemtu node show -o json` printed; its node is told by the file's name."""
    if not node_show.looks_like(document.value):
        return False
    try:
        facts.printed.append(Printed(name=document.of.name, output=node_show.parse(document.value)))
    except Malformed as why:
        facts.skip(document.place, str(why))
    return True


def take_resource(document: Document, facts: Facts) -> bool:
    """Take a resource that `talosctl get` printed: a link, an address or a route, which make sense together."""
    if not talos.looks_like(document.value):
        return False
    facts.resources.append(document)
    return True


def everything(facts: Facts) -> Iterator[Printed]:
    """Yield what was printed of each node: outputs, and resources put together."""
    yield from facts.printed
    by_file: dict[str, list[tuple[int, object]]] = {}
    for document in facts.resources:
        by_file.setdefault(document.of.name, []).append((document.line, document.value))
    for name, listed in by_file.items():
        for node, output in talos.parse(listed).items():
            yield Printed(name=name, output=output, node=node)


def observed(node: str, printed: Iterable[Printed], peers: Mapping[str, Iterable[str]]) -> NodeObservation:
    """Return what all outputs of one node say; `peers` are the addresses of each Node, its own among them."""
    return observation.observed(
        node,
        values.joined((each.name, each.output) for each in printed),
        peers=[address for other, listed in peers.items() if other != node for address in listed],
        own=tuple(peers.get(node, ())),
        rules=registry.ports(),
    )
