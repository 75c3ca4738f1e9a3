"""Reading what may be broken: a wrong type becomes a finding, and the rest is still read."""

from collections.abc import Callable
from typing import TypeVar

from kubemtu.core import codes
from kubemtu.core.errors import Malformed
from kubemtu.core.findings import Finding
from kubemtu.core.objects import Object, Ref, dotted

T = TypeVar("T")

LARGEST_MTU = 65535  # IPv4's total length is 16 bits (RFC 791, section 3.1)
SMALLEST_MTU = 68  # RFC 791, section 3.2


def attempt(read: Callable[[], T], otherwise: T, out: list[Finding], place: str) -> T:
    """Return what `read` returns; where it meets something malformed, add MTU117 to `out` and return `otherwise`."""
    try:
        return read()
    except Malformed as why:
        out.append(
            codes.finding(codes.MTU117, place, f"{why}.".replace("..", "."), "Correct the object, then check again.")
        )
        return otherwise


def text(found: Object | None, out: list[Finding], *path: str) -> str | None:
    """Return the string at `path`, or None; anything else that stands there is MTU117."""
    if found is None:
        return None
    return attempt(lambda: found.text(*path), None, out, f"{found}, {dotted(path)}")


def value(found: Object, out: list[Finding], *path: str) -> str | None:
    """Return the text of one value of a ConfigMap, None when it is absent or null.

    A number or a boolean, which YAML makes of an unquoted value and the API server refuses, is reported as MTU112 and
    read as if it were quoted; anything else is MTU117.
    """
    here = found.get(*path)
    if here is None or isinstance(here, str):
        return here
    place = f"{found}, {dotted(path)}"
    if isinstance(here, int | float):
        read = str(here).lower() if isinstance(here, bool) else str(here)
        out.append(
            codes.finding(
                codes.MTU112,
                place,
                f"The value {read} is not quoted; a ConfigMap holds strings only, and the API server refuses it.",
                f'Write "{read}", with the quotes.',
            )
        )
        return read
    return text(found, out, *path)


def mtu(said: str | None, out: list[Finding], place: str) -> int | None:
    """Read an MTU that is kept as text; None for absent, empty and "0" (automatic).

    What is no number, or no MTU that can be, is reported as MTU112 at `place`.
    """
    if said is None or not said.strip():
        return None
    try:
        number = int(said)
    except ValueError:
        out.append(
            codes.finding(
                codes.MTU112,
                place,
                f"{said!r:.40} is not a number of bytes.",
                'Write the number alone, such as "1450".',
            )
        )
        return None
    return bounded(number, out, place)


def bounded(number: int, out: list[Finding], place: str) -> int | None:
    """Return the MTU, None for 0 (automatic); a number that cannot be an MTU is reported as MTU112."""
    if number == 0:
        return None
    if SMALLEST_MTU <= number <= LARGEST_MTU:
        return number
    out.append(
        codes.finding(
            codes.MTU112,
            place,
            f"An MTU of {number} cannot be: it must be between {SMALLEST_MTU} and {LARGEST_MTU} bytes.",
            "Correct the number.",
        )
    )
    return None


def ref(found: Object, plural: str) -> Ref:
    """Return the address of an object that was read."""
    return Ref(
        api_version=found.api_version, kind=found.kind, plural=plural, name=found.name, namespace=found.namespace
    )
