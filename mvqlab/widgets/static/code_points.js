// Codes as discs in a plane. A click chooses the nearest; arrow keys walk to the next one that way.
// It is as wide as its place allows.
const USED = "#0173b2";
const UNUSED = "#949494";
const CHOSEN = "#de8f05";
const MARGIN = 14; // pixels

function render({ model, el }) {
  const canvas = document.createElement("canvas");
  canvas.style.cssText = "display: block; width: 100%; aspect-ratio: 4 / 3";
  const spoken = document.createElement("span");
  spoken.setAttribute("aria-live", "polite");
  spoken.className = "mvqlab-spoken";
  canvas.tabIndex = 0;
  canvas.setAttribute("role", "application");
  canvas.style.cursor = "pointer";
  el.classList.add("mvqlab-code-points");
  el.append(canvas, spoken);

  let points = []; // { x, y, radius, isUsed } in pixels of the screen

  function lay() {
    const bytes = model.get("points");
    const numbers = new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength));
    const [width, height] = [canvas.clientWidth, canvas.clientHeight];
    points = [];
    for (let row = 0; row + 2 < numbers.length; row += 3) {
      points.push({
        x: MARGIN + numbers[row] * (width - 2 * MARGIN),
        y: height - MARGIN - numbers[row + 1] * (height - 2 * MARGIN),
        radius: numbers[row + 2] > 0 ? 2.5 + 7.5 * Math.sqrt(numbers[row + 2]) : 3,
        isUsed: numbers[row + 2] > 0,
      });
    }
    draw();
  }

  function disc(context, point, extra) {
    context.beginPath();
    context.arc(point.x, point.y, point.radius + extra, 0, 2 * Math.PI);
  }

  function draw() {
    const scale = window.devicePixelRatio || 1;
    const [width, height] = [canvas.clientWidth, canvas.clientHeight];
    canvas.width = width * scale;
    canvas.height = height * scale;
    const context = canvas.getContext("2d");
    context.scale(scale, scale);
    context.fillStyle = "#ffffff";
    context.fillRect(0, 0, width, height);
    context.strokeStyle = "#cccccc";
    context.strokeRect(0.5, 0.5, width - 1, height - 1);
    for (const point of points) {
      if (point.isUsed) {
        disc(context, point, 0);
        context.globalAlpha = 0.65;
        context.fillStyle = USED;
        context.fill();
        context.globalAlpha = 1;
        context.strokeStyle = "#ffffff";
        context.stroke();
      } else { // a cross, not a colour alone, says that no region takes it
        context.strokeStyle = UNUSED;
        context.beginPath();
        context.moveTo(point.x - 3, point.y - 3);
        context.lineTo(point.x + 3, point.y + 3);
        context.moveTo(point.x - 3, point.y + 3);
        context.lineTo(point.x + 3, point.y - 3);
        context.stroke();
      }
    }
    context.lineWidth = 2;
    context.strokeStyle = "#000000";
    for (const code of model.get("neighbours")) {
      const point = points[code];
      if (!point) continue;
      const reach = point.radius + 3;
      context.strokeRect(point.x - reach, point.y - reach, 2 * reach, 2 * reach);
    }
    const chosen = points[model.get("chosen")];
    if (chosen) {
      disc(context, chosen, 1);
      context.fillStyle = CHOSEN;
      context.fill();
      context.lineWidth = 3;
      context.stroke();
    }
    canvas.setAttribute("aria-label", `${model.get("label")}: code ${model.get("chosen")} of ${points.length}`);
  }

  function choose(code) {
    model.set("chosen", code);
    model.save_changes();
    spoken.textContent = `code ${code}`;
    draw();
  }

  canvas.addEventListener("click", (event) => {
    const box = canvas.getBoundingClientRect();
    const [x, y] = [event.clientX - box.left, event.clientY - box.top];
    let best = -1;
    let least = Infinity;
    points.forEach((point, code) => {
      const distance = Math.hypot(point.x - x, point.y - y) - point.radius;
      if (distance < least) [best, least] = [code, distance];
    });
    if (best >= 0) choose(best);
    canvas.focus();
  });

  const ways = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  canvas.addEventListener("keydown", (event) => {
    const here = points[model.get("chosen")];
    if (!(event.key in ways) || !here) return;
    const [right, down] = ways[event.key];
    let best = -1;
    let least = Infinity;
    points.forEach((point, code) => {
      const along = (point.x - here.x) * right + (point.y - here.y) * down;
      const aside = Math.abs((point.x - here.x) * down) + Math.abs((point.y - here.y) * right);
      if (code !== model.get("chosen") && along > 0 && aside <= along && along + aside < least) {
        [best, least] = [code, along + aside];
      }
    });
    if (best >= 0) choose(best);
    event.preventDefault();
    event.stopPropagation(); // or the notebook takes the key for itself
  });

  model.on("change:points", lay);
  for (const name of ["chosen", "neighbours", "label"]) model.on(`change:${name}`, draw);
  const widened = new ResizeObserver(lay); // and once when it is first laid out
  widened.observe(canvas);
  return () => widened.disconnect();
}

export default { render };
