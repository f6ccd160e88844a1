"""Keys, limits, and clients that are slow or leave."""

import contextlib
import json
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from heed.cli.serve.keys import Keys
from heed.cli.serve.limits import Limits
from heed.cli.serve.line_work import LineWork
from heed.cli.serve.metrics import Metrics
from heed.cli.serve.models import ServedGenerator, ServedModels
from heed.models.bundle.catalog import DEFAULT, DEFAULT_TEXT
from tests.cli.serve.conftest import PATIENCE, Client, running

MODEL = "shakespeare"
TEXT = {"q": "Hello!", "source": "en", "target": "de"}
PROMPT = {"model": MODEL, "prompt": "a", "max_tokens": 200, "seed": 1}


class Brake:
    """Lets work go on only while it is released, and counts what has begun and what was ended early."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.n_begun = self.n_left = 0

    def translating(self, work: Callable[..., Any]) -> Callable[..., Any]:
        def wait(*arguments: Any) -> Any:
            self.n_begun += 1
            assert self.go.wait(PATIENCE)
            return work(*arguments)

        return wait

    def generating(self, work: Callable[..., Any]) -> Callable[..., Any]:
        def pieces(*arguments: Any) -> Iterator[Any]:
            self.n_begun += 1
            try:
                found = work(*arguments)
                while True:
                    yield next(found)
                    self.go.wait(0.01)
            except StopIteration as end:
                return end.value
            except GeneratorExit:
                self.n_left += 1
                raise

        return pieces


@pytest.fixture
def brake() -> Brake:
    return Brake()


@pytest.fixture(scope="module")
def slow_models(metrics: Metrics) -> Iterator[ServedModels]:
    """Models whose work a test may hold."""
    found = ServedModels.load([DEFAULT, DEFAULT_TEXT], Limits(streams=1), Metrics(), device="cpu", threads=1)
    yield found
    found.close()


@pytest.fixture
def held(slow_models: ServedModels, brake: Brake, monkeypatch: pytest.MonkeyPatch) -> Iterator[ServedModels]:
    generating = slow_models.by_name[MODEL]
    assert isinstance(generating, ServedGenerator)
    generator = generating.generator
    monkeypatch.setattr(LineWork, "__call__", brake.translating(LineWork.__call__))
    monkeypatch.setattr(generator, "stream_all", brake.generating(generator.stream_all))
    yield slow_models
    brake.go.set()


def in_background(work: Callable[[], Any]) -> tuple[threading.Thread, list[Any]]:
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(work()))
    thread.start()
    return thread, found


def send(client: Client, path: str, body: object) -> socket.socket:
    """A request whose answer is not read."""
    content = json.dumps(body).encode()
    connection = socket.create_connection(("127.0.0.1", client.port), timeout=PATIENCE)
    head = (
        f"POST {path} HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
    )
    connection.sendall(head.encode() + content)
    return connection


@pytest.mark.parametrize(("known", "accepted"), [("a, bc", ["a", "bc"]), ("", ["", "x", None]), (None, [None])])
def test_keys_are_accepted_whole(known: str | None, accepted: list[str | None]) -> None:
    keys = Keys.parse(known)
    assert [key for key in ("", "a", "b", "bc", "a, bc", "x", None) if keys.accept(key) and key in accepted]
    assert all(map(keys.accept, accepted))
    if known:
        assert not any(map(keys.accept, ("", "b", "a, bc", "A", None)))


def test_a_key_opens_what_costs_work(models: ServedModels, metrics: Metrics) -> None:
    with running(models, metrics, key="k1,k2") as client:
        paths = ("/", "/health", "/languages", "/openapi.json", "/v1/models")
        assert [client("GET", path).status for path in paths] == [200] * 5
        wrong = [client.post("/translate", TEXT), client.post("/translate", {**TEXT, "api_key": "k"})]
        wrong += [client.post("/v1/completions", PROMPT, authorization=key) for key in ("Bearer k", "k1", "Basic k1")]
        wrong += [client("GET", "/metrics")]
        assert [answer.status for answer in wrong] == [401] * 6
        assert "send Authorization: Bearer KEY" in wrong[0].json["error"]
        assert wrong[2].json["error"]["code"] == "invalid_api_key"
        right = [client.post("/translate", TEXT, authorization="Bearer k1")]
        right += [client.post("/translate", {**TEXT, "api_key": "k2"})]
        right += [client.post("/v1/completions", {**PROMPT, "max_tokens": 2}, authorization="bearer k2")]
        right += [client("GET", "/metrics", authorization="Bearer k1")]
        assert [answer.status for answer in right] == [200] * 4


def test_more_than_is_accepted_at_a_time_is_refused(models: ServedModels, metrics: Metrics) -> None:
    with running(models, metrics, Limits(body=500, lines=3, tokens=10)) as client:
        assert client.post("/translate", {**TEXT, "q": "a" * 500}).status == 413
        assert client.post("/translate", {**TEXT, "q": "1\n2\n3"}).status == 200
        for lines in ("1\n2\n3\n4", ["1", "2\n3", "4"]):
            answer = client.post("/translate", {**TEXT, "q": lines})
            assert (answer.status, answer.json["error"]) == (413, "there are 4 lines; send at most 3 at a time")
        assert client.post("/v1/completions", {**PROMPT, "max_tokens": 11}).status == 413
        assert client.post("/v1/completions", {**PROMPT, "max_tokens": 10}).status == 200


def test_a_body_without_a_length_is_limited_too(models: ServedModels, metrics: Metrics) -> None:
    with running(models, metrics, Limits(body=1000)) as client, contextlib.closing(client.connect()) as connection:
        parts = (b"x" * 400 for _ in range(3))
        connection.request("POST", "/translate", parts, {"Content-Type": "application/json"}, encode_chunked=True)
        answer = connection.getresponse()
        assert (answer.status, json.load(answer)["error"]) == (
            413,
            "the body has more than 1,000 bytes; send less at a time",
        )


def test_requests_beyond_the_limit_are_told_to_come_later(held: ServedModels, brake: Brake) -> None:
    with running(held, Metrics(), Limits(requests=2)) as client:
        waiting = [in_background(lambda: client.post("/translate", TEXT)) for _ in range(2)]
        client.until(lambda: client.figure("heed_active_requests") == 2)
        answer = client.post("/translate", TEXT)
        assert (answer.status, answer.headers["retry-after"]) == (429, "1")
        brake.go.set()
        for thread, found in waiting:
            thread.join()
            assert found[0].status == 200
        client.until(lambda: client.figure("heed_active_requests") == 0)  # an answer arrives before its request ends
        assert client.post("/translate", TEXT).status == 200


def test_what_takes_too_long_is_ended(held: ServedModels, brake: Brake) -> None:
    with running(held, Metrics(), Limits(seconds=0.5)) as client:
        answer = client.post("/translate", TEXT)
        assert (answer.status, "no complete answer in 0.5 s" in answer.json["error"]) == (504, True)
        answer = client.post("/v1/completions", PROMPT)
        assert (answer.status, answer.json["error"]["type"]) == (504, "server_error")
        answer = client.post("/v1/completions", {**PROMPT, "stream": True})
        *_, last = answer.content.decode().strip().split("\n\n")
        assert "no complete answer" in json.loads(last.removeprefix("data: "))["error"]["message"]
        client.until(lambda: brake.n_left == brake.n_begun - 1)


def test_a_client_that_leaves_frees_its_work(held: ServedModels, brake: Brake) -> None:
    with running(held, Metrics()) as client:
        translating = held.by_languages["en", "de"]
        first = send(client, "/translate", TEXT)
        client.until(lambda: brake.n_begun == 1)
        leaving = send(client, "/translate", {**TEXT, "q": ["Hello!"] * 200})
        client.until(lambda: translating.batcher.n_waiting == 200)
        leaving.close()
        client.until(lambda: translating.batcher.n_waiting == 0)
        for stream in (True, False):
            brake.n_begun = brake.n_left = 0
            leaving = send(client, "/v1/completions", {**PROMPT, "stream": stream})
            client.until(lambda: brake.n_begun == 1)
            waiting = send(client, "/v1/completions", PROMPT)  # behind it, because one at a time is generated
            leaving.close()
            client.until(lambda: brake.n_left == 1 and brake.n_begun == 2)
            waiting.close()
            client.until(lambda: brake.n_left == 2)
        first.close()


def test_a_client_that_is_slow_to_ask_or_to_read_holds_nobody_up(models: ServedModels, metrics: Metrics) -> None:
    with running(models, metrics, Limits(seconds=3)) as client:
        asking = socket.create_connection(("127.0.0.1", client.port), timeout=PATIENCE)
        asking.sendall(b"POST /translate HTTP/1.1\r\nHost: a\r\nContent-Length: 90\r\n\r\n{")
        reading = send(client, "/v1/completions", {**PROMPT, "stream": True, "n": 16})
        assert client.post("/translate", TEXT).status == 200
        assert b" 504 " in asking.recv(100)
        asking.close()
        reading.close()
        client.until(lambda: client.figure("heed_active_requests") == 0)


def test_a_stream_does_not_wait_for_translations(held: ServedModels, brake: Brake) -> None:
    with running(held, Metrics()) as client:
        connections = [send(client, "/translate", {**TEXT, "q": ["Hello!"] * 500}) for _ in range(4)]
        client.until(lambda: brake.n_begun == 1)
        answer = client.post("/v1/completions", {**PROMPT, "max_tokens": 5})
        assert answer.json["usage"]["completion_tokens"] == 5
        assert not brake.go.is_set()
        for connection in connections:
            connection.close()
