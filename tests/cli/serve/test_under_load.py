"""A server under load: 64 clients translate, while others send nonsense, are slow, or leave; then it is told to end."""

import asyncio
import contextlib
import itertools
import json
import re
import signal
import socket
import struct
import subprocess
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.cli.serve.conftest import PATIENCE
from tests.cli.serve.libretranslate.test_translation import bodies, types

N_CLIENTS = 64
LINES = ["Good morning!", "I am hungry. Where is the station?", "The train leaves at 7:45.", "Tom!", "See you."]
RIGHT = json.dumps({"q": LINES[0], "source": "en", "target": "de"}).encode()


class Connection:
    """Asks for translations, one after another."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    @contextlib.asynccontextmanager
    async def open(cls, port: int) -> AsyncIterator["Connection"]:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            yield cls(reader, writer)
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def ask(self, body: bytes, kind: str = "application/json") -> tuple[int, bytes] | None:
        """Status and content of the answer, which must be whole; None: the connection was closed before it began."""
        head = f"POST /translate HTTP/1.1\r\nHost: a\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
        try:
            self._writer.write(head.encode() + body)
            answer = await self._reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError as error:
            if error.partial:
                raise
            return None
        except ConnectionError:
            return None
        length = re.search(rb"(?i)content-length: (\d+)", answer)
        assert length, answer
        return int(answer[9:12]), await self._reader.readexactly(int(length[1]))


class Load:
    """Clients that translate again and again, until their connections are closed."""

    def __init__(self, port: int) -> None:
        self.found = Counter[tuple[int, str, bytes]]()  # status, line and answer
        self._port = port
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))
        self._thread.start()

    async def _run(self) -> None:
        await asyncio.gather(*(self._client(number) for number in range(N_CLIENTS)))

    async def _client(self, number: int) -> None:
        async with Connection.open(self._port) as connection:
            for line in itertools.islice(itertools.cycle(LINES), number, None):
                answer = await connection.ask(json.dumps({"q": line, "source": "en", "target": "de"}).encode())
                if answer is None:
                    return
                self.found[answer[0], line, answer[1]] += 1

    @property
    def n_answers(self) -> int:
        return self.found.total()

    def until(self, n_answers: int) -> None:
        end = time.monotonic() + PATIENCE
        while self.n_answers < n_answers:
            assert time.monotonic() < end
            time.sleep(0.01)

    def join(self) -> None:
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()


def start(program: Path, log: Path) -> tuple["subprocess.Popen[bytes]", int]:
    """A server that tells every answer in a file, and its port."""
    command = [str(program), "serve", "-v", "-m", "en-de", "--port", "0", "--timeout", str(PATIENCE)]
    with log.open("wb") as file:
        process = subprocess.Popen(command, stderr=file)
    end = time.monotonic() + PATIENCE
    while not (found := re.search(r" on http://127.0.0.1:(\d+);", log.read_text())):
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < end
        time.sleep(0.02)
    return process, int(found[1])


def leave(port: int, sent: bytes, *, reset: bool) -> None:
    """Send a part of a request, or all of it, and close the connection without reading."""
    with contextlib.closing(socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)) as connection:
        if reset:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.sendall(sent)


def test_a_loaded_server_serves_well_and_ends_without_a_loss(program: Path, tmp_path: Path) -> None:
    """Each answer that the server says it gave, has arrived; each request without an answer had not begun."""
    log = tmp_path / "log"
    process, port = start(program, log)
    statuses = Counter[int]()
    head = b"POST /translate HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    request = head % len(RIGHT) + RIGHT
    slow = [socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) for _ in range(8)]
    try:
        load = Load(port)
        load.until(N_CLIENTS)
        for connection in slow:
            connection.sendall(request[:-5])  # the rest never comes

        @settings(suppress_health_check=list(HealthCheck), max_examples=40, database=None)
        @given(
            body=st.binary(max_size=60) | bodies.map(lambda body: json.dumps(body).encode()),
            kind=types,
            cut=st.integers(0, len(request)),
            reset=st.booleans(),
        )
        def disturb(body: bytes, kind: str, cut: int, reset: bool) -> None:
            async def ask() -> tuple[int, bytes] | None:
                async with Connection.open(port) as connection:
                    return await connection.ask(body, kind)

            answer = asyncio.run(ask())
            assert answer is not None
            statuses[answer[0]] += 1
            leave(port, request[:cut], reset=reset)

        disturb()
        for connection in slow:
            connection.close()
        load.until(load.n_answers + 2 * N_CLIENTS)
        process.send_signal(signal.SIGTERM)
        load.join()
        assert process.wait(PATIENCE) == 0
    finally:
        process.kill()
        process.wait()
    assert set(statuses) <= {200, 400, 415}
    assert {status for status, *_ in load.found} == {200}
    assert len(load.found) == len(LINES)  # a line has one translation, whatever else is asked for
    told = log.read_text()
    assert "Traceback" not in told
    given_up = told.count('"POST /translate HTTP/1.1" 200') - load.n_answers - statuses[200]
    assert 0 <= given_up <= 40  # to those that left without reading
