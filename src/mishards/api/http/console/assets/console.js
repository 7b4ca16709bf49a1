// Keeps a page up to date: asks for it anew every few seconds and changes what has changed, in
// place, so that focus, scrolling, open details and what is being typed stay. Nothing is asked for
// while the page is not looked at. Without this script the pages work the same, but stand still.

const main = document.querySelector("main");
const stale = document.querySelector("#stale");
const every = Number(main.dataset.refresh) * 1000;
const PATIENCE_MS = 15000;
let fresh = new Date();

if (every) setTimeout(refresh, every);

async function refresh() {
  if (!document.hidden) {
    try {
      const answer = await fetch(location.href, { signal: AbortSignal.timeout(PATIENCE_MS) });
      const text = await answer.text();
      if (answer.redirected) location.reload();
      const page = new DOMParser().parseFromString(text, "text/html");
      const found = page.querySelector("main");
      if (!found) throw new Error(`status ${answer.status}`);
      patch(main, found);
      fresh = new Date();
      stale.hidden = true;
    } catch (error) {
      tell(`This proxy does not answer (${error.message}). What you see is as of ` +
        `${fresh.toLocaleTimeString()}. See whether the node runs, or open the console of another proxy.`);
    }
  }
  setTimeout(refresh, every);
}

function tell(text) {
  if (stale.textContent !== text) stale.textContent = text;
  stale.hidden = false;
}

/** Make `old` equal to `now`, keeping the nodes that can be kept. */
function patch(old, now) {
  for (const { name } of [...old.attributes]) {
    if (!now.hasAttribute(name) && name !== "open") old.removeAttribute(name);
  }
  for (const { name, value } of now.attributes) {
    if (name !== "open" && old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  const keyed = new Map();
  for (const child of old.children) {
    if (child.dataset.key) keyed.set(child.dataset.key, child);
  }
  let place = old.firstChild;
  for (const child of [...now.childNodes]) {
    const key = child.dataset?.key;
    const same = key ? keyed.get(key) : place && !place.dataset?.key ? place : null;
    if (same && same.nodeName === child.nodeName) {
      if (same === place) place = place.nextSibling;
      else old.insertBefore(same, place);
      if (same.nodeType === Node.ELEMENT_NODE) patch(same, child);
      else if (same.nodeValue !== child.nodeValue) same.nodeValue = child.nodeValue;
    } else {
      old.insertBefore(document.importNode(child, true), place);
    }
  }
  while (place) {
    const next = place.nextSibling;
    place.remove();
    place = next;
  }
}
