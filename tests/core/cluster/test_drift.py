"""A node's conflist against its template."""

import json

import pytest

from kubemtu.core.cluster import drift

TEMPLATE = (
    '{"name": "k8s", "cniVersion": "0.3.1", "plugins": [{"type": "calico", "mtu": __CNI_MTU__, "nodename": '
    '"__KUBERNETES_NODE_NAME__", "kubernetes": {"k8s_api_root": "https://__HOST__:__PORT__"}}, {"type": "portmap"}]}'
)
RENDERED = {
    "name": "k8s",
    "cniVersion": "0.3.1",
    "plugins": [
        {"type": "calico", "mtu": 1450, "nodename": "n1", "kubernetes": {"k8s_api_root": "https://10.43.0.1:443"}},
        {"type": "portmap"},
    ],
}


def changed(*path: str | int, to: object) -> str:
    whole = json.loads(json.dumps(RENDERED))
    here = whole
    for key in path[:-1]:
        here = here[key]
    here[path[-1]] = to
    return json.dumps(whole, indent=4)


def test_what_the_installer_renders_does_not_differ() -> None:
    assert drift.differences(TEMPLATE, json.dumps(RENDERED, indent=8)) == ()
    assert not drift.chained(TEMPLATE, json.dumps(RENDERED))


@pytest.mark.parametrize(
    ("text", "where"),
    [
        (changed("plugins", 0, "mtu", to=1400), ()),
        (changed("plugins", 0, "log_level", to="debug"), ("plugins[0].log_level",)),
        (changed("plugins", 0, "kubernetes", "k8s_api_root", to="http://x"), ("plugins[0].kubernetes.k8s_api_root",)),
        (changed("plugins", 1, "type", to="bandwidth"), ("plugins[1]",)),
        (changed("cniVersion", to="1.0.0"), ("cniVersion",)),
        ("not json", ()),
        ("[]", ()),
    ],
)
def test_each_difference_is_named_by_its_path(text: str, where: tuple[str, ...]) -> None:
    assert drift.differences(TEMPLATE, text) == where


def test_a_file_of_another_cni_is_not_listed_to_the_end() -> None:
    other = {"plugins": [], **{f"key{n}": n for n in range(20)}}
    assert len(drift.differences(TEMPLATE, json.dumps(other))) == 5


def test_a_plugin_that_the_template_does_not_list_was_chained_in() -> None:
    assert drift.chained(TEMPLATE, changed("plugins", to=[*RENDERED["plugins"], {"type": "istio-cni"}]))
