"""The wheel of the product: all that it needs, none of the lab, and one clear sentence where that is asked for."""

import email
import os
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
DATA = (
    *(f"kube/crds/{plural}.yaml" for plural in ("mtumigrations", "mtupolicies", "mtuprobes", "nodemtus")),
    *(f"kube/manifests/{name}.yaml" for name in ("admission", "agent", "probe")),
    "py.typed",
)
"""What is no Python and must be there: `install` makes the first seven."""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """Build it as the image does, with the build backend that is installed, and without a network."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*build, "--disable-pip-version-check", "--wheel-dir", str(folder), str(ROOT)], check=True)
    (path,) = folder.glob("kubemtu-*.whl")
    return zipfile.ZipFile(path)


def installed(wheel: zipfile.ZipFile, folder: Path, arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Run the command from the unpacked wheel and the libraries of this interpreter, without what a .pth file adds."""
    wheel.extractall(folder)
    paths = [str(folder), sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(dict.fromkeys(paths)), "PYTHONUTF8": "1"}
    command = [sys.executable, "-S", "-P", "-m", "kubemtu", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=folder, check=False)


def test_it_holds_the_product_alone(wheel: zipfile.ZipFile, record_property: Callable[[str, object], None]) -> None:
    record_property("bytes", Path(wheel.filename or "").stat().st_size)
    names = wheel.namelist()
    assert {name.partition("/")[0].partition("-")[0] for name in names} == {"kubemtu"}
    assert not [name for name in names if "lab" in Path(name).stem.split("_") or "test" in name]
    here = {str(path.relative_to(ROOT / "src")) for path in (ROOT / "src/kubemtu").rglob("*.py")}
    assert {name for name in names if name.endswith(".py")} == here
    assert {f"kubemtu/{name}" for name in DATA} <= {*names}


def test_its_launchers_are_its_own(wheel: zipfile.ZipFile) -> None:
    """Installers put their interpreter in the place of `#!python`; what they write for entry points begins slowly."""
    launchers = {Path(name).name: wheel.read(name) for name in wheel.namelist() if ".data/scripts/" in name}
    assert launchers.keys() == {"kubemtu", "kubectl-mtu"}
    assert all(launcher.startswith(b"#!python\n") for launcher in launchers.values())
    assert not [name for name in wheel.namelist() if name.endswith("entry_points.txt")]


def test_it_asks_for_no_server_and_no_lab(wheel: zipfile.ZipFile) -> None:
    (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    wanted = email.message_from_bytes(wheel.read(name)).get_all("Requires-Dist", [])
    assert {text.partition(">")[0] for text in wanted} == {
        "anyio", "click", "httpcore2", "httpx2", "msgspec", "pyyaml", "wsproto",
    }  # fmt: skip


@pytest.mark.parametrize("arguments", [("demo",), ("lab", "up"), ("lab", "--help")])
def test_without_the_lab_its_commands_say_where_it_is(
    wheel: zipfile.ZipFile, tmp_path: Path, arguments: Sequence[str]
) -> None:
    ended = installed(wheel, tmp_path, arguments)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.splitlines()[-1] == (
        f"error: this installation holds no lab, so there is no `kubemtu {arguments[0]}`: it comes with a checkout of "
        "the project, where `make demo` and `make lab` run it"
    )


def test_without_the_lab_help_names_what_is_there(wheel: zipfile.ZipFile, tmp_path: Path) -> None:
    ended = installed(wheel, tmp_path, ["--help"])
    assert ended.returncode == 0, ended.stderr
    listed = {line.split()[0] for line in ended.stdout.splitlines() if line.startswith("  ") and line.strip()}
    assert {"check", "why", "apply", "install"} <= listed
    assert not {"lab", "demo"} & listed


def test_from_the_wheel_alone_the_definitions_and_manifests_are_found(wheel: zipfile.ZipFile, tmp_path: Path) -> None:
    wheel.extractall(tmp_path)
    program = "from kubemtu.kube import crd, shipped; print(len(crd.definitions())); print(crd.__file__)"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), sysconfig.get_path("purelib")])}
    command = [sys.executable, "-S", "-P", "-c", program]
    told = subprocess.run(command, capture_output=True, text=True, env=environment, check=True).stdout
    assert told.splitlines() == ["4", str(tmp_path / "kubemtu/kube/crd.py")]
