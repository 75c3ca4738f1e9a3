"""What can go wrong with one node's kernel, as types.

    errors.KubemtuError
    ├── NodeFailure
    │   ├── Refused          the kernel answered with an errno; `code` keeps it
    │   │   └── Gone         ... because the link, route or namespace is not there (any more)
    │   ├── Stopped          given up, because nobody wants it any more
    │   └── Overrun          events came faster than they were read: what is known is stale, dump again
    └── Forbidden
        └── Denied           CAP_NET_ADMIN or CAP_SYS_ADMIN is missing

The reaction differs, so the types do: a pod that is Gone is skipped, a Refused is reported, a Denied ends the run.
"""

import errno
import os

from kubemtu.core import errors

GONE = frozenset({errno.ENODEV, errno.ESRCH, errno.ENOENT, errno.ENXIO})
DENIED = frozenset({errno.EPERM, errno.EACCES})


class Refused(errors.NodeFailure):
    """The kernel answered with an errno, kept in `code`."""

    def __init__(self, sentence: str, code: int) -> None:
        """Keep the errno beside the sentence."""
        super().__init__(sentence)
        self.code = code


class Gone(Refused):
    """The link, the route or the namespace is not there (any more)."""


class Stopped(errors.NodeFailure):
    """What was under way was given up, because whoever asked for it wants it no more."""


class Overrun(errors.NodeFailure):
    """Events came faster than they were read; everything has to be read again."""


class Denied(errors.Forbidden):
    """A capability is missing."""


def refusal(what: str, code: int, kernel_words: str = "", advice: str = "") -> errors.KubemtuError:
    """Return the error for an errno, as one sentence: what was tried, what the kernel said, what to do."""
    reason = kernel_words or os.strerror(code)
    if code in DENIED:
        return Denied(f"{what}: {reason}; run as root, or with CAP_NET_ADMIN and CAP_SYS_ADMIN")
    name = errno.errorcode.get(code, str(code))
    sentence = f"{what}: the kernel said {name} ({reason})" + (f"; {advice}" if advice else "")
    return Gone(sentence, code) if code in GONE else Refused(sentence, code)
