"""The recurrent network that the Transformer replaced, beside it: same data, same parameters, same processor time.

    python tests/benchmarks/recurrence.py train --data DIR --work runs/recurrence --minutes 10
    python tests/benchmarks/recurrence.py speed
    python tests/benchmarks/recurrence.py fresh --join RESULTS.json
    python tests/benchmarks/recurrence.py picture RESULTS.json -o docs/recurrence.svg

`train` trains an LSTM encoder-decoder with Bahdanau's attention (Bahdanau et al., 2014, arXiv 1409.0473) and heed's
Transformer on Multi30k (DIR holds multi30k/{train,val,test_2016_flickr}.{en,de}.gz), with the same batches, optimizer
and minutes of one thread's processor time, and measures BLEU of greedy translations, all and by length of the source,
and how strongly a state depends on a word far away. `speed` measures steps a second against the length of sentences,
and `fresh` the gradients of networks that have learnt nothing. All print a line of JSON last; --join adds that of
another part.
"""

import argparse
import itertools
import json
import math
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import sacrebleu
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from heed.models.decoding.batching import padded, plan_batches
from heed.models.spec.network import NetworkSpec
from heed.models.spec.options import changed
from heed.models.spec.preset import complete, preset, sized
from heed.models.tokenizers.subwords import Tokenizer
from heed.transformer.data.preparation import translation_run
from heed.transformer.data.text.parallel_text import read_pairs
from heed.transformer.model import Transformer
from heed.transformer.training.runs.settings import TranslationConfig

D_MODEL, VOCABULARY, BATCH_TOKENS = 128, 2000, 1024
OPTIONS = {"d_model": D_MODEL, "d_ff": 512, "n_heads": 4, "n_layers": 2, "dropout": 0.1, "norm_placement": "before"}
RATE, WARMUP, CLIP, SMOOTHING = 2e-3, 100, 1.0, 0.1
LENGTHS = (8, 16, 32, 64, 128)  # tokens of a sentence, for steps a second
DISTANCES = (1, 2, 4, 8, 16, 32)  # tokens, for gradients
BUCKETS = (0, 9, 13, 17, 100)  # words of a source, for BLEU by length
LONGEST = 60  # tokens of a translation
TEST = "test_2016_flickr"


