import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch.testing import assert_close

from heed.models.config import ModelConfig
from heed.models.errors import ModelError
from heed.transformer import checkpoint
from heed.transformer.checkpoint import OPTIMIZER, PROGRESS, WEIGHTS, Progress
from heed.transformer.masks import padding_mask
from heed.transformer.model import Transformer

V = 11
CONFIG = ModelConfig(n_layers=1, d_model=16, d_ff=24, n_heads=2, src_vocab_size=V, tgt_vocab_size=V)
UNTIED = dataclasses.replace(CONFIG, tied_embeddings=False)
PROGRESS_MADE = Progress(step=12, epoch=1, batch=3, seconds=4.5, loss=1.25, bleu=17.0)


def logits(network: Transformer) -> torch.Tensor:
    src, tgt = torch.arange(4, 9)[None], torch.arange(2, 7)[None]
    return network.eval()(src, padding_mask(src, 0), tgt)


def adam(network: Transformer) -> torch.optim.Optimizer:
    return torch.optim.Adam(network.parameters(), lr=0.01)


def train(network: Transformer, optimizer: torch.optim.Optimizer, n_steps: int) -> None:
    for _ in range(n_steps):
        noise = torch.rand(5, V)  # what a step draws
        loss = (logits(network).log_softmax(-1) * noise).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


@pytest.mark.parametrize("config", [CONFIG, UNTIED], ids=["tied", "untied"])
def test_loaded_weights_give_the_same_logits(tmp_path: Path, config: ModelConfig) -> None:
    network, other = Transformer(config), Transformer(config)
    checkpoint.save_weights(tmp_path / "c", network, PROGRESS_MADE)
    assert not torch.equal(logits(other), logits(network))
    checkpoint.load_weights(tmp_path / "c", other)
    assert torch.equal(logits(other), logits(network))
    assert (other.projection.weight is other.src_embedding.weight) == config.tied_embeddings


def test_tied_weights_are_stored_once(tmp_path: Path) -> None:
    network = Transformer(CONFIG)
    checkpoint.save_weights(tmp_path / "c", network, PROGRESS_MADE)
    stored = load_file(tmp_path / "c" / WEIGHTS)
    assert sum(tensor.numel() for tensor in stored.values()) == sum(x.numel() for x in network.parameters())
    assert [name for name, tensor in stored.items() if len(tensor) == V] == ["src_embedding.weight"]


def test_progress_comes_back(tmp_path: Path) -> None:
    for progress in (PROGRESS_MADE, Progress()):
        checkpoint.save_weights(tmp_path / "c", Transformer(CONFIG), progress)
        assert checkpoint.load_progress(tmp_path / "c") == progress


def test_the_optimizer_goes_on_as_if_never_stopped(tmp_path: Path) -> None:
    network = Transformer(CONFIG)
    optimizer = adam(network)
    train(network, optimizer, 3)
    checkpoint.save(tmp_path / "c", network, optimizer, PROGRESS_MADE)
    train(network, optimizer, 2)

    torch.manual_seed(99)  # another process, with other random numbers
    other = Transformer(CONFIG)
    others = adam(other)
    checkpoint.load_weights(tmp_path / "c", other)
    checkpoint.load_optimizer(tmp_path / "c", other, others)
    train(other, others, 2)
    for (name, expected), found in zip(network.named_parameters(), other.parameters(), strict=True):
        assert torch.equal(found, expected), name


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


DAMAGES: dict[str, Callable[[Path], object]] = {
    "cut short": cut,
    "empty": lambda path: path.write_bytes(b""),
    "no such format": lambda path: path.write_bytes(b"\xff" * 100),
    "missing": lambda path: path.unlink(),
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("file", [WEIGHTS, OPTIMIZER, PROGRESS])
def test_a_damaged_file_is_named(tmp_path: Path, file: str, damage: str) -> None:
    network, directory = Transformer(CONFIG), tmp_path / "step-00000012"
    optimizer = adam(network)
    train(network, optimizer, 1)
    checkpoint.save(directory, network, optimizer, PROGRESS_MADE)
    DAMAGES[damage](directory / file)
    load: dict[str, Callable[[], object]] = {
        WEIGHTS: lambda: checkpoint.load_weights(directory, network),
        OPTIMIZER: lambda: checkpoint.load_optimizer(directory, network, optimizer),
        PROGRESS: lambda: checkpoint.load_progress(directory),
    }
    with pytest.raises(ModelError) as caught:
        load[file]()
    assert str(directory if file == PROGRESS else directory / file) in str(caught.value)
    assert "the checkpoint is damaged" in str(caught.value)


def test_progress_with_other_keys_is_refused(tmp_path: Path) -> None:
    checkpoint.save_weights(tmp_path / "c", Transformer(CONFIG), PROGRESS_MADE)
    file = tmp_path / "c" / PROGRESS
    table = json.loads(file.read_text())
    del table["step"]
    file.write_text(json.dumps(table | {"steps": 1}))
    with pytest.raises(ModelError) as caught:
        checkpoint.load_progress(tmp_path / "c")
    assert str(caught.value) == f"{file}: unknown key 'steps'; missing key 'step'"


@pytest.mark.parametrize("changes", [{"d_model": 8}, {"n_layers": 2}, {"norm": "pre"}])
def test_the_weights_of_another_network_are_refused(tmp_path: Path, changes: dict[str, object]) -> None:
    checkpoint.save_weights(tmp_path / "c", Transformer(CONFIG), PROGRESS_MADE)
    other = Transformer(dataclasses.replace(CONFIG, **changes))  # type: ignore[arg-type]
    with pytest.raises(ModelError) as caught:
        checkpoint.load_weights(tmp_path / "c", other)
    assert str(caught.value).startswith(f"{tmp_path / 'c' / WEIGHTS}: does not fit the run's config.toml")


@pytest.mark.parametrize("config", [CONFIG, UNTIED], ids=["tied", "untied"])
def test_the_average_is_the_mean(tmp_path: Path, config: ModelConfig) -> None:
    networks = [Transformer(config) for _ in range(3)]
    paths = [tmp_path / str(number) for number in range(3)]
    for path, network in zip(paths, networks, strict=True):
        checkpoint.save_weights(path, network, PROGRESS_MADE)
    averaged = Transformer(config)
    checkpoint.average(paths, averaged)
    states = [network.state_dict() for network in networks]
    for name, tensor in averaged.state_dict().items():
        assert_close(tensor, torch.stack([state[name] for state in states]).mean(0), msg=name)
    assert (averaged.projection.weight is averaged.src_embedding.weight) == config.tied_embeddings


def test_the_average_of_one_is_itself(tmp_path: Path) -> None:
    network, averaged = Transformer(CONFIG), Transformer(CONFIG)
    checkpoint.save_weights(tmp_path / "c", network, PROGRESS_MADE)
    checkpoint.average([tmp_path / "c"], averaged)
    assert torch.equal(logits(averaged), logits(network))
