"""Labs with agents, and scripted API servers, for tests of the agent."""

from tests.kube.conftest import scripted
from tests.lab.conftest import can_make_labs

__all__ = ["can_make_labs", "scripted"]
