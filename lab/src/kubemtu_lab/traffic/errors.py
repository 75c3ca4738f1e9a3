"""How traffic can fail, apart from the losses that it is there to count.

KubemtuError
├── TrafficBroken   70   a traffic process could not start, or ended in the middle of a run
└── BooksDisagree   70   what was received, told and dropped cannot be what was sent
"""

from kubemtu.core import errors


class TrafficBroken(errors.KubemtuError):
    """A traffic process could not start, or ended in the middle of a run."""


class BooksDisagree(errors.KubemtuError):
    """The books of senders, receivers and ports contradict each other: nothing may be concluded from them."""
