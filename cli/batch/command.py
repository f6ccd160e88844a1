"""What the commands with large jobs share."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from heed.cli.batch.job import FileJob, Worker
from heed.cli.batch.runner import Runner, interruptions_told
from heed.cli.io.inputs import size_on_disk
from heed.models.system.files import sha256

if TYPE_CHECKING:
    from heed.cli.batch.runner import Executor


def run_jobs(
    jobs: Sequence[FileJob],
    worker: Worker,
    models: Sequence[Path],
    *,
    ray: str | None,
    names: Sequence[str],
    force: bool,
) -> int:
    """Do jobs on a Ray cluster, or in this process; returns the exit status.

    Args:
        jobs: They.
        worker: What answers their blocks.
        models: The directories of its model, or of those of an ensemble.
        ray: The cluster's address; None: this process.
        names: Of all inputs, for progress.
        force: Do again what is complete.

    Raises:
        HeedError: Ray is not installed, or no worker can work; or there is one job, and its input cannot be used.
    """
    executor: Executor
    if ray is None:
        from heed.cli.batch.here import Here

        executor = Here(worker, models)
    else:
        from heed.cli.batch.model_copy import ModelOrigin
        from heed.cli.batch.ray_cluster import RayCluster

        origins, gpus = [ModelOrigin.of(path) for path in models], int(worker.device == "cuda")
        executor = RayCluster(ray, worker, origins, cores=worker.threads or 1, gpus=gpus)
    with interruptions_told():
        return Runner(executor, force=force, size=size_on_disk(names)).run(jobs)


def job_note(model: Path, worker: Worker) -> dict[str, object]:
    """What an output depends on, besides its input: heed, the model, and the settings."""
    import importlib.metadata

    from heed.models.bundle import manifest

    digest = sha256(model / manifest.FILE_NAME)  # the manifest has the hashes of all files
    return {"heed": importlib.metadata.version("heed"), "model": digest, "settings": repr(worker)}
