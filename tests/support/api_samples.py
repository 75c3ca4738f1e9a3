"""Objects, writers and refusals that the tests of the store share."""

import pytest

from kubemtu_lab.api.errors import Refusal
from kubemtu_lab.api.ownership import Writer
from kubemtu_lab.api.resources import Object

SPEC = Writer(manager="test")
STATUS = Writer(manager="test", subresource="status")
WIDGETS: Object = {
    "metadata": {"name": "widgets.lab.example"},
    "spec": {
        "group": "lab.example",
        "scope": "Namespaced",
        "names": {"plural": "widgets", "kind": "Widget", "shortNames": ["wd"]},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "subresources": {"status": {}},
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "properties": {
                            "spec": {"type": "object", "properties": {"mtu": {"type": "integer"}}},
                            "status": {"type": "object", "properties": {"phase": {"type": "string"}}},
                        },
                    }
                },
            },
            {
                "name": "v1beta1",
                "served": True,
                "storage": False,
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
            },
        ],
    },
}


def named(name: str, **fields: object) -> Object:
    return {"metadata": {"name": name}, **fields}


def pod(name: str, *, node: str = "n1", grace: int = 30, **metadata: object) -> Object:
    containers = [{"name": "main", "image": "example/web"}]
    spec: Object = {"nodeName": node, "terminationGracePeriodSeconds": grace, "containers": containers}
    return {"metadata": {"name": name, **metadata}, "spec": spec}


def refusal(call: object, *args: object, **kwargs: object) -> Refusal:
    assert callable(call)
    with pytest.raises(Refusal) as refused:
        call(*args, **kwargs)
    return refused.value
