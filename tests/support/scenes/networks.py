"""Pod networks as the lab deploys them, by name."""

from kubemtu_lab.scene import Canal, Flannel

NETWORKS: dict[str, Canal | Flannel] = {
    "canal-a": Canal(),
    "canal-a-1450": Canal(mtu=1450),
    "canal-b": Canal(era="B"),
    "canal-b-1450": Canal(era="B", mtu=1450),
    "canal-c": Canal(era="C"),
    "flannel": Flannel(),
    "flannel-1500": Flannel(delegate_mtu=1500),
    "flannel-base": Flannel(backend_mtu=1400),
}
