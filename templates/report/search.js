// Filters what the page shows while the reader types. The page is whole without it: this only hides and unhides.
"use strict";
const box = document.getElementById("find");
const status = document.getElementById("found");
const items = [...document.querySelectorAll("[data-item]")];
const groups = [...document.querySelectorAll("[data-group]")].reverse(); // inner groups before those around them
const texts = items.map((item) => {
  const around = item.closest("[data-name]");
  return ((around ? around.dataset.name + " " : "") + item.textContent).toLowerCase();
});
let opened = new Map(); // details that the search has touched, and whether the reader had them open

function show() {
  const words = box.value.toLowerCase().split(/\s+/).filter(Boolean);
  let count = 0;
  items.forEach((item, i) => {
    item.hidden = !words.every((word) => texts[i].includes(word));
    count += item.hidden ? 0 : 1;
  });
  for (const group of groups) {
    const some = group.querySelector("[data-item]:not([hidden])");
    group.hidden = words.length > 0 && !some;
    if (group instanceof HTMLDetailsElement) {
      if (words.length && !opened.has(group)) opened.set(group, group.open);
      if (words.length) group.open = Boolean(some);
    }
  }
  if (!words.length) {
    for (const [details, was] of opened) details.open = was;
    opened = new Map();
  }
  status.textContent = words.length ? `${count} of ${items.length} entries match` : "";
}

box.addEventListener("input", show);
box.addEventListener("keydown", (event) => {
  if (event.key === "Escape") {
    box.value = "";
    show();
  }
});
document.addEventListener("keydown", (event) => {
  if (event.key === "/" && document.activeElement !== box && !event.ctrlKey && !event.metaKey && !event.altKey) {
    event.preventDefault();
    box.focus();
  }
});
document.getElementById("search").hidden = false;
