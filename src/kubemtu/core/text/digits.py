"""Numbers in text that others wrote."""


def number(text: str, most: int = 18) -> int | None:
    """Return the number that a text of ASCII digits is, None for any other text or more than `most` digits.

    `str.isdigit` is true of "²", which int() refuses, and int() refuses numbers of thousands of digits.
    """
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= most else None
