"""Progress of training on stderr: a live line on a terminal, plain lines elsewhere."""

import time

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from heed.transformer.training.runs.log import Incident, Meter, StepReport, Validation, perplexity

LINE_EVERY = 30.0  # seconds between two lines without a terminal
REFRESH_EVERY = 0.5  # seconds between two updates of the live line


class TrainProgress:
    """Shows step, loss, perplexity, learning rate, speed and time left, and each validation."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._meter = Meter()
        self._shown = time.monotonic()
        self._bar = Progress(
            BarColumn(bar_width=10),
            TaskProgressColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.description}"),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("starting", total=1.0)

    def __enter__(self) -> "TrainProgress":
        self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.stop()

    def on_start(self, **facts: object) -> None:
        """Show the facts about data, network and machine."""
        self._say("  ".join(f"{_words(name)} {_plain(value)}" for name, value in facts.items()))

    def on_step(self, report: StepReport) -> None:
        """Show a step, if it is time for an update."""
        self._meter.add(report)
        now = time.monotonic()
        if now - self._shown < (REFRESH_EVERY if self._console.is_terminal else LINE_EVERY):
            return
        self._shown = now
        means = self._meter.read()
        line = (
            f"step {report.step:,}  epoch {report.epoch + 1}  loss {means['loss']:.3f}  "
            f"perplexity {means['perplexity']:.2f}  rate {report.learning_rate:.2e}  "
            f"{means['tokens_per_second']:,.0f} tokens/s"
        )
        if self._console.is_terminal:
            self._bar.update(self._task, description=line, completed=min(report.share_done, 1.0))
        else:
            self._say(f"{line}  {report.share_done:.1%}")

    def on_validation(self, validation: Validation) -> None:
        """Show the figures of a validation, with an example."""
        name = "average of the last checkpoints" if validation.averaged else f"step {validation.step:,}"
        result = validation.result
        figures = "  ".join(f"{_words(figure)} {value:.4g}" for figure, value in result.figures.items())
        self._say(
            f"[bold]{name}[/bold]  {validation.minutes:.1f} min  validation perplexity "
            f"{perplexity(result.loss):.2f}  {figures}"
        )
        for label, text in result.example.items():
            self._say(f"  [dim]{label:>11}[/dim]  {escape(text)}")

    def on_incident(self, incident: Incident) -> None:
        """Report what went wrong and what was done."""
        facts = "  ".join(f"{_words(name)} {value:.4g}" for name, value in incident.facts.items())
        self._say(f"[bold red]step {incident.step:,} {_words(incident.event)}[/bold red]  {facts}")

    def _say(self, line: str) -> None:
        self._console.print(line, highlight=False, soft_wrap=True)


def _words(name: str) -> str:
    return {"bleu": "BLEU", "chrf": "chrF"}.get(name) or name.replace("_", " ")


def _plain(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)
