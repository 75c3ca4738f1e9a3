"""An image that was unpacked into a folder, as `scripts/image` does: its files, and what its configuration says.

`rootfs/` has the files, `config.json` the configuration. Source: OCI image-spec, config.md.
"""

from pathlib import Path

import msgspec

from kubemtu.core.errors import UsageError


class _Config(msgspec.Struct, frozen=True, rename="pascal"):
    user: str = ""
    env: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] = ()


class _Document(msgspec.Struct, frozen=True):
    config: _Config


class Image(msgspec.Struct, frozen=True, kw_only=True):
    """What a container of the image starts with; `user` and `group` None where the image says none."""

    folder: str
    root: str
    entrypoint: tuple[str, ...]
    environment: dict[str, str]
    user: int | None = None
    group: int | None = None


def load(folder: str | Path) -> Image:
    """Read an unpacked image. Raises UsageError where the folder holds none."""
    here = Path(folder).absolute()
    try:
        found = msgspec.json.decode((here / "config.json").read_bytes(), type=_Document).config
        user, _, group = found.user.partition(":")
        (here / "rootfs" / found.entrypoint[0].lstrip("/")).stat()
        return Image(
            folder=str(here),
            root=str(here / "rootfs"),
            entrypoint=found.entrypoint,
            environment=dict(each.split("=", 1) for each in found.env),
            user=int(user) if user else None,
            group=int(group) if group else None,
        )
    except (OSError, ValueError, IndexError, msgspec.MsgspecError) as error:
        raise UsageError(
            f"{here} holds no unpacked image ({error}); `scripts/image` makes one in build/image"
        ) from error
