"""What a cluster is made from, where only that was given: kops, k0s, Rancher, RKE, Talos, kubespray, k3s, RKE2.

They are no objects of the cluster itself, so nothing of them is read there; the number is judged, and edited in the
file. Where the cluster's own objects were given as well, those say what is so, and go first.
"""

from typing import Literal

import msgspec

from kubemtu.cni.knowledge import CalcKey, Knowledge
from kubemtu.cni.objects import owners
from kubemtu.cni.programs import flanneld
from kubemtu.cni.specification import clusters, forms, kubespray, machines, parsed, servers, talos
from kubemtu.core.change import plan
from kubemtu.core.cluster import cni_state
from kubemtu.core.objects import Object, Want
from kubemtu.core.planning.values_key import ValuesKey
from kubemtu.core.snapshot import Snapshot

NAME = "cluster-specification"
WANTS: tuple[Want, ...] = ()
_KUBESPRAY: tuple[tuple[str, str, Literal["pod", "base"]], ...] = (
    ("calico", "calico_mtu", "pod"),
    ("cilium", "cilium_mtu", "base"),
    ("kube-ovn", "kube_ovn_mtu", "pod"),
    ("weave", "weave_mtu", "pod"),
)
KNOWLEDGE = Knowledge(
    recognised_by="a file that clusters are made from (kops, Rancher, RKE, k0s, Talos, kubespray, k3s, RKE2)",
    calc_keys=(
        CalcKey("Calico, kops", "Cluster", "spec.networking.calico.mtu", "pod", (("ipip",), ("vxlan",), ())),
        CalcKey("Calico, k0s", "ClusterConfig", "spec.network.calico.mtu", "pod", (("vxlan",), ("wireguard",))),
        CalcKey(
            "Flannel, Talos",
            talos.FLANNEL,
            "backendMTU",
            "base",
            flanneld.STACKS,
            flanneld.subtracts,
            "flannel",
            "from Talos v1.14 on",
        ),
        CalcKey("Calico, kubespray", "group_vars", "calico_mtu", "pod", (("vxlan",), ("ipip",), ("wireguard",), ())),
    ),
    values_keys=(
        *(
            ValuesKey(
                form="kubespray",
                path=(key,),
                counts=counts,
                file="group_vars/k8s_cluster of a kubespray inventory",
                variant=f"kubespray, {kubespray.CALLED[plugin]}",
                signs=(kubespray.PLUGIN, *forms.SIGNS),
            )
            for plugin, key, counts in _KUBESPRAY
        ),
        ValuesKey(
            form="talos-patch",
            path=("backendMTU",),
            counts="base",
            file="talosctl patch machineconfig --patch @FILE, on each control plane; from Talos v1.14 on",
            variant="Talos, flannel",
            head=f"apiVersion: {forms.TALOS_VERSION}\nkind: {talos.FLANNEL}\n",
        ),
        ValuesKey(
            form="cluster.yml",
            path=("network", "mtu"),
            counts="pod",
            file="RKE's cluster.yml",
            variant="RKE, ",
            signs=owners.RKE_VALUES.signs,
        ),
    ),
    file_forms=forms.FORMS,
)


def read(snapshot: Snapshot) -> cni_state.CniState | None:
    """Describe the network that a specification asks for; None where there is none, or it is another network."""
    for each in (clusters, talos, kubespray, servers):
        state: cni_state.CniState | None = each.read(snapshot)
        if state is not None:
            network = state.variant.partition(", ")[2].partition(" over ")[0]
            return msgspec.structs.replace(state, name=NAME, called=network)
    return None


def steps(state: cni_state.CniState, target: int) -> tuple[plan.EditValue | plan.Rollout, ...]:
    """List the edits of the file; the tool makes the cluster from it. Raises UsageError where no key is read."""
    found = state.parsed
    assert isinstance(found, parsed.SpecificationParsed)
    return parsed.edits(found, state.source or str(state.mtu_keys[0].ref), target)


def below(state: cni_state.CniState, snapshot: Snapshot) -> cni_state.CniState:
    """Return a state, of whichever network, with what files that nodes are made from say of the NICs below it."""
    found = machines.underlay(snapshot)
    return msgspec.structs.replace(state, bounds=found.bounds, findings=(*state.findings, *found.findings))


def hint(snapshot: Snapshot) -> str:
    """Say what else is needed where such a file was given and its network is not judged; empty without one."""
    for each in (talos, kubespray, servers):
        if said := each.hint(snapshot):
            return str(said)
    return next((said for found in snapshot.objects if (said := _bare(found))), "")


def _bare(found: Object) -> str:
    """Say it of kubeadm's own kinds, which name no pod network (kubernetes/kubernetes: cmd/kubeadm/app/apis)."""
    if str(found.get("apiVersion")).partition("/")[0] != "kubeadm.k8s.io":
        return ""
    return f"{found} is kubeadm's, which installs no pod network and has no key for its MTU: add the manifests of one."
