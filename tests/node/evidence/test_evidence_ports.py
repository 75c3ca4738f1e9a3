"""Both ends of a veth count what the receiving one is too small for; a veth takes four bytes more than its MTU."""

import os
import socket
from typing import TYPE_CHECKING

import pytest

from kubemtu.core import net
from kubemtu.core.evidence import symptoms
from kubemtu.core.evidence.records import Evidence
from kubemtu.node import observe
from kubemtu.node.kernel import netns
from kubemtu.node.probe import channel

if TYPE_CHECKING:
    from tests.support.rigs import Rig, RigMaker

pytestmark = pytest.mark.netns


def ports(rig: "Rig") -> tuple[net.PodPort, ...]:
    return rig.inside(lambda: observe.observe("n1", ports=rig.rule)).ports


def send(space: str, address: str, size: int, times: int) -> None:
    """Sends datagrams with DF, from a socket that hears of no error: with IP_RECVERR such a drop is ENOBUFS."""

    def work() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.setsockopt(socket.IPPROTO_IP, channel.IP_MTU_DISCOVER, channel.IP_PMTUDISC_PROBE)
            for _ in range(times):
                sock.sendto(bytes(size - 28), (address, 9))

    descriptor = os.open(f"/run/netns/{space}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        netns.inside(descriptor, work)
    finally:
        os.close(descriptor)


@pytest.mark.parametrize("end", ["host", "pod"])
def test_one_end_made_smaller_alone_is_seen_by_its_drops(rigs: "RigMaker", end: str) -> None:
    rig = rigs(1)
    pod = rig.pods[0]
    sender, target = (pod, "192.168.77.1") if end == "host" else (rig.node, rig.address(1))
    send(sender, target, 100, 1)  # so that neighbours know each other
    space, device = (rig.node, rig.host_link(1)) if end == "host" else (pod, "eth0")
    rig.ip_batch(space, [f"link set dev {device} mtu 1450"])
    before = ports(rig)
    send(sender, target, 1454, 5)
    assert symptoms.symptoms(None, Evidence(), ports_before=before, ports=ports(rig)) == ()
    send(sender, target, 1455, 7)
    (symptom,) = symptoms.symptoms(None, Evidence(), ports_before=before, ports=ports(rig))
    assert (symptom.kind, symptom.sure, symptom.says_mtu) == ("veth ends differ", "proves", True)
    way = "that the pod sent" if end == "host" else "that the pod was sent"
    assert symptom.sentence.startswith(f"7 packets {way} vanished between the ends of its interface (")
    assert symptom.where == f"cali1 ({pod})"
