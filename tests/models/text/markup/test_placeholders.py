import itertools
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from heed.models.text.markup.placeholders import PATTERNS, around, find_kept, tidied
from heed.models.text.markup.tags import scan

USUAL = [re.compile(pattern, re.DOTALL) for pattern in PATTERNS]


def kept(line: str) -> list[str]:
    return [line[slice(*span)] for span in find_kept(line, USUAL, scan(line)[0])]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("See https://a.de/b?c=d#e, or (http://f.org/g).", ["https://a.de/b?c=d#e", "http://f.org/g"]),
        ("Ask me.too+1@mail.example.com.", ["me.too+1@mail.example.com"]),
        ("{0} {name} ${HOME} {{user.name}} {} #{x}", ["{0}", "{name}", "${HOME}", "{{user.name}}", "{}", "#{x}"]),
        ("%s %1$s %-5.2f %(count)d %<PRIu64>", ["%s", "%1$s", "%-5.2f", "%(count)d", "%<PRIu64>"]),
        ("%ld %lu %zu %c %p %% %.*s %-*s", ["%ld", "%lu", "%zu", "%c", "%p", "%%", "%.*s", "%-*s"]),
        ("%dx%d, %d%% of %1 and %L2 (%n)", ["%d", "%d", "%d%%", "%1", "%L2", "%n"]),
        ("{n, plural, one {# apple} other {{count} apples}}!", ["{n, plural, one {# apple} other {{count} apples}}"]),
        ("100% sure, 50%safe, 5 % der, 50 % d", []),
        ("Use --color=never, -v or /etc/passwd, and/or ~/x.", ["--color=never", "-v", "/etc/passwd", "~/x"]),
        ("20%02d", ["%02d"]),
        ("a well-known T-shirt, 1/2 km/h, $5", []),
        ("ls -lt -1, -cftuvSUX (chmod +x) /date: -std=c++11", ["-lt", "-1", "-cftuvSUX", "+x", "/date", "-std=c++11"]),
        ("--color[=WHEN] --[no-]x -fno-rtti -Wl", ["--color[=WHEN]", "-fno-rtti", "-Wl"]),
        ("black -and- white - or -- not; -3.5, 2-3, C++, a+b", []),
        ("run `ls -la` or ``a`b``, not `this' nor ` that `", ["`ls -la`"]),
        ("pass $@, $# or $?", ["$@", "$#", "$?"]),
        ("%z %:z %::z %j %Ey: UTC -04:00", ["%z", "%:z", "%::z", "%j", "%Ey", "-04:00"]),
        ("%Y-%m-%d and $HOME", ["%Y", "%m", "%d", "$HOME"]),
        ("<%= name %>, <% if x > 1 %>: no", ["<%= name %>", "<% if x > 1 %>"]),
        ("@user, %name of :attribute, :smile: at 10:30", ["@user", "%name", ":attribute", ":smile:"]),
        (r"\1 and \2; note: C\1x, 50%of", [r"\1", r"\2", r"\1"]),
    ],
)
def test_what_is_kept(line: str, expected: list[str]) -> None:
    assert kept(line) == expected


@pytest.mark.parametrize(
    "line",
    [
        "a" * 10**6,
        "<!--" * 10**5,
        "%" + "0" * 10**6,
        "{a" * 10**5,
        "www." * 10**5 + " ",
        "<a b='" * 10**5,
        "%1$" * 10**5,
        "<%" * 10**5,
        ":a" * 10**5,
    ],
)
def test_what_looks_like_it_takes_no_longer(line: str) -> None:
    """It would take hours, were it read again from each character on."""
    assert sum(map(len, kept(line))) <= len(line)


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        (["(?i)TOM", "ann"], ["Tom", "ann", "tom"]),
        (["(?P<a>T)om", "(?P<a>a)nn"], ["Tom", "ann"]),
        ([r"(T)om", r"(.)\1"], ["Tom", "nn"]),
        (["x*", "|"], []),
        (["and a", "ann and", "and t"], ["and a", "and t"]),
        (["T", "Tom"], ["T"]),
        ([], []),
    ],
)
def test_patterns_do_not_meddle_with_each_other(patterns: list[str], expected: list[str]) -> None:
    line = "Tom and ann and tom"
    assert [line[slice(*span)] for span in find_kept(line, [*map(re.compile, patterns)])] == expected


@given(st.text("ab", max_size=12), st.lists(st.integers(0, 12), max_size=6))
def test_what_is_taken_already_is_as_another_pattern_s(line: str, places: list[int]) -> None:
    """The spans do not overlap, are in order, and none of what was taken is lost."""
    borders = sorted({place for place in places if place <= len(line)})
    taken = list(zip(borders[::2], borders[1::2], strict=False))
    found = find_kept(line, [re.compile("ab+"), re.compile("bb")], taken)
    assert found == sorted(found)
    assert all(one[1] <= other[0] for one, other in itertools.pairwise(found))
    assert all(any(a <= start < b for a, b in found) for start, _ in taken)
    assert not any("ab" in part for part in around(line, found))


