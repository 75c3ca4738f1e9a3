"""Archives and pipes: what they hold is read as if it lay in a folder, within bounds, and nothing is ever written."""

import bz2
import gzip
import io
import lzma
import os
import stat
import subprocess
import sys
import tarfile
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubemtu.core.errors import KubemtuError, Malformed
from kubemtu.core.snapshot import UNUSED, Snapshot
from kubemtu.flows.saved import archives, bounds, bundles, manifests

ONE = b"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: one, namespace: kube-system}\n"
TWO = ONE.replace(b"one", b"two")
FILES = {"a/one.yaml": ONE, "n7/10-x.conflist": b'{"plugins": []}', "n7/subnet.env": b"FLANNEL_MTU=1450\n"}


def tarred(files: dict[str, bytes], mode: str = "w") -> bytes:
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode=mode) as archive:  # type: ignore[call-overload]
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return held.getvalue()


def zipped(files: dict[str, bytes]) -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return held.getvalue()


ARCHIVES: dict[str, Callable[[dict[str, bytes]], bytes]] = {
    "x.tar": tarred,
    "x.tar.gz": lambda files: tarred(files, "w:gz"),
    "x.tgz of two members": lambda files: (
        (whole := tarred(files)) and gzip.compress(whole[:700]) + gzip.compress(whole[700:])
    ),
    "x.tar.bz2": lambda files: bz2.compress(tarred(files)),
    "x.tar.xz": lambda files: lzma.compress(tarred(files)),
    "x.zip": zipped,
}


def told(snapshot: Snapshot) -> list[tuple[str, str]]:
    return [(each.what, each.message) for each in snapshot.unread]


@pytest.mark.parametrize("name", ARCHIVES)
def test_an_archive_is_read_as_the_folder_that_it_was_made_of(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(ARCHIVES[name](FILES))
    before = sorted(tmp_path.iterdir())
    found = manifests.load(path)
    assert [(each.name, each.origin) for each in found.objects] == [("one", "a/one.yaml:1")]
    assert [(node.node, [file.path for file in node.files]) for node in found.nodes] == [
        ("n7", ["/etc/cni/net.d/10-x.conflist", "/run/flannel/subnet.env"])
    ]
    assert found.unread == ()
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("name", ARCHIVES)
def test_an_archive_in_a_folder_or_in_an_archive_is_read_where_it_lies(tmp_path: Path, name: str) -> None:
    inner = ARCHIVES[name](FILES)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / name).write_bytes(inner)
    (tmp_path / "folder" / "two.yaml").write_bytes(TWO)
    found = manifests.load(tmp_path / "folder")
    assert {(each.name, each.origin) for each in found.objects} == {
        ("one", f"{name}/a/one.yaml:1"),
        ("two", "two.yaml:1"),
    }
    (tmp_path / "outer.tar.gz").write_bytes(tarred({f"sub/{name}": inner}, "w:gz"))
    assert [each.origin for each in manifests.load(tmp_path / "outer.tar.gz").objects] == [f"sub/{name}/a/one.yaml:1"]


def test_a_packed_file_is_read_as_itself(tmp_path: Path) -> None:
    (tmp_path / "m.yaml.gz").write_bytes(gzip.compress(ONE))
    assert [each.origin for each in manifests.load(tmp_path / "m.yaml.gz").objects] == ["m.yaml:1"]


def test_archives_nest_twice_and_no_further(tmp_path: Path) -> None:
    whole = tarred({"m.yaml": ONE})
    for _ in range(2):
        whole = tarred({"x.tar": whole})
    (tmp_path / "x.tar").write_bytes(whole)
    with pytest.raises(Malformed, match="is an archive in an archive in an archive"):
        manifests.load(tmp_path / "x.tar")


