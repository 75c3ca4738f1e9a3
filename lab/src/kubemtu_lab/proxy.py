"""What plays kube-proxy on a node of a lab: rules that take what is sent to a Service to one of its pods.

    pod --to 10.43.1.1:7843--> [prerouting: dnat to one of the endpoints] --> routes, overlay --> 10.244.2.3:7843
    node ---------------------> [output: the same]  [postrouting: masquerade what no pod sent]

A ruleset follows from Services and EndpointSlices alone, and is loaded where it differs from the last, again and again
until the kernel takes it. Each node asks the API by itself, and one that is cut off keeps the rules it has. Source:
kubernetes `pkg/proxy/{iptables,nftables}/proxier.go`, started with --cluster-cidr. Left out: session affinity, load
balancers, external addresses, node ports on loopback, and that what is known of UDP flows is forgotten with their
endpoint. What pods send to nodes by a Service is masqueraded here, which flanneld's --ip-masq and Calico's natOutgoing
do elsewhere.
"""

import asyncio
import ipaddress
import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

import msgspec

from kubemtu.kube.api import Api
from kubemtu_lab import addressing, errors, informer, nft
from kubemtu_lab.api.resources import Object
from kubemtu_lab.endpoints import OF_SERVICE

_LOG = logging.getLogger(__name__)
TABLE = "kube-proxy"
Family = Literal["ip", "ip6"]
_FAMILIES: Mapping[Family, str] = {"ip": "IPv4", "ip6": "IPv6"}
_RETRY_SECONDS = 5.0
_MARK = "0x4000"  # kube-proxy's: masquerade this


class ProxyNode(msgspec.Struct, frozen=True, kw_only=True):
    """A node that has rules: its own addresses, and the networks of its pods."""

    name: str
    addresses: tuple[str, ...]
    networks: tuple[str, ...]


class ServicePort(msgspec.Struct, frozen=True, kw_only=True):
    """One port of a Service in one family: where it is reached, and the endpoints (address, port) behind it."""

    label: str
    protocol: str
    address: str
    port: int
    node_port: int | None
    endpoints: tuple[tuple[str, int], ...]


async def run(api: Api, node: ProxyNode, *, loaded: asyncio.Event | None = None) -> None:
    """Keep the rules of the node whose namespace this is, until cancelled; sets `loaded` after the first time.

    Where they cannot be, one sentence in the log says so.
    """
    changed = asyncio.Event()
    services = informer.Informer(api, informer.SERVICES, changed)
    slices = informer.Informer(api, informer.ENDPOINT_SLICES, changed)
    held, told = _NOTHING, ""
    async with asyncio.TaskGroup() as tasks:
        for each in (services, slices):
            tasks.create_task(each.run())
        while True:
            await changed.wait()
            changed.clear()
            if not (services.synced and slices.synced):
                continue
            state = [each.body for each in services.objects.values()], [each.body for each in slices.objects.values()]
            wanted = ruleset(node, *state)
            if wanted != held:
                why = await asyncio.to_thread(_load, wanted)
                if why and why != told:
                    _LOG.warning("Services lead nowhere in this lab: %s", why)
                held, told = (held if why else wanted), why
                if why:  # a kernel that was busy takes them later
                    asyncio.get_running_loop().call_later(_RETRY_SECONDS, changed.set)
            if loaded is not None:
                loaded.set()


def ruleset(node: ProxyNode, services: Sequence[Object], slices: Sequence[Object]) -> str:
    """Return the rules of one node, for `nft -f`: they replace those that it had."""
    return "".join(nft.table(family, TABLE, _table(node, family, services, slices)) for family in _FAMILIES)


_NOTHING = "".join(nft.table(family, TABLE, "") for family in _FAMILIES)


