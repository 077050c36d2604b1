// Keeps the page true without loading it again. Everything works without this script; with it, the page is alive.
//
// Once per tick, one request asks for all jobs that the page shows; where the counts of all jobs have changed since, a
// second one asks for the list itself. Texts of jobs only ever become textContent.

const $ = (selector, root = document) => root.querySelector(selector);
const list = $("#jobs"); // null on the page of one job
const shown = () => [...document.querySelectorAll("[data-id]")];
const KEY = "idempotency-key";

// ---- Words: those of pages.py, which says everything first ----

const number = (n) => n.toLocaleString("en-US", { maximumFractionDigits: 3 });
const done = ({ done, total }) => (total ? `${number(done)} of ${number(total)}` : number(done));
const joined = (...parts) => parts.filter(Boolean).join(" · ");

// JSON on one line, spaced as Python does it. A line break inside a text is written \n and is not touched.
const json = (value) =>
  JSON.stringify(value, null, 1).replace(/([[{])\n\s*/g, "$1").replace(/\n\s*([\]}])/g, "$1").replace(/\n\s*/g, " ");

const words = (args) => Object.entries(args).map(([name, value]) => `${name}=${json(value)}`).join(", ");

function duration(seconds) {
  const s = Math.floor(seconds), two = (n) => String(n % 60).padStart(2, "0");
  if (s < 60) return s < 10 && s !== seconds ? `${seconds.toFixed(s ? 1 : 2)} s` : `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${two(s)} s`;
  if (s < 86400) return `${Math.floor(s / 3600)} h ${two(Math.floor(s / 60))} min`;
  return `${Math.floor(s / 86400)} d ${Math.floor(s / 3600) % 24} h`;
}

function ago(time) {
  const seconds = Math.floor((now() - Date.parse(time)) / 1000);
  return seconds < 5 ? "just now" : `${duration(seconds).split(" ", 2).join(" ")} ago`;
}

function took({ state, started_at, ended_at }) {
  if (!started_at || !(ended_at || state === "started")) return "";
  const seconds = ((ended_at ? Date.parse(ended_at) : now()) - Date.parse(started_at)) / 1000;
  return duration(ended_at ? seconds : Math.max(Math.floor(seconds), 0));
}

function outcome({ state, position, result, error }) {
  if (state === "queued") return position ? `Number ${position} in the queue` : "About to start";
  if (state === "finished" && result) {
    const { value } = result;
    return value === null ? "No result" : (typeof value === "string" ? value : json(value)).slice(0, 300);
  }
  return error?.cause ?? { scheduled: "Waits for its time", deferred: "Waits for another job" }[state] ?? "";
}

