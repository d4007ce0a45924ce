"""The widgets without a browser: their controls moved as a browser would move them."""

from __future__ import annotations

import dataclasses
import io
import re

import ipywidgets
import pytest
import torch
from PIL import Image
from tiny_runs import tiny_stage1

from mvqlab.data import DataError, emoji
from mvqlab.data.catalogue import missing
from mvqlab.evaluation.codebook.code_patches import cut_regions
from mvqlab.models.transformers import build_stage2
from mvqlab.support.pretrained import LPIPS_FILES
from mvqlab.widgets import mask_explorer, page
from mvqlab.widgets.code_points import CodePoints
from mvqlab.widgets.codebook_atlas import CodebookAtlas
from mvqlab.widgets.coded_images import code_images
from mvqlab.widgets.elements import Instrument, Message
from mvqlab.widgets.generation_player import BESIDE, Drawer, GenerationPlayer, Stage
from mvqlab.widgets.mask_canvas import MaskCanvas
from mvqlab.widgets.mask_explorer import ANYTHING, EMOJI, OWN, MaskExplorer
from mvqlab.widgets.mask_setting import NETWORKS, PAINTED
from mvqlab.widgets.picture_bytes import error_map, heat_map
from mvqlab.widgets.recording import record
from mvqlab.zoo.shipped import shipped_config

CHOSEN = {"name": "holiday.jpg", "size": 10, "number": 1}


@pytest.fixture
def explorer() -> MaskExplorer:
    return MaskExplorer({"tiny": tiny_stage1(), "large": tiny_stage1("data.resolution=32")}, lpips="none")


def numbers(explorer: MaskExplorer) -> str:
    return re.sub("<[^>]*>", "", explorer.first.numbers.value)


def test_a_new_mask_ratio_makes_new_pictures_and_numbers(explorer: MaskExplorer) -> None:
    assert numbers(explorer).startswith("8 of 16 codes")
    before = explorer.first.pictures.value
    explorer.first.mask_ratio.value = 0.75
    assert numbers(explorer).startswith("4 of 16 codes")
    assert explorer.first.kept.is_kept.count("1") == 4
    assert explorer.first.pictures.value != before


