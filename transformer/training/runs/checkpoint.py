"""Checkpoints: everything that training needs to continue, in safetensors, written atomically."""

import dataclasses
import errno
import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from heed.models.errors import ModelError
from heed.models.spec.legacy import parameter_name
from heed.models.spec.tables import from_table, to_table
from heed.models.system.files import directory_whole, sha256, share, write_whole
from heed.transformer.training.sharding import spread

Weights = dict[str, Tensor]  # tensors by their names in the network

MOMENTS = ("exp_avg", "exp_avg_sq")  # Adam's moments of each parameter, besides its step
WEIGHTS, OPTIMIZER, PROGRESS = "model.safetensors", "optimizer.safetensors", "progress.json"
RAW = "training/"  # prefix of the names of weights in training, if others are validated
WAY_OUT = "delete it to use an earlier one"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Progress:
    """The position of training, and the figures of the network there."""

    step: int = 0  # optimizer steps done
    epoch: int = 0  # completed epochs
    batch: int = 0  # completed batches of the present epoch
    share: float = 0.0  # share of the present epoch that is done
    seconds: float = 0.0  # time spent, over all sessions
    loss: float | None = None  # negative log-likelihood per token, in nats
    bleu: float | None = None  # validation, greedy
    best: float | None = None  # the best validation so far by the run's measure; higher is better
    best_loss: float | None = None  # its loss, which decides where others are as good, as with BLEU 0 and 0
    n_stale: int = 0  # validations since the best one
    trend: float | None = None  # running mean of the training negative log-likelihood per token, in nats
    lowest: float | None = None  # its minimum
    n_skipped: int = 0  # consecutive steps with a gradient that was not finite
    n_rollbacks: int = 0  # number of rollbacks to an earlier checkpoint


def save_weights(directory: Path, weights: Weights, progress: Progress) -> None:
    """Save a checkpoint for inference only: weights and figures."""
    _save(directory, {WEIGHTS: weights}, progress, {})


def save(
    directory: Path,
    weights: Weights,
    states: Weights,
    progress: Progress,
    log: Mapping[str, Any],
) -> None:
    """Save a checkpoint that training can continue from.

    Args:
        directory: The checkpoint's directory; an existing one is replaced.
        weights: The weights to validate and export.
        states: The result of `optimizer_states`, and the weights in training if they differ.
        progress: The position of training.
        log: The position of the log.
    """
    _save(directory, {WEIGHTS: weights, OPTIMIZER: states}, progress, log)


def _save(directory: Path, files: dict[str, Weights], progress: Progress, log: Mapping[str, Any]) -> None:
    with directory_whole(directory, force=True) as aside:
        for name, tensors in files.items():
            _write(aside / name, tensors)
        hashes = {name: sha256(aside / name) for name in files}
        (aside / PROGRESS).write_bytes(_progress_file(progress, log, hashes))


def save_progress(directory: Path, progress: Progress, log: Mapping[str, Any]) -> None:
    """Update the figures of a checkpoint that was saved before they were known."""
    write_whole(directory / PROGRESS, _progress_file(progress, log, _read_progress(directory)["sha256"]))


def _progress_file(progress: Progress, log: Mapping[str, Any], hashes: Mapping[str, str]) -> bytes:
    table = {"progress": to_table(progress), "log": dict(log), "sha256": dict(hashes)}
    return (json.dumps(table, indent=2) + "\n").encode()


def write_weights(directory: Path, weights: Weights) -> None:
    """Write a directory with only weights."""
    directory.mkdir()
    _write(directory / WEIGHTS, weights)


def read_weights(directory: Path) -> Weights:
    """The weights of a checkpoint.

    Raises:
        ModelError: The file is damaged.
    """
    return _load(directory, WEIGHTS)


def read_states(directory: Path) -> Weights:
    """The `states` of a checkpoint; see `save`.

    Raises:
        ModelError: The file is damaged.
    """
    return _load(directory, OPTIMIZER)


def load_progress(directory: Path) -> Progress:
    """The progress of a checkpoint.

    Raises:
        ModelError: The file is damaged.
    """
    table = _read_progress(directory)["progress"]
    return from_table(Progress, table, str(directory / PROGRESS))


def load_log(directory: Path) -> dict[str, Any]:
    """The position of the log at a checkpoint; see `save`.

    Raises:
        ModelError: The file is damaged.
    """
    return dict(_read_progress(directory)["log"])


def _read_progress(directory: Path) -> dict[str, Any]:
    try:
        table = json.loads((directory / PROGRESS).read_text("utf-8"))
    except PermissionError:
        raise
    except (OSError, ValueError) as error:
        raise ModelError(f"{directory}: the checkpoint is damaged ({error}); {WAY_OUT}") from None
    if isinstance(table, dict) and "step" in table:  # a run of format 1, which had nothing else
        table = {"progress": to_table(Progress()) | table, "log": {}, "sha256": {}}
    if not isinstance(table, dict) or not all(
        isinstance(table.get(key), dict) for key in ("progress", "log", "sha256")
    ):
        raise ModelError(f"{directory / PROGRESS}: the checkpoint is damaged (a table is missing); {WAY_OUT}")
    return table


