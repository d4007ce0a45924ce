"""The widgets in a real browser, as a page of Voila and in JupyterLab."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import nbformat
import numpy as np
import pytest
from browser import open_browser, serve
from PIL import Image

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
NUMBERS, CLOCK, RASTER_CLOCK = "#mvqlab-numbers-a", "#mvqlab-clock-stackformer", "#mvqlab-clock-raster"
PICTURE = "img[alt^='reconstruction']"
CLOCK_TIME = r" · \d+ ms"
PATIENCE = 600_000  # milliseconds: the machine may be busy with other tests

CELL = """import warnings
warnings.simplefilter("ignore")
from mvqlab.widgets import GenerationPlayer, MaskExplorer
explorer, player = MaskExplorer(), GenerationPlayer()
player.play.interval = 50
display(explorer, player)"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with open_browser() as browser:
        yield browser


@pytest.fixture(scope="module")
def voila(browser: Any) -> Iterator[Any]:
    """The page that `mvqlab explore` serves, its mask explorer ready."""
    with serve(["mvqlab.cli.main", "explore", "--no-browser", "--port", "18866"], ROOT) as address:
        page = browser.new_page(viewport={"width": 1366, "height": 1000})
        page.set_default_timeout(PATIENCE)
        page.asked = []
        page.on("request", lambda request: page.asked.append(request.url))
        page.goto(address)
        page.wait_for_selector(NUMBERS)
        yield page


@pytest.fixture(scope="module")
def lab(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """JupyterLab with a notebook of explorer and player, run to its end."""
    folder = tmp_path_factory.mktemp("lab")
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    cells = [nbformat.v4.new_code_cell(CELL)]
    nbformat.write(
        nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel}), folder / "widgets.ipynb"
    )
    command = ["jupyterlab", "--no-browser", "--allow-root", "--ServerApp.ip=127.0.0.1"]
    command += ["--ServerApp.port=18877", f"--ServerApp.root_dir={folder}"]
    with serve(command, folder) as address:
        page = browser.new_page(viewport={"width": 1500, "height": 2400})
        page.set_default_timeout(PATIENCE)
        page.goto(address.replace("/lab?", "/lab/tree/widgets.ipynb?"))
        page.wait_for_selector("text=Python 3 (ipykernel) | Idle")
        page.locator(".lm-MenuBar-itemLabel", has_text="Run").click()
        page.locator(".lm-Menu-itemLabel", has_text="Run All Cells").first.click()
        page.wait_for_selector(NUMBERS)
        page.wait_for_selector(CLOCK)
        yield page


