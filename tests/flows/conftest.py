"""Labs for tests of whole changes."""

from tests.lab.conftest import can_make_labs

__all__ = ["can_make_labs"]
