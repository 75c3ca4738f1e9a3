"""`kubemtu calc`, from the words on the command line to what is printed."""

import json
import subprocess
import sys
from typing import Any

import click
import pytest
import yaml
from click.testing import CliRunner

from kubemtu.cli import output
from kubemtu.cli.calc import calc
from kubemtu.core.errors import UsageError


def text(*words: str) -> str:
    result = CliRunner().invoke(calc, words, standalone_mode=False, catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout


def answer(*words: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(text(*words, "-o", "json"))
    return found


def refusal(*words: str) -> str:
    with pytest.raises(UsageError) as caught:
        calc.main(words, standalone_mode=False)
    assert caught.value.exit_code == 2
    return str(caught.value)


def keys(*words: str) -> dict[str, tuple[int, str]]:
    """Index the keys: where -> (number, what it counts)."""
    return {f"{key['object']} {key['key']}": (key["value"], key["counts"]) for key in answer(*words)["keys"]}


def test_the_picture_shows_the_packet_from_the_nic_to_the_pod() -> None:
    lines = text("--nic", "1500", "--encap", "vxlan").splitlines()
    assert lines[0] == "NIC 1500 ▸ IPv4 20 ▸ UDP 8 ▸ VXLAN 8 ▸ Ethernet 14 ▸ pod 1450"


def test_the_working_subtracts_header_by_header_and_names_each_source() -> None:
    lines = text("--nic", "1500", "--encap", "vxlan").splitlines()
    assert lines[2:8] == [
        "  NIC         1500",
        "  IPv4         -20  RFC 791 3.1",
        "  UDP           -8  RFC 768",
        "  VXLAN         -8  RFC 7348 5",
        "  Ethernet     -14  IEEE 802.3 3.1.1",
        "  pod         1450  50 less than the NIC",
    ]
    assert "  TCP MSS 1410 over IPv4, 1390 over IPv6; `ping -M do -s 1422` just fits." in lines


@pytest.mark.parametrize("columns", [60, 80])
def test_narrow_terminals_get_the_place_on_a_line_of_its_own(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kubemtu.cli.wrapping.width", lambda: columns)
    lines = text("--nic", "1500", "--encap", "wireguard", "--encap", "vxlan").splitlines()
    assert max(map(len, lines)) <= columns
    lines = text("--nic", "1500", "--encap", "vxlan").splitlines()
    assert max(map(len, lines)) <= columns
    row = lines.index("  1450  pod     Canal without veth_mtu")
    place = " ".join(line.strip() for line in lines[row + 1 :])
    assert place.startswith('ConfigMap kube-system/canal-config, cni_network_config "mtu" 1450  pod')


def test_json_has_what_programs_need() -> None:
    found = answer("--nic", "1500", "--encap", "vxlan")
    assert found["nic"] == 1500
    assert found["podMtu"] == 1450
    assert found["cost"] == 50
    assert found["headers"][0] == {"name": "IPv4", "size": 20, "source": "RFC 791 3.1"}
    assert sum(header["size"] for header in found["headers"]) == 50
    assert found["layers"] == [{"name": "vxlan", "over": 1500, "mtu": 1450, "cost": 50}]
    assert found["mss"] == {"ipv4": 1410, "ipv6": 1390}
    assert found["warnings"] == []
    assert set(found["keys"][0]) == {"cni", "object", "key", "counts", "value", "note"}


def test_yaml_says_the_same_as_json() -> None:
    words = ("--nic", "9000", "--encap", "wireguard", "--outer", "ipv6")
    assert yaml.safe_load(text(*words, "-o", "yaml")) == answer(*words)


@pytest.mark.parametrize(
    ("words", "pod"),
    [
        (["--nic", "1500"], 1500),
        (["--nic", "1500", "--encap", "none"], 1500),
        (["--nic", "9000", "--encap", "vxlan"], 8950),
        (["--nic", "1500", "--encap", "vxlan", "--outer", "ipv6"], 1430),
        (["--nic", "1500", "--encap", "geneve:8"], 1442),
        (["--nic", "1500", "--encap", "none", "--encap", "ipip"], 1480),
        (["--nic", "1500", "--encap", "wireguard", "--encap", "vxlan"], 1390),
        (["--nic", "1500", "--encap", "wireguard", "--encap", "vxlan", "--outer", "ipv6"], 1350),
        (["--nic", "1500", "--encap", "wireguard", "--encap", "vxlan", "--outer", "ipv6", "--outer", "ipv4"], 1370),
        (["--nic", "1500", "--encap", "esp-transport", "--encap", "geneve:8"], 1408),
        (["--nic", "1501", "--encap", "esp-tunnel"], 1446),
    ],
)
def test_the_pod_mtu_is_what_is_left(words: list[str], pod: int) -> None:
    found = answer(*words)
    assert found["podMtu"] == pod
    assert found["cost"] == found["nic"] - pod == sum(header["size"] for header in found["headers"])


def test_a_stack_says_which_end_is_which_and_what_is_left_inside() -> None:
    lines = text("--nic", "1500", "--encap", "wireguard", "--encap", "vxlan").splitlines()
    assert lines[1] == "The first --encap is the one nearest the NIC: NIC ▸ wireguard ▸ vxlan ▸ pod."
    assert "                  1440  inside wireguard" in lines
    assert "  pod             1390  110 less than the NIC" in lines


def test_a_plain_network_costs_nothing() -> None:
    assert "  pod    1500  the same as the NIC" in text("--nic", "1500").splitlines()


# ---- where the number belongs ----


def test_vxlan_belongs_into_the_pod_key_of_one_cni_and_the_base_key_of_another() -> None:
    found = keys("--nic", "1500", "--encap", "vxlan")
    assert found['ConfigMap kube-system/canal-config cni_network_config "mtu"'] == (1450, "pod")
    assert found["ConfigMap kube-system/canal-config veth_mtu"] == (1450, "pod")
    assert found["HelmChartConfig kube-system/rke2-canal calico.vethuMTU"] == (1450, "pod")
    assert found["HelmChartConfig kube-system/rke2-canal flannel.mtu"] == (1500, "base")
    assert found["ConfigMap kube-flannel/kube-flannel-cfg Backend.MTU"] == (1500, "base")
    assert found["Installation default spec.calicoNetwork.mtu"] == (1450, "pod")
    assert found["FelixConfiguration default vxlanMTU"] == (1450, "tunnel")
    assert found["ConfigMap kube-system/cilium-config mtu"] == (1500, "base")
    assert "FelixConfiguration default ipipMTU" not in found
    assert "DaemonSet kube-system/aws-node POD_MTU" not in found


def test_flannel_over_ipv6_is_given_less_because_it_subtracts_the_cost_over_ipv4() -> None:
    found = keys("--nic", "1500", "--encap", "vxlan", "--outer", "ipv6")
    assert found["ConfigMap kube-flannel/kube-flannel-cfg Backend.MTU"] == (1480, "base")
    assert found["HelmChartConfig kube-system/rke2-canal calico.vethuMTU"] == (1430, "pod")
    assert found["FelixConfiguration default vxlanMTUV6"] == (1430, "tunnel")
    assert found["ConfigMap kube-system/cilium-config mtu"] == (1500, "base")


def test_a_cni_that_subtracts_more_than_the_headers_says_what_pods_get() -> None:
    found = answer("--nic", "1500", "--encap", "wireguard")
    notes = {(key["cni"], key["key"]): (key["value"], key["note"]) for key in found["keys"]}
    assert notes["Flannel", "Backend.MTU"] == (1500, "flannel subtracts 80 by itself: pods get 1420")
    assert notes["Canal, RKE2", "calico.vethuMTU"] == (1420, "flannel subtracts 80 by itself: pods get 1420")
    assert notes["Cilium", "mtu"] == (1500, "cilium subtracts 95 by itself: pods get 1405")
    assert notes["Calico, Felix", "wireguardMTU"] == (1440, "")
    assert "(cilium subtracts 95 by itself: pods get 1405)" in text("--nic", "1500", "--encap", "wireguard")


def test_cilium_subtracts_for_both_of_its_tunnels() -> None:
    (first, _) = answer("--nic", "1500", "--encap", "wireguard", "--encap", "vxlan")["keys"]
    assert first["note"] == "cilium subtracts 145 by itself: pods get 1355"
    notes = [key["note"] for key in answer("--nic", "1500", "--encap", "ipip", "--outer", "ipv6")["keys"]]
    assert "cilium subtracts 48 by itself: pods get 1452" in notes


def test_ovn_is_named_only_with_the_options_that_it_sends() -> None:
    assert keys("--nic", "1500", "--encap", "geneve:8")["ConfigMap ovn-kubernetes/ovn-config mtu"] == (1442, "pod")
    without = answer("--nic", "1500", "--encap", "geneve")
    assert "OVN-Kubernetes" not in {key["cni"] for key in without["keys"]}
    assert without["warnings"] == ["OVN adds 8 bytes of options to Geneve: for whatever runs on OVN write geneve:8."]


def test_an_encapsulation_of_no_known_cni_says_so() -> None:
    assert "No CNI that kubemtu knows encapsulates like this." in text("--nic", "1500", "--encap", "gre:key")
    assert answer("--nic", "1500", "--encap", "gre:key")["keys"] == []


# ---- warnings ----


@pytest.mark.parametrize(
    ("words", "sentences"),
    [
        (["--nic", "1329", "--encap", "vxlan"], ["1279 is below 1280, which IPv6 requires"]),
        (["--nic", "1330", "--encap", "vxlan"], []),
        (["--nic", "117", "--encap", "vxlan"], ["67 is below 68, which IPv4 requires"]),
        (
            ["--nic", "1279", "--encap", "vxlan", "--outer", "ipv6"],
            ["1209 is below 1280", "vxlan runs over IPv6, which needs 1280, but 1279 is all it gets"],
        ),
        (["--nic", "1500", "--encap", "wireguard"], ["give the WireGuard device 1440, not the default of 1420."]),
        (
            ["--nic", "1450", "--encap", "wireguard"],
            ["device 1390, not the default of 1420. Where the device, or the route into it, allows more, only"],
        ),
        (["--nic", "1500", "--encap", "wireguard", "--outer", "ipv6"], ["give the WireGuard device 1420. Where"]),
        (["--nic", "1500", "--encap", "esp-tunnel"], ["the largest costs 54 bytes, others up to 57"]),
        (["--nic", "1500", "--encap", "ipip", "--outer", "ipv6"], ["then write ipip:encaplimit."]),
        (["--nic", "1500", "--encap", "gre:key", "--outer", "ipv6"], ["then write gre:key,encaplimit."]),
        (["--nic", "1500", "--encap", "ipip:encaplimit", "--outer", "ipv6"], []),
    ],
)
def test_what_the_number_alone_does_not_say_is_a_warning(words: list[str], sentences: list[str]) -> None:
    warnings = answer(*words)["warnings"]
    assert len(warnings) == len(sentences)
    for warning, sentence in zip(warnings, sentences, strict=True):
        assert sentence in warning
        assert f"! {warning}" in text(*words).splitlines()


def test_unbounded_padding_has_its_own_limit() -> None:
    (warning,) = answer("--nic", "1450", "--encap", "wireguard")["warnings"]
    assert warning.endswith("only packets up to 1376 fit 1450.")


def test_a_pod_below_what_ipv4_needs_has_no_mss() -> None:
    assert answer("--nic", "117", "--encap", "vxlan")["mss"] is None
    assert "MSS" not in text("--nic", "117", "--encap", "vxlan")


# ---- refusals ----


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--nic", "0"], "An MTU of 0 cannot be: give a number of bytes from 68 to 65535."),
        (["--nic", "-5", "--encap", "vxlan"], "An MTU of -5 cannot be"),
        (["--nic", "65536"], "An MTU of 65536 cannot be"),
        (["--nic", "50", "--encap", "vxlan"], "An MTU of 50 is too small for vxlan, whose headers alone take 50"),
        (["--nic", "1500", "--encap", "vxlam"], "'vxlam' is no encapsulation (did you mean vxlan?): use one of none,"),
        (["--nic", "1500", "--encap", "geneve:6"], "Geneve options take a multiple of 4 bytes"),
        (
            ["--nic", "1500", "--encap", "vxlan", "--outer", "ipv4", "--outer", "ipv6"],
            "2 outer families for 1 encapsulations: give --outer once, or once for each.",
        ),
    ],
)
def test_a_value_that_makes_no_sense_is_refused_in_one_sentence(words: list[str], sentence: str) -> None:
    assert sentence in refusal(*words)


@pytest.mark.parametrize(
    "words", [[], ["--nic", "x"], ["--nic", "1500", "--outer", "ipx"], ["--nic", "1500", "-o", "xml"]]
)
def test_click_refuses_what_is_no_number_or_no_choice(words: list[str]) -> None:
    with pytest.raises(click.UsageError):
        calc.main(words, standalone_mode=False)


# ---- output ----


class _Terminal:
    def isatty(self) -> bool:
        return True


def test_colour_needs_a_terminal_and_no_veto(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert not output.colour()
    monkeypatch.setattr(sys, "stdout", _Terminal())
    assert output.colour()
    monkeypatch.setenv("NO_COLOR", "")
    assert output.colour()
    monkeypatch.setenv("NO_COLOR", "1")
    assert not output.colour()


def test_no_escape_sequence_reaches_a_pipe() -> None:
    words = ("--nic", "1500", "--encap", "wireguard")
    assert "\x1b" not in CliRunner().invoke(calc, words, standalone_mode=False, color=True).output


@pytest.mark.parametrize("chosen", ["json", "yaml"])
def test_values_are_printed_as_utf_8_whatever_the_terminal(
    chosen: str, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    assert chosen in output.WRITERS
    output.emit({"Ω": [1, None]}, chosen)
    written = capfdbinary.readouterr().out
    assert written == {"json": '{\n  "Ω": [\n    1,\n    null\n  ]\n}\n', "yaml": "Ω:\n- 1\n- null\n"}[chosen].encode()


def test_importing_the_command_imports_no_yaml_and_no_network() -> None:
    program = "import kubemtu.cli.calc, sys; print(sorted({'yaml', 'rich', 'lightkube', 'asyncio'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
