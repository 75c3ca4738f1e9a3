"""Archives, read from their first byte to their last: nothing of them is ever written to disk, and no link is followed.

tar as it is or packed by gzip, bzip2 or xz is read as a stream, so that it may come out of a pipe; zip has its table of
contents at its end and is sought in. Names in an archive are names of what is said, never places.
"""

import bz2
import functools
import io
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, BinaryIO, Final, Protocol

import msgspec

from kubemtu import files
from kubemtu.flows.saved import bounds
from kubemtu.flows.saved.bounds import Bounds, Enough

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

TABLE_MOST: Final = 8 << 20  # bytes of a zip's table of contents, some 80,000 names
MEMORY_MOST: Final = 128 << 20  # bytes that unpacking xz may take; `xz -9` asks for 65 MiB (xz(1))
HEADER_MOST: Final = 1 << 20  # bytes of what names one member of a tar
EMPTY_MOST: Final = 8  # reads at the end of a tar; two are enough for one without its last blocks
_NAMING: Final = (
    *(tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK),
    *(tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE),
)
_ZIP_METHODS: Final = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2)  # LZMA takes what memory it says
_MAGIC: Final = ((b"\x1f\x8b", "gzip"), (b"BZh", "bzip2"), (b"\xfd7zXZ\0", "xz"), (b"PK\x03\x04", "zip"))
_EMPTY_ZIP: Final = b"PK\x05\x06"
_ZSTD: Final = b"\x28\xb5\x2f\xfd"
_HEADER: Final = 512  # bytes of a tar's header, in which "ustar" stands at 257 (POSIX pax(1), ustar Interchange Format)
_END: Final = 22  # bytes of a zip's end record without its comment (PKWARE APPNOTE.TXT, section 4.3.16)
BROKEN: Final = (
    *(tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, ValueError, OverflowError),
    *(RuntimeError, NotImplementedError, KeyError, RecursionError, MemoryError),
)


class Torn(Exception):
    """An archive that cannot be read on; the text says why, to be put after its name."""


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """One name in an archive: its content, to be read before the next member is asked for, or why it has none."""

    name: str
    open: Callable[[], BinaryIO] | None
    unlike: str = ""  # "is a link", where it is no regular file


def kind(begin: bytes) -> str:
    """Say by its first 512 bytes which archive something is; empty: none."""
    if begin[257:262] == b"ustar":
        return "tar"
    if begin.startswith(_EMPTY_ZIP):
        return "zip"
    if begin.startswith(_ZSTD):
        return "zstd"
    return next((name for magic, name in _MAGIC if begin.startswith(magic)), "")


def members(stream: files.Stream, name: str, counted: Bounds) -> Iterator[Member]:
    """Yield what an archive holds, in its order; of one packed file that is no tar, that file.

    Raises Torn where it cannot be read on, and Enough where a bound is reached.
    """
    try:
        found = kind(_begin(stream))
        if found == "zip":
            yield from _zip(stream, counted)
        elif found == "tar":
            yield from _tar(io.BufferedReader(_Counted(stream, counted)), counted)
        elif found == "zstd":
            raise Torn("is packed by zstd, which is not unpacked here: `zstd -d` does it")
        else:
            inner = io.BufferedReader(_Unpacked(stream, found, counted), 1 << 16)
            held = kind(_begin(inner))
            if held == "tar":
                yield from _tar(inner, counted)
            elif held:
                raise Torn(f"is packed twice ({found}, {held}): unpack it once")
            else:
                yield Member(name=_without_suffix(name), open=lambda: inner)
    except files.Unlike:
        raise
    except BROKEN as why:
        raise Torn(sentence(why)) from why


def content(stream: BinaryIO, most: int) -> bytes:
    """Read at most so many bytes, and one more where there is more. Raises Torn and Enough as `members` does."""
    held = bytearray()
    try:
        while len(held) <= most and (more := stream.read(min(1 << 20, most + 1 - len(held)))):
            held += more
    except files.Unlike:
        raise
    except BROKEN as why:
        raise Torn(sentence(why)) from why
    return bytes(held)


def _begin(stream: files.Stream) -> bytes:
    """Look at the first bytes without taking them."""
    return stream.peek(_HEADER)[:_HEADER]


