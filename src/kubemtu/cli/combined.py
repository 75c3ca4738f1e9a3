"""Options that mean nothing without another, or contradict it: refused as they are read, before anything is asked.

Whoever contradicts himself learns it at once and with the exit code of a usage error, not after a cluster has answered,
and not by finding that one of the two was passed over.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import click

from kubemtu.core import errors

NONE: Mapping[str, str] = MappingProxyType({})


class Option(click.Option):
    """An option that knows with which other parameters of its command it is not given.

    `beside`: by the name of another parameter, the sentence that refuses both; `needs`: by the names of parameters of
    which one must be given, separated by blanks, the sentence where none is. A sentence may hold `{}`, for what the
    other is given as. A parameter that its command lacks, or that has its default, is not given.
    """

    def __init__(
        self, *words: Any, beside: Mapping[str, str] = NONE, needs: Mapping[str, str] = NONE, **attributes: Any
    ) -> None:
        super().__init__(*words, **attributes)
        self.beside = beside
        self.needs = needs

    def handle_parse_result(
        self, ctx: click.Context, opts: Mapping[str, Any], args: list[str]
    ) -> tuple[Any, list[str]]:
        """Read the option as click does. Raises UsageError where what else is given does not go with it."""
        given = {each.name: opts[each.name] for each in ctx.command.params if _given(each, opts)}
        if self.name in given and not ctx.resilient_parsing:
            for other, sentence in self.beside.items():
                if other in given:
                    raise errors.UsageError(sentence.format(given[other]))
            for others, sentence in self.needs.items():
                if not given.keys() & set(others.split()):
                    raise errors.UsageError(sentence)
        return super().handle_parse_result(ctx, opts, args)


def _given(parameter: click.Parameter, opts: Mapping[str, Any]) -> bool:
    """Say whether a parameter is on the command line, with anything else than what it has anyway."""
    value = opts.get(parameter.name or "")
    read = isinstance(value, bool) or (isinstance(value, str | int | list | tuple) and bool(value))
    return read and str(value) != str(parameter.default)
