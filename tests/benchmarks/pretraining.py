"""What pre-training is worth: a masked model on novels, and a denoised one before few pairs.

    python tests/benchmarks/pretraining.py masked --data DIR --work runs/masked --steps 1600
    python tests/benchmarks/pretraining.py denoised --data DIR --work runs/denoised --steps 600 --fine-steps 500

`masked` trains a masked model on some novels (DIR/lm/gutenberg), compares its loss with those of a unigram and a bigram
model of the same tokens, and then trains it to tell from a sentence who wrote it, and whether two of its words changed
places, beside the same network with fresh weights, at equal steps. `denoised` trains a network to restore lines of
Multi30k, the English of one half and the German of the other, so that no pair is among them, and then on 5,000 pairs,
beside the same network with fresh weights, at equal steps and at as many as both trainings have: BLEU of greedy
translations of the test set of 2016. The last line is JSON.
"""

import argparse
import gzip
import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from heed.transformer.data.batching.packing import IGNORED
from heed.transformer.data.text.documents import tokens_of
from heed.transformer.masks import padding_mask
from heed.transformer.model import Transformer
from heed.transformer.training.objectives.objectives import masked, packing
from heed.transformer.training.runs.run import MaskedRun

HEED = str(Path(sys.executable).with_name("heed"))
SIZES = ["--d-model", "128", "--d-ff", "512", "--n-heads", "4", "--n-layers", "2"]
RUNNING = ["--device", "cpu", "--threads", "1", "--precision", "float32"]
NOVELS = ("dracula", "emma", "great_expectations", "jane_eyre")
N_PAIRS, TEST = 5000, "test_2016_flickr"
N_SENTENCES, BATCH, LONGEST = 1500, 32, 48  # of each author; sentences of a step; tokens of a sentence


