// What the pages need beyond htmx: the API key of this tab, a message when no answer comes, and a
// form that books once.
"use strict";

const STORED = "api-key";
const SENT = "sent-form";
const page = document.documentElement;
const byId = (id) => document.getElementById(id);

// A proxy may answer for the service, with any status. No such answer has this header.
const answered = (xhr) => xhr.getResponseHeader("Answered-By") === "trip-booking";

let sentBefore = null;

page.addEventListener("htmx:configRequest", ({ detail: { elt, headers } }) => {
  const key = sessionStorage.getItem(STORED);
  if (key) headers.Authorization = `Bearer ${key}`;
  if (elt.id !== "booking") return;
  sentBefore = sessionStorage.getItem(SENT);
  sessionStorage.setItem(SENT, JSON.stringify(Object.fromEntries(new FormData(elt))));
});

// Shows only what the service has answered. The tab keeps the form that was sent, and its key, until
// the service says that the trip is booked, or that the fields are bad: which says nothing of a try before.
page.addEventListener("htmx:beforeOnLoad", (event) => {
  const { elt, xhr } = event.detail;
  if (!answered(xhr)) event.preventDefault();
  else if (elt.id === "booking" && xhr.status === 400 && sentBefore) sessionStorage.setItem(SENT, sentBefore);
  else if (elt.id === "booking" && [200, 400, 422].includes(xhr.status)) sessionStorage.removeItem(SENT);
});

function fillInWhatWasSent() {
  const sent = JSON.parse(sessionStorage.getItem(SENT));
  const form = byId("booking");
  if (!sent || !form) return;
  for (const field of form.elements) if (field.name in sent) field.value = sent[field.name];
  byId("lost").hidden = false;
}

// A service with keys sends an empty page first. This asks for it again with the key of this tab.
function askWithKey() {
  const wanted = document.querySelector("[data-wants-key]");
  if (wanted && sessionStorage.getItem(STORED)) {
    htmx.ajax("GET", wanted.dataset.wantsKey, { target: "#main", select: "#main", selectOOB: "#caller", swap: "outerHTML" })
      .then(fillInWhatWasSent);
  }
}

page.addEventListener("submit", (event) => {
  if (event.target.id !== "key-form") return;
  event.preventDefault();
  sessionStorage.setItem(STORED, byId("key").value.trim());
  askWithKey();
});

// The key goes, and with it the cookie by which the Web UI decodes.
page.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-forget-key]");
  if (!button) return;
  sessionStorage.clear();
  const cookie = button.dataset.forgetKey;
  const gone = !cookie || await fetch(cookie, { method: "DELETE" }).then(({ ok }) => ok, () => false);
  if (gone) location.reload();
  else byId("lost").hidden = false;
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
    unanswered = answered(xhr) && xhr.status < 400 ? 0 : unanswered + 1;
    byId("away").hidden = unanswered < 2;
  } else byId("lost").hidden = answered(xhr);
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
fillInWhatWasSent();
askWithKey();
