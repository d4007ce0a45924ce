"""Training on the device: its data, its captured steps, and runs that everything else can read."""

from __future__ import annotations

import colorsys
import math
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from tiny_runs import tiny

from mvqlab.config import Config, ConfigError
from mvqlab.models import masking
from mvqlab.models.mqvae import MQVAE, build_stage1
from mvqlab.support.one_thread import one_thread
from mvqlab.training import device_run, load_stage1, load_stage2, on_device
from mvqlab.training.captured import CapturedSteps, Means, RunningAverage, Schedule
from mvqlab.training.device_data import (
    Drawings,
    DrawnImages,
    Mixture,
    StoredImages,
    halved,
    light_grounds,
    mirrored,
    photo_windows,
    with_turned_hues,
)
from mvqlab.training.on_device import psnr_of, train_stage1_on_device, train_stage2_on_device
from mvqlab.training.run_settings import load_settings
from mvqlab.training.schedule import learning_rate
from mvqlab.training.warm_up import set_mask

CPU = torch.device("cpu")
ON_DEVICE = [
    "backbone.kind=patch",
    "backbone.base_channels=16",  # enough to learn from in tens of steps
    "quantizer.start_step=2",
    "stage1.warmup_steps=2",
    *(f"stage{n}.{words}" for n in (1, 2) for words in ("batch_size=8", "weight_average=0.5")),
    "stage2.gradient_clip=1.0",
]


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Threads that wait for each other on busy cores make small models ten times as slow."""
    with one_thread():
        yield


def toy(*more: str) -> Config:
    return tiny(*ON_DEVICE, *more)


def silent(line: str) -> None:
    """Says nothing."""


def pictures(n: int = 32, side: int = 16) -> torch.Tensor:
    return torch.randint(0, 256, (n, 3, side, side), dtype=torch.uint8)


def test_stored_images_are_the_pixels_scaled_with_their_conditions() -> None:
    pixels = pictures(5)
    drawn = StoredImages(pixels, torch.arange(5)).draw(64)
    expected = pixels[drawn.conditions].float() / 127.5 - 1.0
    torch.testing.assert_close(drawn.images, expected)
    assert set(drawn.conditions.tolist()) == set(range(5))


def test_grey_images_get_three_equal_channels() -> None:
    images = StoredImages(pictures(3)[:, :1]).draw(4).images
    assert images.shape == (4, 3, 16, 16)
    assert torch.equal(images[:, 0], images[:, 2])


def test_about_half_of_the_images_are_mirrored_and_none_is_anything_else() -> None:
    image = torch.rand(1, 3, 4, 4).expand(400, -1, -1, -1)
    after = mirrored(image)
    is_same = (after == image).flatten(1).all(1)
    is_mirror = (after == image.flip(-1)).flatten(1).all(1)
    assert bool((is_same | is_mirror).all())
    assert 140 < int(is_mirror.sum()) < 260


def test_turning_hues_keeps_greys_and_the_sum_of_channels() -> None:
    colours = 0.3 + 0.2 * torch.rand(50, 3, 2, 2)  # far from black and white, so that nothing is cut off
    turned = with_turned_hues(colours, share=1.0)
    torch.testing.assert_close(turned.mean(1), colours.mean(1))
    assert float((turned - colours).abs().amax(dim=(1, 2, 3)).median()) > 0.02
    greys = torch.rand(5, 1, 2, 2).expand(-1, 3, -1, -1)
    torch.testing.assert_close(with_turned_hues(greys, share=1.0), greys)


def test_a_third_of_a_circle_turns_red_into_green(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "rand", lambda *shape, **_: torch.full(_shape(shape), 1.0 / 3.0))
    red = torch.tensor([1.0, 0.0, 0.0]).view(1, 3, 1, 1)
    torch.testing.assert_close(
        with_turned_hues(red, share=1.0).flatten(), torch.tensor([0.0, 1.0, 0.0]), atol=1e-6, rtol=0.0
    )


def _shape(shape: tuple) -> tuple[int, ...]:
    return tuple(shape[0]) if isinstance(shape[0], tuple) else shape


def test_grounds_are_pastels_as_the_data_set_has_them() -> None:
    grounds = light_grounds(3000, CPU).flatten(1)
    is_white = (grounds == 1.0).all(1)
    assert 0.28 < float(is_white.float().mean()) < 0.39
    for ground in grounds[~is_white][:200].tolist():
        _, saturation, value = colorsys.rgb_to_hsv(*ground)
        assert 0.05 - 1e-4 <= saturation <= 0.22 + 1e-4
        assert 0.93 - 1e-4 <= value <= 1.0
    hues = [colorsys.rgb_to_hsv(*ground)[0] for ground in grounds[~is_white].tolist()]
    assert np.histogram(hues, bins=6, range=(0, 1))[0].min() > 200  # all hues


def test_a_plain_drawing_is_the_mean_of_four_pixels_over_its_ground() -> None:
    rgba = torch.randint(0, 256, (4, 4, 32, 32), dtype=torch.uint8)
    drawn = Drawings(rgba, 16, torch.arange(4), plain=1.0, hues=False, mirror=False).draw(32)
    for image, row in zip(drawn.images, drawn.conditions.tolist(), strict=True):
        colour, alpha = rgba[row, :3].float() / 255.0, rgba[row, 3:].float() / 255.0
        covered = torch.nn.functional.avg_pool2d(colour * alpha, 2)
        open_share = 1.0 - torch.nn.functional.avg_pool2d(alpha, 2)
        ground = ((image + 1.0) / 2.0 - covered) / open_share.clamp(min=0.05)
        clear = (open_share > 0.3).expand_as(ground)  # one ground for the whole image
        spread = torch.where(clear, ground, ground.mean()).flatten(1)
        assert float((spread.amax(1) - spread.amin(1)).max()) < 0.5
        assert float(ground[:, clear[0]].std(dim=1).max()) < 2e-3


def test_one_draw_in_two_takes_a_family_first() -> None:
    rgba, families = torch.zeros(100, 4, 8, 8, dtype=torch.uint8), torch.zeros(100, dtype=torch.long)
    families[7] = 1  # a family of one beside a family of 99
    drawn = Drawings(rgba, 4, torch.arange(100), families=families).draw(2000).conditions
    assert set(drawn.tolist()) == set(range(100))
    assert 400 < int((drawn == 7).sum()) < 620  # 1/2 * 1/2 + 1/2 * 1/100 of 2,000 are 510


def test_moved_drawings_stay_within_the_image_of_a_drawing_with_a_margin() -> None:
    rgba = torch.zeros(1, 4, 32, 32, dtype=torch.uint8)
    rgba[:, :, 12:20, 12:20] = 255
    rgba[:, :3] = 0
    drawn = Drawings(rgba, 16, plain=0.0, hues=False).draw(50).images
    ink = (drawn < 0.0).all(1).flatten(1).sum(1)  # pixels that are dark
    assert int(ink.min()) >= 8  # 16 pixels at the scale of one
    assert int(ink.max()) <= 30


def test_a_halved_drawing_weighs_colours_by_how_much_is_drawn() -> None:
    rgba = torch.zeros(1, 4, 2, 2, dtype=torch.uint8)
    rgba[0, :, 0, 0] = torch.tensor([200, 100, 40, 255])
    rgba[0, :, 0, 1] = torch.tensor([100, 0, 0, 85])
    rgba[0, :3, 1] = 9  # what is not drawn at all has no say
    # (200 * 255 + 100 * 85) / 340, (100 * 255) / 340, (40 * 255) / 340; alpha: 340 / 4
    assert halved(rgba).flatten().tolist() == [175, 75, 30, 85]


def test_drawings_of_another_size_are_refused() -> None:
    with pytest.raises(ValueError, match="must have 32"):
        Drawings(torch.zeros(1, 4, 16, 16, dtype=torch.uint8), 16)


def test_a_mixture_has_its_shares_in_every_batch() -> None:
    dark, light = torch.zeros(3, 3, 4, 4, dtype=torch.uint8), torch.full((3, 3, 4, 4), 255, dtype=torch.uint8)
    images = Mixture([StoredImages(dark), StoredImages(light)], [1, 3]).draw(16).images
    assert int((images.flatten(1)[:, 0] < 0).sum()) == 4


def test_windows_come_from_the_photograph_at_all_scales_and_none_is_uniform() -> None:
    photograph = torch.from_numpy(
        np.asarray(Image.effect_noise((96, 64), 80).convert("RGB")).transpose(2, 0, 1).copy()
    )
    flat = torch.full((3, 64, 64), 100, dtype=torch.uint8)
    windows = photo_windows([photograph, flat], 16, 96, n_scales=4)
    assert windows.shape[1:] == (3, 16, 16)
    assert 0 < len(windows) <= 48  # none from the flat one
    exact = windows[:12]  # those at the photograph's own scale
    every = photograph.unfold(1, 16, 1).unfold(2, 16, 1).permute(1, 2, 0, 3, 4).flatten(0, 1)
    assert all(bool((every == window).flatten(1).all(1).any()) for window in exact)


@pytest.mark.parametrize(
    "more",
    [
        ["stage1.warmup_steps=7"],
        ["stage1.warmup_steps=7", "stage1.warmup_from_zero=true", "stage1.min_learning_rate=3e-4"],
        ["stage1.min_learning_rate=3e-4", "stage1.warmup_steps=0"],
        ["stage1.warmup_steps=7", "stage1.cosine=false"],
    ],
)
def test_the_schedule_on_the_device_is_that_of_the_loops(more: list[str]) -> None:
    options = toy("stage1.steps=50", *more).stage1
    schedule = Schedule(options, CPU)
    schedule.total.fill_(50.0)
    for step in range(50):
        schedule.advance()
        assert float(schedule.rate) == pytest.approx(learning_rate(step, options), rel=1e-4, abs=1e-9)


def test_means_begin_anew_when_they_are_read_and_refuse_what_is_not_finite() -> None:
    means = Means(["loss"], CPU)
    for value in (1.0, 2.0, 6.0):
        means.add({"loss": torch.tensor(value)})
    assert means.read() == {"loss": 3.0}
    means.add({"loss": torch.tensor(math.nan)})
    with pytest.raises(FloatingPointError):
        means.read()


def test_the_running_average_follows_weights_and_takes_buffers() -> None:
    model, copy = torch.nn.BatchNorm1d(2), torch.nn.BatchNorm1d(2)
    average = RunningAverage(model, copy, 0.75)
    with torch.no_grad():
        model.weight.fill_(5.0)
        model.running_mean.fill_(3.0)
    average.update()
    kept = average.model()
    assert torch.equal(kept.weight, torch.full((2,), 2.0))  # 0.75 * 1 + 0.25 * 5
    assert torch.equal(kept.running_mean, torch.full((2,), 3.0))
    average.restart()
    assert torch.equal(average.model().weight, torch.full((2,), 5.0))


def test_without_a_gpu_steps_are_called_as_they_are_in_a_seeded_order() -> None:
    def order(seed: int) -> list[int]:
        called: list[int] = []
        steps = CapturedSteps(called.append, [1, 2, 3], CPU, seed)
        assert steps.capture() == 0
        for _ in range(60):
            steps()
        return called

    assert order(0) == order(0) != order(1)
    assert set(order(0)) == {1, 2, 3}


def test_stage_1_learns_and_its_run_loads_like_any_other(tmp_path: Path) -> None:
    config = toy("mask.mask_ratio=[0.0,0.9]", "mask.evaluation_ratio=0.5")
    ramp = torch.linspace(0, 255, 16).to(torch.uint8).expand(8, 3, 16, 16).contiguous()
    said: list[str] = []
    model = train_stage1_on_device(
        config, StoredImages(ramp), ramp, tmp_path, 4.0, n_steps=60, say=said.append
    ).model
    assert isinstance(model, MQVAE)
    loaded = load_stage1(tmp_path)
    curves = pd.read_csv(tmp_path / "curves.csv")
    assert psnr_of(loaded, ramp, 0.5) == pytest.approx(psnr_of(model, ramp, 0.5), abs=1e-3)
    assert curves["psnr_50"].dropna().iloc[-1] > 15.0  # grey alone is 10.8 dB
    assert loaded.config.stage1.steps == curves["step"].max() == 60
    assert "steps" in said[-1]


@pytest.mark.parametrize(("before", "n_steps"), [(0, 60), (15, 60), (30, 20)])
def test_the_average_leaves_the_first_weights_behind_once(
    before: int, n_steps: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever was counted before the loop: steps without codes, and those that are timed."""
    restarted: list[int] = []
    monkeypatch.setattr(RunningAverage, "restart", lambda average: restarted.append(1))
    config, pixels = toy(f"quantizer.start_step={before}"), pictures(8)
    train_stage1_on_device(config, StoredImages(pixels), pixels, tmp_path, 4.0, n_steps=n_steps, say=silent)
    assert restarted == [1]


