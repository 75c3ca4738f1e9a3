"""Sizes that a path is likely to carry: what the links of this world have, minus what encapsulations cost.

A search that asks for these first finds an overlay's MTU in one round instead of ten. Each computed size comes a second
time plus VLAN_SLACK: a veth takes that much more than its own MTU says, so a receiver with 1450 is found at 1454.
All sizes are of whole IP packets, in bytes.
"""

from collections.abc import Iterable

from kubemtu.core import encap, net
from kubemtu.core.encap import Encapsulation, Stack
from kubemtu.core.headers import IPV6

ETHERNET = 1500  # IEEE 802.3 3.2.7
LINKS = (
    ETHERNET,
    9000,  # jumbo frames by custom
    9001,  # Amazon EC2 inside a VPC
    8896,  # Google Cloud with jumbo frames
    1460,  # Google Cloud by default
    1450,  # a virtual machine that itself sits on VXLAN
    1400,  # many VPNs and tunnelled clouds
)
ODD = (576, 1006, 1280, 1300, 1350, 1380, 1420, 1472, 1492)  # RFC 791, 1191, 8200; VPN defaults; RFC 2516 PPPoE

HYPOTHESES_MOST = 7  # each takes seven packets of a round

_WIREGUARD = encap.wireguard()
_VXLAN = encap.vxlan()

COMMON: tuple[tuple[Encapsulation, ...], ...] = (
    (_VXLAN,),
    (_WIREGUARD,),
    (encap.ipip(),),
    (encap.vxlan(IPV6),),
    (encap.wireguard(IPV6),),
)
RARE: tuple[tuple[Encapsulation, ...], ...] = (
    (encap.gre(),),
    (encap.udp(),),
    (encap.ipip(IPV6),),
    (encap.gretap(),),
    (encap.geneve(options=8),),
    (encap.geneve(IPV6, options=8),),
    (encap.esp_tunnel(),),
    (_WIREGUARD, _VXLAN),
    (_VXLAN, _VXLAN),
)


def likely(top: int, also: Iterable[int] = ()) -> tuple[int, ...]:
    """List the sizes below `top` worth asking for, ascending; `also` names link MTUs that the caller knows of."""
    found = set(ODD)
    for link in {top, ETHERNET, *also}:
        found.update(link - Stack(layers).cost for layers in (*COMMON, *RARE))
        found.update(_slack(link))
    for link in LINKS:
        found.update(_slack(link))
    return tuple(sorted(size for size in found if encap.IPV4_MINIMUM < size < top))


def hypotheses(top: int, also: Iterable[int] = ()) -> tuple[int, ...]:
    """List the few sizes below `top` that are most likely the answer itself, most likely first.

    Worth asking for their upper neighbour as often as its loss must be seen: then they are proven in the same round.
    """
    links = tuple(dict.fromkeys((*also, top, ETHERNET)))
    found = [size for link in links for size in _slack(link)]
    found += [link - Stack(layers).cost for layers in COMMON for link in links]
    return tuple(size for size in dict.fromkeys(found) if encap.IPV4_MINIMUM < size < top)[:HYPOTHESES_MOST]


def _slack(link: int) -> tuple[int, ...]:
    """Return the link itself and VXLAN over it, each as a router enforces it and as a veth does."""
    overlay = link - _VXLAN.cost
    return (overlay, overlay + net.VLAN_SLACK, link, link + net.VLAN_SLACK)
