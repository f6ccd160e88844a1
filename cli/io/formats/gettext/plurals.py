"""Plural forms of gettext's catalogues."""

import gettext
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

# By language, as gettext's own table (plural-table.c) has them; where a language is not here, its catalogue must say.
ONE = "nplurals=1; plural=0;"
NOT_ONE = "nplurals=2; plural=(n != 1);"
MORE = "nplurals=2; plural=(n > 1);"
SLAVIC = (
    "nplurals=3; plural=(n%10==1 && n%100!=11 ? 0 : n%10>=2 && n%10<=4 && (n%100<10 || n%100>=20) ? 1 : 2);"
)  # fmt: skip
FORMS = {
    **dict.fromkeys(("ja", "vi", "ko", "zh", "th", "id", "ms"), ONE),
    **dict.fromkeys(
        ("en", "de", "nl", "sv", "da", "no", "nb", "nn", "fo", "is", "af", "es", "pt", "it", "ca", "gl"), NOT_ONE
    ),
    **dict.fromkeys(
        ("el", "bg", "fi", "et", "hu", "eu", "sq", "he", "tr", "eo", "hi", "bn", "ta", "te", "ur", "sw"), NOT_ONE
    ),
    **dict.fromkeys(("fr", "pt_BR"), MORE),
    **dict.fromkeys(("ru", "uk", "be", "sr", "hr", "bs"), SLAVIC),
    "lv": "nplurals=3; plural=(n%10==1 && n%100!=11 ? 0 : n != 0 ? 1 : 2);",
    "lt": "nplurals=3; plural=(n%10==1 && n%100!=11 ? 0 : n%10>=2 && (n%100<10 || n%100>=20) ? 1 : 2);",
    "ro": "nplurals=3; plural=(n==1 ? 0 : (n==0 || (n%100 > 0 && n%100 < 20)) ? 1 : 2);",
    "cs": "nplurals=3; plural=(n==1) ? 0 : (n>=2 && n<=4) ? 1 : 2;",
    "sk": "nplurals=3; plural=(n==1) ? 0 : (n>=2 && n<=4) ? 1 : 2;",
    "pl": "nplurals=3; plural=(n==1 ? 0 : n%10>=2 && n%10<=4 && (n%100<10 || n%100>=20) ? 1 : 2);",
    "sl": "nplurals=4; plural=(n%100==1 ? 0 : n%100==2 ? 1 : n%100==3 || n%100==4 ? 2 : 3);",
    "ga": "nplurals=3; plural=n==1 ? 0 : n==2 ? 1 : 2;",
    "ar": "nplurals=6; plural=n==0 ? 0 : n==1 ? 1 : n==2 ? 2 : n%100>=3 && n%100<=10 ? 3 : n%100>=11 ? 4 : 5;",
}
HEADER = re.compile(r"nplurals\s*=\s*(\d+)\s*;\s*plural\s*=\s*([^;\n]+)")
TRIED = range(201)  # numbers that tell what a form is for


class Plurals:
    """The plural forms of a language.

    Args:
        header: What a catalogue says of them, as "nplurals=2; plural=(n != 1);".

    Raises:
        ValueError: That says nothing of the kind.
    """

    def __init__(self, header: str) -> None:
        match = HEADER.search(header)
        if match is None:
            raise ValueError(f"no plural forms: {header!r}")
        self.n_forms = int(match[1])
        # The standard library's, which translates the expression of C that a catalogue gives; it has no other name.
        choose: Callable[[int], int] = gettext.c2py(match[2].strip())
        self._numbers = [[n for n in TRIED if choose(n) == form] for form in range(self.n_forms)]

    def is_singular(self, form: int) -> bool:
        """Whether a form is that of the number one, and not the only one."""
        return self.n_forms > 1 and 1 in self._numbers[form]

    def is_one_alone(self, form: int) -> bool:
        """Whether a form is of the number one and of no other, so that it need not tell the number."""
        return self._numbers[form] == [1]


def of_language(language: str) -> str | None:
    """What the header of a catalogue in a language says, as "de" or "pt_BR"; None where it is not known."""
    name = language.replace("-", "_")
    return FORMS.get(name) or FORMS.get(name.partition("_")[0])
