// Gives each completion of a form the name that its label gives the field that it stands for.
"use strict";

django.jQuery(() => {
  for (const label of document.querySelectorAll("label[for]")) {
    const shown = document.getElementById(`select2-${label.htmlFor}-container`);
    if (shown) shown.setAttribute("aria-label", label.textContent.trim());
  }
});
