"""A small local server: TF Serving's REST API for one model, and a page to try it out with.

It is for trying things out and for tests. It computes in a few threads, lets a bounded number of requests wait, and
refuses what is too large or comes too slowly; it knows no users, no encryption and no batching across requests. In
production, serve the same folder with TF Serving.
"""

import contextlib
import json
import logging
import socket
import time
from importlib import resources

import anyio
import uvicorn
from starlette.applications import Starlette
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from tf_seq2seq.errors import InputError
from tf_seq2seq.export.options import OPTIONS
from tf_seq2seq.serving.rest_api import Refused

_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
_BODY_SECONDS = 30  # for a request's body to come in
_SHUTDOWN_SECONDS = 5  # for answers under way when the server is stopped
_POLICY = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
}
_LOG = logging.getLogger("tf_seq2seq.serving")


class Server:
    """An ASGI application and what runs it.

    Args:
        api: `RestApi`.
        threads: int, how many requests are computed at once.
        queue: int, how many more may wait; others are answered by 503 at once.
        max_bytes: int, the largest body of a request.
        page: str, the HTML at ``/``.
    """

    def __init__(self, api, threads, queue, max_bytes, page):
        self.api = api
        self.queue = queue
        self.max_bytes = max_bytes
        self.page = page
        self._places = anyio.CapacityLimiter(threads)
        routes = [Route("/", self._page), Route("/{path:path}", self._answer, methods=_METHODS)]
        self.app = Starlette(routes=routes)

    def run(self, listening):
        """Serves until it is interrupted, then lets what is under way end.

        Args:
            listening: socket, bound.
        """
        config = uvicorn.Config(
            self.app,
            log_level="warning",
            lifespan="off",
            server_header=False,
            timeout_graceful_shutdown=_SHUTDOWN_SECONDS,
        )
        with contextlib.suppress(KeyboardInterrupt):  # uvicorn raises it once more when all is over
            uvicorn.Server(config).run(sockets=[listening])

    async def _page(self, request):
        return HTMLResponse(self.page, headers=_POLICY)

    async def _answer(self, request):
        try:
            what = self._routed(request)
            answer = await (self._predict(request) if what == "predict" else self._told(what))
        except Refused as refused:
            return _error(refused.code, str(refused))
        except InputError as error:
            return _error(400, str(error))
        except MemoryError:
            return _error(429, "out of memory: send fewer or shorter texts, or a smaller beam")
        except Exception:
            _LOG.exception("a request failed")
            return _error(500, "internal error; the server's standard error has the rest")
        return answer

    def _routed(self, request):
        path = request.url.path
        if path == "/":
            raise Refused(405, "/ is a page: GET it; to ask the model, see /v1/models/" + self.api.name)
        if not path.startswith("/v1/"):
            raise Refused(404, f"there is nothing at {path}: see / and /v1/models/{self.api.name}")
        return self.api.route(request.method, path)

    async def _told(self, what):
        return _json({"status": self.api.status, "metadata": self.api.metadata}[what]())

    async def _predict(self, request):
        if self._places.statistics().tasks_waiting >= self.queue:
            raise Refused(503, f"{self.queue} requests wait already: try again later")
        body = await self._body(request)
        content, seconds = await anyio.to_thread.run_sync(self._computed, body, limiter=self._places)
        return Response(
            content,
            media_type="application/json",
            headers={"Server-Timing": f"model;dur={seconds * 1e3:.1f}"},
        )

    def _computed(self, body):
        begin = time.perf_counter()
        return _encoded(self.api.predict(body)), time.perf_counter() - begin

    async def _body(self, request):
        """The body; what is above the limit is read, so that the client hears the answer, but not kept."""
        chunks, size = [], 0
        with anyio.move_on_after(_BODY_SECONDS) as waiting:
            async for chunk in request.stream():
                size += len(chunk)
                if size <= self.max_bytes:
                    chunks.append(chunk)
        if waiting.cancelled_caught:
            raise Refused(408, f"the request did not come in within {_BODY_SECONDS} seconds")
        if size > self.max_bytes:
            raise Refused(
                413, f"at most {self.max_bytes:,} bytes in a request, not {size:,}: send less at once"
            )
        return b"".join(chunks)


def bound(host, port):
    """A socket that listens.

    Args:
        host: str, an address or a name.
        port: int; 0 for any free one.

    Returns:
        socket.

    Raises:
        InputError: if the place is taken or is none of this machine.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=1024)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(
            f"cannot listen at {host}, port {port}: {reason}; give another --host or --port"
        ) from None


def page_of(name, version, signatures, values=None):
    """The page at ``/``, for a model.

    Args:
        name, version: of the model.
        signatures: names of its signatures.
        values: dict, what options are to begin with on the page where that is not their default.

    Returns:
        str, HTML.
    """
    page = resources.files("tf_seq2seq.serving").joinpath("page.html").read_text(encoding="utf-8")
    options = [option._asdict() for option in OPTIONS.values()]
    told = {"name": name, "version": version, "signatures": sorted(signatures)}
    told |= {"options": options, "values": values or {}}
    return page.replace('"MODEL"', json.dumps(told).replace("<", "\\u003c"))


def _encoded(answer):
    return json.dumps(answer, ensure_ascii=False).encode("utf-8", "surrogateescape")


def _json(answer, code=200, headers=None):
    return Response(_encoded(answer), code, headers, media_type="application/json")


def _error(code, message):
    headers = {"Retry-After": "1"} if code == 503 else None
    return _json({"error": message.encode("utf-8", "replace").decode()}, code, headers)
