"""Text that others wrote, made fit for a terminal, a log or a JSON document: nothing in it can act on who reads it.

Names of interfaces, nodes and files, messages of servers and plug-ins are written by whoever can; a terminal obeys what
they hold: ESC sequences set its title or its clipboard, CR hides what stood in the line, bidirectional overrides show a
text in another order than it has (Unicode Technical Report 36, section 3; CVE-2021-42574).
"""

import re

import msgspec

# C0 but tab and line feed, DEL, C1; line and paragraph separator; marks, embeddings, overrides and isolates of UAX 9;
# tags, which nobody sees; surrogates, which no encoding has.
CONTROL = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\U000e0000-\U000e007f\ud800-\udfff]"
)
_SURROGATE = re.compile("[\ud800-\udfff]")
REPLACEMENT = "\ufffd"


def printable(text: str) -> str:
    r"""Return the text with each control character written out: `\x1b`, `\u202e`; tab and line feed stay.

    A byte of a file name that is no UTF-8 (PEP 383) is written as that byte, `\xff`.
    """
    return CONTROL.sub(_written, text)


def one_line(text: str) -> str:
    """Return the text as `printable` does, its ends of lines and tabs as blanks: for cells and sentences."""
    return printable(text.replace("\n", " ").replace("\t", " "))


def encode(value: object) -> bytes:
    r"""Encode a value as JSON, control characters as `\u` escapes: the same value, which a terminal may show.

    A lone surrogate, which JSON in UTF-8 cannot have, becomes U+FFFD. Raises RecursionError for what nests too deep.
    """
    try:
        text = msgspec.json.encode(value).decode()
    except (UnicodeEncodeError, msgspec.EncodeError):
        text = msgspec.json.encode(_whole(msgspec.to_builtins(value))).decode()
    return CONTROL.sub(_escaped, text).encode()  # outside of its strings JSON holds no such character


def whole(value: object) -> object:
    """Return a value as builtins, each lone surrogate in it as U+FFFD."""
    return _whole(msgspec.to_builtins(value))


def _whole(value: object) -> object:
    if isinstance(value, str):
        return _SURROGATE.sub(REPLACEMENT, value)
    if isinstance(value, dict):
        return {_whole(key): _whole(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_whole(each) for each in value]
    return value


def _written(found: re.Match[str]) -> str:
    number = ord(found[0])
    if 0xDC80 <= number <= 0xDCFF:
        number -= 0xDC00
    if number < 0x100:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


def _escaped(found: re.Match[str]) -> str:
    units = found[0].encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at] << 8 | units[at + 1]:04x}" for at in range(0, len(units), 2))
