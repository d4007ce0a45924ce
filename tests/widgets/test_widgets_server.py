"""The server of `mvqlab explore`: pages that are left free their kernels, and who may open one at all."""

from __future__ import annotations

import asyncio
import inspect
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
from browser import open_browser, serve
from jupyter_server.services.kernels.kernelmanager import AsyncMappingKernelManager
from tornado.web import HTTPError

from mvqlab.cli.main import build_parser
from mvqlab.widgets import page_server
from mvqlab.widgets.page_server import PageKernels, explore

PATIENCE = 300  # seconds: the machine may be busy with other tests
LIGHT = """from pathlib import Path
from mvqlab.widgets import page_server
from mvqlab.widgets.page import voila_arguments, write_notebook

page_server.TRIES = 5
cell = "import ipywidgets; ipywidgets.HTML('<p id=light>here</p>')"
arguments = voila_arguments(write_notebook(Path.cwd(), cell), 18898, False, {has_token})
settings = page_server.settings_of_pages(most=2, seconds_alone=1)
settings.PageKernels.cull_interval = 1
look = page_server.PageKernels.cull_kernels


async def look_when_told(manager):
    if Path("told").exists():
        await look(manager)


page_server.PageKernels.cull_kernels = look_when_told
page_server.LocalPage.launch_instance(argv=arguments, config=settings)"""


def kernels() -> set[int]:
    """Process numbers of the kernels of the light server, which this process started."""
    found = set()
    for process in psutil.Process().children(recursive=True):
        try:
            if "ipykernel_launcher" in process.cmdline() and "light" in process.parent().cmdline():
                found.add(process.pid)
        except (psutil.NoSuchProcess, AttributeError):  # ended while it was looked at
            continue
    return found


def comes_true(is_so: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + PATIENCE
    while not is_so() and time.monotonic() < deadline:
        time.sleep(0.1)
    return is_so()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("light")


@contextmanager
def looks_for_kernels_alone(folder: Path) -> Iterator[None]:
    """Inside the `with` the server ends kernels that nobody is connected to; outside, none, however slow."""
    (folder / "told").touch()
    yield
    (folder / "told").unlink()


@pytest.fixture(scope="module", params=[True, False], ids=["token", "no token"])
def address(request: pytest.FixtureRequest, folder: Path) -> Iterator[str]:
    """The server of `mvqlab explore`, around a widget that is quick to make."""
    (folder / "light.py").write_text(LIGHT.format(has_token=request.param))
    with serve(["light"], folder, request.param) as address:
        yield address


def get(address: str, **headers: str) -> tuple[int, str]:
    """Status and text of what a program gets at `address`; in names of headers _ is -."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    try:
        with urllib.request.urlopen(
            urllib.request.Request(address, headers=named), timeout=PATIENCE
        ) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as answer:
        with answer:
            return answer.code, answer.read().decode()


@pytest.mark.slow
def test_a_page_that_is_left_frees_its_kernel(address: str, folder: Path) -> None:
    """By a reload, another address, a closed tab, and one that cannot say farewell."""
    with open_browser() as browser:
        page = browser.new_page()
        page.set_default_timeout(1000 * PATIENCE)
        page.goto(address)
        page.wait_for_selector("#light")
        (before,) = kernels()
        page.reload()
        page.wait_for_selector("#light")
        assert comes_true(lambda: before not in kernels() and len(kernels()) == 1)
        page.goto("about:blank")
        assert comes_true(lambda: not kernels())
        for says_farewell in (True, False):
            page.goto(address)
            page.wait_for_selector("#light")
            if not says_farewell:
                page.route("**/shutdown/**", lambda route: route.abort())
            page.close(run_before_unload=says_farewell)
            with looks_for_kernels_alone(folder):  # a farewell from a tab that closes may come too late
                assert comes_true(lambda: not kernels())
            page = browser.new_page()


@pytest.mark.slow
def test_visitors_without_a_browser_are_few_and_leave_no_kernel(address: str, folder: Path) -> None:
    assert [get(address)[0], get(address)[0]] == [200, 200] and len(kernels()) == 2
    status, words = get(address)
    assert status == 503 and "2 pages are open" in words and "--pages" in words
    assert "https://" not in words, "an error's page asks no other host either"
    with looks_for_kernels_alone(folder):
        assert comes_true(lambda: not kernels())


@pytest.mark.slow
@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "rebound.example"},
        {"Host": "127.0.0.1.rebound.example:18898"},
        {"Origin": "https://elsewhere.example"},
        {"Origin": "null"},
        {"Sec_Fetch_Dest": "image", "Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Dest": "iframe", "Sec_Fetch_Site": "cross-site"},
    ],
    ids=lambda headers: "-".join(headers.values()),
)
def test_other_sites_are_refused_and_start_nothing(address: str, headers: dict[str, str]) -> None:
    before = kernels()
    assert get(address, **headers)[0] == 403
    assert kernels() <= before


class Started:
    """Instead of processes: kernels by number, in a manager that believes in them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, most: int) -> None:
        async def start(manager: Any, **settings: Any) -> str:
            await asyncio.sleep(0)  # others come in between
            name = str(len(manager))
            manager._kernels[name] = SimpleNamespace(last_activity=datetime(2020, 1, 1, tzinfo=UTC))
            manager._kernel_connections[name] = 1
            return name

        monkeypatch.setattr(AsyncMappingKernelManager, "start_kernel", start)
        monkeypatch.setattr(page_server, "PAUSE", 0.0)
        self.manager = PageKernels(most=most)


def test_no_more_pages_than_asked_for_however_they_come(monkeypatch: pytest.MonkeyPatch) -> None:
    manager = Started(monkeypatch, most=3).manager

    async def five_at_once() -> list[Any]:
        return await asyncio.gather(*(manager.start_kernel() for _ in range(5)), return_exceptions=True)

    answers = asyncio.run(five_at_once())
    refused = [answer for answer in answers if isinstance(answer, HTTPError)]
    assert len(manager) == 3 and len(refused) == 2
    assert refused[0].status_code == 503 and "3 pages are open" in refused[0].reason


def test_a_reload_is_let_in_once_its_old_page_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    manager = Started(monkeypatch, most=1).manager

    async def reload() -> str:
        await manager.start_kernel()
        again = asyncio.create_task(manager.start_kernel())
        for _ in range(3):
            await asyncio.sleep(0)
        assert not again.done()
        manager._kernels.clear()
        return await again

    assert asyncio.run(reload()) == "0"


def test_a_kernel_is_alone_from_when_its_page_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    manager = Started(monkeypatch, most=1).manager
    name = asyncio.run(manager.start_kernel())
    manager.notify_disconnect(name)
    left = manager.get_kernel(name).last_activity
    assert left.tzinfo is not None and abs((datetime.now(UTC) - left).total_seconds()) < PATIENCE
    manager.notify_disconnect("gone already")


def test_help_states_the_limit_that_holds() -> None:
    options = build_parser().parse_args(["explore"])
    assert options.pages == inspect.signature(explore).parameters["most"].default == page_server.MOST_PAGES
    assert page_server.SECONDS_ALONE + page_server.SECONDS_BETWEEN_LOOKS < 60
