"""What every request passes: its key, the limits, and the end of its client."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Generic

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from heed.cli.serve.bodies import Body, read_body
from heed.cli.serve.keys import Keys
from heed.cli.serve.limits import Limits
from heed.cli.serve.metrics import Metrics
from heed.cli.serve.refusal import Refusal

PARTING = 1.0  # seconds to tell a client that its time is over


class Left(Exception):  # noqa: N818 - nobody is to be told
    """The client has closed its connection."""


class Gate:
    """What the routes of a server share.

    Args:
        limits: Of requests.
        keys: Of clients.
        metrics: Where answers are counted.
    """

    def __init__(self, limits: Limits, keys: Keys, metrics: Metrics) -> None:
        self.limits, self.keys, self.metrics = limits, keys, metrics
        self.n_active = 0


class Endpoint(Generic[Body]):
    """A route behind a gate, as an ASGI application.

    Args:
        gate: It.
        kind: Of the body.
        answer: Gives the answer to a body. It is cancelled if the client leaves, or its time is over.
    """

    def __init__(self, gate: Gate, kind: type[Body], answer: Callable[[Body], Awaitable[ASGIApp]]) -> None:
        self._gate, self._kind, self._answer = gate, kind, answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        metrics, began, status = self._gate.metrics, time.perf_counter(), 499  # as of a client that has left

        async def noted(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        self._gate.n_active += 1
        metrics.active.inc()
        try:
            await self._within_limits(scope, receive, noted)
        except Left:
            pass
        finally:
            self._gate.n_active -= 1
            metrics.active.dec()
            metrics.requests.labels(scope["path"], status).inc()
            metrics.seconds.labels(scope["path"]).observe(time.perf_counter() - began)

    async def _within_limits(self, scope: Scope, receive: Receive, send: Send) -> None:
        seconds, has_begun = self._gate.limits.seconds, False

        async def noted(message: Message) -> None:
            nonlocal has_begun
            has_begun = True
            await send(message)

        try:
            async with asyncio.timeout(seconds):
                body = await self._admit(Headers(scope=scope), receive)
                await unless_left(self._reply(body, scope, receive, noted), receive)
            return
        except TimeoutError:
            refusal = Refusal(504, f"there was no complete answer in {seconds:g} s; ask for less, or later", "timeout")
        except Refusal as error:
            refusal = error
        if has_begun:
            with contextlib.suppress(TimeoutError):  # a client that does not read
                async with asyncio.timeout(PARTING):
                    await send({"type": "http.response.body", "body": event(refusal.content(scope["path"]))})
        else:
            await refusal.response(scope["path"])(scope, receive, send)

    async def _admit(self, headers: Headers, receive: Receive) -> Body:
        """The body of a request, if the client may send it."""
        limits, keys = self._gate.limits, self._gate.keys
        if self._gate.n_active > limits.requests:
            raise Refusal(429, "the server is busy; try again later", "busy", {"Retry-After": "1"})
        scheme, _, key = headers.get("authorization", "").partition(" ")
        may_enter = keys.accept(key.strip() if scheme.lower() == "bearer" else None)
        if not may_enter and "api_key" not in self._kind.__struct_fields__:
            raise refused_key()
        content = await _read(headers, receive, limits.body)
        body = read_body(content, headers.get("content-type", ""), self._kind)
        if not may_enter and not keys.accept(getattr(body, "api_key", None)):
            raise refused_key()
        return body

    async def _reply(self, body: Body, scope: Scope, receive: Receive, send: Send) -> None:
        response = await self._answer(body)
        await response(scope, receive, send)


def refused_key() -> Refusal:
    """The answer to a client without a key."""
    return Refusal(
        401,
        "the key is missing or wrong; send Authorization: Bearer KEY",
        "invalid_api_key",
        {"WWW-Authenticate": "Bearer"},
    )


async def _read(headers: Headers, receive: Receive, limit: int) -> bytes:
    length = headers.get("content-length", "")
    too_large = Refusal(413, f"the body has more than {limit:,} bytes; send less at a time", "too_large")
    if length.isdecimal() and int(length) > limit:
        raise too_large
    content, more = bytearray(), True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Left
        content += message.get("body", b"")
        more = message.get("more_body", False)
        if len(content) > limit:
            raise too_large
    return bytes(content)


async def unless_left(work: Coroutine[Any, Any, None], receive: Receive) -> None:
    """Do some work, but end it as soon as the client closes its connection.

    Raises:
        Left: It has.
    """

    async def watch() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    doing, watching = asyncio.ensure_future(work), asyncio.ensure_future(watch())
    try:
        await asyncio.wait((doing, watching), return_when=asyncio.FIRST_COMPLETED)
        if not doing.done():
            raise Left
        doing.result()
    finally:
        watching.cancel()
        doing.cancel()
        await asyncio.gather(doing, watching, return_exceptions=True)


def event(content: bytes) -> bytes:
    """An event of a stream (text/event-stream)."""
    return b"data: %b\n\n" % content


def json_response(content: bytes) -> Response:
    """An answer in JSON."""
    return Response(content, media_type="application/json")
