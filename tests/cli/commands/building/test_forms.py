"""Networks of other forms, from training to a bundle and its use."""

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

Heed = Callable[..., Result]
SMALL = ["--d-model", "16", "--d-ff", "24", "--n-heads", "2", "--n-layers", "1", "--vocab-size", "15"]
STEPS = ["--batch-tokens", "512", "--warmup", "4", "--steps", "4", "--valid-every", "4", "--average", "1"]
MACHINE = ["--precision", "float32", "--device", "cpu", "--threads", "1"]
FORMS = {
    "bart": ["--preset", "bart-small"],
    "deep and shallow": ["--preset", "fast", "--encoder-layers", "3", "--decoder-layers", "1"],
    "relative": ["--positions", "relative", "--norm-kind", "rms", "--norm-placement", "before", "--d-head", "12"],
    "recurrent": ["--recurrence", "ssru", "--decoder-layers", "2"],
}


@pytest.mark.parametrize("form", FORMS)
def test_a_form_trains_exports_and_translates(
    heed: Heed, digit_lines: Callable[[int, int], list[str]], tmp_path: Path, form: str
) -> None:
    """The export compares the bundle with the network, on each validation pair."""
    text = tmp_path / "digits"
    text.write_text("".join(line + "\n" for line in digit_lines(200, 1)), "utf-8")
    pairs = ["--src", text, "--tgt", text]
    run, bundle = tmp_path / "run", tmp_path / "bundle"
    for command in (
        ["train", *pairs, *SMALL, *FORMS[form], *STEPS, *MACHINE, "-o", run],
        ["export", run, "-o", bundle, "--licence", "CC0", "--trained-on", "digits"],
    ):
        result = heed(*command)
        assert result.exit_code == 0, result.stderr
    result = heed("translate", "-m", bundle, "--max-length", 5, stdin=b"1 2 3\n")
    assert result.exit_code == 0, result.stderr
    assert result.stdout_bytes.count(b"\n") == 1
