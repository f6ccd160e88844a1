"""Why a translation is not to be trusted, as far as the model itself can tell."""

from heed.models.tasks.translation.translation import Translation

# A confidence below this one is told. Below it are, with the default model of 0.1, 0.8 % of the translations of 1,000
# sentences as it was trained on, and 47 % of 300 of software, handbooks and games, of which it knows nothing: 72 % of
# these have a chrF below 25, and 40 % of those above.
UNLIKELY = 0.45


def doubts(translation: Translation) -> list[str]:
    """The reasons to doubt a translation, in words; none for most."""
    found = []
    if translation.confidence < UNLIKELY:
        found.append("unlikely")
    if translation.looped:
        found.append("repeats itself, or has no end")
    return found + [f"lost {text}" for text in dict.fromkeys(translation.lost)]
