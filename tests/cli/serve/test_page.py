"""The page at /, the description of the interfaces, and the figures."""

import base64
import hashlib
import re

from heed.cli.serve.openapi import OPERATIONS
from tests.cli.serve.conftest import Client


def test_the_page_runs_and_loads_nothing_but_its_own(client: Client) -> None:
    answer = client("GET", "/")
    page, policy = answer.content.decode(), answer.headers["content-security-policy"]
    assert (answer.status, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert re.findall(r"https?:|//[a-z]|@import|<link(?! rel=\"icon\" href=\"data:,\")", page) == []
    assert re.findall(r"\son\w+=|\sstyle=", page) == []  # which the policy would refuse
    assert "default-src 'none'" in policy
    for name in ("script", "style"):
        (inside,) = re.findall(rf"<{name}>(.*?)</{name}>", page, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()
        assert f"{name}-src 'sha256-{digest}';" in policy


def test_no_other_page_may_ask(client: Client) -> None:
    asked = client("OPTIONS", "/translate", origin="http://a.example", access_control_request_method="POST")
    assert asked.status == 405
    for answer in (asked, client("GET", "/languages", origin="http://a.example")):
        assert not [name for name in answer.headers if name.startswith("access-control")]


def test_the_description_names_every_path_and_only_what_is_there(client: Client) -> None:
    described = client("GET", "/openapi.json").json
    assert described["openapi"].startswith("3.1")
    for path, method, _, asked, *_ in OPERATIONS:
        operation = described["paths"][path][method]
        assert client(method.upper(), path.replace("{name}", "en-de")).status in (200, 400, 415)
        assert ("requestBody" in operation) == (asked is not None)
    names = set(re.findall(r'"#/components/schemas/(\w+)"', client("GET", "/openapi.json").content.decode()))
    assert names <= set(described["components"]["schemas"])


def test_the_figures_count_answers(client: Client) -> None:
    before = client.figure("heed_requests_total")
    client.post("/translate", {})
    text = client("GET", "/metrics").content.decode()
    assert client.figure("heed_requests_total") == before + 1
    assert 'heed_requests_total{path="/translate",status="400"}' in text
    assert "process_resident_memory_bytes" in text
