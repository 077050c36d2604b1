// The page of one job: its log, followed live, and the tables of its result.

import { $, call } from "./app.js";

const MOST = 10_000, ROWS = 25; // lines of the log, which keeps no more; rows of a page of a table
const MANY = 1000; // lines of an answer that is perhaps not the last, for now: it has up to 2,000
const page = $("#job"), log = $("#log"), lines = $(".lines", log), help = $(".help", log);
const [level, pause] = log.querySelectorAll("select, button");

// ---- The log ----

let read = 0, complete = false;

function show(found) {
  const atEnd = lines.scrollHeight - lines.scrollTop - lines.clientHeight < 30;
  const items = found.slice(-MOST).map(({ time, level, text }) => {
    const [line, at, name] = ["p", "time", "b"].map((tag) => document.createElement(tag));
    at.textContent = new Date(time).toLocaleTimeString([], { hour12: false });
    at.dateTime = time;
    name.textContent = level;
    line.className = level;
    line.append(at, name, text);
    return line;
  });
  lines.append(...items);
  for (let over = lines.childElementCount - MOST; over > 0; over--) lines.firstElementChild.remove();
  if (atEnd) lines.scrollTop = lines.scrollHeight; // whoever has scrolled up reads on in peace
}

async function follow() {
  for (;;) {
    const signal = AbortSignal.timeout(10000);
    const answer = await call(`${log.dataset.lines}?after=${read}`, { signal });
    if (pressed()) return;
    show(answer.lines);
    ({ next: read, complete } = answer);
    if (answer.lines.length < MANY) break;
  }
  help.textContent = about(lines.childElementCount);
}

function about(here) {
  const { none, noneYet, newest } = help.dataset;
  if (here < read) return newest.replace("{n}", read.toLocaleString("en-US"));
  if (here) return "";
  return complete ? none : noneYet;
}

const pressed = () => pause.ariaPressed === "true";
pause.addEventListener("click", () => {
  pause.ariaPressed = String(!pressed());
  [pause.textContent, pause.dataset.other] = [pause.dataset.other, pause.textContent];
});
level.addEventListener("change", () => {
  lines.dataset.level = level.value;
  lines.scrollTop = lines.scrollHeight;
});

async function run() {
  for (let attempt, gone = false; !gone;) {
    if (attempt !== page.dataset.attempt) complete = false; // it runs once more, or has done so meanwhile
    ({ attempt } = page.dataset);
    const asks = { none: false, grows: true, whole: !complete }[page.dataset.log];
    if (!document.hidden && !pressed() && asks) {
      await follow().catch(({ status }) => { gone = status === 404; }); // app.js says what is wrong
    }
    await new Promise((resolve) => setTimeout(resolve, 1000));
  }
}

// ---- Tables ----

const tables = new WeakMap(); // a table's body -> all its rows, in their order, and which of them is shown first
const body = (node) => $("tbody", node.closest(".result"));

function setUp() {
  for (const node of document.querySelectorAll("tbody")) {
    if (tables.has(node)) continue;
    tables.set(node, { rows: [...node.rows], first: 0 });
    turn(node, 0);
  }
}

function turn(node, step) {
  const table = tables.get(node), { rows } = table, [back, on] = node.closest(".result").querySelectorAll(".turn");
  table.first += step * ROWS;
  const last = Math.min(table.first + ROWS, rows.length);
  node.replaceChildren(...rows.slice(table.first, last));
  back.disabled = table.first === 0;
  on.disabled = last === rows.length;
  back.parentElement.hidden = rows.length <= ROWS;
  back.nextElementSibling.textContent = `${(table.first + 1).toLocaleString("en-US")}–${last.toLocaleString("en-US")}`;
}

function sort(head) {
  const node = body(head), column = head.cellIndex, table = tables.get(node);
  const down = head.ariaSort === "ascending";
  for (const other of head.parentElement.cells) other.ariaSort = null;
  head.ariaSort = down ? "descending" : "ascending";
  const text = (row) => row.cells[column].textContent;
  const numeric = head.classList.contains("number");
  const compare = numeric ? (a, b) => a - b : (a, b) => a.localeCompare(b, "en", { numeric: true });
  table.rows.sort((one, other) => {
    const [a, b] = [text(one), text(other)];
    if (!a || !b) return !a - !b; // gaps are last either way
    return down ? compare(b, a) : compare(a, b);
  });
  table.first = 0;
  turn(node, 0);
}

document.addEventListener("click", ({ target }) => {
  const button = target.closest("button");
  if (button?.matches(".sort")) sort(button.parentElement);
  if (button?.matches(".turn")) turn(body(button), Number(button.value));
});
document.addEventListener("updated", setUp);
setUp();
run();
