// The mask explorer: move the mask ratio, see what is kept and what comes back.
import maskCanvas from "../widgets/mask_canvas.js";
import { number, write } from "./address.js";
import { asText, atRandom, byVariance, fromText, keepBest, nKept } from "./choice.js";
import { button, choice, element, guard, note, picture, radios, reading, row, slider } from "./elements.js";
import { bool, card, float32, int32, open, run } from "./models.js";
import { newestOnly } from "./newest.js";
import {
  colours,
  fetchPicture,
  heatMap,
  pixelsFrom,
  pixelsOf,
  pngOf,
  readFile,
  tensorOf,
} from "./pictures.js";
import { bits, psnr } from "./quality.js";
import { WidgetModel } from "./widget_model.js";

const MASKS = [
  { value: "learned", words: "learned", title: "keeps the regions that score highest" },
  { value: "random", words: "random", title: "keeps regions drawn at random" },
  {
    value: "variance",
    words: "variance",
    title: "keeps the regions whose pixels differ most: nothing is learned",
  },
  {
    value: "inverted",
    words: "inverted",
    title: "keeps the regions that score lowest: drops the important ones",
  },
  {
    value: "painted",
    words: "painted",
    title: "keeps what you paint: click or drag over the regions, or use arrow keys and space bar",
  },
];
const OWN = "own"; // the image, where it is the visitor's: no address leads to it
const FOREIGN =
  "Your own picture is shown by the model of anything, which has learned from emoji, photographs and simple " +
  "scenes. Choose another model to see what one makes of a picture that is foreign to it.";

