"""The page in a real browser, served as plain files, with every request to another host refused."""

from __future__ import annotations

import functools
import http.server
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from browser import open_browser
from PIL import Image

from mvqlab.config import SamplingConfig
from mvqlab.data import build_splits
from mvqlab.evaluation.images.masked_image import EncodedImage
from mvqlab.sampling import sample_plainly
from mvqlab.zoo.shipped import load_shipped_stage1, load_shipped_stage2

pytestmark = pytest.mark.slow

MODELS = ["emoji_mqvae", "simple_mqvae", "simple_stackformer"]
NUMBERS, CLOCK, CODE = "#explorer-numbers", "#player-clock-stackformer", "#atlas-code"
PATIENCE = 120_000  # milliseconds: the machine may be busy with other tests


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Files, without a line a request."""

    def log_message(self, *words: Any) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where the page lies: in a folder of a plain web server, not at its top."""
    pytest.importorskip("onnxscript")
    if shutil.which("npm") is None:
        pytest.skip("no npm: the page's runtime comes from there")
    site = tmp_path_factory.mktemp("site")
    # in a process of its own: what checks shapes here takes the batch of an example for a constant
    build = [sys.executable, "-m", "mvqlab", "play", "build", "--out", str(site / "page")]
    done = subprocess.run([*build, "--models", *MODELS], capture_output=True, text=True)
    if "npm could not fetch" in done.stderr:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, done.stderr
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=site))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/page/"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with open_browser() as browser:
        yield browser


@pytest.fixture
def open_page(browser: Any, address: str) -> Iterator[Any]:
    """Opens the page at a link; in the end nothing was asked of another host, and no script failed."""
    contexts, foreign, faults = [], [], []

    def open_at(link: str = "", width: int = 1280, scheme: str = "light", touch: bool = False) -> Any:
        viewport = {"width": width, "height": 900}
        context = browser.new_context(viewport=viewport, color_scheme=scheme, has_touch=touch)
        contexts.append(context)

        def only_ours(route: Any) -> None:
            if route.request.url.startswith((address, "blob:", "data:")):
                route.continue_()
            else:
                foreign.append(route.request.url)
                route.abort()

        context.route("**/*", only_ours)
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.goto(address + link)
        return page

    yield open_at
    for context in contexts:
        context.close()
    assert foreign == [] and faults == []


def text_changes(page: Any, selector: str, before: str) -> str:
    """The text at `selector` once it is another than `before`, and not empty."""
    page.wait_for_function(
        "([selector, before]) => ![before, ''].includes(document.querySelector(selector)?.innerText ?? '')",
        arg=[selector, before],
    )
    return page.inner_text(selector)


def psnr(words: str) -> float:
    return float(re.search(r"PSNR ([\d.]+) dB", words)[1])


def test_the_explorer_restores_what_the_library_restores(open_page: Any) -> None:
    page = open_page("#explorer?model=emoji_mqvae&image=15&mask=learned&ratio=75")
    words = text_changes(page, NUMBERS, "")
    model = load_shipped_stage1("emoji_mqvae")
    encoded = EncodedImage(model, build_splits(model.config.data).validation[15]["image"])
    assert words.startswith("64 of 256 codes")
    assert psnr(words) == pytest.approx(encoded.keep(encoded.best(64)).psnr, abs=0.01)


def test_a_link_leads_to_what_was_seen(open_page: Any) -> None:
    page = open_page("#explorer?model=simple_mqvae&image=4&mask=random&ratio=75&draw=3")
    first = text_changes(page, NUMBERS, "")
    assert first.startswith("16 of 64 codes") and page.locator("input[value=random]").is_checked()
    page.locator("#explorer input[type=range]").focus()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    moved = text_changes(page, NUMBERS, first)
    assert moved.startswith("17 of 64 codes") and "ratio=73" in page.url and "image=4" in page.url
    again = open_page(page.url.partition("/page/")[2])
    assert text_changes(again, NUMBERS, "") == moved
    page.get_by_role("link", name="Codebook atlas").click()
    text_changes(page, CODE, "")
    page.get_by_role("link", name="Mask explorer").click()
    page.wait_for_function("location.hash.includes('ratio=73')")
    assert page.inner_text(NUMBERS) == moved, "who comes back finds it as it was left"


def test_regions_are_painted_and_an_address_keeps_them(open_page: Any) -> None:
    page = open_page("#explorer?model=simple_mqvae&image=4&ratio=50")
    before = text_changes(page, NUMBERS, "")
    page.locator("label", has_text="painted").click()
    canvas = page.locator("canvas[role=application]:visible")
    canvas.click(position={"x": 6, "y": 6})
    painted = text_changes(page, NUMBERS, before)
    assert abs(int(painted.split()[0]) - 32) == 1
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Space")
    both = text_changes(page, NUMBERS, painted)
    again = open_page(page.url.partition("/page/")[2])
    assert text_changes(again, NUMBERS, "") == both


