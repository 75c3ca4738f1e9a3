"""Kill, stop, silence and starve `apply`, `rollback` and `relieve` at every printed line, and judge from outside.

    scripts/kills.py [--scene NAME] [--act ACT] [--disturbance NAME] [--lines N-M]

Prints a line a trial, and ends with 1 when one ended wrong. All of it takes an hour and more; the tests have one
of each sort.
"""

import argparse
import contextlib
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.support.change import every_line
from tests.support.change.cluster import cluster


def main() -> int:
    """Disturb every act of every scene at every line, and tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scene", choices=every_line.SCENES)
    parser.add_argument("--act", choices={**every_line.ACTS, **every_line.ACTS_APART})
    parser.add_argument("--disturbance", choices=every_line.DISTURBANCES)
    parser.add_argument("--lines", default="0-999", metavar="N-M")
    asked = parser.parse_args()
    low, _, high = asked.lines.partition("-")
    wrong = count = 0
    for scene in [asked.scene] if asked.scene else every_line.SCENES:
        with cluster(every_line.SCENES[scene], f"kills-{scene}") as lab:
            acts = every_line.acts(scene)
            for act in [asked.act] if asked.act in acts else [] if asked.act else acts:
                subject = every_line.Subject(lab, acts[act])
                names = [asked.disturbance] if asked.disturbance else list(every_line.DISTURBANCES)
                lines = [line for line in subject.lines if int(low) <= line <= int(high or low)]
                for name, line, forward in every_line.trials(subject, names, lines):
                    count += 1
                    try:
                        told = subject.trial(name, line, forward=forward)
                    except (every_line.Wrong, TimeoutError, AssertionError) as found:
                        wrong += 1
                        told = f"WRONG: {found}"
                        with contextlib.suppress(AssertionError, TimeoutError):
                            subject.clean_up()
                    sys.stdout.write(f"{scene}, {act}, {name} at line {line}: {told}\n")
                    sys.stdout.flush()
    sys.stdout.write(f"{count} trials, {wrong} wrong\n")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
