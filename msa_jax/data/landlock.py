"""Take this process's rights to write, execute and connect away (Linux, Landlock)."""

import ctypes
import os
import struct
import sys
from pathlib import Path

_EXECUTE, _WRITE_FILE, _MAKE_REG, _TRUNCATE = 1 << 0, 1 << 1, 1 << 8, 1 << 14
_REMOVE_AND_MAKE = sum(1 << bit for bit in range(4, 13))
_REFER = 1 << 13
_TCP = 0b11  # bind, connect
_CREATE, _ADD_RULE, _RESTRICT = 444, 445, 446  # syscalls, the same everywhere
_NO_NEW_PRIVILEGES = 38


def restrict_to(folder: Path) -> bool:
    """Allow writing new files in `folder` and nothing else, for good.

    Reading stays as it is. Nothing can be executed, no TCP port opened.

    Returns: whether the kernel does it; if not, nothing has changed.
    Source: Linux kernel documentation, userspace-api/landlock.
    """
    if not sys.platform.startswith("linux"):
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    version = libc.syscall(_CREATE, None, ctypes.c_size_t(0), 1)
    if version < 1:
        return False
    files = _EXECUTE | _WRITE_FILE | _REMOVE_AND_MAKE
    files |= (_REFER if version >= 2 else 0) | (_TRUNCATE if version >= 3 else 0)
    asked = (
        struct.pack("=QQ", files, _TCP) if version >= 4 else struct.pack("=Q", files)
    )
    rules = libc.syscall(_CREATE, asked, ctypes.c_size_t(len(asked)), 0)
    if rules < 0:
        return False
    place = os.open(folder, os.O_PATH | os.O_CLOEXEC)
    try:
        allowed = (_WRITE_FILE | _MAKE_REG | _TRUNCATE) & files
        rule = struct.pack("=Qi", allowed, place)
        return (
            libc.syscall(_ADD_RULE, rules, 1, rule, 0) == 0
            and libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0) == 0
            and libc.syscall(_RESTRICT, rules, 0) == 0
        )
    finally:
        os.close(place)
        os.close(rules)
