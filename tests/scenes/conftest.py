"""Labs with agents, one at a time: cases that fit the same lab share it, and each leaves it as it was."""

import os
from collections.abc import Iterator

import pytest
from tests.support.scenes.cases import Case
from tests.support.scenes.cluster import Cluster

from kubemtu.flows.agents import deadlines
from kubemtu_lab.cluster import Lab
from kubemtu_lab.scene import Scene


class Labs:
    """At most one lab: asking for another scene ends it."""

    def __init__(self) -> None:
        self._scene: Scene | None = None
        self._cluster: Cluster | None = None

    def of(self, scene: Scene) -> Cluster:
        """Return the lab of a scene, as the last test left it."""
        if self._cluster is None or self._scene != scene:
            self.down()
            lab = Lab.up(scene.replace(agents=True), f"kmtest-{os.getpid()}-{scene.name}")
            assert lab.unready == ()
            self._scene, self._cluster = scene, Cluster(lab)
        return self._cluster

    def down(self) -> None:
        """End the lab, if there is one."""
        if self._cluster is not None:
            self._cluster.close()
            self._cluster.lab.down()
            self._scene = self._cluster = None


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Agents that live are waited for, however busy the machine is; who is dead costs as much."""
    monkeypatch.setattr(deadlines, "LEAST", 15.0)


@pytest.fixture
def as_shipped(patient: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that are dead are waited for as long as a user waits."""
    monkeypatch.setattr(deadlines, "LEAST", 5.0)


@pytest.fixture(scope="module")
def labs(can_make_labs: None) -> Iterator[Labs]:
    """Return the lab that is up."""
    found = Labs()
    yield found
    found.down()


@pytest.fixture
def cluster(labs: Labs, request: pytest.FixtureRequest) -> Cluster:
    """Return the lab of a scene, with agents: the one that is up, when it is of that scene."""
    return labs.of(request.param)


@pytest.fixture
def faulty(cluster: Cluster, case: Case) -> Iterator[Cluster]:
    """Return the cluster with the fault of a case; healthy before it."""
    cluster.healthy()
    with case.fault(cluster):
        yield cluster
