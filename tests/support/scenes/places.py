"""How commands name what the tests of scenes look at."""

CONFIG = "ConfigMap kube-system/canal-config"
INLINE = f"{CONFIG}, data.cni_network_config, plugins[0].mtu"
VETH = f"{CONFIG}, data.veth_mtu"
CONFLIST = "/etc/cni/net.d/10-calico.conflist"
ALL_PODS = "default/pod-1a, default/pod-1b, default/pod-2a and default/pod-2b"
BOTH_OF = "default/pod-{0}a and default/pod-{0}b"


def on_nodes(code: str, place: str, *numbers: int) -> tuple[str, ...]:
    """Return the same finding on nodes."""
    return tuple(f"{code}: node node-{number}, {place.format(number)}" for number in numbers)
