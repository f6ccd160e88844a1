"""The training loop: steps, validations and checkpoints until a limit is reached (section 5)."""

import dataclasses
import itertools
import math
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import torch

from heed.models.errors import HeedError, ModelError
from heed.transformer import checkpoint
from heed.transformer.ahead import ahead
from heed.transformer.batches import Batch
from heed.transformer.checkpoint import Progress
from heed.transformer.log import Listener, StepReport, Validation
from heed.transformer.objectives import Computing, Judgement, Objective, TextObjective, TranslationObjective
from heed.transformer.packing import TextBatch
from heed.transformer.run import Run, TextRun, TranslationRun

AnyBatch = TypeVar("AnyBatch", Batch, TextBatch)


Made = TypeVar("Made", covariant=True)


class Epochs(Protocol[Made]):
    """The batches of a text."""

    facts: Mapping[str, int]  # what a person would like to know of them before training

    def epoch(self, epoch: int, seed: int, start: int = 0) -> Iterator[Made]:
        """Those of a pass over the text, from number `start` on; the same ones every time."""
        ...


class Trainer(Generic[AnyBatch]):
    """Trains a run's network, from its last checkpoint where there is one.

    Args:
        run: What to train, and where the checkpoints go.
        batches: The training pairs.
        device: Where to compute.
        listeners: Told of every step and validation.

    Raises:
        ModelError: The last checkpoint is damaged.
    """

    def __init__(
        self, run: Run[Any, Any], batches: Epochs[AnyBatch], device: torch.device, listeners: Sequence[Listener]
    ) -> None:
        torch.manual_seed(run.train.seed)
        self.batches: Epochs[AnyBatch] = batches
        self.run, self.device, self.listeners = run, device, listeners
        self.network = run.new_network().to(device)
        self.precision = choose_precision(run.train.precision, device)
        self._objective = _objective(run, Computing(device, self.precision))
        self.optimizer = self._objective.optimizer(self.network)
        self.progress = Progress()
        if run.initial_path.exists():
            checkpoint.load_weights(run.initial_path, self.network)
        if steps := run.steps():
            self.progress = checkpoint.load_progress(steps[-1])
            checkpoint.load_weights(steps[-1], self.network)
            checkpoint.load_optimizer(steps[-1], self.network, self.optimizer)
        self._stopped = False
        self._share = 0.0  # of the present epoch, that is behind
        self._earlier_seconds, self._since = self.progress.seconds, time.monotonic()

    def stop(self) -> None:
        """End training after the present step, with a checkpoint; may be called from a signal handler."""
        self._stopped = True

    @property
    def seconds(self) -> float:
        """Time spent on this run, over all sittings."""
        return self._earlier_seconds + time.monotonic() - self._since

    def train(self) -> bool:
        """Train until a limit is reached; returns False if it was stopped before."""
        for batch in self._remaining_batches():
            self.step(batch)
            if self.progress.step % self.run.train.valid_every == 0:
                self._validate_and_save()
            if self._stopped:
                break
        unvalidated = self.progress.step > 0 and self.progress.loss is None
        if self._stopped:
            if unvalidated:
                self._save()
            return False
        if unvalidated:
            self._validate_and_save()
        self._average()
        return True

    def share_done(self) -> float:
        """How much of the way to the nearest limit is behind, from 0 to 1."""
        train, progress = self.run.train, self.progress
        epochs = progress.epoch + self._share
        done = ((progress.step, train.steps), (epochs, train.epochs), (self.seconds / 60, train.minutes))
        return max(so_far / limit for so_far, limit in done if limit is not None)

    def _remaining_batches(self) -> Iterator[AnyBatch]:
        """Batches from where training stands until a limit is reached."""
        for epoch in itertools.count(self.progress.epoch):
            batches = self.batches.epoch(epoch, self.run.train.seed, start=self.progress.batch)
            if self.device.type == "cuda":
                batches = (batch.pinned() for batch in batches)
            for batch in ahead(batches):
                if self.progress.step > 0 and self.share_done() >= 1:  # a run has at least one step to average
                    return
                yield batch
            self.progress = dataclasses.replace(self.progress, epoch=epoch + 1, batch=0)
            self._share = 0.0

    def step(self, batch: AnyBatch) -> None:
        """Update the weights by the next batch.

        Raises:
            HeedError: The loss is no number any more.
        """
        begin = time.monotonic()
        step, number = self.progress.step + 1, self.progress.batch + 1
        self._share = batch.share
        self.progress = dataclasses.replace(self.progress, step=step, batch=number, loss=None, bleu=None)
        rate = self._objective.learning_rate(step, self.share_done())
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.network.train()
        loss, nll = self._objective.loss(self.network, batch)
        total = loss.item()
        if not math.isfinite(total):
            raise HeedError(
                f"{self.run.path}: training diverged at step {self.progress.step}: the loss is {total}; "
                "train anew with a smaller learning rate or a longer --warmup"
            )
        (loss / batch.n_tokens).backward()
        if math.isfinite(self._objective.clip):
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), self._objective.clip)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        report = StepReport(
            step=self.progress.step,
            epoch=self.progress.epoch,
            loss=total,
            nll=nll.item(),
            n_tokens=batch.n_tokens,
            learning_rate=rate,
            seconds=time.monotonic() - begin,
            share_done=self.share_done(),
        )
        for listener in self.listeners:
            listener.on_step(report)

    @torch.inference_mode()
    def validate(self) -> Validation:
        """How good the network is now."""
        self.network.eval()
        return Validation(
            step=self.progress.step,
            epoch=self.progress.epoch,
            minutes=self.seconds / 60,
            judgement=self._objective.judge(self.network, self.progress.step // self.run.train.valid_every),
        )

    def _validate_and_save(self) -> None:
        validation = self.validate()
        for listener in self.listeners:
            listener.on_validation(validation)
        self.progress = _judged(self.progress, validation.judgement)
        self._save()

    def _save(self) -> None:
        """Make a checkpoint, then delete those that are neither the best nor among the last."""
        self.progress = dataclasses.replace(self.progress, seconds=self.seconds)
        path = self.run.checkpoint_path(self.progress.step)
        checkpoint.save(path, self.network, self.optimizer, self.progress)
        best, _ = self.run.best()
        needed = {path, best, *self._last_validated()}
        for old in self.run.steps():
            if old not in needed:
                # Under a hidden name first, so that a kill in between leaves no half checkpoint.
                shutil.rmtree(old.rename(old.with_name(f".{old.name}")))

    def _last_validated(self) -> list[Path]:
        """The checkpoints to average: not those of a stop, which an unstopped run does not have."""
        validated = [step for step in self.run.steps() if checkpoint.load_progress(step).loss is not None]
        return validated[-self.run.train.average :]

    def _average(self) -> None:
        """At the end of training, make and validate the mean of the last checkpoints (section 6.1)."""
        trained = {name: tensor.clone() for name, tensor in self.network.state_dict().items()}
        checkpoint.average(self._last_validated(), self.network)
        validation = dataclasses.replace(self.validate(), averaged=True)
        for listener in self.listeners:
            listener.on_validation(validation)
        progress = _judged(self.progress, validation.judgement)
        checkpoint.save_weights(self.run.average_path, self.network, progress)
        self.network.load_state_dict(trained)


def _objective(run: Run[Any, Any], computing: Computing) -> Objective[Any, Any]:
    if isinstance(run, TextRun):
        return TextObjective(run, computing)
    assert isinstance(run, TranslationRun)
    return TranslationObjective(run, computing)


def _judged(progress: Progress, judgement: Judgement) -> Progress:
    return dataclasses.replace(progress, loss=judgement.loss, bleu=judgement.figures.get("bleu"))


def choose_device(name: str) -> torch.device:
    """The device by its name; "auto" is the GPU where there is one.

    Raises:
        ModelError: There is no such device.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name.partition(":")[0] not in ("cpu", "cuda"):
        raise ModelError(f"device {name!r} cannot be used: it is neither cpu nor cuda; give --device cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ModelError(f"device {name!r} cannot be used: {reason}; give --device cpu") from None
    return device


def choose_precision(name: str, device: torch.device) -> torch.dtype:
    """What to compute matrix products in; weights, sums and the loss stay in float32.

    "auto" is bfloat16 where the device computes in it and float32 elsewhere: measured on two cores, bfloat16
    trains 2 to 4 times as fast with AVX512-BF16 or AMX, and emulated it is slower than float32.
    """
    if name != "auto":
        return torch.bfloat16 if name == "bfloat16" else torch.float32
    if device.type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        features = torch.cpu.get_capabilities()
        native = any(features.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))  # the last on ARM
    return torch.bfloat16 if native else torch.float32
