"""`heed attention`, with the default models: on the terminal, as numbers, and as a page."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from rich.cells import cell_len

from heed.cli.attention.grid import grid
from heed.models.tasks.attention import rollout

Run = Callable[..., Result]
TEXT = "The animal didn't cross the street because it was too tired."
TARGET = "Das Tier überquerte die Straße nicht, weil es zu müde war."


def test_a_word_a_row(heed: Run) -> None:
    result = heed("attention", TEXT, "--target", TARGET, "--kind", "cross")
    lines = result.stdout.splitlines()
    assert lines[:2] == [f"source: {TEXT}", f"target: {TARGET}"]
    rows = [line.split(" ")[0] for line in lines[-14:]]
    assert rows == ["<s>", *TARGET.replace(",", " ,").replace(".", " .").split()]
    assert max(map(cell_len, lines[3:])) <= 80


def test_numbers_are_those_of_the_page_and_of_the_archive(heed: Run, tmp_path: Path) -> None:
    """JSON is over words, which are sums of the archive's tokens; rows sum to 1, and nothing comes from later ones."""
    file = tmp_path / "weights.npz"
    assert heed("attention", TEXT, "--target", TARGET, "-o", file).exit_code == 0
    record = json.loads(heed("attention", TEXT, "--target", TARGET, "--json").stdout)
    tokens = json.loads(heed("attention", TEXT, "--target", TARGET, "--json", "--tokens").stdout)
    with np.load(file) as arrays:
        for kind in ("encoder", "decoder", "cross"):
            words = np.array(record["attention"][kind]["weights"])
            assert_allclose(words.sum(-1), 1, rtol=0, atol=1e-3)
            assert_allclose(arrays[kind], tokens["attention"][kind]["weights"], rtol=0, atol=1e-5)
        assert (np.triu(np.array(record["attention"]["decoder"]["weights"]), 1) == 0).all()
        assert arrays["source_tokens"].tolist() == tokens["attention"]["encoder"]["keys"]


def test_a_language_model_attends_to_what_was_before(heed: Run) -> None:
    record = json.loads(heed("attention", "To be, or not to be", "-m", "shakespeare", "--json").stdout)
    assert list(record["attention"]) == ["decoder"]
    weights = np.array(record["attention"]["decoder"]["weights"])
    assert record["attention"]["decoder"]["queries"][1:] == ["To", "be", ",", "or", "not", "to", "be"]
    assert_allclose(weights.sum(-1), 1, rtol=0, atol=1e-3)
    assert (np.triu(weights, 1) == 0).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["  "], "There is no text to read."),
        (["Yes.", "--layer", 99], "--layer 99: there are"),
        (["Yes.", "--kind", "cross", "--rollout"], "leave out --kind cross"),
        (["Yes.", "-m", "shakespeare", "--kind", "encoder"], "this model has decoder attention alone"),
        (["Yes.", "-m", "shakespeare", "--target", "Ja."], "--target is for models that translate"),
        (["Yes.", "-o", "x.txt"], "ends with neither .html nor .npz"),
    ],
)
def test_what_cannot_be_shown_is_refused(heed: Run, arguments: list[object], message: str) -> None:
    result = heed("attention", *arguments)
    assert result.exit_code == 2
    assert message in result.stderr


def test_a_text_too_long_is_bad_data(heed: Run) -> None:
    result = heed("attention", "word " * 600, "--target", "Wort")
    assert result.exit_code == 3
    assert "tokens, and at most 512 can be shown; shorten it" in result.stderr


@given(st.integers(1, 4), st.integers(1, 3), st.integers(1, 5), st.integers(0, 9))
def test_rollout_is_a_product_of_half_attention_and_half_identity(
    n_layers: int, n_heads: int, n: int, seed: int
) -> None:
    weights = np.random.default_rng(seed).random((n_layers, n_heads, n, n), dtype=np.float32)
    weights = np.tril(weights + 0.01)
    weights /= weights.sum(-1, keepdims=True)
    found = rollout(weights)
    assert_allclose(found.sum(-1), 1, rtol=1e-5)
    assert (np.triu(found, 1) == 0).all()
    expected = np.eye(n)
    for layer in weights.mean(axis=1):
        expected = (layer / 2 + np.eye(n) / 2) @ expected
    assert_allclose(found[-1], expected, rtol=1e-4, atol=1e-6)


