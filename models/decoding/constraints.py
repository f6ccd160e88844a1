"""Constraints on a search: phrases that outputs must contain as whole words, each in one of its forms.

Hypotheses are grouped by the number of tokens they still lack. They compete only within their group, and the groups
share the beam (dynamic beam allocation: Post and Vilar, 2018, arXiv 1804.06609). So a term is placed where it costs
least.
"""

from collections.abc import Iterable, Sequence

import numpy as np

from heed.models.arrays import BoolArray, FloatArray, IntArray

Form = tuple[int, ...]  # token ids; a form that starts with bos_id fits only the beginning of an output
Phrase = Sequence[Form]  # forms, one of which must appear
Said = tuple[Form, frozenset[int]]  # the longest prefix of a form that is a suffix of the output; the phrases found


class Requirement:
    """What one output must contain, as a finite automaton over its tokens (Aho and Corasick, 1975).

    States are numbers; 0 is the initial one.

    Args:
        phrases: What must appear. The tokens of a form begin a new word.
        begins_word: Tokens that cannot continue a word: those that begin with a space or a punctuation mark, (V,).
        bos_id: The token before every output.
        refused: Tokens that must not appear, except in a phrase.
    """

    def __init__(
        self, phrases: Sequence[Phrase], begins_word: BoolArray, bos_id: int, refused: Iterable[int] = ()
    ) -> None:
        self._phrases, self._begins_word, self._bos_id = phrases, begins_word, bos_id
        self._beginnings = {form[:n] for forms in phrases for form in forms for n in range(1, len(form) + 1)}
        self._alphabet = {token for form in self._beginnings for token in form}
        self.refused = frozenset(refused) - self._alphabet
        self._states: dict[Said, int] = {}
        self._said: list[Said] = []
        self._lacks: list[int] = []
        self._next: dict[tuple[int, int, bool], int] = {}
        self._state((self._longest((bos_id,)), frozenset()))

    @property
    def tokens(self) -> list[int]:
        """The tokens of its phrases."""
        return sorted(self._alphabet - {self._bos_id})

    def lacks(self, state: int) -> int:
        """The number of tokens an output still lacks, if it takes the shortest forms one after another."""
        return self._lacks[state]

    def wanted(self, state: int) -> list[int]:
        """The tokens that reduce what is lacking."""
        ending, met = self._said[state]
        missing = self._missing(ending, met)
        forms = [form for number in missing for form in self._phrases[number]]
        return sorted({form[n] for form in forms for n in _begun(form, ending)} - {self._bos_id})

    def after(self, state: int, token: int) -> int:
        """The state after one more token."""
        begins_word = bool(self._begins_word[token])
        key = (state, token if token in self._alphabet else -1, begins_word)
        if key not in self._next:
            ending, met = self._said[state]
            if begins_word:
                met |= self._complete(ending)
            self._next[key] = self._state((self._longest((*ending, token)), met))
        return self._next[key]

    def _state(self, said: Said) -> int:
        if said not in self._states:
            self._states[said] = len(self._said)
            self._said.append(said)
            self._lacks.append(self._distance(*said))
        return self._states[said]

    def _longest(self, ending: Form) -> Form:
        """The longest suffix that is a prefix of a form."""
        return next(ending[n:] for n in range(len(ending) + 1) if ending[n:] in self._beginnings or n == len(ending))

    def _complete(self, ending: Form) -> frozenset[int]:
        """The phrases that an output ends with; they count if the word does not continue."""
        ends = {ending[n:] for n in range(len(ending))}
        return frozenset(number for number, forms in enumerate(self._phrases) if not ends.isdisjoint(forms))

    def _missing(self, ending: Form, met: frozenset[int]) -> list[int]:
        return sorted(set(range(len(self._phrases))) - met - self._complete(ending))

    def _distance(self, ending: Form, met: frozenset[int]) -> int:
        distances, most_saved = 0, 0
        for number in self._missing(ending, met):
            begun = [(form, _begun(form, ending)[-1]) for form in self._phrases[number]]
            whole = min(len(form) for form, _ in begun if form[0] != self._bos_id)
            rest = min(len(form) - n for form, n in begun if n or form[0] != self._bos_id)
            distances, most_saved = distances + whole, max(most_saved, whole - rest)
        return distances - most_saved


