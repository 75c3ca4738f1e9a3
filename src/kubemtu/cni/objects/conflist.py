"""The template of a CNI configuration: text with placeholders, and the MTU that stands in it or is filled in.

install-cni replaces placeholders as plain text before any JSON parser sees them (projectcalico/calico:
cni-plugin/pkg/install/install.go), so `"mtu": __CNI_MTU__` is right and `"mtu": "__CNI_MTU__"` is not.
"""

import msgspec

from kubemtu.core import codes, encap
from kubemtu.core.codes import Finding
from kubemtu.core.errors import Malformed
from kubemtu.core.text import json_edit

CNI_MTU = "__CNI_MTU__"

# What installers fill it from (projectcalico/calico: cni-plugin/pkg/install/install.go; aws/amazon-vpc-cni-k8s).
FEEDS = {
    CNI_MTU: "the ConfigMap key veth_mtu",
    "__MTU__": "the environment variable POD_MTU or AWS_VPC_ENI_MTU of the DaemonSet aws-node",
}


class Template(msgspec.Struct, frozen=True, kw_only=True):
    """What the cluster's configuration says that each node's CNI configuration must be.

    `mtu` is the literal integer in bytes (None when absent, automatic or broken), `inside` where it stands or would,
    `placeholder` True when install-cni fills it in. `usable` is False when no node can use the text at all.
    """

    text: str
    usable: bool
    inside: str = ""
    mtu: int | None = None
    placeholder: bool = False
    absent: bool = False
    quoted: bool = False  # the placeholder stands in quotes, and nothing else with it


def template(text: str, plugin_type: str, place: str, out: list[Finding]) -> Template:
    """Read a template; what is broken in it goes to `out` as MTU122 (not JSON) or MTU112 (an MTU of the wrong type)."""
    try:
        found = json_edit.read_plugin_mtu(text, plugin_type, source=place)
    except Malformed as why:
        out.append(
            codes.finding(
                codes.MTU122, place, str(why), "Correct the text there; compare it with the CNI's own manifest."
            )
        )
        return Template(text=text, usable=False)
    inside = f"plugins[{found.plugin}].mtu" if '"plugins"' in text else "mtu"
    match found.kind:
        case "placeholder" if found.placeholder == CNI_MTU and found.raw == CNI_MTU:
            return Template(text=text, usable=True, inside=inside, placeholder=True)
        case "integer" if found.value is not None and 0 <= found.value <= encap.LARGEST_MTU:
            return Template(text=text, usable=True, inside=inside, mtu=found.value or None)
        case "other" if found.raw == "null":  # encoding/json leaves an int as it is
            return Template(text=text, usable=True, inside=inside, absent=True)
        case "absent":
            return Template(text=text, usable=True, inside=inside, absent=True)
        case _:
            out.append(
                codes.finding(
                    codes.MTU112,
                    f"{place}, {inside}",
                    f"The MTU is {found.raw}; the {plugin_type} plugin takes only an integer: no new pod can start.",
                    "Write the number without quotes."
                    if found.kind != "placeholder"
                    else f"Write {CNI_MTU} without quotes, and keep the number in veth_mtu.",
                )
            )
            return Template(
                text=text,
                usable=False,
                inside=inside,
                placeholder=found.placeholder == CNI_MTU,
                quoted=found.raw == f'"{CNI_MTU}"',
            )


def unquoted(text: str, place: str) -> str:
    """Return the text with the quotes taken off the placeholder, every other byte kept.

    Raises Malformed when it stands in quotes more than once: which one is the MTU's is for a person to say.
    """
    if text.count(f'"{CNI_MTU}"') != 1:
        raise Malformed(f'{place} holds "{CNI_MTU}" in quotes more than once: take the quotes off the MTU there.')
    return text.replace(f'"{CNI_MTU}"', CNI_MTU)
