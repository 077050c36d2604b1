// Keeps the page true without loading it again. Everything works without this script; with it, the page is alive.
//
// Once per tick, one request asks for those parts of the page that change, as HTML that the server makes with the
// templates of the page; what differs is put in. All that is said about jobs, the server says: it is in that HTML, in
// data-* attributes, or in a <template>.

import { update } from "./merge.js";

const $ = (selector, root = document) => root.querySelector(selector);
const list = $("#jobs"), act = $("#act"), all = act?.elements.all; // null on the page of one job
const addresses = document.body.dataset;
const KEY = "idempotency-key";

function say(selector, text) {
  const node = $(selector);
  if (node.textContent !== text) node.textContent = text;
}

// ---- Asking ----

async function call(url, options = {}, ask = fetch) {
  const asked = ask(url, options).then(async (answer) => [answer, await answer.text()]);
  const [answer, text] = await asked.catch(() => { throw new Error("The server cannot be reached."); });
  const body = /json/.test(answer.headers.get("Content-Type")) ? JSON.parse(text) : text;
  if (answer.ok) return body;
  const message = body.detail || `The server answered ${answer.status} ${answer.statusText}.`;
  throw Object.assign(new Error(message), { status: answer.status, errors: body.errors });
}

const megabytes = (...sizes) => `${sizes.map((size) => (size / 1e6).toFixed(1)).join(" of ")} MB`;

// As fetch, which cannot tell how far an upload is.
const uploading = (bar, sent) => (url, { method, body, headers }) => new Promise((resolve, reject) => {
  const request = new XMLHttpRequest();
  request.open(method, url);
  for (const [name, value] of Object.entries(headers)) request.setRequestHeader(name, value);
  request.upload.onprogress = ({ loaded, total }) => {
    bar.value = loaded / total;
    sent.textContent = loaded < total ? `Uploading: ${megabytes(loaded, total)}` : "Storing …";
  };
  request.onload = () => {
    const type = request.getResponseHeader("Content-Type");
    resolve(new Response(request.response, { status: request.status, headers: { "Content-Type": type } }));
  };
  request.onerror = reject;
  request.send(body);
});

let shown = ""; // the HTML that the page was last brought up to date with
let clicks = 0; // an answer that was asked for before a click is older than the page, and is dropped

const news = () => new Map([...document.querySelectorAll("[data-news]")].map(({ dataset }) => [dataset.id, dataset.news]));

async function tick() {
  const before = clicks, html = await call(addresses.fragment, { signal: AbortSignal.timeout(10000) });
  if (clicks !== before) return tick();
  if (html === shown) return;
  const known = news();
  update(shown = html);
  const changed = [...news()].filter(([id, text]) => known.has(id) && known.get(id) !== text);
  if (changed.length) say("#news", changed.map(([, text]) => text).join(" · "));
  if (act) showChosen();
  document.dispatchEvent(new Event("updated"));
}

// ---- Going on and on ----

let wake = () => {};
const pause = (seconds) => new Promise((resolve) => {
  wake = () => resolve("woken");
  if (seconds) setTimeout(resolve, seconds * 1000);
});

function trouble(message = "", again = "") {
  $("#trouble").hidden = !message;
  say("#trouble [role=alert]", message);
  say("#trouble .again", again);
}

async function run() {
  await pause(1);
  for (let failures = 0; ; ) {
    while (document.hidden) await pause();
    const problem = await tick().catch((error) => error);
    if (problem?.status === 404) return trouble($("[data-gone]").dataset.gone);
    document.body.classList.toggle("stale", Boolean(problem));
    failures = problem ? failures + 1 : 0;
    if (!problem) trouble();
    for (let left = Math.min(2 ** (failures - 1), 10); problem && left > 0; left--) {
      trouble(problem.message, `Trying again in ${left} s.`);
      if (await pause(1)) break;
    }
    if (!problem) await pause(Number($("[data-pause]").dataset.pause));
  }
}

// A page that could not be made, since Redis was away: load it once it can be.
async function retry() {
  for (;;) {
    await pause(3);
    if (!document.hidden && (await fetch(location.href).catch(() => ({}))).ok) location.reload();
  }
}

document.addEventListener("visibilitychange", () => document.hidden || wake());
addEventListener("pageshow", () => wake());
if ($("[data-retry]")) retry();
else if (addresses.fragment) run();

// ---- Launching ----

// A key that was used gives its job again, so a double click gives one. A change of the form makes it another launch.
function renew(form) {
  const random = crypto.getRandomValues(new Uint32Array(4));
  form.elements[KEY].value = Array.from(random, (n) => n.toString(36)).join("");
}

function showErrors(form, errors) {
  for (const field of form.querySelectorAll(".field")) {
    const input = $("[aria-describedby]", field), error = errors.find(({ loc }) => loc.includes(input.name));
    $(".error", field).textContent = error?.msg ?? "";
    if (error) input.setAttribute("aria-invalid", "true"); else input.removeAttribute("aria-invalid");
  }
  $("[aria-invalid]", form)?.focus();
}

