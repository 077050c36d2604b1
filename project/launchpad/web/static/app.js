// Keeps the page true without loading it again. Everything works without this script; with it, the page is alive.
//
// Once per tick, one request asks for all jobs that the page shows; where the counts of all jobs have changed since, a
// second one asks for the list itself. Texts of jobs only ever become textContent.

const $ = (selector, root = document) => root.querySelector(selector);
const list = $("#jobs"), act = $("#act"), all = act?.elements.all; // null on the page of one job
const shown = () => [...document.querySelectorAll("[data-id]")];
const KEY = "idempotency-key";

// ---- Words: those of pages.py, which says everything first ----

const number = (n) => n.toLocaleString("en-US", { maximumFractionDigits: 3 });
const scale = ({ unit = "it" }) => // bytes are shown as megabytes
  (["B", "byte", "bytes"].includes(unit.trim()) ? [1e6, " MB"] : [1, unit.trim() === "it" ? "" : ` ${unit.trim()}`]);
const fixed = (n, digits) => n.toLocaleString("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits });

function done(progress) {
  const [size, unit] = scale(progress), text = (n) => (size === 1 ? number(n) : fixed(n / size, 1));
  const { done, total } = progress;
  return (total ? `${text(done)} of ${text(total)}` : text(done)) + (size === 1 ? "" : unit);
}

const joined = (...parts) => parts.filter(Boolean).join(" · ");

// JSON on one line, spaced as Python does it. A line break inside a text is written \n and is not touched.
const json = (value) =>
  JSON.stringify(value, null, 1).replace(/([[{])\n\s*/g, "$1").replace(/\n\s*([\]}])/g, "$1").replace(/\n\s*/g, " ");

const names = (value) => (Array.isArray(value) ? value.map(names) : value?.name ?? value); // of files
const words = (args) => Object.entries(args).map(([name, value]) => `${name}=${json(names(value))}`).join(", ");

function duration(seconds) {
  const s = Math.floor(seconds), two = (n) => String(n % 60).padStart(2, "0");
  if (s < 60) return s < 10 && s !== seconds ? `${seconds.toFixed(s ? 1 : 2)} s` : `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${two(s)} s`;
  if (s < 86400) return `${Math.floor(s / 3600)} h ${two(Math.floor(s / 60))} min`;
  return `${Math.floor(s / 86400)} d ${Math.floor(s / 3600) % 24} h`;
}

const clock = (time) => `${time.slice(0, 19).replace("T", " ")} UTC`;

function ago(time) {
  const seconds = Math.floor((now() - Date.parse(time)) / 1000);
  return seconds < 5 ? "just now" : `${duration(seconds).split(" ", 2).join(" ")} ago`;
}

function took({ state, started_at, ended_at }) {
  if (!started_at || !(ended_at || state === "started")) return "";
  const seconds = ((ended_at ? Date.parse(ended_at) : now()) - Date.parse(started_at)) / 1000;
  return duration(ended_at ? seconds : Math.max(Math.floor(seconds), 0));
}

function starts(starts_at) {
  if (!starts_at) return "";
  const seconds = (Date.parse(starts_at) - now()) / 1000;
  if (seconds <= 1) return "starts any moment";
  const [size, unit] = [[86400, "d"], [3600, "h"], [60, "min"]].find(([s]) => seconds >= 1.5 * s) ?? [1, "s"];
  const step = seconds / size > 10 ? 5 : 1;
  return `starts in about ${Math.round(seconds / size / step) * step} ${unit}`;
}

function outcome({ state, position, scheduled_at, starts_at, result, error }) {
  if (state === "queued") return position ? joined(`Number ${position} in the queue`, starts(starts_at)) : "About to start";
  if (state === "scheduled" && scheduled_at) return `Starts ${clock(scheduled_at)}`;
  if (state === "finished" && result) return brief(result) + (result.more?.length ? ` and ${result.more.length} more` : "");
  return error?.cause ?? { scheduled: "Waits for its time", deferred: "Waits for another job" }[state] ?? "";
}

function brief({ type, count, value, preview, file }) {
  if (type === "table") return `A table of ${number(count)} row${count === 1 ? "" : "s"}`;
  const text = preview ?? (typeof value === "string" ? value : file?.name);
  return (text ?? (value === null ? "No result" : json(value))).slice(0, 300);
}

function detail(progress) {
  if (!progress) return "Working; no progress reported";
  const { message, eta } = progress, [size, unit] = scale(progress), rate = progress.rate / size;
  const speed = rate >= 0.05 && `${fixed(rate, rate >= 10 ? 0 : 1)}${unit}/s`;
  return joined(message, done(progress), speed, eta && `${duration(Math.floor(eta))} left`);
}

function note({ state, progress, attempt }) {
  const halted = progress && ["failed", "stopped"].includes(state);
  return joined(halted && `at ${done(progress)}`, attempt > 1 && `attempt ${attempt}`);
}

const workers = ({ total, busy }) => (total ? `${total} worker${total === 1 ? "" : "s"}, ${busy} busy` : "No worker");

// ---- Filling a row of the list, or the page of one job ----

function say(root, selector, text) {
  const node = $(selector, root);
  if (!node || node.textContent === text) return; // what does not change can stay selected
  node.textContent = text;
}

function fillBar(bar, progress) {
  const percent = progress?.percent ?? null;
  if (percent === null) $("progress", bar).removeAttribute("value");
  else $("progress", bar).value = percent;
  say(bar, ".percent", percent === null ? "" : `${Math.floor(percent)}%`);
  say(bar, ".detail", detail(progress));
}

function fill(row, job) {
  const running = job.state === "started";
  if (row.dataset.state !== job.state) {
    row.dataset.state = job.state;
    const use = $("use", row);
    use.setAttribute("href", use.getAttribute("href").replace(/#.*/, `#${job.state}`));
    say(row, ".state", job.state);
  }
  $(".progress", row).hidden = !running;
  $(".outcome", row).hidden = running;
  if (running) fillBar($(".progress", row), job.progress);
  say(row, ".outcome", $(".outcome", row).title = outcome(job));
  say(row, ".note", note(job));
  say(row, ".took", took(job));
  say(row, ".age", ago(job.created_at));
}

const copy = (template) => $(template).content.firstElementChild.cloneNode(true);

function make(job) {
  const row = copy("#row");
  row.dataset.id = job.id;
  for (const [selector, name] of [["a", "href"], ["form", "action"]]) {
    const node = $(selector, row);
    node.setAttribute(name, node.getAttribute(name).replace("/ID", `/${job.id}`));
  }
  $(".name", row).textContent = job.function;
  $(".arguments", row).textContent = $(".arguments", row).title = words(job.arguments);
  $("progress", row).ariaLabel = `Progress of ${job.function}`;
  $("button", row).ariaLabel = `Delete ${job.function}`;
  $(".pick input", row).ariaLabel = `Select ${job.function}`;
  $(".pick input", row).value = job.id;
  $(".pick input", row).checked = all.checked;
  $(".age", row).dateTime = job.created_at;
  $(".age", row).title = clock(job.created_at);
  row.classList.add("new");
  fill(row, job);
  return row;
}

function show(listing) {
  const old = new Map(shown().map((row) => [row.dataset.id, row]));
  const rows = listing.jobs.map((job) => {
    const row = old.get(job.id);
    old.delete(job.id);
    if (row) fill(row, job);
    return row ?? make(job);
  });
  old.forEach((row) => row.remove()); // first: then the rows that stay need not move, and keep focus and selection
  let at = list.firstElementChild;
  for (const row of rows) if (row === at) at = at.nextElementSibling; else list.insertBefore(row, at);
  showChosen();
}

const chosen = () => [...list.querySelectorAll(".pick input:checked")];
const jobs = (n) => `${n.toLocaleString("en-US")} job${n === 1 ? "" : "s"}`;

function showChosen() {
  for (const button of act.querySelectorAll("button")) button.disabled = !all.checked && !chosen().length;
}

function showPage({ page, pages, total, counts: those }) {
  counts = JSON.stringify(those);
  list.dataset.total = total;
  say(document, "#total", jobs(total));
  list.dataset.page = Math.min(page, pages); // the last page may have gone
  $(".pager").hidden = pages === 1;
  say(document, "#pages", `Page ${page} of ${pages}`);
  $("[rel=prev]").hidden = page === 1;
  $("[rel=next]").hidden = page >= pages;
}

function showAround({ counts, workers: { total, busy } }) {
  say(document, "#workers", workers({ total, busy }));
  $("#workers").dataset.workers = total;
  $("#no-worker").hidden = total > 0;
  const every = Object.values(counts).reduce((a, b) => a + b, 0);
  for (const tab of document.querySelectorAll("[data-tab]")) {
    tab.dataset.count = tab.dataset.tab ? counts[tab.dataset.tab] : every;
    say(tab, ".count", tab.dataset.count);
  }
}

// ---- Asking ----

let ahead = 0; // milliseconds that the server's clock is ahead of ours
const now = () => Date.now() + ahead;

async function call(url, options = {}, ask = fetch) {
  const headers = { Accept: "application/json", ...options.headers };
  const asked = ask(url, { ...options, headers }).then(async (answer) => [answer, await answer.text()]);
  const [answer, text] = await asked.catch(() => { throw new Error("The server cannot be reached."); });
  const off = Date.parse(answer.headers.get("Date")) - Date.now();
  if (Math.abs(off - ahead) > 2000) ahead = off; // the header knows no parts of a second
  const body = /json/.test(answer.headers.get("Content-Type")) ? JSON.parse(text) : text;
  if (answer.ok) return body;
  const message = body.detail || `The server answered ${answer.status} ${answer.statusText}.`;
  throw Object.assign(new Error(message), { status: answer.status, errors: body.errors });
}

// As fetch, which cannot tell how far an upload is.
const uploading = (bar, sent) => (url, { method, body, headers }) => new Promise((resolve, reject) => {
  const request = new XMLHttpRequest();
  request.open(method, url);
  for (const [name, value] of Object.entries(headers)) request.setRequestHeader(name, value);
  request.upload.onprogress = ({ loaded, total }) => {
    bar.value = loaded / total;
    sent.textContent = loaded < total ? `Uploading: ${done({ done: loaded, total, unit: "B" })}` : "Storing …";
  };
  request.onload = () => {
    const [type, date] = ["Content-Type", "Date"].map((name) => request.getResponseHeader(name));
    resolve(new Response(request.response, { status: request.status, headers: { "Content-Type": type, Date: date } }));
  };
  request.onerror = reject;
  request.send(body);
});

const get = (query) => call(`/api/jobs?${new URLSearchParams(query)}`, { signal: AbortSignal.timeout(10000) });

let counts = ""; // of all jobs by state, as JSON, when the list was asked for
let clicks = 0; // an answer that was asked for before a click is older than the page, and is dropped

async function tick() {
  const before = clicks, rows = shown(), states = new Map(rows.map(({ dataset: { id, state } }) => [id, state]));
  const { filter: state, function: name, q, page } = list?.dataset ?? {};
  const ids = [...states.keys()].map((id) => ["id", id]);
  let listing = rows.length ? await get(name ? [["function", name], ...ids] : ids) : null;
  if (!list) return showOne(rows[0], listing);
  if (listing?.jobs.length !== rows.length || JSON.stringify(listing.counts) !== counts) {
    listing = await get({ state, function: name, q, page });
    if (clicks === before) showPage(listing);
  }
  if (clicks !== before) return tick();
  show(listing);
  showAround(listing);
  const changed = listing.jobs.filter(({ id, state }) => states.has(id) && states.get(id) !== state);
  if (changed.length) $("#news").textContent = joined(...changed.map((job) => `${job.function} ${job.state}`));
}

async function showOne(page, listing) {
  const [job] = listing.jobs, { state, attempt } = page.dataset;
  if (!job) {
    trouble("This job is no longer there.");
    return new Promise(() => {}); // nothing more to ask for
  }
  if (state !== job.state || attempt !== String(job.attempt)) {
    const fresh = new DOMParser().parseFromString(await call(location.href), "text/html");
    for (const id of ["#actions", "#outcome", "#facts"]) $(id).replaceWith($(id, fresh));
    document.dispatchEvent(new Event("fresh"));
    page.dataset.attempt = job.attempt;
    $("#news").textContent = `${job.function} ${job.state}`;
  }
  fill(page, job);
  say(page, ".position", outcome(job));
  const inner = job.progress?.inner ?? [], bars = $("#inner");
  bars.hidden = job.state !== "started";
  while (bars.children.length > inner.length) bars.lastElementChild.remove();
  while (bars.children.length < inner.length) bars.append(copy("#bar"));
  inner.forEach((progress, i) => fillBar(bars.children[i], progress));
  showAround(listing);
}

// ---- Going on and on ----

let wake = () => {};
const pause = (seconds) => new Promise((resolve) => {
  wake = () => resolve("woken");
  if (seconds) setTimeout(resolve, seconds * 1000);
});
const active = () => shown().some((row) => ["queued", "scheduled", "started"].includes(row.dataset.state));

function trouble(message = "", again = "") {
  $("#trouble").hidden = !message;
  say(document, "#trouble [role=alert]", message);
  say(document, "#trouble .again", again);
}

async function run() {
  await pause(1);
  for (let failures = 0; ; ) {
    while (document.hidden) await pause();
    const problem = await tick().catch((error) => error);
    document.body.classList.toggle("stale", Boolean(problem));
    failures = problem ? failures + 1 : 0;
    if (!problem) trouble();
    for (let left = Math.min(2 ** (failures - 1), 10); problem && left > 0; left--) {
      trouble(problem.message, `Trying again in ${left} s.`);
      if (await pause(1)) break;
    }
    if (!problem) await pause(active() ? 1 : 5);
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
else if (list || shown().length) run();

// ---- What a person does ----

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
    launched(form, await call("/api/jobs", { method: "POST", body, headers }, bar ? uploading(bar, sent) : fetch));
  } catch ({ message, errors }) {
    showErrors(form, errors ?? []);
    answer.textContent = errors ? "" : message;
  }
  form.ariaBusy = null;
  if (bar) bar.hidden = sent.hidden = true;
}

function launched(form, job) {
  if (!list) return location.assign(`/jobs/${job.id}`);
  const link = Object.assign(document.createElement("a"), { href: `/jobs/${job.id}`, textContent: "Show" });
  $(".answer", form).replaceChildren("Launched. ", link);
  const { filter, function: name, q, page } = list.dataset;
  const belongs = page === "1" && !q && (!filter || filter === job.state) && (!name || name === job.function);
  if (belongs && !shown().some((row) => row.dataset.id === job.id)) list.prepend(make(job));
  setTimeout(renew, 1000, form);
  clicks++;
  wake();
}

function sure(question, note, label) {
  const dialog = $("#sure");
  $("#sure-question").textContent = question;
  $("#sure-note").textContent = note;
  $(".danger", dialog).textContent = label;
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
  });
}

async function remove(form) {
  const row = form.closest("[data-id]"), next = row.nextElementSibling ?? row.previousElementSibling;
  if (row.dataset.state === "started" && !(await sure("Delete this job?", "It is running, and is stopped first.", "Stop and delete"))) return;
  if (!list) return form.submit();
  row.ariaBusy = "true";
  const problem = await call(`/api/jobs/${row.dataset.id}`, { method: "DELETE" }).catch((error) => error);
  row.ariaBusy = null;
  if (problem && problem.status !== 404) return trouble(problem.message);
  const focused = row.contains(document.activeElement);
  row.remove();
  if (focused) (next ? $("button", next) : $("#jobs-title")).focus();
  $("#news").textContent = "Deleted";
  clicks++;
  wake();
}

async function actOnMany(form, button) {
  const action = button.textContent, number = jobs(all.checked ? Number(list.dataset.total) : chosen().length);
  if (!(await sure(`${action} ${number}?`, button.dataset.note, `${action} ${number}`))) return;
  form.elements.confirmed.value = "1";
  form.requestSubmit(button);
}

document.addEventListener("submit", (event) => {
  const form = event.target;
  const asks = form === act && !form.elements.confirmed.value;
  const does = form.dataset.action === "delete" ? remove : asks ? actOnMany : form.dataset.function && (list || $(".upload", form)) ? launch : null;
  if (!does) return;
  event.preventDefault();
  does(form, event.submitter);
});

if (act) document.addEventListener("change", ({ target }) => {
  if (target === all) list.querySelectorAll(".pick input").forEach((box) => { box.checked = all.checked; });
  else if (target.form === act) all.checked &&= target.checked;
  if (target.form === act) showChosen();
  if (target.matches("#filter select")) target.form.requestSubmit();
});

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
  target.textContent = "Copied";
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
  target.setCustomValidity(size > limit ? `Too large: ${done({ done: size, total: limit, unit: "B" })}.` : "");
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
