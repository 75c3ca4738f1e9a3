"""Stdout and stderr as they are: terminals, closed, full, and read by somebody who has had enough."""

import ast
import json
import os
import pty
import re
import signal
import subprocess
import sys
import termios
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from tests.support import example

from kubemtu.cli import main, progress, terminal, wrapping
from kubemtu.core.objects import Object
from kubemtu.core.snapshot import Snapshot
from kubemtu.flows.agents import events

KUBEMTU = [sys.executable, "-m", "kubemtu"]
OSC = "e\x1b]0;pwn\x07\x9b31m\u202e"
EVIL = "node-1\x1b[2J"
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def hostile() -> Snapshot:
    """A cluster in which an interface, a node and a pod have names that a terminal would obey."""
    whole = example.story(1450, (example.node("n1", pod=1500), example.node("n2")))
    first, second = whole.nodes
    ports = tuple(msgspec.structs.replace(port, pod_link=OSC) for port in first.ports)
    evil = msgspec.structs.replace(first, node=EVIL, ports=ports, errors=(OSC,))
    text = msgspec.json.encode(whole.objects).decode().replace('"n1"', json.dumps(EVIL))
    objects = msgspec.json.decode(text, type=tuple[Object, ...])
    return msgspec.structs.replace(whole, nodes=(evil, second), objects=objects, source=OSC)


