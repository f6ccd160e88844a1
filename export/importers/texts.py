"""Texts of a proof: ordinary ones in some languages, and some that break careless tokenizers."""

# ruff: noqa: RUF001 - these texts are odd on purpose

import dataclasses
import itertools
import math
from functools import cached_property
from pathlib import Path

from heed.models.decoding.config import SpecialIds
from heed.models.spec.conventions import Conventions
from heed.models.spec.embedding import EmbeddingSpec
from heed.models.spec.network import NetworkSpec
from heed.models.spec.parameters import parameters
from heed.models.tasks.scorer import ScoringInput
from heed.models.tokenizers.loading import line_tokenizers, reader, text_tokenizer
from heed.models.tokenizers.protocol import LineTokenizer
from heed.models.tokenizers.reader import Reader

LONGEST = 40  # tokens of a text
ORDINARY = """
Good morning! How are you today?
The train to Hamburg leaves from platform seven at half past nine.
She had never seen the sea before, and she could not stop looking at it.
Water boils at a lower temperature on high mountains because the pressure there is lower.
If it rains tomorrow, we will stay at home and play chess.
The committee has decided to postpone its decision until the report is published.
"I don't believe you," he said, "but I will come with you anyway."
Please send me the invoice before the end of the month; otherwise we cannot pay it in time.
Two plus two is four, and three times seven is twenty-one.
The capital of France is Paris, and the capital of Italy is Rome.
In 1969, two people walked on the moon for the first time.
My grandmother keeps bees, grows potatoes and speaks five languages.
The software reads a file line by line and writes the results to another file.
Nobody knows why the old lighthouse was abandoned so suddenly.
A translation that is correct can still be hard to read.
The museum is closed on Mondays, but its garden is always open.
We walked along the river until it became too dark to see the path.
Scientists have found a new kind of beetle in the rain forest of Borneo.
Do you know where I could buy a ticket for the concert tonight?
Prices rose by 3.5 percent in March, more than economists had expected.
Guten Morgen! Wie geht es Ihnen heute?
Der Zug nach Hamburg fährt um halb zehn von Gleis sieben ab.
Wenn es morgen regnet, bleiben wir zu Hause und spielen Schach.
Niemand weiß, warum der alte Leuchtturm so plötzlich verlassen wurde.
Le musée est fermé le lundi, mais son jardin est toujours ouvert.
Ma grand-mère élève des abeilles et parle cinq langues.
¿Sabe usted dónde puedo comprar una entrada para el concierto?
El agua hierve a menor temperatura en las montañas altas.
Il treno per Roma parte alle nove e mezza dal binario sette.
De trein naar Amsterdam vertrekt om half tien van spoor zeven.
Поезд в Москву отправляется в половине десятого.
Воду кипятят, чтобы заварить чай.
今日はいい天気ですね。散歩に行きましょう。
今天天气很好，我们去公园散步吧。
오늘은 날씨가 좋네요. 산책하러 갑시다.
صباح الخير! كيف حالك اليوم؟
शुभ प्रभात! आज आप कैसे हैं?
Chào buổi sáng! Hôm nay bạn thế nào?
""".strip().splitlines()
NASTY = [
    "  two spaces before,  two within, and two after  ",
    "tabs\tand\tmore\ttabs",
    "no-break\u00a0space, thin\u2009space, ideographic\u3000space, zero\u200bwidth",
    "Numbers: 0 1 12 123 1234 12345 1,234,567.89 −40 °C 3/4 ½ x² 10⁻³",
    "ﬁne ligatures, ｆｕｌｌ ｗｉｄｔｈ, e\u0301 and é, Ångström and Å",
    "https://example.org/a?b=c&d=%20e#f and someone@example.com",
    "def f(x):\n    return {x: [1, 2.5, 'y']}  # code",
    "ALL CAPITALS, camelCase, snake_case, kebab-case, l33t",
    "don't can't it's we'll they've I'M YOU'RE",
    "„quotes“ “of” ‘many’ «kinds» 「括弧」 … – — ―",
    "emoji: 😀 👩‍👩‍👧‍👦 🇩🇪 ✈️ and 𝒎𝒂𝒕𝒉",
    "<b>bold</b> &amp; <unused> [MASK] {braces} ▁ Ġ ##piece",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "Donaudampfschifffahrtsgesellschaftskapitänsmütze",
    "a",
    ".",
    "٣٫١٤ १२३ ๑๒๓ ①②③ Ⅻ",
    "ไม่มีช่องว่างระหว่างคำในภาษาไทย",
]
TEXTS = ORDINARY + NASTY
# Ids cost little to compare, so more texts are read for them: capitals, halves that may end within a word, and pairs.
VARIANTS = [
    *TEXTS,
    *(text.upper() for text in TEXTS),
    *(text[: len(text) // 2] for text in TEXTS if len(text) > 1),
    *(f"{text} {other}" for text, other in itertools.pairwise(TEXTS)),
]
# Operations of a proof on either side, and how many tokens it computes for a text: it reads 40 and searches twice.
OPERATIONS, TOKENS = 3 * 10**12, 200
FEWEST = 4  # texts


@dataclasses.dataclass(frozen=True)
class UnfinishedBundle:
    """A bundle that is being made: what its network reads."""

    directory: Path  # where its tokenizers are
    spec: NetworkSpec
    conventions: Conventions
    languages: tuple[str, str]  # of source and target, where the network is told of them
    embedding: EmbeddingSpec  # of an encoder alone

    @cached_property
    def lines(self) -> tuple[LineTokenizer, LineTokenizer]:
        """The tokenizers of source and target, of a model that translates."""
        return line_tokenizers(self.directory, self.spec, self.conventions, self.languages)

    @cached_property
    def reader(self) -> Reader:
        """What reads texts for an encoder alone."""
        return reader(self.directory, self.spec, self.conventions)

    @property
    def special(self) -> SpecialIds:
        """Its special token ids."""
        if self.spec.encoder:
            return SpecialIds.of(self.lines[1])
        return SpecialIds.of(text_tokenizer(self.directory, self.spec, self.conventions))

    def read(self, texts: list[str]) -> list[list[int]]:
        """The token ids of texts, with those around them: of sources, or of texts to be continued."""
        if self.spec.decoder is None:
            return self.reader.encode(texts)
        if self.spec.encoder is None:
            begin = [self.conventions.start_id] * self.conventions.starts_texts
            tokenizer = text_tokenizer(self.directory, self.spec, self.conventions)
            return [begin + ids for ids in tokenizer.encode_all(texts)]
        src, _ = self.lines
        return [[*ids, src.eos_id] for ids in src.encode(texts)]

    def rows(self) -> list[list[int]]:
        """The texts of the proof as an encoder alone reads them, without those longer than it reads."""
        longest = self.spec.last.n_positions
        return [row for row in self.read(TEXTS) if longest is None or len(row) <= longest]

    def passages(self) -> list[ScoringInput]:
        """The texts of the proof, fewer for a large network.

        In a model that translates, each source has another text as its translation.
        """
        found = self._all_passages()
        n_parameters = sum(map(math.prod, parameters(self.spec).values()))
        n_texts = max(FEWEST, OPERATIONS // (2 * n_parameters * TOKENS))
        return found[:: -(-len(found) // n_texts)]

    def _all_passages(self) -> list[ScoringInput]:
        fitting = [stack.n_positions for stack in self.spec.stacks.values() if stack.n_positions is not None]
        longest = max(1, min([LONGEST, *(n - 4 for n in fitting)]))
        if self.spec.encoder is None:
            tokenizer = text_tokenizer(self.directory, self.spec, self.conventions)
            encoded = [ids[:longest] for ids in tokenizer.encode_all(TEXTS)]
            return [ScoringInput([], [*ids, tokenizer.eos_id]) for ids in encoded]
        src, tgt = self.lines
        pairs = zip(src.encode(TEXTS), tgt.encode(TEXTS[1:] + TEXTS[:1]), strict=True)
        return [
            ScoringInput(list(tgt.forced), [*other[:longest], tgt.eos_id], [*source[:longest], src.eos_id])
            for source, other in pairs
        ]
