"""What journals of tests begin with."""

from kubemtu.core import net
from kubemtu.core.change import migration

DESIRED = migration.Desired(
    migration="m1",
    phase=migration.Phase.RECORD,
    pin_mtu=1450,
    highest_mtu=1500,
    ports=net.PortRule(prefixes=("cali",)),
    pod_mtu=1450,
    origin_mtu=1500,
)
