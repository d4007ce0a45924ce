"""What the columns of a results table mean, in which unit, and with how many digits they are printed."""

from __future__ import annotations

import math
import re
from typing import Any, NamedTuple

COMMANDS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
# words in the names of figures that lie between 0 and 1, ours or a notebook's own
SHARES = {
    "share",
    "auc",
    "iou",
    "accuracy",
    "precision",
    "recall",
    "coverage",
    "suspected",
    "right",
    "chance",
}


class Column(NamedTuple):
    """A column of a results table. `digits` are significant ones; `is_main` ones fit on a terminal."""

    unit: str
    meaning: str
    digits: int = 4
    is_main: bool = False


# whose features distances compare; figures of two of them do not
EXTRACTORS = {
    "judge": "judges of several seeds",
    "efficientnet": "EfficientNet",
    "inception": "Inception",
    "lab": "the older lab extractor",
}


def _of_each(name: str, meaning: str, digits: int, is_main: bool = False) -> dict[str, Column]:
    """The column `name`_<extractor> for each of EXTRACTORS."""
    return {
        f"{name}_{extractor}": Column("", f"{meaning}; features of {whose}", digits, is_main)
        for extractor, whose in EXTRACTORS.items()
    }


COLUMNS: dict[str, Column] = {
    "label": Column("", "the point's name in its grid"),
    "variant": Column("", "the label without the seed"),
    "status": Column("", "done, failed, running or waiting"),
    "why": Column("", "what ended a failed point"),
    "seed": Column("", "seed of weights, batches and random masks"),
    "mask": Column("", "which regions are quantised, as mask.kind has it; none: the plain VQ model"),
    "mask_ratio": Column("", "share of the regions that is dropped"),
    "psnr": Column("dB", "peak signal-to-noise ratio of held-out reconstructions, higher is better", 4, True),
    "ssim": Column("", "structural similarity of held-out reconstructions, 1 is exact", 3, True),
    "l1": Column("of [0, 1]", "mean absolute error of held-out reconstructions"),
    "lpips_vgg": Column("", "LPIPS of held-out reconstructions, lower is better", 3, True),
    "lpips_alex": Column("", "as lpips_vgg, another backbone: the two do not compare", 3, True),
    "lpips_squeeze": Column("", "as lpips_vgg, another backbone: the two do not compare", 3, True),
    "lpips_random": Column("", "LPIPS with an untrained backbone: not a perceptual score", 3),
    **_of_each("rfid", "Frechet distance of reconstructions", 4),
    "held_out_images": Column("images", "how many the reconstruction and codebook columns are over"),
    "skipped_images": Column("images", "bad files that data.skip_bad left out; trained_on.json names them"),
    "codebook_used_share": Column("of K", "share of the codes that occur", 3),
    "codebook_perplexity": Column("codes", "exp of the entropy of the codes' frequencies, 1 to K", 3, True),
    "codebook_perplexity_of_few": Column("codes", "the same over 2,048 features, as many for every model", 4),
    "codebook_n_features": Column("regions", "how many the codebook's usage is computed over"),
    "codebook_effective_rank": Column("", "directions that the used codes span, 0 to n_z", 3),
    "codebook_nearest_distance": Column("of the mean", "distance to the nearest other code, mean", 3),
    "codebook_nearest_cosine": Column("", "cosine distance to the nearest other code, mean", 3),
    "codebook_near_duplicate_share": Column("of codes", "codes that nearly equal another one", 3),
    "codebook_n_codes": Column("codes", "used codes that the redundancy columns look at"),
    "score_auc": Column("", "an object region scores above a background one; 0.5 is chance", 3, True),
    "kept_iou": Column("", "overlap of kept regions with the true objects", 3),
    "kept_iou_chance": Column("", "kept_iou of as many regions kept at random", 3),
    "kept_iou_best": Column("", "kept_iou of the best choice of as many regions", 3),
    "importance_images": Column("images", "how many score_auc and kept_iou are over"),
    **_of_each("fid", "FID of samples, lower is better", 4, is_main=True),
    **_of_each("kid", "KID of samples, lower is better", 3),
    **{
        f"kid_{name}_std": Column("", f"spread of kid_{name} over subsets, half of the images at most", 2)
        for name in EXTRACTORS
    },
    **_of_each("is", "Inception score, 1 to the number of classes", 4),
    **_of_each("precision", "share of samples among real images", 3),
    **_of_each("recall", "share of real images among samples", 3),
    **_of_each("density", "how densely samples lie among real images", 3),
    **_of_each("coverage", "share of real images with a sample near", 3),
    "yardstick": Column("", "real images in the samples' place: as they are, or made worse in one way"),
    "real_images": Column("images", "held-out images behind FID and KID"),
    "generated_images": Column("images", "samples behind FID and KID"),
    **_of_each("suspected", "share of samples that may be copies, 0.01 of honest ones", 3),
    "suspected_pixels": Column("", "the same by the pixels of blurred images", 3),
    "suspected_images": Column("images", "samples that were looked at for copies"),
    "code_loss": Column("nats", "held-out cross-entropy of a code", 4, True),
    "position_loss": Column("nats", "held-out cross-entropy of a position", 4),
    "train_code_loss": Column("nats", "cross-entropy of a code on training images, measured as code_loss", 4),
    "code_loss_gap": Column("nats", "code_loss minus train_code_loss: what over-fitting costs a code", 4),
    "best_code_loss": Column("nats", "lowest code_loss along the run", 4),
    "best_code_loss_step": Column("steps", "after how many it was so low; the last: it never rose", 4),
    "bits_per_image": Column(
        "bits",
        "held-out bits for all pairs of an image; a bound from above of masked_parallel and of "
        "transformer.order=random, of the former estimated",
        4,
    ),
    "code_bits_per_image": Column("bits", "bits_per_image, the codes' part", 4),
    "position_bits_per_image": Column("bits", "bits_per_image, the positions' part; 0 where given", 4),
    "bits_per_image_gap": Column("bits", "bits_per_image minus the same of training images", 4),
    "bits_per_image_relative_gap": Column("", "bits_per_image_gap over bits_per_image", 3),
    "best_bits_per_image": Column("bits", "lowest bits_per_image along the run", 4),
    "best_bits_per_image_step": Column("steps", "after how many they were so low; the last: never rose", 4),
    "bits_per_object_pair": Column("bits", "held-out bits of a pair on a true object", 4),
    "bits_per_ground_pair": Column("bits", "held-out bits of a pair elsewhere", 4),
    "object_pair_share": Column("", "share of the held-out pairs that lie on a true object", 3),
    "attribute": Column("", "of drawn scenes, what was judged: class, count, shape, colour, ..."),
    "guided": Column("", "which part of a pair guidance was applied to; the other has weight 1"),
    "guidance": Column("", "weight of classifier-free guidance: 0 is told nothing, 1 is off"),
    "asked": Column("values", "values of the attribute that were asked for"),
    "found": Column("values", "of these, found in their own image"),
    "accuracy": Column("", "found, of what was asked for", 3),
    "accuracy_low": Column("", "lower end of the accuracy's 95 % interval", 3),
    "accuracy_high": Column("", "upper end of the accuracy's 95 % interval", 3),
    "seen": Column("values", "values of the attribute that pictures show, asked for or not"),
    "precision": Column("", "found, of what pictures show", 3),
    "chance": Column("", "accuracy if each image had been asked for what the others were", 3),
    "real_accuracy": Column("", "accuracy in real pictures of what was asked for", 3),
    "restored_accuracy": Column("", "accuracy in these after stage 1: what a transformer can reach", 3),
    "judge_accuracy": Column("", "accuracy of the judge on drawings that it did not learn from", 3),
    "judge": Column("", "network that judged"),
    "budget": Column("", "codes of an image: a fixed share of its regions, or those above a threshold"),
    "pooled_psnr": Column("dB", "PSNR of the squared error over all images, in which bad ones weigh more", 4),
    "good_psnr_share": Column("", "share of the held-out images that are restored with 25 dB or more", 3),
    "psnr_at_distance_0": Column("dB", "PSNR over kept regions"),
    **{
        f"psnr_at_distance_{steps}": Column("dB", f"PSNR over dropped regions {far} from a kept one")
        for steps, far in ((1, "one step"), (2, "two steps"), (3, "three steps or more"))
    },
    "n_pairs": Column("pairs", "(code, position) pairs of a held-out image, on average"),
    "n_pairs_std": Column("pairs", "spread of the pairs over held-out images, 0 where all have as many", 3),
    "fixed_length_bits": Column(
        "bits", "of an image, every code and every choice of places costing alike", 4
    ),
    "length_complexity": Column(
        "", "rank correlation of an image's pairs with its size as JPEG; none where all have as many", 3
    ),
    "bits_complexity": Column("", "rank correlation of an image's bits with its size as JPEG", 3),
    "n_pairs_drawn": Column("pairs", "pairs of a drawn image, on average"),
    "samples_per_second": Column("images/s", "sampling speed, decoding included", 3, True),
    "stage1_seconds_per_step": Column("s", "a training step of stage 1, median", 3),
    "stage2_seconds_per_step": Column("s", "a training step of stage 2, median", 3),
    "stage1_gflop_per_image": Column(
        "GFLOP", "counted operations of a training step of stage 1, an image", 4
    ),
    "stage2_gflop_per_image": Column("GFLOP", "the same of stage 2", 4),
    "drawing_gflop_per_image": Column(
        "GFLOP", "counted operations of drawing an image, decoding included", 4
    ),
    "stage1_parameters": Column("", "weights of the stage-1 model, the codebook aside"),
    "stage2_parameters": Column("", "weights of the transformer"),
    "lpips_network": Column("", "network behind the LPIPS column"),
    "extractor": Column("", "networks behind the FID and KID columns"),
    "seconds": Column("s", "wall-clock time of the point's notebook, start of its kernel included", 3, True),
    "device": Column("", "what it ran on"),
    "threads": Column("", "CPU threads"),
    "mvqlab": Column("", "version of mvqlab"),
    "python": Column("", "version of Python"),
    "torch": Column("", "version of torch"),
    "git_commit": Column("", "commit of mvqlab; + where its files were changed since"),
    "peak_memory_mib": Column("MiB", "most memory that the notebook's process held", 4),
    "peak_gpu_memory_mib": Column("MiB", "most memory that its tensors held on the GPU", 4),
    "started": Column("UTC", "when it started"),
    "point": Column("", "the point's identity: hash of parameters, notebook, settings and version"),
    "folder": Column("", "where its notebook, log and result are"),
}

