"""Fail where the product names a CNI outside of `kubemtu.cni`: what is known of one stands in its module alone.

A citation of an upstream file (owner/repository: path) says where a fact was read and is no knowledge of a CNI's.
"""

import re
import sys
from pathlib import Path

SOURCE = Path(__file__).parent.parent / "src/kubemtu"
WORDS = re.compile(
    r"flannel|calico|\bcali\b|canal|cilium|felix|tigera|weave|\bantrea|kube-?ovn|ovnkube|kube-router|\bcni0\b",
    re.IGNORECASE,
)
CITATION = re.compile(r"\b(?:projectcalico/calico|flannel-io/flannel|cilium/cilium)\b(?:#\d+|:\s+[\w./{},-]+)?")
ALLOWED = {
    "core/codes.py": "the catalogue tells its reader by which CNI a finding can come; nothing is decided by it",
}


def named(source: Path) -> list[str]:
    """Return the lines below a folder that name a CNI, as PATH:LINE: WORD."""
    found = []
    for path in sorted(each for each in source.rglob("*") if each.suffix in {".py", ".yaml"}):
        name = path.relative_to(source).as_posix()
        text = CITATION.sub(lambda cited: re.sub(r"[^\n]", " ", cited[0]), path.read_text("utf-8"))
        if name.startswith("cni/") or name in ALLOWED:
            continue
        for number, line in enumerate(text.splitlines(), 1):
            if (word := WORDS.search(line)) is not None:
                found.append(f"{name}:{number}: {word[0]}")
    return found


if __name__ == "__main__":
    lines = named(SOURCE)
    sys.stderr.writelines(f"src/kubemtu/{line} is named outside of kubemtu.cni\n" for line in lines)
    sys.exit(bool(lines))