async function launch(form) {
  if (form.ariaBusy) return;
  const body = new FormData(form), headers = { "Idempotency-Key": body.get(KEY) }, answer = $(".answer", form);
  const bar = $(".upload", form), sent = $(".sent", form); // not in the answer: screen readers would read it all
  body.delete(KEY);
  body.set("function", form.dataset.function);
  form.ariaBusy = "true";
  if (bar) bar.hidden = sent.hidden = false;
  showErrors(form, []);
  answer.textContent = "";
  try {
    launched(form, await call(addresses.launch, { method: "POST", body, headers }, bar ? uploading(bar, sent) : fetch));
  } catch ({ message, errors }) {
    showErrors(form, errors ?? []);
    answer.textContent = errors ? "" : message;
  }
  form.ariaBusy = null;
  if (bar) bar.hidden = sent.hidden = true;
}

function launched(form, { id }) {
  const address = addresses.job.replace(/ID$/, id);
  if (!list) return location.assign(address);
  const answer = $("#launched").content.cloneNode(true);
  $("a", answer).href = address;
  $(".answer", form).replaceChildren(answer);
  setTimeout(renew, 1000, form);
  look();
}

// ---- Deleting, and acting on many ----

function look() {
  clicks++;
  wake();
}

function sure({ question, note, label }) {
  const dialog = $("#sure");
  say("#sure-question", question);
  say("#sure-note", note);
  say("#sure .danger", label);
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
  });
}

async function remove(form) {
  if (form.dataset.question && !(await sure(form.dataset))) return;
  if (!list) return form.submit();
  const row = form.closest("[data-id]"), next = row.nextElementSibling ?? row.previousElementSibling;
  const focused = row.contains(document.activeElement);
  row.ariaBusy = "true";
  const problem = await call(addresses.delete.replace(/ID$/, row.dataset.id), { method: "DELETE" }).catch((error) => error);
  row.ariaBusy = null;
  if (problem && problem.status !== 404) return trouble(problem.message);
  row.remove();
  if (focused) (next ? $("button", next) : $("#jobs-title")).focus();
  say("#news", form.dataset.done);
  look();
}

const chosen = () => list.querySelectorAll(".pick input:checked");

function showChosen() {
  if (all.checked) for (const box of list.querySelectorAll(".pick input")) box.checked = true;
  for (const button of act.querySelectorAll("button")) button.disabled = !all.checked && !chosen().length;
}

function labelOf({ dataset }) {
  if (all.checked) return dataset.all;
  const number = chosen().length;
  return number === 1 ? dataset.one : dataset.some.replace("{n}", number);
}

async function actOnMany(form, button) {
  const { note } = button.dataset, label = labelOf(button);
  if (!(await sure({ question: `${label}?`, note, label }))) return;
  form.elements.confirmed.value = "1";
  form.requestSubmit(button);
}

// What is done here with a form; others the browser sends as it does without this script.
function actionOf(form) {
  if (form.dataset.done) return remove;
  if (form === act && !form.elements.confirmed.value) return actOnMany;
  if (form.dataset.function && (list || $(".upload", form))) return launch;
  return null;
}

document.addEventListener("submit", (event) => {
  const form = event.target, does = actionOf(form);
  if (!does) return;
  event.preventDefault();
  does(form, event.submitter);
});

if (act) document.addEventListener("change", ({ target }) => {
  if (target === all) for (const box of list.querySelectorAll(".pick input")) box.checked = all.checked;
  else if (target.form === act) all.checked &&= target.checked;
  if (target.form === act) showChosen();
  if (target.matches("#filter select")) target.form.requestSubmit();
});

// ---- Forms ----

// The time of a launch: a person's own here, UTC on the way.
document.addEventListener("formdata", ({ target, formData }) => {
  const at = formData.get("scheduled_at");
  if (at) formData.set("scheduled_at", new Date(at).toISOString());
  else formData.delete("scheduled_at");
  if (target.id === "filter") for (const [name, value] of [...formData]) if (!value) formData.delete(name);
});

for (const input of document.querySelectorAll("[name=scheduled_at]")) {
  const at = new Date(`${input.value}Z`);
  if (input.value) input.value = new Date(at - at.getTimezoneOffset() * 60000).toISOString().slice(0, 16);
  $(".zone", input.parentElement).textContent = `your time (${Intl.DateTimeFormat().resolvedOptions().timeZone})`;
}

document.addEventListener("click", ({ target }) => {
  if (!target.matches(".copy")) return;
  getSelection().selectAllChildren($("pre", target.closest("section")));
  document.execCommand("copy"); // navigator.clipboard is for https only
  target.textContent = target.dataset.done;
});

// The browser's own check of the limits, in its own words, but beside the field.
document.addEventListener("invalid", (event) => {
  event.preventDefault();
  const { form } = event.target, wrong = [...form.querySelectorAll(":invalid")];
  showErrors(form, wrong.map((input) => ({ loc: [input.name], msg: input.validationMessage })));
}, true);

document.addEventListener("change", ({ target }) => { // before it is sent, and refused
  if (target.type !== "file") return;
  const size = [...target.files].reduce((sum, file) => sum + file.size, 0), limit = Number(target.dataset.limit);
  target.setCustomValidity(size > limit ? `Too large: ${megabytes(size, limit)}.` : "");
  if (size <= limit) showErrors(target.form, []);
});

document.addEventListener("input", ({ target: { form } }) => form?.dataset.function && renew(form));
addEventListener("pageshow", () => {
  for (const form of document.forms) {
    if (form.elements[KEY]) renew(form);
    if (form === act) form.elements.confirmed.value = "";
  }
  if (act) showChosen();
});
document.documentElement.classList.add("js");
$("[data-goes-on]")?.requestSubmit();

export { $, call };
