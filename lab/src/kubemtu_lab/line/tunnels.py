"""Scenes in which packets go through tunnels, or by several ways at once."""

from typing import Final

from kubemtu_lab.line.faults import OVERLAY, EqualPaths, Filtered, HostTunnel, RouterTunnel
from kubemtu_lab.line.scene import HERE, NEAR, LineScene

SCENES: Final = (
    LineScene(
        name="tunnel-df",
        summary="the hosts' own VXLAN, left at 1500 over 1500, sets DF: what is larger than 1450 vanishes at home",
        picture="a [vx 1500] =1500= r1 =1500= r2 =1500= [vx 1500] b",
        faults=(HostTunnel("set"),),
        kinds=("lower",),
        mtu=1450,
        address=OVERLAY,
        rtts=NEAR,
    ),
    LineScene(
        name="tunnel-fragments",
        summary="the hosts' own VXLAN, left at 1500 over 1500, is fragmented outside: all arrives, in two packets",
        picture="a [vx 1500] =1500= r1 =1500= r2 =1500= [vx 1500] b     outside: 1500 + 72",
        faults=(HostTunnel("unset"),),
        kinds=("outer fragments",),
        mtu=1500,
        whole=1450,
        says=("above 1450 the tunnel's packets around them are cut",) * 2,
        address=OVERLAY,
        rtts=NEAR,
    ),
    LineScene(
        name="router-fragments",
        summary="the routers' VXLAN, left at 1500 over 1500, is fragmented outside: all arrives, in two packets",
        picture="a =1500= r1 [vx 1500] =1500= [vx 1500] r2 =1500= b     outside: 1500 + 72",
        faults=(RouterTunnel(),),
        kinds=("ok",),
        mtu=1500,
        back=1500,
        families=(4,),  # over IPv6, r1 learns 1450 from its own tunnel with the first large packet, and says so then
        rtts=NEAR,
    ),
    LineScene(
        name="equal-paths-2",
        summary="two equal ways by flow, of 1500 and 1450, and nobody hears the routers say so",
        picture="a =1500= r1 =1500= r2 =1500= b\n            =1450=",
        faults=(EqualPaths((1450,)), Filtered()),
        kinds=("equal paths differ",),
        mtu=1450,
        flows=20,  # (1/2)^20 < 1e-6
        says=("1450 and 1500",) * 2,
        rtts=NEAR,
    ),
    LineScene(
        name="equal-paths-8",
        summary="eight equal ways by flow, one of 1450 and one of 1400, and nobody hears the routers say so",
        picture="a =1500= r1 =1500= r2 =1500= b\n            =1500=   (6 of 8)\n            =1450=\n            =1400=",
        faults=(EqualPaths((1500, 1500, 1450, 1500, 1400, 1500, 1500)), Filtered()),
        kinds=("equal paths differ",),
        mtu=1400,
        flows=104,  # (7/8)^104 < 1e-6
        says=("1400, 1450 and 1500",) * 2,
        rtts=HERE,
    ),
)
