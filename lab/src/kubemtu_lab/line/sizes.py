"""Scenes in which a link carries less than the hosts believe."""

from typing import Final

from kubemtu_lab.line import network
from kubemtu_lab.line.faults import Device, Edges, Filtered, Middle, Narrow
from kubemtu_lab.line.scene import NEAR, LineScene

_NAMED: Final = (network.ROUTER[4], network.ROUTER[6])

SCENES: Final = (
    LineScene(
        name="clean",
        summary="everything carries 1500",
        picture="a =1500= r1 =1500= r2 =1500= b",
        kinds=("ok",),
        mtu=1500,
        back=1500,
    ),
    LineScene(
        name="lower",
        summary="the middle carries 1450, and the routers say so",
        picture="a =1500= r1 =1450= r2 =1500= b     r1: too big, 1450",
        faults=(Middle(1450),),
        kinds=("lower",),
        mtu=1450,
        back=1450,
        says=_NAMED,
    ),
    LineScene(
        name="black-hole-1450",
        summary="the middle carries 1450, what VXLAN leaves of 1500, and nobody hears the routers say so",
        picture="a =1500= r1 =1450= r2 =1500= b     r1: ...",
        faults=(Middle(1450), Filtered()),
        kinds=("black hole",),
        mtu=1450,
        back=1450,
    ),
    LineScene(
        name="black-hole-1433",
        summary="the same with a size that nothing explains",
        picture="a =1500= r1 =1433= r2 =1500= b     r1: ...",
        faults=(Middle(1433), Filtered()),
        kinds=("black hole",),
        mtu=1433,
        back=1433,
    ),
    LineScene(
        name="forwards-only",
        summary="1400 arrive there and 1500 come back, and nobody hears the routers say so",
        picture="a =1500= r1 -1400> r2 =1500= b\n            <1500-",
        faults=(Narrow("b", 1400), Filtered()),
        kinds=("asymmetric",),
        mtu=1400,
        back=1500,
        says=("1400 bytes arrive there and 1500 come back",) * 2,
    ),
    LineScene(
        name="backwards-only",
        summary="1500 arrive there and 1400 come back, and nobody hears the routers say so",
        picture="a =1500= r1 -1500> r2 =1500= b\n            <1400-",
        faults=(Narrow("a", 1400), Filtered()),
        kinds=("asymmetric",),
        mtu=1500,
        back=1400,
        says=("1500 bytes arrive there and 1400 come back",) * 2,
    ),
    LineScene(
        name="jumbo-lower",
        summary="hosts with 9000 over a middle of 1500, and the routers say so",
        picture="a =9000= r1 =1500= r2 =9000= b     r1: too big, 1500",
        faults=(Edges(9000),),
        kinds=("lower",),
        mtu=1500,
        back=1500,
        says=_NAMED,
        rtts=NEAR,
    ),
    LineScene(
        name="jumbo-black-hole",
        summary="hosts with 9000 over a middle of 1500, and nobody hears the routers say so",
        picture="a =9000= r1 =1500= r2 =9000= b     r1: ...",
        faults=(Edges(9000), Filtered()),
        kinds=("black hole",),
        mtu=1500,
        back=1500,
        rtts=NEAR,
    ),
    LineScene(
        name="half-cured",
        summary="the middle carries 1450 and the routers say so, but the first of them has 1450 towards a as well: "
        "a veth takes 4 more, drops the rest without a word, and no router sees a packet of full size",
        picture="a =1500=[1450] r1 =1450= r2 =1500= b     r1: too big, 1450",
        faults=(Middle(1450), Device("r1", "l", 1450)),
        kinds=("black hole",),
        mtu=1450,
        back=1450,
        says=_NAMED,
        rtts=NEAR,
    ),
    LineScene(
        name="receiver",
        summary="the receiver's own interface has 1450: a veth takes 4 more, and drops the rest without a word",
        picture="a =1500= r1 =1500= r2 =1500=[1450] b",
        faults=(Device("b", "e0", 1450),),
        kinds=("receiver",),
        mtu=1454,
        back=1450,
        says=("1450", "1450"),
        rtts=NEAR,
    ),
)
