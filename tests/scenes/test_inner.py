"""Docker in a pod of 1450 with its own network at 1500: it hangs where the pod is well, and is named before that."""

import subprocess
import sys

import pytest
from tests.support.scenes import situations
from tests.support.scenes.cluster import Cluster

from kubemtu_lab.scene import Flannel, Scene, nodes

pytestmark = [pytest.mark.lab, pytest.mark.usefixtures("has_nft")]

SCENE = Scene(name="inner", summary="", nodes=nodes(2, 1), cni=Flannel(), version="v1.30.4")
OUTSIDE = "192.168.77.254"
SIZE = 60_000
SERVE = f"""
import socket
server = socket.create_server(("{OUTSIDE}", 5000))
print("ready", flush=True)
while True:
    connection, _ = server.accept()
    connection.sendall(bytes({SIZE}))
"""
FETCH = f"""
import socket, sys
got = 0
with socket.create_connection(("{OUTSIDE}", 5000), timeout=60) as connection:
    connection.settimeout(float(sys.argv[1]))
    try:
        while got < {SIZE} and (more := connection.recv({SIZE})):
            got += len(more)
    except TimeoutError:
        pass
print(got)
"""
NO_ICMP = "icmp type destination-unreachable drop"  # as the firewall in front of many a server has it


@pytest.mark.parametrize("cluster", [SCENE], indirect=True)
def test_docker_in_a_pod_is_named_where_it_hangs_and_is_left_alone(cluster: Cluster) -> None:
    cluster.healthy()
    cluster.ip("fabric", "route", "add", "10.244.1.0/24", "via", "192.168.77.1")
    server = cluster.lab.spawn("fabric", [sys.executable, "-c", SERVE], stdout=subprocess.PIPE)
    try:
        assert server.stdout is not None
        assert server.stdout.readline() == b"ready\n"
        with (
            situations.rules(cluster, "fabric", "input", NO_ICMP),
            situations.container(cluster, "pod-1a", 1500) as one,
        ):
            alone = cluster.lab.exec("pod-1a", [sys.executable, "-c", FETCH, "60"]).stdout
            inside = one.run(sys.executable, "-c", FETCH, "3")
            assert (int(alone), int(inside)) == (SIZE, 0)

            now = cluster.settle(["MTU131 warning: node node-1, pod default/pod-1a, docker0"])
            assert now.verdict == "suboptimal"
            assert "docker0 is 1500, above the pod's 1450: containers in it hang on large replies" in now.summary
            assert "--mtu=1450" in now.one("MTU131").remedy

            outside = cluster.run("why", "pod-1a", f"{OUTSIDE}:5000")
            assert outside.code == 1, outside.out
            assert outside.out.startswith(
                "✗ This is MTU for containers inside default/pod-1a: docker0 is 1500, above the pod's 1450: containers "
                "in it hang on large replies; for the pod itself, "
            )
            between = cluster.run("why", "pod-1a", "pod-2a")
            assert between.code == 0, between.out
            assert "but inside default/pod-1a docker0 is 1500, above the pod's 1450" in between.out

            ended = cluster.apply("--mtu", "1400")
            assert ended.code == 0, ended.err
            assert {name: cluster.links("pod-1a")[name] for name in ("eth0", "docker0", "vethd")} == {
                "eth0": 1400,
                "docker0": 1500,
                "vethd": 1500,
            }
            assert '"mtu":1500' in one.run("ip", "-j", "link", "show", "eth0")
            ended = cluster.run("rollback", "--yes")
            assert ended.code == 0, ended.err
    finally:
        server.kill()
        server.wait()
        assert server.stdout is not None
        server.stdout.close()
        cluster.ip("fabric", "route", "del", "10.244.1.0/24")
    assert cluster.healthy().verdict == "healthy"


@pytest.mark.parametrize("cluster", [SCENE], indirect=True)
def test_a_pod_that_is_named_is_looked_into_by_commands(cluster: Cluster) -> None:
    """With agents there is nothing to add; the same pod is seen by its own commands as by them."""
    with situations.container(cluster, "pod-1a", 1500):
        cluster.settle(["MTU131 warning: node node-1, pod default/pod-1a, docker0"])
        ended = cluster.run("check", "--exec-pod", "default/pod-1a", "-o", "json")
        assert ended.code == 1, ended.err
        assert '"MTU131"' in ended.out
        refused = cluster.run("check", "--exec-pod", "pod-1a")
        assert (refused.code, refused.err) == (2, "error: pod-1a is no pod: name it as NAMESPACE/NAME\n")
    cluster.healthy()
