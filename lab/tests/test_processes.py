"""Programs of a node: none is left of what nobody waits for."""

import os
import signal
import subprocess
import sys

STARTS = """
import asyncio, os, sys, threading
from kubemtu_lab.processes import Processes

async def main():
    processes, begun, going_on = Processes(), asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    async def inside(make):
        def late():
            loop.call_soon_threadsafe(begun.set)
            going_on.wait()
            return make()
        return await loop.run_in_executor(None, late)

    starting = asyncio.create_task(processes.start(["sleep", "600"], dict(os.environ), {}, inside))
    await begun.wait()
    starting.cancel()
    await asyncio.wait([starting])
    going_on.set()
    pid, ended = await processes.start(["true"], dict(os.environ), {}, lambda make: loop.run_in_executor(None, make))
    print(starting.cancelled(), await ended, flush=True)
    while True:  # until no child is left
        try:
            os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return
        await asyncio.sleep(0.02)

asyncio.run(main())
"""


def test_a_program_that_is_started_for_nobody_any_more_ends() -> None:
    """As of a pod that is deleted, or a client that goes, while a thread of the kubelet forks."""
    with subprocess.Popen([sys.executable, "-c", STARTS], stdout=subprocess.PIPE, start_new_session=True) as process:
        try:
            told, _ = process.communicate(timeout=90)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    assert told == b"True 0\n"
