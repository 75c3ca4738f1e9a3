"""Commands that are forked from here wait for agents that live as long as a busy machine takes."""

from collections.abc import Iterator

import pytest

from kubemtu.flows.agents import asking
from kubemtu.flows.change import checks, verify


@pytest.fixture(autouse=True, scope="module")
def patient() -> Iterator[pytest.MonkeyPatch]:
    """Give agents a minute for what takes them a second; nothing waits longer where all goes well."""
    with pytest.MonkeyPatch.context() as patch:
        for module, name in ((verify, "SECONDS"), (verify, "CONFLISTS"), (checks, "RECORDING"), (asking, "READY")):
            patch.setattr(module, name, 60.0)
        yield patch
