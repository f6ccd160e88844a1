"""OpenAI's interface, with its own client and beyond it."""

import json
import threading
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from heed.cli.serve.bodies import Message
from heed.cli.serve.models import ServedGenerator, ServedModels
from heed.cli.serve.openai.chat import chat_prompt
from heed.models.decoding.sampling import SampleConfig
from heed.models.text.chat import ChatTemplate
from tests.cli.serve.conftest import Client
from tests.cli.serve.libretranslate.test_translation import some_of, types

MODEL = "shakespeare"


@pytest.fixture(scope="session")
def served(models: ServedModels) -> ServedGenerator:
    found = models.by_name[MODEL]
    assert isinstance(found, ServedGenerator)
    return found


@pytest.fixture
def api(client: Client) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{client.url}/v1", api_key="none", max_retries=0) as found:
        yield found


def test_the_client_of_openai_lists_models(api: openai.OpenAI, models: ServedModels) -> None:
    assert [model.id for model in api.models.list()] == list(models.by_name) == ["en-de", MODEL]
    assert api.models.retrieve(MODEL).owned_by == "heed"


def test_the_client_of_openai_completes(api: openai.OpenAI, served: ServedGenerator) -> None:
    found = api.completions.create(model=MODEL, prompt="ROMEO:", max_tokens=20, seed=1, temperature=0.8, top_p=0.9)
    config = SampleConfig(max_tokens=20, seed=1, temperature=0.8, top_p=0.9)
    (generation,) = served.generator.generate(["ROMEO:"], config)[0]
    assert [choice.text for choice in found.choices] == [generation.text]
    assert found.choices[0].finish_reason == "length"
    assert found.usage is not None
    assert found.usage.completion_tokens == len(generation.tokens) == 20
    assert found.usage.prompt_tokens == len(served.generator.encode("ROMEO:"))


def test_several_texts_of_several_prompts_come_in_order_whole_or_as_a_stream(
    api: openai.OpenAI, served: ServedGenerator
) -> None:
    prompts = ["ROMEO:", "The king"]
    asked: Any = {"model": MODEL, "prompt": prompts, "max_tokens": 6, "seed": 2, "n": 2, "echo": True}
    rows = served.generator.generate(prompts, SampleConfig(max_tokens=6, seed=2, n=2))
    expected = [prompt + each.text for prompt, row in zip(prompts, rows, strict=True) for each in row]
    whole = api.completions.create(**asked)
    assert [choice.text for choice in whole.choices] == expected
    texts, ended = ["" for _ in expected], []
    for event in api.completions.create(**asked, stream=True):
        for choice in event.choices:
            texts[choice.index] += choice.text
            ended += [choice.index] if choice.finish_reason else []
    assert (texts, ended) == (expected, [0, 1, 2, 3])


def test_a_stream_tells_its_usage_if_asked(api: openai.OpenAI) -> None:
    asked: Any = {"model": MODEL, "prompt": "a", "max_tokens": 5, "seed": 2, "stream": True}
    assert all(event.usage is None for event in api.completions.create(**asked))
    *_, last = api.completions.create(**asked, stream_options={"include_usage": True})
    assert last.usage is not None
    assert (last.choices, last.usage.completion_tokens) == ([], 5)


def test_the_client_of_openai_chats(api: openai.OpenAI, served: ServedGenerator) -> None:
    asked: Any = {"model": MODEL, "max_tokens": 30, "seed": 3}
    asked["messages"] = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Who are you?"},
        {"role": "assistant", "content": " Romeo."},
        {"role": "user", "content": [{"type": "text", "text": "What do you want?"}]},
    ]
    prompt = "User: Be brief.\n\nWho are you?\nAssistant: Romeo.\nUser: What do you want?\nAssistant:"
    config = SampleConfig(max_tokens=30, seed=3, stop=("\nUser:",))
    (generation,) = served.generator.generate([prompt], config)[0]
    whole = api.chat.completions.create(**asked)
    assert whole.choices[0].message.content == generation.text.lstrip()
    assert whole.choices[0].message.role == "assistant"
    pieces = list(api.chat.completions.create(**asked, stream=True))
    assert "".join(piece.choices[0].delta.content or "" for piece in pieces) == generation.text.lstrip()
    assert pieces[0].choices[0].delta.role == "assistant"
    assert [piece.choices[0].finish_reason for piece in pieces] == [None] * (len(pieces) - 1) + ["length"]


def test_a_models_own_format_of_conversations_is_used(served: ServedGenerator, monkeypatch: pytest.MonkeyPatch) -> None:
    template = ChatTemplate(
        before_user="<u>", after_user="</u>", before_assistant="<a>", after_assistant="</a>", stop=("</a>",)
    )
    monkeypatch.setattr(served.generator, "chat_template", template)
    turns = [("user", "1"), ("assistant", "2"), ("user", "3")]
    messages = [Message(role=role, content=text) for role, text in turns]  # type: ignore[arg-type]
    assert chat_prompt(served.generator, messages, 5) == "<u>1</u><a>2</a><u>3</u><a>"


