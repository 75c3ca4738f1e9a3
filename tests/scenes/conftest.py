"""Labs with agents, one at a time: cases that fit the same lab share it, and each leaves it as it was."""

import os
from collections.abc import Iterator

import pytest
from tests.lab.conftest import can_make_labs
from tests.scenes.cases import Case
from tests.scenes.cluster import Cluster

from kubemtu.lab.cluster import Lab
from kubemtu.lab.scene import Scene

__all__ = ["can_make_labs"]


@pytest.fixture(scope="module")
def cluster(can_make_labs: None, request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """The lab of a scene, with agents."""
    found: Scene = request.param
    with Lab.up(found.replace(agents=True), f"kmtest-{os.getpid()}-{found.name}") as lab:
        assert lab.unready == ()
        with Cluster(lab) as made:
            yield made


@pytest.fixture
def faulty(cluster: Cluster, case: Case) -> Iterator[Cluster]:
    """The cluster with the fault of a case; healthy before it."""
    cluster.healthy()
    with case.fault(cluster):
        yield cluster
