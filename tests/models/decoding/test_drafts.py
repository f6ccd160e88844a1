"""Drafts: what followed the last tokens before."""

from hypothesis import given
from hypothesis import strategies as st

from heed.models.decoding.drafts import FIRST, MOST, Drafts, N

TEXTS = st.lists(st.integers(0, 2), max_size=40)


def occurrences(tokens: list[int]) -> list[int]:
    """The places after earlier occurrences of the last tokens."""
    return [place for place in range(N, len(tokens)) if tokens[place - N : place] == tokens[-N:]]


@given(TEXTS, st.integers(0, 10))
def test_a_draft_is_what_followed_the_last_occurrence(tokens: list[int], limit: int) -> None:
    places = occurrences(tokens) if len(tokens) >= N else []
    expected = tokens[places[-1] :][: min(FIRST, limit)] if places else []
    assert Drafts().next(tokens, limit) == expected


@given(TEXTS, st.data())
def test_a_text_that_grows_is_read_as_if_at_once(tokens: list[int], data: st.DataObject) -> None:
    drafts, n = Drafts(), 0
    while n < len(tokens):
        n = data.draw(st.integers(n + 1, len(tokens)))
        found = drafts.next(tokens[:n], 8)
        assert found == Drafts().next(tokens[:n], 8)


def test_right_drafts_become_longer_and_wrong_ones_shorter() -> None:
    drafts, text = Drafts(), [*range(20), 0, 1, 2]
    assert drafts.next(text, 20) == [*range(3, 3 + FIRST)]
    drafts.judge(FIRST, FIRST)
    assert drafts.next(text, 20) == [*range(3, 3 + 2 * FIRST)]
    drafts.judge(2 * FIRST, 2 * FIRST)
    assert len(drafts.next(text, 20)) == MOST
    drafts.judge(MOST, 2)
    assert len(drafts.next(text, 20)) == 2
    drafts.judge(2, 0)
    assert len(drafts.next(text, 20)) == 1
    drafts.judge(0, 0)  # no draft says nothing
    assert len(drafts.next(text, 20)) == 1
