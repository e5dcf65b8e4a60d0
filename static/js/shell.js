// The shell: looks, navigation drawer, menus, dialogs, toasts, and what to do when a request fails.
// Everything is delegated from the document, so fragments swapped in by htmx need no set-up.

const root = document.documentElement;
const region = document.getElementById("toasts");
const texts = region.dataset;

// --- looks: theme, density, rail -------------------------------------------------------------

const systemIsDark = matchMedia("(prefers-color-scheme: dark)");

function remember(name, value) {
  if (value) root.dataset[name] = value;
  else delete root.dataset[name];
  try {
    if (value) localStorage.setItem(name, value);
    else localStorage.removeItem(name);
  } catch {
    // Storage is refused: the choice lasts as long as the page.
  }
  showLooks();
}

function showLooks() {
  for (const button of document.querySelectorAll("[data-theme-set], [data-density-set]")) {
    const name = "themeSet" in button.dataset ? "theme" : "density";
    const value = button.dataset[`${name}Set`];
    button.setAttribute("aria-pressed", String(value === (root.dataset[name] ?? "")));
  }
  const toggle = document.querySelector("[data-nav-toggle]");
  toggle?.setAttribute("aria-pressed", String(root.dataset.nav === "rail"));
}

function announceTheme() {
  document.dispatchEvent(new CustomEvent("themechange"));
}

systemIsDark.addEventListener("change", announceTheme);

const clicks = {
  "[data-theme-toggle]"() {
    const isDark = root.dataset.theme ? root.dataset.theme === "dark" : systemIsDark.matches;
    remember("theme", isDark ? "light" : "dark");
    announceTheme();
  },
  "[data-theme-set]"(button) {
    remember("theme", button.dataset.themeSet);
    announceTheme();
  },
  "[data-density-set]"(button) {
    remember("density", button.dataset.densitySet);
  },
  "[data-nav-toggle]"() {
    remember("nav", root.dataset.nav === "rail" ? "" : "rail");
    document.dispatchEvent(new CustomEvent("navchange"));
  },
  "[data-nav-open]"() {
    setDrawer(!drawer.hasAttribute("data-open"));
  },
  "[data-dialog]"(button) {
    document.getElementById(button.dataset.dialog)?.showModal();
  },
  "[data-close]"(button) {
    button.closest("dialog")?.close();
  },
  "[data-dismiss]"(button) {
    button.closest(".toast")?.remove();
  },
  "[data-copy]"(button) {
    navigator.clipboard?.writeText(button.dataset.copy).then(() => toast({ text: button.dataset.copied }));
  },
};

document.addEventListener("click", (event) => {
  for (const [selector, act] of Object.entries(clicks)) {
    const element = event.target.closest?.(selector);
    if (element) act(element);
  }
  if (event.target.matches?.("dialog")) event.target.close(); // The backdrop belongs to the dialog.
  if (drawer?.hasAttribute("data-open") && !event.target.closest("#nav, [data-nav-open]")) setDrawer(false);
});

// --- navigation drawer on narrow screens -----------------------------------------------------

const drawer = document.getElementById("nav");

function setDrawer(isOpen) {
  drawer.toggleAttribute("data-open", isOpen);
  const button = document.querySelector("[data-nav-open]");
  button.setAttribute("aria-expanded", String(isOpen));
  if (isOpen) drawer.querySelector("a")?.focus();
}

document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape" || !drawer?.hasAttribute("data-open")) return;
  setDrawer(false);
  document.querySelector("[data-nav-open]").focus();
});

// --- menus stand beside the button that opened them --------------------------------------------

document.addEventListener(
  "toggle",
  (event) => {
    const menu = event.target;
    if (!menu.matches?.(".menu") || event.newState !== "open") return;
    const button = document.querySelector(`[popovertarget="${CSS.escape(menu.id)}"]`);
    if (!button) return;
    const place = button.getBoundingClientRect();
    const below = place.bottom + 6;
    const isRoomBelow = below + menu.offsetHeight <= innerHeight - 8;
    const top = isRoomBelow ? below : Math.max(8, place.top - menu.offsetHeight - 6);
    const left = Math.max(8, Math.min(place.left, innerWidth - menu.offsetWidth - 12));
    menu.style.top = `${top}px`;
    menu.style.left = `${left}px`;
  },
  true,
);

