"""The example `mandelbrot`."""

import zlib

import jobs


def test_the_mandelbrot_set_is_drawn() -> None:
    image = jobs.mandelbrot(40, 30, 50)
    data = image.source
    rows = zlib.decompress(data[data.index(b"IDAT") + 4 : -16])
    assert data.startswith(b"\x89PNG")
    assert len(rows) == 30 * 41
    assert rows[15 * 41 + 30] == 0, "the origin is in the set"
    assert rows[1] > 0
