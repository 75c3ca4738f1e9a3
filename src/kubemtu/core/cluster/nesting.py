"""What runs containers or virtual machines inside a pod, and how each is told an MTU: nobody tells them by themselves.

A daemon inside a pod takes 1500 for its own network unless somebody says another number, and then what it runs
announces larger TCP segments than its pod takes. The table is looked through from its top: who made the pod tells most,
then what its containers are, then what the device is called. Each row names where its remedy was read.
"""

import re
from collections.abc import Iterator

import msgspec

from kubemtu.core import net
from kubemtu.core.cluster.pods import Pod

_DOCKER = re.compile(r"docker\d+|docker_gwbridge|br-[0-9a-f]{12}")  # moby/moby: libnetwork/drivers/bridge/bridge.go
_LATER = "--default-network-opt=bridge=com.docker.network.driver.mtu={mtu}"
_FLAGS = f"--mtu={{mtu}} {_LATER}"
_QUOTED = f'"--mtu={{mtu}}", "{_LATER}"'
_OF_NETWORKS = (
    "The second counts for networks that are made afterwards, and needs Docker 24.0; before that, each is made with"
    " `docker network create -o com.docker.network.driver.mtu={mtu}`"
)


class Program(msgspec.Struct, frozen=True, kw_only=True):
    """One way to run others inside a pod: all that it is recognised by, and the remedy with its source."""

    name: str
    remedy: str  # {mtu}: the pod's
    source: str
    device: re.Pattern[str] | None = None
    owners: frozenset[str] = frozenset()  # kinds of what the pod belongs to
    pod: re.Pattern[str] | None = None  # how its name begins
    image: re.Pattern[str] | None = None

    def fits(self, device: str, pod: Pod | None) -> bool:
        """Say whether a device of a pod is this one's."""
        named = self.device is None or self.device.fullmatch(device) is not None
        owned = not self.owners or (pod is not None and pod.owner in self.owners)
        called = self.pod is None or (pod is not None and self.pod.match(pod.name) is not None)
        runs = self.image is None or (pod is not None and any(map(self.image.search, pod.images)))
        return named and owned and called and runs


PROGRAMS: tuple[Program, ...] = (
    Program(
        name="KubeVirt",
        device=re.compile(r"k6t-.*"),
        remedy="restart or migrate the virtual machine (`virtctl migrate NAME`): its new pod gives bridge and tap what"
        " it has itself, {mtu}, and the guest takes that by virtio or by DHCP (option 26); else set it there",
        source="kubevirt/kubevirt: docs/vmi-networking.md, #4289, #4758",
    ),
    Program(
        name="the runner scale sets of actions-runner-controller",
        device=_DOCKER,
        owners=frozenset({"EphemeralRunner"}),
        remedy="in the values of gha-runner-scale-set leave containerMode empty, for with `type: dind` the chart writes"
        f" the container dind itself, and give that container of template.spec the args `{_FLAGS}` beside its own."
        f" {_OF_NETWORKS}",
        source="actions/actions-runner-controller: charts/gha-runner-scale-set/values.yaml, #3691",
    ),
    Program(
        name="actions-runner-controller",
        device=_DOCKER,
        owners=frozenset({"Runner"}),
        remedy="set `dockerMTU: {mtu}` in spec.template.spec of the RunnerDeployment; jobs with `container:` make"
        f" networks of their own, which need dockerd's `{_LATER}` (Docker 24.0)",
        source="actions/actions-runner-controller: README.md (additional tweaks), #1046",
    ),
    Program(
        name="a job of GitLab Runner",
        device=_DOCKER,
        pod=re.compile(r"runner-.+-project-\d+-concurrent-"),
        remedy="give the service its flags in .gitlab-ci.yml, `- name: docker:dind` with"
        f" `command: [{_QUOTED}]`, or the same in [[runners.kubernetes.services]] of the runner's config.toml."
        f" {_OF_NETWORKS}",
        source="gitlab-org/gitlab-runner: docs/executors/docker.md, !6737",
    ),
    Program(
        name="a job of Buildkite",
        device=_DOCKER,
        pod=re.compile(r"buildkite-"),
        remedy="give the sidecar its flags in the kubernetes plugin: `image: docker:dind` with"
        f" `args: [{_QUOTED}]`. {_OF_NETWORKS}",
        source="buildkite/agent-stack-k8s: docs (sidecars); docker-library/docker: dockerd-entrypoint.sh",
    ),
    Program(
        name="kind",
        device=_DOCKER,
        image=re.compile(r"kindest/|/krte|kubekins"),  # as pods.telling keeps them
        remedy="start dockerd with `--mtu={mtu}` and make the cluster anew after `docker network rm kind`: kind"
        " gives its network what Docker's default one has when it makes it",
        source="kubernetes-sigs/kind: pkg/cluster/internal/providers/docker/network.go",
    ),
    Program(
        name="dockerd",
        device=_DOCKER,
        remedy=f"start it with `{_FLAGS}` (docker:dind takes both as args), or write into /etc/docker/daemon.json"
        ' `{{"mtu": {mtu}, "default-network-opts": {{"bridge": {{"com.docker.network.driver.mtu": "{mtu}"}}}}}}`.'
        f" {_OF_NETWORKS}",
        source="docker/cli: docs/reference/dockerd.md; moby/moby#43197 (24.0.0), #34981",
    ),
    Program(
        name="BuildKit",
        device=re.compile(r"buildkit\d+"),
        remedy='give buildkitd a CNI configuration with `"mtu": {mtu}` (buildkitd.toml: [worker.oci] networkMode ='
        ' "cni", cniConfigPath = "/etc/buildkit/cni.json"), or the network of the pod (networkMode = "host")',
        source="moby/buildkit: docs/buildkitd.toml.md, util/appdefaults (BridgeName)",
    ),
    Program(
        name="Podman",
        device=re.compile(r"(?:cni-)?podman\d+"),
        remedy="make its network with `podman network create --opt mtu={mtu} NAME`, and run containers with"
        " `--network NAME`",
        source="containers/podman: docs/source/markdown/podman-network-create.1.md.in",
    ),
    Program(
        name="libvirt",
        device=re.compile(r"virbr\d+"),
        remedy="put `<mtu size='{mtu}'/>` into its network (`virsh net-edit default`, then net-destroy and net-start),"
        " and restart the guests",
        source="libvirt: docs/formatnetwork.rst (3.1.0)",
    ),
    Program(
        name="the CNI of a cluster inside",
        device=re.compile(r"cni\d+|cbr\d+"),
        remedy="give the pods of the cluster inside {mtu} in its own CNI's configuration (`kubemtu calc` has the keys),"
        " and restart them",
        source="containernetworking/plugins: plugins/main/bridge",
    ),
)
OTHER = Program(
    name="",
    remedy="give what makes it an MTU of {mtu}, and start anew what sends by it",
    source="linux: net/bridge/br_if.c",
)


class Nested(msgspec.Struct, frozen=True, kw_only=True):
    """One device inside a pod that is larger than the pod. Sizes in bytes of the IP packet.

    `attached`: something sends by it now, and `size` is what that has; else it is the bridge's own. `joined`: the
    pod's own interface is a port of the same bridge, so nothing routes between them, and nobody reports what is too
    large.
    """

    device: str
    size: int
    pod_mtu: int
    program: str  # empty: it is not known what made it
    remedy: str
    guests: bool = False  # virtual machines, whose own interfaces nobody sees from outside
    joined: bool = False
    attached: bool = True

    @property
    def whose(self) -> str:
        """Who sends by it."""
        return "virtual machines" if self.guests else "containers"

    @property
    def sentence(self) -> str:
        """What it is, and what that costs, as a clause without its pod."""
        fact = f"{self.device} is {self.size}, above the pod's {self.pod_mtu}"
        if not self.attached:
            return f"{fact}, with nothing attached now: {self.whose} in it may get the same"
        if self.joined:
            return f"{fact} that it is bridged to: of what {self.whose} send, all that is larger vanishes"
        return f"{fact}: {self.whose} in it hang on large replies"


def larger(port: net.PodPort, pod: Pod | None, mtu: int | None = None) -> tuple[Nested, ...]:
    """Return the devices inside a pod by which others send more than the pod takes; none where nobody looked inside.

    `mtu`: what the pod shall take, in bytes, in place of what it takes now.
    """
    return tuple(_larger(port, pod, mtu if mtu is not None else port.limit))


def _larger(port: net.PodPort, pod: Pod | None, mtu: int | None) -> Iterator[Nested]:
    for device in port.inner:
        if mtu is None or device.sends <= mtu:
            continue
        program = next((one for one in PROGRAMS if one.fits(device.name, pod)), OTHER)
        yield Nested(
            device=device.name,
            size=device.sends,
            pod_mtu=mtu,
            program=program.name,
            remedy=program.remedy.format(mtu=mtu),
            guests=device.taps > 0,
            joined=device.joined,
            attached=device.kind != "bridge" or device.ports > 0,
        )
