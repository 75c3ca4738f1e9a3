"""The lab's netlink, against the kernel: what was asked is what is there, and a refusal says which and why."""

import errno
import os
import threading
from collections.abc import Callable

import pytest

from kubemtu.lab import kernel
from kubemtu.lab.errors import Refused
from kubemtu.lab.rtnl import Rtnl

pytestmark = pytest.mark.netns


def in_new_netns(act: Callable[[], None]) -> None:
    """Run in a fresh namespace, on a thread that ends with it."""
    failed: list[BaseException] = []

    def work() -> None:
        try:
            kernel.unshare(kernel.CLONE_NEWNET)
            act()
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    if failed:
        raise failed[0]


@pytest.fixture(autouse=True)
def as_root(can_make_labs: None) -> None:
    """Only root enters a namespace on a thread; without it the labs of the other tests show the same."""
    if os.geteuid() != 0:
        pytest.skip("only root can enter a network namespace on a thread")


def test_links_addresses_and_routes_come_back_as_they_were_asked() -> None:
    def act() -> None:
        with Rtnl() as rtnl:
            rtnl.add_bridge("fabric")
            rtnl.add_veth("a", "b", mtu=9000, peer_mtu=1500, mac="ee:ee:ee:ee:ee:ee")
            rtnl.set_link("a", master="fabric")
            rtnl.set_link("b", up=True)
            rtnl.add_address("b", "192.168.77.1/24")
            rtnl.add_route("0.0.0.0/0", "b", via="192.168.77.254")
            rtnl.add_route("10.1.0.0/16", "b", source="192.168.77.1")
            a, b = rtnl.device("a"), rtnl.device("b")
            assert (a.mtu, a.mac, a.kind, a.up) == (9000, "ee:ee:ee:ee:ee:ee", "veth", True)
            assert (b.mtu, b.lower) == (1500, a.index)
            assert rtnl.device("fabric").mtu == 9000  # never set, it follows its smallest port
            assert rtnl.default_device() == b.index
            assert rtnl.destinations() == {"0.0.0.0/0", "10.1.0.0/16", "192.168.77.0/24"}
            rtnl.delete_route("10.1.0.0/16")
            rtnl.delete_route("10.1.0.0/16")
            rtnl.delete_link("a")
            assert rtnl.find("b") is None
            assert rtnl.default_device() is None

    in_new_netns(act)


def test_a_vxlan_is_bound_to_its_lower_link_and_the_kernel_refuses_more_than_fits() -> None:
    def act() -> None:
        with Rtnl() as rtnl:
            rtnl.add_veth("eth0", "wire", mtu=1500)
            lower = rtnl.device("eth0").index
            words = {"vni": 1, "port": 8472, "lower": lower, "mac": "02:00:00:00:00:01"}
            rtnl.add_vxlan("flannel.1", local="192.168.77.1", mtu=1450, **words)  # type: ignore[arg-type]  # a mixed dict
            made = rtnl.device("flannel.1")
            assert (made.mtu, made.vni, made.port, made.lower, made.kind) == (1450, 1, 8472, lower, "vxlan")
            with pytest.raises(Refused, match=r"the kernel refused setting flannel\.1 to MTU 1451: Invalid") as refused:
                rtnl.set_link("flannel.1", mtu=1451)
            assert refused.value.errno == errno.EINVAL

    in_new_netns(act)


def test_a_missing_link_is_told_by_name() -> None:
    def act() -> None:
        with Rtnl() as rtnl:
            assert rtnl.find("eth7") is None
            with pytest.raises(Refused, match="eth7"):
                rtnl.set_link("eth7", mtu=1400)
            with pytest.raises(Refused, match="switching the offloads of eth7 off"):
                rtnl.no_segmentation_offload("eth7")

    in_new_netns(act)


def test_own_icmp_is_swallowed_once_and_released_once() -> None:
    def act() -> None:
        with Rtnl() as rtnl:
            for _ in range(2):
                rtnl.swallow_own_icmp(swallow=True)
            for _ in range(2):
                rtnl.swallow_own_icmp(swallow=False)

    in_new_netns(act)
