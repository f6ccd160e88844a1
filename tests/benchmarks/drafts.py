"""Speed of a lone stream with drafts and without, by what is asked: answers that repeat their prompt, and others.

    python tests/benchmarks/drafts.py BUNDLE --novels DIR [--rounds 3] [--threads 2]

BUNDLE is an instruct model, such as SmolLM2-135M-Instruct that smollm2.py imports; DIR holds novels (*.txt.gz), whose
paragraphs are the texts to edit and to summarize. Both sides answer the same prompts in turn, greedily
and with samples. Answers of int8 and int4 models differ by rounding, so what is compared is tokens a second, of all
answers of a kind. The last line is JSON.
"""

import argparse
import gzip
import json
import random
import re
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

from heed.models.decoding.drafts import Drafts
from heed.models.decoding.sampling import SampleConfig
from heed.models.tasks.generator import Generator
from heed.models.text.chat import Conversation

N_NEW = 150  # tokens of an answer, at most
N_PROMPTS = 4  # of a kind
CODE = Path(__file__).parents[2] / "models" / "decoding" / "sampling.py"
QUESTIONS = ("Explain how rain forms.", "Write a story about a dog.", "How do I learn a language?", "What is a sky?")


def paragraphs(novels: Path) -> Iterator[str]:
    """Some of medium length, in random order."""
    texts = [gzip.decompress(path.read_bytes()).decode("utf-8") for path in sorted(novels.glob("*.txt.gz"))]
    every = [" ".join(each.split()) for text in texts for each in text.split("\n\n")]
    found = [each for each in every if 300 < len(each) < 700]
    random.Random(5).shuffle(found)
    return iter(found)


def misspelt(text: str) -> str:
    """With two letters of every ninth word exchanged."""
    words = text.split()
    for place in range(0, len(words), 9):
        words[place] = re.sub(r"(\w{2})(\w)(\w)", r"\1\3\2", words[place], count=1)
    return " ".join(words)


def prompts(novels: Path) -> dict[str, list[str]]:
    """What is asked, by kind."""
    some, functions = paragraphs(novels), re.findall(r"def .*?(?=\n\n\n)", CODE.read_text("utf-8"), re.DOTALL)
    edit = "Correct the spelling mistakes in this text and write out the whole text:\n\n"
    return {
        "edit": [edit + misspelt(next(some)) for _ in range(N_PROMPTS)],
        "summary": [f"Summarize this text in two sentences:\n\n{next(some)}" for _ in range(N_PROMPTS)],
        "code": [f"Add comments to this Python function:\n\n{function}" for function in functions[:N_PROMPTS]],
        "question": list(QUESTIONS),
    }


def seconds_a_token(generator: Generator, asked: list[str], temperature: float) -> float:
    """Of all answers, with their prompts."""
    assert generator.chat_template is not None, "the model was taught no conversations"
    n_tokens, begin = 0, time.perf_counter()
    for number, prompt in enumerate(asked):
        room = generator.prompt_room(N_NEW)
        chat = Conversation(generator.chat_template, lambda text: len(generator.tokenizer.encode(text)), room)
        config = SampleConfig(temperature=temperature, top_p=0.9, seed=1, max_tokens=N_NEW)
        ((answer,),) = generator.generate([chat.ask(prompt)], config, numbers=[number])
        n_tokens += len(answer.tokens)
    return (time.perf_counter() - begin) / n_tokens


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--novels", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    generator = Generator.load(options.bundle, threads=options.threads)
    guess, found = Drafts.next, {}
    for kind, asked in prompts(options.novels).items():
        for temperature in (0, 0.7):
            ratios, rates = [], []
            for _ in range(options.rounds):
                Drafts.next = lambda *_: []  # type: ignore[method-assign]
                without = seconds_a_token(generator, asked, temperature)
                Drafts.next = guess  # type: ignore[method-assign]
                drafted = seconds_a_token(generator, asked, temperature)
                ratios.append(without / drafted)
                rates.append(1 / drafted)
            name = f"{kind}, {'samples' if temperature else 'greedy'}"
            found[name] = [round(statistics.median(rates), 1), round(statistics.median(ratios), 2)]
            print(f"{name:20} {found[name][0]:7.1f} tokens/s, {found[name][1]:.2f} times as fast", flush=True)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
