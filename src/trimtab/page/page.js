/* What the page does by itself: light or dark, copying, and the address. Nothing here asks another machine. */
(() => {
  const KEY = "trimtab-theme";
  const dark = () => document.body.classList.contains("dark");
  const apply = (theme) => document.body.classList.toggle("dark", theme === "dark");
  const name = () => {
    for (const button of document.querySelectorAll("[data-theme]")) {
      button.textContent = dark() ? "Light" : "Dark";
      button.setAttribute("aria-label", dark() ? "Switch to light colours" : "Switch to dark colours");
    }
  };
  const begin = () => {
    let kept = null;
    try { kept = localStorage.getItem(KEY); } catch { /* no storage: the system's colours */ }
    if (kept) apply(kept);
    new MutationObserver(name).observe(document.body, {attributes: true, attributeFilter: ["class"]});
  };
  const copy = async (text) => {
    try { await navigator.clipboard.writeText(text); return true; } catch { /* not allowed: the old way */ }
    const area = document.createElement("textarea");
    area.value = text;
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    return done;
  };
  const say = (button, text) => {
    const before = button.textContent;
    button.textContent = text;
    setTimeout(() => { button.textContent = before; }, 1500);
  };
  document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-theme],[data-copy],[data-copy-address]");
    if (!button) return;
    if (button.hasAttribute("data-theme")) {
      const theme = dark() ? "light" : "dark";
      apply(theme);
      try { localStorage.setItem(KEY, theme); } catch { /* it holds until the page is left */ }
      name();
    } else if (button.hasAttribute("data-copy")) {
      const done = await copy(button.closest(".tt-code").querySelector("code").textContent);
      say(button, done ? "Copied" : "Select it");
    } else {
      say(button, (await copy(location.href)) ? "Link copied" : "Copy the address above");
    }
  });
  window.trimtabAddress = (state) => {
    const url = new URL(location.href);
    const theme = url.searchParams.get("__theme");
    url.search = state || "";
    if (theme) url.searchParams.set("__theme", theme);
    history.replaceState(null, "", url);
  };
  // The first tab is selected before the one that the address names.
  let awaited = new URL(location.href).searchParams.get("tab");
  window.trimtabTab = (name) => {
    if (!name || (awaited && name === "ask")) return;
    awaited = null;
    const url = new URL(location.href);
    if (name === "ask") url.searchParams.delete("tab"); else url.searchParams.set("tab", name);
    history.replaceState(null, "", url);
  };
  if (document.body) begin(); else document.addEventListener("DOMContentLoaded", begin);
  setInterval(() => { if (document.querySelector("[data-theme]:empty")) name(); }, 300);
})();