function detail(progress) {
  if (!progress) return "Working; no progress reported";
  const { message, rate, eta } = progress;
  const speed = rate >= 10 ? number(Math.round(rate)) : rate?.toFixed(1);
  return joined(message, done(progress), rate >= 0.05 && `${speed}/s`, eta && `${duration(Math.floor(eta))} left`);
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

function fill(row, job) {
  const running = job.state === "started", percent = job.progress?.percent ?? null;
  if (row.dataset.state !== job.state) {
    row.dataset.state = job.state;
    const use = $("use", row);
    use.setAttribute("href", use.getAttribute("href").replace(/#.*/, `#${job.state}`));
    say(row, ".state", job.state);
  }
  $(".progress", row).hidden = !running;
  $(".outcome", row).hidden = running;
  if (running) {
    if (percent === null) $("progress", row).removeAttribute("value");
    else $("progress", row).value = percent;
    say(row, ".percent", percent === null ? "" : `${Math.floor(percent)}%`);
    say(row, ".detail", detail(job.progress));
  }
  say(row, ".outcome", $(".outcome", row).title = outcome(job));
  say(row, ".note", note(job));
  say(row, ".took", took(job));
  say(row, ".age", ago(job.created_at));
}

function make(job) {
  const row = $("#row").content.firstElementChild.cloneNode(true);
  row.dataset.id = job.id;
  for (const [selector, name] of [["a", "href"], ["form", "action"]]) {
    const node = $(selector, row);
    node.setAttribute(name, node.getAttribute(name).replace("/ID", `/${job.id}`));
  }
  $(".name", row).textContent = job.function;
  $(".arguments", row).textContent = $(".arguments", row).title = words(job.arguments);
  $("progress", row).ariaLabel = `Progress of ${job.function}`;
  $("button", row).ariaLabel = `Delete ${job.function}`;
  $(".age", row).dateTime = job.created_at;
  $(".age", row).title = `${job.created_at.slice(0, 19).replace("T", " ")} UTC`;
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
}

function showPage({ page, pages, counts: all }) {
  counts = JSON.stringify(all);
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
  const all = Object.values(counts).reduce((a, b) => a + b, 0);
  for (const tab of document.querySelectorAll("[data-tab]")) {
    tab.dataset.count = tab.dataset.tab ? counts[tab.dataset.tab] : all;
    say(tab, ".count", tab.dataset.count);
  }
}

// ---- Asking ----

let ahead = 0; // milliseconds that the server's clock is ahead of ours
const now = () => Date.now() + ahead;

async function call(url, options = {}) {
  const headers = { Accept: "application/json", ...options.headers };
  const asked = fetch(url, { ...options, headers }).then(async (answer) => [answer, await answer.text()]);
  const [answer, text] = await asked.catch(() => { throw new Error("The server cannot be reached."); });
  const off = Date.parse(answer.headers.get("Date")) - Date.now();
  if (Math.abs(off - ahead) > 2000) ahead = off; // the header knows no parts of a second
  const body = /json/.test(answer.headers.get("Content-Type")) ? JSON.parse(text) : text;
  if (answer.ok) return body;
  const message = body.detail || `The server answered ${answer.status} ${answer.statusText}.`;
  throw Object.assign(new Error(message), { status: answer.status, errors: body.errors });
}

const get = (query) => call(`/api/jobs?${new URLSearchParams(query)}`, { signal: AbortSignal.timeout(10000) });

let counts = ""; // of all jobs by state, as JSON, when the list was asked for
let clicks = 0; // an answer that was asked for before a click is older than the page, and is dropped

async function tick() {
  const before = clicks, rows = shown(), states = new Map(rows.map(({ dataset: { id, state } }) => [id, state]));
  let listing = rows.length ? await get([...states.keys()].map((id) => ["id", id])) : null;
  if (!list) return showOne(rows[0], listing);
  if (listing?.jobs.length !== rows.length || JSON.stringify(listing.counts) !== counts) {
    listing = await get({ state: list.dataset.filter, page: list.dataset.page });
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
    for (const id of ["#actions", "#details"]) $(id).replaceWith($(id, fresh));
    page.dataset.attempt = job.attempt;
    $("#news").textContent = `${job.function} ${job.state}`;
  }
  fill(page, job);
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
  body.delete(KEY);
  body.set("function", form.dataset.function);
  form.ariaBusy = "true";
  showErrors(form, []);
  answer.textContent = "";
  try {
    launched(form, await call("/api/jobs", { method: "POST", body, headers }));
  } catch ({ message, errors }) {
    showErrors(form, errors ?? []);
    if (!errors) answer.textContent = message;
  }
  form.ariaBusy = null;
}

function launched(form, job) {
  const link = Object.assign(document.createElement("a"), { href: `/jobs/${job.id}`, textContent: "Show" });
  $(".answer", form).replaceChildren("Launched. ", link);
  const { filter, page } = list.dataset, belongs = page === "1" && (!filter || filter === job.state);
  if (belongs && !shown().some((row) => row.dataset.id === job.id)) list.prepend(make(job));
  setTimeout(renew, 1000, form);
  clicks++;
  wake();
}

function sure(question) {
  const dialog = $("#sure");
  $("#sure-question").textContent = question;
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
  });
}

async function remove(form) {
  const row = form.closest("[data-id]"), next = row.nextElementSibling ?? row.previousElementSibling;
  if (row.dataset.state === "started" && !(await sure("This job is running. Stop it and delete it?"))) return;
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

document.addEventListener("submit", (event) => {
  const form = event.target;
  const act = form.dataset.action === "delete" ? remove : list && form.dataset.function ? launch : null;
  if (!act) return;
  event.preventDefault();
  act(form);
});

// The browser's own check of the limits, in its own words, but beside the field.
document.addEventListener("invalid", (event) => {
  event.preventDefault();
  const { form } = event.target, wrong = [...form.querySelectorAll(":invalid")];
  showErrors(form, wrong.map((input) => ({ loc: [input.name], msg: input.validationMessage })));
}, true);

document.addEventListener("input", ({ target: { form } }) => form?.dataset.function && renew(form));
document.querySelectorAll("form[data-function]").forEach(renew);
