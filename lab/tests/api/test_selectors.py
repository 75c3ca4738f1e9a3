"""Selectors as the documentation of Kubernetes writes them."""

import pytest

from kubemtu_lab.api import selectors
from kubemtu_lab.api.errors import Refusal
from kubemtu_lab.api.resources import CORE, PODS, Object

CONFIGMAPS = next(each for each in CORE if each.plural == "configmaps")
CANAL: Object = {
    "metadata": {"name": "canal-x", "namespace": "kube-system", "labels": {"k8s-app": "canal", "tier": "node"}},
    "spec": {"nodeName": "n1", "hostNetwork": True},
    "status": {"phase": "Running"},
}
BARE: Object = {"metadata": {"name": "bare", "namespace": "default"}}


@pytest.mark.parametrize(
    ("text", "canal", "bare"),
    [
        ("", True, True),
        ("k8s-app=canal", True, False),
        ("k8s-app==canal", True, False),
        ("k8s-app = canal , tier = node", True, False),
        ("k8s-app=canal,tier=master", False, False),
        ("k8s-app!=canal", False, True),
        ("k8s-app in (canal, calico)", True, False),
        ("k8s-app in (calico),tier", False, False),
        ("k8s-app notin (canal,calico)", False, True),
        ("k8s-app notin (calico)", True, True),
        ("k8s-app", True, False),
        ("!k8s-app", False, True),
        ("tier,!missing", True, False),
        ("k8s-app=", False, False),
    ],
)
def test_label_selectors(text: str, canal: bool, bare: bool) -> None:
    selector = selectors.parse(PODS, labels=text)
    assert (selector.matches(CANAL), selector.matches(BARE)) == (canal, bare)


@pytest.mark.parametrize(
    ("text", "canal", "bare"),
    [
        ("spec.nodeName=n1", True, False),
        ("spec.nodeName!=n1", False, True),
        ("spec.nodeName=", False, True),
        ("spec.nodeName=n1,status.phase=Running", True, False),
        ("spec.nodeName=n1,status.phase!=Running", False, False),
        ("metadata.name=canal-x", True, False),
        ("metadata.namespace=default", False, True),
        ("spec.hostNetwork=true", True, False),
        ("spec.hostNetwork=false", False, True),
    ],
)
def test_field_selectors(text: str, canal: bool, bare: bool) -> None:
    selector = selectors.parse(PODS, fields=text)
    assert (selector.matches(CANAL), selector.matches(BARE)) == (canal, bare)


@pytest.mark.parametrize(
    ("labels", "fields", "message"),
    [
        ("a=b=c", "", "unable to parse requirement"),
        ("a in b", "", "unable to parse requirement"),
        ("a,,b", "", "unable to parse requirement"),
        ("", "spec.nodeName", "invalid selector"),
        ("", "spec.nodeName=n1", "field label not supported: spec.nodeName"),
    ],
)
def test_what_is_no_selector_is_a_bad_request(labels: str, fields: str, message: str) -> None:
    with pytest.raises(Refusal) as refused:
        selectors.parse(CONFIGMAPS, labels, fields)
    assert refused.value.code == 400
    assert message in refused.value.message