@pytest.fixture(params=["voila", "lab"])
def page(request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue(request.param)


def text_of(page: Any, selector: str) -> str:
    """The text at `selector` without the time a drawing took, which every drawing of the same changes."""
    return re.sub(CLOCK_TIME, "", page.inner_text(selector))


def text_changes(page: Any, selector: str, before: str) -> str:
    """The text at `selector` once it is another than `before`."""
    page.wait_for_function(
        """([selector, time, before]) =>
            document.querySelector(selector)?.innerText.replace(new RegExp(time), "") !== before""",
        arg=[selector, CLOCK_TIME, before],
    )
    return text_of(page, selector)


def codes_change(page: Any, before: int) -> int:
    """How many codes there are once there are not `before`; other numbers may change in the meantime."""
    page.wait_for_function(
        "([selector, before]) => !document.querySelector(selector).innerText.startsWith(before)",
        arg=[NUMBERS, f"{before} of"],
    )
    return codes(page.inner_text(NUMBERS))


def open_tab(page: Any, name: str) -> None:
    """Open a tab of Voila's page; in the notebook all stands below each other."""
    tab = page.get_by_role("tab", name=name)
    if tab.count():
        tab.click()


def focus_slider(page: Any) -> None:
    page.locator(".noUi-handle").first.focus()


def codes(words: str) -> int:
    return int(re.match(r"(\d+) of 256 codes", words).group(1))


def test_the_slider_moves_and_the_picture_changes(page: Any) -> None:
    open_tab(page, "Mask explorer")
    before, picture = codes(page.inner_text(NUMBERS)), page.get_attribute(PICTURE, "src")
    focus_slider(page)
    page.keyboard.press("ArrowRight")
    assert codes_change(page, before) < before
    assert page.get_attribute(PICTURE, "src") != picture


def test_dragging_fast_leaves_no_queue(page: Any) -> None:
    """Forty moves at once: what is shown falls to the last of them, and the next move follows upon that.

    Drawings come in the order in which they were asked for: one that was left in a queue would stand
    between the last of the forty and the move after it, however fast the machine is.
    """
    open_tab(page, "Mask explorer")
    focus_slider(page)
    page.keyboard.press("Home")
    page.wait_for_function(f"document.querySelector('{NUMBERS}').innerText.startsWith('256 of 256')")
    page.evaluate(
        """selector => {
            window.shown = [256];
            const box = document.querySelector(selector).parentElement;
            new MutationObserver(() => {
                const codes = parseInt(document.querySelector(selector)?.innerText);
                if (codes && codes !== window.shown.at(-1)) window.shown.push(codes);
            }).observe(box, { childList: true });
        }""",
        NUMBERS,
    )
    for _ in range(40):
        page.keyboard.press("ArrowRight")
    page.wait_for_function("window.shown.at(-1) === 154")  # (1 - 0.40) * 256
    page.keyboard.press("ArrowLeft")
    page.wait_for_function("window.shown.at(-1) === 156")
    *dragged, after = page.evaluate("window.shown")
    assert dragged == sorted(set(dragged), reverse=True) and (dragged[-1], after) == (154, 156)


def test_an_own_picture_is_shown_and_a_broken_one_gives_its_message(page: Any, tmp_path: Path) -> None:
    open_tab(page, "Mask explorer")
    noise = np.random.default_rng(0).integers(0, 255, (90, 120, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.png")
    (tmp_path / "broken.png").write_bytes(b"\x89PNG, and then nothing of the kind")
    (tmp_path / "huge.png").write_bytes(bytes(12 * 2**20))
    before = text_of(page, NUMBERS)
    page.set_input_files("input[type=file]", tmp_path / "noise.png")
    page.wait_for_selector("[role=status] >> text=Shown by the model of anything")
    after = text_changes(page, NUMBERS, before)
    page.set_input_files("input[type=file]", tmp_path / "broken.png")
    page.wait_for_selector("[role=alert] >> text=broken.png: is not an image that Pillow can read")
    page.set_input_files("input[type=file]", tmp_path / "huge.png")
    page.wait_for_selector("[role=alert] >> text=huge.png has 12.0 MB; a picture may have 8 MB")
    assert text_of(page, NUMBERS) == after
    focus_slider(page)
    page.keyboard.press("ArrowLeft")
    text_changes(page, NUMBERS, after)  # and it is still alive


def test_regions_are_painted_with_mouse_and_keys(page: Any) -> None:
    open_tab(page, "Mask explorer")
    page.get_by_role("button", name="painted").first.click()
    canvas = page.locator("canvas[role=application]").first
    canvas.wait_for()
    before = codes(page.inner_text(NUMBERS))
    canvas.click(position={"x": 6, "y": 6})
    after = codes_change(page, before)
    assert abs(after - before) == 1
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Space")
    assert abs(codes_change(page, after) - after) == 1
    page.get_by_role("button", name="adaptive").first.click()
    page.wait_for_selector("canvas[role=img]")


def test_the_player_plays_to_the_end(page: Any) -> None:
    open_tab(page, "Generation player")
    page.wait_for_selector(CLOCK)
    assert page.inner_text(CLOCK).startswith("32 of 32 pairs"), "a whole image, to begin with"
    panel = page.locator(".mvqlab-stages > .mvqlab-panel").first
    height = panel.bounding_box()["height"]
    page.get_by_role("button", name="play").first.click()  # from the beginning
    page.wait_for_function(f"!document.querySelector('{RASTER_CLOCK}').innerText.startsWith('64 of')")
    assert panel.bounding_box()["height"] == height, "what is not drawn yet has its place"
    page.wait_for_function(f"document.querySelector('{RASTER_CLOCK}').innerText.startsWith('64 of 64 codes')")
    assert page.inner_text(CLOCK).startswith("32 of 32 pairs")
    assert "drawn" in page.inner_text(".mvqlab-codes >> nth=-1")


def test_a_click_on_a_code_shows_what_it_stands_for(voila: Any) -> None:
    open_tab(voila, "Codebook atlas")
    voila.wait_for_selector("#mvqlab-code-0")
    before = voila.inner_text("#mvqlab-code-0")
    canvas = voila.locator("canvas[role=application]").filter(visible=True).first
    canvas.click(position={"x": 60, "y": 250})
    clicked = text_changes(voila, "#mvqlab-code-0", before)
    voila.keyboard.press("ArrowRight")
    text_changes(voila, "#mvqlab-code-0", clicked)
    n_maps = voila.locator("canvas[role=application]").filter(visible=True).count()
    assert n_maps >= 1, "one without garments, three with them"
    assert voila.locator("img[alt^='region near code']").count() == 8 * n_maps


def test_what_stands_side_by_side_has_room_and_nothing_is_cut(voila: Any) -> None:
    """On a projector, on a laptop and on a phone."""
    open_tab(voila, "Mask explorer")
    voila.locator("input[type=checkbox]").filter(visible=True).first.check()
    panels = voila.locator(".mvqlab-explorer > .mvqlab-panel").filter(visible=True)
    panels.nth(1).wait_for()
    widths = {}
    for width, columns in ((1920, 2), (1024, 1), (390, 1)):
        voila.set_viewport_size({"width": width, "height": 1000})
        lefts = {round(panel.bounding_box()["x"]) for panel in panels.all()}
        assert len(lefts) == columns
        widths[width] = voila.locator(PICTURE).first.bounding_box()["width"]
        for cut in (".lm-TabBar-tabLabel", "select", "figcaption"):
            shown = voila.locator(cut).filter(visible=True)
            assert shown.count() > 0
            too_wide = shown.evaluate_all("all => all.filter(one => one.scrollWidth > one.clientWidth + 1)")
            assert too_wide == [], (cut, width)
        across = voila.evaluate("[document.body.scrollWidth, innerWidth]")
        assert across[0] <= across[1]
        letters = "all => Math.min(...all.map(one => parseFloat(getComputedStyle(one).fontSize)))"
        words = voila.locator("figcaption, .mvqlab-caption, .mvqlab-note, .widget-label").filter(visible=True)
        assert words.evaluate_all(letters) >= 14
    assert widths[1920] > 240 and widths[390] > 140
    voila.set_viewport_size({"width": 1920, "height": 1000})
    voila.get_by_label("lecture size").filter(visible=True).first.check()
    voila.wait_for_function(
        f'document.querySelector("{PICTURE}").getBoundingClientRect().width > {1.5 * widths[1920]}'
    )
    voila.get_by_label("lecture size").filter(visible=True).first.uncheck()
    voila.locator("input[type=checkbox]").filter(visible=True).first.uncheck()
    voila.set_viewport_size({"width": 1366, "height": 1000})


def test_a_finger_paints_or_scrolls_and_never_both(voila: Any) -> None:
    open_tab(voila, "Mask explorer")
    voila.set_viewport_size({"width": 390, "height": 700})
    devtools = voila.context.new_cdp_session(voila)
    devtools.send("Emulation.setTouchEmulationEnabled", {"enabled": True})

    def scrolled_by(kind: str) -> bool:
        voila.get_by_role("button", name="painted" if kind == "application" else "adaptive").first.click()
        canvas = voila.locator(f"canvas[role={kind}]").filter(visible=True).first
        canvas.wait_for()
        canvas.scroll_into_view_if_needed()
        box = canvas.bounding_box()
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] - 8
        before = voila.evaluate("document.querySelector('#rendered_cells').scrollTop")
        touch = [{"type": "touchStart", "touchPoints": [{"x": x, "y": y}]}]
        touch += [
            {"type": "touchMove", "touchPoints": [{"x": x, "y": y - 8 * step}]} for step in range(1, 13)
        ]
        for event in [*touch, {"type": "touchEnd", "touchPoints": []}]:
            devtools.send("Input.dispatchTouchEvent", event)
            voila.wait_for_timeout(20)
        return voila.evaluate("document.querySelector('#rendered_cells').scrollTop") != before

    assert scrolled_by("img"), "where nothing is painted, a finger scrolls"
    before = codes(voila.inner_text(NUMBERS))
    assert not scrolled_by("application")
    codes_change(voila, before)
    devtools.send("Emulation.setTouchEmulationEnabled", {"enabled": False})
    voila.get_by_role("button", name="adaptive").first.click()
    voila.set_viewport_size({"width": 1366, "height": 1000})


def test_no_other_host_is_asked(voila: Any) -> None:
    """With all three instruments open; and whatever would ask one is refused by the browser."""
    for name, is_there in (("Generation player", CLOCK), ("Codebook atlas", "#mvqlab-code-0")):
        open_tab(voila, name)
        voila.wait_for_selector(is_there)
    hosts = {urlsplit(address).hostname for address in voila.asked if address.startswith(("http", "ws"))}
    assert hosts == {"127.0.0.1"}
    assert voila.locator(".mvqlab-play .fa-play").count() == 1
    fonts = "[...document.fonts].filter(font => font.status === 'loaded').map(font => font.family)"
    assert any("Font Awesome" in family for family in voila.evaluate(fonts)), "icons come from here"
    refused = voila.evaluate(
        """() => new Promise(resolve => {
            document.addEventListener("securitypolicyviolation", event => resolve(event.blockedURI));
            new Image().src = "https://elsewhere.example/icon.png";
        })"""
    )
    assert refused == "https://elsewhere.example/icon.png"


def test_the_page_asks_for_its_token(voila: Any) -> None:
    address = voila.url.partition("?")[0]
    stranger = voila.context.browser.new_context()
    answer = stranger.new_page().goto(address)
    assert "login" in answer.url or answer.status in (401, 403)
    stranger.close()
