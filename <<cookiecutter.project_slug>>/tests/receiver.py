"""An HTTP server that takes what the service sends out, as a collector of traces or errors does."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from zlib import MAX_WBITS, decompress

GZIP = MAX_WBITS | 16


class Receiver:
    """What has been received: the bodies, unpacked, and the headers of each request."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.bodies: list[bytes] = []
        self.headers: list[Message] = []


@contextmanager
def receiving() -> Iterator[Receiver]:
    """Receive on a free port of this machine within a `with`."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            receiver.bodies.append(
                decompress(body, GZIP) if self.headers["Content-Encoding"] == "gzip" else body
            )
            receiver.headers.append(self.headers)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    receiver = Receiver(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