class Recurrent(nn.Module):
    """A bidirectional LSTM, and an LSTM that attends to its states by an additive score.

    Args:
        vocab_size: Pieces of both languages (V).
        hidden: Width of each direction of the encoder, and half that of the decoder.
    """

    def __init__(self, vocab_size: int, hidden: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, D_MODEL)
        nn.init.normal_(self.embedding.weight, std=D_MODEL**-0.5)
        self.encoder = nn.LSTM(D_MODEL, hidden, bidirectional=True, batch_first=True)
        self.decoder = nn.LSTMCell(D_MODEL + 2 * hidden, 2 * hidden)
        self.first = nn.Linear(2 * hidden, 2 * hidden)
        self.of_state = nn.Linear(2 * hidden, D_MODEL, bias=False)
        self.of_memory = nn.Linear(2 * hidden, D_MODEL)
        self.score = nn.Linear(D_MODEL, 1, bias=False)
        self.output = nn.Linear(4 * hidden, D_MODEL)
        self.dropout = nn.Dropout(0.1)

    def encode(self, src: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """States of sources, (B, S, 2H), what scores read of them, (B, S, D), and the decoder's first state."""
        lengths = mask.sum(1)
        packed = nn.utils.rnn.pack_padded_sequence(
            self.dropout(self._embedded(src)), lengths, batch_first=True, enforce_sorted=False
        )
        memory, _ = nn.utils.rnn.pad_packed_sequence(self.encoder(packed)[0], batch_first=True)
        mean = (memory * mask[:, :, None]).sum(1) / lengths[:, None]
        return memory, self.of_memory(memory), torch.tanh(self.first(mean))

    def step(
        self, token: Tensor, state: tuple[Tensor, Tensor], memory: Tensor, keys: Tensor, mask: Tensor
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """The features, (B, D), after a token of each row, and the next state."""
        scores = self.score(torch.tanh(keys + self.of_state(state[0])[:, None])).squeeze(2)
        weights = scores.masked_fill(~mask, -math.inf).softmax(1)
        context = (weights[:, :, None] * memory).sum(1)
        state = self.decoder(torch.cat([self.dropout(self._embedded(token)), context], 1), state)
        return self.dropout(torch.tanh(self.output(torch.cat([state[0], context], 1)))), state

    def forward(self, src: Tensor, mask: Tensor, tgt: Tensor) -> Tensor:
        """Logits for each target token, (B, T, V)."""
        memory, keys, first = self.encode(src, mask)
        state, found = (first, torch.zeros_like(first)), []
        for token in tgt.unbind(1):
            features, state = self.step(token, state, memory, keys, mask)
            found.append(features)
        return F.linear(torch.stack(found, 1), self.embedding.weight)

    @torch.inference_mode()
    def greedy(self, src: Tensor, mask: Tensor, bos_id: int, eos_id: int) -> list[list[int]]:
        """Greedy translations."""
        memory, keys, first = self.encode(src, mask)
        state, token = (first, torch.zeros_like(first)), torch.full((len(src),), bos_id)

        def step(token: Tensor) -> Tensor:
            nonlocal state
            features, state = self.step(token, state, memory, keys, mask)
            return F.linear(features, self.embedding.weight).argmax(1)

        return _greedy(step, token, eos_id)

    def _embedded(self, ids: Tensor) -> Tensor:
        return self.embedding(ids) * math.sqrt(D_MODEL)


class Attentive(nn.Module):
    """heed's Transformer with the same interface."""

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__()
        self.network = Transformer(spec)

    def forward(self, src: Tensor, mask: Tensor, tgt: Tensor) -> Tensor:
        """Logits for each target token, (B, T, V)."""
        return self.network(src, mask[:, None, None], tgt)

    @torch.inference_mode()
    def greedy(self, src: Tensor, mask: Tensor, bos_id: int, eos_id: int) -> list[list[int]]:
        """Greedy translations, without a cache of keys and values."""
        read: list[Tensor] = []

        def step(token: Tensor) -> Tensor:
            read.append(token)
            return self(src, mask, torch.stack(read, 1))[:, -1].argmax(1)

        return _greedy(step, torch.full((len(src),), bos_id), eos_id)


def _greedy(step: Callable[[Tensor], Tensor], token: Tensor, eos_id: int) -> list[list[int]]:
    outputs: list[list[int]] = [[] for _ in token]
    ended = torch.zeros(len(token), dtype=torch.bool)
    for _ in range(LONGEST):
        token = step(token)
        ended |= token == eos_id
        for output, each, done in zip(outputs, token.tolist(), ended.tolist(), strict=True):
            if not done:
                output.append(each)
        if ended.all():
            break
    return outputs


def n_parameters(network: nn.Module) -> int:
    """The number of weights."""
    return sum(parameter.numel() for parameter in network.parameters())


def both(vocab_size: int) -> dict[str, Recurrent | Attentive]:
    """The networks, the recurrent one as wide as makes their parameters equal in number."""
    spec = sized(changed(complete(preset("small")["network"]), OPTIONS), vocab_size, vocab_size, joint=True)
    torch.manual_seed(1)
    attentive = Attentive(spec)
    wanted = n_parameters(attentive)
    with torch.device("meta"):
        hidden = min(range(64, 1024, 8), key=lambda width: abs(n_parameters(Recurrent(vocab_size, width)) - wanted))
    return {"lstm": Recurrent(vocab_size, hidden), "transformer": attentive}


def train(network: Recurrent | Attentive, batches: Any, pad_id: int, minutes: float) -> dict[str, float]:
    """Train for so much processor time; Adam, warmup, then a decay to nothing by a cosine."""
    optimizer = torch.optim.Adam(network.parameters(), betas=(0.9, 0.98), eps=1e-9)
    start, step, n_tokens, losses = time.process_time(), 0, 0, []
    network.train()
    for batch in _endless(batches):
        done = (time.process_time() - start) / 60 / minutes
        if done >= 1:
            break
        rate = RATE * min(1.0, (step + 1) / WARMUP) * (0.5 + 0.5 * math.cos(math.pi * done))
        for group in optimizer.param_groups:
            group["lr"] = rate
        loss = _loss(network, batch.src, batch.tgt, batch.targets, pad_id)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), CLIP)
        optimizer.step()
        step, n_tokens = step + 1, n_tokens + batch.n_tokens
        losses.append(loss.item())
    network.eval()
    return {"steps": step, "target_tokens": n_tokens, "last_loss": statistics.mean(losses[-50:])}


