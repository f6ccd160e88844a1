"""Damaged and crafted checkpoints: one line, exit status 4, and nothing is written."""

import json
import pickle
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from click.testing import Result
from safetensors.torch import load_file, save_file

Damage = Callable[[Path], object]


class Code:
    """What a pickle runs when it is loaded."""

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return (open, ("stolen", "w"))  # type: ignore[return-value]


def config(path: Path, **changes: object) -> None:
    table = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps(table | changes))


def as_pickle(path: Path, content: object) -> None:
    (path / "model.safetensors").unlink()
    with (path / "pytorch_model.bin").open("wb") as file:
        pickle.dump(content, file)


def sharded(path: Path, name: str) -> None:
    weights = path / "model.safetensors"
    weights.rename(path.parent / "outside.safetensors")
    places = dict.fromkeys(load_file(path.parent / "outside.safetensors"), name)
    (path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))


def reshaped(path: Path) -> None:
    tensors = load_file(path / "model.safetensors")
    tensors["model.norm.weight"] = torch.ones(25)
    save_file(tensors, path / "model.safetensors")


def unknown(path: Path) -> None:
    tensors = load_file(path / "model.safetensors")
    save_file(tensors | {"model.secret.weight": torch.ones(3)}, path / "model.safetensors")


def not_finite(path: Path) -> None:
    tensors = load_file(path / "model.safetensors")
    tensors["model.norm.weight"][3] = torch.nan
    save_file(tensors, path / "model.safetensors")


def cut(path: Path) -> None:
    data = (path / "model.safetensors").read_bytes()
    (path / "model.safetensors").write_bytes(data[: len(data) // 2])


DAMAGES: dict[str, tuple[Damage, str]] = {
    "code in a pickle": (lambda path: as_pickle(path, {"model.norm.weight": Code()}), "tensors"),
    "a pickle of something else": (lambda path: as_pickle(path, [1, 2]), "tensors"),
    "a shard elsewhere": (lambda path: sharded(path, "../outside.safetensors"), "plain name"),
    "an absolute shard": (lambda path: sharded(path, "/etc/passwd"), "plain name"),
    "a missing shard": (lambda path: sharded(path, "model-2.safetensors"), "model-2.safetensors"),
    "another shape": (reshaped, "shape"),
    "a tensor too many": (unknown, "model.secret.weight"),
    "not a number": (not_finite, "NaN"),
    "half a file": (cut, "get it again"),
    "no weights": (lambda path: (path / "model.safetensors").unlink(), "no weights"),
    "no tokenizer": (lambda path: (path / "tokenizer.json").unlink(), "tokenizer"),
    "a damaged tokenizer": (lambda path: (path / "tokenizer.json").write_text("{}"), "tokenizer"),
    "no configuration": (lambda path: (path / "config.json").unlink(), "config.json"),
    "no JSON": (lambda path: (path / "config.json").write_text("[" * 100000), "JSON"),
    "billions of layers": (lambda path: config(path, num_hidden_layers=10**12), "layers"),
    "a huge vocabulary": (lambda path: config(path, vocab_size=10**12), "shape"),
    "a negative width": (lambda path: config(path, hidden_size=-1), "config.json: d_model"),
    "words for numbers": (lambda path: config(path, hidden_size="wide"), "whole number"),
    "an unknown family": (lambda path: config(path, model_type="mamba"), "model_type"),
    "an unknown key": (lambda path: config(path, secret_sauce=3), "secret_sauce"),
    "code of its own": (lambda path: config(path, auto_map={"AutoModel": "x.Y"}), "code"),
    "quantized": (lambda path: config(path, quantization_config={"bits": 4}), "quantized"),
    "an adapter": (lambda path: (path / "adapter_config.json").write_text("{}"), "adapter"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_is_refused_in_one_line(
    name: str, llama: Path, heed: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    damage, word = DAMAGES[name]
    path = tmp_path / "model"
    shutil.copytree(llama, path)
    damage(path)
    before = sorted(tmp_path.iterdir())
    monkeypatch.chdir(tmp_path)
    result = heed("import", path, "-o", tmp_path / "bundle")
    assert result.exit_code == 4, result.stderr
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("Error")]
    assert result.stderr.splitlines()[-1] == line
    assert word in line
    assert sorted(tmp_path.iterdir()) == before


GGUF = b"GGUF" + struct.pack("<IQQ", 3, 0, 0)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"GGUF",
        b"nothing of the kind" * 10,
        GGUF,
        GGUF[:8] + struct.pack("<QQ", 2**60, 2**60),
        GGUF[:16] + struct.pack("<QQ", 1, 2**62) + b"x" * 100,
        GGUF[:16] + struct.pack("<QQ7sIIQ", 1, 7, b"general", 9, 4, 2**60) + b"x" * 100,
    ],
    ids=["empty", "cut", "another", "hollow", "huge counts", "a huge key", "a huge list"],
)
def test_a_crafted_gguf_is_refused_in_one_line(data: bytes, heed: Callable[..., Result], tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(data)
    result = heed("import", path, "-o", tmp_path / "bundle")
    assert result.exit_code == 4, result.stderr
    assert [line[:5] for line in result.stderr.splitlines()].count("Error") == 1
    assert list(tmp_path.iterdir()) == [path]
