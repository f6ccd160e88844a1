"""The interface of LibreTranslate: /translate and /languages."""

import asyncio
from typing import TYPE_CHECKING

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from heed.cli.language_names import language_name
from heed.cli.serve.bodies import Language, TranslateBody, Translated
from heed.cli.serve.gate import json_response
from heed.cli.serve.limits import Limits
from heed.cli.serve.line_work import Wish
from heed.cli.serve.models import ServedModels, ServedTranslator
from heed.cli.serve.refusal import Refusal
from heed.models.errors import HeedError
from heed.models.system.worker_process import LostWorkerError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from heed.models.tasks.translation.translation import Translation


class Translations:
    """Translates texts; each line of a text is translated for itself.

    Args:
        models: Of the server.
        limits: Of requests.
    """

    def __init__(self, models: ServedModels, limits: Limits) -> None:
        self._models, self._limits = models, limits

    async def translate(self, body: TranslateBody) -> Response:
        """POST /translate."""
        model = self._model(body)
        texts = [body.q] if isinstance(body.q, str) else body.q
        parts = [text.split("\n") for text in texts]
        lines = [line for part in parts for line in part]
        if len(lines) > self._limits.lines:
            raise Refusal(413, f"there are {len(lines):,} lines; send at most {self._limits.lines:,} at a time")
        try:
            found = await asyncio.wrap_future(model.batcher.submit(lines, _wish(model, body)))
        except LostWorkerError:
            raise Refusal(503, "the server lacks memory for this; send less at a time, or try again later") from None
        except HeedError as error:
            raise Refusal(400, str(error)) from None
        each = iter(found)
        choices = [_choices([next(each) for _ in part], 1 + body.alternatives) for part in parts]
        return json_response(msgspec.json.encode(_translated(choices, body)))

    async def languages(self, _: Request) -> Response:
        """GET /languages."""
        pairs = self._models.by_languages
        found = [
            Language(code=code, name=language_name(code), targets=sorted(tgt for src, tgt in pairs if src == code))
            for code in sorted({src for src, _ in pairs})
        ]
        return json_response(msgspec.json.encode(found))

    def _model(self, body: TranslateBody) -> ServedTranslator:
        pairs = self._models.by_languages
        if model := pairs.get((body.source, body.target)):
            return model
        known = ", ".join(f"{src} to {tgt}" for src, tgt in sorted(pairs)) or "none"
        if body.source == "auto":
            raise Refusal(400, f"languages are not detected; name the source. Pairs: {known}")
        raise Refusal(400, f"no model translates {body.source!r} to {body.target!r}. Pairs: {known}")


def _wish(model: ServedTranslator, body: TranslateBody) -> Wish:
    n_best, beam_size = 1 + body.alternatives, model.beam_size
    if n_best > beam_size:
        raise Refusal(400, f"at most {beam_size - 1} alternatives are found, not {body.alternatives}")
    return Wish(n_best, body.format == "html")


def _choices(lines: "Sequence[Sequence[Translation]]", n: int) -> list[str]:
    """The best texts, best first: of each line the best, then of each the second, or the last that it has."""
    n_found = min(n, max(len(best) for best in lines))
    return ["\n".join(best[min(i, len(best) - 1)].text for best in lines) for i in range(n_found)]


def _translated(choices: list[list[str]], body: TranslateBody) -> Translated:
    is_one = isinstance(body.q, str)
    first, rest = [each[0] for each in choices], [each[1:] for each in choices]
    alternatives: list[str | list[str]] = [*rest[0]] if is_one else [*rest]
    return Translated(
        translated_text=first[0] if is_one else first, alternatives=alternatives if body.alternatives else None
    )
