"""The description of the interfaces (OpenAPI 3.1)."""

import importlib.metadata
from typing import Any

import msgspec

from heed.cli.serve import bodies

ERRORS = {
    "400": "The request is wrong; the message says how.",
    "401": "The key is missing or wrong.",
    "413": "More than the server accepts at a time.",
    "429": "The server is busy; try again later.",
    "504": "There was no complete answer in time.",
}
STREAM = {"text/event-stream": {"schema": {"type": "string"}}}
# Path and method, what it does, the body of a request, the body of an answer, and other forms of the answer.
OPERATIONS: list[tuple[str, str, str, Any, Any, dict[str, Any]]] = [
    ("/translate", "post", "Translate texts.", bodies.TranslateBody, bodies.Translated, {}),
    ("/languages", "get", "The pairs of languages.", None, list[bodies.Language], {}),
    ("/v1/models", "get", "The models that are served.", None, bodies.ModelList, {}),
    ("/v1/models/{name}", "get", "A model.", None, bodies.ModelCard, {}),
    ("/v1/completions", "post", "Continue texts.", bodies.CompletionBody, bodies.Completion, STREAM),
    ("/v1/chat/completions", "post", "Answer a message.", bodies.ChatBody, bodies.Completion, STREAM),
    ("/v1/embeddings", "post", "Turn texts into vectors.", bodies.EmbeddingBody, bodies.EmbeddingList, {}),
    ("/health", "get", "Whether the server answers.", None, dict[str, str], {}),
]


def description() -> bytes:
    """It, in JSON."""
    kinds = [kind for _, _, _, *both, _ in OPERATIONS for kind in both if kind is not None]
    schemas, components = msgspec.json.schema_components(kinds, ref_template="#/components/schemas/{name}")
    of_kind = {repr(kind): schema for kind, schema in zip(kinds, schemas, strict=True)}
    paths: dict[str, dict[str, Any]] = {}
    for path, method, does, asked, answered, others in OPERATIONS:
        content = {"application/json": {"schema": of_kind[repr(answered)]}, **others}
        operation: dict[str, Any] = {
            "summary": does,
            "responses": {"200": {"description": does, "content": content}, **_errors(method)},
        }
        if asked is not None:
            body = {"schema": of_kind[repr(asked)]}
            forms = {"application/json": body}
            if asked is bodies.TranslateBody:
                forms["application/x-www-form-urlencoded"] = body
            operation["requestBody"] = {"required": True, "content": forms}
        if "{name}" in path:
            operation["parameters"] = [{"name": "name", "in": "path", "required": True, "schema": {"type": "string"}}]
        paths[path] = {method: operation}
    found = {
        "openapi": "3.1.0",
        "info": {"title": "heed", "version": importlib.metadata.version("heed")},
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{}, {"key": []}],
    }
    return msgspec.json.encode(found)


def _errors(method: str) -> dict[str, Any]:
    return {status: {"description": words} for status, words in ERRORS.items()} if method == "post" else {}
