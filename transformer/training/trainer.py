"""The training loop: steps, validations and checkpoints until a limit is reached (section 5)."""

import dataclasses
import functools
import itertools
import math
import shutil
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor

from heed.models.errors import HeedError
from heed.transformer.data.batching.batches import Batch
from heed.transformer.data.batching.packing import TextBatch
from heed.transformer.data.batching.prefetch import ahead
from heed.transformer.training import divergence as stability
from heed.transformer.training.distributed import gradients_kept
from heed.transformer.training.engine import Engine, choose_precision
from heed.transformer.training.moving_average import MovingAverage
from heed.transformer.training.objectives.objectives import OBJECTIVES, ComputeSettings, Loss, ValidationResult
from heed.transformer.training.pending import PendingReport
from heed.transformer.training.runs import checkpoint
from heed.transformer.training.runs.checkpoint import RAW, Progress, Weights
from heed.transformer.training.runs.log import Incident, Listener, RunLog, StepReport, Validation
from heed.transformer.training.runs.run import Run
from heed.transformer.training.sharding import materialize, shard, whole
from heed.transformer.training.validator import Validator

AnyBatch = TypeVar("AnyBatch", Batch, TextBatch)
Made = TypeVar("Made", covariant=True)


class Epochs(Protocol[Made]):
    """The batches of a training text."""

    facts: Mapping[str, int]  # facts shown before training

    def epoch(self, epoch: int, seed: int, start: int = 0) -> Iterator[Made]:
        """The batches of an epoch from number `start`; the same ones every time."""
        ...


