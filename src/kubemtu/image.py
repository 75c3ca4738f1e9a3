"""Which container image belongs to this installation, as the build that made it has written it down."""

from pathlib import Path

import kubemtu

_WRITTEN = Path(__file__).with_name("image.txt")


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
