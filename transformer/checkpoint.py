"""Checkpoints: everything that training needs to go on, in safetensors, whole or not at all."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as serialize
from torch import Tensor, nn

from heed.models.config import from_table, to_table
from heed.models.errors import ModelError
from heed.models.files import directory_whole

Weights = dict[str, Tensor]  # by their names in the network

MOMENTS = ("exp_avg", "exp_avg_sq")  # what Adam keeps of each parameter, beside its step
WEIGHTS, OPTIMIZER, PROGRESS = "model.safetensors", "optimizer.safetensors", "progress.json"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Progress:
    """Where training stands, and how good the network is there."""

    step: int = 0  # optimizer steps done
    epoch: int = 0  # passes over the corpus completed
    batch: int = 0  # batches of the present pass done
    seconds: float = 0.0  # time spent, over all sittings
    loss: float | None = None  # validation: negative log-likelihood of a token, in nats
    bleu: float | None = None  # validation, greedy


def save_weights(directory: Path, network: nn.Module, progress: Progress) -> None:
    """Make a checkpoint for use alone: weights and their figures."""
    with directory_whole(directory, force=True) as aside:
        _write(aside, network.state_dict(), progress)


def save(directory: Path, network: nn.Module, optimizer: torch.optim.Optimizer, progress: Progress) -> None:
    """Make a checkpoint that training can go on from: also the optimizer and the random state."""
    names: dict[Tensor, str] = {parameter: name for name, parameter in network.named_parameters()}
    states = {"random.cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        states["random.cuda"] = torch.cuda.get_rng_state()
    for parameter, state in optimizer.state.items():
        states.update({f"{names[parameter]}/{key}": value.contiguous() for key, value in state.items()})
    with directory_whole(directory, force=True) as aside:
        (aside / OPTIMIZER).write_bytes(serialize(states))
        _write(aside, network.state_dict(), progress)


def _write(directory: Path, weights: dict[str, Tensor], progress: Progress) -> None:
    once = {name: weights[name].contiguous() for name in dict.fromkeys(_stored_names(weights).values())}
    (directory / WEIGHTS).write_bytes(serialize(once))
    (directory / PROGRESS).write_text(json.dumps(to_table(progress), indent=2) + "\n", "utf-8")


def _stored_names(weights: dict[str, Tensor]) -> dict[str, str]:
    """For each name the one that its tensor is stored by: tied matrices are one tensor under several names."""
    firsts: dict[int, str] = {}
    return {name: firsts.setdefault(tensor.data_ptr(), name) for name, tensor in weights.items()}


def write_weights(directory: Path, weights: Weights) -> None:
    """Make a directory of weights alone."""
    directory.mkdir()
    (directory / WEIGHTS).write_bytes(serialize(weights))


def read_weights(directory: Path) -> Weights:
    """The weights of a checkpoint.

    Raises:
        ModelError: The file is damaged.
    """
    return _load(directory / WEIGHTS)


def load_progress(directory: Path) -> Progress:
    """The progress of a checkpoint.

    Raises:
        ModelError: The file is damaged.
    """
    try:
        table = json.loads((directory / PROGRESS).read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{directory}: the checkpoint is damaged ({error}); delete it to use an earlier one") from None
    if not isinstance(table, dict):
        raise ModelError(f"{directory / PROGRESS}: damaged (no table); delete the checkpoint to use an earlier one")
    return from_table(Progress, table, str(directory / PROGRESS))


def load_weights(directory: Path, network: nn.Module) -> None:
    """Put a checkpoint's weights into a network.

    Raises:
        ModelError: The file is damaged or belongs to another network.
    """
    weights = read_weights(directory)
    names = _stored_names(network.state_dict())
    weights |= {name: weights[stored] for name, stored in names.items() if stored in weights}
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        reason = " ".join(str(error).split())  # torch lists every matrix on a line of its own
        raise ModelError(f"{directory / WEIGHTS}: does not fit the run's config.toml: {reason:.200}") from None


def load_optimizer(directory: Path, network: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Put back the optimizer's moments and the random state, so that training goes on as if never stopped.

    Raises:
        ModelError: The file is damaged or belongs to another network.
    """
    states, parameters = _load(directory / OPTIMIZER), dict(network.named_parameters())
    found = {name: tensor.shape for name, tensor in states.items() if not name.startswith("random.")}
    expected = {f"{name}/{key}": value.shape for name, value in parameters.items() for key in MOMENTS}
    expected |= {f"{name}/step": torch.Size() for name in parameters}
    if found != expected or "random.cpu" not in states:
        raise ModelError(f"{directory / OPTIMIZER}: does not fit the run's config.toml; delete the checkpoint")
    torch.set_rng_state(states["random.cpu"])
    if "random.cuda" in states and torch.cuda.is_available():
        torch.cuda.set_rng_state(states["random.cuda"])
    for key in found:
        name, _, field = key.rpartition("/")
        optimizer.state[parameters[name]][field] = states[key].to(parameters[name].device)


def average(directories: Sequence[Path], network: nn.Module) -> None:
    """Put the mean of several checkpoints' weights into a network (section 6.1)."""
    total: dict[str, Tensor] = {}
    for directory in directories:
        load_weights(directory, network)
        for name, tensor in network.state_dict().items():
            total[name] = total[name] + tensor.double() if name in total else tensor.double()
    network.load_state_dict({name: tensor / len(directories) for name, tensor in total.items()})


def _load(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{path}: the checkpoint is damaged ({error}); delete it to use an earlier one") from None
