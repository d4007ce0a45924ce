// The generation player: watch Stackformer draw pair by pair, the raster transformer beside it.
import { number, write } from "./address.js";
import { codedImages, cutRegion } from "./coded_images.js";
import { drawPairs } from "./drawing.js";
import { button, choice, element, guard, note, picture, reading, row, slider, wholeNumber } from "./elements.js";
import { bool, card, int32, open, run } from "./models.js";
import { newestOnly } from "./newest.js";
import { heatMap, nothing, pixelsFrom, uncovered } from "./pictures.js";

const CHOSEN = [222, 143, 5]; // orange of the colour-blind palette
const MAGNIFIED = 16; // pixels of a region in the picture of places
const SPEEDS = [[500, "slow"], [200, "medium"], [50, "fast"]]; // milliseconds a step

export function player(section, offered, palette) {
  const byName = new Map(offered.map((one) => [one.model, one]));
  const state = { model: null, class: 0, temperature: 1, guidance: 1, seed: 0, step: null };
  let drawing = 0; // which of the drawings that were begun is wanted
  let stages = [];
  let timer = null;

  const model = choice("model", offered.map((one) => [one.model, one.words]), guard(changeModel));
  const classes = element("select");
  classes.addEventListener("change", guard(changeSettings));
  const classBox = element("label", { className: "control" }, element("span", {}, "class"), classes);
  const temperature = slider("temperature", { min: 0, max: 2, step: 0.05, say: (value) => value.toFixed(2) }, () => {});
  const guidance = slider("guidance", { min: 0, max: 5, step: 0.25, say: (value) => (value === 1 ? "1, off" : value.toFixed(2)) }, () => {});
  for (const one of [temperature, guidance]) one.input.addEventListener("change", guard(changeSettings));
  const seed = wholeNumber("seed", 0, 2 ** 31 - 1, guard(changeSettings));
  const another = button("another seed", guard(anotherSeed));
  const play = button("play", togglePlay);
  const speed = choice("speed", SPEEDS, () => timer !== null && startTimer());
  speed.input.value = 200;
  const step = slider("pair", { min: 0, max: 64, step: 1, say: (value) => `${value}` }, guard(changeStep));
  const panels = element("div", { className: "panels" });
  const credit = note("");
  section.append(
    row(model.box, classBox, seed.box, another),
    row(temperature.box, guidance.box),
    row(play, speed.box, step.box),
    panels,
    credit,
    note("Controls begin where the model's own settings are. Stackformer's image infers what is not drawn yet; the plain model cannot, so its image is uncovered region by region."),
  );

  async function show(settings) {
    state.model = byName.has(settings.model) ? settings.model : offered[0].model;
    const known = await begin();
    state.class = number(settings.class, 0, (known.n_classes ?? 1) - 1, byName.get(state.model).first_class);
    state.temperature = number(settings.temperature, 0, 2, known.sampling.temperature);
    state.guidance = number(settings.guidance, 0, 5, known.sampling.code_guidance);
    state.seed = Math.round(number(settings.seed, 0, 2 ** 31 - 1, 0));
    state.step = settings.step === undefined ? null : Math.round(number(settings.step, 0, 4096, 0));
    tellControls();
    await drawAll();
  }

  // The controls and panels of the chosen model.
  async function begin() {
    const here = byName.get(state.model);
    const known = await card(state.model);
    model.input.value = state.model;
    const names = known.class_names ?? [];
    classes.replaceChildren(...names.map((name, value) => element("option", { value }, name)));
    classBox.hidden = guidance.box.hidden = names.length === 0;
    stages = [newStage(here.model, "Stackformer", "stackformer")];
    if (here.beside) stages.push(newStage(here.beside, "raster transformer, trained as long", "raster"));
    panels.replaceChildren(...stages.map((stage) => stage.box));
    credit.textContent = here.credit;
    for (const stage of stages) await stage.open();
    return known;
  }

  function tellControls() {
    classes.value = state.class;
    temperature.set(state.temperature);
    guidance.set(state.guidance);
    seed.input.value = state.seed;
  }

  // Draw with all models, one after the other, and show each pair as it comes.
  async function drawAll() {
    drawing += 1;
    const mine = drawing;
    say();
    for (const stage of stages) stage.clear();
    const asked = { condition: state.class, temperature: state.temperature, guidance: state.guidance, seed: state.seed };
    for (const stage of stages) {
      await stage.draw(asked, () => mine === drawing);
      if (mine !== drawing) return;
      const longest = Math.max(...stages.map((one) => one.nPairs()));
      step.input.max = longest;
      step.set(Math.min(state.step ?? longest, longest));
      await stage.show(state.step ?? longest);
    }
    section.dataset.drawn = mine;
  }

  function say() {
    write("player", state);
  }

  async function changeModel() {
    pause();
    state.model = model.input.value;
    const known = await begin();
    state.class = byName.get(state.model).first_class;
    state.temperature = known.sampling.temperature;
    state.guidance = known.sampling.code_guidance;
    state.step = null;
    tellControls();
    await drawAll();
  }

  async function changeSettings() {
    state.class = Number(classes.value);
    state.temperature = temperature.value();
    state.guidance = guidance.value();
    state.seed = Math.min(2 ** 31 - 1, Math.max(0, Math.round(Number(seed.input.value) || 0)));
    seed.input.value = state.seed;
    await drawAll();
  }

  async function anotherSeed() {
    seed.input.value = state.seed + 1;
    await changeSettings();
  }

  async function changeStep() {
    state.step = step.value();
    say();
    await Promise.all(stages.map((stage) => stage.show(state.step)));
  }

  function togglePlay() {
    if (timer !== null) return pause();
    if (step.value() >= Number(step.input.max)) step.set(0);
    play.textContent = "pause";
    startTimer();
  }

  function startTimer() {
    for (const stage of stages) stage.hush(true);
    clearInterval(timer);
    timer = setInterval(guard(async () => {
      if (step.value() >= Number(step.input.max)) return pause();
      step.set(step.value() + 1);
      await changeStep();
    }), Number(speed.input.value));
  }

  function pause() {
    clearInterval(timer);
    timer = null;
    for (const stage of stages) stage.hush(false);
    play.textContent = "play";
  }

  // One model's drawing at any step: the image so far, the places a pair might take, its likeliest codes.
  function newStage(name, title, key) {
    const clock = reading(`player-clock-${key}`);
    const soFar = picture();
    const places = picture();
    const codes = element("div", { className: "patches" });
    const box = element("div", { className: "panel" }, element("h2", {}, title), clock, element("div", { className: "pictures" }, soFar.box, places.box), codes);
    let pairs = [];
    let known, stage1, coded;
    const images = new Map(); // by the number of pairs: tensors

    async function openStage() {
      known = await card(name);
      stage1 = await card(known.stage1);
      open(name, Object.keys(known.files).map((file) => file.replace(".onnx", "")));
      open(known.stage1, ["restore"]);
      coded = byName.get(state.model).atlases.includes(known.stage1) ? await codedImages(known.stage1).catch(() => null) : null;
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
      const law = pair.places ?? Float32Array.from({ length: known.side ** 2 }, (_, place) => Number(place === pair.place));
      const share = percent(law[pair.place]);
      const text = pair.places ? `place drawn: ${at}, ${share}` : `place given: ${at}`;
      places.show(framed(heatMap(law, palette, 0, Math.max(...law)), pair.place), text, pair.places ? `probability of every place; drawn: ${at}, ${share}` : text);
      codes.replaceChildren(...pair.codes.map(({ code, share: ofCode }, place) => codeFigure(code, ofCode, place === 0)));
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

  return { show, tell: say };
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
