// A picture under its mask: dropped regions lie under a veil. Where it may be painted, a click or a drag over
// regions keeps or drops them; so do the arrow keys and the space bar. It is as wide as its place allows.
const VEIL = "rgba(235, 235, 235, 0.88)";
const CURSOR = "#de8f05";

function render({ model, el }) {
  const canvas = document.createElement("canvas");
  canvas.style.cssText = "display: block; width: 100%; aspect-ratio: 1";
  const spoken = document.createElement("span");
  spoken.setAttribute("aria-live", "polite");
  spoken.className = "mvqlab-spoken";
  el.classList.add("mvqlab-mask-canvas");
  el.append(canvas, spoken);

  let picture = null;
  let cursor = 0;
  let brush = null; // "1" or "0" while the pointer is down: what it paints
  let painted = -1;

  const side = () => model.get("side");

  async function load() {
    const bytes = model.get("picture");
    if (!bytes || bytes.byteLength === 0) return;
    picture = await createImageBitmap(new Blob([bytes], { type: "image/png" }));
    draw();
  }

  function draw() {
    const scale = window.devicePixelRatio || 1;
    canvas.width = canvas.height = Math.max(1, Math.round(canvas.clientWidth * scale));
    const context = canvas.getContext("2d");
    context.imageSmoothingEnabled = false;
    if (picture) context.drawImage(picture, 0, 0, canvas.width, canvas.height);
    const step = canvas.width / side();
    const kept = model.get("is_kept");
    context.fillStyle = VEIL;
    for (let region = 0; region < kept.length; region++) {
      if (kept[region] === "1") continue;
      const [row, column] = [Math.floor(region / side()), region % side()];
      context.fillRect(column * step, row * step, step + 0.5, step + 0.5);
    }
    if (model.get("can_paint") && document.activeElement === canvas) {
      context.strokeStyle = CURSOR;
      context.lineWidth = 3 * scale;
      context.strokeRect((cursor % side()) * step, Math.floor(cursor / side()) * step, step, step);
    }
    const n = kept.split("1").length - 1;
    canvas.setAttribute("aria-label", `${model.get("label")}: ${n} of ${kept.length} regions are kept`);
    canvas.setAttribute("role", model.get("can_paint") ? "application" : "img");
    canvas.tabIndex = model.get("can_paint") ? 0 : -1;
    canvas.style.touchAction = model.get("can_paint") ? "none" : "auto"; // a finger paints, or scrolls
    canvas.style.cursor = model.get("can_paint") ? "crosshair" : "default";
  }

  function paint(region, value) {
    const kept = model.get("is_kept");
    cursor = region;
    if (kept[region] !== value) {
      model.set("is_kept", kept.slice(0, region) + value + kept.slice(region + 1));
      model.save_changes();
    }
    const [row, column] = [Math.floor(region / side()) + 1, (region % side()) + 1];
    spoken.textContent = `row ${row}, column ${column}: ${value === "1" ? "kept" : "dropped"}`;
    draw();
  }

  function regionAt(event) {
    const box = canvas.getBoundingClientRect();
    const place = (offset, length) => Math.min(side() - 1, Math.max(0, Math.floor((offset / length) * side())));
    return place(event.clientY - box.top, box.height) * side() + place(event.clientX - box.left, box.width);
  }

  canvas.addEventListener("pointerdown", (event) => {
    if (!model.get("can_paint")) return;
    canvas.setPointerCapture(event.pointerId);
    painted = regionAt(event);
    brush = model.get("is_kept")[painted] === "1" ? "0" : "1";
    paint(painted, brush);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (brush === null) return;
    const region = regionAt(event);
    if (region !== painted) paint((painted = region), brush);
  });
  for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, () => (brush = null));

  const moves = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
  canvas.addEventListener("keydown", (event) => {
    if (!model.get("can_paint")) return;
    if (event.key === " " || event.key === "Enter") {
      paint(cursor, model.get("is_kept")[cursor] === "1" ? "0" : "1");
    } else if (event.key in moves) {
      const [down, right] = moves[event.key];
      const within = (place) => Math.min(side() - 1, Math.max(0, place));
      cursor = within(Math.floor(cursor / side()) + down) * side() + within((cursor % side()) + right);
      const state = model.get("is_kept")[cursor] === "1" ? "kept" : "dropped";
      spoken.textContent = `row ${Math.floor(cursor / side()) + 1}, column ${(cursor % side()) + 1}: ${state}`;
      draw();
    } else {
      return;
    }
    event.preventDefault();
    event.stopPropagation(); // or the notebook takes the key for itself
  });
  canvas.addEventListener("focus", draw);
  canvas.addEventListener("blur", draw);

  model.on("change:picture", load);
  for (const name of ["is_kept", "can_paint", "label", "side"]) model.on(`change:${name}`, draw);
  const widened = new ResizeObserver(draw); // and once when it is first laid out
  widened.observe(canvas);
  load();
  return () => {
    widened.disconnect();
    if (picture) picture.close();
  };
}

export default { render };