def test_a_move_of_the_slider_leaves_the_encoder_alone(
    explorer: MaskExplorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Encoding anew is what would make dragging slow."""

    def refuse(*_: object) -> None:
        raise AssertionError("encoded again")

    monkeypatch.setattr(explorer.chosen.encoder, "forward", refuse)
    explorer.first.mask_ratio.value = 0.25
    explorer.first.mask.value = "inverted"
    assert explorer.first.message.value == "" and numbers(explorer).startswith("12 of 16")
    explorer.number.value = 3
    assert "encoded again" in explorer.message.value


def test_masks_keep_what_they_say(explorer: MaskExplorer) -> None:
    setting = explorer.first
    adaptive = setting.kept.positions
    setting.mask.value = "inverted"
    assert set(setting.kept.positions) == set(range(16)) - set(adaptive)
    setting.mask.value = "random"
    first = setting.kept.positions
    setting.again.click()
    assert setting.kept.positions != first and len(setting.kept.positions) == 8


def test_painted_regions_are_what_is_kept(explorer: MaskExplorer) -> None:
    setting = explorer.first
    setting.mask.value = PAINTED
    assert setting.kept.can_paint and setting.mask_ratio.disabled
    setting.kept.is_kept = "1" * 3 + "0" * 13
    assert numbers(explorer).startswith("3 of 16 codes")
    setting.kept.is_kept = "0" * 16
    assert "keep at least one region" in setting.message.value
    setting.kept.is_kept = "1" + "0" * 15
    assert setting.message.value == "" and numbers(explorer).startswith("1 of 16 codes")


def test_two_settings_stand_side_by_side(explorer: MaskExplorer) -> None:
    assert explorer.second.layout.display == "none"
    explorer.compares.value = True
    assert explorer.second.layout.display == ""
    assert explorer.second.shown is not None
    explorer.second.mask_ratio.value = 0.25
    assert len(explorer.second.shown.codes) == 12 and len(explorer.first.shown.codes) == 8


def test_another_model_and_image_are_shown_at_once() -> None:
    models = {"small": tiny_stage1(), "large": tiny_stage1("data.resolution=32")}
    explorer = MaskExplorer(models, lpips="none")
    explorer.compares.value = True
    explorer.model.value = "large"
    assert "of 64 codes" in numbers(explorer) and explorer.first.kept.side == 8
    before = explorer.original.value
    explorer.number.value = 5
    assert explorer.original.value != before
    explorer.model.value = "small"
    assert "of 16 codes" in numbers(explorer) and len(explorer.second.kept.is_kept) == 16


def test_a_broken_picture_is_told_and_the_last_one_stays(explorer: MaskExplorer) -> None:
    before = explorer.original.value
    explorer.file.content = b"no picture"
    explorer.file.chosen = dict(CHOSEN)
    assert "holiday.jpg: is not an image" in explorer.message.value
    assert explorer.original.value == before
    explorer.number.value = 2
    assert explorer.message.value == "" and explorer.original.value != before


def upload(explorer: MaskExplorer, number: int = 1) -> None:
    """A picture comes, as from the browser."""
    picture = io.BytesIO()
    Image.new("RGB", (30, 20), (200, 30, 30)).save(picture, "PNG")
    explorer.file.content = picture.getvalue()
    explorer.file.chosen = {"name": "holiday.png", "size": len(picture.getvalue()), "number": number}


def test_an_own_picture_is_shown_by_the_model_of_anything() -> None:
    """It takes over when a picture comes, and says so; a person may then choose another."""
    explorer = MaskExplorer(
        {"small": tiny_stage1(), ANYTHING: tiny_stage1("data.resolution=32")}, lpips="none"
    )
    upload(explorer)
    assert explorer.message.value == "" and explorer.model.value == ANYTHING
    assert "model of anything" in explorer.remark.value
    assert "of 64 codes" in numbers(explorer)
    explorer.model.value = "small"
    assert "foreign to this model" in explorer.remark.value and "of 16 codes" in numbers(explorer)
    own = explorer.original.value
    upload(explorer, 2)
    assert explorer.model.value == "small", "a choice that was made by hand stays"
    assert explorer.original.value == own
    explorer.stop.value = explorer.stop.options[2][1]
    assert explorer.original.value != own and explorer.number.value == explorer.stop.value
    assert explorer.remark.value == ""


def test_names_and_numbers_are_those_of_the_picture_that_is_shown(explorer: MaskExplorer) -> None:
    """Once the number of a held-out image stood beside a picture of one's own, and the upload had no name."""
    assert "held-out image 0" in explorer.original.value and explorer.file.shown == ""
    upload(explorer)
    assert "holiday.png" in explorer.original.value and explorer.file.shown == "holiday.png"
    assert explorer.stop.value == OWN and explorer.number.layout.visibility == "hidden"
    own = explorer.original.value
    explorer.file.content = b"no picture"
    explorer.file.chosen = CHOSEN | {"number": 2}
    assert "holiday.jpg: is not an image" in explorer.message.value
    assert explorer.file.shown == "holiday.png" and explorer.original.value == own
    explorer.stop.value = 3
    assert "held-out image 3" in explorer.original.value and explorer.file.shown == ""
    assert explorer.number.layout.visibility == "visible"
    explorer.stop.value = OWN
    assert explorer.original.value == own, "the last that could be read, and not the broken one after it"
    explorer.model.value = "large"
    assert explorer.message.value == "" and "holiday.png" in explorer.original.value


def test_the_number_of_a_network_that_knows_nothing_is_named_by_its_meaning(explorer: MaskExplorer) -> None:
    judged = MaskExplorer(explorer.models, lpips="random")
    assert "perceptual distance 0." in numbers(judged) and "untrained network" in numbers(judged)
    assert set(NETWORKS) == {*LPIPS_FILES, "random"}


def test_lecture_size_holds_for_all_instruments_of_a_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "WIDGETS", dict.fromkeys("abc", Instrument))
    _, tab = page.all_widgets().children
    tab.selected_index = 1
    first, second = (place.children[0] for place in tab.children[:2])
    first.large.value = True
    assert second.large.value and "mvqlab-large" in second._dom_classes
    tab.selected_index = 2
    assert "mvqlab-large" in tab.children[2].children[0]._dom_classes
    second.large.value = False
    assert "mvqlab-large" not in first._dom_classes


