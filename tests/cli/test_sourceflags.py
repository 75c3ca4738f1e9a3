"""The options by which nodes without an agent are looked at: what is refused before anything is asked of a cluster."""

import pytest

from kubemtu.cli import main, sourceflags
from kubemtu.core import errors


@pytest.mark.parametrize(
    ("arguments", "flag"),
    [(["--exec"], "--exec"), (["--prometheus", "http://host"], "--prometheus"), (["--survey", "--yes"], "--survey")],
)
def test_saved_files_have_no_nodes_to_look_at(
    arguments: list[str], flag: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.run(["check", "--from", "somewhere", *arguments]) == 2
    assert capsys.readouterr().err.startswith(f"error: {flag} looks at a cluster, and --from reads saved files")


async def test_a_survey_shows_what_it_makes_and_asks(capsys: pytest.CaptureFixture[str]) -> None:
    """pytest's stdout is no terminal."""
    with pytest.raises(errors.UsageError, match="add --yes"):
        await sourceflags.SourceFlags(survey=True)._approve("1 pod\n")
    await sourceflags.SourceFlags(survey=True, yes=True)._approve("1 pod\n")
    captured = capsys.readouterr()
    assert captured.out == ""  # which may be JSON
    assert captured.err == "--survey makes\n1 pod\n" * 2


@pytest.mark.parametrize(
    "arguments",
    [
        ["--prometheus", "ftp://host"],
        ["--prometheus", "http://host", "--prometheus-token-file", "/nowhere/at/all"],
        ["--prometheus", "http://host", "--prometheus-match", 'a="b'],
        ["--prometheus-match", 'a="b"'],
        ["--survey-namespace", "kube-system"],
    ],
)
def test_what_makes_no_sense_is_said_before_anything_is_asked(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.run(["check", "--kubeconfig", "/nowhere/at/all", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ")
    assert arguments[0] in captured.err
    assert captured.err.count("\n") == 1