@given(
    st.lists(st.text("aé語 \u0301", min_size=1, max_size=30), min_size=1, max_size=90),
    st.integers(40, 200),
    st.booleans(),
)
def test_rows_fit_the_width(words: list[str], width: int, unicode: bool) -> None:
    weights = np.full((len(words), len(words)), 1 / len(words), dtype=np.float32)
    lines = grid(words, words, weights, width, unicode=unicode)
    assert max(cell_len(line.plain) for line in lines) <= width


@pytest.fixture(scope="module")
def page(heed: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("attention") / "page.html"
    assert heed("attention", TEXT, "--target", TARGET, "-o", file).exit_code == 0
    return file


def test_a_page_of_60_tokens_is_small_and_asks_for_nothing(heed: Run, tmp_path: Path) -> None:
    file, text = tmp_path / "page.html", " ".join([TEXT] * 5)
    assert heed("attention", text, "--target", " ".join([TARGET] * 5), "-o", file).exit_code == 0
    written = file.read_text("utf-8")
    assert len(written.encode()) < 1_000_000
    assert "default-src 'none'" in written
    assert not [part for part in ("http://", "https://", "src=", "@import", "url(") if part in written]


@pytest.mark.slow  # starting a browser takes seconds
@pytest.mark.parametrize(("scheme", "width"), [("light", 1200), ("dark", 390)])
def test_the_page_in_a_browser(browser: Any, page: Path, heed: Run, scheme: str, width: int) -> None:
    """Choose a kind, a layer and a head, hover a word, and do the same by keys; nothing is wider than a phone."""
    context = browser.new_context(color_scheme=scheme, viewport={"width": width, "height": 900})
    shown, wrong = context.new_page(), list[str]()
    shown.on("pageerror", lambda error: wrong.append(str(error)))
    shown.on("request", lambda request: wrong.append(request.url) if request.url.startswith("http") else None)
    shown.goto(page.as_uri())
    shown.wait_for_selector("body[data-ready]", timeout=60_000)
    assert shown.evaluate("document.documentElement.scrollWidth") <= width
    weights = json.loads(heed("attention", TEXT, "--target", TARGET, "--json").stdout)["attention"]
    maps = shown.locator("#maps canvas")
    assert maps.count() == len(weights["encoder"]["weights"]) * len(weights["encoder"]["weights"][0])

    def attended() -> list[str]:
        """The percentages under the words that the chosen one attends to."""
        return shown.locator("#keys .word small").all_inner_texts()

    def expected(kind: str, layer: int, head: int, query: int) -> list[str]:
        row = weights[kind]["weights"][layer][head][query]
        return [f"{each * 100:.0f}%" if each >= 0.01 else "" for each in row]

    def close(found: list[str], wanted: list[str]) -> bool:  # the page's weights are rounded to 1/255
        pairs = zip(found, wanted, strict=True)
        return all(abs(int(a.rstrip("%") or 0) - int(b.rstrip("%") or 0)) <= 1 for a, b in pairs)

    shown.locator("#kinds button", has_text="cross").click()
    shown.locator("#heads button", has_text="3").click()
    query = weights["cross"]["queries"].index("Straße")
    shown.locator("#queries .word", has_text="Straße").hover()
    assert close(attended(), expected("cross", 0, 2, query))
    shown.mouse.move(0, 0)  # a word that is drawn anew under the pointer would be chosen again
    shown.locator("#queries .word", has_text="Straße").focus()
    shown.keyboard.press("ArrowRight")
    assert close(attended(), expected("cross", 0, 2, query + 1))
    shown.keyboard.press("ArrowDown")
    assert close(attended(), expected("cross", 1, 2, query + 1))
    shown.locator("h1").click()
    shown.keyboard.press("k")
    assert shown.locator("#kinds button[aria-pressed=true]").inner_text() == "encoder"
    shown.keyboard.press("r")
    assert "rollout" in shown.locator("#what").inner_text()
    shown.keyboard.press("t")
    assert shown.locator("#keys .word").count() == len(
        json.loads(shown.locator("#data").inner_text())["sides"]["source"]["tokens"]
    )
    assert wrong == []
    context.close()
