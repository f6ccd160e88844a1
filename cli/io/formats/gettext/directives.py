"""Placeholders of gettext's catalogues, by the format that an entry's flags name, and gettext's rules for them.

The rules are those of `msgfmt --check-format`: a translation takes the same arguments, of the same types. In C a
translation may take them in another order where it numbers them: `%2$s`.
"""

import re
from collections import Counter
from collections.abc import Mapping

PRINTF = (
    r"%(?:(?P<number>\d+)\$)?(?P<flags>[-+ #0'I]*)(?P<width>\*(?:\d+\$)?|\d*)(?:\.(?P<precision>\*(?:\d+\$)?|\d*))?"
    r"(?P<type>(?:hh|h|ll|l|L|q|j|z|Z|t)?[diouxXeEfFgGaAcCsSpnm@]|<PRI[a-zA-Z0-9]+>|%)"
)
PYTHON = r"%(?:\((?P<name>[^)]*)\))?[-+ #0]*(?:\*|\d+)?(?:\.(?:\*|\d+)?)?[hlL]?[diouxXeEfFgGcrsa%]"
BRACES = r"\{\{|\}\}|\{[^{}]*\}"
NUMBERED = r"'?\{\d[^{}]*\}'?"
SHELL = r"\$\w+|\$\{\w+\}"
PATTERNS = {
    "c": PRINTF, "objc": PRINTF, "php": PRINTF, "javascript": PRINTF, "awk": PRINTF, "lua": PRINTF, "tcl": PRINTF,
    "gcc-internal": r"%[-+ #0]*(?:\d+\$)?(?:\.\*)?[qlwzt+#]*[<>%'A-Za-z]", "perl": PRINTF, "boost": PRINTF + r"|%\d+%",
    "python": PYTHON, "python-brace": BRACES, "perl-brace": r"\{\w+\}", "java": NUMBERED, "java-printf": PRINTF,
    "csharp": r"\{\{|\}\}|\{\d[^{}]*\}", "qt": r"%L?\d{1,2}|%L?n", "qt-plural": r"%L?\d{1,2}|%L?n", "kde": r"%\d+",
    "kde-kuit": r"%\d+|</?[a-z]+[^<>]*>", "sh": SHELL, "ruby": PRINTF + r"|%[<{]\w+[>}]", "object-pascal": PRINTF,
    "rust": BRACES, "go": PRINTF, "smalltalk": r"%%|%\d+", "ycp": r"%[1-9%]", "librep": PRINTF, "scheme": r"~[^\s]",
}  # fmt: skip


def pattern_of(flags: list[str]) -> tuple[str, re.Pattern[str]] | None:
    """The format of an entry with these flags, and what its placeholders look like."""
    for flag in flags:
        name = flag.removesuffix("-format")
        if name != flag and name in PATTERNS:
            return name, re.compile(PATTERNS[name])
    return None


def mend_order(form: str, source: str, translation: str) -> str:
    """A translation in C that has its arguments in another order than its source, with their numbers."""
    if form not in ("c", "objc"):
        return translation
    pattern = re.compile(PRINTF)
    asked, found = (
        [match for match in pattern.finditer(text) if match["type"] not in "%m"] for text in (source, translation)
    )
    whole = [match[0] for match in asked]
    is_mixed = Counter(match[0] for match in found) == Counter(whole) and [match[0] for match in found] != whole
    if not is_mixed or any(match["number"] or "*" in match[0] for match in asked):
        return translation
    left = list(enumerate(whole, start=1))
    numbered = iter(_take(left, match[0]) for match in found)
    return pattern.sub(
        lambda match: match[0] if match["type"] in "%m" else f"%{next(numbered)}${match[0][1:]}", translation
    )


def keeps(form: str, source: str, translation: str, *, may_omit: bool = False) -> bool:
    """Whether a translation has the placeholders that it must have.

    Args:
        form: The format; none: there are no placeholders.
        source: What was translated.
        translation: Of it.
        may_omit: Some may be missing: that for the number in a form for the number one alone.
    """
    if not form:
        return True
    asked, found = arguments(form, source), arguments(form, translation)
    if may_omit and form in ("c", "objc", "php", "javascript"):
        return all(asked.get(number) == kind for number, kind in found.items())
    return found.items() <= asked.items() if may_omit else asked == found


def arguments(form: str, text: str) -> Mapping[object, object]:
    """What a text takes: types by the number or name of the argument, or how often each placeholder stands."""
    if PATTERNS[form] is PRINTF:
        return _printf_arguments(text)
    matches = (match[0] for match in re.finditer(PATTERNS[form], text))
    return Counter(match for match in matches if match not in ("%%", "{{", "}}"))


def _printf_arguments(text: str) -> dict[object, object]:
    found = dict[object, object]()
    next_number = 1
    for match in re.finditer(PRINTF, text):
        for star in (match["width"], match["precision"] or ""):
            if star == "*":
                found[next_number], next_number = "int", next_number + 1
            elif star.startswith("*"):
                found[int(star[1:-1])] = "int"
        if match["type"] in "%m":
            continue
        if match["number"]:
            found[int(match["number"])] = _kind(match["type"])
        else:
            found[next_number], next_number = _kind(match["type"]), next_number + 1
    return found


def _kind(written: str) -> str:
    """The type of an argument: %d and %i are one, %u and %x another."""
    if written.startswith("<"):
        return written
    *size, letter = re.findall(r"[a-zA-Z@]", written)
    for kind in ("di", "ouxX", "eEfFgGaA"):
        if letter in kind:
            letter = kind[0]
    return "".join(size) + letter


def _take(left: list[tuple[int, str]], written: str) -> int:
    """The number of the first argument that is left of those written so."""
    place = next(i for i, (_, each) in enumerate(left) if each == written)
    return left.pop(place)[0]
