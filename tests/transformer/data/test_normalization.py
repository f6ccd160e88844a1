# ruff: noqa: RUF001 - of other scripts, and other forms of characters
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heed.transformer.data.normalization import SPACES, normalizer

LETTERS = st.characters(exclude_categories=["Cs", "Cn", "Mn", "Mc", "Me"], exclude_characters=SPACES + "\x00")


@given(st.text(LETTERS, max_size=12))
def test_nfc_is_unicode_s(text: str) -> None:
    expected = unicodedata.normalize("NFC", text)
    for form in ("NFC", "NFD"):
        assert normalizer("nfc").normalize(unicodedata.normalize(form, text)) == expected


@pytest.mark.parametrize(
    "text", ["嗨！", "…", "№", "™", "１２", "ﬁ", "«\u00a0a\u00a0»", "\u3000", "می\u200cخواهم", " a  b "]
)
def test_nfc_leaves_what_nfkc_would_change(text: str) -> None:
    assert normalizer("nfc").normalize(text) == text


def test_nfkc_makes_one_form() -> None:
    assert normalizer("nfkc").normalize("！…№™１ﬁ") == "!...NoTM1fi"


@pytest.mark.parametrize("normalization", ["nfc", "nfkc"])
def test_a_line_end_within_a_text_is_a_space(normalization: str) -> None:
    """A translation that held one would be two lines."""
    assert normalizer(normalization).normalize("a\nb\tc\u2028d\r\ne").replace("  ", " ") == "a b c d e"