def test_a_stop_and_a_number_show_the_same_image(explorer: MaskExplorer) -> None:
    explorer.stop.value = 5
    shown = explorer.original.value
    assert explorer.number.value == 5
    explorer.number.value = 6
    assert explorer.stop.value == 6 and explorer.original.value != shown
    explorer.number.value = 5
    assert explorer.original.value == shown


@pytest.mark.slow
def test_the_explorer_begins_with_emoji_and_names_who_drew_them() -> None:
    explorer = MaskExplorer(lpips="none")
    assert explorer.model.value == EMOJI and explorer.message.value == ""
    assert emoji.CREDIT in explorer.credit.value
    assert numbers(explorer).startswith("64 of 256 codes")
    assert explorer.first.mask_ratio.max == 0.95
    here = {words: model for words, model in explorer.models.items() if not missing(model.config.data)}
    for words in here:
        explorer.model.value = words
        assert explorer.message.value == ""
        for _, number in explorer.stop.options:
            explorer.stop.value = number
            assert explorer.message.value == ""


def test_images_that_are_not_here_are_told_and_the_last_ones_stay(
    explorer: MaskExplorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = explorer.original.value

    def nowhere(_: object) -> None:
        raise DataError("no garments: mvqlab data get fashion")

    monkeypatch.setattr(mask_explorer, "build_splits", nowhere)
    explorer.model.value = "large"
    assert "mvqlab data get fashion" in explorer.message.value and explorer.original.value == before
    explorer.number.value = 5
    assert "mvqlab data get fashion" in explorer.message.value
    explorer.compares.value = True
    explorer.first.mask_ratio.value = 0.75
    assert explorer.message.value == "" and numbers(explorer).startswith("4 of 16 codes")


def test_an_explorer_that_has_nothing_to_show_goes_on_saying_why(monkeypatch: pytest.MonkeyPatch) -> None:
    """Against "object has no attribute 'encoded'", which told nobody what to do."""

    def nowhere(_: object) -> None:
        raise DataError("no garments: mvqlab data get fashion")

    with monkeypatch.context() as without:
        without.setattr(mask_explorer, "build_splits", nowhere)
        explorer = MaskExplorer({"tiny": tiny_stage1()}, lpips="none")
        assert "mvqlab data get fashion" in explorer.message.value
        explorer.compares.value = True
        assert "mvqlab data get fashion" in explorer.message.value
    explorer.compares.value = False  # the garments have come
    assert explorer.message.value == "" and numbers(explorer).startswith("8 of 16 codes")


def test_a_model_begins_at_the_ratio_that_it_is_judged_at() -> None:
    models = {
        "half": tiny_stage1(),
        "most": tiny_stage1("mask.mask_ratio=[0.0, 0.9]", "mask.evaluation_ratio=0.75"),
    }
    explorer = MaskExplorer(models, lpips="none")
    explorer.first.mask_ratio.value = 0.25
    explorer.model.value = "most"
    assert numbers(explorer).startswith("4 of 16 codes") and explorer.second.mask_ratio.value == 0.75


def test_bytes_arrive_as_a_browser_sends_them(explorer: MaskExplorer) -> None:
    """In a message they are a memoryview, which a Bytes trait refuses, in a log that nobody sees."""
    explorer.file.set_state({"content": memoryview(b"no picture"), "chosen": dict(CHOSEN)})
    assert "holiday.jpg: is not an image" in explorer.message.value


def test_a_message_shows_markup_as_it_is_written() -> None:
    """A file may be called anything."""
    message = Message()
    message.tell("<img src=x onerror=alert(1)>.png: is not an image")
    assert "<img" not in message.value and "&lt;img" in message.value


def test_the_player_shows_every_step_to_the_end() -> None:
    stage1 = tiny_stage1()
    sizes = {"codebook_size": stage1.codebook_size, "side": stage1.side, "n_pairs": stage1.n_kept}
    model = build_stage2(stage1.config.transformer, **sizes).eval()
    recording = record(model, stage1, stage1.config.sampling, seed=4)
    again = record(model, stage1, stage1.config.sampling, seed=4)
    assert torch.equal(recording.trace.pairs.codes, again.trace.pairs.codes)
    assert recording.images.shape == (9, 3, 16, 16)
    assert (recording.seconds.diff() > 0).all() and recording.seconds[0] == 0
    assert torch.equal(recording.images[-1], again.images[-1])
    stage = Stage("s")
    stage.play(Drawer(model, stage1, code_images(stage1, 4), stage1.config.sampling), recording, "tiny")
    shown = []
    for step in range(12):
        stage.show(step)
        shown.append((stage.clock.value, stage.pictures.value))
    assert len(set(shown)) == 9  # it stands still after its last pair
    figures = [pictures.count("<figure") for _, pictures in shown]
    assert figures == [2] * 12, "a picture that comes later has its place from the beginning"
    assert "8 of 8 pairs" in stage.clock.value and "drawn" in stage.codes.value


def test_codes_without_images_are_words() -> None:
    """Where the held-out images are not there, the player plays all the same."""
    stage1 = tiny_stage1()
    sizes = {"codebook_size": stage1.codebook_size, "side": stage1.side, "n_pairs": stage1.n_kept}
    model = build_stage2(stage1.config.transformer, **sizes).eval()
    stage = Stage("s")
    recording = record(model, stage1, stage1.config.sampling, seed=4)
    stage.play(Drawer(model, stage1, None, stage1.config.sampling), recording, "tiny")
    stage.show(3)
    assert "drawn" in stage.codes.value and "<img" not in stage.codes.value
    n_codes = stage.codes.value.count("mvqlab-bar")
    stage.show(0)
    assert "<img" not in stage.codes.value and stage.codes.value.count("mvqlab-bar") == n_codes


def test_a_plain_model_is_uncovered_region_by_region() -> None:
    stage1 = tiny_stage1("mask.kind=none", "mask.mask_ratio=0", "transformer.model=raster")
    sizes = {"codebook_size": stage1.codebook_size, "side": stage1.side, "n_pairs": stage1.n_kept}
    model = build_stage2(stage1.config.transformer, **sizes).eval()
    images = record(model, stage1, stage1.config.sampling, seed=4).images
    grey = (images == 200).all(dim=1).float().mean(dim=(1, 2))
    assert grey[0] == 1.0 and grey[8] == pytest.approx(0.5, abs=0.05) and grey[16] < 0.05


def test_codes_lie_where_they_should_and_unused_ones_are_told_apart() -> None:
    points = CodePoints()
    codes = torch.tensor([[-1.0, 5.0], [3.0, 5.0], [1.0, 9.0]], dtype=torch.float64)
    points.place(codes, torch.tensor([4, 0, 2]))
    rows = torch.frombuffer(bytearray(points.points), dtype=torch.float32).view(3, 3)
    torch.testing.assert_close(rows, torch.tensor([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.5, 1.0, 0.5]]))


