import re

from heed.models.patterns import regex


def test_a_regular_expression_does_what_a_compiled_one_does() -> None:
    made, plain = regex(r"(a)(b?)", re.IGNORECASE), re.compile(r"(a)(b?)", re.IGNORECASE)
    assert [match.span() for match in made.finditer("xABa")] == [match.span() for match in plain.finditer("xABa")]
    assert made.sub("-", "xABa") == plain.sub("-", "xABa")
    assert (made.pattern, made.groups) == (plain.pattern, plain.groups)
    assert regex(rb"\d").findall(b"a1") == [b"1"]
