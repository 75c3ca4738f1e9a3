"""What to do about a pod network, as one value that every command gives; core.planning.remedy finds it."""

from typing import Literal

import msgspec

Cause = Literal["network", "tunnel", "overlay", "veth", "bridge", "pods", "nics", "none"]


class Remedy(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What is wrong, and the MTU that pods shall have, in bytes of their packet; 0 where none can be said.

    `cause`: "network": less gets through between nodes than their NICs say; "tunnel": a tunnel device is smaller than
    it should be; "overlay": less gets through between pods, and nothing shows why; "veth": two ends of one interface
    differ; "bridge": a bridge has another MTU than its ports; "pods": pods or their configuration do not suit the path;
    "nics": and so because NICs differ. `path_mtu` is what gets through between nodes, 0 where the NICs decide; `place`
    the devices at fault; `known` who said so before.
    """

    cause: Cause
    mtu: int = 0
    path_mtu: int = 0
    devices: str = ""
    stated_by: str = ""

    @property
    def command(self) -> str:
        """The command that shows the change; `apply` with the same options makes it."""
        if self.cause == "network" and self.path_mtu and not self.stated_by:
            return f"plan --nic-mtu {self.path_mtu}"
        return f"plan --mtu {self.mtu}" if self.cause == "overlay" else "plan"

    @property
    def words(self) -> str:
        """What to do, as a clause."""
        made = self.command.replace("plan", "apply", 1)
        if self.cause == "tunnel":
            return (
                f"{self.devices} goes back to {self.mtu}: `kubemtu apply` sets it, live; look also for what set it "
                "(udev, systemd-networkd, NetworkManager)"
            )
        if self.cause == "bridge":
            return f"{self.devices} gets the {self.mtu} of its ports: `kubemtu apply` sets it, live"
        return f"`kubemtu {self.command}` shows the change of pods to {self.mtu}, and `kubemtu {made}` makes it, live"
