"""A provider on a free loopback port: real HTTP, kept-open connections, and the ways providers fail."""

import json
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self


class Fault(Exception):
    """An answer that is none: `hang` until the test ends, or `drop` the line once the work is done."""


class FakeServer:
    """Answers with what `handle` returns: (status, JSON body, headers)."""

    def __init__(self) -> None:
        self.connections = 0
        self.released = threading.Event()  # Ends what hangs.
        self.lock = threading.Lock()
        fake = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                super().setup()
                with fake.lock:
                    fake.connections += 1

            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                try:
                    status, said, headers = fake.handle(self.command, self.path, body, self.headers)
                except Fault as fault:
                    if str(fault) == "hang":
                        fake.released.wait(30)
                    self.close_connection = True
                    return
                text = said if isinstance(said, bytes) else json.dumps(said).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(text)))
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                with suppress(OSError):  # Whoever asked may have given up.
                    self.wfile.write(text)

            do_GET = do_POST = answer

            def log_message(self, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def handle(self, method: str, path: str, body: bytes, headers: Any) -> tuple[int, Any, Mapping[str, str]]:
        raise NotImplementedError

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.released.set()
        self._server.shutdown()
        self._server.server_close()


Behaviour = Callable[[Mapping[str, Any]], str]
