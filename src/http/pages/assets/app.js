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

  // What refreshes itself keeps the tables of days open that somebody has opened.
  let open = false;
  document.body.addEventListener("htmx:beforeSwap", () => {
    open = Boolean(document.querySelector("#live details[open]"));
  });
  document.body.addEventListener("htmx:afterSwap", () => {
    const details = document.querySelector("#live details");
    if (details && open) details.open = true;
  });
})();
