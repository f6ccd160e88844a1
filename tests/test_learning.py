"""What unit tests cannot show: that all parts together learn."""

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from heed.transformer import preparation
from heed.transformer.config import TrainConfig
from heed.transformer.log import StepReport, Validation
from heed.transformer.trainer import Trainer

NETWORK = {"n_layers": 2, "d_model": 64, "d_ff": 128, "n_heads": 4, "dropout": 0.0}


class Last:
    """A listener that keeps the last validation of the weights as they were trained."""

    validation: Validation

    def on_step(self, report: StepReport) -> None:
        if report.step % 50 == 0:
            print(report.step, report.loss / report.n_tokens, report.seconds)

    def on_validation(self, validation: Validation) -> None:
        print(validation)
        if not validation.averaged:
            self.validation = validation


def copied(line: str) -> str:
    return line


def backwards(line: str) -> str:
    return line[::-1]


@pytest.mark.slow
@pytest.mark.parametrize("translate", [copied, backwards])
def test_a_tiny_network_learns(
    translate: Callable[[str], str],
    digit_lines: Callable[[int, int], list[str]],
    write_lines: Callable[[str, list[str]], str],
    tmp_path: Path,
) -> None:
    """Digit strings that it has never seen; a wrong mask or a shifted target would keep it from that."""
    training = list(dict.fromkeys(digit_lines(5000, 1)))
    validation = sorted(set(digit_lines(200, 2)) - set(training))
    config = TrainConfig(
        src=(write_lines("train.src", training),),
        tgt=(write_lines("train.tgt", [translate(line) for line in training]),),
        valid_src=(write_lines("valid.src", validation),),
        valid_tgt=(write_lines("valid.tgt", [translate(line) for line in validation]),),
        vocab_size=25,
        batch_tokens=500,
        warmup=200,
        learning_rate_scale=1.0,
        label_smoothing=0.0,
        precision="float32",
        steps=1500,
        valid_every=1500,
        average=1,
    )
    run, corpus = preparation.new_run(tmp_path / "run", NETWORK, config)
    last = Last()
    assert Trainer(run, preparation.batches(run, corpus), torch.device("cpu"), [last]).train()
    assert math.exp(last.validation.loss) <= 1.02
    assert last.validation.bleu >= 98
