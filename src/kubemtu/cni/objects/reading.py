"""Reading what may be broken: a wrong type becomes a finding, and the rest is still read."""

import re
from collections.abc import Callable, Iterable
from typing import TypeVar

import yaml

from kubemtu.core import codes, encap
from kubemtu.core.codes import Finding
from kubemtu.core.errors import Malformed
from kubemtu.core.objects import Object, Ref, dotted, type_name
from kubemtu.core.snapshot import Snapshot

T = TypeVar("T")

# What Go's strconv.Atoi takes, and what JSON does; Python's int() takes spaces, underscores and any script's digits.
TRUE = frozenset({"1", "t", "T", "TRUE", "true", "True"})  # what Go's strconv.ParseBool takes for true
NUMBER = re.compile(r"[-+]?[0-9]{1,9}")
JSON_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)")


def attempt(read: Callable[[], T], otherwise: T, out: list[Finding], place: str) -> T:
    """Return what `read` returns; where it meets something malformed, add MTU117 to `out` and return `otherwise`."""
    try:
        return read()
    except Malformed as why:
        out.append(
            codes.finding(codes.MTU117, place, f"{why}.".replace("..", "."), "Correct the object, then check again.")
        )
        return otherwise


def text(resource: Object | None, out: list[Finding], *path: str) -> str | None:
    """Return the string at `path`, or None; anything else that stands there is MTU117."""
    if resource is None:
        return None
    return attempt(lambda: resource.text(*path), None, out, f"{resource}, {dotted(path)}")


def value(resource: Object, out: list[Finding], *path: str) -> str | None:
    """Return the text of one value of a ConfigMap, None when it is absent or null.

    A number or a boolean, which YAML makes of an unquoted value and the API server refuses, is reported as MTU112 and
    read as if it were quoted; anything else is MTU117.
    """
    here = resource.get(*path)
    if here is None or isinstance(here, str):
        return here
    place = f"{resource}, {dotted(path)}"
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
    return text(resource, out, *path)


def mtu(said: str | None, out: list[Finding], place: str, *, pasted: bool = False) -> int | None:
    """Read an MTU that is kept as text; None for absent, empty and "0" (automatic).

    What is no number, or no MTU that can be, is reported as MTU112 at `place`. A text that is `pasted` into JSON as it
    stands must be a number of JSON's: no plus sign, no zero in front (RFC 8259, section 6).
    """
    if said is None or not said.strip():
        return None
    held = said.strip()
    if pasted and NUMBER.fullmatch(held) and not JSON_NUMBER.fullmatch(held):
        out.append(
            codes.finding(
                codes.MTU112,
                place,
                f"{held!r:.40} is no number of JSON's: it is put into the CNI configuration as it stands, which is then"
                " no JSON, so install-cni aborts.",
                f'Write "{int(held)}".',
            )
        )
        return None
    if not NUMBER.fullmatch(held):
        out.append(
            codes.finding(
                codes.MTU112,
                place,
                f"{said!r:.40} is not a number of bytes.",
                'Write the number alone, such as "1450".',
            )
        )
        return None
    return bounded(int(held), out, place)


def tree(text: str, out: list[Finding], place: str, effect: str) -> dict[str, object]:
    """Return the mapping that a text of YAML holds, {} for none; anything else is MTU117, and `effect` ends its clause.

    Empty text and comments alone are an empty mapping.
    """
    try:
        held: object = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError) as why:
        out.append(
            codes.finding(
                codes.MTU117,
                place,
                f"The text is no YAML ({' '.join(str(why).split()):.160}), {effect}.",
                "Correct the text there.",
                "error",
            )
        )
        return {}
    if held is None or isinstance(held, dict):
        return held or {}
    out.append(
        codes.finding(
            codes.MTU117,
            place,
            f"The text is {type_name.get(type(held), 'a value')} where a mapping of keys to values is due, {effect}.",
            "Correct the text there.",
            "error",
        )
    )
    return {}


def member(values: dict[str, object], key: str, out: list[Finding], place: str) -> int | None:
    """Read an MTU that a YAML file holds as an integer; None for absent and 0 (automatic).

    Anything else, a number in quotes included, is MTU112: who unmarshals into an integer fails on it.
    """
    held = values.get(key)
    if held is None:
        return None
    if isinstance(held, int) and not isinstance(held, bool):
        return bounded(held, out, f"{place}, {key}")
    out.append(
        codes.finding(
            codes.MTU112,
            f"{place}, {key}",
            f"The MTU is {held!r:.40}; only an integer is taken, and the agent exits on anything else.",
            "Write the number without quotes.",
        )
    )
    return None


def stray(place: str, key: str, right: str, remedy: str = "") -> Finding:
    """Return MTU111 for a key that somebody set and nothing reads; `right` is the one that is meant.

    `remedy` says what to do where the value itself would not do there.
    """
    message = f"{key} is read by nothing; the key is {right}."
    return codes.finding(codes.MTU111, place, message, remedy or f"Move the value to {right}.")


def is_patch(config: Object, keys: Iterable[str], snapshot: Snapshot) -> bool:
    """Return True for a ConfigMap in saved files that is said to be a patch, or has no key that every whole one has."""
    return config.is_patch or (snapshot.offline and not any(config.get("data", key) is not None for key in keys))


def patch(config: Object) -> Finding:
    """Return MTU117 for a patch that stands alone: what it leaves out is not missing."""
    held = config.get("data")
    keys = ", ".join(map(str, held)) if isinstance(held, dict) and held else "nothing"
    return codes.finding(
        codes.MTU117,
        f"{config}",
        f"Only {keys} of it is here: this is a patch, and what it patches was not read, so little can be said.",
        "Add what it patches (with its kustomization.yaml, where there is one), or give the output of `kustomize build`"
        " or of `kubectl get -o yaml`.",
    )


def unread(place: str, effect: str, snapshot: Snapshot) -> Finding:
    """Return MTU117 for an object that was looked for and is not there; `effect` ends the sentence "It was not read".

    In saved files nobody has to allow anything: what lacks may stand in a document that is broken.
    """
    broken = [entry.what for entry in snapshot.unread if entry.why == "broken"]
    remedy = "Allow `get` on it, or add it to the files."
    if snapshot.offline:
        remedy = f"Correct {broken[0]} first: it may stand there." if broken else "Add it to the files."
    return codes.finding(codes.MTU117, place, f"It was not read, {effect}.", remedy)


def bounded(number: int, out: list[Finding], place: str) -> int | None:
    """Return the MTU, None for 0 (automatic); a number that cannot be an MTU is reported as MTU112."""
    if number == 0:
        return None
    if encap.IPV4_MINIMUM <= number <= encap.LARGEST_MTU:
        return number
    out.append(
        codes.finding(
            codes.MTU112,
            place,
            f"An MTU of {number} cannot be: it must be between {encap.IPV4_MINIMUM} and {encap.LARGEST_MTU} bytes.",
            "Correct the number.",
        )
    )
    return None


def ref(resource: Object, plural: str) -> Ref:
    """Return the address of an object that was read."""
    return Ref(
        api_version=resource.api_version,
        kind=resource.kind,
        plural=plural,
        name=resource.name,
        namespace=resource.namespace,
    )
