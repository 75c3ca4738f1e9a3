"""docs/api.md: every field of every kind that kubemtu defines, read from the schemas that are installed."""

from collections.abc import Iterator, Mapping
from typing import Any

from kubemtu.kube import crd

Schema = Mapping[str, Any]
HEAD = """\
# The API: kinds and their fields

Made from the definitions in `src/kubemtu/kube/crds/` by `make docs`; `kubectl explain` says the same in a cluster that
has them (`kubectl explain mtuprobe.spec.paths.port`). All kinds are cluster-wide, of `kubemtu.io/v1alpha1`: fields may
still be renamed. `[]` is any item of a list, `{}` any value of a map; a field in bold is required.
"""


def markdown() -> str:
    """Return the page."""
    return HEAD + "".join(f"\n{part}" for definition in crd.definitions() for part in _kind(definition))


def _kind(definition: Schema) -> Iterator[str]:
    spec = definition["spec"]
    (version,) = spec["versions"]
    schema = version["schema"]["openAPIV3Schema"]
    yield f"## {spec['names']['kind']}\n\n{_wrapped(schema['description'])}\n"
    yield f"`kubectl get {spec['names']['plural']}` shows:\n"
    yield "| column | is | shown |\n|---|---|---|\n" + "".join(map(_column, version["additionalPrinterColumns"]))
    yield "| field | type | bounds | description |\n|---|---|---|---|\n" + "".join(
        f"| {_name(path, required=required)} | {_type(field)} | {_bounds(field)} | {_cell(field['description'])} |\n"
        for path, field, required in fields(schema)
    )


def fields(schema: Schema, path: str = "", *, required: bool = False) -> Iterator[tuple[str, Schema, bool]]:
    """Yield every field below a schema in its order: its path, its own schema, and whether it must be there."""
    if path:
        yield path, schema, required
    for name, field in schema.get("properties", {}).items():
        below = f"{path}.{name}" if path else name
        yield from fields(field, below, required=name in schema.get("required", ()))
    for key, mark in (("items", "[]"), ("additionalProperties", "{}")):
        if key in schema:
            yield from fields(schema[key], path + mark)


def _column(column: Schema) -> str:
    shown = "with `-o wide`" if column.get("priority") else "always"
    return f"| {column['name']} | {_cell(column['description'])} | {shown} |\n"


def _name(path: str, *, required: bool) -> str:
    return f"**`{path}`**" if required else f"`{path}`"


def _type(field: Schema) -> str:
    kind = f"{field['type']} ({field['format']})" if field.get("format") in {"date-time", "int64"} else field["type"]
    return f"{kind} or null" if field.get("nullable") else str(kind)


def _bounds(field: Schema) -> str:
    said = [f"`{value}`" for value in field.get("enum", ())]
    said += [f"{word} {field[key]}" for key, word in _LIMITS.items() if key in field]
    said += [f"matches `{field['pattern']}`"] if "pattern" in field else []
    said += [f"default `{field['default']}`"] if "default" in field else []
    said += [f"one of each {', '.join(field['x-kubernetes-list-map-keys'])}"] if _is_map(field) else []
    said += ["any fields"] if field.get("x-kubernetes-preserve-unknown-fields") else []
    return ", ".join(said)


_LIMITS = {
    "minimum": "from",
    "maximum": "to",
    "minLength": "characters from",
    "maxLength": "characters to",
    "maxItems": "items to",
}


def _is_map(field: Schema) -> bool:
    return field.get("x-kubernetes-list-type") == "map"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _wrapped(text: str) -> str:
    return " ".join(text.split())
