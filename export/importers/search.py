"""How a checkpoint's outputs are searched for, as transformers would."""

from heed.export.importers.formats.checkpoint import Checkpoint
from heed.export.importers.formats.settings import Settings
from heed.export.importers.tokenizers.vocabulary import ends, suppressed
from heed.models.decoding.config import DecodeConfig

# Settings that change what is put out, by what leaves it alone; heed knows no other value of them.
NEUTRAL: dict[str, tuple[object, ...]] = {
    "begin_suppress_tokens": ([],),
    "constraints": ([],),
    "diversity_penalty": (0,),
    "dola_layers": (),
    "encoder_no_repeat_ngram_size": (0,),
    "encoder_repetition_penalty": (1,),
    "exponential_decay_length_penalty": (),
    "force_words_ids": ([],),
    "forced_decoder_ids": ([],),
    "guidance_scale": (1,),
    "num_beam_groups": (1,),
    "penalty_alpha": (0,),
    "sequence_bias": ([], {}),
    "stop_strings": ([],),
    "token_healing": (False,),
    "watermarking_config": (),
}
# Of transformers' other settings: those of sampling, which `heed generate` has options for; those that change speed or
# memory, or what is returned beside the best output; and the names of tokens, which tokenizers read.
IRRELEVANT = frozenset(
    """
    do_sample epsilon_cutoff eta_cutoff min_p temperature top_h top_k top_p typical_p
    assistant_confidence_threshold assistant_early_exit assistant_ensemble_weight assistant_lookbehind cache_config
    cache_implementation compile_config continuous_batching_config disable_compile is_assistant low_memory
    max_cache_len max_matching_ngram_size max_time num_assistant_tokens num_assistant_tokens_schedule
    prefill_chunk_size prompt_lookup_num_tokens remove_invalid_values speculation_type target_lookbehind use_cache
    use_mtp num_return_sequences output_attentions output_hidden_states output_logits output_scores
    return_dict_in_generate transformers_version bos_token_id decoder_start_token_id eos_token_id pad_token_id
    """.split()  # noqa: SIM905
)
STOPS = {True: "beam_size", False: "present", None: "present", "never": None}


def decode_config(checkpoint: Checkpoint) -> DecodeConfig:
    """The settings of a search; lengths count what is put out, and not the token that outputs begin with.

    Raises:
        ModelError: The outputs depend on a setting that heed does not know.
    """
    table = Settings(checkpoint.generation, str(checkpoint.path))
    early = checkpoint.generation.get("early_stopping")
    if early is not None and not isinstance(early, bool) and early != "never":
        raise table.wrong("early_stopping", "true, false or 'never'")
    for key, values in NEUTRAL.items():
        table.only(key, *values)
    shortest = table.integer("min_new_tokens", table.integer("min_length", 0) - 1)
    longest = table.integer("max_new_tokens", table.integer("max_length", 1) - 1)
    repeats = table.integer("no_repeat_ngram_size", 0)
    penalty = table.number("repetition_penalty", 1.0)
    if renormalized(checkpoint) and (shortest > 0 or repeats or penalty != 1):
        raise table.wrong("renormalize_logits", "false beside a minimum length or a penalty of repetition")
    return DecodeConfig(
        beam_size=table.integer("num_beams", 1),
        length_penalty=table.number("length_penalty", 1.0),
        by_length=True,
        stop=STOPS[early],
        max_length=longest or None,
        min_length=shortest if shortest > 0 else None,
        no_repeat_ngram=repeats or None,
        repetition_penalty=penalty if penalty != 1 else None,
        end_forced=_end_forced(checkpoint, table),
    )


def renormalized(checkpoint: Checkpoint) -> tuple[int, ...]:
    """The tokens that are never put out, where probabilities are those among all others."""
    return suppressed(checkpoint) if checkpoint.generation.get("renormalize_logits") is True else ()


def _end_forced(checkpoint: Checkpoint, table: Settings) -> bool | None:
    """Whether an output at the length limit is forced to end."""
    value = checkpoint.generation.get("forced_eos_token_id")
    if value is None:
        return None
    if not set(value if isinstance(value, list) else [value]) <= set(ends(checkpoint)):
        raise table.wrong("forced_eos_token_id", "an end of outputs, an eos_token_id,")
    return True
