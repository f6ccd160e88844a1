"""Why a translation is not to be trusted, as far as the model itself can tell."""

from heed.models.tasks.translation import Translation

# A confidence below this one is told. With the default model of 0.1, 0.8 % of the translations of 1,000 sentences as it was
# trained on are below, and 47 % of 300 sentences of software, handbooks and games, of which it knows nothing: there a third
# of those above have a chrF below 25, and of those below two thirds.
UNLIKELY = 0.45


def doubts(translation: Translation) -> list[str]:
    """The reasons to doubt a translation, in words; none for most."""
    found = []
    if translation.confidence < UNLIKELY:
        found.append("unlikely")
    if translation.looped:
        found.append("repeats itself, or has no end")
    return found + [f"lost {text}" for text in dict.fromkeys(translation.lost)]
