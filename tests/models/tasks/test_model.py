"""Loaded models in threads, after `close`, and in forked and spawned processes."""

import subprocess
import sys
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from heed.models.bundle.catalog import DEFAULT, DEFAULT_TEXT
from heed.models.decoding.sampling import SampleConfig
from heed.models.errors import ModelError
from heed.models.tasks.generator import Generator
from heed.models.tasks.scorer import Scorer
from heed.models.tasks.translation.translator import Translator

LINES = ["Good morning!", "I am hungry. Where is the station?", "The train leaves at 7:45."]
PROMPTS = ["ROMEO:", "The king", "", "What is"]
SAMPLING = SampleConfig(max_tokens=12, seed=3)


def test_threads_that_share_a_translator_get_what_one_alone_gets() -> None:
    with Translator.load(DEFAULT, threads=2) as translator:
        alone = [translator.translate([line])[0] for line in LINES]
        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(lambda number: translator.translate([LINES[number % 3]])[0], range(24)))
    assert [each.text for each in found] == [alone[number % 3].text for number in range(24)]


def test_threads_that_share_a_generator_get_what_one_alone_gets() -> None:
    with Generator.load(DEFAULT_TEXT, threads=1) as generator:
        alone = [generator.generate([prompt], SAMPLING)[0][0] for prompt in PROMPTS]
        streams = [generator.stream(prompt, SAMPLING) for prompt in PROMPTS]
        texts = ["" for _ in PROMPTS]
        begun = threading.Barrier(len(PROMPTS))

        def read(number: int) -> None:
            texts[number] += next(streams[number])
            begun.wait(30)  # all are in progress at once
            texts[number] += "".join(streams[number])

        with ThreadPoolExecutor(len(PROMPTS)) as pool:
            list(pool.map(read, range(len(PROMPTS))))
    assert texts == [each.text for each in alone]


def test_all_samples_of_all_prompts_stream_as_they_are_generated() -> None:
    with Generator.load(DEFAULT_TEXT, threads=1) as generator:
        config = SampleConfig(max_tokens=8, seed=3, n=2)
        expected = generator.generate(PROMPTS, config)
        found = {(i, j): "" for i in range(len(PROMPTS)) for j in range(2)}
        for i, j, text in generator.stream_all(PROMPTS, config):
            found[i, j] += text
    assert found == {(i, j): each.text for i, row in enumerate(expected) for j, each in enumerate(row)}


def test_a_stream_that_is_left_gives_its_state_to_the_next_one() -> None:
    with Generator.load(DEFAULT_TEXT, threads=1) as generator:
        expected = "".join(generator.stream("ROMEO:", SAMPLING))
        for _ in range(3):
            pieces = generator.stream("ROMEO:", SAMPLING)
            next(pieces)
            pieces.close()
            assert generator._states._free.qsize() == 1
        assert "".join(generator.stream("ROMEO:", SAMPLING)) == expected


USES: dict[str, tuple[Callable[[], Translator | Generator | Scorer], Callable[..., object]]] = {
    "translator": (lambda: Translator.load(DEFAULT, threads=2), lambda model: model.translate(LINES * 50)),
    "generator": (lambda: Generator.load(DEFAULT_TEXT), lambda model: list(model.stream("a", SAMPLING))),
    "search": (lambda: Generator.load(DEFAULT_TEXT), lambda model: model.search(["a"])),
    "scorer": (
        lambda: Scorer.load(DEFAULT_TEXT, "generate"),
        lambda model: model.score([model.passage("so")]),
    ),
}


@pytest.mark.parametrize("name", USES)
def test_a_closed_model_says_so(name: str) -> None:
    load, use = USES[name]
    model = load()
    with model:
        network = weakref.ref(model._states._load())
    assert network() is None  # its memory is free
    for _ in range(2):
        model.close()
        with pytest.raises(ModelError, match="this model is closed; load it again"):
            use(model)


FORKS = """
import os, signal, sys, threading
from heed.models.bundle.catalog import DEFAULT, DEFAULT_TEXT
from heed.models.decoding.sampling import SampleConfig
from heed.models.tasks.generator import Generator
from heed.models.tasks.translation.translator import Translator

translator, generator = Translator.load(DEFAULT, threads=2), Generator.load(DEFAULT_TEXT, threads=2)
lines, config = ["I am hungry.", "Good morning!"] * 4, SampleConfig(max_tokens=9, seed=1)

def work():
    return [each.text for each in translator.translate(lines)], "".join(generator.stream("ROMEO:", config))

expected = work()
stop, busy = threading.Event(), []
for _ in range(2):  # states are in use, and locks are held, in the moment of the fork
    busy.append(threading.Thread(target=lambda: [work() for _ in iter(stop.is_set, True)]))
    busy[-1].start()
statuses = []
for _ in range(2):
    child = os.fork()
    if child == 0:
        signal.alarm(60)
        same = work() == expected == work()
        sys.exit(0 if same else 9)  # the interpreter frees what it has, which must not hang either
    statuses.append(os.waitpid(child, 0)[1])
stop.set()
for thread in busy:
    thread.join()
print(statuses, work() == expected)
"""

SPAWNS = """
import multiprocessing
from heed.models.bundle.catalog import DEFAULT
from heed.models.tasks.translation.translator import Translator

def load():
    global translator
    translator = Translator.load(DEFAULT, threads=1)

def work(line):
    return translator.translate([line])[0].text

if __name__ == "__main__":
    lines = ["I am hungry.", "Good morning!"]
    with multiprocessing.get_context("spawn").Pool(2, load) as pool:
        found = pool.map(work, lines)
    load()
    print(found == [work(line) for line in lines])
"""


@pytest.mark.parametrize(("script", "printed"), [(FORKS, "[0, 0] True\n"), (SPAWNS, "True\n")])
def test_processes_that_are_forked_or_spawned_translate(script: str, printed: str, tmp_path: Path) -> None:
    file = tmp_path / "script.py"
    file.write_text(script)
    finished = subprocess.run([sys.executable, file], capture_output=True, text=True, timeout=120, check=False)
    assert (finished.stderr, finished.stdout) == ("", printed)
