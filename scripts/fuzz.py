"""Hostile input for the command line: kubeconfigs, exec plug-ins, answers of an API server, files, arguments, facts.

    scripts/fuzz.py [--seed N] [--runs N] [--group NAME] [--only NUMBER]
    scripts/fuzz.py --group facts --runs 100000   what check --from is given, in every form: half an hour

Each input is carried out by `kubemtu` itself, in a process that does nothing else, and must end in a sentence: no
traceback, no "bug in kubemtu", no signal, no hang, no control character in what is printed, JSON where JSON was asked
for, no planted credential in it or in a saved file, at most a second of processor time for facts, and less than 200 MB.
The same seed makes the same inputs. Ends with 1 when one of them did not.
"""

import argparse
import concurrent.futures
import io
import json
import os
import re
import resource
import select
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

GROUPS = {"answers": 495, "files": 275, "kubeconfigs": 220, "plugins": 44, "arguments": 66, "facts": 2000}
FACTS_SECONDS = 1.0  # of processor time, since others may be at work here
SECRET = "h2$Zm9v@k!~9"  # as scripts/hostile_facts.py plants it
CASE_SECONDS = 20.0  # of wall time; the limits of the product are a second or two here
MEGABYTES_MOST = 200
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
CODES = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9}


def main() -> int:
    """Run all groups, a process each, and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--runs", type=int, help="inputs of the group, or of all groups together")
    parser.add_argument("--group", choices=GROUPS)
    parser.add_argument("--only", type=int)
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--begin", type=int, default=0, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.worker:
        return _worker(asked.group, asked.seed, asked.begin, asked.runs)
    began, total, faults = time.monotonic(), 0, 0
    groups = [group for group in GROUPS if asked.group in (None, group)]
    share = asked.runs / sum(GROUPS[group] for group in groups) if asked.runs else 1
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:  # a thread waits for a process
        ranges = {
            group: (0, round(share * GROUPS[group])) if asked.only is None else (asked.only, asked.only + 1)
            for group in groups
        }
        running = {group: pool.submit(_all, group, asked.seed, *ranges[group]) for group in groups}
    for group in groups:
        told = running[group].result()
        total += len(told)
        peak = max((one["megabytes"] for one in told), default=0)
        slow = max((one["seconds"] for one in told), default=0)
        codes: dict[str, int] = {}
        for one in told:
            codes[str(one["code"])] = codes.get(str(one["code"]), 0) + 1
            if one["faults"] or asked.only is not None:
                faults += bool(one["faults"])
                print(f"{group} {one['number']} ({one['what']}): {', '.join(one['faults'])}\n{one['said']}")
        spread = ", ".join(f"{code}: {count}" for code, count in sorted(codes.items()))
        print(f"{group}: {len(told)} inputs, exit codes {{{spread}}}, slowest {slow:.1f} s, at most {peak} MB")
    print(f"{total} hostile inputs, seed {asked.seed}: {faults} faults, {time.monotonic() - began:.0f} s")
    return 1 if faults or not total else 0


def _all(group: str, seed: int, begin: int, end: int) -> list[dict[str, object]]:
    return list(_watched(group, seed, begin, end))


def _watched(group: str, seed: int, begin: int, end: int) -> Iterator[dict[str, object]]:
    """Have workers carry the inputs out; one that dies or hangs is a fault of its input, and another goes on."""
    while begin < end:
        command = [sys.executable, __file__, "--worker", "--group", group, "--seed", str(seed)]
        command += ["--begin", str(begin), "--runs", str(end)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, encoding="utf-8") as worker:
            assert worker.stdout is not None
            while begin < end:
                ready, _, _ = select.select([worker.stdout], [], [], CASE_SECONDS + 10 * (begin == 0))
                line = worker.stdout.readline() if ready else ""
                if not line:
                    worker.kill()
                    fault = "died" if ready else f"hangs for {CASE_SECONDS:g} s"
                    yield _told(begin, "?", None, CASE_SECONDS, [f"{fault} ({worker.wait()})"], "")
                    begin += 1
                    break
                yield json.loads(line)
                begin += 1


def _told(number: int, what: str, code: object, seconds: float, faults: list[str], said: str) -> dict[str, object]:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    return {
        "number": number,
        "what": what,
        "code": code,
        "seconds": round(seconds, 2),
        "faults": faults,
        "said": said,
        "megabytes": peak if code is not None else 0,
    }


def _worker(group: str, seed: int, begin: int, end: int) -> int:
    """Carry inputs out in this process, and tell of each as a line of JSON."""
    sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]
    import hostile  # noqa: PLC0415 - needs what this process need not load

    from kubemtu.cli import main as cli  # noqa: PLC0415

    told = os.fdopen(os.dup(1), "w", encoding="utf-8")
    with tempfile.TemporaryDirectory(prefix="kubemtu-fuzz-") as folder:
        os.environ.update(HOME=folder, TMPDIR=folder, KUBECONFIG=f"{folder}/none")
        os.chdir(folder)  # names of files to write are hostile too
        for number in range(begin, end):
            case = hostile.case(group, seed, number, Path(folder))
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
            busy = time.process_time()
            code, out, err, seconds = _carried_out(cli.run, case)
            faults = _faults(case.words, code, out, err)
            if group == "facts":
                faults += _of_facts(out + err, Path(folder) / "saved.json", time.process_time() - busy)
            after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
            if after > MEGABYTES_MOST >= before:
                faults.append(f"takes {after} MB")
            said = repr((case.words, code, out[-300:], err[-1500:])) if faults or os.environ.get("FUZZ_SHOW") else ""
            told.write(json.dumps(_told(number, case.what, code, seconds, faults, said)) + "\n")
            told.flush()
    return 0


def _carried_out(run: Callable[[list[str]], int], case: object) -> tuple[object, str, str, float]:
    outs = [io.TextIOWrapper(io.BytesIO(), encoding="utf-8") for _ in range(2)]
    kept = sys.stdout, sys.stderr
    began = time.monotonic()
    try:
        sys.stdout, sys.stderr = outs
        with case.around():  # type: ignore[attr-defined]
            code: object = run(list(case.words))  # type: ignore[attr-defined]
    except BaseException:
        code = "".join(traceback.format_exc())
    finally:
        sys.stdout, sys.stderr = kept
    seconds = time.monotonic() - began
    for one in outs:
        one.flush()
    out, err = (one.buffer.getvalue().decode("utf-8", "surrogateescape") for one in outs)  # type: ignore[attr-defined]
    return code, out, err, seconds


def _faults(words: tuple[str, ...], code: object, out: str, err: str) -> list[str]:
    found = []
    if code not in CODES:
        found.append(f"ends with {code}")
    if "Traceback" in err + out:
        found.append("traceback")
    if "bug in kubemtu" in err:
        found.append("bug")
    if CONTROL.search(out) or CONTROL.search(err):
        found.append("control character")
    if code in {2, 3, 4, 5, 6, 7, 8, 9} and "rror: " not in err:
        found.append("says nothing")
    if code in {0, 1} and "json" in words:
        try:
            json.loads(out)
        except ValueError:
            found.append("prints no JSON")
    return found


def _of_facts(said: str, saved: Path, busy: float) -> list[str]:
    """Return what is wrong besides: a credential that came out, a saved file that holds one, too much work."""
    kept = saved.read_text("utf-8") if saved.exists() else ""
    saved.unlink(missing_ok=True)
    found = [f"works for {busy:.1f} s"] if busy > FACTS_SECONDS else []
    found += ["prints a credential"] if SECRET in said else []
    found += ["saves a credential"] if SECRET in kept else []
    return found + (["saves a control character"] if CONTROL.search(kept) else [])


if __name__ == "__main__":
    sys.exit(main())
