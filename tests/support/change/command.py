"""The command in a process of its own, which can be stopped and killed at any line that it prints."""

import os
import select
import signal
import sys
import time
from pathlib import Path

import msgspec

from kubemtu.cli import main

INSTANT = 0.002  # seconds


class Ended(msgspec.Struct, frozen=True):
    """What a command left behind; `code` is negative for a signal."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        """What it printed, line by line."""
        return self.out.splitlines()


class Command:
    """The command in a process of its own: forked, because starting Python takes longer than a whole change."""

    def __init__(self, *arguments: str, kubeconfig: Path) -> None:
        out, told = os.pipe()
        err, said = os.pipe()
        self.lines: list[str] = []
        self.heard: list[float] = []  # when each line came
        self.pid = os.fork()
        if self.pid == 0:
            _be_the_command(arguments, kubeconfig, told, said)
        os.close(told)
        os.close(said)
        self._out, self._err = out, err
        self._rest = b""
        self._said = b""
        self._status: int | None = None  # of its end, once it was seen
        self.code: int | None = None

    def until_line(self, number: int, seconds: float = 120.0) -> bool:
        """Read until it has printed that many lines; False when it ended before."""
        deadline = time.monotonic() + seconds
        while len(self.lines) < number:
            if not self._read(deadline):
                return False
        return True

    def until_says(self, text: str, seconds: float = 120.0) -> None:
        """Read until a line holds that text. Raises AssertionError when it ends without."""
        deadline = time.monotonic() + seconds
        while not any(text in line for line in self.lines):
            assert self._read(deadline), f"it ended without {text!r}: {self.lines[-3:]} {self.wait().err}"

    def stop_reading(self) -> None:
        """Read no more of what it prints; what it says on stderr is still heard."""
        os.close(self._out)
        self._out = -1

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send it a signal; at SIGUSR1 its stdout is a full device from then on."""
        os.kill(self.pid, number)

    def stop(self) -> bool:
        """Stop it, and read what it has printed by then; False when it had ended before."""
        self.kill(signal.SIGSTOP)
        _, status = os.waitpid(self.pid, os.WUNTRACED)
        if not os.WIFSTOPPED(status):
            self._status = status
            return False
        open_ones = [one for one in (self._out, self._err) if one >= 0]
        while ready := select.select(open_ones, [], [], 0)[0]:
            for descriptor in ready:
                if block := os.read(descriptor, 1 << 16):
                    self._take(descriptor, block)
                else:
                    open_ones.remove(descriptor)
        return True

    def go_on(self) -> None:
        """Let it go on, if it was stopped."""
        if self._status is None:
            self.kill(signal.SIGCONT)

    def wait(self, seconds: float = 180.0) -> Ended:
        """Wait for its end, and return all that it said."""
        deadline = time.monotonic() + seconds
        while self._read(deadline):
            pass
        if self.code is None:
            status = os.waitpid(self.pid, 0)[1] if self._status is None else self._status
            self.code = os.waitstatus_to_exitcode(status)
            for descriptor in {self._out, self._err} - {-1}:
                os.close(descriptor)
        return Ended(self.code, "\n".join([*self.lines, self._rest.decode()]).strip("\n"), self._said.decode())

    def _read(self, deadline: float) -> bool:
        if self.code is not None:
            return False
        open_ones = [one for one in (self._out, self._err) if one >= 0]
        while True:
            ready = select.select(open_ones, [], [], max(0.0, deadline - time.monotonic()))[0]
            if not ready:
                os.kill(self.pid, signal.SIGKILL)
                raise TimeoutError(f"the command did not go on: {self.lines[-3:]} {self._said.decode()}")
            for descriptor in ready:
                block = os.read(descriptor, 1 << 16)
                if not block:
                    open_ones.remove(descriptor)
                elif self._take(descriptor, block):
                    return True
            if not open_ones:
                return False

    def _take(self, descriptor: int, block: bytes) -> bool:
        """Add to what was read; True of what it prints, False of what it says on stderr."""
        if descriptor == self._err:
            self._said += block
            return False
        *whole, self._rest = (self._rest + block).split(b"\n")
        self.lines += [line.decode() for line in whole]
        self.heard += [time.monotonic()] * len(whole)
        return True


def _be_the_command(arguments: tuple[str, ...], kubeconfig: Path, told: int, said: int) -> None:
    code = 70
    try:
        os.setsid()
        os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
        os.dup2(told, 1)
        os.dup2(said, 2)
        os.closerange(3, 1024)  # no socket of the tests lives on in here
        sys.stdin, sys.stdout, sys.stderr = (os.fdopen(number, mode) for number, mode in ((0, "r"), (1, "w"), (2, "w")))
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
        signal.signal(signal.SIGUSR1, lambda *_: os.dup2(os.open("/dev/full", os.O_WRONLY), 1))
        signal.setitimer(signal.ITIMER_REAL, 0)
        os.environ["KUBECONFIG"] = str(kubeconfig)
        code = main.run(list(arguments))
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)


def steps(command: Command, first: int) -> list[tuple[int, float]]:
    """Where to kill a command like this finished one: after each line from `first` on, and how many seconds later.

    Of lines that came at the same instant the last counts. Some are followed at once, some while what comes next is
    under way.
    """
    ends = [*(later - heard > INSTANT for heard, later in zip(command.heard, command.heard[1:], strict=False)), True]
    places = [place for place, end in enumerate(ends, 1) if end and place >= first]
    return [(place, (0.0, 0.004, 0.012)[number % 3]) for number, place in enumerate(places)]