@pytest.mark.parametrize(
    ("path", "body", "status", "words"),
    [
        ("completions", {"model": "../en-de"}, 404, "there is no model '../en-de'; the models are: en-de, shakespeare"),
        ("completions", {"model": "en-de"}, 400, "'en-de' translates; use POST /translate"),
        ("completions", {"temperature": 1000}, 400, "temperature must be 0 or a number from 0.01 to 100, not 1000"),
        ("completions", {"max_tokens": 99999}, 413, "99,999 tokens are asked for; ask for at most 4,096"),
        ("completions", {"max_tokens": 4000, "n": 2}, 413, "8,000 tokens are asked for"),
        ("completions", {"logprobs": 5}, 400, "Expected `null`, got `int` - at `$.logprobs`"),
        ("completions", {"presence_penalty": 0.5}, 400, "at `$.presence_penalty`"),
        ("completions", {"tools": []}, 400, "unknown field `tools`"),
        ("completions", {"prompt": "so " * 5000}, 400, "shorten the prompt"),
        ("completions", {"stop": [""]}, 400, "stop must hold no empty text"),
        ("chat/completions", {"messages": []}, 400, "length >= 1"),
        ("chat/completions", {"messages": [{"role": "tool", "content": "a"}]}, 400, "Invalid enum value 'tool'"),
        ("chat/completions", {"messages": [{"role": "assistant", "content": "a"}]}, 400, "must alternate"),
        (
            "chat/completions",
            {"messages": [{"role": "user", "content": "so " * 5000}]},
            400,
            "leave out its first turns",
        ),
        ("chat/completions", {"response_format": {"type": "json_object"}}, 400, "response_format must be"),
    ],
)
def test_what_is_wrong_is_said(client: Client, path: str, body: dict[str, Any], status: int, words: str) -> None:
    usual: dict[str, Any] = {"messages": [{"role": "user", "content": "a"}]} if "chat" in path else {"prompt": "a"}
    answer = client.post(f"/v1/{path}", {"model": MODEL, **usual, **body})
    assert (answer.status, words in answer.json["error"]["message"]) == (status, True), answer.json


def test_what_is_missing_is_not_found(client: Client, api: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="there is no model 'x'"):
        api.models.retrieve("x")
    assert client("GET", "/v1/models/%2e%2e%2fen-de").status == 404
    assert client("GET", "/v1/engines").json["error"]["message"].startswith("GET /v1/engines: Not Found")
    assert client("GET", "/translate").status == 405


sampling = {
    "model": st.sampled_from([MODEL, MODEL, MODEL, "en-de", "x"]),
    "max_tokens": st.integers(-1, 3),
    "temperature": st.floats(-1, 3),
    "top_p": st.floats(0, 1),
    "n": st.integers(0, 3),
    "stream": st.booleans(),
    "stop": st.text(max_size=2) | st.lists(st.text(max_size=2), max_size=2),
    "seed": st.integers(-1, 2**70),
    "top_k": st.integers(0, 5),
    "min_p": st.floats(0, 1),
    "repetition_penalty": st.floats(0, 3),
    "no_repeat_ngram": st.integers(0, 3),
}
messages = st.lists(some_of({"role": st.sampled_from(["user", "assistant", "system"]), "content": st.text(max_size=9)}))
completion_bodies = some_of({**sampling, "prompt": st.text(max_size=20), "echo": st.booleans()})
chat_bodies = some_of({**sampling, "messages": messages})


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(
    path=st.sampled_from(["completions", "chat/completions"]),
    body=st.binary(max_size=60) | (completion_bodies | chat_bodies).map(lambda body: json.dumps(body).encode()),
    kind=types,
)
def test_any_body_gets_an_answer(client: Client, path: str, body: bytes, kind: str) -> None:
    answer = client("POST", f"/v1/{path}", body, content_type=kind)
    assert answer.status == 200 or 400 <= answer.status < 500, (body, answer)
    assert b"Traceback" not in answer.content
    if answer.status == 200 and answer.headers["content-type"].startswith("text/event-stream"):
        assert answer.content.endswith(b"data: [DONE]\n\n"), (body, answer)
    else:
        assert answer.json["choices" if answer.status == 200 else "error"]


def test_streams_of_many_clients_are_those_of_one(client: Client, served: ServedGenerator) -> None:
    config = SampleConfig(max_tokens=12, seed=5)
    expected = served.generator.generate(["ROMEO:"], config)[0][0].text
    found: list[str] = []

    def read() -> None:
        body = {"model": MODEL, "prompt": "ROMEO:", "max_tokens": 12, "seed": 5}
        found.append(client.post("/v1/completions", body).json["choices"][0]["text"])

    threads = [threading.Thread(target=read) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [expected] * 8
