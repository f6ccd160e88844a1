"""The application: its routes, and what becomes of errors."""

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from heed.cli.serve.bodies import ChatBody, CompletionBody, EmbeddingBody, TranslateBody
from heed.cli.serve.gate import Endpoint, Gate, json_response, refused_key
from heed.cli.serve.keys import Keys
from heed.cli.serve.libretranslate.translation import Translations
from heed.cli.serve.limits import Limits
from heed.cli.serve.metrics import Metrics
from heed.cli.serve.models import ServedModels
from heed.cli.serve.openai.completions import Completions
from heed.cli.serve.openai.embeddings import Embeddings
from heed.cli.serve.openapi import description
from heed.cli.serve.page import Page
from heed.cli.serve.refusal import Refusal


def application(models: ServedModels, limits: Limits, keys: Keys, metrics: Metrics) -> Starlette:
    """The server as an ASGI application."""
    gate = Gate(limits, keys, metrics)
    translations, completions = Translations(models, limits), Completions(models, limits, metrics)
    embeddings = Embeddings(models, limits)
    described = description()

    async def health(_: Request) -> Response:
        return json_response(b'{"status":"ok"}')

    async def figures(request: Request) -> Response:
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        if not keys.accept(key.strip() if scheme.lower() == "bearer" else None):
            raise refused_key()
        return Response(metrics.text(), media_type=metrics.content_type)

    async def openapi(_: Request) -> Response:
        return json_response(described)

    posts = [
        Route("/translate", Endpoint(gate, TranslateBody, translations.translate), methods=["POST"]),
        Route("/v1/completions", Endpoint(gate, CompletionBody, completions.complete), methods=["POST"]),
        Route("/v1/chat/completions", Endpoint(gate, ChatBody, completions.chat), methods=["POST"]),
        Route("/v1/embeddings", Endpoint(gate, EmbeddingBody, embeddings.embed), methods=["POST"]),
    ]
    gets = {
        "/": Page().show,
        "/languages": translations.languages,
        "/v1/models": completions.models,
        "/v1/models/{name}": completions.model,
        "/health": health,
        "/metrics": figures,
        "/openapi.json": openapi,
    }
    return Starlette(
        routes=[*posts, *(Route(path, answer) for path, answer in gets.items())],
        exception_handlers={Refusal: _refused, HTTPException: _not_here},
    )


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refusal)
    return error.response(request.url.path)


async def _not_here(request: Request, error: Exception) -> Response:
    """The answer to a path or a method that there is none of."""
    assert isinstance(error, HTTPException)
    path = request.url.path
    message = f"{request.method} {path}: {error.detail}; /openapi.json describes what there is"
    return Refusal(error.status_code, message, headers=error.headers).response(path)
