"""How long `kubemtu check` takes on a lab of three nodes, beside reading the same by hand.

By hand means what a careful person would run: the objects of canal and Calico's pools by kubectl, then `ip link` on
every node, by `kubemtu lab exec` as it were by ssh, and at last `ip link` in every pod, because only the host ends of
veths show on a node. Everybody then still has to compare the numbers; that part takes a person longer than any of this.
"""

import os
import shlex
import shutil
import sys
from pathlib import Path

from bench import timing
from kubemtu_lab import scenes
from kubemtu_lab.cluster import Lab

ROUNDS = 9
OBJECTS = (
    "kubectl -n kube-system get configmap canal-config -o yaml",
    "kubectl -n kube-system get daemonset canal -o yaml",
    "kubectl get ippools.crd.projectcalico.org -o json",
    "kubectl get nodes -o json",
)


def by_hand(lab: Lab, *, nodes: bool, pods: bool) -> list[str]:
    """Return the command line that runs all of it, one after the other."""
    program = str(Path(sys.executable).with_name("kubemtu"))
    places = [*(lab.record.nodes if nodes else ()), *(pod for node in lab.scene.nodes for pod in node.pods if pods)]
    looks = [shlex.join([program, "lab", "exec", "--lab", lab.name, each, "--", "ip", "link"]) for each in places]
    kubeconfig = f"export KUBECONFIG={shlex.quote(str(lab.kubeconfig))}"
    return ["sh", "-ec", "\n".join((kubeconfig, *OBJECTS, *looks))]


def main() -> None:
    """Print the table."""
    scene = scenes.named("canal-1500").replace(agents=True)
    with Lab.up(scene, f"kmtest-bench-{os.getpid()}") as lab:
        program = str(Path(sys.executable).with_name("kubemtu"))
        contenders = {"kubemtu check": [program, "check", "--kubeconfig", str(lab.kubeconfig)]}
        contenders["kubemtu check -o json"] = [*contenders["kubemtu check"], "-o", "json"]
        if shutil.which("kubectl") is not None:
            contenders["by hand: 4 × kubectl get"] = by_hand(lab, nodes=False, pods=False)
            contenders["  … and ip link on 3 nodes"] = by_hand(lab, nodes=True, pods=False)
            contenders["  … and ip link in 6 pods"] = by_hand(lab, nodes=True, pods=True)
        times = timing.commands(contenders, ROUNDS)
    print(timing.table(times, against="kubemtu check"))
    slowest = max(times["kubemtu check"])
    print(f"\nkubemtu check took at most {slowest:.2f} s; it is meant to take less than 1 s.")


if __name__ == "__main__":
    main()
