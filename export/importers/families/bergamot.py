"""Students of Bergamot, which translate in Firefox: Marian's Transformer, whose decoder may have SSRUs.

Their layers are those of Kim et al. (2019), "From Research to Production and Back: Ludicrously Fast Neural Machine
Translation". Tensors have the names that Marian gives them, with layers from 1.
"""

from pathlib import Path

import numpy as np

from heed.export.importers.formats import lexical_shortlist
from heed.export.importers.formats.checkpoint import CONFIG
from heed.export.importers.formats.marian_file import MarianFile, begins
from heed.export.importers.formats.settings import Settings
from heed.export.importers.formats.tensors import Tensors
from heed.export.importers.tokenizers.vocabulary import Vocabulary, filled, mapped_files, processor
from heed.export.importers.weights import IMPOSSIBLE, ImportedWeights, TensorSource
from heed.export.onnx.builder import LEVELS, SIGNED_LEVELS
from heed.export.onnx.calibration.calibration import Calibration
from heed.models.arrays import FloatArray
from heed.models.decoding.config import DecodeConfig
from heed.models.errors import ModelError
from heed.models.spec.conventions import Conventions
from heed.models.spec.network import NetworkSpec
from heed.models.spec.parameters import parameters
from heed.models.spec.positions import Sinusoidal
from heed.models.spec.stack import AttentionSpec, FeedForwardSpec, NormSpec, StackSpec
from heed.transformer.data.shortlist import Shortlist

# How Firefox searches: greedily, for a score over the length.
DECODE = DecodeConfig(beam_size=1, length_penalty=1.0, by_length=True)
ALPHA = "_QuantMultA"  # of what a product reads: levels of a byte for each unit
ACTIVATIONS = {"relu": "relu", "swish": "silu"}
AUTOREGRESSIVE = {"self-attention": "attention", "rnn": "recurrence"}
# Keys that heed understands with one value, or with some that mean the same; "d" is dropout, "a" adds, "n" normalizes.
ONLY: dict[str, tuple[object, ...]] = {
    "type": ("transformer",),
    "input-types": ([],),
    "layer-normalization": (False,),
    "lemma-dim-emb": (0,),
    "output-omit-bias": (False,),
    "right-left": (False,),
    "skip": (False,),
    "special-vocab": ([],),
    "transformer-ffn-depth": (2,),
    "transformer-no-projection": (False,),
    "transformer-pool": (False,),
    "transformer-postprocess": ("dan", "an"),
    "transformer-postprocess-emb": ("d", ""),
    "transformer-postprocess-top": ("", "d"),
    "transformer-preprocess": ("", "d"),
    "transformer-tied-layers": ([],),
    "transformer-train-position-embeddings": (False,),
    "ulr": (False,),
}
# Of networks of other kinds, or of training.
HARMLESS = frozenset(
    """
    bert-train-type-embeddings bert-type-vocab-size dec-cell-base-depth dec-cell-high-depth dim-rnn enc-cell
    enc-cell-depth enc-type transformer-aan-activation transformer-aan-depth transformer-aan-nogate transformer-dim-aan
    transformer-guided-alignment-layer ulr-dim-emb ulr-trainable-transformation version
    """.split()  # noqa: SIM905
)
SUBLAYERS = {  # of a layer: what their tensors begin with, and their norms
    "self_attention": "self_",
    "self_residual": "self_Wo_",
    "recurrence": "rnn_",
    "cross_attention": "context_",
    "cross_residual": "context_Wo_",
    "feed_forward": "ffn_",
    "feed_residual": "ffn_ffn_",
}
RECURRENT_NORM = "rnn_ffn_"  # of the residual connection around a recurrence
PARTS = {
    "query": "q",
    "key": "k",
    "value": "v",
    "output": "o",
    "inner": "1",
    "outer": "2",
    "candidate": "",
    "forget": "f",
}
NORM = {"weight": "ln_scale", "bias": "ln_bias"}


