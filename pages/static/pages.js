// What the pages need beyond htmx: the API key of this tab, and a message when no answer comes.
"use strict";

const STORED = "api-key";
const page = document.documentElement;
const byId = (id) => document.getElementById(id);

page.addEventListener("htmx:configRequest", (event) => {
  const key = sessionStorage.getItem(STORED);
  if (key) event.detail.headers.Authorization = `Bearer ${key}`;
});

// A service with keys sends an empty page first. This asks for it again with the key of this tab.
function askWithKey() {
  const wanted = document.querySelector("[data-wants-key]");
  if (wanted && sessionStorage.getItem(STORED)) {
    htmx.ajax("GET", wanted.dataset.wantsKey, { target: "#main", select: "#main", selectOOB: "#caller", swap: "outerHTML" });
  }
}

page.addEventListener("submit", (event) => {
  if (event.target.id !== "key-form") return;
  event.preventDefault();
  sessionStorage.setItem(STORED, byId("key").value.trim());
  askWithKey();
});

page.addEventListener("click", (event) => {
  if (!event.target.closest("[data-forget-key]")) return;
  sessionStorage.removeItem(STORED);
  location.reload();
});

// When the service is away the page keeps what it shows, and asks again. It says so from the second
// failure on: a busy service may refuse once.
let unanswered = 0;

// Asks for a new key when the old one is no longer good.
page.addEventListener("htmx:beforeSwap", (event) => {
  const { status } = event.detail.xhr;
  const live = event.target.closest("[data-live]") === event.target;
  if (live && status >= 400) event.detail.shouldSwap = false;
  if (status !== 401) return;
  sessionStorage.removeItem(STORED);
  if (live) location.reload();
});

page.addEventListener("htmx:afterRequest", (event) => {
  const { elt, xhr } = event.detail;
  if ("live" in elt.dataset) {
    unanswered = xhr.status > 0 && xhr.status < 400 ? 0 : unanswered + 1;
    byId("away").hidden = unanswered < 2;
  }
  const lost = byId("lost");
  if (lost && elt.matches("form")) lost.hidden = xhr.status !== 0;
});

// New content may lack the element that had the focus: then the new content gets it.
let focused = null;
page.addEventListener("focusin", ({ target }) => { focused = target; });

page.addEventListener("htmx:afterSettle", ({ target }) => {
  if (document.activeElement !== document.body) return;
  if (target.id === "problem") target.focus();
  else if (focused && !focused.isConnected) {
    (document.querySelector("[aria-invalid]") ?? byId("main")).focus({ preventScroll: target.id !== "main" });
  }
});

// Commands can be copied by a button where the browser has a clipboard: not on plain HTTP, but for localhost.
for (const button of document.querySelectorAll("[data-copy]")) button.hidden = !navigator.clipboard;

page.addEventListener("click", (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  const command = button.parentElement.querySelector("code");
  navigator.clipboard.writeText(command.textContent).then(
    () => {
      button.firstChild.data = "Copied";
      byId("said").textContent = button.textContent;
    },
    () => getSelection().selectAllChildren(command),
  );
});

// The form of a page that the browser has kept was sent already.
addEventListener("pageshow", (event) => event.persisted && location.reload());
askWithKey();
