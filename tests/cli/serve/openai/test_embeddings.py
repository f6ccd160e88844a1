"""OpenAI's embeddings, with its own client."""

import base64
from collections.abc import Iterator
from typing import Any, cast

import numpy as np
import openai
import pytest

from heed.cli.serve.limits import Limits
from heed.cli.serve.metrics import Metrics
from heed.cli.serve.models import ServedEmbedder, ServedModels
from heed.models.arrays import FloatArray
from tests.cli.serve.conftest import Client, running


class Lengths:
    """Embeds a text as its numbers of characters and of words."""

    max_tokens = 5

    def lengths(self, texts: list[str]) -> list[int]:
        return [len(text.split()) for text in texts]

    def embed(self, texts: list[str], _: int) -> FloatArray:
        return np.array([[len(text), len(text.split())] for text in texts], dtype=np.float32)


@pytest.fixture
def client() -> Iterator[Client]:
    models = ServedModels()
    models.by_name["lengths"] = served = ServedEmbedder("lengths", cast("Any", Lengths()))
    with running(models, Metrics(), Limits(lines=4)) as found:
        yield found
    served.close()


@pytest.mark.parametrize("form", ["float", "base64", None])
def test_the_client_of_openai_gets_vectors(client: Client, form: Any) -> None:
    asked = {} if form is None else {"encoding_format": form}
    with openai.OpenAI(base_url=f"{client.url}/v1", api_key="none", max_retries=0) as api:
        found = api.embeddings.create(model="lengths", input=["a bc", "", "def"], **asked)
        alone = api.embeddings.create(model="lengths", input="a bc")
    vectors = [each.embedding for each in found.data]
    if form == "base64":
        vectors = [np.frombuffer(base64.b64decode(cast("Any", text)), "<f4").tolist() for text in vectors]
    assert vectors == [[4, 2], [0, 0], [3, 1]]
    assert (found.usage.total_tokens, [each.index for each in found.data]) == (3, [0, 1, 2])
    assert alone.data[0].embedding == [4, 2]


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({"input": "1 2 3 4 5 6"}, 400, "input 0 has 6 tokens; the model reads at most 5"),
        ({"input": ["a"] * 5}, 413, "there are 5 texts; send at most 4"),
        ({"input": []}, 400, "length >= 1"),
        ({"input": [[1, 2]]}, 400, "Expected `str`, got `array`"),
        ({"model": "x"}, 404, "there is no model 'x'"),
    ],
)
def test_what_is_wrong_is_said(client: Client, body: dict[str, object], status: int, words: str) -> None:
    answer = client.post("/v1/embeddings", {"model": "lengths", "input": "a", **body})
    assert (answer.status, words in answer.json["error"]["message"]) == (status, True), answer.json