class Student:
    """A directory with a binary model, one SentencePiece model or two, and perhaps a binary shortlist.

    Args:
        path: The directory.

    Raises:
        ModelError: A file is missing or damaged, or the network is none that heed can run.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        files = sorted(path.glob("*.bin"))
        models = [file for file in files if begins(file) != lexical_shortlist.MAGIC]
        self._shortlists = [file for file in files if file not in models]
        if len(models) != 1 or len(self._shortlists) > 1:
            named = ", ".join(file.name for file in files)
            raise ModelError(f"{path}: heed reads one binary model and at most one shortlist, not {named or 'none'}")
        file = MarianFile(models[0])
        self._tensors = file.tensors
        settings = file.settings()
        try:
            self.spec = network(settings, self._tensors)
        except ModelError as error:  # a description's own do not say of which file it is
            told = str(error)
            raise ModelError(told if told.startswith(str(path)) else f"{settings.where}: {told}") from None
        self.weights = ImportedWeights(
            self.spec,
            self._tensors,
            lambda name: origin(name, self.spec),
            copies={},
            harmless=rf"\w+{ALPHA}",
            where=str(file.path),
        )
        self.vocabulary = self._vocabulary()

    @staticmethod
    def stands_at(path: Path) -> bool:
        """Whether a directory looks like one."""
        there = path.is_dir() and not (path / CONFIG).exists()
        return there and any(path.glob("*.bin")) and any(path.glob("*.spm"))

    def _vocabulary(self) -> Vocabulary:
        """The pieces have their own ids; behind them is the token that outputs begin with, which is never put out."""
        names = sorted(self._path.glob("*.spm"))
        n_needed = 1 if self.spec.shared_embedding else 2
        if len(names) != n_needed:
            raise ModelError(f"{self._path}: has {len(names)} .spm files, and the model needs {n_needed}; get it whole")
        models = [file.read_bytes() for file in names]  # of the source ("src…") and the target ("trg…")
        pairs = zip(models, names, [stack.vocab_size for stack in self.spec.stacks.values()][-n_needed:], strict=True)
        read = [(processor(model, file), file, size) for model, file, size in pairs]
        lists = [filled([each.id_to_piece(i) for i in range(len(each))], size, file) for each, file, size in read]
        (target, file, size), (_, unused) = read[-1], lists[-1]
        special = {name: getattr(target, f"{name}_id")() for name in ("eos", "unk")}
        if wrong := [name for name, token in special.items() if token < 0]:
            raise ModelError(f"{file}: it has no {wrong[0]} token; get the model again")
        conventions = Conventions(
            tokenizer="mapped",
            start_id=size - 1,
            ends=(special["eos"],),
            pad_id=size - 1,
            suppressed=(special["unk"], *unused),
        )
        return Vocabulary(conventions, mapped_files(models, [pieces for pieces, _ in lists]))

    @property
    def shortlist(self) -> Shortlist | None:
        """The tokens that outputs of a source may need; None: there is no such file."""
        if not self._shortlists:
            return None
        sizes = [stack.vocab_size for stack in self.spec.stacks.values()]
        joint, eos_id = self.spec.shared_embedding, self.vocabulary.conventions.eos_id
        return lexical_shortlist.read(self._shortlists[0], (sizes[0], sizes[1] - 1), eos_id, joint=joint)

    @property
    def calibration(self) -> Calibration:
        """The scales by which Marian rounds what products read, where the file has them."""
        found = {}
        for name in parameters(self.spec):
            alpha = self._tensors.get(origin(name, self.spec).name + ALPHA)
            if alpha is not None and name.endswith(".weight"):
                found[name.removesuffix(".weight")] = self._scale(name, alpha.read())
        packed: dict[str, float] = {}
        for name, scale in found.items():
            layer, _, part = name.rpartition(".")
            if layer.endswith("self_attention") and part != "output":
                packed[f"{layer}.qkv"] = max(scale, packed.get(f"{layer}.qkv", 0.0))
        return Calibration(inputs=found | packed)

    def _scale(self, name: str, alpha: FloatArray) -> float:
        """The size of a level of what a product reads; behind a ReLU all of a byte's are above 0."""
        stack, largest = self.spec.stacks.get(name.partition(".")[0]), SIGNED_LEVELS / float(alpha.ravel()[0])
        rectified = name.endswith(".outer.weight") and stack is not None and stack.feed_forward.rectifies
        return largest / (LEVELS if rectified else SIGNED_LEVELS)


