"""What holds for the project as a whole: its public names, its pages, its manifests."""

import ast
import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from kubemtu.cli import main
from kubemtu.cni import registry

ROOT = Path(__file__).resolve().parents[1]


def test_every_command_can_be_loaded_and_says_what_it_does() -> None:
    for name, (where, _) in main.COMMANDS.items():
        module, attribute = where.split(":")
        command = getattr(__import__(module, fromlist=[attribute]), attribute)
        assert command.name == name
        assert command.help


def test_the_cnis_are_asked_from_the_most_particular_to_the_least() -> None:
    first = ["canal", "aws-vpc-cni", "gke", "calico", "cilium", "flannel"]  # each has signs of those behind it
    rest = [
        "antrea",
        "kube-ovn",
        "openshift",
        "ovn-kubernetes",
        "kube-router",
        "weave",
        "kubenet",
        "kindnet",
        "azure-cni",
    ]
    assert list(registry.CNIS) == [
        *first,
        *rest,
        "cluster-specification",
        "spiderpool",
        "reference-plugins",
    ]  # files of nodes, and nothing else


SHARED_NAMES: dict[str, str] = {}  # class names that stand twice, each with the reason


def test_no_class_name_means_two_things() -> None:
    places: dict[str, list[str]] = {}
    for path in sorted((ROOT / "src/kubemtu").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ClassDef):
                places.setdefault(node.name, []).append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert len(places) > 200
    again = {name: there for name, there in places.items() if len(there) > 1 and name not in SHARED_NAMES}
    assert not again, "rename one of each, or write into SHARED_NAMES why the field itself has two"


def test_made_pages_are_up_to_date() -> None:
    outcome = subprocess.run(
        [sys.executable, ROOT / "scripts/docs.py", "--check"], capture_output=True, text=True, check=False
    )
    assert outcome.returncode == 0, outcome.stderr


def test_every_claim_names_a_look_and_a_test_that_are_there() -> None:
    rows = [line.split("|") for line in (ROOT / "docs/claims.md").read_text("utf-8").splitlines() if line[:1] == "|"]
    claims = [[cell.strip() for cell in row[1:-1]] for row in rows[2:]]
    assert all(len(row) == 5 and all(row) for row in claims)
    for *_, modules, tests in claims:
        named, tried = re.findall(r"`([a-z_/]+\.py)`", modules), re.findall(r"`([a-z_/]+\.py)`", tests)
        assert named, modules
        assert tried, tests
        assert all((ROOT / "src/kubemtu" / name).is_file() for name in named), modules
        folder = ROOT / tried[0].rpartition("/")[0]
        assert all((ROOT / name if "/" in name else folder / name).is_file() for name in tried), tests


@pytest.mark.parametrize("command", ["make demo", "make test"])
def test_the_readme_names_the_two_commands_and_ci_runs_them(command: str) -> None:
    assert command in (ROOT / "README.md").read_text("utf-8")
    assert command in (ROOT / ".ci/run").read_text("utf-8")


def test_help_loads_no_library_but_click() -> None:
    seen = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "kubemtu", "--help"], capture_output=True, text=True, check=True
    ).stderr
    for heavy in ("lightkube", "httpx2", "yaml", "pyroute2", "starlette", "asyncio"):
        assert f"| {heavy}\n" not in seen.replace("|   ", "| ").replace("  ", ""), heavy


@pytest.mark.parametrize("command", ["check", "plan"])
def test_a_cluster_in_files_is_judged_without_what_speaks_to_one(command: str) -> None:
    asked = [command, "--nic-mtu", "1400", "--from", str(ROOT / "tests/shapes/antrea.yaml")]
    program = [sys.executable, "-X", "importtime", "-m", "kubemtu", *asked]
    seen = subprocess.run(program, capture_output=True, text=True, check=False)  # check has findings
    assert "1350" in seen.stdout  # of 1400, less what Geneve takes: 20 + 8 + 8 + 14
    loaded = {line.rpartition("|")[2].strip() for line in seen.stderr.splitlines()}
    assert "kubemtu.flows.decide" in loaded
    assert not loaded & {"httpx2", "kubemtu.kube.api", "kubemtu.flows.observe"}


