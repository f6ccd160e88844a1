"""Scripts without spaces between words, where BLEU must find its words in another way."""

import re
from collections.abc import Iterable

HAN = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")
KANA = re.compile(r"[\u3040-\u30ff\u31f0-\u31ff\uff66-\uff9f]")
# Thai, Lao, Tibetan, Myanmar, Khmer, and the Tai scripts.
UNSPACED = re.compile(r"[\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff\u1950-\u19df\u1a20-\u1aaf\ua9e0-\ua9ff\uaa60-\uaadf]")
LETTER = re.compile(r"[^\W\d_]")
MOST = 0.5  # of the letters; names and terms are often in Latin ones


def bleu_tokenizer(lines: Iterable[str]) -> str:
    """sacreBLEU's tokenizer for text: "zh" for Chinese, "char" for other scripts without spaces, else its usual "13a".

    Where words are told by spaces, a Chinese sentence is one word, and BLEU is 0 unless it is right as a whole.
    """
    n_letters = n_han = n_kana = n_unspaced = 0
    for line in lines:
        n_letters += len(LETTER.findall(line))
        n_han += len(HAN.findall(line))
        n_kana += len(KANA.findall(line))
        n_unspaced += len(UNSPACED.findall(line))
    if n_han + n_kana + n_unspaced <= MOST * n_letters:
        return "13a"
    return "zh" if n_han > 10 * n_kana and n_han > n_unspaced else "char"
