"""`heed serve`."""

import os

import click

from heed.cli import messages, options
from heed.cli.command import Command

# Option, unit or default are those of `heed.cli.serve.limits.Limits`.
LIMITS = ("body", "lines", "tokens", "requests", "streams", "seconds")


@click.command(
    cls=Command,
    extra="serve",
    sections={
        "Models": ("models", "device", "threads"),
        "Address": ("host", "port"),
        "Limits": LIMITS,
    },
)
@options.model_option(
    "models",
    multiple=True,
    help="Directory or name of a model. Repeat for more.  [default: those that come with heed]",
)
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="Address to listen on; 0.0.0.0 is every one of this machine.",
)
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="Port; 0 is any free one.")
@click.option(
    "--max-body", "body", type=click.IntRange(min=1), default=1 << 20, show_default=True, help="Bytes of a request."
)
@click.option(
    "--max-lines",
    "lines",
    type=click.IntRange(min=1),
    default=1000,
    show_default=True,
    help="Lines that a request may have translated.",
)
@click.option(
    "--max-tokens",
    "tokens",
    type=click.IntRange(min=1),
    default=4096,
    show_default=True,
    help="Tokens that a request may have generated.",
)
@click.option(
    "--max-requests",
    "requests",
    type=click.IntRange(min=1),
    default=512,
    show_default=True,
    help="Requests that are answered or wait at a time.",
)
@click.option(
    "--max-streams",
    "streams",
    type=click.IntRange(min=1),
    default=4,
    show_default=True,
    help="Requests for which a model generates text at a time; others wait.",
)
@click.option(
    "--timeout",
    "seconds",
    type=click.FloatRange(min=0.1),
    default=60,
    show_default=True,
    help="Seconds that a request may take.",
)
@options.device
@options.threads
def command(
    models: tuple[str, ...], host: str, port: int, device: str, threads: int | None, **limits: int | float
) -> None:
    """Serve models over HTTP.

    \b
    heed serve
    heed serve -m en-de -m chat --port 9000
    HEED_API_KEY=secret heed serve --host 0.0.0.0

    Speaks LibreTranslate's interface (/translate, /languages) and OpenAI's (/v1/models, /v1/completions,
    /v1/chat/completions, /v1/embeddings); / is a page to try them, /openapi.json describes them, /health and /metrics
    are for programs that watch. If HEED_API_KEY is set (several keys: with commas between), clients must send one of
    them. SIGTERM and Ctrl-C complete what has begun.
    """
    from heed.cli.serve.app import application
    from heed.cli.serve.keys import Keys
    from heed.cli.serve.limits import Limits
    from heed.cli.serve.metrics import Metrics
    from heed.cli.serve.models import ServedModels
    from heed.cli.serve.server import address, listen, serve
    from heed.models.bundle import catalog

    paths = [catalog.find(name) for name in models] or catalog.brought()
    limit, keys, metrics = Limits(**limits), Keys.parse(os.environ.get("HEED_API_KEY")), Metrics()  # type: ignore[arg-type]
    logs = messages.verbosity() >= messages.VERBOSE
    with listen(host, port) as listening:  # first, because an address in use is told at once
        served = ServedModels.load(paths, limit, metrics, device=device, threads=threads)
        app = application(served, limit, keys, metrics)

        def started() -> None:
            messages.note(f"Serving {', '.join(served.by_name)} on {address(listening)}; Ctrl-C ends.")

        serve(app, listening, seconds=limit.seconds, logs=logs, started=started)
        served.close()
