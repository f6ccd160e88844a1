"""Whether a text is in the language that a model translates from."""

from collections.abc import Sequence

from heed.cli import messages
from heed.models.bundle import catalog
from heed.models.text.languages import LanguageGuess

LINES = 1000  # that are looked at, at most


class SourceLanguage:
    """Warns once of a text that is in another language.

    Args:
        expected: The code of the language that the model translates from; empty: it is not known.
    """

    def __init__(self, expected: str) -> None:
        self._expected, self._guess, self._n_left = expected, LanguageGuess(), LINES if expected else 0

    def look(self, texts: Sequence[str]) -> None:
        """Look at the next lines of the text."""
        if not self._n_left:
            return
        found = self._guess.add(texts[: self._n_left])
        self._n_left = 0 if found else max(0, self._n_left - len(texts))
        if found and not catalog.fits((found, ""), (self._expected, "")):
            from heed.cli.language_names import language_name  # imported here, because hardly any text needs it

            messages.warning(
                f"the text looks like {language_name(found)}, and the model translates from {self._expected}; "
                f"--from {found} chooses another model"
            )
