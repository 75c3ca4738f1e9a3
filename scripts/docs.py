"""Write what is made from the code: docs/{api,codes,access}.md, docs/schemas/, deploy/. `--check` only compares."""

import ast
import inspect
import itertools
import re
import sys
from pathlib import Path
from typing import Any

import api_page
import msgspec

from kubemtu import access
from kubemtu.cli import calc, node_probe
from kubemtu.core import codes, snapshot
from kubemtu.core.change import plan
from kubemtu.core.rules import report, trail
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
    "why-not": trail.Trails,
}


def pages() -> dict[Path, str]:
    """Every made page, by its path in the project."""
    made = {Path("docs/api.md"): api_page.markdown(), Path("docs/codes.md"): codes.markdown()}
    made |= {Path("docs/access.md"): access.markdown()}
    made |= {Path("deploy") / name: text for name, text in shipped.files().items()}
    for name, type_ in SCHEMAS.items():
        plain = level(described(type_, msgspec.json.schema(type_, schema_hook=anything)))
        schema = msgspec.json.encode(plain, order="deterministic")
        made[Path(f"docs/schemas/{name}.json")] = msgspec.json.format(schema, indent=2).decode() + "\n"
    return made


def strangers() -> list[Path]:
    """Return the files of deploy/ that nothing makes any more."""
    there = {path for path in (ROOT / "deploy").rglob("*") if path.is_file()}
    return sorted(there - {ROOT / path for path in pages()})


def anything(_type: type) -> dict[str, object]:
    """Return the schema of what the API calls free-form."""
    return {"description": "Any JSON value."}


def described(type_: type, schema: dict[str, Any]) -> dict[str, Any]:
    """Give each property of a schema the sentence that stands below its field in the code."""
    for struct in structs(type_):
        definition = schema["$defs"].get(struct.__name__) or schema["$defs"][re.sub(r"\W", "_", qualified(struct))]
        sentences = field_sentences(struct)
        for field in msgspec.structs.fields(struct):
            if field.name in sentences:
                definition["properties"][field.encode_name]["description"] = sentences[field.name]
        if struct.__struct_config__.tag is not None:
            tag = definition["properties"][struct.__struct_config__.tag_field]
            tag["description"] = "Which of the forms this is."
    return schema


def qualified(struct: type[msgspec.Struct]) -> str:
    """Name a struct as msgspec does where two of one schema have the same short name."""
    return f"{struct.__module__}.{struct.__qualname__}"


def structs(type_: type) -> list[type[msgspec.Struct]]:
    """Return the structs that a type is made of, itself first, each once."""
    found: dict[type[msgspec.Struct], None] = {}
    waiting: list[Any] = [msgspec.inspect.type_info(type_)]
    while waiting:
        part = waiting.pop()
        if isinstance(part, msgspec.inspect.StructType):
            if part.cls in found:
                continue
            found[part.cls] = None
            waiting += [field.type for field in part.fields]
        for name in ("types", "item_types"):
            waiting += getattr(part, name, ())
        waiting += [inner for name in ("item_type", "key_type", "value_type") if (inner := getattr(part, name, None))]
    return list(found)


def field_sentences(struct: type[msgspec.Struct]) -> dict[str, str]:
    """Return what is said of each field of a struct: the string that follows it in the source."""
    (body,) = [part.body for part in ast.parse(inspect.getsource(struct)).body]  # type: ignore[attr-defined]
    return {
        field.target.id: " ".join(text.value.value.split())
        for field, text in itertools.pairwise(body)
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(text, ast.Expr)
        and isinstance(text.value, ast.Constant)
        and isinstance(text.value.value, str)
    }


def level(part: object) -> object:
    """Return a schema without the indentation of docstrings in the code, which CPython takes away itself since 3.13."""
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
