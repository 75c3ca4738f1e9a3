"""What `kubemtu install` prints and refuses without a cluster; with one it is tests/scenes/test_install.py."""

import pytest
import yaml
from click.testing import CliRunner

from kubemtu import image
from kubemtu.cli.install import install
from kubemtu.core.errors import UsageError

DIGEST = "sha256:" + "0123456789abcdef" * 4


@pytest.mark.parametrize(
    "reference",
    [
        f"registry.example.com/net/kubemtu@{DIGEST}",
        f"registry.example.com:5000/net/kubemtu:1.2.3@{DIGEST}",
        "localhost/kubemtu:0.1.0",
        "[fd00::1]:5000/kubemtu",
        "kubemtu",
        "null",
        "12",
        "a__b/c-d.e_f:v1",
    ],
)
def test_every_container_runs_the_very_reference_that_was_named(reference: str) -> None:
    told = CliRunner().invoke(install, ["--image", reference, "-o", "yaml"], standalone_mode=False)
    assert told.return_value == 0
    bodies = [*yaml.safe_load_all(told.output)]
    images = [
        each["image"]
        for body in bodies
        if body["kind"] == "DaemonSet"
        for each in body["spec"]["template"]["spec"]["containers"]
    ]
    assert images == [reference, reference]
    assert sum(body["kind"] == "ValidatingAdmissionPolicy" for body in bodies) == 2


@pytest.mark.parametrize(
    "reference",
    [
        "",
        " ",
        "[",
        "a b",
        "kubemtu: latest",
        "kubemtu\nprivileged: true",
        "Kubemtu:1",
        "kubemtu@sha256:123",
        "kubemtu:1:2",
        "http://registry/kubemtu",
        "kubemtu\x1b[31m",
        "k" * 513,
    ],
)
def test_what_names_no_image_is_refused_in_a_sentence(reference: str) -> None:
    assert not image.is_reference(reference)
    if not reference:
        return
    told = CliRunner().invoke(install, ["--image", reference, "-o", "yaml"], standalone_mode=False)
    assert isinstance(told.exception, UsageError)
    assert told.output == ""
    assert str(told.exception).count("\n") == 0
    assert "is no reference of an image: write REGISTRY/NAME:TAG, or REGISTRY/NAME@sha256:..." in str(told.exception)
