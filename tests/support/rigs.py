"""Node namespaces with pods in them, built with the `ip` command, so that our netlink is never its own witness."""

import itertools
import json
import os
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from kubemtu.core import net
from kubemtu.core.change import migration
from kubemtu.node.change import engine
from kubemtu.node.kernel import netns

T = TypeVar("T")
_SERIAL = itertools.count()


def run(*command: str, stdin: str | None = None) -> str:
    """Run a command, and show what it said when it fails."""
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
    return done.stdout


def ip(space: str, *arguments: str) -> str:
    """Run iproute2 in a namespace."""
    return run("ip", "-n", space, *arguments)


class Rig:
    """One node namespace and its pods.

    pod 1 [eth0] --- [cali1] node                 routed as Calico does: 169.254.1.1, proxy ARP, /32 and /128 routes
    pod 2 [eth0] --- [cali2]  |
                      [flannel.1] over [eth0] --- br in the fabric namespace

    or, bridged, as flannel's bridge plugin does: [veth1], [veth2] in cni0, 10.42.1.1/24.
    """

    def __init__(
        self, pods: int, *, bridged: bool = False, mtu: int = 1500, ipv6: bool = True, gso: bool = True
    ) -> None:
        """Build it all; MTUs in bytes of the IP packet."""
        self.tag = f"kmtest-{os.getpid()}-{next(_SERIAL)}"
        self.node = f"{self.tag}-node"
        self.fabric = f"{self.tag}-fab"
        self.bridged = bridged
        self.ipv6 = ipv6
        self.mtu = mtu
        self.gso = gso
        self.pods: list[str] = []
        try:
            self._build_node()
            for number in range(1, pods + 1):
                self.add_pod(number)
        except BaseException:
            self.close()
            raise
        self.descriptor = os.open(f"/run/netns/{self.node}", os.O_RDONLY | os.O_CLOEXEC)

    @property
    def rule(self) -> net.PortRule:
        """The rule that covers this rig's pods."""
        return net.PortRule(bridge="cni0") if self.bridged else net.PortRule(prefixes=("cali",))

    def _build_node(self) -> None:
        for name in (self.fabric, self.node):
            self._add_space(name)
        lines = [
            f"link add up0 netns {self.fabric} type veth peer name eth0 netns {self.node}",
            f"-n {self.fabric} link set up0 up",
        ]
        for line in lines:
            run("ip", *line.split())
        batch = [
            "link set lo up",
            "link set eth0 up",
            "addr add 192.168.77.1/24 dev eth0",
            "route add default via 192.168.77.254 dev eth0",
            "link add flannel.1 type vxlan id 1 dev eth0 local 192.168.77.1 dstport 8472 nolearning",
            "link set flannel.1 up",
            "addr add 10.42.1.0/32 dev flannel.1",
            "route add 10.42.2.0/24 via 10.42.2.0 dev flannel.1 onlink",
            "route add 10.42.3.0/24 via 10.42.3.0 dev flannel.1 onlink",
        ]
        batch += ["route add fd42:0:0:2::/64 dev flannel.1"] if self.ipv6 else []
        if self.bridged:
            batch += ["link add cni0 type bridge", "link set cni0 up", "addr add 10.42.1.1/24 dev cni0"]
            batch += ["addr add fd42:0:0:1::1/64 dev cni0 nodad"] if self.ipv6 else []
        self.ip_batch(self.node, batch)
        self.sysctl(self.node, "net/ipv4/ip_forward", "1")
        self.sysctl(self.node, "net/ipv6/conf/all/forwarding", "1")

    def _add_space(self, name: str) -> None:
        run("ip", "netns", "add", name)
        self.sysctl(name, "net/ipv6/conf/default/accept_dad", "0")  # so that routes are all there at once

    def ip_batch(self, space: str, lines: list[str]) -> None:
        """Run many `ip` commands inside one namespace."""
        run("ip", "-n", space, "-batch", "-", stdin="\n".join(lines))

    def sysctl(self, space: str, name: str, value: str) -> None:
        """Set a sysctl inside a namespace."""
        run("ip", "netns", "exec", space, "sh", "-c", f"echo {value} > /proc/sys/{name}")

    def add_pod(self, number: int, mtu: int | None = None) -> str:
        """Make one pod and start nothing in it; return its namespace."""
        pod = f"{self.tag}-p{number}"
        size = mtu or self.mtu
        self.pods.append(pod)
        self._add_space(pod)
        host = self.host_link(number)
        run(
            *f"ip -n {pod} link add eth0 mtu {size} type veth peer name {host} netns {self.node} mtu {size}".split(),
        )
        if not self.ipv6:
            self.sysctl(pod, "net/ipv6/conf/eth0/disable_ipv6", "1")
            self.sysctl(self.node, f"net/ipv6/conf/{host}/disable_ipv6", "1")
        if not self.gso:
            for space, device in ((pod, "eth0"), (self.node, host)):
                run("ip", "-n", space, "link", "set", device, "gso_max_segs", "1")
        if self.bridged:
            self._bridge_pod(number, pod, host)
        else:
            self._route_pod(number, pod, host)
        return pod

    def _route_pod(self, number: int, pod: str, host: str) -> None:
        inside = [
            "link set lo up",
            "link set eth0 up",
            f"addr add {self.address(number)}/32 dev eth0",
            "route add 169.254.1.1 dev eth0 scope link",
            "route add default via 169.254.1.1 dev eth0",
        ]
        outside = [
            f"link set {host} address ee:ee:ee:ee:ee:ee",
            f"link set {host} up",
            f"route add {self.address(number)} dev {host} scope link",
        ]
        if self.ipv6:
            inside += [
                f"addr add {self.address6(number)}/128 dev eth0 nodad",
                "route add default via fe80::ecee:eeff:feee:eeee dev eth0",
            ]
            outside += [f"route add {self.address6(number)} dev {host}"]
        self.ip_batch(self.node, outside)
        self.ip_batch(pod, inside)
        self.sysctl(self.node, f"net/ipv4/conf/{host}/proxy_arp", "1")
        self.sysctl(self.node, f"net/ipv4/neigh/{host}/proxy_delay", "0")

    def _bridge_pod(self, number: int, pod: str, host: str) -> None:
        inside = [
            "link set lo up",
            "link set eth0 up",
            f"addr add {self.address(number)}/24 dev eth0",
            "route add default via 10.42.1.1 dev eth0",
        ]
        if self.ipv6:
            inside += [
                f"addr add {self.address6(number)}/64 dev eth0 nodad",
                "route add default via fd42:0:0:1::1 dev eth0",
            ]
        self.ip_batch(self.node, [f"link set {host} master cni0", f"link set {host} up"])
        self.ip_batch(pod, inside)

    def host_link(self, number: int) -> str:
        """Return the name of the host end."""
        return f"vethrig{number}" if self.bridged else f"cali{number}"

    @staticmethod
    def address(number: int) -> str:
        """Return a pod's IPv4 address."""
        return f"10.42.1.{number + 9}" if number < 240 else f"10.42.4.{number - 230}"

    @staticmethod
    def address6(number: int) -> str:
        """Return a pod's IPv6 address."""
        return f"fd42:0:0:1::{number + 9:x}"

    def desired(
        self, phase: migration.Phase, target: int, *, restore: bool = False, name: str = "m1"
    ) -> migration.Desired:
        """Return a change of this rig's pods to `target`, and of its tunnel to what fits."""
        return migration.Desired(
            migration=name,
            phase=phase,
            pin_mtu=min(self.mtu, target),
            highest_mtu=max(self.mtu, target),
            ports=self.rule,
            pod_mtu=target,
            origin_mtu=self.mtu,
            tunnel="flannel.1",
            tunnel_mtu=min(target, 1450),
            bridge="cni0" if self.bridged else None,
            pod_networks=("10.42.0.0/16", "fd42::/48"),
            restore=restore,
        )

    def make_true(self, desired: migration.Desired, directory: Path) -> migration.Applied:
        """One call by a process that knows nothing but the journal."""
        return self.inside(lambda: engine.make_true(desired, directory=directory))

    def walk(
        self,
        target: int,
        directory: Path,
        *,
        phases: Sequence[migration.Phase] = migration.ORDER,
        restore: bool = False,
    ) -> list[migration.Applied]:
        """Several phases after another; each must be done."""
        reached = []
        for phase in phases:
            reached.append(self.make_true(self.desired(phase, target, restore=restore), directory))
            assert reached[-1].failures == ()
            assert reached[-1].done
        return reached

    def inside(self, work: Callable[[], T]) -> T:
        """Run something in the node's namespace."""
        return netns.inside(self.descriptor, work)

    def mtu_of(self, space: str, device: str) -> int:
        """Return the MTU of a device, as `ip` reads it."""
        return int(json.loads(run("ip", "-n", space, "-j", "link", "show", "dev", device))[0]["mtu"])

    def mtus(self) -> set[tuple[int, int]]:
        """Host end and pod end of every pod."""
        hosts = {link["ifname"]: link["mtu"] for link in json.loads(run("ip", "-n", self.node, "-j", "link", "show"))}
        numbers = [int(pod.rpartition("-p")[2]) for pod in self.pods]
        return {
            (hosts[self.host_link(number)], self.mtu_of(self.pods[place], "eth0"))
            for place, number in enumerate(numbers)
        }

    def routes(self) -> dict[str, str]:
        """All routes of all tables of all namespaces, as lines of text in their order as words.

        The kernel lists a link's own (multicast) in the order in which links came up, which a busy machine changes.
        """
        return {
            f"{space} {family}": "\n".join(
                sorted(run("ip", "-n", space, family, "route", "show", "table", "all").splitlines())
            )
            for space in (self.node, *self.pods)
            for family in ("-4", "-6")
        }

    def remove_pod(self, pod: str) -> None:
        """Delete a pod's namespace."""
        self.pods.remove(pod)
        run("ip", "netns", "del", pod)

    def close(self) -> None:
        """Delete every namespace; the veths go with them."""
        if hasattr(self, "descriptor"):
            os.close(self.descriptor)
        for space in (*self.pods, self.node, self.fabric):
            subprocess.run(("ip", "netns", "del", space), capture_output=True, check=False)


RigMaker = Callable[..., Rig]