// --- questions before an act: hx-confirm="…" and data-confirm="…" on a form ----------------------
// data-confirm-detail explains, data-confirm-action labels the button, data-confirm-danger reddens it.

const confirmation = document.getElementById("confirm");

function ask(question, source, act) {
  const { confirmDetail, confirmAction, confirmDanger } = source.dataset;
  const go = confirmation.querySelector("[data-go]");
  const detail = confirmation.querySelector("[data-detail]");
  confirmation.querySelector("h2").textContent = question;
  detail.textContent = confirmDetail ?? "";
  detail.hidden = !confirmDetail;
  go.textContent = confirmAction ?? go.dataset.label;
  go.classList.toggle("danger", confirmDanger !== undefined);
  confirmation.returnValue = "";
  confirmation.addEventListener("close", () => confirmation.returnValue === "go" && act(), { once: true });
  confirmation.showModal();
}

document.addEventListener("htmx:confirm", (event) => {
  if (!event.detail.question || !confirmation) return;
  event.preventDefault();
  ask(event.detail.question, event.detail.elt, () => event.detail.issueRequest(true));
});

const confirmed = new WeakSet();

document.addEventListener("submit", (event) => {
  const form = event.target;
  if (!form.dataset?.confirm || confirmed.has(form)) return;
  event.preventDefault();
  ask(form.dataset.confirm, form, () => {
    confirmed.add(form);
    form.requestSubmit(event.submitter);
  });
});

// --- toasts and the live region ----------------------------------------------------------------
// From the server: HX-Trigger: {"toast": {"text": "Deleted", "kind": "success", "undo": "/segments/7/restore/"}}
// From a module: document.dispatchEvent(new CustomEvent("toast", { detail: { text: "Copied" } }))

const ICONS = { success: "circle-check", info: "info-circle", warning: "alert-triangle", error: "alert-triangle" };
const STAYS_MS = 6000;

function say(text) {
  const live = document.getElementById("live");
  live.textContent = "";
  requestAnimationFrame(() => (live.textContent = text));
}

