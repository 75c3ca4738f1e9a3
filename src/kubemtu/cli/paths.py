"""Files and folders on the command line: an empty word, as of a variable that is not set, is none."""

import os

import click


class NamedPath(click.Path):
    """A `click.Path` that refuses the empty word, which pathlib takes for the folder that one is in."""

    def convert(
        self, value: str | os.PathLike[str], param: click.Parameter | None, ctx: click.Context | None
    ) -> str | bytes | os.PathLike[str]:
        """Read a path. Fails as `click.Path` does, and for the empty word."""
        if value == "":
            self.fail("it is empty, so no file is named", param, ctx)
        return super().convert(value, param, ctx)
