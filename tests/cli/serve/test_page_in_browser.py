"""The page at / in Chromium: what people do with it."""

import time
from collections.abc import Iterator
from typing import Any

import pytest

from heed.cli.serve.metrics import Metrics
from heed.cli.serve.models import ServedGenerator, ServedModels
from tests.cli.serve.conftest import PATIENCE, Client, running

SCREENS = [("light", 1200), ("dark", 390)]  # colour scheme, and width in pixels; 390 is a phone's


class Shown:
    """The page as a browser shows it."""

    def __init__(self, page: Any) -> None:
        self.page = page

    def text(self, selector: str) -> str:
        return str(self.page.locator(selector).inner_text())

    def until(self, condition: str) -> None:
        """Wait until an expression of JavaScript is true; the page's `$` finds an element by its id."""
        end = time.monotonic() + PATIENCE
        while not self.page.evaluate(condition):  # wait_for_function evaluates text within the page, which refuses that
            assert time.monotonic() < end, self.text("body")
            self.page.wait_for_timeout(20)

    @property
    def focus(self) -> str:
        """The id of the element that has the focus."""
        return str(self.page.evaluate("document.activeElement.id"))

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)


@pytest.fixture(params=SCREENS, ids=["desktop", "phone"])
def shown(browser: Any, client: Client, request: pytest.FixtureRequest) -> Iterator[Shown]:
    scheme, width = request.param
    context = browser.new_context(color_scheme=scheme, viewport={"width": width, "height": 800})
    page, wrong = context.new_page(), list[str]()
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("request", lambda asked: None if asked.url.startswith((client.url, "data:")) else wrong.append(asked.url))
    page.goto(client.url)
    found = Shown(page)
    found.until("$('pair').options.length && $('model').options.length")
    yield found
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert wrong == []
    context.close()


@pytest.fixture
def slowly(models: ServedModels, monkeypatch: pytest.MonkeyPatch) -> None:
    """Texts are generated so slowly that there is time to stop them."""
    model = models.by_name["shakespeare"]
    assert isinstance(model, ServedGenerator)
    work = model.generator.stream_all

    def pieces(*arguments: Any) -> Iterator[Any]:
        for piece in work(*arguments):
            time.sleep(0.02)
            yield piece

    monkeypatch.setattr(model.generator, "stream_all", pieces)


def test_translating_by_keyboard(shown: Shown) -> None:
    shown.press("Tab", "Tab", "Tab", "Tab")  # tabs, languages, button, text
    assert shown.focus == "text"
    shown.page.keyboard.type("Good morning!\n\nThe train leaves at 7:45.")
    shown.press("Control+Enter")
    shown.until("/Guten Morgen!\\n\\n.*7:45/s.test($('translation').textContent)")


@pytest.mark.usefixtures("slowly")
def test_a_chat_is_streamed_and_stopped_by_keyboard(shown: Shown) -> None:
    shown.press("Tab", "ArrowRight")
    assert shown.focus == "tab-chat"
    shown.press("Tab", "Tab", "Tab")
    assert shown.focus == "message"
    shown.page.keyboard.type("Who is there?")
    shown.press("Control+Enter")
    shown.until("$('log').querySelectorAll('.turn span')[1]?.textContent.length > 5")  # before the answer is complete
    assert shown.page.locator("#stop").is_enabled()
    shown.press("Escape")
    shown.until("$('stop').disabled")
    asked, answer = shown.page.evaluate("[...document.querySelectorAll('.turn span')].map(each => each.textContent)")
    assert (asked, answer.endswith(" (stopped)")) == ("Who is there?", True)
    assert shown.page.evaluate("conversation.messages") == [
        {"role": "user", "content": asked},
        {"role": "assistant", "content": answer.removesuffix(" (stopped)")},
    ]
    shown.page.locator("#clear").click()
    assert (shown.text("#log"), shown.page.evaluate("conversation.messages"), shown.focus) == ("", [], "message")


@pytest.mark.usefixtures("slowly")
def test_a_new_conversation_forgets_the_answer_that_was_under_way(shown: Shown) -> None:
    """What had come of the answer became the first turn of the new conversation."""
    shown.page.locator("#tab-chat").click()
    shown.page.locator("#message").fill("Who is there?")
    shown.page.locator("#send").click()
    shown.until("$('log').querySelectorAll('.turn span')[1]?.textContent.length > 5")
    shown.page.locator("#clear").click()
    shown.until("$('stop').disabled")
    assert (shown.text("#log"), shown.page.evaluate("conversation.messages")) == ("", [])


def test_errors_are_shown_and_lose_no_text(shown: Shown) -> None:
    shown.page.locator("#tab-chat").click()
    shown.page.locator("#message").fill("word " * 2000)
    shown.page.locator("#send").click()
    shown.until("$('error').textContent.includes('leave room for an answer')")
    assert shown.page.locator("#message").input_value().startswith("word word")
    assert shown.text("#log") == ""
    shown.page.locator("#tab-translate").click()
    assert shown.text("#error") == ""
    shown.page.locator("#text").fill("\n" * 1000)
    shown.page.locator("#translate button").click()
    shown.until("$('error').textContent.includes('send at most 1,000')")
    shown.page.context.set_offline(True)
    shown.page.locator("#translate button").click()
    shown.until("$('error').textContent === 'The server does not answer.'")


def test_a_key_is_asked_for_when_it_is_needed(browser: Any, models: ServedModels) -> None:
    with running(models, Metrics(), key="secret") as client:
        shown = Shown(browser.new_page())
        shown.page.goto(client.url)
        shown.until("$('pair').options.length")
        assert not shown.page.locator("#key").is_visible()
        shown.page.locator("#text").fill("Good morning!")
        shown.page.locator("#translate button").click()
        shown.until("document.activeElement.id === 'key'")
        shown.page.keyboard.type("secret")
        shown.page.locator("#translate button").click()
        shown.until("$('translation').textContent === 'Guten Morgen!'")
        assert shown.text("#error") == ""
        shown.page.close()
