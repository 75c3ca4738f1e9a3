"""What can go wrong with a lab.

KubemtuError
├── UsageError
│   ├── NameTaken        a lab of that name runs already
│   ├── NoSuchLab        no lab has that name
│   └── NoSuchPlace      the lab has no such node, nor a pod of that name with a namespace of its own
├── Forbidden
│   └── Impossible       this kernel, or its administrator, does not let us make namespaces or links
└── Unreachable
    └── StartFailed      the lab did not come up
"""

from kubemtu.core import errors


class NameTaken(errors.UsageError):
    """A lab of that name runs already."""


class NoSuchLab(errors.UsageError):
    """No lab has that name."""


class NoSuchPlace(errors.UsageError):
    """The lab has no such node, nor a pod of that name with a network namespace of its own."""


class Impossible(errors.Forbidden):
    """The kernel, or its administrator, does not let us make namespaces or links."""


class StartFailed(errors.Unreachable):
    """The lab did not come up."""
