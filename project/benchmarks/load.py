"""Browsers, or a load without pauses, in a process of its own: `python load.py port path connections seconds pause`.

As a browser does, each connection sends the ETag of its last answer, and waits a moment after an answer.
"""

import asyncio
import json
import random
import sys
import time

ACCEPTS = "Accept: */*\r\nAccept-Encoding: gzip, deflate, br\r\n"


async def browse(port: int, path: str, end: float, pause: float, seconds: list[float], states: list[str]) -> None:
    """Ask again and again, over one connection."""
    await asyncio.sleep(random.random() * pause)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    known = ""
    while time.perf_counter() < end:
        began = time.perf_counter()
        writer.write(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{ACCEPTS}{known}\r\n".encode())
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        fields = dict(line.lower().split(": ", 1) for line in head.split("\r\n")[1:] if line)
        if length := int(fields.get("content-length", 0)):
            await reader.readexactly(length)
        seconds.append(time.perf_counter() - began)
        states.append(head.split()[1])
        tag = next((line for line in head.split("\r\n") if line.lower().startswith("etag: ")), "")
        known = f"If-None-Match: {tag[6:]}\r\n" if tag else ""
        await asyncio.sleep(pause)
    writer.close()


async def main(port: int, path: str, connections: int, during: float, pause: float) -> None:
    """Print how long the answers took, and how many had which status."""
    seconds: list[float] = []
    states: list[str] = []
    began = time.perf_counter()
    await asyncio.gather(*(browse(port, path, began + during, pause, seconds, states) for _ in range(connections)))
    counts = {state: states.count(state) for state in set(states)}
    elapsed, again = time.perf_counter() - began, len(states) - connections  # each asks once without an ETag
    print(json.dumps({"seconds": seconds, "states": counts, "again": again, "elapsed": elapsed}))


if __name__ == "__main__":
    port, path, connections, during, pause = sys.argv[1:]
    asyncio.run(main(int(port), path, int(connections), float(during), float(pause)))
