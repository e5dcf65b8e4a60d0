// The command palette: Ctrl K or Cmd K, an ARIA combobox over what the server finds.
// The server answers /search/?q=… with ui/options.html; a leading ">" asks for actions only.

const dialog = document.getElementById("palette");
const input = dialog.querySelector("input");
const form = dialog.querySelector("form");
const list = document.getElementById("palette-options");
const nothing = document.getElementById("palette-empty");
const failed = document.getElementById("palette-failed");

const WAIT_MS = 120;
const KEPT = 6;
const STORE = `palette-${dialog.dataset.person}`; // Ends with the tab: names of customers stay off the disk.

let options = [];
let current = -1;
let timer;
let request;

function open() {
  input.value = "";
  dialog.showModal();
  input.focus();
  search();
}

function later() {
  clearTimeout(timer);
  timer = setTimeout(search, WAIT_MS);
}

async function search() {
  request?.abort();
  request = new AbortController();
  const { signal } = request;
  const query = input.value.trim();
  const address = `${dialog.dataset.source}?q=${encodeURIComponent(query)}`;
  form.setAttribute("aria-busy", "true");
  try {
    const response = await fetch(address, { signal, headers: { "HX-Request": "true" } });
    if (!response.ok || response.redirected) throw new Error(String(response.status));
    show(await response.text(), query);
  } catch (error) {
    if (error.name === "AbortError") return;
    list.replaceChildren();
    collect();
    failed.hidden = false;
    nothing.hidden = true;
  }
  form.removeAttribute("aria-busy");
}

function show(html, query) {
  list.innerHTML = html;
  if (!query) list.prepend(...recentGroup());
  collect();
  failed.hidden = true;
  nothing.hidden = options.length > 0 || !query;
}

function collect() {
  options = [...list.querySelectorAll('[role="option"]')];
  options.forEach((option, index) => (option.id = `palette-option-${index}`));
  choose(options.length ? 0 : -1);
}

function choose(index) {
  current = index;
  options.forEach((option, at) => option.setAttribute("aria-selected", String(at === index)));
  const option = options[index];
  if (option) {
    input.setAttribute("aria-activedescendant", option.id);
    option.scrollIntoView({ block: "nearest" });
  } else {
    input.removeAttribute("aria-activedescendant");
  }
}

function go(option) {
  if (!option) return;
  keepRecent(option);
  dialog.close();
  location.assign(option.dataset.href);
}

// --- what was opened lately, in this tab ---------------------------------------------------------

function recent() {
  try {
    return JSON.parse(sessionStorage.getItem(STORE)) ?? [];
  } catch {
    return [];
  }
}

function keepRecent(option) {
  const entry = {
    href: option.dataset.href,
    icon: option.querySelector("use")?.getAttribute("href"),
    label: option.querySelector("span")?.firstChild?.textContent.trim(),
    detail: option.querySelector("small")?.textContent.trim(),
  };
  const kept = [entry, ...recent().filter((other) => other.href !== entry.href)].slice(0, KEPT);
  try {
    sessionStorage.setItem(STORE, JSON.stringify(kept));
  } catch {
    // Storage is refused: nothing is remembered.
  }
}

function recentGroup() {
  const entries = recent();
  if (!entries.length) return [];
  const group = document.createElement("div");
  group.setAttribute("role", "group");
  group.setAttribute("aria-label", dialog.dataset.recent);
  const title = document.createElement("h3");
  title.setAttribute("aria-hidden", "true");
  title.textContent = dialog.dataset.recent;
  group.append(title, ...entries.map(recentOption));
  return [group];
}

function recentOption({ href, icon, label, detail }) {
  const option = document.createElement("div");
  option.setAttribute("role", "option");
  option.dataset.href = href;
  if (icon) {
    const svg = form.querySelector("svg").cloneNode(true);
    svg.removeAttribute("width");
    svg.removeAttribute("height");
    svg.querySelector("use").setAttribute("href", icon);
    option.append(svg);
  }
  const words = document.createElement("span");
  words.textContent = label;
  if (detail) {
    const small = document.createElement("small");
    small.textContent = detail;
    words.append(small);
  }
  option.append(words);
  return option;
}

// --- keys and clicks ---------------------------------------------------------------------------------

const keys = {
  ArrowDown: () => choose((current + 1) % options.length),
  ArrowUp: () => choose((current - 1 + options.length) % options.length),
  Enter: () => go(options[current]),
};

input.addEventListener("input", later);
input.addEventListener("keydown", (event) => {
  const act = keys[event.key];
  if (!act || event.isComposing) return;
  event.preventDefault();
  if (options.length) act();
});
list.addEventListener("click", (event) => go(event.target.closest('[role="option"]')));
dialog.addEventListener("close", () => request?.abort());
document.addEventListener("click", (event) => event.target.closest?.("[data-palette-open]") && open());
document.addEventListener("keydown", (event) => {
  if (!(event.ctrlKey || event.metaKey) || event.key.toLowerCase() !== "k") return;
  event.preventDefault();
  if (dialog.open) dialog.close();
  else open();
});
