"""Objects of the API of which there may be thousands: kept as text, and made into values one at a time.

A pod of ten members has 180 bytes as text and 1,700 as Python values: those of 5,000 nodes would be 250 MB. Most rules
look at each once, and making it anew takes a few microseconds.
"""

from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, overload

import msgspec

from kubemtu.core.objects import Object


class _Read(Sequence[Object]):
    """A sequence that says how one of its entries is made."""

    def _at(self, place: int) -> Object:
        raise NotImplementedError

    @overload
    def __getitem__(self, place: int) -> Object: ...
    @overload
    def __getitem__(self, place: slice) -> tuple[Object, ...]: ...
    def __getitem__(self, place: int | slice) -> Object | tuple[Object, ...]:
        if isinstance(place, slice):
            return tuple(self._at(each) for each in range(*place.indices(len(self))))
        if not -len(self) <= place < len(self):
            raise IndexError(place)
        return self._at(place % len(self))


class Packed(_Read):
    """Objects of one kind, each as MessagePack: a sequence that makes an Object whenever one is asked for.

    What cannot be packed, as an integer of more than 64 bits, is kept as it is.
    """

    def __init__(self, api_version: str, kind: str) -> None:
        self.kind = kind
        self._head = {"apiVersion": api_version, "kind": kind}
        self._text = bytearray()
        self._ends = array("Q", [0])
        self._whole: dict[int, dict[str, object]] = {}

    def append(self, item: Object) -> None:
        """Add an object; apiVersion and kind are kept where they differ from the others'."""
        body = {key: value for key, value in item.body.items() if self._head.get(key) != value}
        try:
            self._text += _ENCODE(body)
        except (OverflowError, UnicodeEncodeError, RecursionError, TypeError, ValueError):
            self._whole[len(self)] = item.body
        self._ends.append(len(self._text))

    def _at(self, place: int) -> Object:
        whole = self._whole.get(place)
        if whole is not None:
            return Object(body=whole)
        with memoryview(self._text) as text:
            body = _DECODE(text[self._ends[place] : self._ends[place + 1]])
        return Object(body={**self._head, **body})

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __iter__(self) -> Iterator[Object]:
        return map(self._at, range(len(self)))


class Objects(_Read):
    """Several sequences of objects, one after the other, as one."""

    def __init__(self, parts: Iterable[Sequence[Object]]) -> None:
        self.parts = tuple(parts)

    def _at(self, place: int) -> Object:
        for part in self.parts:
            if place < len(part):
                return part[place]
            place -= len(part)
        raise IndexError(place)

    def __len__(self) -> int:
        return sum(map(len, self.parts))

    def __iter__(self) -> Iterator[Object]:
        for part in self.parts:
            yield from part

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Sequence)
            and len(other) == len(self)
            and all(a == b for a, b in zip(self, other, strict=True))
        )

    __hash__ = None  # type: ignore[assignment]  # as of any that can grow


def by_kind(objects: Sequence[Object]) -> dict[object, Sequence[Object]]:
    """Sort objects by their kind, in the order in which they stand; those that have none are left out."""
    packed: dict[str, list[Packed]] = {}
    others: dict[str, list[Object]] = {}
    for part in objects.parts if isinstance(objects, Objects) else (objects,):
        if isinstance(part, Packed):
            packed.setdefault(part.kind, []).append(part)
            continue
        for found in part:
            kind = found.get("kind")
            if isinstance(kind, str):
                others.setdefault(kind, []).append(found)
    sorted_: dict[object, Sequence[Object]] = {}
    sorted_.update(others)
    for kind, several in packed.items():
        parts = (*several, *((others[kind],) if kind in others else ()))
        sorted_[kind] = parts[0] if len(parts) == 1 else Objects(parts)
    return sorted_


_ENCODE = msgspec.msgpack.Encoder().encode
_DECODE = msgspec.msgpack.Decoder(dict[str, Any]).decode
