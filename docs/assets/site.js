// What the theme leaves out for keyboards and screen readers: names, and tables that can be scrolled.
window.addEventListener("load", () => setTimeout(() => {
  document.querySelectorAll(".md-search[role=dialog]").forEach((it) => it.setAttribute("aria-label", "Search"))
  document.querySelectorAll(".md-typeset__scrollwrap").forEach((it) => it.setAttribute("tabindex", "0"))
  document.querySelectorAll(".md-code__nav").forEach((it, n) => it.setAttribute("aria-label", `Code ${n + 1}`))
}))
