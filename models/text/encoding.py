"""Which encoding a file is in that is not UTF-8, by its first bytes."""

import codecs

PROBED = 4096  # bytes
MARKS = {
    codecs.BOM_UTF32_LE: "UTF-32",  # ahead of UTF-16, whose mark it begins with
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}


def other_encoding(start: bytes) -> str | None:
    """What is wrong with a file that begins so, and the way out; None where it may be UTF-8.

    UTF-16 without a mark is known by NUL bytes, of which nearly all stand at even places, or at odd ones, where no line
    feed does; UTF-32 by those in the places of the two highest bytes of characters.
    """
    for mark, name in MARKS.items():
        if start.startswith(mark):
            return f"{name}; convert it: iconv -f {name} -t UTF-8"
    for order, name in (((0, 1, 3), "UTF-32BE"), ((3, 2, 0), "UTF-32LE")):
        highest, high, lowest = (start[place:PROBED:4] for place in order)
        if len(highest) >= 2 and not any(highest) and high.count(0) >= 0.95 * len(high) and any(lowest):
            return f"{name}; convert it: iconv -f {name} -t UTF-8"
    places = [place % 2 for place, byte in enumerate(start[:PROBED]) if byte == 0]
    for parity, name in enumerate(("UTF-16BE", "UTF-16LE")):
        same = places.count(parity)
        is_usual = same >= 2 and same >= 0.4 * (len(start[:PROBED]) // 2) and same >= 0.95 * len(places)
        if is_usual and b"\n" not in start[parity:PROBED:2]:
            return f"{name}; convert it: iconv -f {name} -t UTF-8"
    return None
