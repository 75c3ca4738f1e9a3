"""The options by which nodes without an agent are looked at: what is refused before anything is asked of a cluster."""

import re

import pytest
from tests.support import commanded

from kubemtu.cli import main, sourceflags
from kubemtu.core import errors
from kubemtu.core.snapshot import Snapshot, Unread


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


async def test_what_a_pods_author_wrote_is_printable_in_the_list_of_commands() -> None:
    """A mountPath may hold any character (kubernetes/kubernetes, pkg/apis/core/validation: ValidateVolumeMounts)."""
    spec = {
        "containers": [
            {"name": "main", "volumeMounts": [{"name": "net", "mountPath": "/m\x1b]0;pwn\x07\n\u2713 fine"}]}
        ],
        "volumes": [{"name": "net", "hostPath": {"path": "/etc/cni/net.d"}}],
    }
    pods = [commanded.pod("canal-1", "n1", spec=spec)]
    listed = await sourceflags.listing(commanded.api(commanded.with_ip, pods), commanded.cluster(pods))
    assert r"find '/m\x1b]0;pwn\x07 \u2713 fine' -maxdepth 1" in listed.replace("\u2713", r"\u2713")
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f]", listed)


@pytest.mark.parametrize("what", ["nodes", "pods"])
async def test_what_may_not_be_read_is_not_taken_for_shown_by_agents(what: str) -> None:
    hidden = Unread(what=what, why="forbidden", message=f"you may not list {what}")
    snapshot = Snapshot(
        source="test", objects=commanded.cluster(()).objects if what == "pods" else (), unread=(hidden,)
    )
    with pytest.raises(errors.Forbidden, match=f"you may not list {what}"):
        await sourceflags.listing(commanded.api(commanded.with_ip, ()), snapshot)


@pytest.mark.parametrize("unread", [(), (Unread(what="nodes", why="malformed", message="one is no object"),)])
async def test_nodes_that_could_not_be_read_are_not_said_to_have_agents(unread: tuple[Unread, ...]) -> None:
    snapshot = Snapshot(source="test", unread=unread)
    listed = await sourceflags.listing(commanded.api(commanded.with_ip, ()), snapshot)
    assert listed == "Of the nodes that could be read none runs Linux without an agent, so nothing would be run.\n"