def _table(node: ProxyNode, family: Family, services: Sequence[Object], slices: Sequence[Object]) -> str:
    ways = sorted(_ways(node, _FAMILIES[family], services, slices), key=lambda way: (way.label, way.port))
    if not ways:
        return ""
    own = [each for each in node.addresses if _is_of(each, _FAMILIES[family])]
    network = next((each for each in node.networks if _is_of(each, _FAMILIES[family])), "")
    every = addressing.POD_NETWORKS[6 if family == "ip6" else 4]
    local = sorted({address for way in ways for address, _ in way.endpoints if _within(address, network)})
    taken = [rule for way in ways if way.endpoints for rule in _dnat(way, family, own)]
    refused = [f"{match} reject" for way in ways if not way.endpoints for match, _ in _matches(way, family, own)]
    sent = [
        f"meta mark and {_MARK} == {_MARK} meta mark set meta mark xor {_MARK} masquerade",
        f"ct status dnat {family} saddr != {every} masquerade",
    ]
    if local:
        pairs = ", ".join(f"{each} . {each}" for each in local)
        sent.append(f"ct status dnat {family} saddr . {family} daddr {{ {pairs} }} masquerade")
    if network:
        sent.append(f"ct status dnat {family} saddr {network} {family} daddr != {every} masquerade")
        # Behind a bridge the answer of a neighbour would not come this way, unless br_netfilter makes it.
        sent.append(f'ct status dnat oifname "cni0" {family} saddr {network} masquerade')
    chains = {
        "services": taken,
        "refused": refused,
        "prerouting": ["type nat hook prerouting priority dstnat", "jump services"],
        "output": ["type nat hook output priority -100", "jump services"],
        "postrouting": ["type nat hook postrouting priority srcnat", *sent],
        "forward": ["type filter hook forward priority filter", "jump refused"],
        "local": ["type filter hook output priority filter", "jump refused"],
    }
    return "".join(f"  chain {name} {{\n{_lines(rules)}  }}\n" for name, rules in chains.items())


def _lines(rules: Sequence[str]) -> str:
    return "".join(f"    {each}{';' if each.startswith('type ') else ''}\n" for each in rules)


def _dnat(way: ServicePort, family: Family, own: Sequence[str]) -> Iterator[str]:
    choice = ", ".join(f"{place} : {address} . {port}" for place, (address, port) in enumerate(way.endpoints))
    target = f"dnat {family} to numgen random mod {len(way.endpoints)} map {{ {choice} }}"
    for match, mark in _matches(way, family, own):
        yield f'{match}{mark} {target} comment "{way.label}"'


def _matches(way: ServicePort, family: Family, own: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Match what is sent to a Service's port: by its address, and by its node port on any address of the node."""
    yield f"{family} daddr {way.address} {way.protocol} dport {way.port}", ""
    if way.node_port and own:
        match = f"{family} daddr {{ {', '.join(own)} }} {way.protocol} dport {way.node_port}"
        yield match, f" meta mark set meta mark or {_MARK}"


def _ways(node: ProxyNode, family: str, services: Sequence[Object], slices: Sequence[Object]) -> Iterator[ServicePort]:
    for service in services:
        spec, metadata = service["spec"], service["metadata"]
        address = next((each for each in spec.get("clusterIPs") or () if _is_of(each, family)), "")
        if not address:
            continue
        key = metadata["namespace"], metadata["name"]
        behind = [each for each in slices if _service(each) == key and each.get("addressType") == family]
        near = spec.get("internalTrafficPolicy") == "Local"
        for port in spec.get("ports") or ():
            name = port.get("name", "")
            yield ServicePort(
                label=f"{'/'.join(key)}:{name}",
                protocol=port.get("protocol", "TCP").lower(),
                address=address,
                port=port["port"],
                node_port=port.get("nodePort"),
                endpoints=tuple(sorted(_endpoints(behind, name, family, node.name if near else None))),
            )


def _endpoints(slices: Sequence[Object], name: str, family: str, node: str | None) -> Iterator[tuple[str, int]]:
    for each in slices:
        number = next((int(port["port"]) for port in each.get("ports") or () if (port.get("name") or "") == name), 0)
        for endpoint in each.get("endpoints") or () if number else ():
            if (endpoint.get("conditions") or {}).get("ready") is False or node not in (None, endpoint.get("nodeName")):
                continue
            for address in endpoint["addresses"]:
                if _is_of(address, family):
                    yield address, number


def _service(service: Object) -> tuple[str, str]:
    metadata = service["metadata"]
    return metadata["namespace"], (metadata.get("labels") or {}).get(OF_SERVICE, "")


def _is_of(address: str, family: str) -> bool:
    """Return True for an address or a network of that family; what is none, as the headless `None`, is of no family."""
    try:
        return ipaddress.ip_interface(address).version == (6 if family == "IPv6" else 4)
    except ValueError:
        return False


def _within(address: str, network: str) -> bool:
    return bool(network) and ipaddress.ip_address(address) in ipaddress.ip_network(network)


def _load(rules: str) -> str:
    """Load the rules of this namespace; returns why it cannot be done, or nothing."""
    try:
        nft.load(rules)
    except errors.Impossible as refusal:
        return str(refusal)
    return ""
