"""What the example `mandelbrot` needs beyond its own lines. Delete it with the example."""

import struct
import zlib


def steps_to_leave(point: complex, most: int) -> int:
    """Count the steps until z*z + point leaves the circle of radius 2; 0 if it has not after the most."""
    z = 0j
    for step in range(most):
        if abs(z) > 2:
            return step
        z = z * z + point
    return 0


def png(width: int, rows: list[bytes]) -> bytes:
    """Write a picture of rows of bytes, from black over blue to white."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">2I5B", width, len(rows), 8, 3, 0, 0, 0)  # a byte for each pixel: the number of a colour
    colours = b"".join(bytes((max(2 * i - 255, 0), i, min(3 * i, 255))) for i in range(256))
    pixels = zlib.compress(b"".join(b"\0" + row for row in rows))
    chunks = chunk(b"IHDR", header) + chunk(b"PLTE", colours) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks
