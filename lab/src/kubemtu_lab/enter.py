"""Runs a program inside namespaces of a lab: `python -I -S enter.py --net PATH PID program argument...`.

PID is the process whose user, mount, UTS and process namespaces are entered, PATH a network namespace as seen from
them (default: that process's own). This file stands alone and imports little, so that it starts in 15 ms. Its process
stays outside as the program's parent: it hands on signals and the exit code, and the program dies with it.
"""

# ruff: noqa: PTH109, PTH115, S606
# pathlib would double the time to start, and the command is the caller's own.

import ctypes
import os
import signal
import sys

NAMESPACES = (("user", 0x10000000), ("mnt", 0x00020000), ("uts", 0x04000000), ("pid", 0x20000000))
NEWNET = 0x40000000
PR_SET_PDEATHSIG = 1
libc = ctypes.CDLL(None, use_errno=True)


def setns(descriptor: int, flag: int) -> None:
    """Enter a namespace."""
    if libc.setns(descriptor, flag):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def enter(pid: int, net: str | None) -> None:
    """Enter the namespaces of a process, and the network namespace at `net` inside them."""
    proc = f"/proc/{pid}/ns"
    descriptors = [
        (os.open(f"{proc}/{name}", os.O_RDONLY), flag)
        for name, flag in NAMESPACES
        if os.readlink(f"{proc}/{name}") != os.readlink(f"/proc/self/ns/{name}")
    ]
    own_net = os.open(f"{proc}/net", os.O_RDONLY)
    working = os.getcwd()
    for descriptor, flag in descriptors:
        setns(descriptor, flag)
    setns(os.open(net, os.O_RDONLY) if net else own_net, NEWNET)
    try:
        os.chdir(working)
    except OSError:
        os.chdir("/")


def main() -> None:
    """Enter, fork, execute, wait."""
    net = None
    rest = sys.argv[1:]
    if rest[0] == "--net":
        net, rest = rest[1], rest[2:]
    command = rest[1:]
    try:
        enter(int(rest[0]), net)
    except OSError as error:
        sys.exit(f"cannot enter the lab: {error.strerror}; is it still up? `kubemtu lab ls` tells")
    child = os.fork()
    if child == 0:
        libc.prctl(PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGKILL))
        try:
            os.execvp(command[0], command)
        except OSError as error:
            sys.stderr.write(f"cannot run {command[0]}: {error.strerror}\n")
            os._exit(127)
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, lambda received, _: os.kill(child, received))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal sends it to the program too
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    if code < 0:
        if code != -signal.SIGKILL:
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    sys.exit(code)


if __name__ == "__main__":
    main()
