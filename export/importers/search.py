"""How a checkpoint's outputs are searched for, as transformers would."""

from heed.export.importers.formats.checkpoint import Checkpoint
from heed.export.importers.formats.settings import Settings
from heed.models.decoding.config import DecodeConfig

# Settings that change what is put out, by what leaves it alone; heed knows no other value of them.
NEUTRAL: dict[str, tuple[object, ...]] = {
    "begin_suppress_tokens": ([],),
    "diversity_penalty": (0,),
    "encoder_no_repeat_ngram_size": (0,),
    "exponential_decay_length_penalty": (),
    "num_beam_groups": (1,),
}
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
    return DecodeConfig(
        beam_size=table.integer("num_beams", 1),
        length_penalty=table.number("length_penalty", 1.0),
        by_length=True,
        stop=STOPS[early],
        max_length=longest or None,
        min_length=shortest if shortest > 0 else None,
        no_repeat_ngram=repeats or None,
        repetition_penalty=penalty if penalty != 1 else None,
    )
