"""From checkpoints to bundles by the command, and their outputs against transformers'."""

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tokenizers
import torch
import transformers
from click.testing import Result

from heed.export.importers.chat import chat_template
from heed.export.importers.texts import ORDINARY, TEXTS, VARIANTS
from heed.models.bundle.bundle import Bundle
from heed.models.decoding.sampling import SampleConfig
from heed.models.errors import ModelError
from heed.models.tasks.generator import Generator
from heed.models.tasks.translation.translator import Translator
from tests.export.importers import tiny

LINES = [" ".join(text.split()) for text in TEXTS]


@pytest.fixture(scope="module")
def marian_bundle(marian: Path, heed: Callable[..., Result]) -> Path:
    path = marian.parent / "marian-bundle"
    result = heed("import", marian, "-o", path, "--to", "de", "--licence", "CC0")
    assert result.exit_code == 0, result.stderr
    return path


@pytest.fixture(scope="module")
def llama_bundle(llama: Path, heed: Callable[..., Result]) -> Path:
    path = llama.parent / "llama-bundle"
    result = heed("import", llama, "-o", path)
    assert result.exit_code == 0, result.stderr
    return path


@pytest.mark.parametrize("name", ["marian", "llama"])
def test_the_manifest_says_how_it_compares_with_the_original(name: str, request: pytest.FixtureRequest) -> None:
    bundle = Bundle(request.getfixturevalue(f"{name}_bundle"))
    compared = bundle.manifest.compared
    assert compared is not None
    assert compared.log_prob_difference is not None
    assert compared.likeliest_identical is not None
    assert compared.log_prob_difference <= 1e-4
    assert compared.texts == len(TEXTS)
    assert compared.ids_identical == compared.ids_texts == len(VARIANTS)
    assert compared.likeliest_identical >= 0.999 * compared.tokens
    assert compared.reference in (bundle.path / "README.md").read_text("utf-8")


@pytest.mark.filterwarnings("ignore:Recommended. pip install sacremoses")
@pytest.mark.parametrize("beam_size", [1, 3])
def test_translations_are_those_of_transformers(marian: Path, marian_bundle: Path, beam_size: int) -> None:
    translator = Translator.load(marian_bundle, threads=1, split=False)
    original = transformers.AutoModelForSeq2SeqLM.from_pretrained(marian)
    tokenizer = transformers.AutoTokenizer.from_pretrained(marian)
    config = dataclasses.replace(translator.config, beam_size=beam_size)
    for line in LINES[:8]:
        with torch.inference_mode():
            (output,) = original.generate(**tokenizer(f">>deu<< {line}", return_tensors="pt"), num_beams=beam_size)
        expected = output.tolist()[1:]
        (found,) = translator.translate([line], config)
        assert found.tokens == [token for token in expected if token != tokenizer.eos_token_id]
        assert found.text == str(tokenizer.decode(expected, skip_special_tokens=True)).strip()


def test_continuations_are_those_of_transformers(llama: Path, llama_bundle: Path) -> None:
    generator = Generator.load(llama_bundle, threads=1)
    original: Any = transformers.AutoModelForCausalLM.from_pretrained(llama)
    tokenizer = transformers.AutoTokenizer.from_pretrained(llama)
    for line in LINES[:6]:
        inputs = tokenizer(line, return_tensors="pt")
        ids = inputs.input_ids
        with torch.inference_mode():
            (output,) = original.generate(**inputs, max_new_tokens=12, do_sample=False, pad_token_id=0)
        expected = output[ids.shape[1] :].tolist()
        ((found,),) = generator.generate([line], SampleConfig(temperature=0, max_tokens=12))
        assert found.tokens == [token for token in expected if token not in (1, 2)]


def test_rows_that_are_no_token_are_never_drawn(llama_bundle: Path) -> None:
    manifest = Bundle(llama_bundle).manifest
    assert manifest.conventions is not None
    n = manifest.network.stacks["decoder"].vocab_size
    assert manifest.conventions.suppressed == tuple(range(n - 5, n))
    samples = Generator.load(llama_bundle, threads=1).generate(
        ["a"], SampleConfig(temperature=5.0, max_tokens=60, seed=1)
    )
    assert max(samples[0][0].tokens) < n - 5


