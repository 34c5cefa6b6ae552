// Fills the forms of the wallet page from a wallet extension, and sends them. Without it people paste.
(() => {
  "use strict";

  const ask = document.getElementById("wallet-ask");
  const sign = document.getElementById("wallet-sign");
  const form = ask ?? sign;
  if (!form) return;
  const room = form.querySelector("[data-extensions]");
  const error = form.querySelector("[data-extension-error]");
  const known = new Set();

  const hex = (text) => "0x" + [...new TextEncoder().encode(text)].map((byte) => byte.toString(16).padStart(2, "0")).join("");

  // The field whose value the extension gives.
  const fill = async (provider) => {
    const accounts = await provider.request({ method: "eth_requestAccounts" });
    if (ask) {
      ask.elements.address.value = accounts[0];
    } else {
      const message = sign.elements.message.value;
      const address = sign.dataset.address;
      sign.elements.signature.value = await provider.request({ method: "personal_sign", params: [hex(message), address] });
    }
    form.requestSubmit();
  };

  const offer = (provider, name) => {
    if (known.has(provider)) return;
    known.add(provider);
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = name ? `${room.dataset.extensions}: ${name}` : room.dataset.extensions;
    button.addEventListener("click", async () => {
      error.hidden = true;
      button.disabled = true;
      try {
        await fill(provider);
      } catch (refused) {
        // 4001: the person said no.
        error.textContent = refused?.code === 4001
          ? "You declined in the wallet. Nothing was sent."
          : `The wallet extension reported: ${refused?.message ?? refused}`;
        error.hidden = false;
      } finally {
        button.disabled = false;
      }
    });
    room.querySelector("p").append(button);
    room.hidden = false;
  };

  // EIP-6963: extensions announce themselves when asked; older ones are only at window.ethereum.
  window.addEventListener("eip6963:announceProvider", ({ detail }) => {
    if (detail?.provider) offer(detail.provider, detail.info?.name);
  });
  window.dispatchEvent(new Event("eip6963:requestProvider"));
  if (known.size === 0 && window.ethereum) offer(window.ethereum, "");
})();