def _tar(stream: files.Stream, counted: Bounds) -> Iterator[Member]:
    with tarfile.open(fileobj=_Ending(stream), mode="r|", errorlevel=1, tarinfo=_PlainMember) as archive:
        for each in archive:
            archive.members = []  # type: ignore[attr-defined]  # what went by is not needed again
            counted.name()
            if each.isdir():
                continue
            if not each.isreg():
                what = "a link" if each.issym() or each.islnk() else "no regular file"
                yield Member(name=each.name, open=None, unlike=f"is {what}, and nothing is followed in an archive")
                continue
            yield Member(name=each.name, open=functools.partial(_of_tar, archive, each))


class _PlainMember(tarfile.TarInfo):
    """A member whose header is read within bounds: tarfile takes a header's word for its size, and maps of holes grow.

    Nobody who gathers files writes such: a name has PATH_MAX characters, and a sparse file is no text.
    """

    def _proc_member(self, archive: tarfile.TarFile) -> tarfile.TarInfo:
        if self.type in _NAMING and self.size > HEADER_MOST:
            raise tarfile.ReadError(f"a header of {self.size} bytes")
        if self.type == tarfile.GNUTYPE_SPARSE:
            raise tarfile.ReadError("a file with holes")
        made: tarfile.TarInfo = super()._proc_member(archive)  # type: ignore[misc]  # what fromtarfile calls
        return made

    def _with_holes(self, *_given: object) -> None:
        raise tarfile.ReadError("a file with holes")

    _proc_gnusparse_00 = _proc_gnusparse_01 = _proc_gnusparse_10 = _with_holes


def _of_tar(archive: tarfile.TarFile, each: tarfile.TarInfo) -> BinaryIO:
    found = archive.extractfile(each)
    if found is None:
        raise Torn("holds a file without a content")
    return found  # type: ignore[return-value]  # IO[bytes]


def _zip(stream: files.Stream, counted: Bounds) -> Iterator[Member]:
    table: BinaryIO = stream
    if not stream.seekable():  # in a pipe or another archive: the table of contents comes last
        held = content(stream, bounds.BYTES_MOST)
        if len(held) > bounds.BYTES_MOST:
            raise Enough(f"is a zip of more than {bounds.BYTES_MOST >> 20} MiB in a pipe: save it to a file first")
        table = io.BytesIO(held)
    size = table.seek(0, io.SEEK_END)
    table.seek(max(0, size - _END - 0xFFFF))
    _, found, end = table.read().rpartition(_EMPTY_ZIP)
    if not found:
        raise Torn("is no archive that can be read to its end: its table of contents is not there")
    if int.from_bytes(end[8:12], "little") > TABLE_MOST:
        raise Enough("holds more names than are taken of one archive")
    table.seek(0)
    with zipfile.ZipFile(table) as archive:
        out = [0]
        for each in archive.infolist():
            counted.name()
            if each.is_dir():
                continue
            if each.external_attr >> 28 not in (0, 8):  # st_mode, where Unix wrote it: S_IFREG >> 12 is 8
                yield Member(name=each.filename, open=None, unlike="is no regular file, and nothing is followed")
                continue
            if each.compress_type not in _ZIP_METHODS:
                yield Member(name=each.filename, open=None, unlike="is packed in a way that is not unpacked here")
                continue
            yield Member(name=each.filename, open=functools.partial(_of_zip, archive, each, counted, out, size))


def _of_zip(archive: zipfile.ZipFile, each: zipfile.ZipInfo, counted: Bounds, out: list[int], size: int) -> BinaryIO:
    return io.BufferedReader(_Counted(archive.open(each), counted, out, size))


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


class Forward(io.RawIOBase):
    """A stream that is read from its beginning to its end, and not sought in, whatever is below it."""

    def __init__(self, inner: _Readable) -> None:
        super().__init__()
        self._inner = inner

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer") -> int:
        view = memoryview(buffer)
        more = self._inner.read(len(view))
        view[: len(more)] = more
        return len(more)


class _Ending(Forward):
    """A stream that is not read on and on at its end: tarfile goes by the size of a member block by block.

    That a header of a few bytes says 8 EiB costs nothing; to pass over them at the end is 10^14 empty reads (CPython,
    Lib/tarfile.py: _Stream.seek). Raises EOFError where nothing came often enough to know that nothing will.
    """

    def __init__(self, inner: _Readable) -> None:
        super().__init__(inner)
        self._empty = 0

    def readinto(self, buffer: "WriteableBuffer") -> int:
        count = super().readinto(buffer)
        self._empty = 0 if count else self._empty + 1
        if self._empty > EMPTY_MOST:
            raise EOFError("ends in the middle")
        return count


