"""The page for people, at /."""

import base64
import hashlib
import re
from importlib import resources

from starlette.requests import Request
from starlette.responses import Response


class Page:
    """A page that needs no other host; its policy lets a browser run and load nothing but what is in it."""

    def __init__(self) -> None:
        self._content = resources.files("heed.cli.serve").joinpath("page.html").read_text("utf-8")
        script, style = (_hashes(name, self._content) for name in ("script", "style"))
        self._headers = {
            "Content-Security-Policy": f"default-src 'none'; script-src {script}; style-src {style}; "
            "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
        }

    async def show(self, _: Request) -> Response:
        """GET /."""
        return Response(self._content, headers=self._headers, media_type="text/html")


def _hashes(name: str, page: str) -> str:
    """The hashes of the scripts or styles within a page, as its policy needs them."""
    inside = re.findall(rf"<{name}>(.*?)</{name}>", page, re.DOTALL)
    digests = (hashlib.sha256(text.encode()).digest() for text in inside)
    return " ".join(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)
