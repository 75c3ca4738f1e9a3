"""Labs with agents, and scripted API servers, for tests of the agent."""

from lab.tests.conftest import can_make_labs
from tests.kube.conftest import scripted

__all__ = ["can_make_labs", "scripted"]
