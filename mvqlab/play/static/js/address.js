// What the page shows stands in its address: "#explorer?image=4&mask=random&ratio=75".

export function read() {
  const [instrument, words = ""] = location.hash.slice(1).split("?");
  return { instrument, settings: Object.fromEntries(new URLSearchParams(words)) };
}

// Settings that are null or undefined are left out. It is no step to go back from.
export function write(instrument, settings) {
  const said = Object.entries(settings).filter(([, value]) => value !== null && value !== undefined);
  history.replaceState(null, "", `#${instrument}?${new URLSearchParams(said)}`);
}

// A number out of an address, kept between two; `otherwise` where there is none.
export function number(words, low, high, otherwise) {
  const value = Number(words);
  return words === undefined || words === "" || Number.isNaN(value)
    ? otherwise
    : Math.min(high, Math.max(low, value));
}
