"""Write what is made from the code: docs/codes.md, docs/access.md, docs/schemas/, deploy/. `--check` only compares."""

import inspect
import sys
from pathlib import Path

import msgspec

from kubemtu.cli import calc, node_probe
from kubemtu.core import access, codes, snapshot
from kubemtu.core.change import plan
from kubemtu.core.rules import report
from kubemtu.flows.change import outcome
from kubemtu.flows.measure import mesh, why
from kubemtu.kube import shipped
from kubemtu_lab.demo import story

ROOT = Path(__file__).resolve().parents[1]
SCHEMAS: dict[str, type] = {
    "apply": outcome.Outcome,
    "calc": calc.Answer,
    "check": report.Report,
    "demo": story.Story,
    "node-probe": node_probe.HostProbe,
    "plan": plan.Plan,
    "probe": mesh.MeshReport,
    "snapshot": snapshot.Snapshot,
    "why": why.PathReport,
}


def pages() -> dict[Path, str]:
    """Every made page, by its path in the project."""
    made = {Path("docs/codes.md"): codes.markdown(), Path("docs/access.md"): access.markdown()}
    made |= {Path("deploy") / name: text for name, text in shipped.files().items()}
    for name, type_ in SCHEMAS.items():
        schema = msgspec.json.encode(level(msgspec.json.schema(type_, schema_hook=anything)), order="deterministic")
        made[Path(f"docs/schemas/{name}.json")] = msgspec.json.format(schema, indent=2).decode() + "\n"
    return made


def strangers() -> list[Path]:
    """The files of deploy/ that nothing makes any more."""
    there = {path for path in (ROOT / "deploy").rglob("*") if path.is_file()}
    return sorted(there - {ROOT / path for path in pages()})


def anything(_type: type) -> dict[str, object]:
    """The schema of what the API calls free-form."""
    return {"description": "Any JSON value."}


def level(part: object) -> object:
    """A schema without the indentation of docstrings in the code, which CPython takes away itself since 3.13."""
    if isinstance(part, list):
        return [level(each) for each in part]
    if not isinstance(part, dict):
        return part
    made = {key: level(each) for key, each in part.items()}
    if isinstance(told := made.get("description"), str):
        made["description"] = inspect.cleandoc(told)
    return made


def main() -> int:
    """Write the pages, or say which differ; what nothing makes is removed."""
    if "--check" not in sys.argv:
        for path in strangers():
            path.unlink()
    stale = [str(path.relative_to(ROOT)) for path in strangers()]
    for path, text in pages().items():
        file = ROOT / path
        if "--check" in sys.argv:
            if not file.exists() or file.read_text("utf-8") != text:
                stale.append(str(path))
        else:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, "utf-8")
    if stale:
        sys.stderr.write(f"out of date, run `make docs`: {', '.join(stale)}\n")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
