"""The metrics port: answers scrapes on a thread of its own, so that a scrape never waits for the event loop."""

from __future__ import annotations

import socket
from socketserver import ThreadingMixIn
from threading import Thread
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from prometheus_client import CollectorRegistry, make_wsgi_app

_POLL_S = 0.1  # how long closing may wait


class MetricsServer:
    """Serves from the moment it is made, on a socket that listens already."""

    def __init__(self, registry: CollectorRegistry, listening: socket.socket) -> None:
        self._server = _Server(listening)
        self._server.set_app(make_wsgi_app(registry))
        self._thread = Thread(target=self._server.serve_forever, args=(_POLL_S,), name="carousel-metrics", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Close the port and end its thread."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True

    def __init__(self, listening: socket.socket) -> None:
        super().__init__(listening.getsockname()[:2], _Quiet, bind_and_activate=False)
        self.socket.close()
        self.socket = listening
        self.server_name, self.server_port = listening.getsockname()[:2]
        self.setup_environ()


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  its base's word for it
        """Scrapes are not logged: there is one every few seconds for ever."""
