// Replaces each element marked data-live by the one of the same id in a fresh copy of the page,
// once a second, while the page is looked at and has any.
"use strict";

const REFRESH_MS = 1000;

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
    else if (!fresh.isEqualNode(stale)) stale.replaceWith(document.adoptNode(fresh));
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