def network(settings: Settings, tensors: Tensors) -> NetworkSpec:
    """A configuration as heed's.

    A vocabulary has a token more than the file: outputs begin with it, and its vector is zero.

    Raises:
        ModelError: heed does not understand it, or it is of other tensors.
    """
    for key, values in ONLY.items():
        settings.only(key, *values)
    shared, d_model = _is_shared(settings), settings.integer("dim-emb")
    n_src, n_tgt = _sizes(settings, tensors, d_model, shared=shared)
    spec = NetworkSpec(
        d_model=d_model,
        encoder=_stack(settings, "enc", n_src + shared, None),
        decoder=_stack(settings, "dec", n_tgt + 1, _recurrence(settings)),
        shared_embedding=shared,
        output_bias=True,
    )
    settings.refuse_unread(HARMLESS)
    return spec


def _is_shared(settings: Settings) -> bool:
    """Whether both sides have one embedding; the output matrix is the target's in any case."""
    shared, tied = settings.flag("tied-embeddings-all", False), settings.flag("tied-embeddings", False)
    if not shared and not tied:
        raise settings.wrong("tied-embeddings", "true, unless tied-embeddings-all is")
    settings.only("tied-embeddings-src", *([False, True] if shared else [False]))
    return shared


def _sizes(settings: Settings, tensors: Tensors, d_model: int, *, shared: bool) -> tuple[int, int]:
    """The sizes of the vocabularies, which are seen to be those of the embeddings."""
    found = settings.raw("dim-vocabs")
    if not isinstance(found, list) or len(found) != 2 or not all(isinstance(size, int) for size in found):
        raise settings.wrong("dim-vocabs", "two whole numbers")
    for size, name in zip(found, ("encoder_Wemb", "decoder_Wemb"), strict=True):
        table = tensors.get("Wemb" if shared else name)
        if table is not None and table.shape != (size, d_model):
            raise settings.wrong("dim-vocabs", f"of embeddings of the shape {table.shape}")
    return found[0], found[1]


def _recurrence(settings: Settings) -> str | None:
    """What is in the place of the decoder's self-attention."""
    if settings.choice("transformer-decoder-autoreg", AUTOREGRESSIVE) == "attention":
        settings.raw("dec-cell")
        return None
    return settings.choice("dec-cell", {"ssru": "ssru"})


def _stack(settings: Settings, side: str, vocab_size: int, recurrence: str | None) -> StackSpec:
    d_model, n_heads = settings.integer("dim-emb"), settings.integer("transformer-heads")
    if n_heads < 1 or d_model % n_heads:
        raise settings.wrong("transformer-heads", f"a divisor of dim-emb {d_model}")
    d_head, activation = d_model // n_heads, settings.choice("transformer-ffn-activation", ACTIVATIONS)
    return StackSpec(
        vocab_size=vocab_size,
        n_layers=settings.integer(f"{side}-depth"),
        attention=AttentionSpec(n_heads=n_heads, n_kv_heads=n_heads, d_head=d_head, biases=True, output_bias=True),
        feed_forward=FeedForwardSpec(d_ff=settings.integer("transformer-dim-ffn"), activation=activation),
        norm=NormSpec(eps=1e-6),
        positions=Sinusoidal(layout="halves", spacing="tensor2tensor"),
        recurrence=recurrence,
    )


def origin(parameter: str, spec: NetworkSpec) -> TensorSource:
    """Where a parameter is in a file."""
    if parameter == "projection.bias":
        return TensorSource("decoder_ff_logit_out_b", _with_impossible)
    if parameter == "src_embedding.weight":
        return TensorSource("Wemb", _with_zeros) if spec.shared_embedding else TensorSource("encoder_Wemb")
    if parameter == "tgt_embedding.weight":
        return TensorSource("decoder_Wemb", _with_zeros)
    stack, _, number, sublayer, part, kind = parameter.split(".")
    recurrent = spec.stacks[stack].recurrence is not None
    place = RECURRENT_NORM if recurrent and sublayer == "self_residual" else SUBLAYERS[sublayer]
    prefix = f"{stack}_l{int(number) + 1}_{place}"
    if part == "norm":
        return TensorSource(prefix + NORM[kind], np.ravel)
    if kind == "bias":
        return TensorSource(f"{prefix}b{PARTS[part]}", np.ravel)
    return TensorSource(f"{prefix}W{PARTS[part]}", np.transpose)


def _with_zeros(array: FloatArray) -> FloatArray:
    """An embedding with a zero vector behind it."""
    return np.pad(array, ((0, 1), (0, 0)))


def _with_impossible(array: FloatArray) -> FloatArray:
    """A bias of logits by which the token behind the vocabulary has no probability."""
    return np.append(array, np.float32(IMPOSSIBLE))
