"""What must be true of pods, and of what makes pods.

Only rules that somebody who writes a manifest by hand, or a test, could break.
Source: kubernetes `pkg/apis/core/validation/validation.go`, `pkg/apis/apps/validation/validation.go`.
"""

import re
from collections.abc import Iterator

from kubemtu_lab.api import names
from kubemtu_lab.api.errors import Cause, bad_request
from kubemtu_lab.api.resources import Object, Resource, copied, shown

_PERCENT = re.compile(r"[0-9]+%\Z")
_TEMPLATES = "deprecated.daemonset.template.generation"
_RESTARTS = ("Always", "OnFailure", "Never")
_POD_UPDATE = (
    "Forbidden: pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
    "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"
    "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
)


def causes(resource: Resource, item: Object, before: Object | None) -> Iterator[Cause]:
    """Tell what is wrong with a pod or a workload that replaces `before`, or is new."""
    if resource.kind == "Pod":
        yield from _pod_spec(item.get("spec") or {}, "spec", _RESTARTS)
        if before is not None and _fixed(item) != _fixed(before):
            yield "spec", _POD_UPDATE
    elif resource.group == "apps" and resource.kind != "ControllerRevision":
        yield from _workload(resource, item.get("spec") or {}, (before or {}).get("spec") or {})


def count_templates(resource: Resource, item: Object, before: Object | None) -> None:
    """Note in an annotation how many templates a DaemonSet has had, whatever its writer says of that later on.

    Source: kubernetes `pkg/registry/apps/daemonset/strategy.go`, `pkg/apis/apps/v1/conversion.go`.

    Raises:
        Refusal: 400 for a first number that is none.
    """
    if resource.kind != "DaemonSet" or resource.custom:
        return
    metadata = item["metadata"]
    told = ((before["metadata"] if before else metadata).get("annotations") or {}).get(_TEMPLATES, "1")
    if not (told.isascii() and told.isdecimal()):
        raise bad_request(f'strconv.ParseInt: parsing "{told}": invalid syntax')
    changed = before is not None and (item.get("spec") or {}).get("template") != before["spec"].get("template")
    metadata["annotations"] = (metadata.get("annotations") or {}) | {_TEMPLATES: str(max(int(told), 1) + changed)}


def status_causes(resource: Resource, item: Object) -> Iterator[Cause]:
    """Tell what is wrong with the status that was written to a pod or a workload."""
    status = item.get("status") or {}
    if resource.kind == "Pod":
        for place, each in enumerate(status.get("podIPs") or ()):
            for why in names.address(each.get("ip") or ""):
                yield f"status.podIPs[{place}]", f'Invalid value: "{each.get("ip")}": {why}'
    elif resource.kind == "DaemonSet":
        for field, value in status.items():
            if isinstance(value, int) and value < 0:
                yield f"status.{field}", f"Invalid value: {value}: must be greater than or equal to 0"


def _fixed(pod: Object) -> Object:
    """Return what of a pod's spec never changes."""
    spec = copied(pod.get("spec") or {})
    for field in ("activeDeadlineSeconds", "tolerations"):
        spec.pop(field, None)
    for container in [*(spec.get("containers") or ()), *(spec.get("initContainers") or ())]:
        container.pop("image", None)
    return spec


def _workload(resource: Resource, spec: Object, before: Object) -> Iterator[Cause]:
    selector, template = spec.get("selector") or {}, spec.get("template") or {}
    labels = (template.get("metadata") or {}).get("labels") or {}
    chosen = selector.get("matchLabels") or {}
    if "selector" in spec and not chosen and not selector.get("matchExpressions"):
        yield "spec.selector", f"Invalid value: {{}}: empty selector is invalid for {resource.kind.lower()}"
    elif not (chosen and chosen.items() <= labels.items()) and not selector.get("matchExpressions"):
        told = "`selector` does not match template `labels`"
        yield "spec.template.metadata.labels", f"Invalid value: {shown(labels)}: {told}"
    if before and before.get("selector") != spec.get("selector"):
        yield "spec.selector", f"Invalid value: {shown(selector)}: field is immutable"
    yield from _pod_spec(template.get("spec") or {}, "spec.template.spec", ("Always",))
    if resource.kind == "DaemonSet":
        yield from _pace(spec)


def _pace(spec: Object) -> Iterator[Cause]:
    at = "spec.updateStrategy.rollingUpdate.maxUnavailable"
    rolling = (spec.get("updateStrategy") or {}).get("rollingUpdate") or {}
    most = rolling.get("maxUnavailable", 1)
    counted = isinstance(most, int) or bool(_PERCENT.match(str(most)))
    if not counted:
        told = "a valid percent string must be a numeric string followed by an ending '%'"
        yield at, f"Invalid value: \"{most}\": {told} (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')"
    if (not counted or most in (0, "0%")) and not rolling.get("maxSurge"):
        yield at, "Required value: cannot be 0 when maxSurge is 0"


def _pod_spec(spec: Object, at: str, restarts: tuple[str, ...]) -> Iterator[Cause]:
    if spec.get("restartPolicy", "Always") not in restarts:
        listed = ", ".join(f'"{each}"' for each in restarts)
        yield f"{at}.restartPolicy", f'Unsupported value: "{spec["restartPolicy"]}": supported values: {listed}'
    for why in names.subdomain(spec["nodeName"]) if spec.get("nodeName") else ():
        yield f"{at}.nodeName", f'Invalid value: "{spec["nodeName"]}": {why}'
    if not spec.get("containers"):
        yield f"{at}.containers", "Required value"
    volumes = {each.get("name") for each in spec.get("volumes") or ()}
    seen: set[str] = set()
    for field in ("initContainers", "containers"):
        for place, container in enumerate(spec.get(field) or ()):
            yield from _container(container, f"{at}.{field}[{place}]", volumes, seen)


def _container(container: Object, at: str, volumes: set[object], seen: set[str]) -> Iterator[Cause]:
    name = container.get("name")
    if not name:
        yield f"{at}.name", "Required value"
    elif wrong := names.label(name):
        yield from ((f"{at}.name", f'Invalid value: "{name}": {why}') for why in wrong)
    elif name in seen:
        yield f"{at}.name", f'Duplicate value: "{name}"'
    seen.add(name or "")
    if not container.get("image"):
        yield f"{at}.image", "Required value"
    for place, port in enumerate(container.get("ports") or ()):
        number = port.get("containerPort")
        if not number:
            yield f"{at}.ports[{place}].containerPort", "Required value"
        elif not 1 <= number <= 65535:
            told = f"Invalid value: {number}: must be between 1 and 65535, inclusive"
            yield f"{at}.ports[{place}].containerPort", told
    for place, each in enumerate(container.get("env") or ()):
        if not each.get("name"):
            yield f"{at}.env[{place}].name", "Required value"
    for place, mount in enumerate(container.get("volumeMounts") or ()):
        if mount.get("name") not in volumes:
            yield f"{at}.volumeMounts[{place}].name", f'Not found: "{mount.get("name")}"'
