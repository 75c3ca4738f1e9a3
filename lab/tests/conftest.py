"""Labs for tests, shared by module."""

import os
from collections.abc import Callable, Iterator

import pytest
from tests.support.lab_api import Kubectl, kubectl_of

from kubemtu_lab import scenes
from kubemtu_lab.cluster import Lab
from kubemtu_lab.scene import Scene


@pytest.fixture(scope="module")
def start(can_make_labs: None) -> Iterator[Callable[..., Lab]]:
    """Start labs by scene, and end them with the module."""
    labs: list[Lab] = []

    def make(scene: str | Scene) -> Lab:
        found = scenes.named(scene) if isinstance(scene, str) else scene
        labs.append(Lab.up(found, f"test-{os.getpid()}-{found.name}"))
        return labs[-1]

    yield make
    for lab in labs:
        lab.down()


@pytest.fixture
def kubectl(lab: Lab) -> Kubectl:
    """Run the kubectl of the machine on the module's lab."""
    return kubectl_of(lab.kubeconfig)
