// Brings a page up to date with HTML that the server makes anew, from the templates that made the page.
//
// What the server says is compared with what it said before, and only what it says otherwise now is touched. All else
// stays as a person or a script has left it: focus, selection, scroll positions, what is ticked, typed, opened or sorted.

const said = new Map(); // a part's id -> what the server said last
const inert = document.implementation.createHTMLDocument(); // which loads no picture
for (const part of document.querySelectorAll("[data-live]")) said.set(part.id, inert.importNode(part, true));

export function update(html) {
  for (const next of new DOMParser().parseFromString(html, "text/html").querySelectorAll("[data-live]")) {
    const part = document.getElementById(next.id);
    if (part) merge(part, said.get(next.id) ?? part, next);
    said.set(next.id, next);
  }
}

function merge(node, last, next) {
  if (last.isEqualNode(next)) return;
  if (!(next instanceof Element)) {
    node.data = next.data;
    return;
  }
  for (const { name, value } of next.attributes) if (last.getAttribute(name) !== value) node.setAttribute(name, value);
  for (const { name } of last.attributes) if (!next.hasAttribute(name)) node.removeAttribute(name);
  mergeChildren(node, named(last), named(next));
}

function mergeChildren(node, last, next) {
  const here = named(node);
  for (const [name, child] of here) if (!next.has(name)) child.remove(); // first: then those that stay need not move
  let at = node.firstChild;
  for (const [name, child] of next) {
    const old = here.get(name);
    if (old) merge(old, last.get(name) ?? old, child);
    while (at instanceof Text && !(child instanceof Text)) at = at.nextSibling; // an element that moves loses the focus
    if (old && old === at) at = at.nextSibling;
    else node.insertBefore(old ?? copy(child), at);
  }
}

// The children of a node by name, so that those of then and now are paired: by an id, or as the n-th of their kind.
function named(node) {
  const counts = {}, children = new Map();
  for (const child of node.childNodes) {
    const kind = child.nodeName;
    let name = child instanceof Element && (child.getAttribute("id") || child.dataset.id); // a form's .id may be a field
    if (!name) name = counts[kind] = (counts[kind] ?? 0) + 1;
    children.set(`${kind} ${name}`, child);
  }
  return children;
}

function copy(node) {
  const copied = document.importNode(node, true);
  if (copied.dataset?.id) copied.classList.add("new");
  return copied;
}
