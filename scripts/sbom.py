"""List what an unpacked image holds, as CycloneDX 1.5 JSON: `scripts/sbom.py build/image/rootfs NAME`.

Debian's packages by dpkg's own record, Python's by their dist-info. Source: CycloneDX 1.5 JSON reference; purl-spec.
"""

import email.parser
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote


def debian(root: Path) -> Iterator[dict[str, object]]:
    """Return the packages that dpkg has installed."""
    for block in (root / "var/lib/dpkg/status").read_text("utf-8").split("\n\n"):
        found = email.parser.HeaderParser().parsestr(block)
        if "installed" in (found["Status"] or "").split():
            yield _component(found["Package"], found["Version"], f"deb/debian/{found['Package']}")


def python(root: Path) -> Iterator[dict[str, object]]:
    """Return the distributions that pip has installed beside the product, and the product."""
    for file in sorted(root.glob("opt/kubemtu/lib/python3*/site-packages/*.dist-info/METADATA")):
        found = email.parser.HeaderParser().parsestr(file.read_text("utf-8"))
        yield _component(found["Name"], found["Version"], f"pypi/{found['Name'].lower()}")


def _component(name: str, version: str, purl: str) -> dict[str, object]:
    return {"type": "library", "name": name, "version": version, "purl": f"pkg:{purl}@{quote(version)}"}


def main() -> int:
    """Print the list."""
    root, name = Path(sys.argv[1]), sys.argv[2]
    components = [*debian(root), *python(root)]
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": {"type": "container", "name": name}},
        "components": components,
    }
    sys.stdout.write(json.dumps(document, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
