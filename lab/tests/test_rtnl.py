"""The lab's netlink, against the kernel: what was asked is what is there, and a refusal says which and why."""

import errno
import os
import threading
from collections.abc import Callable

import pytest

from kubemtu.node.errors import Gone, Refused
from kubemtu.node.kernel import routes
from kubemtu_lab import addressing, kernel
from kubemtu_lab.rtnl import Rtnl

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
            rtnl.bring_up("a", master="fabric")
            rtnl.bring_up("b")
            rtnl.add_address("b", "192.168.77.1/24")
            rtnl.add_route("0.0.0.0/0", "b", via="192.168.77.254")
            rtnl.add_route("10.1.0.0/16", "b", source="192.168.77.1")
            a, b = rtnl.device("a"), rtnl.device("b")
            assert (a.mtu, a.kind, a.up, a.master) == (9000, "veth", True, rtnl.device("fabric").index)
            assert rtnl.mac("a") == "ee:ee:ee:ee:ee:ee"
            assert (b.mtu, b.peer_index) == (1500, a.index)
            assert rtnl.device("fabric").mtu == 9000  # never set, it follows its smallest port
            assert rtnl.default_device() == b.index
            ways = {(each.destination, each.gateway, each.source) for each in routes.dump(rtnl) if each.family == 4}
            assert ways == {
                ("default", "192.168.77.254", None),
                ("10.1.0.0/16", None, "192.168.77.1"),
                ("192.168.77.0/24", None, "192.168.77.1"),
            }
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
            assert (made.mtu, made.vxlan, made.kind) == (1450, (1, 8472, lower, False), "vxlan")
            with pytest.raises(
                Refused, match=r"setting flannel\.1 from MTU 1450 to 1451: the kernel said EINVAL"
            ) as refused:
                rtnl.set_mtu("flannel.1", 1451)
            assert refused.value.code == errno.EINVAL

    in_new_netns(act)


def test_a_missing_link_is_told_by_name() -> None:
    def act() -> None:
        with Rtnl() as rtnl:
            assert rtnl.find("eth7") is None
            with pytest.raises(Gone, match="eth7"):
                rtnl.set_mtu("eth7", 1400)
            with pytest.raises(Gone, match="switching the offloads of eth7 off"):
                rtnl.no_segmentation_offload("eth7")

    in_new_netns(act)


def test_own_icmp_is_swallowed_once_and_released_once() -> None:
    def act() -> None:
        with Rtnl() as rtnl:
            for family in addressing.DUAL:
                for _ in range(2):
                    rtnl.swallow_own_icmp(family, swallow=True)
                for _ in range(2):
                    rtnl.swallow_own_icmp(family, swallow=False)

    in_new_netns(act)
