"""Where a number stands in a file that a CNI is deployed from and that is no object of the API."""

from typing import Literal

import msgspec

from kubemtu.core.change.plan import Plan
from kubemtu.core.cluster.cni_state import CniState


class ValuesKey(msgspec.Struct, frozen=True, kw_only=True):
    """One key of a file that people keep in a repository and that is no object of the API, or is none yet.

    `form` is what `plan -o` calls the file, `path` leads to the number, and `counts` says what it counts, as an MtuKey
    does. It is for clusters whose CniState begins its variant with `variant` and names `owner` as the owner. A
    HelmChartConfig (docs.rke2.io/helm, docs.k3s.io/helm) of the name `chart` holds such values in a text. Those of
    an add-on (eks-addon) are no file, but JSON that its API takes. `head` is what else must stand in such a file, and
    `signs` are keys at its root that tell it from any other file, where the number does not stand in it yet.
    """

    form: Literal["helm-values", "cluster.yml", "helmchartconfig", "talos-patch", "kubespray", "eks-addon"]
    path: tuple[str, ...]
    counts: Literal["pod", "base"]
    file: str  # whose file it is, for people
    variant: str = ""
    owner: str = ""
    chart: str = ""
    head: str = ""
    signs: tuple[str, ...] = ()

    def suits(self, state: CniState) -> bool:
        """Say whether a pod network is deployed in the way that this key is for."""
        return state.variant.startswith(self.variant) and self.owner in state.owner

    def number(self, planned: Plan, state: CniState) -> int:
        """Return the number that belongs there, in bytes, for what the plan's configuration gives pods."""
        if self.counts == "pod":
            return planned.configured
        base = next((key.subtracts for key in state.mtu_keys if key.means == "base"), state.subtracts)
        return planned.configured + (base or 0)