def test_a_chosen_code_shows_regions_and_neighbours() -> None:
    atlas = CodebookAtlas({"tiny": tiny_stage1()})
    panel = atlas.maps[0]
    used = panel.counts.nonzero().flatten().tolist()
    unused = [code for code in range(16) if code not in used]
    panel.points.chosen = used[-1]
    assert f"code {used[-1]}: taken {int(panel.counts[used[-1]])} times" in panel.about.value
    assert set(panel.points.neighbours) <= set(used) - {used[-1]} and panel.points.neighbours
    panel.code.value = unused[0]
    assert panel.points.chosen == unused[0] and "not in use" in panel.about.value
    assert panel.message.value == "" and panel.points.neighbours == []


def test_a_code_is_shown_by_the_regions_that_took_it() -> None:
    """A code that two took shows those two, then others, each by its distance; others may lie nearer."""
    coded = code_images(tiny_stage1(), 8)
    distances = (coded.features - coded.model.codebook[7]).norm(dim=1)
    farthest = distances.topk(2).indices
    codes = torch.full_like(coded.codes, 3)
    codes[farthest] = 7
    coded = dataclasses.replace(coded, codes=codes)
    near = coded.near(7, 5)
    assert near.patches.shape == (5, 12, 12, 3) and near.took_it.tolist() == [True] * 2 + [False] * 3
    nearest = sorted(range(len(distances)), key=distances.tolist().__getitem__)
    best = torch.tensor([*farthest.tolist()[::-1], *nearest[:3]])
    expected = cut_regions(coded.images, coded.rows[best], coded.positions[best], coded.model.side, 1)
    assert (near.patches == expected).all()


