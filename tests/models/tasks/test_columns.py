"""Columns of tables: in pandas, in Ray Data and in Spark."""

import pickle
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from heed.models.decoding.sampling import SampleConfig
from heed.models.errors import DataError
from heed.models.tasks.columns import ContinuedColumn, TranslatedColumn
from heed.models.tasks.generator import Generator
from heed.models.tasks.translation.translator import Translator

LINES = ["1 2 3", "", "4 5", "1 2 3"]


@pytest.fixture
def expected(bundle: Path) -> list[str]:
    return [each.text for each in Translator.load(bundle, threads=1).translate(LINES)]


def test_a_batch_gets_a_column(bundle: Path, expected: list[str]) -> None:
    column = pickle.loads(pickle.dumps(TranslatedColumn(model=str(bundle), column="src", into="tgt")))
    batch = column({"src": np.array([*LINES, None], dtype=object), "n": np.arange(5)})
    assert list(batch) == ["src", "n", "tgt"]
    assert batch["tgt"].tolist() == [*expected, None]
    assert batch["n"].tolist() == [0, 1, 2, 3, 4]


def test_what_is_no_text_is_refused(bundle: Path) -> None:
    column = TranslatedColumn(model=str(bundle))
    with pytest.raises(DataError, match="no column 'text', only 'n'; name another one"):
        column({"n": [1]})
    with pytest.raises(DataError, match="the column 'text' has 3, which is no text"):
        column({"text": ["1", 3]})
    with pytest.raises(DataError, match="samples without a seed"):
        ContinuedColumn(config=SampleConfig())


def test_equal_prompts_have_equal_texts_in_any_batch(text_bundle: Path) -> None:
    config = SampleConfig(seed=3, max_tokens=5)
    column = ContinuedColumn(model=str(text_bundle), config=config)
    texts = column({"text": LINES})["completion"].tolist()
    assert texts[0] == texts[3]
    assert column({"text": LINES[2:]})["completion"].tolist() == texts[2:]
    greedy = ContinuedColumn(model=str(text_bundle), config=SampleConfig(temperature=0.0, max_tokens=5))
    generator = Generator.load(text_bundle, threads=1)
    wanted = [each[0].text for each in generator.generate(LINES, SampleConfig(temperature=0.0, max_tokens=5))]
    assert greedy({"text": LINES})["completion"].tolist() == wanted


def test_frames_of_pandas(bundle: Path, expected: list[str]) -> None:
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    frames = [pandas.DataFrame({"text": LINES[:2], "n": [1, 2]}), pandas.DataFrame({"text": LINES[2:], "n": [3, 4]})]
    made = pandas.concat(TranslatedColumn(model=str(bundle)).frames(frames))
    assert made["translation"].tolist() == expected
    assert made["n"].tolist() == [1, 2, 3, 4]


@pytest.fixture
def spark(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Spark with one process, if it and Java are installed."""
    sql = pytest.importorskip("pyspark.sql", reason="Spark is not installed; pip install pyspark, and Java")
    monkeypatch.setenv("PYSPARK_PYTHON", sys.executable)
    session = sql.SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false").getOrCreate()
    yield session
    session.stop()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # Spark's own
def test_spark(spark: Any, bundle: Path, expected: list[str]) -> None:
    rows = spark.createDataFrame([(text, number) for number, text in enumerate(LINES)], "text string, n int")
    column = TranslatedColumn(model=str(bundle))
    made = rows.mapInPandas(column.frames, "text string, n int, translation string")
    assert [row["translation"] for row in sorted(made.collect(), key=lambda row: row["n"])] == expected


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # Ray's own
def test_ray_data(bundle: Path, expected: list[str]) -> None:
    ray = pytest.importorskip("ray", reason="Ray is not installed; pip install 'heed[ray]'")
    data = pytest.importorskip("ray.data", reason="Ray Data needs pyarrow")
    ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False, object_store_memory=128 << 20)
    try:
        rows = data.from_items([{"text": text, "n": number} for number, text in enumerate(LINES)])
        settings = {"model": str(bundle)}
        made = rows.map_batches(TranslatedColumn, fn_constructor_kwargs=settings, concurrency=1, batch_size=2)
        assert [row["translation"] for row in sorted(made.take_all(), key=lambda row: row["n"])] == expected
    finally:
        ray.shutdown()
