"""JSON from others, as values: whatever is wrong with it is one exception, and it cannot fill the memory."""

import msgspec

VALUES_MOST = 1_500_000  # commas, lists and, twice, mappings: a page of 500 pods has 200,000


class TooMuch(msgspec.DecodeError):
    """It holds more values than are taken at once."""


def texts(value: object) -> list[str]:
    """Return the texts of a list; nothing of what is no list."""
    return [one for one in value if isinstance(one, str)] if isinstance(value, list) else []


def decode(text: bytes | bytearray, *, most: int = VALUES_MOST) -> object:
    """Decode JSON. Raises msgspec.DecodeError whatever is wrong, TooMuch when it holds more than `most` values.

    A few bytes become a value of a hundred, so values are counted before they are made. Depth is what the stack bears,
    some hundreds.
    """
    if len(text) > most and text.count(b",") + text.count(b"[") + 2 * text.count(b"{") > most:
        raise TooMuch(f"it holds more than {most} values")
    try:
        return msgspec.json.decode(text)
    except RecursionError as error:
        raise msgspec.DecodeError("it nests too deep") from error
    except (UnicodeDecodeError, OverflowError) as error:
        raise msgspec.DecodeError(str(error)) from error
