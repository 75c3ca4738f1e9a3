"""How long reading 5,000 pods in YAML takes, and how much memory: core.text.documents against PyYAML's own loader.

Both stand on libyaml's parser. PyYAML's loader composes a tree of nodes, each with two marks, and constructs values of
that; `documents` puts the values together from the parser's events. Each run is a process of its own, in turn.
"""

import json
import resource
import statistics
import subprocess
import sys
import time

import yaml

from kubemtu.core.text import documents

PODS = 5000
ROUNDS = 3
POD = """\
- apiVersion: v1
  kind: Pod
  metadata:
    name: web-{0}
    namespace: default
    labels: {{app: web, tier: front}}
    annotations: {{checksum: "{0}"}}
  spec:
    nodeName: n{0}
    containers:
    - name: c
      image: nginx
      ports: [{{containerPort: 80}}]
      env:
      - {{name: PORT, value: '80'}}
  status:
    phase: Running
    podIP: 10.42.0.1
    conditions:
    - type: Ready
      status: 'True'
"""


def dump() -> str:
    """Write what `kubectl get pods -o yaml` prints, shortened."""
    return "apiVersion: v1\nkind: List\nitems:\n" + "".join(map(POD.format, range(PODS)))


def read(how: str) -> None:
    """Read the dump one way, and print the seconds and the bytes that it took."""
    text = dump()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.perf_counter()
    found = documents.read(text) if how == "documents" else yaml.load(text, Loader=yaml.CSafeLoader)
    took = time.perf_counter() - began
    assert isinstance(found, dict)
    assert len(found["items"]) == PODS
    print(json.dumps([took, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024]))


def main() -> None:
    """Print the table."""
    runs: dict[str, list[tuple[float, float]]] = {"documents": [], "CSafeLoader": []}
    for _ in range(ROUNDS):
        for how, took in runs.items():
            done = subprocess.run((sys.executable, "-m", "bench.reading", how), stdout=subprocess.PIPE, check=True)
            took.append(tuple(json.loads(done.stdout)))
    print(f"{PODS:,} pods, {len(dump()) >> 10:,} KiB of YAML, {ROUNDS} rounds in turn\n")
    print(f"{'':14}{'median':>10}{'memory':>10}")
    for how, took in runs.items():
        seconds, memory = (statistics.median(column) for column in zip(*took, strict=True))
        print(f"{how:14}{seconds:8.2f} s{memory / 2**20:6.0f} MiB")


if __name__ == "__main__":
    read(sys.argv[1]) if len(sys.argv) > 1 else main()