export function explorer(section, offered, palette) {
  const byName = new Map(offered.map((one) => [one.model, one]));
  const state = { model: null, image: null, mask: "learned", ratio: 75, draw: 0, kept: null };
  let known; // the model's card
  let image; // { pixels, tensor, scores, codes } of what is shown
  let ownFile = null;
  let encoding = 0; // which of the encodings that were begun is wanted

  const model = choice(
    "model",
    offered.map((one) => [one.model, one.words]),
    guard(changeModel),
  );
  const images = element("div");
  let imageButtons;
  const file = element("input", { type: "file", accept: "image/*" });
  file.addEventListener("change", guard(takeFile));
  const ownBox = element(
    "label",
    { className: "control" },
    element("span", {}, "your own picture, which stays here"),
    file,
  );
  const remark = element("p", { className: "note", role: "status" });
  const masks = radios("mask", "mask", MASKS, guard(changeMask));
  const hint = note("");
  const ratio = slider(
    "mask ratio, the share dropped",
    { min: 0, max: 95, step: 1, say: (value) => `${value} %` },
    guard(changeRatio),
  );
  const again = button("draw again", guard(drawAgain));
  const numbers = reading("explorer-numbers");
  const original = picture();
  const scores = picture();
  const restored = picture();
  const canvasBox = element("div");
  const keptCaption = element("figcaption", {}, "kept regions");
  const kept = element("figure", {}, canvasBox, keptCaption);
  const credit = note("");
  const canvas = new WidgetModel({
    picture: null,
    side: 1,
    is_kept: "",
    can_paint: false,
    label: "kept regions",
  });
  section.append(
    row(model.box, ownBox),
    remark,
    images,
    row(masks.box, again),
    hint,
    row(ratio.box),
    numbers,
    element("div", { className: "pictures" }, original.box, scores.box, kept, restored.box),
    credit,
    note(
      "Dropped regions are inferred from the kept ones. Bits: N log2 K for the codes and log2 C(L, N) for their places, nothing learned. No held-out image was trained on.",
    ),
  );
  maskCanvas.render({ model: canvas, el: canvasBox });
  canvas.on("change:is_kept", guard(takePainted));

  const restore = newestOnly(restoreNow);

  // Show what an address asks for; what it leaves open begins as the model's own settings are.
  async function show(settings) {
    state.model = byName.has(settings.model) ? settings.model : offered[0].model;
    const here = byName.get(state.model);
    const numbersHere = here.images.map((one) => one.number);
    state.image = numbersHere.includes(Number(settings.image)) ? Number(settings.image) : numbersHere[0];
    state.mask = MASKS.some((one) => one.value === settings.mask) ? settings.mask : "learned";
    state.ratio = number(settings.ratio, 0, 95, here.ratio);
    state.draw = number(settings.draw, 0, 1e6, 0);
    state.kept = settings.kept ?? null;
    model.input.value = state.model;
    masks.set(state.mask);
    ratio.set(state.ratio);
    await openModel();
    await encode();
  }

  async function openModel() {
    open(state.model, ["encode", "restore"]);
    const here = byName.get(state.model);
    credit.textContent = here.credit;
    const options = here.images.map((one) => ({ value: one.number, words: one.words, picture: one.file }));
    imageButtons = radios("held-out image", "image", options, guard(changeImage), "pictured");
    imageButtons.set(state.image);
    images.replaceChildren(imageButtons.box);
    known = await card(state.model);
    canvas.set("side", known.side);
  }

  // Run the encoder and the scorer: once an image.
  async function encode() {
    encoding += 1;
    const mine = encoding;
    const pixels =
      state.image === OWN
        ? await readFile(ownFile, known.resolution)
        : pixelsOf(
            await fetchPicture(byName.get(state.model).images.find((one) => one.number === state.image).file),
            known.resolution,
          );
    original.show(pixels, "original");
    const tensor = tensorOf(pixels);
    const encoded = await run(state.model, "encode", {
      image: float32(tensor, [1, 3, known.resolution, known.resolution]),
    });
    if (mine !== encoding) return; // another image or model was asked for in the meantime
    image = { pixels, tensor, scores: encoded.scores, codes: encoded.codes };
    canvas.set("picture", await pngOf(pixels));
    const [low, high] = [Math.min(...image.scores), Math.max(...image.scores)];
    scores.show(
      heatMap(image.scores, palette),
      `scores, ${low.toFixed(2)} (dark) to ${high.toFixed(2)}`,
      "score of each region, bright where important",
    );
    await choose();
  }

  // The regions that are kept: by the kind of mask and its ratio, or as they were painted.
  function chosen() {
    const nPositions = image.scores.length;
    const n = nKept(state.ratio / 100, nPositions);
    if (state.mask === "painted") {
      return fromText(state.kept, nPositions) ?? keepBest(image.scores, n);
    }
    const ranks = {
      learned: () => image.scores,
      random: () => atRandom(nPositions, state.draw),
      variance: () => byVariance(image.tensor, known.resolution, known.side),
      inverted: () => image.scores.map((score) => -score),
    };
    return keepBest(ranks[state.mask](), n);
  }

  async function choose() {
    const isPainted = state.mask === "painted";
    hint.textContent = MASKS.find((one) => one.value === state.mask).title;
    ratio.input.disabled = isPainted;
    again.style.visibility = state.mask === "random" ? "visible" : "hidden";
    canvas.set("can_paint", isPainted);
    const isKept = chosen();
    state.kept = isPainted ? asText(isKept) : null;
    canvas.set("is_kept", isKept.join(""));
    say();
    await restore(isKept);
  }

  async function restoreNow(isKept) {
    const began = performance.now();
    const shape = [1, isKept.length];
    const outputs = await run(state.model, "restore", {
      codes: int32(image.codes, shape),
      is_kept: bool(isKept, shape),
    });
    const pixels = pixelsFrom(outputs.image, known.resolution);
    const n = isKept.reduce((sum, one) => sum + one, 0);
    restored.show(pixels, "restored", `restored: ${state.mask} mask, ${n} of ${isKept.length} regions kept`);
    const quality = psnr(colours(image.pixels), colours(pixels));
    const cost = bits(n, isKept.length, known.codebook_size);
    keptCaption.textContent = `kept regions, ${n} of ${isKept.length}`;
    numbers.textContent = `${n} of ${isKept.length} codes · ${cost.toFixed(0)} bits · PSNR ${quality.toFixed(2)} dB`;
    numbers.dataset.milliseconds = (performance.now() - began).toFixed(1);
  }

  function say() {
    write("explorer", {
      model: state.model,
      image: state.image === OWN ? null : state.image,
      mask: state.mask,
      ratio: state.ratio,
      draw: state.mask === "random" ? state.draw : null,
      kept: state.kept,
    });
  }

  async function changeModel() {
    state.model = model.input.value;
    remark.textContent = "";
    const here = byName.get(state.model);
    if (state.image !== OWN) state.image = here.images[0].number;
    state.ratio = here.ratio;
    state.kept = null;
    ratio.set(state.ratio);
    await openModel();
    await encode();
  }

  async function changeImage() {
    state.image = Number(imageButtons.value());
    remark.textContent = "";
    await encode();
  }

  async function takeFile() {
    const [taken] = file.files;
    file.value = ""; // the same file may be chosen again
    if (!taken) return;
    await readFile(taken, known.resolution); // what is no picture changes nothing
    ownFile = taken;
    const anything = offered.find((one) => one.takes_any_picture);
    const switches = state.image !== OWN && anything && anything.model !== state.model;
    state.image = OWN;
    if (switches) {
      state.model = model.input.value = anything.model;
      state.ratio = anything.ratio;
      ratio.set(state.ratio);
      await openModel();
    }
    imageButtons.set(OWN);
    remark.textContent = anything && anything.model === state.model ? FOREIGN : "";
    await encode();
  }

  async function changeMask() {
    if (masks.value() === "painted" && state.mask !== "painted") state.kept = asText(chosen()); // goes on from there
    state.mask = masks.value();
    await choose();
  }

  async function changeRatio() {
    state.ratio = ratio.value();
    await choose();
  }

  async function drawAgain() {
    state.draw += 1;
    await choose();
  }

  async function takePainted() {
    if (!image || state.mask !== "painted") return;
    const isKept = Uint8Array.from(canvas.get("is_kept"), Number);
    if (isKept.length !== image.scores.length || asText(isKept) === state.kept) return;
    if (!isKept.includes(1)) throw new Error("keep at least one region: nothing can be inferred from none");
    state.kept = asText(isKept);
    say();
    await restore(isKept);
  }

  return { show, tell: say };
}
