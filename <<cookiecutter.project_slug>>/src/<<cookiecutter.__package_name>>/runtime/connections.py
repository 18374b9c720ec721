# Part of the template: you need not edit this file.
"""The one owner of a process's numbers: open connections and requests in flight."""

import weakref
from collections.abc import Awaitable

from tornado.httputil import (
    HTTPHeaders,
    HTTPMessageDelegate,
    HTTPServerRequest,
    RequestStartLine,
    ResponseStartLine,
)
from tornado.iostream import IOStream


class Connections:
    """The connections of one process, and the requests on them that have no answer yet."""

    def __init__(self) -> None:
        self.draining = False
        self._streams: weakref.WeakSet[IOStream] = weakref.WeakSet()
        self._in_flight: set[HTTPServerRequest] = set()

    def opened(self, stream: IOStream) -> None:
        """Note a new connection; it leaves by itself when it is closed."""
        self._streams.add(stream)

    def any_open(self) -> bool:
        """Return whether any connection is open."""
        return not all(stream.closed() for stream in self._streams)

    @property
    def in_flight(self) -> int:
        """How many requests are being received or answered."""
        return len(self._in_flight)

    def begin(self, request: HTTPServerRequest) -> None:
        """Count a request as in flight."""
        self._in_flight.add(request)

    def end(self, request: HTTPServerRequest) -> None:
        """Count a request as answered or abandoned. A second call changes nothing."""
        self._in_flight.discard(request)


class InFlightDelegate(HTTPMessageDelegate):
    """Counts a request as in flight from its headers on.

    It ends with the answer, in `Service.log_request`, or when the client disconnects before its
    request is complete. Handlers take no part, so no override in a handler can break the count.
    """

    def __init__(
        self, connections: Connections, request: HTTPServerRequest, delegate: HTTPMessageDelegate
    ) -> None:
        self._connections = connections
        self._request = request
        self._delegate = delegate

    def headers_received(
        self, start_line: RequestStartLine | ResponseStartLine, headers: HTTPHeaders
    ) -> Awaitable[None] | None:
        self._connections.begin(self._request)
        return self._delegate.headers_received(start_line, headers)

    def data_received(self, chunk: bytes) -> Awaitable[None] | None:
        return self._delegate.data_received(chunk)

    def finish(self) -> None:
        self._delegate.finish()

    def on_connection_close(self) -> None:
        self._connections.end(self._request)
        self._delegate.on_connection_close()