def test_the_agent_may_do_what_it_needs_and_no_more() -> None:
    documents = list(yaml.safe_load_all((ROOT / "deploy/agent.yaml").read_text("utf-8")))
    role = next(one for one in documents if one["kind"] == "ClusterRole")
    allowed = {(resource, verb) for rule in role["rules"] for resource in rule["resources"] for verb in rule["verbs"]}
    assert {pair for pair in allowed if pair[1] not in {"get", "list", "watch"}} == {
        ("nodemtus", "create"),
        ("nodemtus/status", "patch"),
    }
    assert not {pair for pair in allowed if pair[0] in {"secrets", "configmaps", "pods", "daemonsets"}}
    daemonset = next(one for one in documents if one["kind"] == "DaemonSet")
    pod = daemonset["spec"]["template"]["spec"]
    assert pod["hostNetwork"]
    assert not any(container.get("ports") for container in pod["containers"])


def test_nothing_is_raised_inside_an_except_star() -> None:
    """Before CPython 3.11.4 (gh-103590) what is raised there comes out in a group, which nobody catches."""
    found = [
        f"{path.relative_to(ROOT)}:{raised.lineno}"
        for folder in ("src", "tests", "bench", "scripts")
        for path in (ROOT / folder).rglob("*.py")
        for starred in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(starred, ast.TryStar)
        for handler in starred.handlers
        for raised in ast.walk(handler)
        if isinstance(raised, ast.Raise)
    ]
    assert found == []


def test_a_cni_that_is_named_outside_its_module_is_found(tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("cni_words", ROOT / "scripts/cni_words.py")
    assert spec is not None
    assert spec.loader is not None
    words = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(words)
    (tmp_path / "cni").mkdir()
    (tmp_path / "core").mkdir()
    (tmp_path / "cni/flannel.py").write_text("BRIDGE = 'cni0'\n")
    (tmp_path / "core/codes.py").write_text("why = 'Felix'\n")  # the one that may
    (tmp_path / "core/net.py").write_text("# see projectcalico/calico: felix/x.go\nprefix = 'cali'\n")
    (tmp_path / "agent.yaml").write_text("- name: run-flannel\n")
    assert words.named(tmp_path) == ["agent.yaml:1: flannel", "core/net.py:2: cali"]


def test_tests_share_by_tests_support_alone() -> None:
    """Whoever moves a test or a fixture breaks no other test."""
    files = [path for folder in ("tests", "lab/tests", "scripts", "bench") for path in (ROOT / folder).rglob("*.py")]
    wrong = [
        f"{path.relative_to(ROOT)}:{node.lineno} {node.module}"
        for path in files
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith(("tests", "lab.tests"))
        if not node.module.startswith("tests.support")
        if (node.module, [each.name for each in node.names]) != ("tests", ["support"])
    ]
    assert len(files) > 200
    assert wrong == []


def test_an_agent_loads_no_cni() -> None:
    """Each node pays for what its agent imports; which links and files it looks at, it is told when it is installed."""
    program = (
        "import sys\n"
        "import kubemtu.cli.agent, kubemtu.agent.agent, kubemtu.kube.connect\n"
        "print(*[name for name in sys.modules if name.startswith('kubemtu.cni')])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "\n", "")


def test_a_function_says_what_it_does_and_not_what_it_is() -> None:
    """Ruff's D401 knows verbs that are not imperative, and takes a docstring without any verb."""
    nouns = ("Whether ", "How ", "All ", "Who ", "Where ", "When ", "Which ")
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for folder in ("src/kubemtu", "lab/src/kubemtu_lab")
        for path in sorted((ROOT / folder).rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (ast.get_docstring(node) or "").startswith(nouns)
        and not any("property" in ast.unparse(decorator) for decorator in node.decorator_list)
    ]
    assert not found, "begin with a verb: Say whether ..., Return all ..."


def test_no_script_has_the_name_of_what_scripts_import() -> None:
    """A script's own folder is looked in, and its modules come before any package without an __init__.py."""
    imported = {
        name.partition(".")[0]
        for path in (ROOT / "scripts").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.ImportFrom) and node.level == 0 and "." in (name := node.module or "")
    }
    assert "tests" in imported
    assert not imported & {path.stem for path in (ROOT / "scripts").glob("*.py")}
