"""Pictures for the end-to-end tests, made of nothing but Python."""

import struct
import zlib


def png(side):
    """A PNG with a red square on blue."""
    inside = range(side // 4, side * 3 // 4)
    rows = b"".join(
        b"\0" + b"".join(b"\xd0\x20\x20" if x in inside and y in inside else b"\x20\x30\xc0" for x in range(side))
        for y in range(side)
    )

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
