import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch.testing import assert_close

from heed.models.errors import ModelError
from heed.models.spec.network import NetworkSpec
from heed.models.spec.stack import AttentionSpec, FeedForwardSpec, NormSpec, StackSpec
from heed.transformer.masks import padding_mask
from heed.transformer.model import Transformer
from heed.transformer.training.runs import checkpoint
from heed.transformer.training.runs.checkpoint import OPTIMIZER, PROGRESS, WEIGHTS, Progress

V = 11
STACK = StackSpec(
    vocab_size=V,
    n_layers=1,
    attention=AttentionSpec(n_heads=2, n_kv_heads=2, d_head=8),
    feed_forward=FeedForwardSpec(d_ff=24),
)
SPEC = NetworkSpec(d_model=16, encoder=STACK, decoder=STACK)
UNTIED = dataclasses.replace(SPEC, shared_embedding=False, tied_output=False)
PROGRESS_MADE = Progress(step=12, epoch=1, batch=3, seconds=4.5, loss=1.25, bleu=17.0)


def logits(network: Transformer) -> torch.Tensor:
    src, tgt = torch.arange(4, 9)[None], torch.arange(2, 7)[None]
    return network.eval()(src, padding_mask(src, 0), tgt)


def adam(network: Transformer) -> torch.optim.Optimizer:
    return torch.optim.Adam(network.parameters(), lr=0.01)


def save(directory: Path, network: Transformer, optimizer: torch.optim.Optimizer) -> None:
    states = checkpoint.optimizer_states(network, optimizer)
    checkpoint.save(directory, checkpoint.weights_of(network), states, PROGRESS_MADE, {"bytes": 7})


def load_optimizer(directory: Path, network: Transformer, optimizer: torch.optim.Optimizer) -> None:
    checkpoint.put_optimizer_states(checkpoint.read_states(directory), network, optimizer, directory)


def train(network: Transformer, optimizer: torch.optim.Optimizer, n_steps: int) -> None:
    for _ in range(n_steps):
        loss = logits(network).log_softmax(-1).square().sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


@pytest.mark.parametrize("spec", [SPEC, UNTIED], ids=["tied", "untied"])
def test_loaded_weights_give_the_same_logits(tmp_path: Path, spec: NetworkSpec) -> None:
    network, other = Transformer(spec), Transformer(spec)
    checkpoint.save_weights(tmp_path / "c", checkpoint.weights_of(network), PROGRESS_MADE)
    assert not torch.equal(logits(other), logits(network))
    checkpoint.load_weights(tmp_path / "c", other)
    assert torch.equal(logits(other), logits(network))


def test_tied_weights_are_stored_once(tmp_path: Path) -> None:
    network = Transformer(SPEC)
    checkpoint.save_weights(tmp_path / "c", checkpoint.weights_of(network), PROGRESS_MADE)
    stored = load_file(tmp_path / "c" / WEIGHTS)
    assert sum(tensor.numel() for tensor in stored.values()) == sum(x.numel() for x in network.parameters())
    assert [name for name, tensor in stored.items() if len(tensor) == V] == ["src_embedding.weight"]


def test_progress_comes_back(tmp_path: Path) -> None:
    for progress in (PROGRESS_MADE, Progress()):
        checkpoint.save_weights(tmp_path / "c", checkpoint.weights_of(Transformer(SPEC)), progress)
        assert checkpoint.load_progress(tmp_path / "c") == progress


def test_the_optimizer_goes_on_as_if_never_stopped(tmp_path: Path) -> None:
    network = Transformer(SPEC)
    optimizer = adam(network)
    train(network, optimizer, 3)
    save(tmp_path / "c", network, optimizer)
    train(network, optimizer, 2)

    other = Transformer(SPEC)
    others = adam(other)
    checkpoint.load_weights(tmp_path / "c", other)
    load_optimizer(tmp_path / "c", other, others)
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
    network, directory = Transformer(SPEC), tmp_path / "step-00000012"
    optimizer = adam(network)
    train(network, optimizer, 1)
    save(directory, network, optimizer)
    DAMAGES[damage](directory / file)
    load: dict[str, Callable[[], object]] = {
        WEIGHTS: lambda: checkpoint.load_weights(directory, network),
        OPTIMIZER: lambda: load_optimizer(directory, network, optimizer),
        PROGRESS: lambda: checkpoint.load_progress(directory),
    }
    with pytest.raises(ModelError) as caught:
        load[file]()
    assert str(directory if file == PROGRESS else directory / file) in str(caught.value)
    assert "the checkpoint is damaged" in str(caught.value)


