"""A server within the tests' own process, with the models that come with heed."""

import contextlib
import http.client
import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest
import uvicorn

from heed.cli.serve.app import application
from heed.cli.serve.keys import Keys
from heed.cli.serve.limits import Limits
from heed.cli.serve.metrics import Metrics
from heed.cli.serve.models import ServedModels
from heed.cli.serve.server import listen
from heed.models.bundle.catalog import DEFAULT, DEFAULT_TEXT

PATIENCE = 300  # seconds; for a machine that does much else


class Answer(NamedTuple):
    """What a server answered."""

    status: int
    headers: dict[str, str]
    content: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.content)


class Client:
    """Sends requests to a server, each over a connection of its own."""

    def __init__(self, port: int, metrics: Metrics) -> None:
        self.port, self.metrics = port, metrics
        self.url = f"http://127.0.0.1:{port}"

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)

    def __call__(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Answer:
        connection = self.connect()
        try:
            connection.request(method, path, body, {name.replace("_", "-"): text for name, text in headers.items()})
            answer = connection.getresponse()
            return Answer(answer.status, {name.lower(): text for name, text in answer.getheaders()}, answer.read())
        finally:
            connection.close()

    def post(self, path: str, body: object, **headers: str) -> Answer:
        return self("POST", path, json.dumps(body).encode(), content_type="application/json", **headers)

    def figure(self, name: str) -> float:
        """The value of a metric, without or with labels, summed."""
        lines = self.metrics.text().decode().splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith((f"{name} ", f"{name}{{")))

    def until(self, is_so: Callable[[], bool]) -> None:
        """Wait until something is so."""
        end = time.monotonic() + PATIENCE
        while not is_so():
            assert time.monotonic() < end
            time.sleep(0.005)


@contextlib.contextmanager
def running(models: ServedModels, metrics: Metrics, limits: Limits | None = None, key: str = "") -> Iterator[Client]:
    """A server of these models, until the end of the block."""
    app = application(models, limits or Limits(seconds=PATIENCE), Keys.parse(key), metrics)
    listening = listen("127.0.0.1", 0)
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", ws="none", lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        yield Client(listening.getsockname()[1], metrics)
    finally:
        server.should_exit = True
        thread.join(PATIENCE)
        assert not thread.is_alive()


@pytest.fixture(scope="session")
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture(scope="session")
def models(metrics: Metrics) -> Iterator[ServedModels]:
    found = ServedModels.load([DEFAULT, DEFAULT_TEXT], Limits(), metrics, device="cpu", threads=1)
    yield found
    found.close()


@pytest.fixture(scope="session")
def client(models: ServedModels, metrics: Metrics) -> Iterator[Client]:
    """A server with the default limits and no key."""
    with running(models, metrics) as found:
        yield found
