"""Which objects are read of a cluster, whether it is asked or lies in files: a list, which needs no connection."""

from kubemtu.cni import registry
from kubemtu.core.change import migration
from kubemtu.core.cluster import policy
from kubemtu.core.objects import NODES, PODS, Want
from kubemtu.kube import records

POLICIES = Want(kind=policy.KIND, plural=policy.PLURAL, api_versions=(migration.API_VERSION,))
_OURS = (NODES, PODS, records.NODES, records.MIGRATIONS, POLICIES)


def of_cluster() -> tuple[Want, ...]:
    """Return all that is read of a cluster: what its CNI may keep, and what kubemtu itself goes by; each once."""
    return tuple(dict.fromkeys((*registry.wants(), *_OURS)))
