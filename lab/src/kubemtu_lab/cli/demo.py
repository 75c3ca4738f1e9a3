"""`kubemtu demo`: break a lab cluster, fix it live under traffic, count what was lost; then the popular way."""

import asyncio

import click

from kubemtu.cli import output, terminal
from kubemtu.core import errors


@click.command()
@click.option("--contrast/--no-contrast", default=True, help="Tell the popular way too, for comparison.")
@output.output_option
def demo(contrast: bool, output_format: str) -> int:
    """Break a lab cluster, fix it live under traffic, and count what was lost.

    Builds a cluster out of network namespaces on this machine, with pods at 1500 on an overlay that carries 1450; shows
    check, plan and apply under real traffic between the pods; does the same the popular way; leaves nothing behind.
    Runs as root, or as an ordinary user where the kernel lets one make a user namespace. Takes less than a minute.
    """
    from kubemtu_lab.demo import story as told
    from kubemtu_lab.demo.view import Quiet, Text

    stage = Text() if output_format == "text" else Quiet()
    story = asyncio.run(told.story(stage, contrast=contrast))
    if output_format == "text":
        terminal.echo(f"\nThe lab is gone; all of it took {story.seconds:.0f} s.")
    else:
        output.emit(story, output_format)
    lost = story.kubemtu
    clean = not (lost.udp_lost_silently or lost.tcp_resets or lost.connect_failures or lost.pods_restarted)
    return errors.FINE if clean and not story.findings_after else errors.FINDINGS