def heed(*arguments: str) -> str:
    """Run a command; returns what it wrote."""
    done = subprocess.run([HEED, *arguments], check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout


def novels(data: Path, work: Path) -> list[Path]:
    """The novels as plain text."""
    found = [data / "lm" / "gutenberg" / f"{name}.txt.gz" for name in NOVELS]
    paths = []
    for source in found:
        path = work / source.stem
        if not path.exists():
            path.write_bytes(gzip.decompress(source.read_bytes()))
        paths.append(path)
    return paths


def counted(run: MaskedRun, files: list[Path]) -> dict[str, float]:
    """The losses on the validation's masked tokens of a unigram and a bigram model, in nats.

    The bigram model interpolates between the pair's frequency and the unigram's, by how often the first token came. It
    knows the token before, even where the network does not.
    """
    tokenizer, V = run.tokenizer, len(run.tokenizer)
    held = {document.text for document in run.validation}
    text = [path.read_text("utf-8") for path in files]
    for part in held:
        text = [each.replace(part, "") for each in text]
    tokens = np.concatenate([np.array(ids) for ids in tokenizer.encode_all(text)])
    unigram = (np.bincount(tokens, minlength=V) + 1) / (len(tokens) + V)
    pairs = np.zeros((V, V), dtype=np.float32)
    np.add.at(pairs, (tokens[:-1], tokens[1:]), 1)
    first = pairs.sum(axis=1, keepdims=True)
    kinds = (pairs > 0).sum(axis=1, keepdims=True)
    bigram = (pairs + kinds * unigram) / (first + np.maximum(kinds, 1))  # Witten and Bell's interpolation
    bigram[first[:, 0] == 0] = unigram
    sums, n = np.zeros(2), 0
    for batch in masked(run, packing(run, tokens_of(run.validation, tokenizer))).in_order():
        targets = batch.targets.numpy()
        whole = np.where(targets != IGNORED, targets, batch.ids.numpy())
        rows, places = np.nonzero(targets != IGNORED)
        these, before = whole[rows, places], whole[rows, places - 1]
        sums -= [np.log(unigram[these]).sum(), np.log(np.maximum(bigram[before, these], 1e-12)).sum()]
        n += len(these)
    return {"unigram": round(sums[0] / n, 4), "bigram": round(sums[1] / n, 4), "masked_tokens": n}


class Classifier(nn.Module):
    """Classes of texts from the mean of an encoder's states."""

    def __init__(self, encoder: Transformer, n_classes: int) -> None:
        super().__init__()
        self.encoder, self.output = encoder, nn.Linear(encoder.spec.d_model, n_classes)

    def forward(self, ids: Tensor, pad_id: int) -> Tensor:
        """Logits, (B, classes), of token ids, (B, S)."""
        states, there = self.encoder.encode(ids, padding_mask(ids, pad_id)), (ids != pad_id)[:, :, None]
        return self.output((states * there).sum(1) / there.sum(1))


def sentences(path: Path, n: int) -> list[str]:
    """Some sentences of a novel, in random order."""
    text = " ".join(path.read_text("utf-8").split())
    found = [part.strip() for part in text.replace("?", ".").replace("!", ".").split(".")]
    found = sorted({part for part in found if 30 <= len(part) <= 160})
    random.Random(1).shuffle(found)
    return found[:n]


def authors(files: list[Path]) -> list[tuple[str, int]]:
    """Sentences, and who wrote them."""
    return [(text, label) for label, path in enumerate(files) for text in sentences(path, N_SENTENCES)]


def swapped(files: list[Path]) -> list[tuple[str, int]]:
    """Sentences, and whether two neighbouring words of them changed places (Conneau et al., 2018, arXiv 1805.01070)."""
    draw, found = random.Random(3), list[tuple[str, int]]()
    for text, _ in authors(files):
        words, label = text.split(), draw.randrange(2)
        if label:
            i = draw.randrange(len(words) - 1)
            words[i : i + 2] = words[i + 1], words[i]
        found.append((" ".join(words), label))
    return found


def accuracies(run: MaskedRun, texts: list[tuple[str, int]], steps: int) -> dict[str, float]:
    """The accuracy of a classifier of texts that begins with the run's weights, and with fresh ones."""
    random.Random(2).shuffle(texts)
    tokenizer, n_classes = run.tokenizer, 1 + max(label for _, label in texts)
    rows = [[tokenizer.bos_id, *ids[:LONGEST], tokenizer.eos_id] for ids in tokenizer.encode_all([t for t, _ in texts])]
    ids = nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], True, tokenizer.pad_id)
    labels = torch.tensor([label for _, label in texts])
    n_test, figures = len(texts) // 5, {}
    for name in ("fresh", "pre-trained"):
        torch.manual_seed(1)
        network = run.new_network() if name == "fresh" else run.load_network(run.best()[0])
        classifier = Classifier(network, n_classes).train()
        optimizer = torch.optim.AdamW(classifier.parameters(), lr=5e-4)
        order = np.random.default_rng(1)
        for step in range(steps):
            for group in optimizer.param_groups:
                group["lr"] = 5e-4 * min(1.0, (step + 1) / 20) * (1 - step / steps)
            chosen = torch.from_numpy(order.integers(n_test, len(texts), BATCH))
            loss = F.cross_entropy(classifier(ids[chosen], tokenizer.pad_id), labels[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        with torch.inference_mode():
            found = torch.cat([classifier.eval()(part, tokenizer.pad_id).argmax(1) for part in ids[:n_test].split(64)])
        figures[name] = round(float((found == labels[:n_test]).float().mean()), 4)
        print(n_classes, "classes:", figures, flush=True)
    return figures


def limits(steps: int, n_validations: int) -> list[str]:
    """Options for so many steps and validations."""
    return ["--steps", str(steps), "--valid-every", str(steps // n_validations)]


def validations(run: Path) -> list[dict[str, Any]]:
    """What the log says of validations."""
    records = [json.loads(line) for line in (run / "log.jsonl").read_text("utf-8").splitlines()]
    return [record for record in records if record["event"] == "validation"]


def masked_model(data: Path, work: Path, steps: int, fine_steps: int) -> dict[str, Any]:
    """Train and measure the masked model."""
    files = novels(data, work)
    path = work / "run"
    if not path.exists():
        text = [argument for file in files for argument in ("--text", str(file))]
        options = ["--vocab-size", "1000", "--context", "64", "--batch-tokens", "2048", "--warmup", "100"]
        options += ["--learning-rate", "2e-3", "--dropout", "0", *limits(steps, 4)]
        # With learned positions and norms after sub-layers, the loss stays at 5.4 nats for at least 550 steps.
        options += ["--positions", "rotary", "--norm-placement", "before"]
        heed("train", *text, "--objective", "masked", "-o", str(path), *SIZES, *options, *RUNNING)
    run = MaskedRun.open(path)
    losses = [round(record["loss"], 4) for record in validations(path)]
    return {
        "losses": losses,
        **counted(run, files),
        "fine_steps": fine_steps,
        "authors": accuracies(run, authors(files), fine_steps),
        "swapped": accuracies(run, swapped(files), fine_steps),
    }


def denoised_model(data: Path, work: Path, steps: int, fine_steps: int) -> dict[str, Any]:
    """Train and measure the denoised model."""
    folder = data / "multi30k"
    lines = {
        side: gzip.decompress((folder / f"train.{side}.gz").read_bytes()).decode().splitlines() for side in ("en", "de")
    }
    alone = [line for pair in zip(lines["en"][::2], lines["de"][1::2], strict=True) for line in pair]
    (work / "both.txt").write_text("".join(f"{line}\n" for line in alone))
    for side, of in lines.items():
        (work / f"few.{side}").write_text("".join(f"{line}\n" for line in of[:N_PAIRS]))
    shared = [*RUNNING, "--batch-tokens", "1024", "--warmup", "100", "--learning-rate-scale", "0.5"]
    shared += ["--keep-best", "1", "--average", "1"]
    network = ["--preset", "tiny", *SIZES, "--norm-placement", "before", "--dropout", "0.1"]
    begin = work / "denoised"
    if not begin.exists():
        text = ["--text", str(work / "both.txt"), "--objective", "denoise", "--vocab-size", "2000"]
        heed("train", *text, "-o", str(begin), *network, *shared, *limits(steps, 1))
    pairs = ["--src", str(work / "few.en"), "--tgt", str(work / "few.de")]
    # Validated once, at the end, so that nothing is chosen by the test set.
    test = ["--valid-src", str(folder / f"{TEST}.en.gz"), "--valid-tgt", str(folder / f"{TEST}.de.gz")]
    vocabulary = ["--tokenizer", str(begin / "tokenizer.src.model"), "--tokenizer", str(begin / "tokenizer.tgt.model")]
    starts = {
        "denoised": (["--init-from", str(begin)], fine_steps),
        "fresh": ([*network, *vocabulary], fine_steps),
        "fresh, all steps": ([*network, *vocabulary], steps + fine_steps),
    }
    figures: dict[str, Any] = {"steps": steps, "pairs": N_PAIRS, "fine_steps": fine_steps}
    for name, (start, n_steps) in starts.items():
        run = work / f"tuned-{name}"
        if not run.exists():
            heed("train", *pairs, *test, "-o", str(run), *start, *shared, *limits(n_steps, 1))
        last = validations(run)[-1]
        figures[name] = {"bleu": round(last["bleu"], 2), "loss": round(last["loss"], 4)}
        print(name, figures[name], flush=True)
    return figures


def main() -> None:
    """Run a part."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["masked", "denoised"])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=1600)
    parser.add_argument("--fine-steps", type=int, default=300)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    arguments.work.mkdir(parents=True, exist_ok=True)
    measure = masked_model if arguments.part == "masked" else denoised_model
    print(json.dumps(measure(arguments.data, arguments.work, arguments.steps, arguments.fine_steps)))


if __name__ == "__main__":
    main()
