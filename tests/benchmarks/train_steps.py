"""One of those that train_speed.py compares, in a process of its own: takes numbers of batches, answers with seconds.

    python tests/benchmarks/train_steps.py heed|torch|lean|joey DIR PRECISION THREADS DEVICE

DIR holds batches.pt, of tensors of token ids, sizes.json, of the network, and the run that heed trains. Each line of
standard input is a list of numbers of batches, in JSON: a step of training is made on each.
"""

import json
import math
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

Batch = dict[str, Tensor]  # src, (B, S), tgt and targets, (B, T)
Step = Callable[[Batch], object]
Make = Callable[[Path, dict[str, Any], str, torch.device], Step]


def heed(directory: Path, sizes: dict[str, Any], precision: str, device: torch.device) -> Step:
    """What `heed train` does."""
    import dataclasses

    from heed.transformer.data.batching import batches
    from heed.transformer.data.preparation import translation_run
    from heed.transformer.training.engine import Engine
    from heed.transformer.training.memory import settle_memory
    from heed.transformer.training.runs.run import TranslationRun
    from heed.transformer.training.trainer import Trainer

    settle_memory()
    run = TranslationRun.open(directory / "run")
    run.train = dataclasses.replace(run.train, precision=precision)
    trainer = Trainer(run, translation_run.batches(run, translation_run.load_corpus(run)), Engine(device), [])
    pad_ids = sizes["pad_id"], sizes["pad_id"]
    return lambda batch: trainer.step(batches.Batch(batch["src"], batch["tgt"], batch["targets"], pad_ids))


class Plain(nn.Module):
    """A translation network as PyTorch's tutorials make one of `nn.Transformer`, by the sizes of heed's.

    By itself it also drops attention's weights and what the feed-forward networks have inside; `lean` drops only where
    the paper does, with which attention takes PyTorch's fused kernel.
    """

    def __init__(self, sizes: dict[str, Any], *, lean: bool) -> None:
        super().__init__()
        D, self.pad_id = sizes["d_model"], sizes["pad_id"]
        self.embedding = nn.Embedding(sizes["tgt_vocab_size"], D)
        nn.init.normal_(self.embedding.weight, std=D**-0.5)
        self.dropout = nn.Dropout(sizes["dropout"])
        n_layers, n_heads, d_ff = sizes["n_layers"], sizes["n_heads"], sizes["d_ff"]
        self.transformer = nn.Transformer(D, n_heads, n_layers, n_layers, d_ff, sizes["dropout"], batch_first=True)
        self.transformer.encoder.norm = self.transformer.decoder.norm = None  # the paper's stacks end without one
        for module in self.transformer.modules() if lean else ():
            if isinstance(module, nn.MultiheadAttention):
                module.dropout = 0.0
            elif isinstance(module, nn.TransformerEncoderLayer | nn.TransformerDecoderLayer):
                module.dropout.p = 0.0
        self.projection = nn.Linear(D, sizes["tgt_vocab_size"], bias=False)
        self.projection.weight = self.embedding.weight
        angles = torch.arange(sizes["length"])[:, None] / 10000 ** (torch.arange(0, D, 2) / D)
        self.register_buffer("positions", torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1))

    def embed(self, ids: Tensor) -> Tensor:
        D = self.embedding.embedding_dim
        return self.dropout(self.embedding(ids) * math.sqrt(D) + self.get_buffer("positions")[: ids.shape[1]])

    def forward(self, src: Tensor, tgt: Tensor) -> Tensor:
        T, padding = tgt.shape[1], src == self.pad_id
        output = self.transformer(
            self.embed(src), self.embed(tgt),
            tgt_mask=torch.ones(T, T, dtype=torch.bool, device=tgt.device).triu(1),
            src_key_padding_mask=padding, memory_key_padding_mask=padding, tgt_key_padding_mask=tgt == self.pad_id,
            tgt_is_causal=True,
        )  # fmt: skip
        return self.projection(output)


def torch_loop(
    directory: Path, sizes: dict[str, Any], precision: str, device: torch.device, *, lean: bool = False
) -> Step:
    """A loop over `nn.Transformer`."""
    network = Plain(sizes, lean=lean).to(device).train()
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-4, betas=(0.9, 0.98), eps=1e-9, fused=True)
    criterion = nn.CrossEntropyLoss(ignore_index=sizes["pad_id"], label_smoothing=sizes["label_smoothing"])

    def step(batch: Batch) -> object:
        src, tgt, targets = (batch[name].to(device) for name in ("src", "tgt", "targets"))
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16"):
            loss = criterion(network(src, tgt).flatten(0, 1), targets.flatten())
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss.item()

    return step


