"""A finding: a code that never changes its meaning, a place, why it matters, what to do. The codes are in codes.py."""

from typing import Literal

import msgspec

Severity = Literal["error", "warning", "note"]


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is wrong, or could be better, at one place.

    `code` is from kubemtu.core.codes; `place` names the node, device, pod, object and key it is about, most general
    first ("node n1, pod default/web-1, eth0"); `message` says what is so and what it costs; `remedy` what to do.
    """

    code: str
    severity: Severity
    place: str
    message: str
    remedy: str
