"""Files that are named on the command line: what is no file is a mistake of usage, whichever word names it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from kubemtu import files
from kubemtu.cli import main, planning
from kubemtu.core import errors
from kubemtu.flows.saved import bounds, manifests
from kubemtu.kube import connect

READERS: dict[str, Callable[[Path], object]] = {
    "check --from": manifests.load,
    "check --kubeconfig": lambda path: connect.settings(str(path)),
    "apply": planning.load,
}


@pytest.mark.parametrize("read", READERS.values(), ids=list(READERS))
@pytest.mark.parametrize("name", ["/dev/zero", "/dev/null", "/dev/full"])
def test_a_device_is_no_file(read: Callable[[Path], object], name: str) -> None:
    with pytest.raises(errors.UsageError, match=f"^{name} is a device, not a file"):
        read(Path(name))


@pytest.mark.parametrize("read", READERS.values(), ids=list(READERS))
def test_a_file_that_is_too_large_cannot_be_used(
    read: Callable[[Path], object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module, name in ((bounds, "BYTES_MOST"), (planning, "PLAN_MOST")):
        monkeypatch.setattr(module, name, files.SMALL)
    large = tmp_path / "large.json"
    large.write_bytes(b"{" + b" " * files.SMALL + b"}")
    with pytest.raises(errors.Malformed, match=r"large\.json .*is larger than 1 MiB"):
        read(large)


@pytest.mark.parametrize(
    "words",
    [
        ["check", "--from", ""],
        ["check", "--save", ""],
        ["check", "--prometheus-token-file", ""],
        ["plan", "--from", ""],
        ["plan", "--out", ""],
        ["plan", "--in-place", ""],
        ["why-not", "--from", ""],
        ["apply", ""],
        ["node", "probe", "192.0.2.1", "--key-file", ""],
    ],
    ids=" ".join,
)
def test_an_empty_word_is_no_file(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """As `--from "$DUMP"` gives where DUMP is not set: pathlib would take the folder that one is in."""
    assert main.run(words) == 2
    assert "it is empty, so no file is named" in capsys.readouterr().err
