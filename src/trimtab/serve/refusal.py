"""What a client is told when it asks for what cannot be: one sentence in the shape its client library expects."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from trimtab.errors import TrimtabError


class RefusedError(TrimtabError):
    """A request that is answered with an error.

    Attributes:
        status: The HTTP status.
        reason: One word for the metrics.
        parameter: The field of the request that was wrong, if it was one.
    """

    def __init__(
        self, message: object, *, reason: str, status: int = 400, parameter: str | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.parameter = parameter

    def to_dict(self, path: str = "") -> dict[str, Any]:
        """The answer's JSON; Anthropic's messages have errors of another shape than OpenAI's."""
        kind = HTTPStatus(self.status).phrase.replace(" ", "").removesuffix("Error") + "Error"
        if path.startswith("/v1/messages"):
            return {"type": "error", "error": {"type": kind, "message": str(self)}}
        return {"error": {"message": str(self), "type": kind, "param": self.parameter, "code": self.status}}
