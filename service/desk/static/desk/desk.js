// The part of the desk that runs in the browser: the search's key, forms that are sent once, and
// what was typed, which outlives an ended log-in.
"use strict";

// Ctrl+K goes to the search. A keyboard of other letters, as the Russian one, has it by its place.
const isK = ({ key, code }) => key.toLowerCase() === "k" || (key > "\x7f" && code === "KeyK");
document.addEventListener("keydown", (event) => {
  if ((event.ctrlKey || event.metaKey) && isK(event)) {
    const find = document.getElementById("find");
    if (!find) return;
    event.preventDefault();
    find.focus();
    find.select();
  }
});

// The focus begins at what a page has to say first: all that is wrong with a form, else what was
// done.
const first = document.querySelector("form [data-first]") ?? document.querySelector("[data-first]");
first?.focus();

// Escape closes what is open around the focus, if its button can be seen to open it again.
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape" || event.defaultPrevented) return;
  const opened = document.activeElement?.closest("details[open]");
  const button = opened?.querySelector("summary");
  if (!button?.offsetParent) return;
  opened.open = false;
  button.focus();
});

// On a narrow screen the menu begins closed; a wide one, as that of a tablet that is turned, has no
// button to open it.
const menu = document.querySelector("nav.menu details");
const narrow = matchMedia("(max-width: 60rem)");
const fold = () => {
  if (menu) menu.open = !narrow.matches;
};
fold();
narrow.addEventListener("change", fold);

// A form that posts is sent once: a double click sends nothing a second time. Somebody who has
// stopped the browser meanwhile can send it again after a while; the server does nothing twice.
const PATIENCE = 10_000; // milliseconds
document.addEventListener("submit", (event) => {
  const form = event.target;
  if (form.method !== "post" || event.defaultPrevented) return;
  if ("sent" in form.dataset) event.preventDefault();
  form.dataset.sent = "";
  setTimeout(() => delete form.dataset.sent, PATIENCE);
});
// A page that the browser shows again by its Back can be sent again.
addEventListener("pageshow", (event) => {
  if (event.persisted)
    for (const form of document.querySelectorAll("form[data-sent]")) delete form.dataset.sent;
});

// A form marked data-keep keeps its content in this tab until it is sent and accepted, and offers it
// when the form is opened again. Nothing is ever sent by itself. The log-out forgets the content, in
// every tab, and so does the page of another person: it is shown to nobody else.
const KEPT = "kept:";
const keyOf = (form) => `${KEPT}${document.body.dataset.user ?? ""}:${location.pathname}:${form.dataset.keep}`;

function contentOf(form) {
  const content = [];
  for (const field of form.elements) {
    if (!field.name || field.type === "hidden" || field.type === "password" || field.type === "file")
      continue;
    if ((field.type === "checkbox" || field.type === "radio") && !field.checked) continue;
    const values = field.selectedOptions
      ? Array.from(field.selectedOptions, (option) => option.value)
      : [field.value];
    for (const value of values) content.push([field.name, value]);
  }
  return JSON.stringify(content);
}

function restore(form, content) {
  const values = new Map();
  for (const [name, value] of JSON.parse(content))
    values.set(name, [...(values.get(name) ?? []), value]);
  for (const field of form.elements) {
    if (!field.name || field.type === "hidden") continue;
    const given = values.get(field.name) ?? [];
    if (field.type === "checkbox" || field.type === "radio")
      field.checked = given.includes(field.value);
    else if (field.type === "select-multiple")
      for (const option of field.options) option.selected = given.includes(option.value);
    else if (field.type !== "password" && field.type !== "file" && given.length)
      field.value = given.shift();
  }
  form.dispatchEvent(new Event("input", { bubbles: true }));
}

function forget(keys) {
  for (const key of Object.keys(sessionStorage))
    if (key.startsWith(KEPT) && keys(key)) sessionStorage.removeItem(key);
}

const loggedOut = new BroadcastChannel("pricebook: logged out");
loggedOut.addEventListener("message", () => forget(() => true));
if (document.body.hasAttribute("data-forget")) {
  forget(() => true);
  loggedOut.postMessage("");
}
const person = document.body.dataset.user;
if (person) forget((key) => !key.startsWith(`${KEPT}${person}:`));
// A page that says that something was done names the forms whose content is no longer needed.
for (const done of document.querySelectorAll("[data-done]"))
  forget((key) => key.endsWith(`:${done.dataset.done}`));

for (const form of document.querySelectorAll("form[data-keep]")) {
  const key = keyOf(form);
  const opened = contentOf(form);
  const kept = sessionStorage.getItem(key);
  if (kept && kept !== opened) {
    const offer = form.querySelector("[data-offer]");
    if (offer) {
      offer.hidden = false;
      offer.querySelector("[data-restore]").addEventListener("click", () => {
        restore(form, kept);
        offer.hidden = true;
      });
      offer.querySelector("[data-drop]").addEventListener("click", () => {
        sessionStorage.removeItem(key);
        offer.hidden = true;
      });
    }
  }
  form.addEventListener("input", (event) => {
    if (event.isTrusted) sessionStorage.setItem(key, contentOf(form));
  });
}
