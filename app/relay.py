"""The next hop: where requests go on to (endpoint -> edge -> cloud), by configuration alone."""

from urllib.parse import urlsplit

import httpx
from fastapi import HTTPException, Response

from app import tracing

_MAX_ANSWER_BYTES = 16 << 20
_TIMEOUT = httpx.Timeout(30, connect=5)


def checked_base(url: str) -> str:
    """http://host[:port], as DEFAULT_NEXT_URL may be. Raises ValueError."""
    parts = urlsplit(url)
    _ = parts.port  # ValueError where it is none
    rest = (parts.username, parts.query, parts.fragment, parts.path.rstrip("/"))
    if parts.scheme not in ("http", "https") or not parts.hostname or any(rest):
        raise ValueError(f"DEFAULT_NEXT_URL={url!a}: wanted http://host:port")
    return f"{parts.scheme}://{parts.netloc}"


class Relay:
    """Sends what a request asked for on to the next hop. Without one it does nothing."""

    def __init__(self, next_url: str) -> None:
        """Raises ValueError where next_url is none."""
        self._base = checked_base(next_url) if next_url else ""
        # No proxy from the environment, and no redirect: neither may choose where we connect.
        self._client = httpx.AsyncClient(timeout=_TIMEOUT, trust_env=False, follow_redirects=False)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def pass_on(self, answer: Response, method: str, target: str, body: bytes = b"") -> Response:
        """answer, when the next hop has done the same; 502 or 504 where it has not.

        target: path and query, made here and never taken from the client as it came."""
        if not self._base:
            return answer
        peer = urlsplit(self._base).netloc
        call = tracing.call(peer)
        status, received = None, 0
        try:
            request = self._client.build_request(
                method, self._base + target, content=body or None, headers=call.headers
            )
            response = await self._client.send(request, stream=True)
            try:
                async for part in response.aiter_raw():
                    received += len(part)
                    if received > _MAX_ANSWER_BYTES:
                        raise HTTPException(502, f"the next hop answered more than {_MAX_ANSWER_BYTES} bytes")
            finally:
                await response.aclose()
            status = response.status_code
        except httpx.TimeoutException as error:
            raise HTTPException(504, f"the next hop {peer} did not answer in time") from error
        except httpx.HTTPError as error:
            raise HTTPException(502, f"the next hop {peer} gave no answer: {error}") from error
        finally:
            call.end(status, len(body), received if status is not None else None)
        if status >= 300:
            raise HTTPException(502, f"the next hop {peer} answered {status}")
        return answer
