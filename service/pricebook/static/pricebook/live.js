// Replaces each element marked data-live by the one of the same id in a fresh copy of the page,
// once a second, while the page is looked at and has any.
//
// A screen reader would be told of every row that is done. So nothing in these elements is a live
// region: where a text marked data-say has become another, that is said once, politely.
"use strict";

const REFRESH_MS = 1000;
const CONTROLS = "a, button, summary, input, select";

const announcer = document.createElement("div");
announcer.className = "announced";
announcer.setAttribute("aria-live", "polite");
document.body.append(announcer);

const textOf = (element) => element.textContent.trim().replace(/\s+/g, " ");

// Each marked text, by its name; a part with one alone has it without a name.
const statesOf = (part) =>
  new Map([...part.querySelectorAll("[data-say]")].map((each) => [each.dataset.say, textOf(each)]));

function announce(before, after) {
  const news = [...after].filter(([name, state]) => before.get(name) !== state);
  if (news.length) announcer.textContent = news.map((each) => each.filter(Boolean).join(": ")).join(". ");
}

// The focus stays at the control that it was at, else at the content: not at the page's beginning.
function controlLike(held, part) {
  const like = (each) => each.tagName === held.tagName && each.href === held.href && textOf(each) === textOf(held);
  return [...part.querySelectorAll(CONTROLS)].find(like) ?? document.querySelector("main");
}

function renew(stale, fresh) {
  const held = stale.contains(document.activeElement) ? document.activeElement : null;
  const opened = [...stale.querySelectorAll("details")].map((each) => each.open);
  fresh.querySelectorAll("details").forEach((each, at) => (each.open ||= opened[at] ?? false));
  stale.replaceWith(document.adoptNode(fresh));
  if (held) controlLike(held, fresh)?.focus({ preventScroll: true });
  announce(statesOf(stale), statesOf(fresh));
}

async function refresh() {
  const answer = await fetch(location.href, {
    credentials: "same-origin",
    headers: { "Pricebook-Live": "1" }, // it keeps nobody logged in: see kit/idle.py
  });
  if (!answer.ok || answer.redirected) return;
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  for (const stale of document.querySelectorAll("[data-live]")) {
    const fresh = page.getElementById(stale.id);
    if (!fresh) stale.removeAttribute("data-live");
    // A part that has not changed stays, with the focus in it.
    else if (!fresh.isEqualNode(stale)) renew(stale, fresh);
  }
}

async function live() {
  if (!document.querySelector("[data-live]")) return;
  if (!document.hidden) {
    try {
      await refresh();
    } catch {
      // The server is being started again; ask later.
    }
  }
  setTimeout(live, REFRESH_MS);
}

setTimeout(live, REFRESH_MS);
