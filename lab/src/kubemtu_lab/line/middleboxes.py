"""Scenes in which something on the way changes, limits, loses or hides packets."""

from typing import Final

from kubemtu_lab.line import network
from kubemtu_lab.line.faults import (
    SERVICE,
    SERVICE_PORT,
    Clamped,
    Device,
    DfCleared,
    Filtered,
    Limited,
    Lossy,
    Masqueraded,
    Middle,
    Service,
)
from kubemtu_lab.line.scene import EVERY, HERE, NEAR, LineScene
from kubemtu_lab.line.spoofed import Poisoned

_CHANGING: Final = (
    LineScene(
        name="df-cleared",
        summary="r1 clears DF, so the routers fragment what is larger than 1450 instead of refusing it",
        picture="a =1500= [DF off] r1 =1450= r2 =1500= b",
        faults=(Middle(1450), DfCleared()),
        kinds=("fragmented",),
        mtu=1450,
        families=(4,),
        rtts=NEAR,
    ),
    LineScene(
        name="poisoned",
        summary="a was told 600 (over IPv6 1280) of a path that carries 1500",
        picture="a [believes 600] =1500= r1 =1500= r2 =1500= b",
        faults=(Poisoned(600, 1280),),
        kinds=("stale path MTU",),
        mtu=1500,
        back=1500,
        says=("600", "1280"),
        rtts=NEAR,
    ),
    LineScene(
        name="mss-clamp",
        summary="a black hole at 1450 where r1 lowers the MSS of TCP: connections work, other protocols vanish",
        picture="a =1500= r1 [MSS 1410] =1450= r2 =1500= b     r1: ...",
        faults=(Middle(1450), Filtered(), Clamped(1450)),
        kinds=("masked",),
        mtu=1450,
        rtts=NEAR,
    ),
    LineScene(
        name="icmp-limited",
        summary="the middle carries 1450, and the routers say so once a second",
        picture="a =1500= r1 =1450= r2 =1500= b     r1: too big, 1450, ...",
        faults=(Middle(1450), Limited()),
        kinds=("lower",),
        mtu=1450,
        says=(network.ROUTER[4], network.ROUTER[6]),
        rtts=NEAR,
        pause=1.1,
    ),
    LineScene(
        name="masquerade",
        summary="r1 puts its own address in the place of a's",
        picture="a =1500= [NAT] r1 =1500= r2 =1500= b",
        faults=(Masqueraded(),),
        kinds=("ok",),
        mtu=1500,
        back=1500,
        rtts=NEAR,
    ),
    LineScene(
        name="service",
        summary="b is reached at another address and port, which r1 replaces as kube-proxy does",
        picture="a =1500= [10.96.0.10:80] r1 =1500= r2 =1500= b",
        faults=(Service(),),
        kinds=("ok",),
        mtu=1500,
        back=1500,
        address=SERVICE,
        port=SERVICE_PORT,
        rtts=NEAR,
    ),
    LineScene(
        name="dead",
        summary="b is switched off",
        picture="a =1500= r1 =1500= r2 =1500= |",
        faults=(Device("b", "e0", None),),
        kinds=("unreachable",),
        mtu=0,
        rtts=HERE,
    ),
)

_LOSING: Final = tuple(
    LineScene(
        name=f"loss-{percent}",
        summary=f"everything carries 1500, and {percent} of a hundred packets are lost each way",
        picture=f"a =1500= [-{percent} %] r1 =1500= r2 =1500= b",
        faults=(Lossy(percent),),
        kinds=("ok",),
        mtu=1500,
        rtts=NEAR,
    )
    for percent in (1, 5, 20)
)

_LOSING_BLACK_HOLE: Final = tuple(
    LineScene(
        name=f"black-hole-loss-{percent}",
        summary=f"a black hole at 1450, and {percent} of a hundred packets are lost each way",
        picture=f"a =1500= [-{percent} %] r1 =1450= r2 =1500= b     r1: ...",
        faults=(Middle(1450), Filtered(), Lossy(percent)),
        kinds=("black hole",),
        mtu=1450,
        rtts=EVERY if percent == 5 else NEAR,
    )
    for percent in (1, 5, 20)
)

SCENES: Final = (*_CHANGING, *_LOSING, *_LOSING_BLACK_HOLE)
