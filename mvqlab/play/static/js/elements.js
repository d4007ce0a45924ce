// What the instruments are put together from: labelled controls, pictures with captions, messages.

export function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in made) made[name] = value;
    else made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

const labelled = (words, control, ...more) =>
  element("label", { className: "control" }, element("span", {}, words, ...more), control);

// options: [value, words] each.
export function choice(words, options, onChange) {
  const select = element("select", {}, ...options.map(([value, text]) => element("option", { value }, text)));
  select.addEventListener("change", onChange);
  return { box: labelled(words, select), input: select };
}

// `say` tells what a value means; it stands beside the label.
export function slider(words, { min, max, step, say }, onInput) {
  const output = element("output");
  const input = element("input", { type: "range", min, max, step });
  const tell = () => {
    output.textContent = ` ${say(Number(input.value))}`;
    input.setAttribute("aria-valuetext", say(Number(input.value)));
  };
  input.addEventListener("input", () => {
    tell();
    onInput();
  });
  const set = (value) => {
    input.value = value;
    tell();
  };
  return { box: labelled(words, input, output), input, set, value: () => Number(input.value) };
}

export function wholeNumber(words, min, max, onChange) {
  const input = element("input", { type: "number", min, max, step: 1, inputMode: "numeric" });
  input.addEventListener("change", onChange);
  return { box: labelled(words, input), input };
}

export function button(words, onClick) {
  const made = element("button", { type: "button" }, words);
  made.addEventListener("click", onClick);
  return made;
}

// One of several, as radio buttons: options { value, words, title, picture }.
export function radios(words, name, options, onChange, className = "") {
  const box = element("fieldset", {}, element("legend", {}, words));
  const inside = element("div", { className: `choices ${className}` });
  const inputs = options.map((option) => {
    const input = element("input", { type: "radio", name, value: option.value });
    input.addEventListener("change", onChange);
    const face = option.picture
      ? element("img", { src: option.picture, alt: option.words, loading: "lazy" })
      : option.words;
    inside.append(element("label", { title: option.title ?? option.words }, input, face));
    return input;
  });
  box.append(inside);
  return {
    box,
    value: () => inputs.find((input) => input.checked)?.value,
    set: (value) => inputs.forEach((input) => (input.checked = input.value === String(value))),
  };
}

// A picture that is drawn anew: `show(pixels, caption, words)`, words for those who cannot see it.
export function picture() {
  const canvas = element("canvas", { role: "img", width: 1, height: 1 });
  const caption = element("figcaption");
  const box = element("figure", {}, canvas, caption);
  function show(pixels, text, words = text) {
    [canvas.width, canvas.height] = [pixels.width, pixels.height];
    canvas.getContext("2d").putImageData(pixels, 0, 0);
    caption.textContent = text;
    canvas.setAttribute("aria-label", words);
  }
  return { box, canvas, caption, show };
}

export const row = (...children) => element("div", { className: "controls" }, ...children);
export const note = (text) => element("p", { className: "note" }, text);
export const reading = (id) => element("div", { className: "reading", id, "aria-live": "polite" });

// Says what went wrong, on the page; the next thing that goes well takes it away.
export function guard(work) {
  return async (...words) => {
    const message = document.getElementById("message");
    try {
      await work(...words);
      message.replaceChildren();
    } catch (error) {
      message.replaceChildren(element("div", { className: "alert" }, error.message ?? String(error)));
    }
  };
}
