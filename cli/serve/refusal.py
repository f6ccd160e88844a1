"""Errors that a client can correct, in the form that its interface expects."""

from collections.abc import Mapping

import msgspec
from starlette.responses import Response

OPENAI = "/v1/"  # what the paths of OpenAI's interface begin with


class Refusal(Exception):  # noqa: N818 - it is an answer, not a failure
    """A request that is refused.

    Args:
        status: Of the answer.
        message: What is wrong, and the way out.
        code: A word for programs.
        headers: Of the answer.
    """

    def __init__(self, status: int, message: str, code: str | None = None, headers: Mapping[str, str] | None = None):
        super().__init__(message)
        self.status, self.message, self.code, self.headers = status, message, code, headers

    def content(self, path: str) -> bytes:
        """The body of the answer: an object for OpenAI's clients, else LibreTranslate's text."""
        error: object = self.message
        if path.startswith(OPENAI):
            kind = "server_error" if self.status >= 500 else "invalid_request_error"
            error = {"message": self.message, "type": kind, "param": None, "code": self.code}
        return msgspec.json.encode({"error": error})

    def response(self, path: str) -> Response:
        """The answer to a request of this path."""
        return Response(self.content(path), self.status, self.headers, "application/json")
