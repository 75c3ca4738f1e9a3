"""What kinds the lab's API serves: the built-in ones as a table, the custom ones read from their definitions."""

from typing import Any, TypeAlias, TypeVar

import msgspec

Object: TypeAlias = dict[str, Any]
"""A Kubernetes object, list, patch or `Status` as its JSON decodes."""

Json = TypeVar("Json")
VERBS = ("create", "delete", "get", "list", "patch", "update", "watch")


def copied(value: Json) -> Json:
    """Return a deep copy of JSON; far faster than `copy.deepcopy`, which expects cycles and classes."""
    fresh: Json = msgspec.to_builtins(value)
    return fresh


def shown(value: object) -> str:
    """Return JSON as messages show it."""
    return msgspec.json.encode(value).decode()


class Column(msgspec.Struct, frozen=True, kw_only=True):
    """One column that `kubectl get` prints; `path` is a JSONPath without its braces."""

    name: str
    path: str
    type: str = "string"
    priority: int = 0


class Resource(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of object in one version, as a path of the API names it."""

    group: str = ""
    version: str = "v1"
    plural: str
    kind: str
    singular: str = ""
    namespaced: bool = True
    status: bool = False
    """There is a `/status` subresource; the main path leaves `.status` as it is."""
    status_on_create: bool = False
    """The writer who creates the object may give it a status (a kubelet does so for its node)."""
    generation: bool = False
    """`metadata.generation` counts the changes outside metadata and status."""
    custom: bool = False
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    schema: Object | None = None
    columns: tuple[Column, ...] = ()

    @property
    def key(self) -> tuple[str, str]:
        """Versions of one kind are views of the same objects, so the version is no part of it."""
        return self.group, self.plural

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def qualified(self) -> str:
        """The name as error messages give it: `configmaps`, `daemonsets.apps`."""
        return f"{self.plural}.{self.group}" if self.group else self.plural


def _of(group: str, version: str, *resources: Resource) -> tuple[Resource, ...]:
    return tuple(
        msgspec.structs.replace(each, group=group, version=version, singular=each.singular or each.kind.lower())
        for each in resources
    )


CORE = _of(
    "",
    "v1",
    Resource(plural="configmaps", kind="ConfigMap", short_names=("cm",)),
    Resource(plural="endpoints", kind="Endpoints", short_names=("ep",)),
    Resource(plural="events", kind="Event", short_names=("ev",)),
    Resource(plural="namespaces", kind="Namespace", namespaced=False, status=True, short_names=("ns",)),
    Resource(plural="nodes", kind="Node", namespaced=False, status=True, status_on_create=True, short_names=("no",)),
    Resource(plural="pods", kind="Pod", status=True, generation=True, short_names=("po",), categories=("all",)),
    Resource(
        plural="replicationcontrollers",
        kind="ReplicationController",
        status=True,
        generation=True,
        short_names=("rc",),
        categories=("all",),
    ),
    Resource(plural="secrets", kind="Secret"),
    Resource(plural="serviceaccounts", kind="ServiceAccount", short_names=("sa",)),
    Resource(plural="services", kind="Service", status=True, short_names=("svc",), categories=("all",)),
)
APPS = _of(
    "apps",
    "v1",
    Resource(plural="controllerrevisions", kind="ControllerRevision"),
    *(
        Resource(plural=plural, kind=kind, status=True, generation=True, short_names=(short,), categories=("all",))
        for plural, kind, short in (
            ("daemonsets", "DaemonSet", "ds"),
            ("deployments", "Deployment", "deploy"),
            ("replicasets", "ReplicaSet", "rs"),
            ("statefulsets", "StatefulSet", "sts"),
        )
    ),
)
RBAC = _of(
    "rbac.authorization.k8s.io",
    "v1",
    Resource(plural="clusterrolebindings", kind="ClusterRoleBinding", namespaced=False),
    Resource(plural="clusterroles", kind="ClusterRole", namespaced=False),
    Resource(plural="rolebindings", kind="RoleBinding"),
    Resource(plural="roles", kind="Role"),
)
POLICIES, POLICY_BINDINGS = _of(
    "admissionregistration.k8s.io",
    "v1",
    Resource(
        plural="validatingadmissionpolicies",
        kind="ValidatingAdmissionPolicy",
        namespaced=False,
        status=True,
        generation=True,
        categories=("api-extensions",),
    ),
    Resource(
        plural="validatingadmissionpolicybindings",
        kind="ValidatingAdmissionPolicyBinding",
        namespaced=False,
        generation=True,
        categories=("api-extensions",),
    ),
)
DEFINITIONS = Resource(
    group="apiextensions.k8s.io",
    plural="customresourcedefinitions",
    kind="CustomResourceDefinition",
    singular="customresourcedefinition",
    namespaced=False,
    status=True,
    generation=True,
    short_names=("crd", "crds"),
)
BUILT_IN = (
    *CORE,
    *APPS,
    *_of(
        "batch",
        "v1",
        Resource(plural="jobs", kind="Job", status=True, generation=True, categories=("all",)),
    ),
    *_of("coordination.k8s.io", "v1", Resource(plural="leases", kind="Lease")),
    *_of("discovery.k8s.io", "v1", Resource(plural="endpointslices", kind="EndpointSlice", generation=True)),
    *RBAC,
    POLICIES,
    POLICY_BINDINGS,
    DEFINITIONS,
)
NAMESPACES = next(each for each in CORE if each.plural == "namespaces")
PODS = next(each for each in CORE if each.plural == "pods")
SERVICES = next(each for each in CORE if each.plural == "services")


def defined_by(definition: Object) -> tuple[Resource, ...]:
    """Read the resources, one a served version, that a CustomResourceDefinition (apiextensions.k8s.io/v1) defines."""
    spec = definition["spec"]
    names = spec["names"]
    return tuple(
        Resource(
            group=spec["group"],
            version=version["name"],
            plural=names["plural"],
            kind=names["kind"],
            singular=names.get("singular") or names["kind"].lower(),
            namespaced=spec.get("scope") == "Namespaced",
            status="status" in (version.get("subresources") or {}),
            generation=True,
            custom=True,
            short_names=tuple(names.get("shortNames") or ()),
            categories=tuple(names.get("categories") or ()),
            schema=(version.get("schema") or {}).get("openAPIV3Schema"),
            columns=tuple(
                Column(
                    name=column["name"],
                    path=column["jsonPath"],
                    type=column.get("type", "string"),
                    priority=column.get("priority", 0),
                )
                for column in version.get("additionalPrinterColumns") or ()
            ),
        )
        for version in spec["versions"]
        if version.get("served", True)
    )
