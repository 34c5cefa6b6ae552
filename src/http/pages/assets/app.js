// Copy buttons, and a word when the numbers of a page cannot refresh themselves. Everything else works without scripts.
(() => {
  "use strict";

  for (const button of document.querySelectorAll("[data-copy]")) {
    button.hidden = false;
    button.addEventListener("click", async () => {
      const what = document.querySelector(button.dataset.copy);
      const said = document.querySelector(button.dataset.said);
      try {
        await navigator.clipboard.writeText(what.textContent.trim());
        said.textContent = "Copied";
      } catch {
        // Without the right to the clipboard: select it, so that one key copies it.
        const range = document.createRange();
        range.selectNodeContents(what);
        const selection = window.getSelection();
        selection.removeAllRanges();
        selection.addRange(range);
        said.textContent = "Selected: copy it with Ctrl-C";
      }
      setTimeout(() => { said.textContent = ""; }, 4000);
    });
  }

  const stale = document.getElementById("stale");
  if (stale) {
    const show = (hidden) => () => { stale.hidden = hidden; };
    document.body.addEventListener("htmx:responseError", show(false));
    document.body.addEventListener("htmx:sendError", show(false));
    document.body.addEventListener("htmx:timeout", show(false));
    document.body.addEventListener("htmx:afterSwap", show(true));
  }

  // What refreshes itself leaves its readers where they are: the table of days open, tables scrolled sideways, the focus.
  const REACHED_BY_KEYS = "#live a, #live button, #live input, #live select, #live summary, #live [tabindex]";
  let open = false;
  let scrolled = [];
  let focused = -1;
  document.body.addEventListener("htmx:beforeSwap", () => {
    open = Boolean(document.querySelector("#live details[open]"));
    scrolled = [...document.querySelectorAll("#live .scroll")].map((box) => box.scrollLeft);
    focused = [...document.querySelectorAll(REACHED_BY_KEYS)].indexOf(document.activeElement);
  });
  document.body.addEventListener("htmx:afterSwap", () => {
    const details = document.querySelector("#live details");
    if (details && open) details.open = true;
    document.querySelectorAll("#live .scroll").forEach((box, n) => { box.scrollLeft = scrolled[n] ?? 0; });
    if (focused >= 0) document.querySelectorAll(REACHED_BY_KEYS)[focused]?.focus({ preventScroll: true });
  });
})();
