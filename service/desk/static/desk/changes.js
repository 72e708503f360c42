// The form of a plan: counts what it is about while it is filled in, and offers clients by name.
"use strict";

const PAUSE_MS = 400;

function later(act) {
  let timer;
  return (...given) => {
    clearTimeout(timer);
    timer = setTimeout(act, PAUSE_MS, ...given);
  };
}

for (const form of document.querySelectorAll("form[data-count]")) {
  const counted = form.querySelector("#counted");
  const button = form.querySelector("[data-without-script]");
  if (!counted) continue;
  button.hidden = true;
  let asked = 0;
  async function count() {
    const turn = ++asked;
    const values = new URLSearchParams(new FormData(form));
    values.delete("csrfmiddlewaretoken");
    for (const [name, value] of [...values]) if (!value) values.delete(name, value);
    try {
      const answer = await fetch(`${form.dataset.count}?${values}`, { credentials: "same-origin" });
      if (!answer.ok || answer.redirected) throw new Error(answer.statusText);
      const { says } = await answer.json();
      if (turn === asked) counted.textContent = says;
    } catch {
      if (turn === asked) counted.textContent = "";
      button.hidden = false;
    }
  }
  form.addEventListener("input", later(count));
  form.addEventListener("change", later(count));
  count();
}

for (const input of document.querySelectorAll("[data-clients]")) {
  const offered = document.getElementById("clients");
  const offer = later(async () => {
    if (input.value.length < 2) return;
    const answer = await fetch(`${input.dataset.clients}?q=${encodeURIComponent(input.value)}`);
    if (!answer.ok || answer.redirected) return;
    const { names } = await answer.json();
    offered.replaceChildren(
      ...names.map((name) => {
        const option = document.createElement("option");
        option.value = name;
        return option;
      }),
    );
  });
  input.addEventListener("input", offer);
}
