"""What to do about a pod network, as one value that every command gives; core.planning.remedy finds it."""

from typing import Literal

import msgspec

from kubemtu.core import encap

Cause = Literal["network", "tunnel", "overlay", "veth", "bridge", "pods", "nics", "none"]


class Remedy(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Say what is wrong with the pod network, and the MTU that pods shall have."""

    cause: Cause
    """"network": less gets through between nodes than their NICs say; "tunnel": a tunnel device is smaller than
    it should be; "overlay": less gets through between pods, and nothing shows why; "veth": the two ends of one
    interface differ; "bridge": a bridge has another MTU than its ports; "pods": pods or their configuration do
    not suit the path; "nics": the same, because NICs differ; "none": nothing.
    """
    mtu: int = 0
    """The MTU that pods shall have, in bytes; 0 where none can be said."""
    least: int = 0
    """The MTU that pods need, in bytes, where none suits: less is left for them; else 0."""
    path_mtu: int = 0
    """What gets through between nodes, in bytes; 0 where the NICs decide."""
    devices: str = ""
    """The devices at fault, with their nodes, as in a sentence."""
    stated_by: str = ""
    """Who said before that the path carries that little; else empty."""

    @property
    def command(self) -> str:
        """The command that shows the change; `apply` with the same options makes it. Empty where no MTU suits."""
        if self.least:
            return ""
        if self.cause == "network" and self.path_mtu and not self.stated_by:
            return f"plan --nic-mtu {self.path_mtu}"
        return f"plan --mtu {self.mtu}" if self.cause == "overlay" else "plan"

    @property
    def words(self) -> str:
        """What to do, as a clause."""
        if self.least:
            of_path = f"of {self.path_mtu} bytes " if self.path_mtu else ""
            short = f"{of_path}too little is left for pods"
            return f"raise what the network carries: {short}, and {encap.NEEDS[self.least]}, so no pod MTU suits it"
        made = self.command.replace("plan", "apply", 1)
        if self.cause == "tunnel":
            return (
                f"{self.devices} goes back to {self.mtu}: `kubemtu apply` sets it, live; look also for what set it "
                "(udev, systemd-networkd, NetworkManager)"
            )
        if self.cause == "bridge":
            return f"{self.devices} gets the {self.mtu} of its ports: `kubemtu apply` sets it, live"
        return f"`kubemtu {self.command}` shows the change of pods to {self.mtu}, and `kubemtu {made}` makes it, live"
