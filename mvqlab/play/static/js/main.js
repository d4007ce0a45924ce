// Opens the instrument that the address names, each when it is first looked at.
import { read } from "./address.js";
import { guard } from "./elements.js";
import { fetchJson } from "./models.js";

const makers = {
  explorer: async (section, page) =>
    (await import("./explorer.js")).explorer(section, page.explorer, page.cividis),
  player: async (section, page) => (await import("./player.js")).player(section, page.player, page.cividis),
  atlas: async (section, page) => (await import("./atlas.js")).atlas(section, page.atlas),
};
const made = {};
let page;

const show = guard(async () => {
  page ??= await fetchJson("play.json");
  const offered = Object.keys(makers).filter((name) => page[name].length > 0);
  const { instrument, settings } = read();
  const name = offered.includes(instrument) ? instrument : offered[0];
  for (const link of document.querySelectorAll("nav a")) {
    const ofLink = link.getAttribute("href").slice(1);
    link.hidden = !offered.includes(ofLink);
    if (ofLink === name) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  for (const section of document.querySelectorAll("main > section")) section.hidden = section.id !== name;
  const isNew = !made[name];
  made[name] ??= await makers[name](document.getElementById(name), page);
  // who comes back finds it as it was left
  if (isNew || Object.keys(settings).length > 0) await made[name].show(settings);
  else made[name].tell();
});

window.addEventListener("hashchange", show);
show();
