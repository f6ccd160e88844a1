"""A family's configuration, read key by key, so that no key that could change numbers is overlooked."""

from collections.abc import Collection, Mapping

from heed.models.errors import ModelError

# Keys of every family that change no number that a network computes.
HARMLESS = frozenset(
    """
    _name_or_path _attn_implementation _num_labels activation_dropout architectures attention_dropout attn_pdrop
    bos_token_id chunk_size_feed_forward classif_dropout classifier_dropout decoder_attention_dropout
    decoder_layerdrop decoder_start_token_id dropout dropout_rate dtype embd_pdrop encoder_layerdrop eos_token_id
    finetuning_task gradient_checkpointing id2label init_std initializer_factor initializer_range
    is_encoder_decoder label2id model_type num_labels output_attentions output_hidden_states output_past
    pad_token_id prefix problem_type resid_pdrop return_dict sep_token_id summary_activation summary_first_dropout
    summary_proj_to_labels summary_type summary_use_proj task_specific_params tokenizer_class torch_dtype
    torchscript transformers.js_config transformers_version unk_token_id use_bfloat16 use_cache
    """.split()  # noqa: SIM905
)
# Keys that say how texts are searched for: `heed.export.importers.search` reads them.
SEARCH = frozenset(
    """
    bad_words_ids begin_suppress_tokens diversity_penalty do_sample early_stopping encoder_no_repeat_ngram_size
    exponential_decay_length_penalty force_bos_token_to_be_generated forced_bos_token_id forced_eos_token_id
    length_penalty max_length
    max_new_tokens min_length min_new_tokens no_repeat_ngram_size num_beam_groups num_beams num_return_sequences
    remove_invalid_values renormalize_logits repetition_penalty return_dict_in_generate output_scores
    suppress_tokens temperature top_k top_p typical_p
    """.split()  # noqa: SIM905
)
REFUSED = {
    "quantization_config": "its weights are quantized in a form that heed does not read; get the model in float16",
    "auto_map": "it needs code of its own, and heed runs none that comes with a model; choose a model without",
}


class Settings:
    """A configuration.

    Args:
        table: The content of config.json.
        where: What errors call it.

    Raises:
        ModelError: The model is quantized, or needs code of its own.
    """

    def __init__(self, table: Mapping[str, object], where: str) -> None:
        self._table, self.where = table, where
        self._read: set[str] = set()
        for key, reason in REFUSED.items():
            if table.get(key):
                raise ModelError(f"{where}: {key}: {reason}")

    def __contains__(self, key: str) -> bool:
        return self._table.get(key) is not None

    def raw(self, key: str) -> object:
        """The value of a key as it stands; None where there is none."""
        self._read.add(key)
        return self._table.get(key)

    def integer(self, key: str, default: int | None = None) -> int:
        """A whole number."""
        value = self._value(key, default)
        if not isinstance(value, int) or isinstance(value, bool):
            raise self.wrong(key, "a whole number")
        return value

    def number(self, key: str, default: float | None = None) -> float:
        """A number."""
        value = self._value(key, default)
        if not isinstance(value, (int, float)) or isinstance(value, bool):
            raise self.wrong(key, "a number")
        return float(value)

    def flag(self, key: str, default: bool) -> bool:
        """True or false."""
        value = self._value(key, default)
        if not isinstance(value, bool):
            raise self.wrong(key, "true or false")
        return value

    def choice(self, key: str, choices: Mapping[str, str], default: str | None = None) -> str:
        """What a word stands for."""
        value = self._value(key, default)
        if not isinstance(value, str) or value not in choices:
            raise self.wrong(key, " or ".join(map(repr, choices)))
        return choices[value]

    def table(self, key: str) -> "Settings | None":
        """The settings of a table in this one; None where there is none."""
        value = self.raw(key)
        if value is None:
            return None
        if not isinstance(value, Mapping):
            raise self.wrong(key, "a table")
        return Settings(value, f"{self.where}, {key}")

    def only(self, key: str, *values: object) -> None:
        """Refuse a key that has another value than those that heed understands.

        Raises:
            ModelError: It has.
        """
        value = self.raw(key)
        if value is not None and value not in values:
            raise self.wrong(key, " or ".join(map(repr, values)))

    def refuse_unread(self, harmless: Collection[str] = ()) -> None:
        """Refuse keys that nobody has read and that are not known to be harmless.

        Raises:
            ModelError: There are any.
        """
        known = self._read | HARMLESS | SEARCH | set(harmless)
        unknown = [key for key, value in self._table.items() if key not in known and value is not None]
        if unknown:
            keys = ", ".join(map(repr, unknown))
            raise ModelError(f"{self.where}: heed does not know {keys}, which could change what the network computes")

    def wrong(self, key: str, wanted: str) -> ModelError:
        """The error that a value is not what heed can run."""
        return ModelError(f"{self.where}: {key} must be {wanted} for heed, not {self._table.get(key)!r}")

    def _value(self, key: str, default: object) -> object:
        value = self.raw(key)
        return default if value is None else value
