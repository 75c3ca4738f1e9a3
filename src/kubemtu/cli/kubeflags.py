"""kubectl's own flags, on every command that talks to a cluster."""

from collections.abc import Callable
from typing import Concatenate, ParamSpec, TypeVar

import click
import msgspec

P = ParamSpec("P")
R = TypeVar("R")


NAMES = {"kubeconfig": "kubeconfig", "context": "context", "impersonate": "as"}
"""The parameters of a command that say which cluster is asked and as whom, and the options that they come by."""


class KubeFlags(msgspec.Struct, frozen=True, kw_only=True):
    """Which cluster, as whom; None is what kubectl would take."""

    kubeconfig: str | None = None
    context: str | None = None
    impersonate: str | None = None


def kube_flags(command: Callable[Concatenate[KubeFlags, P], R]) -> Callable[P, R]:
    """Add --kubeconfig, --context and --as; the command gets them as its first argument, a KubeFlags."""

    def collected(*args: P.args, **kwargs: P.kwargs) -> R:
        flags = KubeFlags(
            kubeconfig=_taken(kwargs, "kubeconfig"),
            context=_taken(kwargs, "context"),
            impersonate=_taken(kwargs, "impersonate"),
        )
        return command(flags, *args, **kwargs)

    collected.__name__ = command.__name__
    collected.__doc__ = command.__doc__
    collected.__dict__.update(command.__dict__)  # click keeps the parameters of inner decorators here
    wrapped: Callable[P, R] = collected
    for option in (
        click.option("--as", "impersonate", metavar="USER", help="Act as this user."),
        click.option("--context", metavar="NAME", help="The kubeconfig context to use."),
        click.option("--kubeconfig", metavar="PATH", help="Path to a kubeconfig."),
    ):
        wrapped = option(wrapped)
    return wrapped


def _taken(kwargs: dict[str, object], name: str) -> str | None:
    value = kwargs.pop(name, None)
    return value if isinstance(value, str) else None
