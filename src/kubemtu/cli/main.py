"""The command line: kubectl's flags, one command a file, each imported when it is called.

A kubectl plug-in is called in loops, so `--help` must not pay for netlink, HTTP or YAML: the group knows each command's
one-line help and imports its module only to run it.
"""

import importlib
import importlib.util
import sys
from collections.abc import Sequence

import click

from kubemtu.core import errors

COMMANDS: dict[str, tuple[str, str]] = {
    "check": ("kubemtu.cli.check:check", "Find what is wrong with the pod network's MTU (read-only)."),
    "why": ("kubemtu.cli.why:why", "Say whether it is the MTU between two ends, where, and what to do (read-only)."),
    "probe": ("kubemtu.cli.probe:probe", "Measure the exact path MTU between two ends, or between all (read-only)."),
    "why-not": (
        "kubemtu.cli.why_not:why_not",
        "Follow the configured MTU on a node to where it stopped (read-only).",
    ),
    "plan": ("kubemtu.cli.plan:plan", "Show what would change, in which order, and the undo (read-only)."),
    "apply": ("kubemtu.cli.apply:apply", "Change it, live, verify every step, and end with a proof."),
    "relieve": ("kubemtu.cli.relieve:relieve", "Pin every sender to what the path carries, and nothing else: at once."),
    "rollback": ("kubemtu.cli.rollback:rollback", "Return to the state recorded before the last apply."),
    "policy": ("kubemtu.cli.policy:policy", "Write down what the path carries where interfaces say more (MTUPolicy)."),
    "install": ("kubemtu.cli.install:install", "Put kubemtu into a cluster: agents, probes, kinds and roles."),
    "uninstall": ("kubemtu.cli.install:uninstall", "Take kubemtu out of a cluster, all of it."),
    "explain": ("kubemtu.cli.explain:explain", "Say what a code such as MTU105 means, and how to see it yourself."),
    "calc": ("kubemtu.cli.calc:calc", "Show what headers leave of a NIC's MTU, and which key it belongs into."),
    "node": ("kubemtu.cli.node:node", "Show or set one node's pod MTU, or measure a path, without Kubernetes."),
    "lab": ("kubemtu_lab.cli.lab:lab", "Build a cluster on this machine out of network namespaces."),
    "demo": ("kubemtu_lab.cli.demo:demo", "Break a lab cluster, fix it live under traffic, and count what was lost."),
    "agent": ("kubemtu.cli.agent:agent", "Keep one node true to its NodeMTU (runs in the cluster)."),
}
OF_THE_LAB = frozenset({"lab", "demo"})


class LazyGroup(click.Group):
    """A group whose commands are imported when they are run."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands, in the order of the job: look, plan, do."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command of that name; None when there is none."""
        if cmd_name not in COMMANDS:
            return None
        if cmd_name in OF_THE_LAB and not _has_lab():
            raise errors.UsageError(
                f"this installation holds no lab, so there is no `kubemtu {cmd_name}`: it comes with a checkout of the "
                "project, where `make demo` and `make lab` run it"
            )
        module, attribute = COMMANDS[cmd_name][0].split(":")
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands from the table, importing none."""
        with formatter.section("Commands"):
            listed = [name for name in COMMANDS if name not in OF_THE_LAB or _has_lab()]
            formatter.write_dl([(name, COMMANDS[name][1]) for name in listed])


def _has_lab() -> bool:
    """Return True where the lab is beside the product: in a checkout, not in the wheel."""
    return importlib.util.find_spec("kubemtu_lab") is not None


def _print_version(ctx: click.Context, _parameter: click.Parameter, asked: bool) -> None:
    if asked and not ctx.resilient_parsing:
        from kubemtu import image
        from kubemtu.cli import terminal

        terminal.echo(f"kubemtu {image.version()}")
        ctx.exit()


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 fine, 1 findings, 2 usage, 3 unreachable, 4 forbidden, 5 malformed input, 6 no known CNI, "
    "7 changed meanwhile, 8 stopped at a surprise, 9 a node's kernel refused, 70 a bug of kubemtu, 74 done but the "
    "output could not be written, 130 interrupted.",
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    help="Say the version, and the image that belongs to it.",
)
def cli() -> None:
    """Find, fix and prove the pod-network MTU of a Kubernetes cluster, without restarting a pod."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and end the process with the exit code of what happened (see kubemtu.core.errors)."""
    sys.exit(run(arguments))


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code. Every failure is one sentence on stderr."""
    from kubemtu.cli import terminal

    terminal.begin()
    code = _run(arguments)
    if terminal.lost() and code in {errors.FINE, errors.FINDINGS}:
        return errors.OUTPUT_LOST
    return code


def _run(arguments: Sequence[str] | None) -> int:
    from kubemtu.cli import terminal

    try:
        outcome = cli.main(args=arguments, prog_name="kubemtu", standalone_mode=False)
    except click.exceptions.Abort:
        return _complain("interrupted; nothing after the last line above was done", errors.Interrupted.exit_code)
    except click.ClickException as wrong:
        terminal.usage(wrong)
        return errors.UsageError.exit_code
    except SystemExit:  # click's answer to a reader of --help that has gone; nothing else in it ends the process
        return errors.FINE
    except KeyboardInterrupt:
        return _complain("interrupted", errors.Interrupted.exit_code)
    except Exception as ended:  # the last place that can make a sentence of it
        words = sys.argv[1:] if arguments is None else arguments
        if isinstance(ended, OSError) and {"-h", "--help"} & {*words}:  # click prints help past our way to the terminal
            terminal.lose(ended)
            return errors.FINE
        return _ended(ended, words)
    return outcome if isinstance(outcome, int) else errors.FINE


def _ended(ended: BaseException, words: Sequence[str]) -> int:
    """Say how a command of these words ended, by its exception; groups are opened as far as they hold one thing."""
    while isinstance(ended, BaseExceptionGroup):
        known = ended.subgroup(errors.KubemtuError)
        ended = (known or ended).exceptions[0]
    if type(ended) is errors.Forbidden:
        from kubemtu import access

        needed = access.needed(words)
        return _complain(f"{ended}; {needed}" if needed else str(ended), ended.exit_code)
    if isinstance(ended, errors.KubemtuError):
        return _complain(str(ended), ended.exit_code)
    if isinstance(ended, KeyboardInterrupt):
        return _complain("interrupted", errors.Interrupted.exit_code)
    if isinstance(ended, RecursionError):
        return _complain(
            "something that was read nests deeper than any object of Kubernetes does, so it was not judged; -o json "
            "of `kubectl get` shows which, take it away",
            errors.Malformed.exit_code,
        )
    if isinstance(ended, MemoryError):
        return _complain(
            "what was read needs more memory than there is; read less of it at once, or give kubemtu more",
            errors.Malformed.exit_code,
        )
    # the last fence: users get a sentence and a report, never a traceback
    from kubemtu.cli import crash

    return _complain(crash.report(ended), errors.BUG)


def _complain(sentence: str, code: int) -> int:
    from kubemtu.cli import terminal

    terminal.complain(sentence)
    return code
