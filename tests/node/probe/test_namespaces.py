"""The namespaces of a node that measuring may enter: found by the pod's link, and never another one's."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from tests.support.labs import until
from tests.support.rigs import Rig, RigMaker, run

from kubemtu.core import net
from kubemtu.node import observe
from kubemtu.node.kernel import netns
from kubemtu.node.probe import namespaces

pytestmark = pytest.mark.netns


def inode(path: str) -> int:
    return Path(path).stat().st_ino


@pytest.fixture
def rig(rigs: RigMaker) -> Rig:
    return rigs(2, ipv6=False)


@pytest.fixture
def found(rig: Rig) -> namespaces.PodNamespaces:
    """The places of the rig's node, after one look at it."""
    made = namespaces.PodNamespaces(netns.Roots())
    made.learn(look(rig))
    return made


def look(rig: Rig) -> tuple[net.PodPort, ...]:
    return rig.inside(lambda: observe.observe("n1", ports=rig.rule)).ports


def entered(found: namespaces.PodNamespaces, name: str) -> int:
    """The number of the namespace that was entered."""
    descriptor = found.enter(name)
    try:
        return os.fstat(descriptor).st_ino
    finally:
        os.close(descriptor)


def test_a_pod_is_entered_by_its_link(rig: Rig, found: namespaces.PodNamespaces) -> None:
    assert entered(found, "cali1") == inode(f"/run/netns/{rig.pods[0]}")
    assert entered(found, "cali2") == inode(f"/run/netns/{rig.pods[1]}")
    assert found.exists("cali1")
    assert sorted(port.host_link for port in found.ports()) == ["cali1", "cali2"]


def test_without_a_name_it_is_the_own_namespace(rig: Rig, found: namespaces.PodNamespaces) -> None:
    assert rig.inside(lambda: entered(found, "")) == inode(f"/run/netns/{rig.node}")
    assert entered(found, "") == inode("/proc/self/ns/net")


def test_a_link_that_nobody_has_seen(found: namespaces.PodNamespaces) -> None:
    with pytest.raises(LookupError):
        found.enter("cali9")
    assert found.port("cali9") is None
    assert not found.exists("cali9")


def test_a_pod_that_is_gone(rig: Rig, found: namespaces.PodNamespaces) -> None:
    before = descriptors()
    rig.remove_pod(rig.pods[0])
    with pytest.raises(LookupError):
        found.enter("cali1")
    assert not found.exists("cali1")
    assert found.exists("cali2")
    assert descriptors() == before


def test_a_name_that_another_namespace_has_by_now(rig: Rig, found: namespaces.PodNamespaces) -> None:
    """Runtimes give a name to a pod; what has the name later is not that pod."""
    name = rig.pods[0]
    with Path(f"/run/netns/{name}").open("rb"):  # held open, so that its number is not given out again
        before = descriptors()
        run("ip", "netns", "del", name)
        run("ip", "netns", "add", name)
        with pytest.raises(LookupError):
            found.enter("cali1")
        assert descriptors() == before


def test_the_next_look_forgets_what_is_gone_and_knows_what_came(rig: Rig, found: namespaces.PodNamespaces) -> None:
    rig.remove_pod(rig.pods[0])
    rig.add_pod(3)
    found.learn(look(rig))
    assert sorted(port.host_link for port in found.ports()) == ["cali2", "cali3"]
    assert found.exists("cali3")


@pytest.fixture
def process(rig: Rig) -> Iterator[subprocess.Popen[bytes]]:
    """A process in the first pod."""
    command = ["nsenter", f"--net=/run/netns/{rig.pods[0]}", "sleep", "600"]
    with subprocess.Popen(command) as started:
        yield started
        started.kill()


def test_a_namespace_without_a_name_is_entered_by_a_process(
    rig: Rig, found: namespaces.PodNamespaces, process: subprocess.Popen[bytes]
) -> None:
    (port,) = [port for port in found.ports() if port.host_link == "cali1"]
    found.learn([msgspec.structs.replace(port, netns=f"pid:{process.pid}")])
    until(lambda: inode(f"/proc/{process.pid}/ns/net") == port.inode)  # it is on its way there
    assert entered(found, "cali1") == port.inode
    process.kill()
    process.wait()
    with pytest.raises(LookupError):
        found.enter("cali1")


def test_names_are_looked_for_where_the_nodes_files_are(rig: Rig, tmp_path: Path) -> None:
    """An agent in a container sees /run/netns under another path, and perhaps only one of the two folders."""
    (tmp_path / "host").symlink_to("/")
    made = namespaces.PodNamespaces(netns.Roots.under(tmp_path / "host"))
    made.learn(look(rig))
    assert entered(made, "cali1") == inode(f"/run/netns/{rig.pods[0]}")
    nowhere = namespaces.PodNamespaces(netns.Roots.under(tmp_path / "elsewhere"))
    nowhere.learn(look(rig))
    assert not nowhere.exists("cali1")


def descriptors() -> int:
    """How many files this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))
