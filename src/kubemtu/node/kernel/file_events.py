"""Hears when one of some files may have changed (inotify(7)), so that nobody has to look at them again and again.

A file is heard through its folder, since programs replace files rather than write into them; where the folder is not
there yet, through the nearest one above it that is. What a symbolic link leads to elsewhere is not heard.
"""

import ctypes
import errno
import fnmatch
import os
import struct
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from kubemtu.node import errors

_NONBLOCK, _CLOEXEC = os.O_NONBLOCK, os.O_CLOEXEC  # IN_NONBLOCK and IN_CLOEXEC are the same numbers
_MODIFY: Final = 0x2
_ATTRIB: Final = 0x4
_MOVED_FROM: Final = 0x40
_MOVED_TO: Final = 0x80
_CREATE: Final = 0x100
_DELETE: Final = 0x200
_DELETE_SELF: Final = 0x400
_MOVE_SELF: Final = 0x800
_OVERFLOW: Final = 0x4000
_IGNORED: Final = 0x8000
_ONLYDIR: Final = 0x1000000
_WANTED: Final = _MODIFY | _ATTRIB | _MOVED_FROM | _MOVED_TO | _CREATE | _DELETE | _DELETE_SELF | _MOVE_SELF | _ONLYDIR
_ITSELF: Final = _DELETE_SELF | _MOVE_SELF | _IGNORED | _OVERFLOW  # the folder is another one now, or some were lost
_EVENT = struct.Struct("=iIII")  # watch, mask, cookie, length of the name
_BEYOND: Final = frozenset({errno.ENOENT, errno.ENOTDIR})
_CHUNK: Final = 65536
_libc = ctypes.CDLL(None, use_errno=True)


class FileEvents:
    """A listener for files and patterns of files. Give `fileno()` to an event loop, call `drain()` when readable."""

    def __init__(self, places: Iterable[Path]) -> None:
        """Start listening. Raises Refused or Denied where the kernel gives no more inotify instances or watches."""
        self._places = tuple(places)
        self._descriptor: int = _libc.inotify_init1(_NONBLOCK | _CLOEXEC)
        if self._descriptor < 0:
            code = ctypes.get_errno()
            raise errors.refusal("listening to changes of files", code, advice=_ADVICE.get(code, ""))
        self._names: Mapping[int, frozenset[str]] = {}
        try:
            self._listen()
        except BaseException:
            self.close()
            raise

    def fileno(self) -> int:
        """Return the descriptor that becomes readable when something happened."""
        return self._descriptor

    def close(self) -> None:
        """Stop listening."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def drain(self) -> bool:
        """Read all events; True when one of them is about the files, or about a folder that they may be in.

        Raises Refused or Denied where a folder that has come cannot be listened to.
        """
        concerned = moved = False
        for watch, mask, name in self._events():
            known = self._names.get(watch, frozenset())
            if mask & _ITSELF or any(fnmatch.fnmatchcase(name, pattern) for pattern in known):
                concerned = True
                moved = moved or bool(mask & (_ITSELF | _CREATE | _MOVED_TO))
        if moved:
            self._listen()
        return concerned

    def _listen(self) -> None:
        """Listen to the folder of each file, or to the nearest one above that exists; the kernel knows its watches."""
        names: dict[int, set[str]] = {}
        for place in self._places:
            watch, awaited = self._nearest(place)
            names.setdefault(watch, set()).add(awaited)
        for stale in self._names.keys() - names.keys():
            _libc.inotify_rm_watch(self._descriptor, stale)  # it may be gone, which is fine
        self._names = {watch: frozenset(each) for watch, each in names.items()}

    def _nearest(self, place: Path) -> tuple[int, str]:
        """Listen where a change to the file at `place` shows first; returns the watch, and which name is awaited."""
        folder, awaited = place.parent, place.name
        while True:
            watch: int = _libc.inotify_add_watch(self._descriptor, os.fsencode(folder), _WANTED)
            if watch >= 0:
                if folder == place.parent or not (folder / awaited).is_dir():
                    return watch, awaited
                folder, awaited = place.parent, place.name  # it has come in between
                continue
            code = ctypes.get_errno()
            if code not in _BEYOND or folder == folder.parent:
                raise errors.refusal(f"listening to {folder}", code, advice=_ADVICE.get(code, ""))
            folder, awaited = folder.parent, folder.name

    def _events(self) -> Iterable[tuple[int, int, str]]:
        while True:
            try:
                chunk = os.read(self._descriptor, _CHUNK)
            except BlockingIOError:
                return
            place = 0
            while place + _EVENT.size <= len(chunk):
                watch, mask, _cookie, length = _EVENT.unpack_from(chunk, place)
                place += _EVENT.size
                yield watch, mask, os.fsdecode(chunk[place : place + length].rstrip(b"\0"))
                place += length


_ADVICE: Final = {
    errno.EMFILE: "raise fs.inotify.max_user_instances, or the limit of open files",
    errno.ENOSPC: "raise fs.inotify.max_user_watches",
}
