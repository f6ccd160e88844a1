"""What the first model itself translates of a text, as further pairs, so that training keeps what it knew."""

import json
import re
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

WORD = re.compile(r"\w+")
N_BEST = 4
OVERLAP = 2.0  # weight of the words shared with the reference, beside the score


def distilled(heed: str, bundle: Path, src: Path, tgt: Path) -> Iterator[tuple[str, str]]:
    """Each line with the best of its translations that keeps what both sides of the text have; not all lines have one.

    The best one has the highest sum of its score and of the share of words that it has in common with the text's.
    """
    command = [heed, "translate", "-m", str(bundle), "-i", str(src), "--json", "--n-best", str(N_BEST), "--no-repair"]
    seen = set()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        for line, reference in zip(process.stdout, tgt.read_text("utf-8").split("\n"), strict=False):
            record = json.loads(line)
            pair = record["source"], chosen(record, reference)
            if pair[1] and pair not in seen:
                seen.add(pair)
                yield pair
    assert process.returncode == 0


def chosen(record: dict[str, object], reference: str) -> str:
    """The best translation of a record of `heed translate --json`; empty if none keeps all."""
    source, words = set(WORD.findall(str(record["source"]))), Counter(WORD.findall(reference))
    kept = {word for word in source & words.keys() if word[0].isupper() or word[0].isdigit()}
    best, best_score = "", float("-inf")
    for found in [record, *record["alternatives"]]:  # type: ignore[misc]
        own = WORD.findall(found["translation"])
        if found["doubts"] or not kept <= set(own):
            continue
        shared = sum((Counter(own) & words).values()) / (len(own) + words.total() + 1)
        if (score := found["score"] + OVERLAP * shared) > best_score:
            best, best_score = found["translation"], score
    return best
