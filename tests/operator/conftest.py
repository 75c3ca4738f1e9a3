"""Labs with agents, for tests of the agent."""

from tests.lab.conftest import can_make_labs

__all__ = ["can_make_labs"]