def ran(*words: str, redirect: str = "") -> subprocess.CompletedProcess[str]:
    """Run kubemtu under a shell that redirects; both outputs as text."""
    command = ["sh", "-c", f'"$@" {redirect}', "sh", *KUBEMTU, *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("output", ["text", "json", "yaml"])
def test_names_reach_no_output_raw(
    saved: Callable[[Snapshot], str], capsys: pytest.CaptureFixture[str], output: str
) -> None:
    path = saved(hostile())
    for words in (["check"], ["plan", "--mtu", "1400"]):
        assert main.run([*words, "--from", path, "-o", output]) in {0, 1}
        out, err = capsys.readouterr()
        assert not CONTROL.search(out + err)
    assert "node-1\\" in out


def test_json_keeps_what_it_says(saved: Callable[[Snapshot], str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["check", "--from", saved(hostile()), "-o", "json"]) == 1
    nodes = json.loads(capsys.readouterr().out)["nodes"]
    assert {EVIL} < {node["name"] for node in nodes}


def on_terminal(*words: str, columns: int = 80, **env: str) -> tuple[int, str]:
    """Run kubemtu with a terminal of so many columns as stdout and stderr; the exit code, and what came there."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (40, columns))
    held = {**os.environ, "TERM": "xterm", **env}
    held.pop("COLUMNS", None)
    with subprocess.Popen(
        [*KUBEMTU, *words], stdout=theirs, stderr=theirs, stdin=subprocess.DEVNULL, env=held
    ) as process:
        os.close(theirs)
        said = b""
        while True:
            try:
                more = os.read(ours, 65536)
            except OSError:  # EIO: the other end is closed
                break
            if not more:
                break
            said += more
    os.close(ours)
    return process.returncode, said.decode()


def test_a_terminal_gets_our_colours_and_nobody_elses(saved: Callable[[Snapshot], str]) -> None:
    code, text = on_terminal("check", "--from", saved(hostile()), NO_COLOR="")
    assert code == 1
    assert "\x1b[31m" in text or "\x1b[1m" in text
    assert not CONTROL.search(re.sub(r"\x1b\[\d+m", "", text).replace("\r\n", "\n"))
    assert r"\x1b]0;pwn\x07" in text


def test_a_narrow_terminal_gets_an_error_broken_between_words_and_a_file_gets_a_line() -> None:
    words = ["check", "--from", "/nowhere", "--prove"]
    code, text = on_terminal(*words, columns=50)
    first, *more = text.replace("\r\n", "\n").rstrip("\n").split("\n")
    assert (code, first.startswith("error: --prove measures")) == (2, True)
    assert more
    assert all(line.startswith("  ") for line in more)
    assert max(map(len, (first, *more))) <= 50
    assert ran(*words).stderr.count("\n") == 1


def test_what_a_change_tells_is_broken_between_words_too(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    told = [
        events.Event(kind="step", text="[1/4] pin the senders of 6 running pods on 3 nodes to 1450, live"),
        events.Event(kind="phase", text="PinPods       pods send at most 1450      3 nodes, 6 pods, 12 settings"),
        events.Event(kind="done", text="6 pods on 3 nodes, 24 settings changed; nobody sends more than 1450"),
    ]
    monkeypatch.setattr(wrapping, "width", lambda: 40)
    for one in told:
        progress.line(one)
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 40
    assert " ".join(out.split()) == " ".join(
        f"{'✓ ' if one.kind == 'done' else ''}{' '.join(one.text.split())}" for one in told
    )
    monkeypatch.setattr(wrapping, "width", lambda: None)
    for one in told:
        progress.line(one)
    assert capsys.readouterr().out.splitlines() == [told[0].text, f"    {told[1].text}", f"    ✓ {told[2].text}"]


@pytest.mark.parametrize("words", [["--context", OSC], ["--from", OSC], [OSC], ["--mtu", OSC], ["-o", OSC]])
def test_the_command_line_itself_is_foreign(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["plan", "--kubeconfig", "/nowhere", *words]) in {2, 3}
    out, err = capsys.readouterr()
    assert err.strip()
    assert not CONTROL.search(out + err)


def test_marks_cannot_be_forged() -> None:
    assert terminal.unstyle(terminal.style("a\x1b[31mb", fg="red")) == r"a\x1b[31mb"


def test_a_full_disk_is_said_and_has_its_code(saved: Callable[[Snapshot], str]) -> None:
    done = ran("check", "--from", saved(example.story(1450, example.trio())), redirect=">/dev/full")
    assert done.returncode == 74
    assert done.stderr == "warning: stdout takes no more (No space left on device); what is printed is lost\n"


@pytest.mark.parametrize("words", [["--help"], ["check", "-h"], ["lab", "up", "--help"], ["--version"]])
def test_help_on_a_full_disk_is_no_bug(words: list[str]) -> None:
    ended = ran(*words, redirect=">/dev/full")
    assert (ended.returncode, ended.stderr.count("\n")) == (74, 1)
    assert ended.stderr.startswith("warning: stdout takes no more (No space left on device)")


def test_closed_outputs_end_nothing(saved: Callable[[Snapshot], str]) -> None:
    path = saved(example.story(1450, example.trio()))
    whole = ran("check", "--from", path)
    for redirect in (">&-", "<&- >&-", "2>&-", "<&- >&- 2>&-", "2>/dev/full"):
        done = ran("check", "--from", path, redirect=redirect)
        assert (done.returncode, done.stderr) == (whole.returncode, ""), redirect
    assert ran("check", "--from", "/nowhere", redirect="2>/dev/full").returncode == 2


def test_a_reader_that_goes_is_no_failure(saved: Callable[[Snapshot], str]) -> None:
    path = saved(example.story(1450, example.trio()))
    command = '("$@"; echo "code $?" >&2) | true'
    for words, code in ((["check", "--from", path], ran("check", "--from", path).returncode), (["--help"], 0)):
        shell = ["sh", "-c", command, "sh", *KUBEMTU, *words]
        done = subprocess.run(shell, capture_output=True, text=True, timeout=60, check=False)
        assert done.stderr == f"code {code}\n"


def test_an_interruption_of_the_imports_is_a_sentence() -> None:
    program = (
        "import builtins, os, signal\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # whoever began the tests may ignore it
        "whole = builtins.__import__\n"
        "def importing(name, *rest):\n"
        "    if name == 'click': os.kill(os.getpid(), signal.SIGINT)\n"
        "    return whole(name, *rest)\n"
        "from kubemtu.__main__ import main\n"
        "builtins.__import__ = importing\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (130, "error: interrupted\n")


@pytest.mark.parametrize("name", ["kubemtu", "kubectl-mtu"])
@pytest.mark.parametrize(("ignored", "code", "said"), [(False, -signal.SIGINT, ""), (True, 0, "kubemtu 0.1.0")])
def test_an_interruption_of_the_launcher_prints_no_traceback(name: str, ignored: bool, code: int, said: str) -> None:
    """Under nohup, which ignores SIGINT, the same launcher goes on."""
    launcher = Path(sys.executable).with_name(name)
    program = (
        "import builtins, os, runpy, signal, sys\n"
        f"signal.signal(signal.SIGINT, signal.SIG_IGN if {ignored} else signal.default_int_handler)\n"
        "whole = builtins.__import__\n"
        "def importing(name, *rest):\n"
        "    if name == 'kubemtu.__main__': os.kill(os.getpid(), signal.SIGINT)\n"
        "    return whole(name, *rest)\n"
        "builtins.__import__ = importing\n"
        f"sys.argv = [{str(launcher)!r}, '--version']\n"
        f"runpy.run_path({str(launcher)!r}, run_name='__main__')\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (code, "")
    assert done.stdout.startswith(said)


def test_nothing_else_writes_to_a_terminal() -> None:
    banned = {"click.echo", "click.secho", "click.style", "sys.stdout.write", "sys.stderr.write", "print"}
    found = [
        f"{path.name}:{node.lineno} {ast.unparse(node.func)}"
        for path in Path(terminal.__file__).parent.glob("*.py")
        if path.name != "terminal.py"
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in banned
    ]
    assert not found, "use kubemtu.cli.terminal: it makes what others wrote printable"