def test_an_unknown_language_is_named_with_those_like_it(
    marian: Path, heed: Callable[..., Result], tmp_path: Path
) -> None:
    result = heed("import", marian, "-o", tmp_path / "bundle", "--to", "deutsch")
    assert result.exit_code == 4
    assert "did you mean deu" in result.stderr or "it knows deu, fra" in result.stderr


def test_the_command_translates_by_an_imported_model(marian_bundle: Path, heed: Callable[..., Result]) -> None:
    result = heed(
        "translate", "-m", marian_bundle, "--threads", "1", stdin="".join(f"{line}\n" for line in ORDINARY[:3]).encode()
    )
    assert result.exit_code == 0, result.stderr
    assert result.stdout.count("\n") == 3


def test_without_the_library_the_error_says_what_to_install(
    llama_bundle: Path, monkeypatch: pytest.MonkeyPatch, heed: Callable[..., Result]
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "tokenizers", None)
    result = heed("generate", "-m", llama_bundle, "a")
    assert result.exit_code == 4
    assert "pip install 'heed[tokenizers]'" in result.stderr


@pytest.mark.parametrize("change", ["file", "manifest"])
def test_a_tokenizer_of_another_network_is_refused(change: str, llama_bundle: Path, tmp_path: Path) -> None:
    """A bundle opens no file that its manifest does not list."""
    path = tmp_path / "bundle"
    shutil.copytree(llama_bundle, path)
    table = json.loads((path / "heed.json").read_text())
    if change == "manifest":
        del table["files"]["tokenizer.json"]
        (path / "heed.json").write_text(json.dumps(table))
    else:
        (path / "tokenizer.json").write_text("{}")
    with pytest.raises(Exception, match="damaged"):
        Bundle(path)


# Chat templates

CHATML = """{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system
Be kind<|im_end|>
' }}{% endif %}{{ '<|im_start|>' + message['role'] + '
' + message['content'] + '<|im_end|>' + '
' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant
' }}{% endif %}"""


def test_a_chat_template_becomes_strings() -> None:
    found = chat_template(CHATML, {}, "<|im_end|>")
    assert found is not None
    assert found.beginning == "<|im_start|>system\nBe kind<|im_end|>\n<|im_start|>user\n"
    assert found.after_user == "<|im_end|>\n<|im_start|>assistant\n"
    assert found.after_assistant == "<|im_end|>\n<|im_start|>user\n"
    assert found.begun(None) == found.beginning
    assert found.begun("Be brief") == "<|im_start|>system\nBe brief<|im_end|>\n<|im_start|>user\n"


def test_a_template_without_a_system_prompt_takes_none() -> None:
    source = CHATML.replace(
        "{% for", "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no') }}{% endif %}{% for", 1
    )
    found = chat_template(source, {}, "<|im_end|>")
    assert found is not None
    with pytest.raises(ModelError, match="system prompt"):
        found.begun("Be brief")


@pytest.mark.parametrize(
    "source",
    [
        "{{ messages|length }}{% for m in messages %}{{ m.content }}<|im_end|>{% endfor %}",  # counts turns
        "{% for m in messages %}{{ m.content|upper }}{% endfor %}",
        "{{ messages.__class__.__mro__ }}",
        "{% for m in messages[-1:] %}{{ m.content }}{% endfor %}",  # forgets
        "{{ raise_exception('no') }}",
        "{% for",
    ],
)
def test_a_chat_template_that_is_not_additive_is_none(source: str) -> None:
    assert chat_template(source, {}, "<|im_end|>") is None


# GPT-2's older layout of its tokenizer


def test_vocab_json_with_merges_txt_is_a_tokenizer(
    byte_level: tokenizers.Tokenizer, heed: Callable[..., Result], tmp_path: Path
) -> None:
    path = tmp_path / "gpt2"
    tiny.save("gpt2", path, vocab_size=byte_level.get_vocab_size(), n_positions=256, bos_token_id=0, eos_token_id=1)
    byte_level.model.save(str(path))
    result = heed("import", path, "-o", tmp_path / "bundle", "--precision", "int8")
    assert result.exit_code == 0, result.stderr
    bundle = Bundle(tmp_path / "bundle")
    compared = bundle.manifest.compared
    assert compared is not None
    assert compared.log_prob_difference is not None
    assert compared.log_prob_difference <= 1e-4
    tokenizer = bundle.text_tokenizer()
    for text in TEXTS:
        assert tokenizer.decode(tokenizer.encode(text)) == text
        assert tokenizer.encode(text) == byte_level.encode(text, add_special_tokens=False).ids