CHOICES = {  # of the regions that a trained model is given, whatever it would choose itself
    "adaptive": "that score highest",
    "upside_down": "that score lowest",
    "random": "drawn at random",
    "variance": "whose pixels vary most",
    "gradient": "with the strongest edges",
    "transform": "that a codec would spend most on",
    "neighbours": "that those around tell least of",
    "entropy": "with the most different tones",
    "truth": "that lie on objects",
    "background": "that lie on no object",
}
COLUMNS |= {
    f"psnr_by_{name}": Column("dB", f"psnr of the same model from as many regions {which}", 4)
    for name, which in CHOICES.items()
    if name != "adaptive"
}
COLUMNS |= {
    f"regret_of_{name}": Column("dB", f"PSNR that regions {which} fall short of a greedy choice by", 3)
    for name, which in CHOICES.items()
}

JUDGED = ("fid", "kid", "is", "precision", "recall", "density", "coverage")
COLUMNS |= {
    f"{figure}_{extractor}_{end}": Column("", f"{side} end of the 95 % interval of {figure}_{extractor}", 3)
    for figure in JUDGED
    for extractor in EXTRACTORS
    for end, side in (("low", "lower"), ("high", "upper"))
}
COLUMNS |= {
    f"{figure}_judge_spread": Column("", f"standard deviation of {figure}_judge over its judges", 2)
    for figure in ("rfid", *JUDGED)
}


