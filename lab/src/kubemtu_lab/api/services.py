"""What the API adds to a Service, or refuses about it: defaults, addresses of the service network, node ports.

Addresses are handed out by their number instead of by chance, above the 256 lowest, which are for those that ask for
one by name. Source: kubernetes `pkg/apis/core/v1/defaults.go`, `pkg/registry/core/service/storage/alloc.go`,
`pkg/registry/core/service/ipallocator/ipallocator.go` (calculateRangeOffset).
"""

import ipaddress
from collections.abc import Iterator, Sequence

from kubemtu_lab.addressing import DUAL, NAMES, Families, Family, family
from kubemtu_lab.api import names
from kubemtu_lab.api.errors import Cause, invalid
from kubemtu_lab.api.resources import SERVICES, Object

NETWORKS: dict[Family, str] = {4: "10.43.0.0/16", 6: "fd00:10:43::/112"}
"""The service networks by family; RKE's, and one like it."""
_NETWORKS = {NAMES[each]: network for each, network in NETWORKS.items()}
_BY_NAME = 256
_NODE_PORTS = range(30000, 32768)
_DUAL = ("PreferDualStack", "RequireDualStack")
_NO_ADDRESS = "None"
_TYPES = ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")
_PROTOCOLS = ("SCTP", "TCP", "UDP")
_KEPT = ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy")


def admit(name: str, service: Object, current: Object | None, others: Sequence[Object], known: Families = DUAL) -> None:
    """Complete a Service in place; `current` is what it replaces, `others` are all that there are.

    `known` are the families of which this cluster has a service network.

    Raises:
        Refusal: 422 for an address or a node port that cannot be had, a change of the address, and no ports.
    """
    spec: Object = service.setdefault("spec", {})
    before: Object = (current or {}).get("spec") or {}
    if spec.setdefault("type", "ClusterIP") == "ExternalName":
        return
    if not spec.get("ports") and spec.get("clusterIP") != _NO_ADDRESS:
        raise invalid(SERVICES, name, [("spec.ports", "Required value")])
    taken = [
        each["spec"] for each in others if current is None or each["metadata"]["uid"] != current["metadata"]["uid"]
    ]
    spec.setdefault("sessionAffinity", "None")
    spec.setdefault("internalTrafficPolicy", "Cluster")
    for port in spec.get("ports") or ():
        port.setdefault("protocol", "TCP")
        port.setdefault("targetPort", port["port"])
    if causes := list(_port_causes(spec)):
        raise invalid(SERVICES, name, causes)
    _address(name, spec, before, taken, [NAMES[each] for each in known])
    if spec["type"] in ("NodePort", "LoadBalancer"):
        spec.setdefault("externalTrafficPolicy", "Cluster")
        _give_node_ports(name, spec, before, taken)


def _port_causes(spec: Object) -> Iterator[Cause]:
    if spec["type"] not in _TYPES:
        listed = ", ".join(f'"{each}"' for each in _TYPES)
        yield "spec.type", f'Unsupported value: "{spec["type"]}": supported values: {listed}'
    ports, seen = spec.get("ports") or (), set()
    for place, port in enumerate(ports):
        at = f"spec.ports[{place}]"
        for field in ("port", "targetPort"):
            if isinstance(port[field], int) and not 1 <= port[field] <= 65535:
                yield f"{at}.{field}", f"Invalid value: {port[field]}: must be between 1 and 65535, inclusive"
        if port["protocol"] not in _PROTOCOLS:
            listed = ", ".join(f'"{each}"' for each in _PROTOCOLS)
            yield f"{at}.protocol", f'Unsupported value: "{port["protocol"]}": supported values: {listed}'
        if len(ports) > 1 and not port.get("name"):
            yield f"{at}.name", "Required value"
        elif port.get("name") in seen:
            yield f"{at}.name", f'Duplicate value: "{port["name"]}"'
        seen.add(port.get("name"))


