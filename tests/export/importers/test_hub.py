"""`heed models pull` against a local server that speaks the hub's interface."""

import contextlib
import hashlib
import json
import re
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import huggingface_hub.file_download
import pytest
from click.testing import Result

from heed.models.bundle.bundle import Bundle

COMMIT = "0123456789abcdef0123456789abcdef01234567"
Heed = Callable[..., Result]


class Hub:
    """A hub with one model.

    Args:
        files: Its files.
    """

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = files
        self.asked: list[tuple[str, str]] = []  # name of the file, and the range asked for
        self.tokens: set[str] = set()  # that came with requests
        self.cut: int | None = None  # bytes after which connections break
        self.wrong: set[str] = set()  # files that arrive with other bytes
        self.status: int | None = None  # of every answer

    def described(self) -> bytes:
        """The answer of the interface."""
        rows = []
        for name, content in self.files.items():
            blob = hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()
            row: dict[str, object] = {"rfilename": name, "size": len(content), "blobId": blob}
            if len(content) > 10_000:  # large files are not in git itself
                row["lfs"] = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 1}
            rows.append(row)
        return json.dumps({"id": "org/model", "sha": COMMIT, "siblings": rows, "cardData": {"license": "mit"}}).encode()


class Handler(BaseHTTPRequestHandler):
    hub: Hub

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        self.hub.tokens.add(self.headers.get("Authorization", ""))
        path = self.path.partition("?")[0]
        if self.hub.status:
            self.answer(self.hub.status, b"{}")
        elif found := re.fullmatch(rf"/org/model/resolve/{COMMIT}/(.+)", path):
            self.send_file(found[1])
        elif path.startswith("/api/models/org/model"):
            self.answer(200, self.hub.described())
        else:
            self.answer(404, b"{}")

    def send_file(self, name: str) -> None:
        content, asked = self.hub.files[name], self.headers.get("Range", "")
        self.hub.asked.append((name, asked))
        if name in self.hub.wrong:
            content = content[:-1] + bytes([content[-1] ^ 1])
        found = re.match(r"bytes=(\d+)-", asked)
        begin, end = int(found[1]) if found else 0, len(content)
        self.send_response(206 if begin else 200)
        self.send_header("Content-Length", str(end - begin))
        self.send_header("Content-Range", f"bytes {begin}-{end - 1}/{end}")
        self.end_headers()
        self.wfile.write(content[begin : end if self.hub.cut is None else self.hub.cut])
        self.close_connection = True

    def answer(self, status: int, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


@pytest.fixture
def hub(marian: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub with a tiny Marian, and some files that no import needs."""
    found = Hub({path.name: path.read_bytes() for path in marian.iterdir()})
    found.files |= {"README.md": b"# Model", "tf_model.h5": b"x" * 20_000, "onnx/model.onnx": b"y"}
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("OfOneHub", (Handler,), {"hub": found}))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setenv("HEED_MODELS", str(tmp_path / "models"))
    monkeypatch.setattr("time.sleep", lambda _: None)  # between the library's attempts
    monkeypatch.setattr("heed.export.importers.hub.http_get", quick(huggingface_hub.file_download.http_get))
    with contextlib.closing(server.socket):
        yield found
        server.shutdown()
    thread.join()


def quick(get: Callable[..., None]) -> Callable[..., None]:
    """One attempt at a download, where the library would try again and again."""
    return lambda *arguments, **settings: get(*arguments, **settings | {"_nb_retries": 0})


def test_a_model_is_fetched_imported_listed_and_removed(hub: Hub, heed: Heed, tmp_path: Path) -> None:
    result = heed("models", "pull", "org/model", "--to", "de", "--name", "marian")
    assert result.exit_code == 0, result.stderr
    fetched = {name for name, _ in hub.asked}
    assert fetched == hub.files.keys() - {"README.md", "tf_model.h5", "onnx/model.onnx"}
    assert hub.tokens == {"Bearer hf_secret"}
    manifest = Bundle(tmp_path / "models" / "marian").manifest
    assert manifest.licence == "mit"
    assert manifest.origin is not None
    assert COMMIT in manifest.origin
    assert [path.name for path in (tmp_path / "models").iterdir() if not path.name.startswith(".")] == ["marian"]
    assert "marian\t" in heed("models", "list").stdout
    assert COMMIT in heed("models", "info", "marian").stdout
    assert heed("translate", "-m", "marian", "--threads", "1", stdin=b"Tea\n").exit_code == 0
    again = heed("models", "pull", "org/model", "--name", "marian")
    assert again.exit_code == 1
    assert "already exists" in again.stderr
    removed = heed("models", "remove", "marian", "--yes")
    assert removed.exit_code == 0, removed.stderr
    assert not (tmp_path / "models" / "marian").exists()


def test_an_interrupted_download_continues(hub: Hub, heed: Heed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("heed.export.importers.importer.import_model", stop)
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 1000)  # so much is lost at most
    hub.cut = 12_000
    result = heed("models", "pull", "org/model")
    assert result.exit_code == 1
    assert "what has arrived is kept" in result.stderr
    assert len(result.stderr.strip().splitlines()[-1]) < 300
    cut, _ = hub.asked[-1]
    hub.cut, hub.asked[:] = None, []
    assert heed("models", "pull", "org/model").exit_code == 4  # `stop`: all files have arrived
    assert (cut, "bytes=12000-") in hub.asked
    hub.asked.clear()
    assert heed("models", "pull", "org/model").exit_code == 4
    assert hub.asked == []  # nothing is fetched twice


def stop(*_: object, **__: object) -> None:
    from heed.models.errors import ModelError

    raise ModelError("stop")


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_file_with_another_hash_is_refused(hub: Hub, heed: Heed, name: str, tmp_path: Path) -> None:
    hub.wrong.add(name)
    result = heed("models", "pull", "org/model")
    assert result.exit_code == 4
    assert f"{name} arrived with another hash" in result.stderr
    assert not (tmp_path / "models" / "model").exists()
    assert not list((tmp_path / "models").rglob(f"{name}*"))


@pytest.mark.parametrize(("status", "word"), [(401, "HF_TOKEN"), (403, "terms"), (404, "check the name"), (500, "500")])
def test_a_refusal_of_the_hub_is_told_in_a_line(hub: Hub, heed: Heed, status: int, word: str) -> None:
    hub.status = status
    result = heed("models", "pull", "org/model")
    assert result.exit_code == 1
    assert word in result.stderr
    assert "hf_secret" not in result.stderr


def test_without_a_network(hub: Hub, heed: Heed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    result = heed("models", "pull", "org/model")
    assert result.exit_code == 1
    assert "cannot be reached" in result.stderr


def test_what_is_no_name_is_refused(hub: Hub, heed: Heed) -> None:
    result = heed("models", "pull", "a/b/c")
    assert result.exit_code in (1, 4)
    assert "a/b/c" in result.stderr


def test_models_that_come_with_heed_stay(heed: Heed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEED_MODELS", str(tmp_path))
    result = heed("models", "remove", "en-de", "--yes")
    assert result.exit_code == 4
    assert "not in" in result.stderr
