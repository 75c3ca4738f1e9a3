"""Which container image belongs to this installation, as the build that made it has written it down."""

import re
from pathlib import Path

import kubemtu

_WRITTEN = Path(__file__).with_name("image.txt")
# github.com/distribution/reference: reference.go (the grammar in its head), without the rule for the length of a name.
_DOMAIN = r"(?:(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:]+\])(?::[0-9]+)?/)?"
_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_TAG, _DIGEST = r"(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?", r"(?:@[A-Za-z][A-Za-z0-9]*:[0-9A-Fa-f]{32,})?"
_REFERENCE = re.compile(f"{_DOMAIN}{_PART}(?:/{_PART})*{_TAG}{_DIGEST}")


def is_reference(text: str) -> bool:
    """Say whether a text names an image: [REGISTRY/]NAME[:TAG][@DIGEST]."""
    return len(text) <= 512 and _REFERENCE.fullmatch(text) is not None


def reference() -> str | None:
    """Return the reference of the image that has this very version, by digest in a release; None in a checkout."""
    try:
        return _WRITTEN.read_text("utf-8").strip() or None
    except OSError:
        return None


def version() -> str:
    """Return what `kubemtu --version` says: the version, and the image that belongs to it."""
    found = reference()
    return f"{kubemtu.__version__}, " + (f"image {found}" if found else "built from source: no image belongs to it")
