"""nginx, where it is installed. It knows nothing of MCP: it passes bytes on, or sends a folder's files."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from benchmarks.processes import Failed, Gateway, free_port, process, ready

__all__ = ["nginx"]

CONFIG = """\
{user}
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log stderr error;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    keepalive_requests 1000000;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    default_type application/json;
    sendfile on;
    open_file_cache max=100;
    {upstream}
    server {{
        listen 127.0.0.1:{port};
        {location}
    }}
}}
"""
UPSTREAM = "upstream echo {{ server 127.0.0.1:{port}; keepalive 128; keepalive_requests 1000000; }}"
PASS = """location / {
            proxy_pass http://echo;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
        }"""


@asynccontextmanager
async def nginx(echo_port: int, folder: Path, files: Path | None = None) -> AsyncIterator[Gateway]:
    """Args:
        files: Send what is in this folder, instead of asking the server.

    Raises:
        Failed: it is not installed.
    """
    found = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if found is None:
        raise Failed("nginx is not installed (Debian has it as nginx-light)")
    port = free_port()
    work = folder / f"nginx-{port}"
    work.mkdir()
    config = CONFIG.format(
        user="user root;" if os.geteuid() == 0 else "",
        folder=work,
        port=port,
        upstream="" if files is not None else UPSTREAM.format(port=echo_port),
        location=PASS if files is None else f"root {files};",
    )
    (work / "nginx.conf").write_text(config)
    command = [found, "-p", str(work), "-c", str(work / "nginx.conf"), "-e", "stderr"]
    with process(command, work / "nginx.log") as running:
        await ready(running, port, work / "nginx.log")
        yield Gateway(port, running.pid)
