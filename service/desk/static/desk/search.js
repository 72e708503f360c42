// Suggestions below the search: a combobox with a list of options, by the pattern of the ARIA
// Authoring Practices. Without this script the field is a plain form, and Enter sends it.
"use strict";

const field = document.getElementById("find");
const list = document.getElementById("found");
if (field && list) {
  const WAIT = 150; // ms after the last letter
  let timer, asking, asked, active;

  field.setAttribute("role", "combobox");
  field.setAttribute("aria-autocomplete", "list");
  field.setAttribute("aria-controls", list.id);
  field.setAttribute("aria-expanded", "false");

  const options = () => [...list.querySelectorAll("[role=option]")];

  function choose(option) {
    active?.setAttribute("aria-selected", "false");
    active = option;
    if (!option) return field.removeAttribute("aria-activedescendant");
    option.setAttribute("aria-selected", "true");
    option.scrollIntoView({ block: "nearest" });
    field.setAttribute("aria-activedescendant", option.id);
  }

  function show(open) {
    list.hidden = !open;
    field.setAttribute("aria-expanded", String(open));
    if (!open) choose(null);
  }

  async function ask() {
    const words = field.value.trim();
    asking?.abort();
    if (!words) return show(false);
    asking = new AbortController();
    const query = new URLSearchParams({ q: words, part: "suggestions" });
    try {
      const answer = await fetch(`${list.dataset.url}?${query}`, {
        signal: asking.signal,
        redirect: "error", // the log-in has ended: the form itself leads to it
      });
      if (!answer.ok) return show(false);
      list.innerHTML = await answer.text(); // of this site, where texts are escaped
    } catch {
      return; // another question has come, or the server does not answer
    }
    asked = words;
    active = null;
    field.removeAttribute("aria-activedescendant");
    show(document.activeElement === field);
  }

  field.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(ask, WAIT);
  });
  field.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && !list.hidden) {
      event.preventDefault(); // the words stay
      show(false);
    } else if (event.key === "Enter" && active && !list.hidden) {
      event.preventDefault();
      location.assign(active.dataset.url);
    } else if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      const all = options();
      if (!all.length || field.value.trim() !== asked) return;
      event.preventDefault();
      if (list.hidden) show(true);
      const down = event.key === "ArrowDown";
      const place = active ? all.indexOf(active) + (down ? 1 : -1) : down ? 0 : all.length - 1;
      choose(all[(place + all.length) % all.length]);
    }
  });
  field.addEventListener("blur", () => show(false));
  // The field keeps the focus while an option is pressed.
  list.addEventListener("mousedown", (event) => event.preventDefault());
  list.addEventListener("click", (event) => {
    const option = event.target.closest("[role=option]");
    if (option) location.assign(option.dataset.url);
  });
}
