"""Nodes of example clusters as an API with pools and pod networks has them."""

from collections.abc import Mapping

import msgspec

from kubemtu.core.objects import Object
from kubemtu.core.snapshot import Snapshot


def networked(snapshot: Snapshot, pools: Mapping[str, str], *, offset: int = 0) -> Snapshot:
    """Give node nN the pods' network 10.42.N.0/24 (`offset` further on), the address 192.168.77.N and its pool."""

    def with_network(found: Object) -> Object:
        if found.kind != "Node":
            return found
        number = int(found.name.removeprefix("n"))
        labels = {"karpenter.sh/nodepool": pools[found.name]} if found.name in pools else {}
        return Object.of(
            {
                **found.body,
                "metadata": {"name": found.name, "labels": labels},
                "spec": {"podCIDRs": [f"10.42.{number + offset}.0/24"]},
                "status": {"addresses": [{"type": "InternalIP", "address": f"192.168.77.{number}"}]},
            }
        )

    return msgspec.structs.replace(snapshot, objects=tuple(map(with_network, snapshot.objects)))
