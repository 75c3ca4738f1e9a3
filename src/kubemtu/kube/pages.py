"""Pages of a list, decoded entry by entry into no more than is wanted of each.

A page of 500 pods has 5 MB, and as Python values ten times that; of a pod the rules read a dozen members. So a page is
cut into its entries first, without a look inside (msgspec.Raw), and each is decoded by a Struct that names the members
that are wanted: all others are passed over in the text. An entry that is unlike its Struct is decoded whole, for what
is strange is kept and said.
"""

from collections.abc import Callable
from typing import Any, Final

import msgspec

from kubemtu.core.text import json_values


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """What is wanted of each entry of a list: `wanted` decodes it, `whole` takes an entry that this cannot decode.

    `wanted` gives the entry as a mapping, and raises msgspec.DecodeError. `limit`: entries of a page, fewer where each
    is large. `packed`: whether the entries are kept as text (core.packed), for those that there are most of.
    """

    wanted: Callable[[msgspec.Raw], dict[str, object]]
    whole: Callable[[dict[str, object]], dict[str, object]]
    limit: int = 500
    packed: bool = False

    def decode(self, text: bytes | bytearray) -> object:
        """Decode a page. Raises msgspec.DecodeError whatever is wrong, jsonvalues.TooMuch for an entry of too much."""
        try:
            page = _PAGES.decode(text)
        except msgspec.ValidationError:
            return json_values.decode(text)  # no list: what it is instead is said by whoever wanted one
        except (UnicodeDecodeError, RecursionError, OverflowError) as error:
            raise msgspec.DecodeError(str(error)) from error
        if page.items is None:
            return json_values.decode(text)
        return {
            "kind": page.kind,
            "apiVersion": page.api_version,
            "metadata": page.metadata,
            "items": [self._entry(item) for item in page.items],
        }

    def _entry(self, item: msgspec.Raw) -> object:
        try:
            return self.wanted(item)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, OverflowError):
            found = json_values.decode(bytes(item))
            return self.whole(found) if isinstance(found, dict) else found


def of(type_: type[msgspec.Struct]) -> Callable[[msgspec.Raw], dict[str, object]]:
    """Return the decoder of entries that keeps the members which a Struct names, and leaves out absent ones.

    Its fields have UNSET as their default.
    """
    decoder = msgspec.json.Decoder(type_)

    def wanted(item: msgspec.Raw) -> dict[str, object]:
        found: dict[str, object] = msgspec.to_builtins(decoder.decode(item))
        return found

    return wanted


class _Page(msgspec.Struct, rename="camel"):
    items: list[msgspec.Raw] | None = None
    kind: Any = None
    api_version: Any = None
    metadata: Any = None


_PAGES: Final = msgspec.json.Decoder(_Page)
