"""Where the API server of a lab stands: on the first node, behind that node's own NIC and switch port, as anywhere.

    kubelet, CNI daemons of node-N --https://192.168.77.1:6443--> NIC of N, port, switch, port, NIC of node-1 --> API
    pods, the agent ---------------https://10.43.0.1:443--------> the node's kube-proxy rules --> the same
    the user's CLI ----------------https://127.0.0.1:PORT-------> the machine's loopback: no part of the cluster

In a scene of IPv6 alone that is https://[fd00:77::1]:6443 and https://[fd00:10:43::1]:443.

So a switch port that takes less than the NICs send hits what reports to the API too, as it does where a cluster is
real (kubeadm and k3s give kubelets the node's address; client-go's in-cluster configuration is the Service's).
"""

import socket
from collections.abc import Callable

import yaml

from kubemtu.node.kernel import netns
from kubemtu_lab import addressing, errors, kernel, nft
from kubemtu_lab import scene as scenes
from kubemtu_lab.api import ApiBackend

SECURE_PORT = 443


def listen(pid: int, families: addressing.Families) -> socket.socket:
    """Make the API's socket in the network namespace of a process: on all its addresses, as kube-apiserver has it.

    What is accepted from it stays in that namespace, so every byte goes by its NIC. Raises OSError.
    """
    with kernel.network(pid) as there:
        return netns.inside(there, lambda: addressing.listen(scenes.API_PORT, families))


def dialling(pid: int) -> Callable[[socket.AddressFamily], socket.socket]:
    """Return what makes sockets in the network namespace of a process, by which the API reaches kubelets."""

    def make(family: socket.AddressFamily) -> socket.socket:
        with kernel.network(pid) as there:
            return netns.inside(there, lambda: socket.socket(family))

    return make


def reached_by(families: addressing.Families) -> tuple[str, ...]:
    """Return the addresses for which the API's certificate must hold, besides loopback."""
    return (*addressing.node(1, families), addressing.SERVICE[families[0]])


def kubeconfigs(api: ApiBackend, families: addressing.Families) -> dict[str, str]:
    """Return the kubeconfigs of a node by path: by the control plane's address, and by that of the Service.

    Where the machine has no nft there are no Services in a lab, and the agent goes by the control plane's address.
    """
    direct = f"https://{addressing.host_port(addressing.node(1, families)[0], scenes.API_PORT)}"
    by_service = f"https://{addressing.host_port(addressing.SERVICE[families[0]], SECURE_PORT)}"
    service = by_service if can_have_services() else direct
    return {
        scenes.KUBECONFIG: yaml.safe_dump(api.kubeconfig(direct)),
        scenes.IN_CLUSTER: yaml.safe_dump(api.kubeconfig(service)),
    }


def can_have_services() -> bool:
    """Return True where nft and this kernel let the lab play kube-proxy."""
    try:
        nft.load(nft.table("ip", "try-nft", "") + nft.table("ip", "try-nft", _TRIED) + "delete table ip try-nft\n")
    except errors.Impossible:
        return False
    return True


_TRIED = "  chain try {\n    type nat hook output priority -100;\n  }\n"