class Trainer(Generic[AnyBatch]):
    """Trains a run's network, from its last checkpoint if there is one.

    Except for weights and moments, a step depends only on the seed and the step number, which determine the batch and
    dropout's random numbers. So a run can be stopped anywhere and continues as if it had not been stopped.

    Args:
        run: The run to train.
        batches: The training batches.
        engine: The engine.
        listeners: Receive the reports.
        log: Another listener, whose position is stored in checkpoints.

    Raises:
        ModelError: The last checkpoint is damaged.
    """

    def __init__(
        self,
        run: Run[Any],
        batches: Epochs[AnyBatch],
        engine: Engine,
        listeners: Sequence[Listener],
        log: RunLog | None = None,
    ) -> None:
        torch.manual_seed(run.train.seed)
        self.batches: Epochs[AnyBatch] = batches
        self.run, self.engine = run, engine
        self.log, self.listeners = log, [*listeners, log] if log else list(listeners)
        with torch.device("meta"):  # for names and shapes: the weights come when it is known which are this process's
            self.network = run.new_network()
        self.precision = choose_precision(run.train.precision, engine.device)
        self._objective = OBJECTIVES[run.task](run, ComputeSettings(engine.device, self.precision))
        loss = Loss(self.network, self._objective)
        if engine.sharded:
            shard(loss, "validate")
        materialize(self.network, engine.device)
        if run.initial_path.exists():
            checkpoint.load_weights(run.initial_path, self.network)
        self._loss = engine.processes.together(loss)
        self.optimizer = self._objective.optimizer(self.network)
        self.average = MovingAverage(self.network, run.train.ema) if run.train.ema else None
        self._validator = Validator(run, self.network, self._loss, self._objective, engine)
        self.progress = Progress()
        self._unread: deque[PendingReport] = deque()
        if steps := run.steps():
            self._load(steps[-1])
            self.progress = checkpoint.load_progress(steps[-1])
        if log:
            log.restore(checkpoint.load_log(steps[-1]) if steps else {"bytes": 0}, self.progress.step)
        self._stopping = False
        self._earlier_seconds, self._since = self.progress.seconds, time.monotonic()
        self._last_end = self._since
        self._agreed_seconds = self.seconds

    def stop(self) -> None:
        """End training after the current step, with a checkpoint; may be called from a signal handler.

        Raises:
            Interrupted: During validation, which may take long; it is caught there.
        """
        self._validator.stop()

    @property
    def seconds(self) -> float:
        """Time spent on this run, over all sessions."""
        return self._earlier_seconds + time.monotonic() - self._since

    def train(self) -> bool:
        """Train until a limit is reached; False if it was stopped before."""
        self._agree()
        if self._must_validate():  # stopped before the limit
            self._validate_and_save()
        batches = self._remaining_batches()
        while not self._stopping and (batch := next(batches, None)) is not None:
            self.step(batch)
            if stability.is_lost(self.progress):
                self._roll_back()
            elif self._must_validate():
                self._validate_and_save()
            self._agree()
        self._read_all()
        unvalidated = self.progress.step > 0 and self.progress.loss is None
        if unvalidated and not self._stopping:
            self._validate_and_save()
        elif unvalidated and not self.run.checkpoint_path(self.progress.step).exists():
            self._save()
        return not self._stopping and self._average_checkpoints()

    def share_done(self) -> float:
        """Share of the way to the nearest limit, from 0 to 1."""
        train, progress = self.run.train, self.progress
        if train.patience is not None and progress.n_stale >= train.patience:
            return 1.0
        epochs, minutes = progress.epoch + progress.share, self._agreed_seconds / 60
        done = ((progress.step, train.steps), (epochs, train.epochs), (minutes, train.minutes))
        return max(so_far / limit for so_far, limit in done if limit is not None)

    def _must_validate(self) -> bool:
        step = self.progress.step
        return step > 0 and step % self.run.train.valid_every == 0 and self.progress.loss is None

    def _agree(self) -> None:
        """Let all processes stop after the same step, if any was asked to, and use the same clock."""
        asked, self._agreed_seconds = self.engine.processes.most([float(self._validator.asked_to_stop), self.seconds])
        self._stopping = self._stopping or asked > 0

    def _remaining_batches(self) -> Iterator[AnyBatch]:
        """Batches from the present position until a limit is reached."""
        for epoch in itertools.count(self.progress.epoch):
            batches = self.batches.epoch(epoch, self.run.train.seed, start=self.progress.batch)
            if self.engine.device.type == "cuda":
                batches = (batch.pinned() for batch in batches)
            for batch in ahead(batches):
                if self.progress.step > 0 and self.share_done() >= 1:  # a run has at least one step
                    return
                yield batch
            self.progress = dataclasses.replace(self.progress, epoch=epoch + 1, batch=0, share=0.0)

    def step(self, batch: AnyBatch) -> None:
        """Update the weights with the next batch, unless its gradient is not finite.

        Raises:
            HeedError: There is not enough memory.
        """
        progress = self.progress
        step, number = progress.step + 1, progress.batch + 1
        self.progress = dataclasses.replace(progress, step=step, batch=number, share=batch.share, loss=None, bleu=None)
        rate = self._objective.learning_rate(step, self.share_done()) * stability.slowed(progress)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.reseed(step)
        try:
            figures = self._update(batch)
        except (MemoryError, RuntimeError) as error:
            if not _is_out_of_memory(error):
                raise
            raise self._out_of_memory(batch) from None
        if self.average:
            self.average.update(step)
        now = time.monotonic()
        report = functools.partial(
            StepReport,
            step=step,
            epoch=self.progress.epoch,
            n_tokens=batch.n_tokens,
            n_filled=batch.n_filled,
            n_cells=batch.n_cells,
            flops=self._objective.flops(batch),
            learning_rate=rate,
            seconds=now - self._last_end,
            share_done=self.share_done(),
            n_copied=batch.n_copied,
            n_recased=batch.n_recased,
        )
        self._last_end = now
        self._unread.append(PendingReport(report, figures))
        if len(self._unread) > (
            1 if figures.is_cuda else 0
        ):  # a GPU starts the next step before the results of this one are read
            self._read()

    def reseed(self, step: int) -> None:
        """Seed the random numbers from the step number and the rank."""
        key = (self.run.train.seed, step, self.engine.processes.rank)
        torch.manual_seed(int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0]))

    def _update(self, batch: AnyBatch) -> Tensor:
        """Compute gradients of the mean loss per token and update; returns summed loss and NLL, and the norm."""
        engine, processes = self.engine, self.engine.processes
        self.network.train()
        sums = torch.zeros(2, device=engine.device)
        n_parts = processes.size * engine.accumulate
        for number in range(engine.accumulate):
            part = batch.part(processes.rank * engine.accumulate + number, n_parts) if n_parts > 1 else batch
            with gradients_kept(self._loss, number + 1 < engine.accumulate):
                loss, nll = self._loss(part)
                (loss * (processes.size / batch.n_tokens)).backward()  # the gradients are then averaged over processes
            sums += torch.stack([loss.detach(), nll.detach()])
        processes.add(sums)
        gradients = [parameter.grad for parameter in self.network.parameters() if parameter.grad is not None]
        norm = whole(torch.nn.utils.get_total_norm(gradients)).to(engine.device)
        if math.isfinite(self._objective.clip):
            torch.nn.utils.clip_grads_with_norm_(self.network.parameters(), self._objective.clip, norm)
        # As in PyTorch's GradScaler: Adam then changes nothing, and the CPU need not wait for the value.
        setattr(self.optimizer, "found_inf", (~torch.isfinite(norm + sums[0])).float())  # noqa: B010 - PyTorch has no declaration of it
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return torch.cat([sums, norm[None]])

    def _read(self) -> None:
        """Read the figures of the oldest unread step and report them."""
        unread = self._unread.popleft()
        loss, nll, norm = unread.figures()
        report = unread.report(loss=loss, nll=nll, grad_norm=norm)
        if math.isfinite(loss) and math.isfinite(norm):
            self.progress = stability.followed(self.progress, nll / max(report.n_tokens, 1))
            for listener in self.listeners:
                listener.on_step(report)
        else:
            self.progress = stability.skipped(self.progress)
            self._tell(Incident(event="skipped", step=report.step, facts={"loss": loss, "grad_norm": norm}))

    def _read_all(self) -> None:
        while self._unread:
            self._read()

    def _tell(self, incident: Incident) -> None:
        for listener in self.listeners:
            listener.on_incident(incident)

    def _out_of_memory(self, batch: AnyBatch) -> HeedError:
        rows, length = batch.targets.shape
        return HeedError(
            f"{self.run.path}: out of memory at step {self.progress.step}, in a batch of {rows} rows of up to {length} "
            f"target tokens; compute it in more parts: heed train --resume {self.run.path} "
            f"--accumulate {2 * self.engine.accumulate}; or start a new run with a smaller --batch-tokens"
        )

    def _roll_back(self) -> None:
        """Roll back to the last validated checkpoint, lower the learning rate, and continue with the next text.

        Raises:
            HeedError: There is no such checkpoint, or too many rollbacks were made.
        """
        progress, processes = self.progress, self.engine.processes
        # Only the first process looks: it may already be deleting checkpoints, see below.
        validated = processes.told(self._validated() if processes.is_first else [])
        if not validated or progress.n_rollbacks >= stability.ROLLBACKS:
            lost = progress.n_skipped or progress.trend is None
            what = "the loss or its gradient is nan" if lost else f"the loss has risen to {progress.trend:.2f}"
            raise HeedError(
                f"{self.run.path}: training diverged at step {progress.step}: {what}; "
                "start a new run with a lower learning rate or a longer --warmup"
            )
        back = validated[-1]
        self._load(back)
        self.progress = stability.gone_back(progress, checkpoint.load_progress(back))
        if processes.is_first:
            for later in self.run.steps():
                if later > back:
                    _remove(later)
        slowed = stability.slowed(self.progress)
        facts = {"to_step": self.progress.step, "learning_rate_times": slowed}
        self._tell(Incident(event="rolled_back", step=progress.step, facts=facts))

    def validate(self) -> Validation | None:
        """How good the network is now; None if that was interrupted."""
        return self._validation(self.average.weights if self.average else None, averaged=False)

    def _validation(self, weights: Weights | None, *, averaged: bool) -> Validation | None:
        """How good a network with these weights is (None: the one in training); None if that was interrupted."""
        result = self._validator.result(weights, self.progress.step // self.run.train.valid_every)
        if result is None:
            self._stopping = True
            return None
        where = {"step": self.progress.step, "epoch": self.progress.epoch, "minutes": self.seconds / 60}
        return Validation(**where, averaged=averaged, result=result)  # type: ignore[arg-type]

    def _validate_and_save(self) -> None:
        """Validate and save a checkpoint, even if interrupted; roll back if weights are not finite."""
        self._read_all()
        if not torch.nn.utils.get_total_norm(self.network.parameters()).isfinite():
            self._roll_back()
            return
        if validation := self.validate():
            for listener in self.listeners:
                listener.on_validation(validation)
            self.progress = _rated(_with_result(self.progress, validation.result), self.run.train.best_by)
        self._save()
        self._last_end = time.monotonic()

    def _save(self) -> None:
        """Save a checkpoint, then delete those that are neither among the best nor the last."""
        self.progress = dataclasses.replace(self.progress, seconds=self.seconds)
        gathered = self.engine.processes.gathered
        training = gathered(checkpoint.weights_of(self.network))
        weights = gathered(self.average.weights) if self.average else training
        states = gathered(checkpoint.optimizer_states(self.network, self.optimizer))
        if self.average:
            states |= {RAW + name: tensor for name, tensor in training.items()}
        if self.engine.processes.is_first:
            path, log = self.run.checkpoint_path(self.progress.step), self.log.state if self.log else {}
            if path.exists():  # saved when the run was stopped, before validation
                checkpoint.save_progress(path, self.progress, log)
            else:
                checkpoint.save(path, weights, states, self.progress, log)
            needed = {
                path,
                *self.run.ranked()[: self.run.train.keep_best],
                *self._validated()[-self.run.train.n_kept :],
            }
            for old in self.run.steps():
                if old not in needed:
                    _remove(old)
        self.engine.processes.told(None)  # the other processes wait until it exists

    def _load(self, path: Path) -> None:
        """Load the weights and moments of a checkpoint into the network in training."""
        weights, states = checkpoint.read_weights(path), checkpoint.read_states(path)
        raw = {name.removeprefix(RAW): tensor for name, tensor in states.items() if name.startswith(RAW)}
        states = {name: tensor for name, tensor in states.items() if not name.startswith(RAW)}
        checkpoint.put_weights(raw or weights, self.network, path / checkpoint.WEIGHTS)
        checkpoint.put_optimizer_states(states, self.network, self.optimizer, path / checkpoint.OPTIMIZER)
        if self.average:
            self.average.put(weights)

    def _validated(self) -> list[Path]:
        """The validated checkpoints; not those saved when the run was stopped."""
        return [step for step in self.run.steps() if checkpoint.load_progress(step).loss is not None]

    def _average_checkpoints(self) -> bool:
        """At the end of training, average the last checkpoints and validate the average (section 6.1)."""
        is_first = self.engine.processes.is_first
        weights: Weights = {}
        if is_first or self.engine.sharded:
            weights = checkpoint.mean(self._validated()[-self.run.train.average :])
        validation = self._validation(weights, averaged=True)
        if validation is None:
            return False
        for listener in self.listeners:
            listener.on_validation(validation)
        if is_first:
            checkpoint.save_weights(self.run.average_path, weights, _with_result(self.progress, validation.result))
        return True


def _with_result(progress: Progress, result: ValidationResult) -> Progress:
    return dataclasses.replace(progress, loss=result.loss, bleu=result.figures.get("bleu"))


def _rated(progress: Progress, best_by: str) -> Progress:
    """Progress that knows whether this validation was the best so far; of equal BLEU the smaller loss is better."""
    loss = math.inf if progress.loss is None else progress.loss
    best_loss = math.inf if progress.best_loss is None else progress.best_loss
    rating = progress.bleu if best_by == "bleu" and progress.bleu is not None else -loss
    if progress.best is None or (rating, -loss) > (progress.best, -best_loss):
        return dataclasses.replace(progress, best=rating, best_loss=progress.loss, n_stale=0)
    return dataclasses.replace(progress, n_stale=progress.n_stale + 1)


def _remove(directory: Path) -> None:
    """Delete a checkpoint; it is renamed first, so that a kill leaves no incomplete checkpoint."""
    shutil.rmtree(directory.rename(directory.with_name(f".{directory.name}")))


def _is_out_of_memory(error: BaseException) -> bool:
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "can't allocate memory" in str(error)
