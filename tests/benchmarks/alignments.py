"""Word alignments against links made by hand, beside IBM models.

    python tests/benchmarks/alignments.py TATOEBA [-m MODEL]

TATOEBA is the .tsv.gz of the training pairs. The links are those of tests/data/tatoeba.links. Prints the alignment
error rate (Och and Ney, 2003, "A Systematic Comparison of Various Statistical Alignment Models"), precision, recall and
milliseconds a line of attention, of hiding words, and of IBM Model 1 of both directions, which is estimated by the code
that learns shortlists, over the training pairs and those with links. Of the first two also the share of words whose
tags, put around one word of the source at a time, come to stand around the words that it is linked with. The last line
is JSON.
"""

import argparse
import gzip
import itertools
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from heed.export.alignment_heads import choose_heads
from heed.models.bundle.bundle import Bundle
from heed.models.bundle.catalog import find
from heed.models.decoding.config import AlignmentHeads, SpecialIds
from heed.models.runtime.attention import AttentionGraphs
from heed.models.runtime.states import States
from heed.models.tasks.scorer import ScoringInput
from heed.models.tasks.translation.aligner import Aligner
from heed.models.tasks.translation.translation import word_pairs
from heed.models.text.markup.inline import put_back, take_out
from heed.models.text.words import overlap, spaced_words
from heed.transformer.data.batching.pairs import Pairs
from heed.transformer.data.shortlist import translation_probabilities

if TYPE_CHECKING:
    from collections.abc import Callable

DATA = Path(__file__).parents[1] / "data"
NEAR = 4.0  # how fast the share falls with the distance from the diagonal, as in fast_align (Dyer et al., 2013)
Links = set[tuple[int, int]]
Texts = tuple[str, str]
Table = dict[tuple[str, str], float]  # the probability of the second word where the first is on the other side


def test_pairs() -> list[Texts]:
    """The sentence pairs of the test set."""
    sides = ((DATA / f"tatoeba.test.{side}").read_text("utf-8").splitlines() for side in ("en", "de"))
    return list(zip(*sides, strict=True))


def links_by_hand() -> dict[int, tuple[Links, Links]]:
    """Sure links, and possible ones with the sure ones, by the index of the line."""
    found = {}
    for line in (DATA / "tatoeba.links").read_text("utf-8").splitlines():
        number, *pairs = line.split()
        sure, others = (
            {(int(i), int(j)) for i, j in (pair.split(mark) for pair in pairs if mark in pair)} for mark in "-?"
        )
        found[int(number) - 1] = sure, sure | others
    return found


def rates(found: list[Links], wanted: list[tuple[Links, Links]]) -> dict[str, float]:
    """Alignment error rate, precision by possible links and recall of sure ones."""
    n, n_sure = sum(map(len, found)), sum(len(sure) for sure, _ in wanted)
    right = sum(len(each & possible) for each, (_, possible) in zip(found, wanted, strict=True))
    hit = sum(len(each & sure) for each, (sure, _) in zip(found, wanted, strict=True))
    values = {"error_rate": 1 - (right + hit) / (n + n_sure), "precision": right / n, "recall": hit / n_sure}
    return {name: round(value, 4) for name, value in values.items()}


def words(text: str) -> list[str]:
    """The words that white space separates, in small letters and without marks at their ends."""
    return [text[start:end].lower() for start, end in spaced_words(text)]


def model_1(pairs: list[tuple[list[str], list[str]]]) -> Table:
    """IBM Model 1 of the second side given the first."""
    numbers: tuple[dict[str, int], dict[str, int]] = ({}, {})
    sides = [[[of.setdefault(word, len(of)) for word in pair[s]] for pair in pairs] for s, of in enumerate(numbers)]
    names = [list(of) for of in numbers]
    src, tgt, probability = translation_probabilities(Pairs.of(*sides), len(names[1]))
    found = zip(src.tolist(), tgt.tolist(), probability.tolist(), strict=True)
    return {(names[0][i], names[1][j]): p for i, j, p in found}


def best_sources(table: Table, src: list[str], tgt: list[str], near: float) -> Links:
    """The likeliest source word of each target word."""
    found = set()
    for j, word in enumerate(tgt):
        places = [abs((i + 0.5) / len(src) - (j + 0.5) / len(tgt)) for i in range(len(src))]
        scores = [table[other, word] * np.exp(-near * place) for other, place in zip(src, places, strict=True)]
        found.add((int(np.argmax(scores)), j))
    return found


def grown(one: Links, other: Links) -> Links:
    """The links of both directions, and those of one that words without links need: grow-diag-final-and."""
    found, union = one & other, one | other
    around = [step for step in itertools.product((-1, 0, 1), repeat=2) if step != (0, 0)]
    while True:
        more = {
            (i, j)
            for i, j in union - found
            if any((i + a, j + b) in found for a, b in around) and (_free(found, 0, i) or _free(found, 1, j))
        }
        if not more:
            break
        found.add(min(more))
    for i, j in sorted(union):
        if _free(found, 0, i) and _free(found, 1, j):
            found.add((i, j))
    return found


def _free(links: Links, side: int, word: int) -> bool:
    return all(link[side] != word for link in links)


