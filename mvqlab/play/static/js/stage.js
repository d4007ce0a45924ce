// One model's drawing at any step: the image so far, the places a pair might take, its likeliest codes.
import { codedImages, cutRegion } from "./coded_images.js";
import { drawPairs } from "./drawing.js";
import { element, picture, reading } from "./elements.js";
import { bool, card, int32, open, run } from "./models.js";
import { newestOnly } from "./newest.js";
import { heatMap, nothing, pixelsFrom, uncovered } from "./pictures.js";

const CHOSEN = [222, 143, 5]; // orange of the colour-blind palette
const MAGNIFIED = 16; // pixels of a region in the picture of places

// name: of the model; key: of its reading. atlases: stage 1 whose codes can be shown as regions.
export function newStage(name, title, key, { palette, atlases }) {
  const clock = reading(`player-clock-${key}`);
  const soFar = picture();
  const places = picture();
  const codes = element("div", { className: "patches" });
  const box = element(
    "div",
    { className: "panel" },
    element("h2", {}, title),
    clock,
    element("div", { className: "pictures" }, soFar.box, places.box),
    codes,
  );
  let pairs = [];
  let known, stage1, coded;
  const images = new Map(); // by the number of pairs: tensors

  async function openStage() {
    known = await card(name);
    stage1 = await card(known.stage1);
    open(
      name,
      Object.keys(known.files).map((file) => file.replace(".onnx", "")),
    );
    open(known.stage1, ["restore"]);
    coded = atlases.includes(known.stage1) ? await codedImages(known.stage1).catch(() => null) : null;
    clear();
  }

  function clear() {
    pairs = [];
    images.clear();
    clock.textContent = "drawing …";
    soFar.show(nothing(stage1.resolution), "image so far");
    places.show(heatMap(new Float32Array(known.side ** 2), palette, 0, 1), "place");
    codes.replaceChildren();
  }

  async function draw(asked, isWanted) {
    const began = performance.now();
    hush(true);
    const drawn = await drawPairs(name, asked, (all) => {
      clock.textContent = `${all.length} of ${known.n_pairs} ${words()} drawn`;
      if (isWanted()) showPair(all.at(-1));
      return isWanted();
    });
    hush(false);
    if (drawn) pairs = drawn;
    box.dataset.milliseconds = (performance.now() - began).toFixed(0);
  }

  // What is said aloud stands still while pictures move.
  const hush = (isMoving) => clock.setAttribute("aria-live", isMoving ? "off" : "polite");
  const words = () => (known.predicts.length === 2 ? "pairs" : "codes");

  async function imageAt(n) {
    if (n === 0) return nothing(stage1.resolution);
    const isMasked = stage1.kind === "mqvae";
    const of = isMasked ? n : pairs.length;
    if (!images.has(of)) {
      const nPlaces = stage1.side ** 2;
      const [isKept, at] = [new Uint8Array(nPlaces), new Int32Array(nPlaces)];
      for (const { code, place } of pairs.slice(0, of)) [isKept[place], at[place]] = [1, code];
      const inputs = { codes: int32(at, [1, nPlaces]) };
      if (isMasked) inputs.is_kept = bool(isKept, [1, nPlaces]);
      images.set(of, pixelsFrom((await run(known.stage1, "restore", inputs)).image, stage1.resolution));
    }
    if (isMasked) return images.get(of);
    const isDrawn = new Uint8Array(stage1.side ** 2);
    for (const { place } of pairs.slice(0, n)) isDrawn[place] = 1;
    return uncovered(images.get(of), isDrawn);
  }

  const showStep = newestOnly(async (asked) => {
    if (pairs.length === 0) return;
    const n = Math.min(asked, pairs.length);
    const pixels = await imageAt(n);
    soFar.show(pixels, "image so far", `image after ${n} ${words()}`);
    clock.textContent = `${n} of ${pairs.length} ${words()}`;
    if (n === 0) {
      places.show(heatMap(new Float32Array(known.side ** 2), palette, 0, 1), "place");
      codes.replaceChildren();
    } else {
      showPair(pairs[n - 1]);
    }
  });

  function showPair(pair) {
    const at = `row ${Math.floor(pair.place / known.side) + 1}, column ${(pair.place % known.side) + 1}`;
    const law =
      pair.places ??
      Float32Array.from({ length: known.side ** 2 }, (_, place) => Number(place === pair.place));
    const share = percent(law[pair.place]);
    const text = pair.places ? `place drawn: ${at}, ${share}` : `place given: ${at}`;
    places.show(
      framed(heatMap(law, palette, 0, Math.max(...law)), pair.place),
      text,
      pair.places ? `probability of every place; drawn: ${at}, ${share}` : text,
    );
    codes.replaceChildren(
      ...pair.codes.map(({ code, share: ofCode }, place) => codeFigure(code, ofCode, place === 0)),
    );
  }

  function codeFigure(code, share, isDrawn) {
    const made = picture();
    const text = `code ${code}\n${percent(share)}${isDrawn ? ", drawn" : ""}`;
    if (coded) {
      const [near, at] = coded.codes[code].near[0];
      made.show(cutRegion(coded, "seen", near, at), text);
    } else {
      made.canvas.remove();
      made.caption.textContent = text;
    }
    made.box.append(element("div", { className: "bar", style: `width:${Math.max(2, 100 * share)}%` }));
    return made.box;
  }

  return { box, open: openStage, clear, draw, hush, show: showStep, nPairs: () => pairs.length };
}

const percent = (share) => (share > 0 && share < 0.005 ? "under 1 %" : `${(100 * share).toFixed(0)} %`);

// Each value as a square of pixels, an orange frame around one.
function framed(pixels, place) {
  const side = pixels.width;
  const big = new ImageData(side * MAGNIFIED, side * MAGNIFIED);
  for (let row = 0; row < big.height; row++) {
    for (let column = 0; column < big.width; column++) {
      const region = Math.floor(row / MAGNIFIED) * side + Math.floor(column / MAGNIFIED);
      const [y, x] = [row % MAGNIFIED, column % MAGNIFIED];
      const isFrame = region === place && (Math.min(x, y) < 2 || Math.max(x, y) >= MAGNIFIED - 2);
      const colour = isFrame ? [...CHOSEN, 255] : pixels.data.subarray(4 * region, 4 * region + 4);
      big.data.set(colour, 4 * (row * big.width + column));
    }
  }
  return big;
}