def _endless(batches: Any) -> Iterator[Any]:
    epoch = 0
    while True:
        yield from batches.epoch(epoch, 1)
        epoch += 1


def _loss(network: nn.Module, src: Tensor, tgt: Tensor, targets: Tensor, pad_id: int) -> Tensor:
    logits = network(src, src != pad_id, tgt)
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=pad_id, label_smoothing=SMOOTHING)


def translations(network: Recurrent | Attentive, lines: list[str], tokenizer: Tokenizer) -> list[str]:
    """Greedy translations of lines."""
    rows = [[*ids, tokenizer.eos_id] for ids in tokenizer.encode(lines)]
    found: dict[int, list[int]] = {}
    for batch in plan_batches([len(row) for row in rows], 64):
        ids, mask = (torch.from_numpy(array) for array in padded([rows[i] for i in batch]))
        outputs = network.greedy(ids, mask, tokenizer.bos_id, tokenizer.eos_id)
        found |= dict(zip(batch, outputs, strict=True))
    return tokenizer.decode([found[i] for i in range(len(rows))])


def bleu(found: list[str], expected: list[str]) -> float:
    """BLEU of translations."""
    return round(float(sacrebleu.corpus_bleu(found, [expected], force=True).score), 2)


def by_length(found: list[str], source: list[str], expected: list[str]) -> dict[str, float]:
    """BLEU by the number of words of the source."""
    lengths, figures = [len(line.split()) for line in source], {}
    for low, high in itertools.pairwise(BUCKETS):
        chosen = [i for i, n in enumerate(lengths) if low < n <= high]
        name = f"{low + 1}–{high}" if high < BUCKETS[-1] else f"{low + 1}+"
        figures[name] = bleu([found[i] for i in chosen], [expected[i] for i in chosen])
    return figures


def rows_of(tokens: list[int]) -> Tensor:
    """Rows of consecutive tokens, (64, S), as long as gradients need."""
    n = max(DISTANCES) + 1
    return torch.tensor([tokens[start : start + n] for start in range(0, 64 * n, n)])


def gradients(network: Recurrent | Attentive, rows: Tensor) -> dict[int, float]:
    """How strongly the encoder's state at a position depends on the embedding of the word so far before it.

    The norm of a random projection's gradient, relative to that of the word itself, median over rows, (B, S).
    """
    found: list[Tensor] = []

    def watch(_: nn.Module, __: object, output: Tensor) -> Tensor:
        found.append(output)
        output.retain_grad()
        return output

    table = network.embedding if isinstance(network, Recurrent) else network.network.get_submodule("src_embedding")
    handle = table.register_forward_hook(watch)
    mask = torch.ones_like(rows, dtype=torch.bool)
    if isinstance(network, Recurrent):
        states = network.encode(rows, mask)[0][:, -1, : network.encoder.hidden_size]  # of the forward direction
    else:
        states = network.network.encode(rows, mask[:, None, None])[:, -1]
    torch.manual_seed(1)
    (states * torch.randn_like(states)).sum().backward()
    handle.remove()
    gradient = found[0].grad
    assert gradient is not None
    norms = gradient.norm(dim=2)  # (B, S)
    relative = norms / norms[:, -1:]
    return {distance: round(float(relative[:, -1 - distance].median()), 6) for distance in DISTANCES}


