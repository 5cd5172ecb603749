"""What stands before the routes: a bound on bodies, the token, and the meters."""

import hmac
import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from starlette.exceptions import HTTPException

from jaxrec.serve.service.meters import Meters

Send = Callable[[dict], Awaitable[None]]
LARGEST = 1 << 20  # bytes of a body
TOO_LARGE = f"the body is larger than {LARGEST:,} bytes"
OPEN = ("/healthz", "/readyz", "/v2/health/live", "/v2/health/ready", "/", "/page.js", "/page.css")


@dataclass(eq=False)
class Guard:
    """ASGI middleware. token: what /v1, /v2 and /metrics ask for; None for nothing."""

    app: Callable
    meters: Meters
    token: str | None = None

    async def __call__(self, scope: dict, receive: Callable, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        began, status = time.perf_counter(), [500]
        headers = dict(scope["headers"])

        async def counted(message: dict) -> None:
            if message["type"] == "http.response.start":
                status[0] = message["status"]
                message = message | {"headers": [*message.get("headers", ()), *_SAFE]}
            await send(message)

        try:
            if not self._may(scope["path"], headers):
                return await refuse(counted, 401, "a bearer token is needed: Authorization: Bearer TOKEN", _ASK)
            if _length(headers) > LARGEST:
                return await refuse(counted, 413, TOO_LARGE)
            await self.app(scope, _bounded(receive), counted)
        finally:
            route = getattr(scope.get("route"), "path", "other")
            self.meters.request(route, status[0], time.perf_counter() - began)

    def _may(self, path: str, headers: dict[bytes, bytes]) -> bool:
        if self.token is None or path in OPEN:
            return True
        given = headers.get(b"authorization", b"")
        return hmac.compare_digest(given, b"Bearer " + self.token.encode())


_SAFE = [
    (b"x-content-type-options", b"nosniff"),
    (
        b"content-security-policy",
        b"default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; connect-src 'self'",
    ),
    (b"referrer-policy", b"no-referrer"),
]
_ASK = [(b"www-authenticate", b"Bearer")]


def _length(headers: dict[bytes, bytes]) -> int:
    said = headers.get(b"content-length", b"0")
    return int(said) if said.isdigit() else LARGEST + 1


def _bounded(receive: Callable) -> Callable:
    read = [0]

    async def next_part() -> dict:
        message = await receive()
        read[0] += len(message.get("body", b""))
        if read[0] > LARGEST:
            raise HTTPException(413, TOO_LARGE)  # where the body is read
        return message

    return next_part


async def refuse(send: Send, status: int, message: str, headers: list[tuple[bytes, bytes]] = ()) -> None:
    """An answer that is an error."""
    body = json.dumps({"error": {"message": message}}).encode()
    start = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode()), *headers]
    await send({"type": "http.response.start", "status": status, "headers": start})
    await send({"type": "http.response.body", "body": body})