def test_progress_with_other_keys_is_refused(tmp_path: Path) -> None:
    checkpoint.save_weights(tmp_path / "c", checkpoint.weights_of(Transformer(SPEC)), PROGRESS_MADE)
    file = tmp_path / "c" / PROGRESS
    table = json.loads(file.read_text())
    del table["progress"]["step"]
    table["progress"]["steps"] = 1
    file.write_text(json.dumps(table))
    with pytest.raises(ModelError) as caught:
        checkpoint.load_progress(tmp_path / "c")
    assert str(caught.value) == f"{file}: unknown key 'steps'; missing key 'step'"


@pytest.mark.parametrize(
    "changes", [{"d_model": 8}, {"decoder": None}, {"decoder": dataclasses.replace(STACK, norm=NormSpec(last=True))}]
)
def test_the_weights_of_another_network_are_refused(tmp_path: Path, changes: dict[str, object]) -> None:
    checkpoint.save_weights(tmp_path / "c", checkpoint.weights_of(Transformer(SPEC)), PROGRESS_MADE)
    other = Transformer(dataclasses.replace(SPEC, **changes))  # type: ignore[arg-type]
    with pytest.raises(ModelError) as caught:
        checkpoint.load_weights(tmp_path / "c", other)
    assert str(caught.value).startswith(f"{tmp_path / 'c' / WEIGHTS}: does not fit the run's config.toml")


@pytest.mark.parametrize("spec", [SPEC, UNTIED], ids=["tied", "untied"])
def test_the_average_is_the_mean(tmp_path: Path, spec: NetworkSpec) -> None:
    networks = [Transformer(spec) for _ in range(3)]
    paths = [tmp_path / str(number) for number in range(3)]
    for path, network in zip(paths, networks, strict=True):
        checkpoint.save_weights(path, checkpoint.weights_of(network), PROGRESS_MADE)
    averaged = Transformer(spec)
    checkpoint.put_weights(checkpoint.mean(paths), averaged, tmp_path)
    states = [network.state_dict() for network in networks]
    for name, tensor in averaged.state_dict().items():
        assert_close(tensor, torch.stack([state[name] for state in states]).mean(0), msg=name)


def test_the_average_of_one_is_itself(tmp_path: Path) -> None:
    network, averaged = Transformer(SPEC), Transformer(SPEC)
    checkpoint.save_weights(tmp_path / "c", checkpoint.weights_of(network), PROGRESS_MADE)
    checkpoint.put_weights(checkpoint.mean([tmp_path / "c"]), averaged, tmp_path)
    assert torch.equal(logits(averaged), logits(network))


def test_a_bit_that_fell_over_is_found(tmp_path: Path) -> None:
    network, directory = Transformer(SPEC), tmp_path / "c"
    optimizer = adam(network)
    train(network, optimizer, 1)
    save(directory, network, optimizer)
    for name, load in ((WEIGHTS, checkpoint.read_weights), (OPTIMIZER, checkpoint.read_states)):
        data = bytearray((directory / name).read_bytes())
        data[-5] ^= 1
        (directory / name).write_bytes(data)
        with pytest.raises(ModelError) as caught:
            load(directory)
        assert str(caught.value).startswith(f"{directory / name}: the checkpoint is damaged (its SHA-256 ")


def test_new_figures_leave_the_weights_alone(tmp_path: Path) -> None:
    network, directory = Transformer(SPEC), tmp_path / "c"
    optimizer = adam(network)
    train(network, optimizer, 1)
    save(directory, network, optimizer)
    before = {name: (directory / name).read_bytes() for name in (WEIGHTS, OPTIMIZER)}
    judged = dataclasses.replace(PROGRESS_MADE, bleu=18.0)
    checkpoint.save_progress(directory, judged, {"bytes": 9})
    assert (checkpoint.load_progress(directory), checkpoint.load_log(directory)) == (judged, {"bytes": 9})
    assert {name: (directory / name).read_bytes() for name in before} == before
    checkpoint.read_weights(directory)


def test_a_checkpoint_of_an_earlier_format_is_read(tmp_path: Path) -> None:
    """It had the figures alone, and no hashes."""
    checkpoint.save_weights(tmp_path / "c", checkpoint.weights_of(Transformer(SPEC)), PROGRESS_MADE)
    old = {"step": 12, "epoch": 1, "batch": 3, "seconds": 4.5, "loss": 1.25, "bleu": 17.0}
    (tmp_path / "c" / PROGRESS).write_text(json.dumps(old))
    assert checkpoint.load_progress(tmp_path / "c") == PROGRESS_MADE
    checkpoint.read_weights(tmp_path / "c")
