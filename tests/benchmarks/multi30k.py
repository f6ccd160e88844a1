"""Quality from raw text to int8: train English to German on Multi30k, export, and measure BLEU at each step.

    python tests/benchmarks/multi30k.py --data DIR --work runs/multi30k

DIR holds multi30k/{train,val,test_2016_flickr}.{en,de}.gz. An interrupted training goes on where it was.
The last line is JSON.
"""

import argparse
import json
import platform
import subprocess
import sys
from pathlib import Path

HEED = str(Path(sys.executable).with_name("heed"))
TEST = "test_2016_flickr"


def train(data: Path, run: Path, minutes: float, threads: int) -> None:
    """Train, unless that is done."""
    if run.exists():
        if not averaged(run):
            subprocess.run([HEED, "train", "--resume", str(run), "--threads", str(threads)], check=True)
        return
    command = [HEED, "train", "-o", str(run), "--src-language", "en", "--tgt-language", "de"]
    for option, name in (("", "train"), ("valid-", "val")):
        for side, language in (("src", "en"), ("tgt", "de")):
            command += [f"--{option}{side}", str(data / f"{name}.{language}.gz")]
    # 29,000 pairs are few: a narrow network, as Wu et al.'s Transformer-Tiny (2021), much dropout, and many passes.
    # With norms after each sub-layer, attention to the source takes more than 3,500 steps to come at this rate.
    command += ["--preset", "small", "--n-layers", "4", "--d-model", "128", "--d-ff", "256", "--n-heads", "4"]
    command += ["--norm-placement", "before", "--dropout", "0.3", "--vocab-size", "8000", "--batch-tokens", "4096"]
    command += ["--warmup", "2000", "--learning-rate-scale", "2.5", "--ema", "0.998"]
    command += ["--valid-every", "500", "--steps", "100000", "--minutes", str(minutes)]
    subprocess.run([*command, "--threads", str(threads)], check=True)


def averaged(run: Path) -> dict[str, float] | None:
    """What the log says of the end of training."""
    events = [json.loads(line) for line in (run / "log.jsonl").read_text("utf-8").splitlines()]
    return next((event for event in events if event.get("averaged")), None)


def export(data: Path, run: Path, precision: str) -> dict[str, dict[str, float]]:
    """Export with the test set; returns the manifest."""
    bundle = run.with_name(f"{run.name}-{precision}")
    command = [HEED, "export", str(run), "-o", str(bundle), "--precision", precision, "--force"]
    command += ["--test-src", str(data / f"{TEST}.en.gz"), "--test-tgt", str(data / f"{TEST}.de.gz")]
    subprocess.run(command, check=True)
    manifest: dict[str, dict[str, float]] = json.loads((bundle / "heed.json").read_text("utf-8"))
    return manifest


def processor() -> str:
    """What the processor calls itself."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.partition(": ")[2] for line in lines if line.startswith("model name")]
    return f"{names[0]}, {len(names)} cores" if names else platform.processor()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="directory with multi30k/")
    parser.add_argument("--work", type=Path, default=Path("runs/multi30k"), help="directory of the run, to be made")
    parser.add_argument("--minutes", type=float, default=51, help="of training")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    data, run = arguments.data / "multi30k", arguments.work
    run.absolute().parent.mkdir(parents=True, exist_ok=True)
    train(data, run, arguments.minutes, arguments.threads)
    manifests = {precision: export(data, run, precision) for precision in ("float32", "int8")}
    quality = {precision: manifest["quality"] for precision, manifest in manifests.items()}
    end = averaged(run) or {}
    print(f"\n{TEST}, beam 4, {quality['int8']['bleu_signature']}")
    print(f"trained for {end['minutes']:.0f} minutes, {end['step']:,} steps, on {processor()}\n")
    rows = {
        "PyTorch float32": quality["float32"]["bleu_torch"],
        "ONNX Runtime float32": quality["float32"]["bleu"],
        "ONNX Runtime int8": quality["int8"]["bleu"],
    }
    for name, bleu in rows.items():
        print(f"{name:24}{bleu:8.2f} BLEU")
    for precision, manifest in manifests.items():
        parity = manifest["parity"]
        print(
            f"{precision}: of {parity['texts']} sentences {parity['greedy_identical']} greedy and "
            f"{parity['beam_identical']} beam translations the same as PyTorch's in float32"
        )
    result = dict(zip(("bleu_torch", "bleu_float32", "bleu_int8"), rows.values(), strict=True))
    print(json.dumps({**result, "minutes": round(end["minutes"], 1)}))


if __name__ == "__main__":
    main()
