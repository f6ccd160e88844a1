"""Tiny random students in Marian's binary form, and a second reading of its formulas, in NumPy.

Every number counts: weights, biases and norms have a deviation of 0.3, and no value of the configuration is a default.
"""

import dataclasses
import math
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Item = tuple[int, tuple[int, ...], bytes]  # type, shape and bytes
FLOAT32, TEXT, INTGEMM8 = 0x404, 0x101, 0x4101
D, F, HEADS, DEPTHS = 16, 20, 4, {"enc": 2, "dec": 3}
DEVIATION = 0.3
CONFIG: dict[str, object] = {
    "bert-train-type-embeddings": "true",
    "dec-cell": "ssru",
    "dec-cell-base-depth": 2,
    "dec-depth": DEPTHS["dec"],
    "dim-emb": D,
    "dim-rnn": 1024,
    "enc-cell": "gru",
    "enc-depth": DEPTHS["enc"],
    "input-types": "[]",
    "layer-normalization": "false",
    "lemma-dim-emb": 0,
    "output-omit-bias": "false",
    "right-left": "false",
    "skip": "false",
    "tied-embeddings": "false",
    "tied-embeddings-all": "true",
    "tied-embeddings-src": "false",
    "transformer-decoder-autoreg": "rnn",
    "transformer-dim-ffn": F,
    "transformer-ffn-activation": "swish",
    "transformer-ffn-depth": 2,
    "transformer-guided-alignment-layer": "last",
    "transformer-heads": HEADS,
    "transformer-no-projection": "false",
    "transformer-pool": "false",
    "transformer-postprocess": "dan",
    "transformer-postprocess-emb": "d",
    "transformer-postprocess-top": '""',
    "transformer-preprocess": '""',
    "transformer-tied-layers": "[]",
    "transformer-train-position-embeddings": "false",
    "type": "transformer",
    "ulr": "false",
    "version": "v1.9.56 94aeaa46 2021-04-28 00:28:35 +0100",
}
OWN_TABLES: dict[str, object] = {"tied-embeddings-all": "false", "tied-embeddings": "true"}
ATTENTIVE: dict[str, object] = {
    "transformer-decoder-autoreg": "self-attention",
    "dec-cell": "gru",
    "transformer-ffn-activation": "relu",
}


@dataclasses.dataclass
class Student:
    """Arrays by Marian's names and shapes, integers among them with their multiplier, and the configuration."""

    arrays: dict[str, Array]
    multipliers: dict[str, float]  # of those that are stored as integers
    config: dict[str, object]

    @property
    def is_shared(self) -> bool:
        """Whether both sides have one embedding."""
        return self.config["tied-embeddings-all"] == "true"

    @property
    def is_recurrent(self) -> bool:
        """Whether the decoder has SSRUs."""
        return self.config["transformer-decoder-autoreg"] == "rnn"

    def __getitem__(self, name: str) -> Array:
        """The numbers of an array."""
        found = self.arrays[name].astype(np.float64)
        return found / self.multipliers[name] if name in self.multipliers else found


def draw(sizes: tuple[int, int], changes: Mapping[str, object] | None = None) -> Student:
    """A student with vocabularies of these sizes."""
    sized = {"dim-vocabs": f"\n  - {sizes[0]}\n  - {sizes[1]}"}
    student = Student({}, {}, {**CONFIG, **sized, **(changes or {})})
    drawing = _Drawing(student)
    tables = [("Wemb", sizes[0])] if student.is_shared else zip(("encoder_Wemb", "decoder_Wemb"), sizes, strict=True)
    for name, size in tables:
        drawing.integers(name, size, D)
    drawing.floats("decoder_ff_logit_out_b", sizes[1])
    for stack, depth in DEPTHS.items():
        for number in range(1, depth + 1):
            drawing.layer(f"{stack}oder_l{number}", recurrent=student.is_recurrent and stack == "dec")
    student.arrays["none_QuantMultA"] = np.ones((1, 1), np.float32)
    return student