def _address(name: str, spec: Object, before: Object, taken: Sequence[Object], known: Sequence[str]) -> None:
    for field in _KEPT:
        if not spec.get(field) and before.get(field):
            spec[field] = before[field]
    asked = spec.get("clusterIPs") or [each for each in [spec.get("clusterIP")] if each]
    if before.get("clusterIP") and before["clusterIP"] != spec["clusterIP"]:
        told = f'Invalid value: ["{spec["clusterIP"]}"]: may not change once set'
        raise invalid(SERVICES, name, [("spec.clusterIPs[0]", told)])
    dual = spec.setdefault("ipFamilyPolicy", "SingleStack") in _DUAL
    is_named = asked and asked[0] != _NO_ADDRESS
    families = spec.setdefault("ipFamilies", [NAMES[family(asked[0])] if is_named else known[0]])
    _refuse_unknown(name, spec, known)
    if dual and len(families) == 1:
        families += [each for each in known if each not in families]
    if asked[:1] == [_NO_ADDRESS]:
        found = [_NO_ADDRESS]
    else:
        used = {address for each in taken for address in each.get("clusterIPs") or ()}
        found = [
            _checked(name, asked[place], family, used) if place < len(asked) else _free(name, family, used)
            for place, family in enumerate(families)
        ]
    spec["clusterIP"], spec["clusterIPs"] = found[0], found


def _refuse_unknown(name: str, spec: Object, known: Sequence[str]) -> None:
    """Raise Refusal for a family of which this cluster has no service network."""
    causes = [
        (f"spec.ipFamilies[{place}]", f'Invalid value: "{each}": not configured on this cluster')
        for place, each in enumerate(spec["ipFamilies"])
        if each not in known
    ]
    if spec["ipFamilyPolicy"] == "RequireDualStack" and len(known) < len(NAMES):
        told = 'Invalid value: "RequireDualStack": this cluster is not configured for dual-stack services'
        causes.append(("spec.ipFamilyPolicy", told))
    if causes:
        raise invalid(SERVICES, name, causes)


def _checked(name: str, address: str, family: str, used: set[str]) -> str:
    for wrong in names.address(address):
        raise invalid(SERVICES, name, [("spec.clusterIPs[0]", f'Invalid value: "{address}": {wrong}')])
    why = ""
    if ipaddress.ip_address(address) not in ipaddress.ip_network(_NETWORKS[family]):
        why = "the provided network does not match the current range"
    if address in used:
        why = "provided IP is already allocated"
    if why:
        told = f'Invalid value: ["{address}"]: failed to allocate IP {address}: {why}'
        raise invalid(SERVICES, name, [("spec.clusterIPs", told)])
    return address


def _free(name: str, family: str, used: set[str]) -> str:
    network = ipaddress.ip_network(_NETWORKS[family])
    for place in range(_BY_NAME + 1, network.num_addresses - 1):
        if (address := str(network[place])) not in used:
            return address
    raise invalid(
        SERVICES, name, [("spec.clusterIPs", "Invalid value: []: failed to allocate a serviceIP: range is full")]
    )


def _give_node_ports(name: str, spec: Object, before: Object, taken: Sequence[Object]) -> None:
    used = {(port["nodePort"], port["protocol"]) for each in taken for port in _with_node_port(each)}
    held = {(port["port"], port["protocol"]): port["nodePort"] for port in _with_node_port(before)}
    for place, port in enumerate(spec.get("ports") or ()):
        protocol = port["protocol"]
        asked = port.get("nodePort") or held.get((port["port"], protocol))
        if asked and (asked not in _NODE_PORTS or (asked, protocol) in used):
            why = (
                "provided port is already allocated"
                if asked in _NODE_PORTS
                else "provided port is not in the valid range"
            )
            raise invalid(SERVICES, name, [(f"spec.ports[{place}].nodePort", f"Invalid value: {asked}: {why}")])
        port["nodePort"] = asked or next(each for each in _NODE_PORTS if (each, protocol) not in used)
        used.add((port["nodePort"], protocol))


def _with_node_port(spec: Object) -> Iterator[Object]:
    return (port for port in spec.get("ports") or () if port.get("nodePort"))
