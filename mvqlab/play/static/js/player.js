// The generation player: watch Stackformer draw pair by pair, the raster transformer beside it.
import { number, write } from "./address.js";
import { button, choice, element, guard, note, row, slider, wholeNumber } from "./elements.js";
import { card } from "./models.js";
import { newStage } from "./stage.js";

const SPEEDS = [
  [500, "slow"],
  [200, "medium"],
  [50, "fast"],
]; // milliseconds a step

export function player(section, offered, palette) {
  const byName = new Map(offered.map((one) => [one.model, one]));
  const state = { model: null, class: 0, temperature: 1, guidance: 1, seed: 0, step: null };
  let drawing = 0; // which of the drawings that were begun is wanted
  let stages = [];
  let timer = null;

  const model = choice(
    "model",
    offered.map((one) => [one.model, one.words]),
    guard(changeModel),
  );
  const classes = element("select");
  classes.addEventListener("change", guard(changeSettings));
  const classBox = element("label", { className: "control" }, element("span", {}, "class"), classes);
  const temperature = slider(
    "temperature",
    { min: 0, max: 2, step: 0.05, say: (value) => value.toFixed(2) },
    () => {},
  );
  const guidance = slider(
    "guidance",
    { min: 0, max: 5, step: 0.25, say: (value) => (value === 1 ? "1, off" : value.toFixed(2)) },
    () => {},
  );
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
    note(
      "Controls begin where the model's own settings are. Stackformer's image infers what is not drawn yet; the plain model cannot, so its image is uncovered region by region.",
    ),
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
    const shown = { palette, atlases: here.atlases };
    stages = [newStage(here.model, "Stackformer", "stackformer", shown)];
    if (here.beside) {
      stages.push(newStage(here.beside, here.title_beside, "raster", shown));
    }
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
    const asked = {
      condition: state.class,
      temperature: state.temperature,
      guidance: state.guidance,
      seed: state.seed,
    };
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
    timer = setInterval(
      guard(async () => {
        if (step.value() >= Number(step.input.max)) return pause();
        step.set(step.value() + 1);
        await changeStep();
      }),
      Number(speed.input.value),
    );
  }

  function pause() {
    clearInterval(timer);
    timer = null;
    for (const stage of stages) stage.hush(false);
    play.textContent = "play";
  }

  return { show, tell: say };
}
