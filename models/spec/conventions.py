"""What a network of another toolkit expects around texts: special tokens, languages, and how its tokens are made."""

import dataclasses
import re
from collections.abc import Mapping

from heed.models.errors import ModelError
from heed.models.records import record
from heed.models.spec.checks import no_choice, refuse

TOKENIZERS = ("mapped", "sentencepiece", "library")
TAGS = ("source", "target")


@record(frozen=True, kw_only=True)
class Conventions:
    """Special tokens of a network that was imported, by their ids."""

    tokenizer: str  # SentencePiece with a vocabulary of its own, or without, or the library `tokenizers`
    start_id: int  # what outputs begin with; of a model of text, what is read before a text
    starts_texts: bool = True  # whether every prompt of a model of text begins with it, or only an empty one
    ends: tuple[int, ...]  # any of them ends an output; the first ends sources, too
    pad_id: int
    mask_id: int | None = None  # stands for a token that an encoder alone predicts
    suppressed: tuple[int, ...] = ()  # never put out: padding, and rows of the output matrix that are no token
    before: tuple[int, ...] = ()  # what sources begin with
    after: tuple[int, ...] | None = None  # what follows the end of a text that an encoder alone reads: XLNet's `<cls>`
    forced: tuple[int, ...] = ()  # what each output begins with after `start_id`, and is put out, too
    languages: Mapping[str, int] | None = None  # the token of each language that the network knows
    source_tag: str | None = None  # whose language's token a source begins with, after `before`
    output_tag: bool | None = None  # whether outputs are forced to begin with the target language's token
    prefix: str | None = None  # text that sources begin with, as "translate English to German: "
    prefixes: Mapping[str, str] | None = None  # others of a model that embeds, by the tasks that they stand for

    def __post_init__(self) -> None:
        wrong = no_choice("tokenizer", self.tokenizer, TOKENIZERS)
        wrong += no_choice("source_tag", self.source_tag, TAGS) if self.source_tag is not None else []
        wrong += [] if self.ends else ["ends must name a token"]
        refuse(wrong)

    @property
    def eos_id(self) -> int:
        """The token that ends sources."""
        return self.ends[0]

    def between(self, source: str, target: str) -> "Conventions":
        """The same for a pair of languages, where the network is told of languages.

        Raises:
            ModelError: It does not know one of them.
        """
        if not self.languages:
            return self
        tag = {"source": source, "target": target}.get(self.source_tag or "")
        before = (*self.before, self._language(tag)) if tag else self.before
        forced = (*self.forced, self._language(target)) if self.output_tag else self.forced
        return dataclasses.replace(self, before=before, forced=forced, languages=None)

    def _language(self, name: str) -> int:
        assert self.languages is not None
        chosen = language(name, self.languages)
        return self.languages[chosen]


def language(name: str, known: Mapping[str, int]) -> str:
    """The language that is meant by a name, an ISO code of two or three letters among them: "de" is "deu_Latn".

    Raises:
        ModelError: None is, or several are.
    """
    import difflib  # not above, for hardly anyone needs it

    if name in known:
        return name
    codes = {name.lower(), ISO_639_3.get(name.lower(), name.lower())}
    found = [each for each in known if each.lower().replace("-", "_").partition("_")[0] in codes] if name else []
    if len(found) == 1:
        return found[0]
    similar = found or difflib.get_close_matches(name, known)
    hint = f"did you mean {' or '.join(similar)}?" if similar else f"it knows {', '.join(sorted(known))}"
    raise ModelError(f"the model knows no language {name!r}; {hint}")


# ISO 639-1 → 639-3, for the languages in which the two begin differently or that have a code of two letters.
ISO_639_3: dict[str, str] = dict(
    re.findall(
        r"(\w+)=(\w+)",
        """
    af=afr am=amh ar=arb as=asm az=azj be=bel bg=bul bn=ben bs=bos ca=cat cs=ces cy=cym da=dan de=deu el=ell en=eng
    eo=epo es=spa et=est eu=eus fa=pes fi=fin fo=fao fr=fra ga=gle gd=gla gl=glg gu=guj ha=hau he=heb hi=hin hr=hrv
    ht=hat hu=hun hy=hye id=ind ig=ibo is=isl it=ita ja=jpn jv=jav ka=kat kk=kaz km=khm kn=kan ko=kor ku=kmr ky=kir
    lb=ltz lo=lao lt=lit lv=lvs mg=plt mi=mri mk=mkd ml=mal mn=khk mr=mar ms=zsm mt=mlt my=mya nb=nob ne=npi nl=nld
    nn=nno no=nob pa=pan pl=pol ps=pbt pt=por ro=ron ru=rus sd=snd si=sin sk=slk sl=slv sm=smo sn=sna so=som sq=als
    sr=srp st=sot su=sun sv=swe sw=swh ta=tam te=tel tg=tgk th=tha tk=tuk tl=tgl tr=tur tt=tat ug=uig uk=ukr ur=urd
    uz=uzn vi=vie wo=wol xh=xho yi=ydd yo=yor zh=zho zu=zul
    """,
    )
)
