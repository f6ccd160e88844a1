"""OpenAI's interface: /v1/embeddings."""

import asyncio
import base64

import msgspec
from starlette.responses import Response

from heed.cli.serve.bodies import Embedding, EmbeddingBody, EmbeddingList, EmbeddingUsage
from heed.cli.serve.gate import json_response
from heed.cli.serve.limits import Limits
from heed.cli.serve.models import ServedEmbedder, ServedModels
from heed.cli.serve.refusal import Refusal


class Embeddings:
    """Turns texts into vectors.

    Args:
        models: Of the server.
        limits: Of requests.
    """

    def __init__(self, models: ServedModels, limits: Limits) -> None:
        self._models, self._limits = models, limits

    async def embed(self, body: EmbeddingBody) -> Response:
        """POST /v1/embeddings."""
        model = self._models.named(body.model)
        if not isinstance(model, ServedEmbedder):
            raise Refusal(400, f"{body.model!r} makes no vectors; name a model that embeds")
        texts = [body.input] if isinstance(body.input, str) else body.input
        if len(texts) > self._limits.lines:
            raise Refusal(413, f"there are {len(texts):,} texts; send at most {self._limits.lines:,} at a time")
        lengths = await asyncio.to_thread(model.embedder.lengths, texts)
        longest = model.embedder.max_tokens
        for number, length in enumerate(lengths):
            if longest is not None and length > longest:
                message = f"input {number} has {length:,} tokens; the model reads at most {longest:,}"
                raise Refusal(400, message, "context_length_exceeded")
        vectors = await asyncio.wrap_future(model.batcher.submit(texts, None))
        data = [
            Embedding(
                index=i,
                embedding=base64.b64encode(vector.astype("<f4").tobytes()).decode()
                if body.encoding_format == "base64"
                else vector.tolist(),
            )
            for i, vector in enumerate(vectors)
        ]
        usage = EmbeddingUsage(prompt_tokens=sum(lengths), total_tokens=sum(lengths))
        return json_response(msgspec.json.encode(EmbeddingList(data=data, model=model.name, usage=usage)))