class _Drawing:
    """Draws the arrays of a student."""

    def __init__(self, student: Student) -> None:
        self._student, self._random = student, np.random.default_rng(7)

    def floats(self, name: str, width: int, mean: float = 0.0) -> None:
        numbers = mean + DEVIATION * self._random.standard_normal((1, width))
        self._student.arrays[name] = numbers.astype(np.float32)

    def integers(self, name: str, *shape: int) -> None:
        multiplier = float(np.float32(self._random.uniform(80, 200)))
        numbers = np.rint(DEVIATION * multiplier * self._random.standard_normal(shape)).clip(-127, 127)
        self._student.multipliers[name], self._student.arrays[name] = multiplier, numbers.astype(np.int8)
        self._student.arrays[f"{name}_QuantMultA"] = np.full((1, 1), self._random.uniform(9, 25), np.float32)

    def layer(self, name: str, *, recurrent: bool) -> None:
        if recurrent:
            self.integers(f"{name}_rnn_W", D, D)
            self.integers(f"{name}_rnn_Wf", D, D)
            self.floats(f"{name}_rnn_bf", D)
            self.norm(f"{name}_rnn_ffn")
        else:
            self.attention(f"{name}_self")
        if name.startswith("decoder"):
            self.attention(f"{name}_context")
        for part, shape in (("1", (D, F)), ("2", (F, D))):
            self.integers(f"{name}_ffn_W{part}", *shape)
            self.floats(f"{name}_ffn_b{part}", shape[1])
        self.norm(f"{name}_ffn_ffn")

    def attention(self, name: str) -> None:
        for part in "qkvo":
            self.integers(f"{name}_W{part}", D, D)
            self.floats(f"{name}_b{part}", D)
        self.norm(f"{name}_Wo")

    def norm(self, name: str) -> None:
        self.floats(f"{name}_ln_scale", D, 1.0)
        self.floats(f"{name}_ln_bias", D)


def items(student: Student) -> dict[str, Item]:
    """A student's items as they stand in a file."""
    found: dict[str, Item] = {}
    for name, array in student.arrays.items():
        if name in student.multipliers:
            stored = array if "Wemb" in name else array.T  # matrices are transposed, and keep their shape
            multiplier = np.float32(student.multipliers[name])
            found[name] = (INTGEMM8, array.shape, np.ascontiguousarray(stored).tobytes() + multiplier.tobytes())
        else:
            found[name] = (FLOAT32, array.shape, array.astype(np.float32).tobytes())
    text = "".join(
        f"{key}:{'' if str(value).startswith(chr(10)) else ' '}{value}\n" for key, value in student.config.items()
    )
    found["special:model.yml"] = (TEXT, (len(text) + 1,), text.encode() + b"\0")
    return found


def written(found: Mapping[str, Item], version: int = 1) -> bytes:
    """A binary model of items, each filled up to 256 bytes."""
    filled = {name: data + bytes(-len(data) % 256) for name, (_, _, data) in found.items()}
    names = [name.encode() + b"\0" for name in found]
    head = struct.pack("<QQ", version, len(found))
    for name, (kind, shape, _), data in zip(names, found.values(), filled.values(), strict=True):
        head += struct.pack("<4Q", len(name), kind, len(shape), len(data))
    head += b"".join(names) + b"".join(struct.pack(f"<{len(shape)}i", *shape) for _, shape, _ in found.values())
    padding = 256 - (len(head) + 8) % 256
    return head + struct.pack("<Q", padding) + bytes(padding) + b"".join(filled.values())