def joey(directory: Path, sizes: dict[str, Any], precision: str, device: torch.device) -> Step:
    """Joey NMT's own step, with the data in memory; bfloat16, which it does not offer, is given from outside."""
    from joeynmt.batch import Batch as JoeyBatch  # pyright: ignore[reportMissingImports]
    from joeynmt.config import parse_train_args  # pyright: ignore[reportMissingImports]
    from joeynmt.model import build_model  # pyright: ignore[reportMissingImports]
    from joeynmt.training import TrainManager  # pyright: ignore[reportMissingImports]
    from joeynmt.vocabulary import Vocabulary  # pyright: ignore[reportMissingImports]

    special = {"unk": 0, "pad": 1, "bos": 2, "eos": 3}
    names = {f"{name}_token": f"<{name}>" for name in special} | {f"{name}_id": i for name, i in special.items()}
    tokens = [f"t{number}" for number in range(sizes["tgt_vocab_size"] - len(special))]
    vocabulary = Vocabulary(tokens, SimpleNamespace(**names, lang_tags=[], sep_token=None))
    stack = {
        "type": "transformer", "num_layers": sizes["n_layers"], "num_heads": sizes["n_heads"],
        "hidden_size": sizes["d_model"], "ff_size": sizes["d_ff"], "dropout": sizes["dropout"], "layer_norm": "post",
        "embeddings": {"embedding_dim": sizes["d_model"], "scale": True, "dropout": sizes["dropout"]},
    }  # fmt: skip
    tied = {"tied_embeddings": True, "tied_softmax": True, "initializer": "xavier_uniform"}
    model = build_model({"encoder": stack, "decoder": stack, **tied}, vocabulary, vocabulary).to(device)
    model.loss_function = ("crossentropy", sizes["label_smoothing"])
    asked = {
        "optimizer": "adam", "adam_betas": [0.9, 0.98], "learning_rate": 1e-4, "normalization": "tokens",
        "scheduling": "noam", "learning_rate_warmup": 2000, "batch_size": 4096, "epochs": 1,
    }  # fmt: skip
    autocast = {"device_type": device.type, "dtype": torch.bfloat16, "enabled": precision == "bfloat16"}
    manager = TrainManager(0, model, directory / "joey", device, autocast=autocast, train_args=parse_train_args(asked))
    theirs = torch.arange(sizes["tgt_vocab_size"])
    for name, number in special.items():  # both have their special tokens first
        theirs[sizes[f"{name}_id"]] = number

    def step(batch: Batch) -> object:
        begin, src = batch["tgt"][:, :1], theirs[batch["src"]]
        tgt = theirs[torch.cat([begin, batch["targets"]], dim=1)]
        lengths = (src != special["pad"]).sum(1)
        indices = torch.arange(len(src))
        pad, eos = special["pad"], special["eos"]
        loss = manager._train_step(JoeyBatch(src, lengths, None, tgt, None, indices, device, pad, eos))
        manager.optimizer.step()
        manager.scheduler.step(manager.stats.steps)
        model.zero_grad()
        manager.stats.steps += 1
        return loss

    return step


def main() -> None:
    name, directory, precision, threads, device = sys.argv[1:]
    torch.set_num_threads(int(threads))
    torch.manual_seed(1)
    sizes = json.loads((Path(directory) / "sizes.json").read_text("utf-8"))
    batches = torch.load(Path(directory) / "batches.pt")
    answers, sys.stdout = sys.stdout, sys.stderr  # libraries print
    makers: dict[str, Make] = {"heed": heed, "torch": torch_loop, "lean": partial(torch_loop, lean=True), "joey": joey}
    step = makers[name](Path(directory), sizes, precision, torch.device(device))
    for line in sys.stdin:
        numbers = json.loads(line)
        begin = time.perf_counter()
        for number in numbers:
            step(batches[number])
        if device == "cuda":
            torch.cuda.synchronize()
        answers.write(f"{time.perf_counter() - begin}\n")
        answers.flush()


if __name__ == "__main__":
    main()
