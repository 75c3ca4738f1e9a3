"""How long a lab of three nodes of two pods takes to come and to go, beside a shell script that makes the same links.

The script is what somebody who wants to try MTUs out writes: namespaces, a switch, veths, VXLAN devices with their
neighbours, addresses and routes, one `ip` or `bridge` a line. It has no API, no kubelet and no DaemonSet, and waits for
nobody; `kubemtu lab up` has all of these, and returns when every pod is Ready and every node knows the ways to the
others. The two take turns, and each is gone before the other comes; `ip netns del` leaves the kernel's work to be done
behind it, `kubemtu lab down` waits until nothing is left.

Needs root, or a user namespace with network, mount and PID namespaces of its own.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from bench import timing

ROUNDS = 10
NODES, PODS = 3, 2
TAG = f"kmtest-bench-{os.getpid()}"
FABRIC = f"ip -n {TAG}-fabric"
LAB_UP, LAB_DOWN = "kubemtu lab up", "kubemtu lab down"
SCRIPT_UP, SCRIPT_DOWN = "ip script (links alone)", "ip netns del, for each"


def topology() -> list[str]:
    """Return the commands that make the links of the scene canal-1500."""
    lines = [
        f"ip netns add {TAG}-fabric",
        f"{FABRIC} link set lo up",
        f"{FABRIC} link add fabric up type bridge",
        f"{FABRIC} addr add 192.168.77.254/24 dev fabric",
    ]
    for number in range(1, NODES + 1):
        lines += node(number)
        for place in range(2, PODS + 2):
            lines += pod(number, place)
    return lines


def node(number: int) -> list[str]:
    """One node: its NIC on the switch, its VXLAN device, and the ways to the other nodes' pods."""
    name = f"{TAG}-node-{number}"
    here = f"ip -n {name}"
    tunnel = f"id 1 dev eth0 local 192.168.77.{number} dstport 8472 nolearning"
    lines = [
        f"ip netns add {name}",
        f"{FABRIC} link add port-{number} up master fabric type veth peer name eth0 netns {name}",
        f"{here} link set lo up",
        f"{here} link set eth0 up",
        f"{here} addr add 192.168.77.{number}/24 dev eth0",
        f"{here} route add default via 192.168.77.254",
        f"{here} link add flannel.1 address {mac(number)} mtu 1450 up type vxlan {tunnel}",
        f"{here} addr add 10.244.{number}.0/32 dev flannel.1",
    ]
    for other in sorted(set(range(1, NODES + 1)) - {number}):
        lines += [
            f"{here} neigh add 10.244.{other}.0 lladdr {mac(other)} dev flannel.1 nud permanent",
            f"bridge -n {name} fdb append {mac(other)} dev flannel.1 dst 192.168.77.{other} self permanent",
            f"{here} route add 10.244.{other}.0/24 via 10.244.{other}.0 dev flannel.1 onlink",
        ]
    return lines


def pod(number: int, place: int) -> list[str]:
    """One pod: its veth, its address, its routes."""
    name, address = f"{TAG}-pod-{number}-{place}", f"10.244.{number}.{place}"
    return [
        f"ip netns add {name}",
        f"ip -n {TAG}-node-{number} link add cali{place} up type veth peer name eth0 netns {name}",
        f"ip -n {name} link set lo up",
        f"ip -n {name} link set eth0 up",
        f"ip -n {name} addr add {address}/32 dev eth0",
        f"ip -n {name} route add 169.254.1.1 dev eth0 scope link",
        f"ip -n {name} route add default via 169.254.1.1 dev eth0",
        f"ip -n {TAG}-node-{number} route add {address} dev cali{place} scope link",
    ]


def mac(number: int) -> str:
    """Return the MAC address of a node's VXLAN device."""
    return f"02:00:00:00:00:{number:02x}"


def script(lines: Sequence[str]) -> list[str]:
    """Return the command that runs these lines and stops at the first that fails."""
    return ["sh", "-e", "-c", "\n".join(lines)]


def lab(*words: str) -> list[str]:
    """Return a command of `kubemtu lab`."""
    return [str(Path(sys.executable).with_name("kubemtu")), "lab", *words]


def main() -> None:
    """Print both tables."""
    made = topology()
    gone = [line.replace(" add ", " del ") for line in made if line.startswith("ip netns add")]
    contenders = {
        LAB_UP: lab("up", "--scene=canal-1500", f"--nodes={NODES}", f"--pods={PODS}", f"--name={TAG}"),
        LAB_DOWN: lab("down", TAG),
        SCRIPT_UP: script(made),
        SCRIPT_DOWN: script(gone),
    }
    times: dict[str, list[float]] = {name: [] for name in contenders}
    with tempfile.TemporaryDirectory(prefix="kubemtu-bench-") as folder:
        environment = os.environ | {"KUBEMTU_LABS": folder}
        try:
            for _ in range(ROUNDS):
                for name, command in contenders.items():
                    began = time.perf_counter()
                    subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=True)
                    times[name].append(time.perf_counter() - began)
        finally:
            for leftover in (lab("down", "--all"), *(script([line]) for line in gone)):
                subprocess.run(leftover, env=environment, capture_output=True, check=False)
    print(f"{NODES} nodes of {PODS} pods, {ROUNDS} rounds in turn; the script is {len(made)} commands\n")
    print(timing.table({name: times[name] for name in (LAB_UP, SCRIPT_UP)}, against=LAB_UP), end="\n\n")
    print(timing.table({name: times[name] for name in (LAB_DOWN, SCRIPT_DOWN)}, against=LAB_DOWN))


if __name__ == "__main__":
    main()