def shortlist(lists: Sequence[Sequence[int]], n_common: int) -> bytes:
    """A binary shortlist: the translations of each source token, and how many tokens are in every one."""
    offsets = np.cumsum([0, *map(len, lists)]).astype("<u8")
    entries = np.array([token for each in lists for token in each], dtype="<u4")
    sizes = struct.pack("<4Q", n_common, max(map(len, lists)), len(offsets), len(entries))
    body = sizes + offsets.tobytes() + entries.tobytes()
    checksum = 0
    for number in np.frombuffer(body[: len(body) // 8 * 8], "<u8").tolist():
        checksum ^= (number + 0x9E3779B9 + (checksum << 6) + (checksum >> 2)) % 2**64
    return struct.pack("<2Q", 0xF11A48D5013417F5, checksum) + body


def save(student: Student, path: Path, models: Sequence[bytes]) -> None:
    """Write a student's directory with one SentencePiece model or two, of source and target."""
    path.mkdir(exist_ok=True)
    (path / "model.intgemm.alphas.bin").write_bytes(written(items(student)))
    names = ["vocab.spm"] if len(models) == 1 else ["srcvocab.spm", "trgvocab.spm"]
    for name, model in zip(names, models, strict=True):
        (path / name).write_bytes(model)


class Reference:
    """The formulas of Marian's Transformer, for one sentence and the whole vocabulary."""

    def __init__(self, student: Student) -> None:
        self.student = student
        self.tables = ["Wemb", "Wemb"] if student.is_shared else ["encoder_Wemb", "decoder_Wemb"]

    def forced(self, src: Sequence[int], tgt: Sequence[int]) -> Array:
        """The log-probabilities of all tokens after nothing, and after each of some tokens, (T + 1, V)."""
        memory = self._placed(self.student[self.tables[0]][list(src)])
        for number in range(1, DEPTHS["enc"] + 1):
            memory = self._attended(f"encoder_l{number}_self", memory, memory)
            memory = self._fed_forward(f"encoder_l{number}_ffn", memory)
        table = self.student[self.tables[1]]
        x = self._placed(np.concatenate([np.zeros((1, D)), table[list(tgt)]]))  # it begins with a vector of zeros
        for number in range(1, DEPTHS["dec"] + 1):
            layer = f"decoder_l{number}"
            x = (
                self._recurred(f"{layer}_rnn", x)
                if self.student.is_recurrent
                else self._attended(f"{layer}_self", x, x, True)
            )
            x = self._attended(f"{layer}_context", x, memory)
            x = self._fed_forward(f"{layer}_ffn", x)
        logits = x @ table.T + self.student["decoder_ff_logit_out_b"]
        logits -= logits.max(axis=1, keepdims=True)
        found: Array = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        return found

    def _placed(self, embeddings: Array) -> Array:
        half, positions = D // 2, np.arange(len(embeddings))[:, None]
        angles = positions * np.exp(np.arange(half) * -(math.log(10000) / (half - 1)))
        return math.sqrt(D) * embeddings + np.concatenate([np.sin(angles), np.cos(angles)], axis=1)

    def _recurred(self, name: str, x: Array) -> Array:
        candidates = x @ self.student[f"{name}_W"]
        gates = 1 / (1 + np.exp(-(x @ self.student[f"{name}_Wf"] + self.student[f"{name}_bf"])))
        state, outputs = np.zeros(D), []
        for gate, candidate in zip(gates, candidates, strict=True):
            state = gate * state + (1 - gate) * candidate
            outputs.append(np.maximum(state, 0))
        return self._normed(f"{name}_ffn", x + np.array(outputs))

    def _attended(self, name: str, x: Array, memory: Array, causal: bool = False) -> Array:
        q, k, v = (
            (y @ self.student[f"{name}_W{part}"] + self.student[f"{name}_b{part}"]).reshape(len(y), HEADS, -1)
            for part, y in (("q", x), ("k", memory), ("v", memory))
        )
        scores = np.einsum("thk,shk->hts", q, k) / math.sqrt(D // HEADS)
        if causal:
            scores = np.where(np.tri(len(x), dtype=bool), scores, -np.inf)
        weights = np.exp(scores - scores.max(axis=2, keepdims=True))
        heads = np.einsum("hts,shk->thk", weights / weights.sum(axis=2, keepdims=True), v).reshape(len(x), D)
        return self._normed(f"{name}_Wo", x + heads @ self.student[f"{name}_Wo"] + self.student[f"{name}_bo"])

    def _fed_forward(self, name: str, x: Array) -> Array:
        inner = x @ self.student[f"{name}_W1"] + self.student[f"{name}_b1"]
        swish = self.student.config["transformer-ffn-activation"] == "swish"
        active = inner / (1 + np.exp(-inner)) if swish else np.maximum(inner, 0)
        return self._normed(f"{name}_ffn", x + active @ self.student[f"{name}_W2"] + self.student[f"{name}_b2"])

    def _normed(self, name: str, x: Array) -> Array:
        centered = x - x.mean(axis=1, keepdims=True)
        scaled = centered / np.sqrt(np.square(centered).mean(axis=1, keepdims=True) + 1e-6)
        found: Array = scaled * self.student[f"{name}_ln_scale"] + self.student[f"{name}_ln_bias"]
        return found

    def beam(self, src: Sequence[int], width: int, limit: int, eos_id: int, unk_id: int) -> list[int]:
        """The output with the best mean log-probability, with its end, that a search of this width finds."""
        alive, ended = [(0.0, list[int]())], list[tuple[float, list[int]]]()
        for length in range(1, limit + 1):
            reached = []
            for total, tokens in alive:
                log_probs = self.forced(src, tokens)[-1]
                log_probs[unk_id] = -np.inf
                reached += [(total + log_probs[token], [*tokens, token]) for token in range(len(log_probs))]
            reached.sort(key=lambda each: -each[0])
            ended += [(total / length, tokens[:-1]) for total, tokens in reached[:width] if tokens[-1] == eos_id]
            alive = [each for each in reached[: 2 * width] if each[1][-1] != eos_id][:width]
            best = max((score for score, _ in ended), default=-np.inf)
            if best >= alive[0][0] / limit or (width == 1 and ended):
                break
        else:
            ended += [] if width == 1 and ended else [(total / limit, tokens) for total, tokens in alive]
        return max(ended, key=lambda each: each[0])[1]
