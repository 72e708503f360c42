// Files of a form marked data-file-form: they can be dropped into it, and one that is too large is
// refused before it is sent. The page may bring such forms later (live.js).
"use strict";

function isTooLong(form) {
  const most = Number(form.dataset.most) || Infinity;
  const files = form.querySelector("input[type=file]").files;
  const found = [...files].some((file) => file.size > most);
  form.querySelector("[data-too-long]").hidden = !found;
  return found;
}

document.addEventListener("change", (event) => {
  const form = event.target.closest("[data-file-form]");
  if (form && event.target.type === "file") isTooLong(form);
});
document.addEventListener(
  "submit",
  (event) => {
    if (!event.target.matches("[data-file-form]") || !isTooLong(event.target)) return;
    event.preventDefault();
    event.stopPropagation();
    event.target.querySelector("input[type=file]").focus();
  },
  true,
);
for (const name of ["dragover", "dragleave", "drop"])
  document.addEventListener(name, (event) => {
    const drop = event.target.closest?.("[data-drop]");
    if (!drop) return;
    event.preventDefault();
    drop.classList.toggle("over", name === "dragover");
    if (name !== "drop" || !event.dataTransfer.files.length) return;
    const input = drop.querySelector("input[type=file]");
    input.files = event.dataTransfer.files;
    input.dispatchEvent(new Event("change", { bubbles: true }));
  });
