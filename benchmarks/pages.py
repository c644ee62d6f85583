"""A web server without features: the files of one folder as JSON, read once. What lists are held against.

uvicorn, uvloop, httptools; as little as it takes to send the same bytes.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.asgi import Message, Receive, Send, serve

__all__ = ["main"]


class Pages:
    """An ASGI application."""

    def __init__(self, folder: Path) -> None:
        self._answers = {
            f"/{file.name}": (
                {
                    "type": "http.response.start",
                    "status": 200,
                    "headers": [
                        (b"content-type", b"application/json"),
                        (b"content-length", b"%d" % file.stat().st_size),
                    ],
                },
                {"type": "http.response.body", "body": file.read_bytes()},
            )
            for file in folder.iterdir()
        }

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        start, body = self._answers[scope["path"]]
        await send(start)
        await send(body)


def main() -> None:
    arguments = argparse.ArgumentParser(prog="python -m benchmarks.pages", description=__doc__)
    arguments.add_argument("--port", type=int, required=True)
    arguments.add_argument("--folder", type=Path, required=True)
    given = arguments.parse_args()
    serve(Pages(given.folder), given.port)


if __name__ == "__main__":
    main()
