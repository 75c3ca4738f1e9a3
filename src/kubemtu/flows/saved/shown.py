"""What `kubemtu node show -o json` printed: a node as people see it, and so with less than an observation has."""

import re

import msgspec

from kubemtu.core.net import Link, NodeObservation, PodPort, Uplink
from kubemtu.flows.saved.facts import Document, Facts

_SNAKE = re.compile(r"_([a-z])")


class _Port(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    host_link: str
    host_mtu: int
    netns: str = ""
    pod_link: str = ""
    pod_mtu: int | None = None
    addresses: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    pins: tuple[str, ...] = ()


class _View(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    ports: tuple[_Port, ...]
    nic: str | None
    nic_mtu: int | None
    tunnels: tuple[Link, ...] = ()
    bridge: Link | None = None
    pins: tuple[str, ...] = ()
    troubles: tuple[str, ...] = ()


def take(document: Document, facts: Facts) -> bool:
    """Take what a node showed of itself; its name is told by the file."""
    value = document.value
    if not isinstance(value, dict) or "kind" in value or not isinstance(value.get("ports"), list):
        return False
    camel = _camel(value)
    if not isinstance(camel, dict) or not {"nic", "nicMtu", "tunnels"} <= camel.keys():
        return False
    try:
        facts.observed.append((document.of.name, _seen(msgspec.convert(camel, _View))))
    except msgspec.ValidationError as why:
        facts.skip(document.place, f"is no output of `kubemtu node show` that can be read: {why}")
    return True


def _camel(value: object) -> object:
    if isinstance(value, dict):
        return {_SNAKE.sub(lambda found: found[1].upper(), str(key)): _camel(each) for key, each in value.items()}
    return [_camel(each) for each in value] if isinstance(value, list) else value


def _seen(view: _View) -> NodeObservation:
    nic = Link(index=0, name=view.nic, mtu=view.nic_mtu) if view.nic and view.nic_mtu else None
    return NodeObservation(
        node="",
        links=tuple(link for link in (nic, *view.tunnels, view.bridge) if link is not None),
        uplinks=(Uplink(peer="", device=nic.name, mtu=nic.mtu),) if nic is not None else (),
        ports=tuple(
            PodPort(
                netns=port.netns,
                inode=0,
                host_link=port.host_link,
                host_index=0,
                host_mtu=port.host_mtu,
                pod_link=port.pod_link,
                pod_index=0,
                pod_mtu=port.pod_mtu,
                addresses=port.addresses,
                others=port.others,
            )
            for port in view.ports
        ),
        errors=(
            *view.troubles,
            *(f"a pin is left on the node: {pin}" for pin in view.pins),
            *(f"a pin is left in the pod at {port.host_link}: {pin}" for port in view.ports for pin in port.pins),
        ),
        seen_by="files",
    )
