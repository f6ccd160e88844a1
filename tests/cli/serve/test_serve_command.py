"""`heed serve` as a process of its own."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

from click.testing import Result

from tests.cli.serve.conftest import PATIENCE

LINES = [f"The train {number} leaves at {number % 12 + 1}:45." for number in range(20)]


@contextlib.contextmanager
def started(program: Path, *arguments: str, **environment: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A server and its URL."""
    command = [str(program), "serve", "--port", "0", "--threads", "1", "--timeout", str(PATIENCE), *arguments]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, **environment})
    try:
        assert process.stderr is not None
        line = process.stderr.readline()
        found = re.search(r" on (http://\S+);", line)
        assert found, line
        yield process, found[1]
    finally:
        process.kill()
        process.wait()
        if process.stderr:
            process.stderr.close()


def post(url: str, body: object) -> tuple[int, bytes]:
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def post_in_vain(url: str, body: object) -> None:
    """Send a request that the server will not answer."""
    with contextlib.suppress(OSError):
        post(url, body)


def until_begun(url: str, n_requests: int) -> None:
    """Wait until so many requests have been accepted, whether or not they have been answered."""
    end, n_begun = time.monotonic() + PATIENCE, 0.0
    while n_begun < n_requests:
        assert time.monotonic() < end
        with urllib.request.urlopen(f"{url}/metrics", timeout=PATIENCE) as answer:
            figures = re.findall(r"(?m)^heed_(?:active_requests|requests_total{.*}) (\S+)$", answer.read().decode())
        n_begun = sum(map(float, figures))


def test_sigterm_completes_what_has_begun(program: Path) -> None:
    with started(program) as (process, url):
        bodies = [{"q": LINES, "source": "en", "target": "de"}] * 3
        prompt = {"model": "shakespeare", "prompt": "a", "max_tokens": 200, "seed": 1, "stream": True}
        paths = [("/translate", body) for body in bodies] + [("/v1/completions", prompt)]
        found: list[tuple[int, bytes]] = []
        threads = [
            threading.Thread(target=lambda path=path, body=body: found.append(post(url + path, body)))
            for path, body in paths
        ]
        for thread in threads:
            thread.start()
        until_begun(url, 4)
        process.send_signal(signal.SIGTERM)
        for thread in threads:
            thread.join()
        assert process.wait(PATIENCE) == 0
        assert process.stderr is not None
        assert process.stderr.read() == ""
    assert sorted(status for status, _ in found) == [200] * 4
    assert sum(content.endswith(b"data: [DONE]\n\n") for _, content in found) == 1
    assert sum(len(json.loads(content)["translatedText"]) for _, content in found if content.startswith(b"{")) == 60


def test_a_second_signal_does_not_wait(program: Path) -> None:
    with started(program, "-m", "en-de", "--max-lines", "20000") as (process, url):
        body = {"q": ["A long line, which takes its time: how are you?"] * 10_000, "source": "en", "target": "de"}
        asking = threading.Thread(target=post_in_vain, args=(f"{url}/translate", body))
        asking.start()
        until_begun(url, 1)
        process.send_signal(signal.SIGINT)
        time.sleep(0.3)
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 130
        asking.join()


def test_a_key_comes_from_the_environment(program: Path) -> None:
    with started(program, "-m", "en-de", HEED_API_KEY="secret") as (_, url):
        body = {"q": "Hello!", "source": "en", "target": "de"}
        assert post(f"{url}/translate", body)[0] == 401
        assert post(f"{url}/translate", {**body, "api_key": "secret"})[0] == 200


def test_what_cannot_be_served_is_told_in_a_line(heed: Callable[..., Result]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = heed("serve", "--port", port)
    assert result.exit_code == 1
    told = f"Error: 127.0.0.1 port {port}: Address already in use; choose another --port or --host\n"
    assert result.stderr == told
    for models, words in ((["nope"], "nope: neither a directory nor"), (["en-de", "en-de"], "another model is called")):
        result = heed("serve", "--port", 0, *(word for name in models for word in ("-m", name)))
        assert result.exit_code == 4
        assert words in result.stderr