def statistical(path: Path, chosen: list[Texts], wanted: list[tuple[Links, Links]]) -> dict[str, dict[str, float]]:
    """The rates of IBM Model 1, alone and with a preference for the diagonal."""
    lines = gzip.decompress(path.read_bytes()).decode().splitlines()
    text = [tuple(line.split("\t")[:2]) for line in lines] + chosen
    pairs = [(src, tgt) for src, tgt in ((words(one), words(other)) for one, other in text) if src and tgt]
    start = time.process_time()
    tables = model_1(pairs), model_1([(tgt, src) for src, tgt in pairs])
    seconds, figures = time.process_time() - start, dict[str, dict[str, float]]()
    combinations: dict[str, Callable[[Links, Links], Links]] = {
        "one direction": lambda one, _: one,
        "both": lambda one, other: one & other,
        "grown": grown,
    }
    for name, near in (("Model 1", 0.0), ("Model 1, near the diagonal", NEAR)):
        start, both = time.perf_counter(), list[tuple[Links, Links]]()
        for src, tgt in pairs[-len(chosen) :]:
            back = best_sources(tables[1], tgt, src, near)
            both.append((best_sources(tables[0], src, tgt, near), {(i, j) for j, i in back}))
        of_line = (time.perf_counter() - start) / len(chosen)
        for way, combine in combinations.items():
            found = rates([combine(*each) for each in both], wanted)
            figures[f"{name}, {way}"] = {**found, "ms_a_line": round(1000 * of_line, 2)}
    return {**figures, "Model 1, training": {"pairs": len(pairs), "seconds": round(seconds, 1)}}


def heads_of(bundle: Bundle, pairs: list[Texts]) -> AlignmentHeads | None:
    """The bundle's heads, or those that its export would choose now by these pairs."""
    if bundle.manifest.alignment:
        return bundle.manifest.alignment
    src, tgt = bundle.tokenizers()
    sides = (tokenizer.encode(list(side)) for tokenizer, side in zip((src, tgt), zip(*pairs, strict=True), strict=True))
    passages = [ScoringInput([], [*b, tgt.eos_id], [*a, src.eos_id]) for a, b in zip(*sides, strict=True)]
    special = SpecialIds(bos_id=tgt.bos_id, eos_id=tgt.eos_id, suppressed=tgt.suppressed)
    network = bundle.network(device="cpu", threads=1)
    return choose_heads(bundle.path, network, list(bundle.manifest.files), passages, special)


def neural(
    bundle: Bundle, heads: AlignmentHeads | None, chosen: list[Texts], wanted: list[tuple[Links, Links]]
) -> dict[str, dict[str, float]]:
    """The rates of attention and of hiding words."""
    states, tokenizers = States(lambda: bundle.network(device="cpu", threads=1)), bundle.tokenizers()

    def graphs() -> AttentionGraphs:
        layers, files = {"cross": [heads.layer]} if heads else {}, bundle.manifest.files
        return AttentionGraphs(bundle.path, bundle.manifest.network, files, device="cpu", threads=1, layers=layers)

    aligners = {"attention": Aligner(tokenizers, states, graphs, heads)} if heads else {}
    figures = {}
    for name, aligner in {**aligners, "hiding words": Aligner(tokenizers, states)}.items():
        aligner.links(chosen[:1])  # loads the graphs
        start = time.perf_counter()
        links = aligner.links(chosen)
        seconds = time.perf_counter() - start
        found = [set(word_pairs(src, tgt, of or [])) for (src, tgt), of in zip(chosen, links, strict=True)]
        figures[name] = {**rates(found, wanted), "ms_a_line": round(1000 * seconds / len(chosen), 2)}
        figures[name]["tags_right"] = tags_right(aligner, chosen, wanted)
    return figures


def tags_right(aligner: Aligner, chosen: list[Texts], wanted: list[tuple[Links, Links]]) -> float:
    """The share of source words whose tags enclose all words with sure links, and none but possible ones."""
    right = []
    for (src, tgt), (sure, possible) in zip(chosen, wanted, strict=True):
        shares, targets = aligner.shares(src, tgt), spaced_words(tgt)
        for i, (start, end) in enumerate(spaced_words(src)):
            must, may = ({b for a, b in links if a == i} for links in (sure, possible))
            if not must:
                continue
            line = f"{src[:start]}<b>{src[start:end]}</b>{src[end:]}"
            marked = take_out(line, [(start, start + 3), (end + 3, end + 7)])
            assert marked is not None
            before, _, rest = put_back(marked, tgt, shares).partition("<b>")
            span = len(before), len(before) + len(rest.partition("</b>")[0])
            enclosed = {j for j, target in enumerate(targets) if overlap(span, target)}
            right.append(must <= enclosed <= may)
    return round(float(np.mean(right)), 4)


def main() -> None:
    """Run the comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tatoeba", type=Path)
    parser.add_argument("-m", "--model")
    arguments = parser.parse_args()
    every, by_hand = test_pairs(), links_by_hand()
    chosen, wanted = [every[i] for i in by_hand], list(by_hand.values())
    bundle = Bundle(find(arguments.model))
    heads = heads_of(bundle, [pair for i, pair in enumerate(every) if i not in by_hand])
    figures = neural(bundle, heads, chosen, wanted) | statistical(arguments.tatoeba, chosen, wanted)
    for name, of in figures.items():
        print(f"{name:42}", of)
    chosen_heads = {"layer": heads.layer, "heads": heads.heads, "agreement": heads.agreement} if heads else None
    print(json.dumps({"pairs": len(chosen), "heads": chosen_heads, **figures}))


if __name__ == "__main__":
    main()