BELOW_ZERO = {"kid", "regret", "gap", "complexity"}  # words in the names of figures that may lie there


def is_share(name: str) -> bool:
    """Whether a figure of that name lies between 0 and 1: score_auc, precision_lab, my_share."""
    return not SHARES.isdisjoint(name.split("_"))


def is_never_negative(name: str) -> bool:
    """Whether a known figure of that name cannot lie below 0: seconds, bits, distances, counts."""
    return name in COLUMNS and BELOW_ZERO.isdisjoint(name.split("_"))


def printable(text: str) -> str:
    r"""`text` with signs that command a terminal, or turn the direction of writing, as words: ``\x1b``."""
    return COMMANDS.sub(lambda found: found.group().encode("unicode_escape").decode(), text)


def heading(name: object) -> str:
    """A column's name with its unit: ``psnr, dB``."""
    name = str(name)
    unit = COLUMNS[name].unit if name in COLUMNS else ""
    return f"{name}, {unit}" if unit else name


def as_text(name: object, value: Any) -> str:
    """A cell as it is printed: numbers rounded to the column's digits, nothing for what is missing."""
    if type(value).__module__ == "numpy" and hasattr(value, "item"):
        value = value.item() if value.size == 1 else value
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, bool) or not isinstance(value, float):
        return printable(" ".join(str(value).split()))
    digits = COLUMNS[name].digits if name in COLUMNS else 4
    if value.is_integer() and abs(value) < 1e9:
        return str(int(value))
    if 10**digits <= abs(value) < 1e9:
        return f"{value:.0f}"  # 12346, where four digits would be 1.235e+04
    return f"{value:.{digits}g}"
