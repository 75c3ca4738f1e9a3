"""Labs for tests of whole changes."""

from lab.tests.conftest import can_make_labs

__all__ = ["can_make_labs"]