function toast({ text, kind = "success", undo, target, action, act }) {
  const item = document.getElementById("toast-template").content.firstElementChild.cloneNode(true);
  const icon = item.querySelector("use");
  item.className = `toast ${kind}`;
  item.dataset.kind = kind;
  icon.setAttribute("href", icon.getAttribute("href").replace(/#.*/, `#${ICONS[kind] ?? ICONS.info}`));
  item.querySelector("span").textContent = text;
  if (undo) addButton(item, texts.undo, () => takeBack(undo, target));
  if (action) addButton(item, action, act);
  region.append(item);
  say(text);
  letGo(item);
}

function addButton(item, label, act) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = label;
  button.addEventListener("click", () => {
    item.remove();
    act();
  });
  item.querySelector("[data-dismiss]").before(button);
}

/** Undo is a POST; its answer is swapped into `target`, or the page is loaded again. */
function takeBack(url, target) {
  const swap = target ? "outerHTML" : "none";
  const done = htmx.ajax("POST", url, { source: document.body, target: target ?? "body", swap });
  if (!target) done.then(() => location.reload());
}

/** A toast leaves by itself unless it reports a failure, and never under the pointer or the focus. */
function letGo(item) {
  if (item.dataset.kind === "error") return;
  let timer = setTimeout(() => item.remove(), STAYS_MS);
  const wait = () => clearTimeout(timer);
  const resume = () => {
    clearTimeout(timer);
    timer = setTimeout(() => item.remove(), STAYS_MS / 2);
  };
  item.addEventListener("pointerenter", wait);
  item.addEventListener("focusin", wait);
  item.addEventListener("pointerleave", resume);
  item.addEventListener("focusout", resume);
}

document.addEventListener("toast", (event) => toast(event.detail));
document.addEventListener("announce", (event) => say(event.detail.text ?? event.detail.value));

document.addEventListener("allauth.error", (event) => {
  event.preventDefault();
  toast({ text: texts.passkey, kind: "warning" });
});

for (const item of region.querySelectorAll(".toast")) letGo(item);
const greetings = [...region.querySelectorAll(".toast > span")].map((span) => span.textContent);
if (greetings.length) setTimeout(() => say(greetings.join(". ")), 400);

// --- htmx: failures keep the form and offer to try again --------------------------------------------

if (window.Idiomorph) {
  Idiomorph.defaults.ignoreActiveValue = true; // A poll never erases what somebody is typing.
}

function goToSignIn() {
  const next = encodeURIComponent(location.pathname + location.search);
  location.assign(`${texts.signIn}?next=${next}`);
}

function wentToSignIn(xhr) {
  return Boolean(xhr.responseURL) && new URL(xhr.responseURL).pathname === texts.signIn;
}

document.addEventListener("htmx:beforeSwap", (event) => {
  if (!wentToSignIn(event.detail.xhr)) return;
  event.detail.shouldSwap = false; // The session is over: a sign-in form does not belong into a fragment.
  goToSignIn();
});

function failure(status) {
  if (status === 403) return { text: texts.forbidden };
  if (status === 404) return { text: texts.missing };
  if (status === 409) return { text: texts.conflict, action: texts.reload, act: () => location.reload() };
  if (status === 429) return { text: texts.busy, isRetried: true };
  return { text: status ? texts.failed : texts.offline, isRetried: true };
}

function reportFailure(event) {
  const { xhr, requestConfig } = event.detail;
  if (xhr.status === 401) return goToSignIn();
  const { text, isRetried, action, act } = failure(xhr.status);
  const again = () => {
    const { verb, path, elt, target, parameters } = requestConfig;
    const swap = elt.closest("[hx-swap]")?.getAttribute("hx-swap") ?? undefined;
    htmx.ajax(verb.toUpperCase(), path, { source: elt, target, swap, values: parameters });
  };
  for (const old of region.querySelectorAll('[data-kind="error"]')) old.remove();
  toast({ text, kind: "error", action: isRetried ? texts.retry : action, act: isRetried ? again : act });
}

document.addEventListener("htmx:responseError", reportFailure);
document.addEventListener("htmx:sendError", reportFailure);
document.addEventListener("htmx:timeout", reportFailure);

// --- htmx: a poll rests while nobody looks ------------------------------------------------------------

document.addEventListener("htmx:beforeRequest", (event) => {
  const trigger = event.detail.elt.getAttribute?.("hx-trigger") ?? "";
  if (document.hidden && trigger.startsWith("every")) event.preventDefault();
});

// --- htmx: the focus moves only when what had it is gone ------------------------------------------------

let focusedBefore = null;

document.addEventListener("htmx:beforeSwap", (event) => {
  const active = document.activeElement;
  focusedBefore = event.detail.target?.contains(active) ? active : null;
});

document.addEventListener("htmx:afterSettle", (event) => {
  const swapped = event.detail.elt;
  const firstWrong = swapped.querySelector?.('[data-error-summary], [aria-invalid="true"]');
  if (event.detail.xhr?.status === 422 && firstWrong) {
    firstWrong.focus();
  } else if (focusedBefore && !focusedBefore.isConnected && document.activeElement === document.body) {
    const next = swapped.querySelector?.("[autofocus]") ?? swapped;
    if (next === swapped && !next.hasAttribute("tabindex")) {
      next.setAttribute("tabindex", "-1");
      next.setAttribute("data-focus-target", "");
    }
    next.focus({ preventScroll: true });
  }
  focusedBefore = null;
});

showLooks();