def test_the_atlas_says_how_many_took_a_code() -> None:
    atlas = CodebookAtlas({"tiny": tiny_stage1()})
    panel = atlas.maps[0]
    codes = torch.full_like(panel.coded.codes, 3)
    codes[:2] = 7
    panel.coded = dataclasses.replace(panel.coded, codes=codes)
    panel.counts = panel.coded.counts
    panel.code.value = 7
    assert "taken 2 times" in panel.about.value and "the 2 regions that took it" in panel.detail.value
    assert panel.detail.value.count("took it</figcaption>") == 2


def test_heat_maps_have_ends_and_stand_a_flat_map() -> None:
    map_of_two = heat_map(torch.tensor([[0.0, 1.0]]))
    assert map_of_two[0, 0].sum() < map_of_two[0, 1].sum()
    assert heat_map(torch.ones(2, 2)).shape == (2, 2, 3)
    black, white = torch.zeros(3, 1, 1, dtype=torch.uint8), torch.full((3, 1, 1), 255, dtype=torch.uint8)
    assert (error_map(black, white) == heat_map(torch.ones(1, 1), 0.0, 1.0)).all()


@pytest.mark.slow
def test_the_player_plays_all_models_that_come_along() -> None:
    player = GenerationPlayer()
    for name in dict(player.model.options).values():
        player.model.value = name
        assert player.message.value == ""
        assert not player.class_name.disabled and not player.guidance.disabled
        drawn = [name, BESIDE[name]] if name in BESIDE else [name]
        for one in drawn:
            assert player.settings(one) == shipped_config(one).sampling, "it begins with the models' own"
        assert player.step.value == player.play.value == player.step.max, "a whole image, to begin with"
        n_pairs = player.drawer(name).model.n_pairs
        assert f"{n_pairs} of {n_pairs} pairs" in player.stages["stackformer"].clock.value
        has_raster = player.stages["raster"].layout.display == ""
        assert has_raster == (name != "emoji_stackformer")
        if has_raster:
            assert "64 of 64 codes" in player.stages["raster"].clock.value
        assert ("OpenMoji" in player.credit.value) == name.startswith("emoji")
    player.model.value = "fashion_stackformer"
    before = player.stages["stackformer"].pictures.value
    player.class_name.value = 5
    assert player.stages["stackformer"].pictures.value != before
    plain = player.stages["stackformer"].recording.trace.pairs.codes
    player.guidance.value = 5.0
    for one in ("fashion_stackformer", "fashion_raster"):
        assert (player.settings(one).code_guidance, player.settings(one).position_guidance) == (5.0, 5.0)
    assert not torch.equal(player.stages["stackformer"].recording.trace.pairs.codes, plain)
    player.temperature.value = 0.0
    drawn = player.stages["stackformer"].recording.trace.pairs.codes
    player.seed.value = 9
    assert torch.equal(player.stages["stackformer"].recording.trace.pairs.codes, drawn)


@pytest.mark.parametrize("kind", [MaskExplorer, GenerationPlayer, CodebookAtlas, Stage, MaskCanvas])
def test_no_widget_hides_a_method_of_its_kind(kind: type[ipywidgets.Widget]) -> None:
    """A method of ours called `_compare` once broke how ipywidgets shows anything."""
    base = kind.__mro__[1]
    machinery = {name for name in vars(base) if name.startswith(("_all_trait", "_static", "_trait"))}
    ours = {name for name in vars(kind) if not name.startswith("__")}
    hidden = {name for name in ours if callable(vars(kind)[name]) and hasattr(base, name)} - machinery
    assert hidden == set()