def test_preparation_is_not_taken_from_the_seconds_of_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The steps before quantising are slow here: with one clock for all, none would be left."""

    class Clock:
        now = 0.0

    monkeypatch.setattr(device_run, "time", SimpleNamespace(perf_counter=lambda: Clock.now))
    monkeypatch.setattr(device_run, "CALIBRATION", 1)
    step = on_device._Stage1.step

    def slow_step(self: on_device._Stage1, shape: int) -> None:
        Clock.now += 10.0 if self.model.quantizer.is_warming_up else 1.0
        step(self, shape)

    monkeypatch.setattr(on_device._Stage1, "step", slow_step)
    config, images = toy("quantizer.start_step=3"), pictures(8)

    def steps_of(seconds: float, within: float | None) -> int:
        done = on_device.train_stage1_on_device(
            config, StoredImages(images), images, tmp_path, seconds, within=within, say=silent
        )
        return done.n_steps

    assert steps_of(6.0, None) == 3 + 6
    assert steps_of(6.0, 34.0) == 3 + 4, "`within` holds for all of it"


def test_noise_on_scores_fades_as_in_the_other_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = toy("mask.mask_ratio=0.5", "mask.exploration=2.0", "mask.exploration_steps=5")
    left: list[float] = []

    def noted(scores: torch.Tensor, exploration: torch.Tensor) -> torch.Tensor:
        left.append(float(exploration))
        return scores

    monkeypatch.setattr(masking, "explored", noted)
    pixels = pictures(8)
    train_stage1_on_device(config, StoredImages(pixels), pixels, tmp_path, 1.0, n_steps=12, say=silent)
    del left[2]  # the features that the codebook starts from, between steps
    model, expected = build_stage1(config), []
    for step in range(len(left)):
        set_mask(model, step, config.mask)
        expected.append(2.0 * model.mask.fading)
    assert left == pytest.approx(expected) and left[0] == 2.0 and left[-1] == 0.0


def test_a_recipes_noise_fades_over_half_of_the_steps_that_are_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = toy("mask.recipe=taught", "stage1.steps=1000")
    left: list[float] = []

    def noted(scores: torch.Tensor, exploration: torch.Tensor) -> torch.Tensor:
        left.append(float(exploration))
        return scores

    monkeypatch.setattr(masking, "explored", noted)
    monkeypatch.setattr(device_run, "CALIBRATION", 1)
    pixels = pictures(8)
    train_stage1_on_device(config, StoredImages(pixels), pixels, tmp_path, 1.0, n_steps=12, say=silent)
    assert left[-8:] == pytest.approx([2 / 6, 1 / 6, 0, 0, 0, 0, 0, 0], abs=1e-6)  # of steps 4 to 11
    kept = load_settings(tmp_path)
    assert (kept.stage1.steps, kept.mask.exploration_steps, kept.mask.recipe) == (12, 6, "taught")


def test_stage_2_learns_what_it_is_told_and_its_run_loads(tmp_path: Path) -> None:
    config = toy("transformer.condition=class", "transformer.dropout=0.0")
    pixels = torch.stack([torch.full((3, 16, 16), shade, dtype=torch.uint8) for shade in (0, 90, 170, 255)])
    source = StoredImages(pixels, torch.arange(4))
    stage1 = train_stage1_on_device(config, source, pixels, tmp_path / "1", 3.0, n_steps=40, say=silent).model
    held_out = DrawnImages(pixels, torch.arange(4))
    train_stage2_on_device(
        config, stage1, source, held_out, tmp_path / "2", 4.0, n_steps=100, n_classes=4, say=silent
    )
    load_stage2(tmp_path / "2", stage1)
    curves = pd.read_csv(tmp_path / "2" / "curves.csv")
    last = curves[curves["split"] == "validation"].iloc[-1]
    assert last["code_loss"] < 0.8 * math.log(16)
    assert last["loss"] == pytest.approx(last["code_loss"] + last["position_loss"], rel=1e-4)


@pytest.mark.parametrize(
    ("change", "words"),
    [("mask.budget=prefix", r"mask\.budget=fixed"), ("mask.ramp_steps=5", r"mask\.ramp_steps=0")],
)
def test_masks_that_steps_on_the_device_do_not_know_are_refused(
    change: str, words: str, tmp_path: Path
) -> None:
    config = toy("mask.kind=adaptive", "mask.mask_ratio=[0.0,0.9]", change)
    pixels = pictures(8)
    with pytest.raises(ConfigError, match=words):
        train_stage1_on_device(config, StoredImages(pixels), pixels, tmp_path, 1.0, n_steps=1, say=silent)


@pytest.mark.parametrize(
    ("change", "words"), [("stage2.optimiser=muon", "AdamW"), ("stage2.half=first", r"stage2\.half")]
)
def test_what_steps_on_the_device_do_not_know_is_refused(change: str, words: str, tmp_path: Path) -> None:
    config = toy(change)
    stage1, pixels = build_stage1(config).eval(), pictures(8)
    held_out = DrawnImages(pixels, None)
    with pytest.raises(ConfigError, match=words):
        train_stage2_on_device(
            config, stage1, StoredImages(pixels), held_out, tmp_path, 1.0, n_steps=1, say=silent
        )


def test_the_plain_model_and_its_raster_transformer_train_too(tmp_path: Path) -> None:
    config = toy("mask.kind=none", "mask.mask_ratio=0", "transformer.model=raster")
    pixels = pictures(8)
    source = StoredImages(pixels)
    stage1 = train_stage1_on_device(config, source, pixels, tmp_path / "1", 1.0, n_steps=12, say=silent).model
    held_out = DrawnImages(pixels, None)
    train_stage2_on_device(config, stage1, source, held_out, tmp_path / "2", 1.0, n_steps=12, say=silent)
    load_stage2(tmp_path / "2", load_stage1(tmp_path / "1"))


def test_a_run_that_goes_on_from_weights_begins_where_they_ended(tmp_path: Path) -> None:
    config = toy()
    ramp = torch.linspace(0, 255, 16).to(torch.uint8).expand(8, 3, 16, 16).contiguous()
    source = StoredImages(ramp)
    first = train_stage1_on_device(config, source, ramp, tmp_path / "1", 1.0, n_steps=120, say=silent)
    more = toy("stage1.learning_rate=1e-9", "stage1.weight_average=0.0")
    start = tmp_path / "1" / "weights.safetensors"
    second = train_stage1_on_device(
        more, source, ramp, tmp_path / "2", 1.0, n_steps=3, start=start, say=silent
    )
    # the weights stand still at this rate; the codebook follows the same features
    assert second.held_out["psnr"] == pytest.approx(first.held_out["psnr"], abs=0.5)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("stage1.precision=16-mixed", "16-mixed"),
        ("stage1.accumulate=2", "accumulate=1"),
        ("loss.perceptual=random", r"loss\.perceptual=none"),
        ("loss.adversarial_weight=0.5", r"loss\.adversarial_weight=0"),
    ],
)
def test_what_would_not_be_done_is_refused(change: str, said: str, tmp_path: Path) -> None:
    images = pictures(8)
    with pytest.raises(ConfigError, match=said):
        train_stage1_on_device(toy(change), StoredImages(images), images, tmp_path, 1.0, say=silent)


def test_scores_learn_what_dropped_regions_lose_on_the_device_too(tmp_path: Path) -> None:
    """Without the product they learn by that loss alone: with it they move from where all runs begin."""

    def scorer_after(weight: float, n_steps: int) -> dict[str, torch.Tensor]:
        changes = ("mask.kind=adaptive", "mask.mask_ratio=[0.0,0.9]", "mask.product=none")
        config = toy(*changes, f"loss.scorer_weight={weight}")
        torch.manual_seed(0)
        trained = train_stage1_on_device(
            config, StoredImages(pixels), pixels, tmp_path, 30.0, n_steps=n_steps, say=silent
        )
        return trained.model.mask.scorer.state_dict()

    pixels = pictures(8)
    begun, without, taught = scorer_after(0.0, 1), scorer_after(0.0, 4), scorer_after(0.1, 4)
    assert all(torch.equal(begun[name], without[name]) for name in begun)
    assert not any(torch.equal(begun[name], taught[name]) for name in begun)
