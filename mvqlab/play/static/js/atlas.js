// The codebook atlas: codes on their principal plane, and what each of them stands for.
import codePoints from "../widgets/code_points.js";
import { number, write } from "./address.js";
import { codedImages, cutRegion } from "./coded_images.js";
import { choice, element, guard, note, picture, reading, row, wholeNumber } from "./elements.js";
import { WidgetModel } from "./widget_model.js";

export function atlas(section, offered) {
  const byName = new Map(offered.map((one) => [one.model, one]));
  const state = { model: null, code: 0 };
  let coded;

  const model = choice(
    "codebook",
    offered.map((one) => [one.model, one.words]),
    guard(changeModel),
  );
  const code = wholeNumber(
    "code",
    0,
    0,
    guard(() => take(Number(code.input.value))),
  );
  const head = note("");
  const mapBox = element("div");
  const about = reading("atlas-code");
  const detail = element("div");
  const credit = note("");
  const points = new WidgetModel({
    points: new DataView(new ArrayBuffer(0)),
    chosen: 0,
    neighbours: [],
    label: "codebook",
  });
  section.append(
    row(model.box, code.box),
    head,
    element("div", { className: "panels" }, mapBox, element("div", {}, about, detail)),
    credit,
    note(
      "Codes on their two principal components, as large as they are taken often over held-out images; crosses are not in use. A click or the arrow keys choose one. Distances are shares of the mean distance between codes. A region is shown with its surroundings.",
    ),
  );
  codePoints.render({ model: points, el: mapBox });
  points.on(
    "change:chosen",
    guard(() => take(points.get("chosen"))),
  );

  async function show(settings) {
    state.model = byName.has(settings.model) ? settings.model : offered[0].model;
    await openModel();
    take(Math.round(number(settings.code, 0, coded.codes.length - 1, mostTaken())));
  }

  async function changeModel() {
    state.model = model.input.value;
    await openModel();
    take(mostTaken());
  }

  async function openModel() {
    model.input.value = state.model;
    coded = await codedImages(state.model);
    head.textContent = coded.head;
    credit.textContent = byName.get(state.model).credit;
    code.input.max = coded.codes.length - 1;
    points.traits.label = byName.get(state.model).words;
    points.traits.chosen = -1;
    lay();
  }

  // A new view of the numbers, so that the map is laid anew.
  function lay() {
    if (!coded) return;
    const most = Math.max(1, ...coded.codes.map((one) => one.count));
    const numbers = Float32Array.from(coded.codes.flatMap(({ x, y, count }) => [x, y, count / most]));
    points.set("points", new DataView(numbers.buffer));
  }

  function mostTaken() {
    return coded.codes.reduce((best, one, place) => (one.count > coded.codes[best].count ? place : best), 0);
  }

  function take(asked) {
    const last = coded.codes.length - 1;
    state.code = Math.min(last, Math.max(0, Number.isInteger(asked) ? asked : 0));
    code.input.value = state.code;
    const { count, near, neighbours } = coded.codes[state.code];
    points.set(
      "neighbours",
      neighbours.map(([other]) => other),
    );
    points.set("chosen", state.code);
    const share = (100 * count) / coded.n_regions;
    about.textContent = `code ${state.code}: ${count ? `taken ${count} times, ${share.toFixed(2)} % of the regions` : "not in use"}`;
    const patches = (sheet, words) =>
      near.map(([image, place, tookIt]) =>
        patch(sheet, image, place, tookIt ? "took it" : "took another", `${words} ${state.code}`),
      );
    detail.replaceChildren(
      note("regions that took it, nearest first; then others that lie near"),
      element("div", { className: "patches" }, ...patches("seen", "region near code")),
      note("the same as they come back: what the code draws there"),
      element("div", { className: "patches" }, ...patches("drawn", "drawn region near code")),
      note("codes nearest to it (framed in the map)"),
      element("div", { className: "patches" }, ...neighbours.map(neighbour)),
    );
    say();
  }

  function say() {
    write("atlas", state);
  }

  function patch(sheet, image, place, text, words) {
    const made = picture();
    made.show(cutRegion(coded, sheet, image, place), text, words);
    return made.box;
  }

  function neighbour([other, distance]) {
    const [image, place] = coded.codes[other].near[0];
    const isNear = distance < coded.near_share;
    const made = patch(
      "seen",
      image,
      place,
      `${other}: ${distance.toFixed(2)}${isNear ? " ≈" : ""}`,
      `code ${other}, at ${distance.toFixed(2)} of the mean distance`,
    );
    const press = element("button", { type: "button", title: `show code ${other}` });
    press.addEventListener(
      "click",
      guard(() => take(other)),
    );
    press.append(...made.childNodes);
    made.append(press);
    return made;
  }

  return { show, tell: say };
}
