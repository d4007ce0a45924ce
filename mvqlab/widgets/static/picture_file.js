// Chooses a file and hands its bytes over, if they are few enough: one message may hold 10 MiB, and the
// server hangs up on a longer one. Beside the button stands what is shown, which may be what came before.
function render({ model, el }) {
  const label = document.createElement("label");
  const input = document.createElement("input");
  const shown = document.createElement("span");
  input.type = "file";
  input.accept = "image/*";
  el.classList.add("mvqlab-picture-file");
  label.className = "jupyter-button widget-button";
  label.append(model.get("label"), input);
  el.append(label, shown);

  const name = () => (shown.textContent = model.get("shown"));
  model.on("change:shown", name);
  name();

  input.addEventListener("change", async () => {
    const file = input.files[0];
    if (!file) return;
    const sent = { name: file.name, size: file.size, number: model.get("chosen").number + 1 };
    if (file.size <= model.get("limit")) {
      model.set("content", new DataView(await file.arrayBuffer()));
    } else {
      model.set("content", new DataView(new ArrayBuffer(0)));
    }
    model.set("chosen", sent); // in one message with the bytes
    model.save_changes();
    input.value = ""; // the same file may be chosen again
  });
}

export default { render };