def test_a_finger_paints_and_does_not_scroll(open_page: Any) -> None:
    page = open_page("#explorer?model=simple_mqvae&image=4&ratio=50&mask=painted", width=390, touch=True)
    before = text_changes(page, NUMBERS, "")
    canvas = page.locator("canvas[role=application]:visible")
    canvas.scroll_into_view_if_needed()
    box, scrolled = canvas.bounding_box(), page.evaluate("scrollY")
    page.touchscreen.tap(box["x"] + 6, box["y"] + 6)
    tapped = text_changes(page, NUMBERS, before)
    assert abs(int(tapped.split()[0]) - 32) == 1
    finger = page.context.new_cdp_session(page)
    x, step = box["x"] + box["width"] / 2, box["height"] / 8
    for n in range(8):  # down the middle, a region a step
        at = {"x": x, "y": box["y"] + (n + 0.5) * step}
        kind = "touchStart" if n == 0 else "touchMove"
        finger.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [at]})
    finger.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    text_changes(page, NUMBERS, tapped)
    page.wait_for_timeout(200)
    kept = re.search(r"kept=(\w+)", page.url)[1]
    columns = {kept[2 * row + 1][0] in "89abcdef" for row in range(8)}  # the first bit of a row's second half
    assert len(columns) == 1, "all regions under the finger are alike"
    assert page.evaluate("scrollY") == scrolled


def test_an_own_picture_is_shown_and_a_broken_one_gives_its_message(open_page: Any, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (90, 120, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.png")
    (tmp_path / "broken.png").write_bytes(b"\x89PNG, and then nothing of the kind")
    page = open_page("#explorer?model=simple_mqvae&image=4")
    before = text_changes(page, NUMBERS, "")
    page.set_input_files("input[type=file]", tmp_path / "broken.png")
    page.wait_for_selector("[role=alert] >> text=broken.png: is not an image that this browser can read")
    assert page.inner_text(NUMBERS) == before
    page.set_input_files("input[type=file]", tmp_path / "noise.png")
    own = text_changes(page, NUMBERS, before)
    assert psnr(own) < 20 and "image=" not in page.url, "an address does not lead to a visitor's file"
    assert page.inner_text("#message") == ""


@torch.no_grad()
def test_the_player_draws_what_the_library_draws(open_page: Any) -> None:
    """The likeliest of every part, so that no random number has a say."""
    model = load_shipped_stage2("simple_stackformer")
    coldest = SamplingConfig(temperature=0.0).without_filters()
    generator = torch.Generator().manual_seed(0)
    pairs = sample_plainly(model, 1, coldest, generator=generator, conditions=torch.tensor([3]))
    page = open_page("#player?model=simple_stackformer&class=3&temperature=0&guidance=1&step=0")
    page.wait_for_function("document.querySelector('#player').dataset.drawn")
    page.locator("#player label", has_text="pair").locator("input[type=range]").focus()
    for n in range(1, 33):
        page.keyboard.press("ArrowRight")
        page.wait_for_function(f"document.querySelector('{CLOCK}').innerText.startsWith('{n} of 32')")
        code, place = int(pairs.codes[0, n - 1]), int(pairs.positions[0, n - 1])
        at = f"row {place // 8 + 1}, column {place % 8 + 1},"
        page.wait_for_selector(f"#player figcaption >> text=place drawn: {at}")
        assert page.inner_text("#player .patches figcaption >> nth=0").startswith(f"code {code}\n")


def test_the_player_plays_to_the_end(open_page: Any) -> None:
    page = open_page("#player?step=29")
    page.wait_for_function("document.querySelector('#player').dataset.drawn")
    assert page.inner_text(CLOCK) == "29 of 32 pairs"
    page.get_by_role("button", name="play").click()
    page.wait_for_function(f"document.querySelector('{CLOCK}').innerText === '32 of 32 pairs'")
    page.get_by_role("button", name="play").wait_for()
    assert "step=32" in page.url


def test_a_click_on_a_code_shows_what_it_stands_for(open_page: Any) -> None:
    page = open_page("#atlas?model=emoji_mqvae&code=7")
    first = text_changes(page, CODE, "")
    assert first.startswith("code 7:")
    page.locator("#atlas canvas[role=application]").click(position={"x": 60, "y": 250})
    clicked = text_changes(page, CODE, first)
    page.keyboard.press("ArrowRight")
    pressed = text_changes(page, CODE, clicked)
    number = pressed.split()[1].removesuffix(":")
    assert page.url.endswith(f"code={number}")
    assert page.locator("canvas[aria-label^='region near code']").count() == 8
    assert page.locator("canvas[aria-label^='drawn region near code']").count() == 8
    page.locator("#atlas button[title^='show code']").first.click()
    text_changes(page, CODE, pressed)


@pytest.mark.parametrize("width", [390, 1920])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_telephones_and_projectors_in_both_colour_schemes(
    open_page: Any, width: int, scheme: str
) -> None:
    page = open_page("#explorer?model=simple_mqvae", width=width, scheme=scheme)
    ready = {"Mask explorer": NUMBERS, "Generation player": CLOCK, "Codebook atlas": CODE}
    for name, reading in ready.items():
        page.get_by_role("link", name=name).click()
        text_changes(page, reading, "")
        assert page.evaluate("document.documentElement.scrollWidth") <= width, name
        sizes = page.evaluate(
            """[...document.querySelectorAll("figcaption, .note, .reading, .control > span")]
                .filter((one) => one.offsetParent).map((one) => parseFloat(getComputedStyle(one).fontSize))"""
        )
        assert min(sizes) >= 14, name
        shown = page.locator("section:visible figure canvas").first.bounding_box()
        assert shown["width"] >= (60 if name == "Codebook atlas" else 150), name
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    brightness = np.mean([int(number) for number in re.findall(r"\d+", ground)[:3]])
    assert brightness > 200 if scheme == "light" else brightness < 60