def optional(strategy: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.just("") | strategy


def joined(*parts: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.tuples(*parts).map("".join)


NUMBER = st.integers(1, 99).map(str)
NAME = st.sampled_from(["name", "n", "user_id", "Größe"])
WIDTH = optional(NUMBER | st.just("*"))
LENGTH = st.sampled_from(["", "hh", "h", "l", "ll", "L", "q", "j", "z", "t"])
PRINTF = joined(
    st.just("%"),
    optional(NUMBER.map("{}$".format)),
    st.text("-+#0'", max_size=2),
    WIDTH,
    optional(WIDTH.map(".{}".format)),
    LENGTH,
    st.sampled_from("diouxXeEfFgGaAcspn"),
)
PYTHON = joined(st.just("%("), NAME, st.just(")"), optional(NUMBER), st.sampled_from("sdrf")) | joined(
    st.just("{"),
    optional(NAME | NUMBER),
    optional(st.sampled_from(["[0]", ".attr"])),
    optional(st.sampled_from(["!r", "!s"])),
    optional(st.sampled_from([":>10", ":,.2f", ":%Y-%m-%d", ":{width}"])),
    st.just("}"),
)
RUST = st.sampled_from(["{}", "{:?}", "{:>5}", "{0:.2}", "{name:#x}", "{:>1$}", "{:.*}"])
QT = NUMBER.map("%{}".format) | NUMBER.map("%L{}".format) | st.just("%n")
RUBY = NAME.map("%{{{}}}".format) | NAME.map("%<{}>s".format) | NAME.map("#{{{}}}".format)
SHELL = st.sampled_from(["$HOME", "${HOME}", "${x:-y}", "$(date)"])
TEMPLATE = st.sampled_from(["<%= name %>", "<% if x > 1 %>", "@count", ":attribute", ":smile:", r"\1"])
ICU = st.recursive(
    st.sampled_from(["{count}", "{count, number}", "{when, date, long}"]),
    lambda inner: st.tuples(NAME, inner, inner).map(
        lambda parts: "{{{}, plural, one {{# apple of {}}} other {{# apples of {}}}}}".format(*parts)
    ),
    max_leaves=4,
)
PLACEHOLDERS = PRINTF | PYTHON | RUST | QT | RUBY | SHELL | TEMPLATE | ICU | st.just("%%") | st.just("%<PRIu64>")
TEXTS = st.sampled_from([" ", " and ", ", ", " of the file ", ": ", ". The ", "» ", " (", ") "])


def found(line: str) -> list[str]:
    """What is kept of a line; a colon behind `:attribute` may belong to it, as in `:smile:`."""
    return [":attribute" if each == ":attribute:" else each for each in kept(line)]


@given(TEXTS, PLACEHOLDERS, TEXTS)
@example(" ", "%1", ".")
@example(" ", ":attribute", ": ")
def test_a_placeholder_of_any_grammar_is_found_whole(before: str, placeholder: str, after: str) -> None:
    assert found(before + placeholder + after) == [placeholder]


@given(st.lists(st.tuples(TEXTS, PLACEHOLDERS), max_size=5))
def test_of_several_none_is_lost(parts: list[tuple[str, str]]) -> None:
    line = "".join(text + placeholder for text, placeholder in parts) + "."
    assert found(line) == [placeholder for _, placeholder in parts]


ENDS = st.sampled_from(["", "'", ")", ".", "x", " and"])


@given(st.lists(st.tuples(st.sampled_from(["", "x", "'", "(", ", ", " and ", "é"]), PLACEHOLDERS), max_size=5), ENDS)
@example([("", "%n"), ("x", "%<name>s"), ("'", "{}"), ("'", "%n")], "")  # a letter touches a quotation mark
@example([("'", "%n"), (", ", "%n")], "'")
def test_tidied_placeholders_have_what_they_had(parts: list[tuple[str, str]], end: str) -> None:
    line = "".join(text + placeholder for text, placeholder in parts) + end
    spans = find_kept(line, USUAL)
    found = tidied(line, spans)
    assert all(any(a <= start and end <= b for a, b in found) for start, end in spans)
    assert all(re.search(r"[^\W\d_]", line[one[1] : other[0]]) for one, other in itertools.pairwise(found))
    assert tidied(line, found) == found


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("I see '%s'.", ["'%s'"]),
        ("a ({x}) b", ["({x})"]),
        ("{a}, {b} and {c}", ["{a}, {b}", "{c}"]),
        ("%dx%d pixels", ["%dx%d"]),
        ("lib%s.so", ["lib%s"]),
        ("der „{x}“ da", ["„{x}“"]),
        ("the '%s's name", ["'%s's"]),
        ("('%s', %d) and", ["('%s', %d)"]),
    ],
)
def test_what_belongs_to_a_placeholder_stays_with_it(line: str, expected: list[str]) -> None:
    assert [line[slice(*span)] for span in tidied(line, find_kept(line, USUAL))] == expected
