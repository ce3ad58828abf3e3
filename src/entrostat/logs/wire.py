"""Protocol buffers as they lie in a file: the fields of one message, and nothing of their schemas.

TensorBoard's event files and W&B's offline runs hold such messages. Both formats are frozen, and the packages that write them
weigh 60 and 90 MB with what they need, so the few fields that matter are read here.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from entrostat.errors import DataError

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5


def fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """(number, value) of each field in order: an integer for a varint, else the bytes.

    Raises:
        DataError: the bytes are no message.
    """
    at, end = 0, len(message)
    while at < end:
        key, at = _varint(message, at)
        number, kind = key >> 3, key & 7
        if kind == VARINT:
            value, at = _varint(message, at)
            yield number, value
            continue
        if kind == BYTES:
            size, at = _varint(message, at)
        elif kind == FIXED64:
            size = 8
        elif kind == FIXED32:
            size = 4
        else:
            raise DataError(f"a message holds a field of kind {kind}, which does not exist")
        if at + size > end:
            raise DataError("a message ends inside a field")
        yield number, message[at : at + size]
        at += size


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(message) or shift > 63:
            raise DataError("a message ends inside a number")
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7


def signed(value: int) -> int:
    """A varint as the signed number of 64 bits that it stands for."""
    return value - (1 << 64) if value >> 63 else value


def as_bytes(value: int | bytes) -> bytes:
    """The bytes of a field; empty for a number."""
    return value if isinstance(value, bytes) else b""


def as_text(value: int | bytes) -> str:
    return as_bytes(value).decode("utf-8", errors="replace")


def as_float(value: int | bytes) -> float | None:
    """A fixed field of 4 or 8 bytes as a number; None for another."""
    raw = as_bytes(value)
    if len(raw) == 4:
        return float(struct.unpack("<f", raw)[0])
    return float(struct.unpack("<d", raw)[0]) if len(raw) == 8 else None
