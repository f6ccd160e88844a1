"""LibreTranslate's interface, with its own client and beyond it."""

import json
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from libretranslatepy import LibreTranslateAPI

from heed.cli.serve.limits import Limits
from heed.cli.serve.metrics import Metrics
from heed.cli.serve.models import ServedModels
from heed.models.bundle.catalog import DEFAULT, GERMAN
from heed.models.errors import ModelError
from heed.models.tasks.translation.translator import Translator
from tests.cli.serve.conftest import Client, running

REPAIRED = ["Ask Nakamura in 1987.", "The library owns 866,997 books.", "CALL OKSANA AT ONCE."]
LINES = ["Good morning!", "I am hungry. Where is the station?", "", "The train leaves at 7:45."]


@pytest.fixture(scope="module")
def translator() -> Iterator[Translator]:
    with Translator.load(DEFAULT, threads=1) as found:
        yield found


def test_the_client_of_libretranslate_translates(client: Client, translator: Translator) -> None:
    api = LibreTranslateAPI(client.url)
    assert api.languages() == [{"code": "en", "name": "English", "targets": ["de"]}]
    for line in LINES:
        assert api.translate(line, "en", "de") == translator.translate([line])[0].text


def translated(client: Client, **body: object) -> Any:
    answer = client.post("/translate", {"source": "en", "target": "de", **body})
    assert answer.status == 200, answer.content
    return answer.json


def test_a_list_and_a_text_of_lines_are_translated_line_by_line(client: Client, translator: Translator) -> None:
    expected = [found.text for found in translator.translate(LINES)]
    assert translated(client, q=LINES) == {"translatedText": expected}
    assert translated(client, q="\n".join(LINES)) == {"translatedText": "\n".join(expected)}
    assert translated(client, q=[]) == {"translatedText": []}


def test_alternatives_are_the_next_best_translations(client: Client, translator: Translator) -> None:
    best = [found.text for found in translator.n_best(["Good morning!"], n=3)[0]]
    found = {"translatedText": best[0], "alternatives": best[1:]}
    assert translated(client, q="Good morning!", alternatives=2) == found
    listed = {"translatedText": best[:1], "alternatives": [best[1:]]}
    assert translated(client, q=["Good morning!"], alternatives=2) == listed


def test_tags_of_html_stay(client: Client) -> None:
    text = translated(client, q="<p>Good <b>morning</b>!</p>", format="html")["translatedText"]
    assert text.startswith("<p>")
    assert text.endswith("</p>")
    assert "<b>" in text


def test_forms_are_read_like_json(client: Client) -> None:
    form = urlencode({"q": ["Good morning!", "Tom!"], "source": "en", "target": "de"}, doseq=True).encode()
    answer = client("POST", "/translate", form, content_type="application/x-www-form-urlencoded")
    assert answer.json == translated(client, q=["Good morning!", "Tom!"])


def test_what_many_clients_get_does_not_depend_on_the_others(client: Client, translator: Translator) -> None:
    expected = {line: translator.translate([line])[0].text for line in LINES}
    asked = LINES * 8
    before = client.figure("heed_lines_total")
    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(lambda line: translated(client, q=line)["translatedText"], asked))
    assert found == [expected[line] for line in asked]
    assert client.figure("heed_lines_total") == before + len(asked)


def test_processes_translate_what_one_translates(translator: Translator) -> None:
    """Two models in two processes; one of these is killed meanwhile."""
    expected = {line: translator.translate([line])[0].text for line in [*LINES, *REPAIRED]}
    metrics = Metrics()
    models = ServedModels.load([DEFAULT, GERMAN], Limits(), metrics, device="cpu", threads=2)
    try:
        with running(models, metrics) as client, ThreadPoolExecutor(16) as pool:

            def ask(line: str) -> Any:
                return translated(client, q=line)["translatedText"]

            asked = [*LINES, *REPAIRED] * 8
            found = list(pool.map(ask, asked))
            assert "morning" in translated(client, q="Guten Morgen!", source="de", target="en")["translatedText"]
            answers = pool.map(ask, asked)
            models._processes[0]._process.kill()
            found += list(answers)
            assert client.figure("heed_lines_total") == 2 * len(asked) + 1
    finally:
        models.close()
    assert found == [expected[line] for line in asked * 2]
    assert all(process._process.poll() is not None for process in models._processes)


def test_a_model_that_no_process_can_load_is_told_at_the_start(tmp_path: Path) -> None:
    model = shutil.copytree(DEFAULT, tmp_path / "model")
    (model / "encoder.onnx").write_bytes(b"")
    with pytest.raises(ModelError, match=r"encoder\.onnx has 0 bytes"):
        ServedModels.load([model], Limits(), Metrics(), device="cpu", threads=2)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"source": "de", "target": "en"}, "no model translates 'de' to 'en'. Pairs: en to de"),
        ({"source": "auto", "target": "de"}, "languages are not detected; name the source"),
        ({"source": "en"}, "missing required field `target`"),
        ({"source": "en", "target": "de", "q": 3}, r"Expected `str | array`, got `int` - at `$.q`"),
        ({"source": "en", "target": "de", "format": "pdf"}, "Invalid enum value 'pdf' - at `$.format`"),
        ({"source": "en", "target": "de", "alternatives": 9}, "at most 3 alternatives are found, not 9"),
        ({"source": "en", "target": "de", "secret": "x"}, "unknown field `secret`"),
    ],
)
def test_what_is_wrong_is_said(client: Client, body: dict[str, object], words: str) -> None:
    answer = client.post("/translate", {"q": "Hello!", **body})
    assert answer.status == 400
    assert words in answer.json["error"]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


def some_of(fields: dict[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[dict[str, Any]]:
    """Objects with some of these fields, right or wrong."""
    return st.fixed_dictionaries({}, optional={name: right | json_values for name, right in fields.items()})


bodies = some_of(
    {
        "q": st.text(max_size=30) | st.lists(st.text(max_size=10), max_size=4),
        "source": st.sampled_from(["en", "auto", "de"]),
        "target": st.just("de"),
        "format": st.sampled_from(["text", "html"]),
        "alternatives": st.integers(-1, 5),
    }
)
types = st.sampled_from(["application/json", "application/x-www-form-urlencoded", "text/plain", ""])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(body=st.binary(max_size=60) | bodies.map(lambda body: json.dumps(body).encode()), kind=types)
def test_any_body_gets_an_answer(client: Client, body: bytes, kind: str) -> None:
    answer = client("POST", "/translate", body, content_type=kind)
    assert answer.status == 200 or 400 <= answer.status < 500, (body, answer)
    assert b"Traceback" not in answer.content
    assert isinstance(answer.json["translatedText" if answer.status == 200 else "error"], str | list)
