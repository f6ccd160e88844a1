# ruff: noqa: RUF001 - of other scripts, and other forms of characters
import pytest
import sacrebleu

from heed.models.text.scripts import bleu_tokenizer

WORDS = {
    "zh": ["我们明天去北京。", "他今天没有来上学，因为他生病了。", "GPU 很快。"],
    "char": ["私は明日東京に行きます。", "彼女は本を読んでいます。"],
    "13a": ["Wir fahren morgen nach Berlin.", "Мы едем завтра.", "우리는 내일 갑니다.", "", "42"],
}
OTHERS = ["ฉันไปโรงเรียนทุกวัน", "ខ្ញុំទៅសាលារៀន", "ຂ້ອຍໄປໂຮງຮຽນ", "ကျွန်တော်ကျောင်းသွားတယ်"]


@pytest.mark.parametrize(("tokenizer", "lines"), WORDS.items())
def test_scripts_have_their_tokenizers(tokenizer: str, lines: list[str]) -> None:
    assert bleu_tokenizer(lines) == tokenizer


@pytest.mark.parametrize("line", OTHERS)
def test_other_scripts_without_spaces_go_by_characters(line: str) -> None:
    assert bleu_tokenizer([line]) == "char"


@pytest.mark.parametrize("lines", [WORDS["zh"], WORDS["char"], OTHERS], ids=["zh", "ja", "others"])
def test_a_translation_with_one_wrong_character_has_a_bleu(lines: list[str]) -> None:
    """By spaces each sentence is one word, and BLEU is 0."""
    found = [f"{line[:-2]}x{line[-1]}" for line in lines]
    assert sacrebleu.corpus_bleu(found, [lines], tokenize=bleu_tokenizer(lines)).score > 30