def _begun(form: Form, ending: Form) -> list[int]:
    """The lengths of proper prefixes of a form, including 0, that are suffixes of an ending."""
    return [n for n in range(min(len(form) - 1, len(ending)) + 1) if ending[len(ending) - n :] == form[:n]]


class Constraints:
    """The requirements of some sentences of a batch, R of them, and the automaton states of their hypotheses.

    Args:
        requirements: Those of each sentence of the batch, if it has any.
        max_lengths: The length limit of each sentence, in tokens, (B,).
        eos_id: The end token.
    """

    def __init__(self, requirements: Sequence[Requirement | None], max_lengths: IntArray, eos_id: int) -> None:
        self.rows: IntArray = np.array([row for row, each in enumerate(requirements) if each], dtype=np.int64)  # (R,)
        self._requirements = [each for each in requirements if each]
        self._max_lengths, self._eos_id = max_lengths[self.rows], eos_id
        self._states: IntArray = np.zeros((len(self.rows), 1), dtype=np.int64)  # (R, W)
        self._length = 0  # length of the hypotheses, in tokens

    @property
    def n_refused(self) -> int:
        """How many tokens the most of a sentence's must not appear: so many candidates more are needed."""
        return max((len(requirement.refused) for requirement in self._requirements), default=0)

    def wanted(self, shape: tuple[int, ...]) -> IntArray | None:
        """Additional candidate tokens for each hypothesis of the batch, (B, W, N): the end token, and tokens it lacks.

        Args:
            shape: B and W.
        """
        if not len(self.rows):
            return None
        rows = [
            [requirement.wanted(state) for state in states]
            for requirement, states in zip(self._requirements, self._states.tolist(), strict=True)
        ]
        n_wanted = 1 + max(len(tokens) for row in rows for tokens in row)
        found: IntArray = np.full((*shape, n_wanted), self._eos_id, dtype=np.int64)
        for r, w in np.ndindex(self._states.shape):
            found[self.rows[r], w, 1 : 1 + len(rows[r][w])] = rows[r][w]
        return found

    def hide(self, log_probs: FloatArray, n_wanted: int) -> None:
        """Set the log-probabilities of the wanted candidates, the last of (B, W, N), to -inf for other sentences."""
        others = np.delete(np.arange(len(log_probs)), self.rows)
        log_probs[others, :, -n_wanted:] = -np.inf

    def reorder(self, totals: FloatArray, tokens: IntArray, flat: FloatArray, order: IntArray) -> None:
        """Rank the candidates of the sentences with a requirement; see `order`.

        Args:
            totals: The log-probabilities of all, (B, W, N).
            tokens: Their last tokens, (B, W, N).
            flat: Of which those of these sentences are replaced, (B, W · N).
            order: As well, (B, W · N).
        """
        if len(self.rows):
            flat[self.rows], order[self.rows] = self.order(totals[self.rows], tokens[self.rows])

    def order(self, totals: FloatArray, tokens: IntArray) -> tuple[FloatArray, IntArray]:
        """Rank the candidates.

        Args:
            totals: Their log-probabilities, (R, W, N).
            tokens: Their last tokens, (R, W, N), with repetitions.

        Returns:
            The log-probabilities, (R, W · N), -inf for forbidden candidates, and their indices in the order in which
            they fill the beam, (R, W · N).
        """
        B, W, N = tokens.shape
        lacking = self._lacking(tokens)
        is_end = tokens == self._eos_id
        # Where the network would end the output, missing phrases could only be appended.
        is_over = (is_end & (lacking > 0) & (totals == totals.max(axis=2, keepdims=True))).any(axis=2, keepdims=True)
        left = self._max_lengths[:, None, None] - self._length - 1
        again = (tokens[..., :, None] == tokens[..., None, :]) & np.tri(N, k=-1, dtype=bool)
        refused = again.any(axis=-1) | (is_end & (lacking > 0))
        for row, requirement in enumerate(self._requirements):
            if requirement.refused:
                refused[row] |= np.isin(tokens[row], list(requirement.refused))
        late = ((lacking > left) | is_over) & ~is_end
        in_time = ~refused & ~late & np.isfinite(totals)
        refused |= late & in_time.any(axis=(1, 2), keepdims=True)  # if all are late, they continue
        totals = np.where(refused, -np.inf, totals).reshape(B, W * N).astype(np.float32)
        return totals, _in_turn(totals, lacking.reshape(B, W * N))

    def at_limit(self, log_probs: FloatArray, has_ended: BoolArray) -> FloatArray:
        """The hypotheses that may count as outputs at the length limit, although the network did not end them.

        Args:
            log_probs: Those of the batch, (B, W).
            has_ended: Whether an output of the sentence has ended normally; such outputs lack nothing, (B,).

        Returns:
            The log-probabilities, -inf for hypotheses that lack something, unless all of the sentence do.
        """
        lacking = np.zeros(log_probs.shape, dtype=np.int64)
        for row, requirement, states in zip(self.rows, self._requirements, self._states.tolist(), strict=True):
            lacking[row] = [requirement.lacks(state) for state in states]
        some_lack_nothing = has_ended | (np.isfinite(log_probs) & (lacking == 0)).any(axis=1)
        refused = (lacking > 0) & some_lack_nothing[:, None]
        return np.where(refused, -np.inf, log_probs).astype(np.float32)

    def _lacking(self, tokens: IntArray) -> IntArray:
        """The number of tokens that each candidate, (R, W, N), would still lack."""
        found = np.zeros_like(tokens)
        for row, requirement, states, of_row in zip(
            found, self._requirements, self._states.tolist(), tokens.tolist(), strict=True
        ):
            for w, (state, of_hypothesis) in enumerate(zip(states, of_row, strict=True)):
                row[w] = [requirement.lacks(requirement.after(state, token)) for token in of_hypothesis]
        return found

    def follow(self, parents: IntArray, tokens: IntArray) -> None:
        """Advance to the chosen hypotheses of the batch, given their parents and last tokens, (B, W)."""
        self._length += 1
        parents, tokens = parents[self.rows], tokens[self.rows]
        states = np.take_along_axis(self._states, parents, axis=1)
        self._states = np.array(
            [
                [requirement.after(state, token) for state, token in zip(*pairs, strict=True)]
                for requirement, *pairs in zip(self._requirements, states.tolist(), tokens.tolist(), strict=True)
            ],
            dtype=np.int64,
        ).reshape(tokens.shape)

    def keep(self, rows: IntArray) -> None:
        """Keep only these sentences of the batch, in this order."""
        new = {int(row): number for number, row in enumerate(rows)}
        self._keep(np.array([int(row) in new for row in self.rows], dtype=bool))
        self.rows = np.array([new[int(row)] for row in self.rows], dtype=np.int64)

    def forget(self, done: BoolArray) -> None:
        """Require nothing more of the sentences of the batch that are done, (B,)."""
        if done[self.rows].any():
            self._keep(~done[self.rows])

    def _keep(self, kept: BoolArray) -> None:
        self._requirements = [self._requirements[r] for r in np.flatnonzero(kept)]
        self.rows, self._states, self._max_lengths = self.rows[kept], self._states[kept], self._max_lengths[kept]


def _in_turn(totals: FloatArray, lacking: IntArray) -> IntArray:
    """Round robin over the groups: the best of those that lack least, of those that lack more, …, the second best."""
    best = np.argsort(-totals, axis=1, kind="stable")
    kinds = np.take_along_axis(lacking, best, axis=1)
    rank = (np.tril(kinds[:, :, None] == kinds[:, None, :], k=-1)).sum(axis=2)
    impossible = np.isinf(np.take_along_axis(totals, best, axis=1))
    turn = np.lexsort((kinds, rank, impossible), axis=1)
    order: IntArray = np.take_along_axis(best, turn, axis=1)
    return order
