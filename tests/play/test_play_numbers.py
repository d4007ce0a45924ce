"""The page's arithmetic, run by node, against the library's."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mvqlab.evaluation.images.rate import code_bits, position_bits
from mvqlab.models.image_scorers import VarianceScorer
from mvqlab.models.mask_context import MaskContext
from mvqlab.models.masking import keep_best, n_kept
from mvqlab.play.build import STATIC
from mvqlab.sampling.filters import FORBIDDEN, allowed_positions, at_temperature, guided

pytestmark = pytest.mark.skipif(shutil.which("node") is None, reason="no node to run the page's scripts")


def node(tmp_path: Path, module: str, expression: str, **given: Any) -> Any:
    """The value of `expression`, in which `m` is a module of the page and `given` are plain values."""
    address = (STATIC / "js" / f"{module}.js").as_uri()
    script = tmp_path / "script.mjs"
    names = "".join(f"const {name} = {json.dumps(value)};\n" for name, value in given.items())
    script.write_text(f'import * as m from "{address}";\n{names}console.log(JSON.stringify({expression}));\n')
    done = subprocess.run(["node", script], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def test_as_many_regions_are_kept_as_in_the_library(tmp_path: Path) -> None:
    percent = list(range(96))
    for n_positions in (64, 256):
        expression = f"percent.map((one) => m.nKept(one / 100, {n_positions}))"
        kept = node(tmp_path, "choice", expression, percent=percent)
        assert kept == [n_kept(one / 100, n_positions) for one in percent]


def test_the_best_by_variance_are_the_librarys(tmp_path: Path) -> None:
    image = torch.rand(1, 3, 16, 16) * 2.0 - 1.0
    image[:, :, :8, :8] = 0.25  # plain ground, where neighbours settle
    scores = VarianceScorer()(torch.empty(1, 1, 4, 4), MaskContext(images=image))
    expression = "[...m.byVariance(image, 16, 4)]"
    measured = node(tmp_path, "choice", expression, image=image.flatten().tolist())
    np.testing.assert_allclose(measured, scores[0], rtol=1e-4, atol=1e-7)
    kept = node(tmp_path, "choice", "[...m.keepBest(scores, 6)]", scores=measured)
    assert kept == keep_best(scores, 6)[1][0].int().tolist()


def test_a_painted_choice_survives_an_address(tmp_path: Path) -> None:
    for n_positions in (16, 64, 25):
        kept = torch.randint(2, (n_positions,)).tolist()
        expression = f"[m.asText(kept), [...m.fromText(m.asText(kept), {n_positions})]]"
        text, again = node(tmp_path, "choice", expression, kept=kept)
        assert again == kept and len(text) == math.ceil(n_positions / 4)
    assert (
        node(tmp_path, "choice", "['0000', 'zz00', '12', null].map((one) => m.fromText(one, 16))")
        == [None] * 4
    )


def test_quality_and_cost_are_the_librarys(tmp_path: Path) -> None:
    first, second = torch.randint(256, (2, 48))
    wanted = 10.0 * math.log10(255.0**2 / float((first - second).double().square().mean()))
    words = {"first": first.tolist(), "second": second.tolist()}
    assert node(tmp_path, "quality", "m.psnr(first, second)", **words) == pytest.approx(wanted)
    assert node(tmp_path, "quality", "m.psnr(first, first)", **words) == 100
    bits = [node(tmp_path, "quality", f"m.bits({n}, 64, 256)") for n in (1, 32, 64)]
    assert bits == pytest.approx([code_bits(n, 256) + position_bits(64, n) for n in (1, 32, 64)])


def test_a_law_is_the_librarys(tmp_path: Path) -> None:
    logits = torch.randn(2, 16)
    for last in (None, 6):
        taken = [2, 6]
        is_taken = torch.zeros(1, 16, dtype=torch.bool).index_fill(1, torch.tensor(taken), True)
        allowed = allowed_positions(is_taken, None if last is None else torch.tensor([last]), 3)
        of_both = guided(logits, 1.75).masked_fill(~allowed, FORBIDDEN)
        wanted = at_temperature(of_both, 0.7).softmax(-1)[0]
        open_places = f"m.openPlaces(16, [2, 6], 3, {'false' if last is None else 'true'})"
        expression = f"[...m.law(m.guided(logits, 1.75), 0.7, {open_places})]"
        law = node(tmp_path, "filters", expression, logits=logits.flatten().tolist())
        np.testing.assert_allclose(law, wanted, atol=1e-6)
        coldest = node(tmp_path, "filters", expression.replace("0.7", "0"), logits=logits.flatten().tolist())
        assert coldest.index(1) == int(of_both.argmax()) and sum(coldest) == 1


def test_draws_follow_the_law_and_never_take_what_is_forbidden(tmp_path: Path) -> None:
    law = [0.0, 0.5, 0.0, 0.25, 0.25, 0.0]
    expression = "Array.from({ length: 4000 }, (_, n) => m.draw(law, (n + 0.5) / 4000))"
    drawn = node(tmp_path, "filters", expression, law=law)
    assert np.bincount(drawn, minlength=6).tolist() == [0, 2000, 0, 1000, 1000, 0]
    assert node(tmp_path, "filters", "m.draw(law, 1 - 2 ** -53)", law=law) == 4


def test_random_numbers_are_the_same_for_a_seed_and_even(tmp_path: Path) -> None:
    expression = "[0, 0, 1].map((seed) => Array.from({ length: 2000 }, m.generator(seed)))"
    first, again, other = node(tmp_path, "random", expression)
    assert first == again and first != other
    assert abs(np.mean(first) - 0.5) < 0.02 and min(first) >= 0 and max(first) < 1
    assert abs(np.corrcoef(first[:-1], first[1:])[0, 1]) < 0.06
