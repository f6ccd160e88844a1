"""The training loop: steps, validations and checkpoints until a limit is reached (section 5)."""

import contextlib
import dataclasses
import itertools
import math
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import sacrebleu
import torch

from heed.models.errors import HeedError
from heed.models.search import DecodeConfig
from heed.models.translator import Translator
from heed.transformer import checkpoint
from heed.transformer.batches import Batch, Batches
from heed.transformer.checkpoint import Progress
from heed.transformer.corpus import tokenize
from heed.transformer.decoding import TorchNetwork
from heed.transformer.log import Listener, StepReport, Validation
from heed.transformer.loss import smoothed_cross_entropy
from heed.transformer.masks import padding_mask
from heed.transformer.model import Transformer
from heed.transformer.run import Run
from heed.transformer.schedule import learning_rate


class Trainer:
    """Trains a run's network, from its last checkpoint where there is one.

    Args:
        run: What to train, and where the checkpoints go.
        batches: The training pairs.
        device: Where to compute.
        listeners: Told of every step and validation.

    Raises:
        ModelError: The last checkpoint is damaged.
    """

    def __init__(self, run: Run, batches: Batches, device: torch.device, listeners: Sequence[Listener]) -> None:
        torch.manual_seed(run.train.seed)
        self.run, self.batches, self.device, self.listeners = run, batches, device, listeners
        self.network = Transformer(run.model).to(device)
        # β₁, β₂ and ε of section 5.3; the schedule sets the rate of each step.
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=0.0, betas=(0.9, 0.98), eps=1e-9, fused=True)
        self.precision = choose_precision(run.train.precision, device)
        self.progress = Progress()
        if steps := run.steps():
            self.progress = checkpoint.load_progress(steps[-1])
            checkpoint.load_weights(steps[-1], self.network)
            checkpoint.load_optimizer(steps[-1], self.network, self.optimizer)
        self._validation = run.validation
        self._valid_batches = Batches(
            tokenize(
                self._validation,
                run.src_tokenizer,
                run.tgt_tokenizer,
                max_length=run.train.max_length,
            ),
            run.src_tokenizer,
            run.tgt_tokenizer,
            batch_tokens=run.train.batch_tokens,
        )
        self._stopped = False
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
                self._save(loss=None, bleu=None)
            return False
        if unvalidated:
            self._validate_and_save()
        self._average()
        return True

    def share_done(self) -> float:
        """How much of the way to the nearest limit is behind, from 0 to 1."""
        train, progress = self.run.train, self.progress
        done = ((progress.step, train.steps), (progress.epoch, train.epochs), (self.seconds / 60, train.minutes))
        return max(so_far / limit for so_far, limit in done if limit is not None)

    def _remaining_batches(self) -> Iterator[Batch]:
        """Batches from where training stands until a limit is reached."""
        for epoch in itertools.count(self.progress.epoch):
            for batch in self.batches.epoch(epoch, self.run.train.seed, start=self.progress.batch):
                if self.progress.step > 0 and self.share_done() >= 1:  # a run has at least one step to average
                    return
                yield batch
            self.progress = dataclasses.replace(self.progress, epoch=epoch + 1, batch=0)

    def step(self, batch: Batch) -> None:
        """Update the weights by the next batch.

        Raises:
            HeedError: The loss is no number any more.
        """
        limits = self.run.train
        begin = time.monotonic()
        step, number = self.progress.step + 1, self.progress.batch + 1
        self.progress = dataclasses.replace(self.progress, step=step, batch=number, loss=None, bleu=None)
        rate = limits.learning_rate_scale * learning_rate(
            self.progress.step, d_model=self.run.model.d_model, warmup=limits.warmup
        )
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.network.train()
        loss, nll = self._loss(batch)
        total = loss.item()
        if not math.isfinite(total):
            raise HeedError(
                f"{self.run.path}: training diverged at step {self.progress.step}: the loss is {total}; "
                "train anew with a smaller --learning-rate-scale or a longer --warmup"
            )
        (loss / batch.n_tokens).backward()
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

    def _loss(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        src, tgt, targets = (ids.to(self.device) for ids in (batch.src, batch.tgt, batch.targets))
        with self._autocast():
            logits = self.network(src, padding_mask(src, self.run.src_tokenizer.pad_id), tgt)
        return smoothed_cross_entropy(
            logits,
            targets,
            pad_id=self.run.tgt_tokenizer.pad_id,
            label_smoothing=self.run.train.label_smoothing,
        )

    def _autocast(self) -> contextlib.AbstractContextManager[object]:
        return torch.autocast(self.device.type, self.precision, enabled=self.precision != torch.float32)

    @torch.inference_mode()
    def validate(self) -> Validation:
        """Loss over the held-out pairs, and BLEU of their greedy translations."""
        self.network.eval()
        nll, n_tokens = 0.0, 0
        for batch in self._valid_batches.in_order():
            nll += self._loss(batch)[1].item()
            n_tokens += batch.n_tokens
        translator = Translator(TorchNetwork(self.network), self.run.src_tokenizer, self.run.tgt_tokenizer)
        with self._autocast():
            found = translator.translate(self._validation.src, DecodeConfig(beam_size=1))
        translations = [translation.text for translation in found]
        bleu = sacrebleu.corpus_bleu(translations, [self._validation.tgt], force=True).score
        sample = self.progress.step // self.run.train.valid_every % len(translations)
        return Validation(
            step=self.progress.step,
            epoch=self.progress.epoch,
            minutes=self.seconds / 60,
            loss=nll / max(n_tokens, 1),
            bleu=bleu,
            source=self._validation.src[sample],
            reference=self._validation.tgt[sample],
            translation=translations[sample],
        )

    def _validate_and_save(self) -> None:
        validation = self.validate()
        for listener in self.listeners:
            listener.on_validation(validation)
        self._save(loss=validation.loss, bleu=validation.bleu)

    def _save(self, *, loss: float | None, bleu: float | None) -> None:
        """Make a checkpoint, then delete those that are neither the best nor among the last."""
        self.progress = dataclasses.replace(self.progress, seconds=self.seconds, loss=loss, bleu=bleu)
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
        progress = dataclasses.replace(self.progress, loss=validation.loss, bleu=validation.bleu)
        checkpoint.save_weights(self.run.average_path, self.network, progress)
        self.network.load_state_dict(trained)


def choose_device(name: str) -> torch.device:
    """The device by its name; "auto" is the GPU where there is one.

    Raises:
        HeedError: There is no such device.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name.partition(":")[0] not in ("cpu", "cuda"):
        raise HeedError(f"device {name!r} cannot be used: it is neither cpu nor cuda; give --device cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise HeedError(f"device {name!r} cannot be used: {reason}; give --device cpu") from None
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