def special(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member


def test_links_devices_and_names_that_lead_out_are_said_and_not_followed(tmp_path: Path) -> None:
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w") as archive:
        for name in ("/etc/abs.yaml", "../up.yaml", "a/../../up2.yaml", "./ok.yaml", "esc\x1b]0;x\x07.yaml"):
            member = tarfile.TarInfo(name)
            content = ONE.replace(b"one", f"n{len(archive.getmembers())}".encode())
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        archive.addfile(special("passwd.yaml", tarfile.SYMTYPE, "/etc/passwd"))
        archive.addfile(special("hard.yaml", tarfile.LNKTYPE, "/etc/passwd"))
        archive.addfile(special("pipe.yaml", tarfile.FIFOTYPE))
        archive.addfile(special("zero.yaml", tarfile.CHRTYPE))
    (tmp_path / "x.tar").write_bytes(held.getvalue())
    found = manifests.load(tmp_path / "x.tar")
    assert [each.origin for each in found.objects] == ["etc/abs.yaml:1", "ok.yaml:1", "esc\\x1b]0;x\\x07.yaml:1"]
    assert told(found) == [
        ("../up.yaml", "has a name that leads out of its archive"),
        ("a/../../up2.yaml", "has a name that leads out of its archive"),
        ("passwd.yaml", "is a link, and nothing is followed in an archive"),
        ("hard.yaml", "is a link, and nothing is followed in an archive"),
        ("pipe.yaml", "is no regular file, and nothing is followed in an archive"),
        ("zero.yaml", "is no regular file, and nothing is followed in an archive"),
    ]
    assert {each.why for each in found.unread} == {UNUSED}


def test_a_link_in_a_zip_is_not_followed(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        link = zipfile.ZipInfo("passwd.yaml")
        link.create_system, link.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/passwd")
        archive.writestr("m.yaml", ONE)
    assert told(manifests.load(tmp_path / "x.zip")) == [("passwd.yaml", "is no regular file, and nothing is followed")]


@pytest.mark.parametrize(
    "pack",
    [
        lambda content: tarred({"m.yaml": content}, "w:gz"),
        lambda content: lzma.compress(tarred({"m.yaml": content})),
        lambda content: bz2.compress(tarred({"m.yaml": content})),
        lambda content: zipped({"m.yaml": content}),
        gzip.compress,
    ],
    ids=["tar.gz", "tar.xz", "tar.bz2", "zip", "gz"],
)
def test_what_unpacks_to_far_more_than_it_is_ends_in_a_sentence(
    tmp_path: Path, pack: Callable[[bytes], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounds, "UNPACKED_LEAST", 1 << 20)
    (tmp_path / "bomb").write_bytes(pack(bytes(8 << 20)))
    (tmp_path / "m.yaml").write_bytes(ONE)
    found = manifests.load(tmp_path)
    assert [each.name for each in found.objects] == ["one"]
    ((what, message),) = told(found)
    assert what.startswith("bomb")
    assert message == "unpacks to more than 200 times its size; the rest was left out"


def test_names_files_and_bytes_are_counted_over_all_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    many = {f"{number}.yaml": ONE.replace(b"one", b"n%d" % number) for number in range(30)}
    (tmp_path / "a.tar").write_bytes(tarred(many))
    (tmp_path / "b.tar").write_bytes(
        tarred({f"b{name}": content.replace(b"name: n", b"name: m") for name, content in many.items()})
    )
    with monkeypatch.context() as patched:
        patched.setattr(bounds, "FILES_MOST", 40)
        found = manifests.load(tmp_path)
        assert len(found.objects) == 40
        assert ("b.tar", "holds more than 40 files; the rest was left out") in told(found)
    with monkeypatch.context() as patched:
        patched.setattr(bounds, "ENTRIES_MOST", 41)
        assert ("b.tar", "holds more than 41 names; the rest was left out") in told(manifests.load(tmp_path))
    with monkeypatch.context() as patched:
        patched.setattr(bounds, "TOTAL_MOST", 20 * len(ONE))
        assert any("holds more than 0 MiB" in message for _, message in told(manifests.load(tmp_path)))


@pytest.mark.parametrize("name", ARCHIVES)
def test_an_archive_that_ends_early_says_so_and_keeps_what_came_before(tmp_path: Path, name: str) -> None:
    whole = ARCHIVES[name]({"one.yaml": ONE, "large.yaml": b"# " + os.urandom(60_000).hex().encode()})
    (tmp_path / name).write_bytes(whole[: len(whole) // 2])
    (tmp_path / "two.yaml").write_bytes(TWO)
    found = manifests.load(tmp_path)
    assert "two" in {each.name for each in found.objects}
    assert any(what.startswith(name) and "no archive that can be read" in message for what, message in told(found))


def test_an_encrypted_zip_and_zstd_are_named(tmp_path: Path) -> None:
    whole = bytearray(zipped({"m.yaml": ONE}))
    whole[6] |= 1  # general purpose bit 0: encrypted (APPNOTE.TXT, section 4.4.4)
    whole[whole.rindex(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "x.zip").write_bytes(whole)
    with pytest.raises(Malformed, match="is encrypted"):
        manifests.load(tmp_path / "x.zip")
    (tmp_path / "x.tar.zst").write_bytes(b"\x28\xb5\x2f\xfd" + bytes(600))
    with pytest.raises(Malformed, match=r"is packed by zstd, which is not unpacked here: `zstd -d` does it"):
        manifests.load(tmp_path / "x.tar.zst")


def header(name: str, kind: bytes, size: int) -> bytes:
    member = tarfile.TarInfo(name)
    member.type, member.size = kind, size
    return member.tobuf(tarfile.GNU_FORMAT)


def sealed(block: bytes) -> bytes:
    """Return a header with its checksum: the sum of its bytes, the checksum's own as blanks (POSIX pax(1), ustar)."""
    blank = block[:148] + b" " * 8 + block[156:]
    return block[:148] + b"%06o\0 " % sum(blank) + block[156:]


def pax(records: dict[str, str]) -> bytes:
    member = tarfile.TarInfo("m.yaml")
    member.size, member.pax_headers = 512, records
    return member.tobuf(tarfile.PAX_FORMAT)


@pytest.mark.parametrize(
    "whole",
    [
        header("x", tarfile.XHDTYPE, 1 << 33) + bytes(32 << 20),
        header("x", tarfile.XGLTYPE, 1 << 33) + bytes(32 << 20),
        header("x", tarfile.GNUTYPE_LONGNAME, 1 << 33) + bytes(32 << 20),
        sealed(header("m.yaml", tarfile.GNUTYPE_SPARSE, 512)[:482] + b"\1" + bytes(29)) + b"\1" * (8 << 20),
        pax({"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "m.yaml"})
        + b"1\n"
        + b"9" * (8 << 20),
        pax({"GNU.sparse.map": "1," * 1000 + "1"}) + bytes(512),
        b"".join(header("x", tarfile.XHDTYPE, 0) for _ in range(5000)),
        header("x", b"0", -1 << 40) * 3,
    ],
    ids=["pax", "global", "long name", "holes", "map of holes", "old map", "header on header", "negative"],
)
def test_a_header_of_a_tar_is_not_taken_at_its_word(tmp_path: Path, whole: bytes) -> None:
    (tmp_path / "x.tar.gz").write_bytes(gzip.compress(whole, 1))
    (tmp_path / "m.yaml").write_bytes(ONE)
    tracemalloc.start()
    try:
        found = manifests.load(tmp_path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert [each.name for each in found.objects] == ["one"]
    assert peak < 16 << 20
    assert "no archive that can be read to its end" in dict(told(found)).get("x.tar.gz", "")


class Ending(io.RawIOBase):
    """A file that is not read at its end a thousand times."""

    def __init__(self, content: bytes) -> None:
        super().__init__()
        self._inner, self._ends = io.BytesIO(content), 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        count = self._inner.readinto(buffer)
        self._ends += not count
        assert self._ends < 1000
        return count


@pytest.mark.parametrize("pack", [bytes, gzip.compress, bz2.compress, lzma.compress])
@pytest.mark.parametrize("kind", [b"0", b"Z"], ids=["a file", "of no known kind"])
def test_what_a_tar_says_to_follow_is_not_looked_for_behind_its_end(
    kind: bytes, pack: Callable[[bytes], bytes]
) -> None:
    whole = header("x", kind, 1 << 40) + bytes(2048)
    stream = io.BufferedReader(Ending(pack(whole)))
    with pytest.raises(archives.Torn, match="ends in the middle"):
        list(archives.members(stream, "x.tar", bounds.Bounds()))


def test_a_zip_packed_by_lzma_is_not_unpacked(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("m.yaml", ONE)
        archive.writestr(zipfile.ZipInfo("n.yaml"), TWO)
    assert told(manifests.load(tmp_path / "x.zip")) == [("m.yaml", "is packed in a way that is not unpacked here")]


def test_what_is_of_no_use_is_counted_with_its_reason(tmp_path: Path) -> None:
    files = {f"pods/p{number}/current.log": b"line\n" for number in range(12)}
    files |= {"notes.txt": b"we changed something\n", "m.yaml": ONE, "core/secrets.yaml": ONE, "shot.png": b"\x89PNG"}
    (tmp_path / "x.tar").write_bytes(tarred(files))
    assert told(manifests.load(tmp_path / "x.tar")) == [
        ("pods/p0/current.log, pods/p1/current.log, pods/p2/current.log and 9 more", "each is a log"),
        ("notes.txt", "holds nothing that is known here"),
        ("core/secrets.yaml", "may hold credentials, and nothing of them is needed"),
        ("shot.png", "ends in .png, as nothing does that is of use here"),
    ]


def test_a_text_file_that_holds_objects_is_read_whatever_its_name(tmp_path: Path) -> None:
    (tmp_path / "nodes.txt").write_bytes(ONE)
    (tmp_path / "out").write_bytes(b'{"apiVersion":"v1","kind":"Node","metadata":{"name":"n"}}')
    assert [each.name for each in manifests.load(tmp_path).objects] == ["one", "n"]


PIPED = """
import sys
from kubemtu.flows.saved import manifests
from kubemtu.core.errors import KubemtuError
from pathlib import Path
try:
    found = manifests.load(Path("-"))
    print(found.source, [(each.name, each.origin) for each in found.objects], [each.message for each in found.unread])
except KubemtuError as why:
    print(type(why).__name__, why)
"""


def piped(content: bytes) -> str:
    done = subprocess.run([sys.executable, "-c", PIPED], input=content, capture_output=True, check=True)
    assert done.stderr == b""
    return done.stdout.decode()


@pytest.mark.parametrize(
    ("content", "origin"),
    [
        (ONE, "-:1"),
        (b'{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"one"}}', "-:1"),
        (tarred({"m.yaml": ONE}), "m.yaml:1"),
        (tarred({"m.yaml": ONE}, "w:gz"), "m.yaml:1"),
        (zipped({"m.yaml": ONE}), "m.yaml:1"),
        (lzma.compress(ONE), "-:1"),
    ],
    ids=["yaml", "json", "tar", "tar.gz", "zip", "xz"],
)
def test_standard_input_is_whatever_comes(content: bytes, origin: str) -> None:
    assert piped(content) == f"standard input [('one', '{origin}')] []\n"


def test_what_cannot_come_from_standard_input_is_said() -> None:
    assert piped(b"").startswith("Malformed What is piped in (-) holds no Kubernetes object")
    closed = subprocess.run([sys.executable, "-c", PIPED], stdin=subprocess.DEVNULL, capture_output=True, check=True)
    assert closed.stdout.decode() == "UsageError What is piped in (-) is a device, not a file or a pipe.\n"


def test_several_lists_of_kubectl_one_behind_the_other(tmp_path: Path) -> None:
    item = "- apiVersion: v1\n  kind: Node\n  metadata:\n    name: {0}\n"
    listed = f"apiVersion: v1\nitems:\n{item}kind: List\nmetadata: {{{{}}}}\n"
    (tmp_path / "m.yaml").write_text(listed.format("n1") + listed.format("n2"))
    found = manifests.load(tmp_path / "m.yaml")
    assert [(each.name, each.origin) for each in found.objects] == [
        ("n1", "m.yaml:1, items[0]"),
        ("n2", "m.yaml:9, items[0]"),
    ]
    body = '{{\n"apiVersion": "v1", "kind": "NodeList", "items": [{{"metadata": {{"name": "{0}"}}}}]\n}}\n'
    (tmp_path / "m.json").write_text(body.format("n1") + body.format("n2"))
    assert [(each.name, each.origin) for each in manifests.load(tmp_path / "m.json").objects] == [
        ("n1", "m.json:1, items[0]"),
        ("n2", "m.json:4, items[0]"),
    ]


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_any_damage_to_an_archive_ends_in_a_sentence(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    name = data.draw(st.sampled_from(sorted(ARCHIVES)))
    whole = bytearray(ARCHIVES[name](FILES))
    for _ in range(data.draw(st.integers(1, 6))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("damaged") / name.replace(" ", "-")
    path.write_bytes(bytes(whole[: data.draw(st.integers(1, len(whole)))]))
    try:
        said = manifests.load(path).source
    except KubemtuError as why:
        said = str(why)
    assert str(path) in said
    assert "\n" not in said


def test_the_bounds_are_those_that_are_written_down() -> None:
    assert (bounds.BYTES_MOST, bounds.RATIO_MOST, bounds.ARCHIVES_DEEP) == (64 << 20, 200, 2)
    assert archives.kind(b"") == bundles.passed_over("a.yaml") == ""
