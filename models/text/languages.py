"""Languages: their codes, and which one a text is in, by its most frequent words."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping

# Words that stand in nearly every text of a language, and hardly ever in one of the others.
_FREQUENT = {
    "de": "der die das und ist nicht ich ein eine mit den dem von zu auf für sie wir wird sich auch im",
    "en": "the and of to is that it was for with as you are this have not his be at by they what",
    "es": "el los las y en una por con del su pero más está muy yo lo todos cualquier",
    "fr": "le les des et est une que pas dans pour qui sur avec au du il je vous nous sont être",
    "it": "il di che è non per sono della si gli ma più anche questo mi ho nel alla",
    "nl": "de het een van dat niet op te zijn met voor ik maar hij aan ook er om bij",
    "pt": "o os que não da em um uma para com é no mais mas eu você foi ao",
}
_N_LANGUAGES = Counter(word for words in _FREQUENT.values() for word in words.split())
FREQUENT: Mapping[str, frozenset[str]] = {
    language: frozenset(word for word in words.split() if _N_LANGUAGES[word] == 1)
    for language, words in _FREQUENT.items()
}
ENOUGH = 12  # frequent words of a text before its language is told
CLEARLY = 2.5  # times as many as of any other language


def base_language(code: str | None) -> str:
    """The code of a language without its country or script: "de" of "de-AT", "pt" of "pt_BR"; "" of None."""
    return re.split("[-_]", (code or "").lower())[0]


class LanguageGuess:
    """Follows a text until its language is clear."""

    def __init__(self) -> None:
        self._found: Counter[str] = Counter()

    def add(self, lines: Iterable[str]) -> str | None:
        """The code of the language of all lines so far; None while that is not clear, or it is none of these."""
        for line in lines:
            for word in re.findall(r"[^\W\d_]+", line.lower()):
                self._found.update(language for language, words in FREQUENT.items() if word in words)
        (first, n), (_, other), *_ = [*self._found.most_common(2), ("", 0), ("", 0)]
        return first if n >= ENOUGH and n >= CLEARLY * other else None
