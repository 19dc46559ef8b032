// What the pages need beyond htmx: the API key of this tab, and word of an answer that did not come.
"use strict";

const STORED = "api-key";
const page = document.documentElement;
const byId = (id) => document.getElementById(id);

page.addEventListener("htmx:configRequest", (event) => {
  const key = sessionStorage.getItem(STORED);
  if (key) event.detail.headers.Authorization = `Bearer ${key}`;
});

// A page of a service with keys comes empty; with the key of this tab it is asked for again.
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

// What is shown stays when the service is away; it is asked again. The page says so from the second
// time on: a service that is busy may put it off once.
let unanswered = 0;

// A key that is good no more is asked for again.
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

// What had the focus may be gone from what has taken its place: reading goes on with that.
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

// A page that the browser has kept has a form that was sent already.
addEventListener("pageshow", (event) => event.persisted && location.reload());
askWithKey();
