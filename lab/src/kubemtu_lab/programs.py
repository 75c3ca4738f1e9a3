"""How a program is begun in a container: its command with what it sees and may, and its environment.

The container's own is begun so, and what is executed beside it. A container that is only played has no program whose
files could be shared: it has those that its image would have.
"""

import functools
from collections.abc import Callable, Mapping

import msgspec

from kubemtu.core.objects import Object
from kubemtu_lab import commands, container_exec, containers, filesystem, image_tools, images, limits, volumes

_OF_THE_MACHINE = frozenset({"PATH", "LANG", "PYTHONPATH", "VIRTUAL_ENV"})
"""Variables that a program from an image has from the image alone."""
Program = tuple[list[str], dict[str, str]]
"""A command and its environment."""


def program(
    pod: Object,
    spec: Object,
    argv: list[str],
    env: Mapping[str, str],
    account: volumes.Mount | None,
    own_image: images.Image | None,
) -> Program:
    """Return how a program runs in a container; `own_image` is kubemtu's, where the scene names one.

    Raises RootRefused.
    """
    mounts, environment, image = _given(pod, spec, env, account, own_image)
    return limits.command(argv, mounts, limits.of(pod, spec, image), environment, image), environment


def _given(
    pod: Object, spec: Object, env: Mapping[str, str], account: volumes.Mount | None, own_image: images.Image | None
) -> tuple[list[volumes.Mount], dict[str, str], images.Image | None]:
    mounts = volumes.mounts(pod, spec) + ([account] if account else [])
    environment = containers.program_environment(pod, env)
    image = own_image if containers.is_ours(spec) else None
    if image is not None:
        environment = {key: environment[key] for key in environment if key not in _OF_THE_MACHINE} | image.environment
    return mounts, environment, image


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """A container in which something is executed, and what is known of its pod there."""

    container: containers.Container
    kinds: Mapping[str, image_tools.Kind]
    """What images are like, by container, where they are like others than usual."""
    own_network: bool
    host_name: str


def beside(
    place: Place, argv: list[str], account: volumes.Mount | None, own_image: images.Image | None
) -> Callable[[], None]:
    """Return what makes a forked process a command in a container that runs; why it cannot is told on `REPORT`.

    Raises RootRefused.
    """
    container, pod = place.container, place.container.pod
    played = not container.is_program()
    kind = image_tools.kind_of(container.spec, place.kinds) if played else None
    view = limits.View(
        own_network=place.own_network,
        tools=image_tools.tools(kind) if kind else None,
        hidden=tuple(str(each) for each in filesystem.OWN_FOLDERS) if played and not kind else (),
    )
    mounts, environment, image = _given(pod, container.spec, container.env, account, own_image)
    orders = limits.orders(argv, mounts, limits.of(pod, container.spec, image), environment, image, view)
    if played:
        environment = {"PATH": image_tools.PATH, "HOME": "/root", "HOSTNAME": place.host_name} | dict(container.env)
    return functools.partial(container_exec.be, orders, argv, environment, commands.REPORT)