def speed() -> dict[str, Any]:
    """Steps a second of training against the length of sentences, with the same number of tokens in a batch."""
    networks, figures = both(VOCABULARY), {}
    for name, network in networks.items():
        network.train()
        rates = {}
        for length in LENGTHS:
            ids = torch.randint(4, VOCABULARY, (1024 // length, length))
            times = []
            for _ in range(4):
                start = time.perf_counter()
                _loss(network, ids, ids, ids, pad_id=0).backward()
                network.zero_grad()
                times.append(time.perf_counter() - start)
            rates[length] = round(1 / statistics.median(times[1:]), 2)
        figures[name] = {"parameters": n_parameters(network), "steps_a_second": rates}
    return figures


def fresh() -> dict[str, Any]:
    """Gradients of networks that have learnt nothing."""
    torch.manual_seed(2)
    rows = rows_of(torch.randint(4, VOCABULARY, (64 * (max(DISTANCES) + 1),)).tolist())
    networks = both(VOCABULARY)
    return {
        name: {"parameters": n_parameters(network), "gradient_at_distance": gradients(network.eval(), rows)}
        for name, network in networks.items()
    }


def trained(data: Path, work: Path, minutes: float) -> dict[str, Any]:
    """Train both on Multi30k and measure them."""
    folder = data / "multi30k"
    files: dict[str, Any] = {
        "src": (str(folder / "train.en.gz"),),
        "tgt": (str(folder / "train.de.gz"),),
        "valid_src": (str(folder / "val.en.gz"),),
        "valid_tgt": (str(folder / "val.de.gz"),),
    }
    config = TranslationConfig(**files, vocab_size=VOCABULARY, batch_tokens=BATCH_TOKENS, steps=1)
    table = changed(complete(preset("small")["network"]), OPTIONS)
    run, corpora = translation_run.new_run(work, table, config)
    batches, tokenizer = translation_run.batches(run, corpora), run.src_tokenizer
    assert isinstance(tokenizer, Tokenizer), "heed learnt it"
    text = read_pairs((str(folder / f"{TEST}.en.gz"),), (str(folder / f"{TEST}.de.gz"),))
    figures: dict[str, Any] = {}
    for name, network in both(len(tokenizer)).items():
        figures[name] = {"parameters": n_parameters(network), **train(network, batches, tokenizer.pad_id, minutes)}
        start, tokens = time.process_time(), [token for ids in tokenizer.encode(text.src) for token in ids]
        found = translations(network, text.src, tokenizer)
        figures[name] |= {
            "bleu": bleu(found, text.tgt),
            "bleu_by_length": by_length(found, text.src, text.tgt),
            "bleu_twice_as_long": bleu(*_joined(network, text.src, text.tgt, tokenizer)),
            "translation_seconds": round(time.process_time() - start, 1),
            "gradient_after_training": gradients(network, rows_of(tokens)),
        }
        print(name, figures[name], flush=True)
    return figures


def _joined(
    network: Recurrent | Attentive, src: list[str], tgt: list[str], tokenizer: Tokenizer
) -> tuple[list[str], list[str]]:
    """Translations of pairs of sentences as one, which are longer than those of the training, and references."""
    pairs = [
        [f"{one} {other}" for one, other in zip(lines[:400:2], lines[1:400:2], strict=True)] for lines in (src, tgt)
    ]
    return translations(network, pairs[0], tokenizer), pairs[1]


def table(results: dict[str, Any]) -> str:
    """The figures as a table in Markdown."""
    lstm, transformer = results["lstm"], results["transformer"]
    rows = [("parameters", f"{lstm['parameters']:,}", f"{transformer['parameters']:,}")]
    keys = {
        "steps": "steps in the same processor time",
        "bleu": "BLEU",
        "bleu_twice_as_long": "BLEU, two sentences as one",
    }
    rows += [(words, str(lstm[key]), str(transformer[key])) for key, words in keys.items() if key in lstm]
    for key, words in (
        ("bleu_by_length", "BLEU, {} words"),
        ("steps_a_second", "steps a second, {} tokens a sentence"),
        ("gradient_at_distance", "gradient, {} tokens away"),
        ("gradient_after_training", "gradient after training, {} tokens away"),
    ):
        rows += [
            (words.format(name), str(value), str(transformer[key][name])) for name, value in lstm.get(key, {}).items()
        ]
    rows.append(("steps between two positions n apart", "n", "1"))
    return "\n".join(["| | LSTM | Transformer |", "|---|---|---|", *(f"| {' | '.join(row)} |" for row in rows)])


def picture(results: dict[str, Any]) -> str:
    """Steps a second against length, gradients against distance, and BLEU by length, as SVG."""
    charts = [
        ("training steps a second, by tokens of a sentence", "steps_a_second"),
        ("gradient of a state, by the word's distance", "gradient_at_distance"),
        ("BLEU, by words of the source", "bleu_by_length"),
    ]
    parts = [_chart(title, results, key, 20 + 380 * number) for number, (title, key) in enumerate(charts)]
    lines = "polyline{fill:none;stroke-width:2}.lstm{stroke:#c0392b}.transformer{stroke:#2874a6}"
    names = {"LSTM": (60, "#c0392b"), "Transformer": (110, "#2874a6")}
    legend = "".join(f'<text x="{x}" y="255" style="fill:{color}">{name}</text>' for name, (x, color) in names.items())
    style, body = f"text{{font:12px sans-serif;fill:#777}}{lines}", "".join(parts)
    size = 'viewBox="0 0 1160 265"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size}><style>{style}</style>{body}{legend}</svg>\n'


def _chart(title: str, results: dict[str, Any], key: str, left: int) -> str:
    series = {name: {str(x): float(y) for x, y in of[key].items()} for name, of in results.items() if key in of}
    if not series:
        return ""
    values = [value for points in series.values() for value in points.values() if value > 0]
    xs = list(next(iter(series.values())))
    low, high = math.log(min(values)), math.log(max(values))

    def place(x: str, y: float) -> str:
        across = left + 40 + 300 * xs.index(x) / (len(xs) - 1)
        return f"{across:.1f},{210 - 160 * (math.log(max(y, 1e-9)) - low) / max(high - low, 1e-9):.1f}"

    lines = "".join(
        f'<polyline class="{name}" points="{" ".join(place(x, max(y, min(values))) for x, y in points.items())}"/>'
        for name, points in series.items()
    )
    ticks = "".join(f'<text x="{left + 36 + 300 * i / (len(xs) - 1):.0f}" y="230">{x}</text>' for i, x in enumerate(xs))
    ends = f'<text x="{left}" y="214">{min(values):.2g}</text><text x="{left}" y="54">{max(values):.2g}</text>'
    return f'<text x="{left}" y="24">{title}</text>{lines}{ticks}{ends}'


def main() -> None:
    """Run a part."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["train", "speed", "fresh", "picture"])
    parser.add_argument("results", nargs="?", type=Path, help="of the picture")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--work", type=Path)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--join", type=Path, help="results of the other part")
    parser.add_argument("-o", "--output", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.part == "picture":
        arguments.output.write_text(picture(json.loads(arguments.results.read_text())), "utf-8")
        return
    parts = {"speed": speed, "fresh": fresh}
    measure = parts.get(arguments.part, lambda: trained(arguments.data, arguments.work, arguments.minutes))
    results = measure()
    if arguments.join:
        other = json.loads(arguments.join.read_text().splitlines()[-1])
        results = {name: other[name] | of for name, of in results.items()}
    print(table(results))
    print(json.dumps(results))


if __name__ == "__main__":
    main()
