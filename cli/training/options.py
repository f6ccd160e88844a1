"""The options of `heed train`, in the order of its help."""

import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from heed.cli import options
from heed.cli.io.locations import InputPath, OutputPath
from heed.cli.training.new_run import OBJECTIVES
from heed.models.runs.settings import NOISES
from heed.models.spec.positions import PositionSpec
from heed.models.spec.preset import MASKED_PRESETS, TEXT_PRESETS, TRANSLATION_PRESETS
from heed.models.spec.stack import ACTIVATIONS, NORMS, PLACEMENTS, RECURRENCES

Function = Callable[..., Any]
# What --norm meant in heed 0.1, where it said one thing to translate and another to continue text.
NORM_ALIASES = {
    "post": ("norm_placement", "after"),
    "pre": ("norm_placement", "before"),
    "layer": ("norm_kind", "layer"),
    "rms": ("norm_kind", "rms"),
}
SECTIONS = {
    "Translation data": ("src", "tgt", "data", "src_field", "tgt_field", "skip_bad", "valid_src", "valid_tgt"),
    "Languages": ("src_language", "tgt_language"),
    "Distillation": ("teacher", "teacher_choice", "teacher_mixed"),
    "Filters": ("max_length", "max_ratio", "deduplicate"),
    "Language-model data": ("text", "objective", "pairs", "valid_text", "valid_pairs", "text_field"),
    "Run": ("output", "resume", "preset_name", "init_from", "config"),
    "Network": ("n_layers", "encoder_layers", "decoder_layers", "d_model", "d_ff", "dropout", "tied"),
    "Attention": ("n_heads", "n_kv_heads", "d_head", "positions", "context", "recurrence"),
    "Layers": ("activation", "gated", "norm_kind", "norm_placement", "biases"),
    "Vocabulary": ("tokenizer", "extend_vocabulary", "joint", "vocab_size", "src_normalization", "tgt_normalization"),
    "Batches and optimizer": ("batch_tokens", "warmup", "precision", "seed"),
    "Augmentation": ("subword_sampling", "copy_augment", "case_augment"),
    "Translation training": ("learning_rate_scale", "label_smoothing", "guided_alignment"),
    "Language-model training": ("learning_rate", "weight_decay"),
    "Masks": ("mask_share", "noise", "span_length"),
    "Stopping and validation":  ("steps", "epochs", "minutes", "patience", "valid_every"),
    "Checkpoints": ("average", "ema", "keep", "keep_best", "best_by"),
    "Running": ("device", "threads", "cache", "accumulate", "sharded", "dry_run"),
}  # fmt: skip
DATA = (
    click.option(
        "--src",
        multiple=True,
        type=options.TEXT_FILE,
        help="Source text, one sentence per line, may be .gz or .zst. Repeat for more files.",
    ),
    click.option(
        "--tgt", multiple=True, type=options.TEXT_FILE, help="Target text: the translation of --src, line by line."
    ),
    click.option(
        "--data",
        multiple=True,
        type=options.PAIRS,
        help="Sentence pairs: FILE.tsv, .csv, .jsonl or SOURCE,TARGET; append :2 for twice an epoch. Repeat for more.",
    ),
    click.option(
        "--src-field", help="Field (a.b is b within a) or column of --data with the source.  [default: src; 1]"
    ),
    click.option("--tgt-field", help="Field or column of --data with the target.  [default: tgt; 2]"),
    click.option(
        "--skip-bad",
        is_flag=True,
        default=None,
        help="Skip bad lines of training .jsonl, .tsv and .csv files, and count them.",
    ),
    click.option(
        "--valid-src", multiple=True, type=options.TEXT_FILE, help="Validation source.  [default: held-out pairs]"
    ),
    click.option("--valid-tgt", multiple=True, type=options.TEXT_FILE, help="Validation target."),
    click.option(
        "--teacher",
        multiple=True,
        type=options.Model(),
        help="Distillation: learn this model's translations of the source text. Repeat for an ensemble.",
    ),
    click.option(
        "--teacher-choice",
        type=click.Choice(["score", "chrf"]),
        help="How to choose among the teacher's hypotheses: by its score, or by chrF against --tgt.  [default: score]",
    ),
    click.option(
        "--teacher-mixed", is_flag=True, default=None, help="Learn --tgt as well as the teacher's translations."
    ),
    click.option(
        "--text",
        multiple=True,
        type=options.TEXT_FILE,
        help="Training text of a language model: a file is one text, or a .jsonl with a text per line; may be .gz or "
        ".zst. Repeat for more.",
    ),
    click.option(
        "--objective",
        type=click.Choice(list(OBJECTIVES)),
        default="next",
        show_default=True,
        help="Training objective for --text: next predicts the next token, masked predicts masked tokens (BERT), "
        "denoise restores replaced spans, for a warm start of a translation model.",
    ),
    click.option(
        "--pairs",
        multiple=True,
        type=options.TEXT_FILE,
        help="Prompts and completions as .jsonl; the loss counts only the completions.",
    ),
    click.option(
        "--valid-text", multiple=True, type=options.TEXT_FILE, help="Validation text.  [default: held-out 5%]"
    ),
    click.option("--valid-pairs", multiple=True, type=options.TEXT_FILE, help="Validation prompts and completions."),
    click.option("--text-field", help="Field of a .jsonl with the text.  [default: text]"),
)
RUN = (
    click.option("-o", "--output", type=OutputPath(path_type=Path), help="Directory of the new run."),
    click.option(
        "--resume",
        type=InputPath(path_type=Path),
        help="Continue this run from its last checkpoint; with the options of a new run, start it if it does not "
        "exist.",
    ),
    click.option(
        "--preset",
        "preset_name",
        type=click.Choice([*TRANSLATION_PRESETS, *TEXT_PRESETS, *MASKED_PRESETS]),
        metavar="NAME",
        help="Network and training settings, which the options below change: "
        f"{', '.join(TRANSLATION_PRESETS)}; for text {', '.join(TEXT_PRESETS)}; "
        f"for masks {', '.join(MASKED_PRESETS)}.  "
        "[default: small, gpt-tiny, bert-tiny]",
    ),
    click.option(
        "--init-from",
        type=InputPath(exists=True, resolve_path=True),
        help="Warm start: begin with the weights and the vocabulary of a run, a bundle, or a model that heed import "
        "reads.",
    ),
    click.option("--config", type=InputPath(path_type=Path), help="Repeat the run with this config.toml."),
    click.option("--src-language", default="", help="Source language for the model card, such as en."),
    click.option("--tgt-language", default="", help="Target language for the model card, such as de."),
)
NETWORK = (
    click.option("--n-layers", type=int, help="Number of layers of each stack."),
    click.option("--encoder-layers", type=int, help="Number of encoder layers."),
    click.option("--decoder-layers", type=int, help="Number of decoder layers; few of them decode faster."),
    click.option("--d-model", type=int, help="Width of the network."),
    click.option("--d-ff", type=int, help="Inner width of the feed-forward layers."),
    click.option("--n-heads", type=int, help="Number of attention heads."),
    click.option("--dropout", type=float, help="Dropout rate."),
    click.option(
        "--n-kv-heads", type=int, help="Number of key and value heads, each shared by a group of attention heads."
    ),
    click.option("--d-head", type=int, help="Width of a head.  [default: --d-model / --n-heads]"),
    click.option(
        "--positions",
        type=click.Choice([kind.kind.replace("_", "-") for kind in typing.get_args(PositionSpec)]),
        help="Position encoding; relative-sinusoids is for an encoder alone.",
    ),
    click.option("--context", type=int, help="Maximum number of tokens, for learned and rotary positions."),
    click.option(
        "--recurrence",
        type=click.Choice(RECURRENCES),
        help="Recurrence in place of the self-attention of a translator's decoder.",
    ),
    click.option(
        "--activation",
        type=click.Choice([*(name.replace("_", "-") for name in ACTIVATIONS), "swiglu"]),
        help="Activation of the feed-forward layers; swiglu is silu with --gated.",
    ),
    click.option(
        "--gated/--ungated", default=None, help="Gate the feed-forward layers with a second projection, or not."
    ),
    click.option("--norm-kind", type=click.Choice(NORMS), help="Layer norm or RMS norm."),
    click.option(
        "--norm-placement",
        type=click.Choice(PLACEMENTS),
        help="Norm after each residual connection, or before each sub-layer.",
    ),
    click.option("--norm", type=click.Choice(list(NORM_ALIASES)), hidden=True),
    click.option("--biases/--no-biases", default=None, help="Biases of all projections and norms, or none."),
    click.option(
        "--tied/--untied",
        default=None,
        help="Tie source, target and output embeddings.",
    ),
)
VOCABULARY = (
    click.option(
        "--tokenizer",
        multiple=True,
        type=options.TEXT_FILE,
        help="SentencePiece model to use; give it twice for source and target.",
    ),
    click.option("--joint/--separate", "joint", default=None, help="Learn one joint vocabulary, or one for each side."),
    click.option("--vocab-size", type=int, help="Vocabulary size."),
    click.option(
        "--extend-vocabulary",
        type=click.IntRange(min=1),
        help="Learn N pieces from this text and add them to the vocabulary of --init-from or --tokenizer.",
    ),
    click.option(
        "--src-normalization",
        type=click.Choice(["nfkc", "nfc"]),
        help="Unicode normalization of source text; nfkc also folds full-width forms, … and the like.  [default: nfkc]",
    ),
    click.option(
        "--tgt-normalization",
        type=click.Choice(["nfkc", "nfc"]),
        help="Unicode normalization of target text; nfc keeps full-width forms, … and the like.  [default: nfc]",
    ),
)
TRAINING = (
    click.option("--batch-tokens", type=int, help="Tokens per batch and side."),
    click.option("--max-length", type=int, help="Drop pairs with more tokens on either side."),
    click.option(
        "--max-ratio", type=float, help="Drop pairs in which one side has more than X times the tokens of the other."
    ),
    click.option("--deduplicate/--keep-duplicates", default=None, help="Drop repeated pairs."),
    click.option(
        "--subword-sampling",
        type=float,
        help="Subword regularization (BPE-dropout): skip this share of merges, such as 0.1.",
    ),
    click.option(
        "--copy-augment",
        type=float,
        help="Copy augmentation: replace names, numbers, addresses and code words in this share of pairs, such as 0.5.",
    ),
    click.option(
        "--case-augment",
        type=float,
        help="Case augmentation: write this share of pairs in capitals or in title case.",
    ),
    click.option(
        "--guided-alignment",
        type=float,
        help="Guided alignment: weight of a loss that makes one attention head attend to copied source tokens, such as "
        "0.5.",
    ),
    click.option("--warmup", type=int, help="Warmup steps of the learning rate."),
    click.option("--learning-rate-scale", type=float, help="Factor of the paper's learning-rate schedule."),
    click.option("--learning-rate", type=float, help="Peak learning rate, after warmup; it decays to a tenth."),
    click.option("--weight-decay", type=float, help="AdamW's weight decay of matrices."),
    click.option(
        "--mask-share", type=float, help="Share of the tokens that are masked.  [default: 0.15; denoise: 0.3]"
    ),
    click.option(
        "--noise",
        type=click.Choice(NOISES),
        help="Denoising target: the whole text, for spans replaced by masks (BART), or only the spans (T5).  "
        "[default: infilling]",
    ),
    click.option("--span-length", type=float, help="Denoising: mean length of spans in tokens.  [default: 3]"),
    click.option("--label-smoothing", type=float, help="Label smoothing, ε_ls in the paper."),
    click.option(
        "--precision", type=click.Choice(["auto", "bfloat16", "float32"]), help="Precision of matrix products."
    ),
)
LIMITS = (
    click.option("--steps", type=int, help="Stop after this many steps."),
    click.option("--epochs", type=int, help="Stop after this many epochs."),
    click.option("--minutes", type=float, help="Stop after this many minutes."),
    click.option("--valid-every", type=int, help="Steps between validations, each with a checkpoint."),
    click.option("--patience", type=int, help="Early stopping: stop after N validations without improvement."),
    click.option("--average", type=int, help="Number of last checkpoints to average at the end."),
    click.option(
        "--ema",
        type=float,
        help="Validate and export an exponential moving average of the weights with this decay, such as 0.999.",
    ),
    click.option("--keep", type=int, help="Number of last checkpoints to keep.  [default: as many as are averaged]"),
    click.option("--keep-best", type=int, help="Number of best checkpoints to keep as well.  [default: 1]"),
    click.option(
        "--best-by",
        type=click.Choice(["bleu", "loss"]),
        help="Measure that decides which checkpoint is best.  [default: bleu; language models: loss]",
    ),
    click.option("--seed", type=int, help="Seed of the weights, dropout and order of the data."),
)
RUNNING = (
    click.option(
        "--device",
        default="auto",
        show_default=True,
        help="cpu, cuda, or auto, which is cuda if available.",
    ),
    options.threads,
    click.option(
        "--cache",
        type=OutputPath(file_okay=False, path_type=Path),
        help="Directory of the token cache, shared by runs on the same text.  [default: in the run]",
    ),
    click.option(
        "--accumulate",
        type=click.IntRange(min=1),
        default=1,
        show_default=True,
        help="Gradient accumulation: compute each batch in N parts, with less memory and the same result.",
    ),
    click.option(
        "--sharded", is_flag=True, help="Shard weights and optimizer state among the processes of torchrun (FSDP)."
    ),
    click.option("--dry-run", is_flag=True, help="Print an estimate of what training takes, without training."),
)


def train_options(function: Function) -> Function:
    """All options of the command."""
    for option in reversed((*DATA, *RUN, *NETWORK, *VOCABULARY, *TRAINING, *LIMITS, *RUNNING)):
        function = option(function)
    return function
