"""Every way kubemtu can end, as types.

    KubemtuError                 the root; carries the exit code that `cli` hands to the shell
    ├── UsageError           2   the command line or a value on it makes no sense
    ├── Unreachable          3   the API server, or a node's agent, does not answer
    ├── Forbidden            4   RBAC, or a missing capability, says no
    ├── Malformed            5   something was read, but is not what its kind must be
    ├── NotRecognised        6   no pod network that kubemtu knows was found
    ├── Conflict             7   somebody else changed the object meanwhile
    ├── Surprise             8   a step did not have the effect that it must have; everything stopped there
    ├── NodeFailure          9   the kernel of a node refused a change
    └── Interrupted        130   stopped from the keyboard; `apply` resumes, `rollback` returns

Whose fault it was is in the type, so that a script can tell them apart by the exit code alone.
0 means fine, 1 means findings; neither is an error. 70 is a bug of ours, with a report to paste. 74 is 0 or 1 whose
output could not be written (a full disk): all was done, and not all of it was told.
"""

from typing import ClassVar

FINE = 0
FINDINGS = 1
BUG = 70
OUTPUT_LOST = 74  # sysexits.h, EX_IOERR


class KubemtuError(Exception):
    """One sentence: what happened, where, and what to do about it."""

    exit_code: ClassVar[int] = BUG


class UsageError(KubemtuError):
    """The command line, or a value on it, makes no sense."""

    exit_code = 2


class Unreachable(KubemtuError):
    """The API server, or a node's agent, does not answer."""

    exit_code = 3


class Forbidden(KubemtuError):
    """RBAC, or a missing capability, says no."""

    exit_code = 4


class Malformed(KubemtuError):
    """Something was read, but is not what its kind must be."""

    exit_code = 5


class NotRecognised(KubemtuError):
    """No pod network that kubemtu knows was found."""

    exit_code = 6


class Conflict(KubemtuError):
    """Somebody else changed the object between our reading and our writing."""

    exit_code = 7


class Surprise(KubemtuError):
    """A step did not have the effect that it must have; everything stopped there."""

    exit_code = 8


class NodeFailure(KubemtuError):
    """The kernel of a node refused a change."""

    exit_code = 9


class Interrupted(KubemtuError):
    """Stopped from the keyboard, between two steps."""

    exit_code = 130


def first(group: BaseExceptionGroup[KubemtuError]) -> KubemtuError:
    """Return the first error of a group, however deep groups are nested in it.

    Raise it after the `except*` block, not inside: there it is wrapped in a group once more before CPython 3.11.4
    (gh-103590), and then it is nobody's error but a bug.
    """
    inner = group.exceptions[0]
    return first(inner) if isinstance(inner, BaseExceptionGroup) else inner
