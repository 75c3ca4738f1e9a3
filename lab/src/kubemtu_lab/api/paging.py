"""Parts of a list, and the token with which a client asks for the next one."""

import base64
import binascii

import msgspec

from kubemtu_lab.api.errors import bad_request
from kubemtu_lab.api.history import Key
from kubemtu_lab.api.resources import Object


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """A part of a list; `version` is the resourceVersion at which all parts are true together."""

    items: list[Object]
    version: int
    continue_token: str = ""
    remaining: int | None = None


class PageToken(msgspec.Struct, frozen=True, array_like=True):
    """Where a list goes on: the resourceVersion that it shows, and the last key that was given out."""

    version: int
    after: Key


def write_token(token: PageToken) -> str:
    """Write a page token as an opaque text."""
    return base64.urlsafe_b64encode(msgspec.json.encode(token)).decode()


def read_token(text: str) -> PageToken:
    """Read a page token.

    Raises:
        Refusal: 400.
    """
    try:
        return msgspec.json.decode(base64.urlsafe_b64decode(text), type=PageToken)
    except (binascii.Error, ValueError, msgspec.MsgspecError):
        raise bad_request("continue key is not valid: it was not written by this server") from None