def weights_of(network: nn.Module) -> Weights:
    """A network's weights, by name."""
    return {name: parameter.detach() for name, parameter in network.named_parameters()}


def put_weights(weights: Weights, network: nn.Module, where: Path) -> None:
    """Load weights into a network.

    Raises:
        ModelError: They do not fit the network.
    """
    parameters = dict(network.named_parameters())
    shapes = {name: parameter.shape for name, parameter in parameters.items()}
    wrong = [f"{name} is missing" for name in parameters.keys() - weights.keys()]
    wrong += [f"{name} is unknown" for name in weights.keys() - shapes.keys()]
    wrong += [
        f"{name} has the shape {tuple(tensor.shape)} and not {tuple(shapes[name])}"
        for name, tensor in weights.items()
        if name in shapes and tensor.shape != shapes[name]
    ]
    if wrong:
        raise ModelError(f"{where}: does not fit the run's config.toml: {'; '.join(sorted(wrong)):.200}")
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(spread(weights[name], parameter))


def load_weights(directory: Path, network: nn.Module) -> None:
    """Load a checkpoint's weights into a network.

    Raises:
        ModelError: The file is damaged or does not fit the network.
    """
    put_weights(read_weights(directory), network, directory / WEIGHTS)


def optimizer_states(network: nn.Module, optimizer: torch.optim.Optimizer) -> Weights:
    """The optimizer's state of each parameter, by the parameter's name, a slash and the name of the state."""
    names: dict[Tensor, str] = {parameter: name for name, parameter in network.named_parameters()}
    return {
        f"{names[parameter]}/{key}": value
        for parameter, state in optimizer.state.items()
        for key, value in state.items()
    }


def put_optimizer_states(states: Weights, network: nn.Module, optimizer: torch.optim.Optimizer, where: Path) -> None:
    """Restore the result of `optimizer_states`.

    Raises:
        ModelError: It does not fit the network.
    """
    parameters = dict(network.named_parameters())
    found = {name: tensor.shape for name, tensor in states.items() if "/" in name}
    expected = {f"{name}/{key}": value.shape for name, value in parameters.items() for key in MOMENTS}
    expected |= {f"{name}/step": torch.Size() for name in parameters}
    if found != expected:
        raise ModelError(f"{where}: does not fit the run's config.toml; delete the checkpoint")
    for key in found:
        name, _, field = key.rpartition("/")
        own = parameters[name]
        optimizer.state[own][field] = states[key].to(own.device) if field == "step" else spread(states[key], own)


def grown(weights: Weights, network: nn.Module) -> Weights:
    """Weights for a network of a larger vocabulary: of each matrix with too few rows, the first of a fresh one's.

    Raises:
        RuntimeError: They belong to a network that differs in more.
    """
    found = dict(weights)
    for name, fresh in network.named_parameters(remove_duplicate=False):
        own = weights.get(name)
        if own is not None and len(own) < len(fresh):
            found[name] = fresh.detach().clone()
            found[name][: len(own)] = own
    return found


def mean(directories: Sequence[Path]) -> Weights:
    """The mean of several checkpoints' weights (section 6.1)."""
    total: Weights = {}
    for directory in directories:
        for name, tensor in read_weights(directory).items():
            total[name] = total[name] + tensor.double() if name in total else tensor.double()
    return {name: (tensor / len(directories)).float() for name, tensor in total.items()}


def _write(path: Path, tensors: Weights) -> None:
    """Write tensors from where they are in memory, without a copy of all of them.

    Raises:
        OSError: The file cannot be written.
    """
    try:
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)
    except SafetensorError as error:
        raise _os_error(error, path) from None
    share(path)


def _os_error(error: SafetensorError, path: Path) -> OSError:
    """What the operating system has said to safetensors, which passes on its words alone: "(os error 28)"."""
    found = re.search(r"os error (\d+)", str(error))
    number = int(found[1]) if found else errno.EIO
    return OSError(number, os.strerror(number), str(path))


def _present_name(stored: str) -> str:
    """The name of a weight or state of a checkpoint, which heed 0.1 may have written."""
    raw = RAW if stored.startswith(RAW) else ""
    return raw + parameter_name(stored.removeprefix(RAW))


def _load(directory: Path, name: str) -> Weights:
    path = directory / name
    try:
        expected = _read_progress(directory)["sha256"].get(name) if (directory / PROGRESS).exists() else None
        if expected is not None and sha256(path) != expected:
            raise ModelError(f"{path}: the checkpoint is damaged (its SHA-256 differs); {WAY_OUT}")
        return {_present_name(name): tensor for name, tensor in load_file(path).items()}
    except PermissionError:
        raise
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{path}: the checkpoint is damaged ({error}); {WAY_OUT}") from None