class _Counted(Forward):
    """A stream whose bytes are counted: of a member of a zip as unpacked, of a tar as they are."""

    def __init__(self, inner: _Readable, counted: Bounds, out: list[int] | None = None, packed: int = 0) -> None:
        super().__init__(inner)
        self._counted, self._out, self._packed = counted, out, packed

    def readinto(self, buffer: "WriteableBuffer") -> int:
        count = super().readinto(buffer)
        if self._out is None:
            self._counted.unpack(count, 0, 0)
        else:
            self._out[0] += count
            self._counted.unpack(count, self._out[0], self._packed)
        return count


class _Unpacked(io.RawIOBase):
    """What a packed stream holds, member after member where several were put together (RFC 1952, section 2.2)."""

    def __init__(self, packed: files.Stream, how: str, counted: Bounds) -> None:
        super().__init__()
        self._packed, self._how, self._counted = packed, how, counted
        self._in = self._out = 0
        self._step = self._begun()

    def readable(self) -> bool:
        return True

    def _begun(self) -> "_Step":
        if self._how == "gzip":
            return _GzipStep()
        if self._how == "bzip2":
            return _BlockStep(bz2.BZ2Decompressor())
        return _BlockStep(lzma.LZMADecompressor(memlimit=MEMORY_MOST))

    def readinto(self, buffer: "WriteableBuffer") -> int:
        view, at = memoryview(buffer), 0
        while at < min(len(view), _HEADER):  # so much is looked at of what is inside
            more = self._more(len(view) - at)
            if not more:
                break
            view[at : at + len(more)] = more
            at += len(more)
        self._out += at
        self._counted.unpack(at, self._out, self._in)
        return at

    def _more(self, most: int) -> bytes:
        """Return some bytes of what was packed, none at its end."""
        while True:
            fresh = b""
            if self._step.ended:
                fresh = self._after()
                if not fresh:
                    return b""
                self._step = self._begun()
            elif self._step.hungry:
                fresh = self._take()
                if not fresh:
                    raise EOFError("ends in the middle")
            if more := self._step.unpack(fresh, most):
                return more

    def _after(self) -> bytes:
        """Return the first bytes of the next member, none where there is none: zeros may fill up a last block."""
        left = self._step.left
        while not (left := left.lstrip(b"\0")):
            left = self._take()
            if not left:
                return b""
        return left

    def _take(self) -> bytes:
        fresh = self._packed.read1(1 << 16)
        self._in += len(fresh)
        return fresh


class _Step(Protocol):
    """One member of a packed stream; `left` is what came after its end."""

    left: bytes

    @property
    def ended(self) -> bool: ...
    @property
    def hungry(self) -> bool: ...
    def unpack(self, fresh: bytes, most: int) -> bytes: ...


class _GzipStep:
    def __init__(self) -> None:
        self._inner = zlib.decompressobj(wbits=31)
        self.left = b""

    @property
    def ended(self) -> bool:
        return self._inner.eof

    @property
    def hungry(self) -> bool:
        return not self._inner.unconsumed_tail

    def unpack(self, fresh: bytes, most: int) -> bytes:
        more = self._inner.decompress(self._inner.unconsumed_tail + fresh, most)
        self.left = self._inner.unused_data
        return more


class _BlockStep:
    def __init__(self, inner: bz2.BZ2Decompressor | lzma.LZMADecompressor) -> None:
        self._inner = inner
        self.left = b""

    @property
    def ended(self) -> bool:
        return self._inner.eof

    @property
    def hungry(self) -> bool:
        return self._inner.needs_input

    def unpack(self, fresh: bytes, most: int) -> bytes:
        more = self._inner.decompress(fresh, most)
        self.left = self._inner.unused_data
        return more


def _without_suffix(name: str) -> str:
    stem, dot, suffix = name.rpartition(".")
    return stem if dot and suffix.lower() in {"gz", "bz2", "xz"} else name


def sentence(why: BaseException) -> str:
    """Say of an exception of the libraries what it means for an archive, to be put after its name."""
    if isinstance(why, Torn):
        return str(why)
    if isinstance(why, files.Unlike):
        return str(why)
    if isinstance(why, lzma.LZMAError) and "memory" in str(why).lower():
        return f"needs more than {MEMORY_MOST >> 20} MiB of memory to be unpacked"
    if isinstance(why, RuntimeError) and "encrypted" in str(why):
        return "is encrypted"
    text = " ".join(str(why).split())
    return f"is no archive that can be read to its end{f': {text:.120}' if text else ''}"
