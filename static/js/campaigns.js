// The campaign wizard: variables put where one writes, the mail shown as one writes it, and small conveniences.
// Everything works without this file; what is typed is then previewed after saving.

const editor = document.getElementById("editor");

// --- variables go where the caret was ------------------------------------------------------------

let lastField = editor?.querySelector('[name="body"]');

editor?.addEventListener("focusin", (event) => {
  if (event.target.matches('textarea, input[type="text"]')) lastField = event.target;
});

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-insert]");
  if (!button || !lastField) return;
  const text = button.dataset.insert;
  const start = lastField.selectionStart ?? lastField.value.length;
  button.closest("[popover]")?.hidePopover();
  lastField.focus();
  lastField.setRangeText(text, start, lastField.selectionEnd ?? start, "end");
  const gap = text.indexOf("…");
  if (gap >= 0) lastField.setSelectionRange(start + gap, start + gap + 1); // Typing replaces the gap.
  lastField.dispatchEvent(new Event("input", { bubbles: true }));
});

// --- the mail as typed -----------------------------------------------------------------------------

// Each time a fresh frame takes the form's answer: an old one would add a step to the browser's history.
let shown = 0;

function showMail() {
  const box = document.getElementById("mail");
  const button = editor?.querySelector("[data-show-mail]");
  if (!box || !button) return;
  const before = [...box.querySelectorAll("iframe")];
  const frame = before[0].cloneNode();
  frame.removeAttribute("src");
  frame.name = `mail-${(shown += 1)}`;
  frame.className = "loading";
  box.append(frame);
  frame.addEventListener("load", () => {
    if (frame.dataset.isSent === undefined) return; // The empty page it began with.
    frame.className = "";
    for (const old of before) old.remove();
  });
  frame.dataset.isSent = "";
  button.formTarget = frame.name;
  button.formMethod = "post";
  editor.requestSubmit(button);
}

document.addEventListener("htmx:afterSwap", (event) => {
  if (event.detail.target.id === "preview" && event.detail.target.querySelector("[data-sound]")) showMail();
  if (event.detail.target.id === "preview-customer") {
    event.detail.target.dispatchEvent(new Event("change", { bubbles: true }));
  }
});

// --- choosing ------------------------------------------------------------------------------------

for (const search of document.querySelectorAll("[data-filter-list]")) {
  search.addEventListener("input", () => {
    const wanted = search.value.trim().toLocaleLowerCase();
    for (const item of document.querySelectorAll(search.dataset.filterList)) {
      const isChosen = item.querySelector("input").checked;
      item.hidden = !isChosen && !item.textContent.toLocaleLowerCase().includes(wanted);
    }
  });
}

// --- a brand's colour with the text that reads on it ------------------------------------------------

const sample = document.getElementById("colour-sample");

/** Relative luminance, as WCAG defines it. */
function luminance(colour) {
  const [red, green, blue] = [1, 3, 5]
    .map((start) => parseInt(colour.slice(start, start + 2), 16) / 255)
    .map((part) => (part <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
}

document.querySelector('input[type="color"][name="colour"]')?.addEventListener("input", (event) => {
  if (!sample) return;
  sample.style.background = event.target.value;
  sample.style.color = luminance(event.target.value) > 0.179 ? "#000000" : "#ffffff";
});

// --- figures are not asked for while nobody looks --------------------------------------------------

document.addEventListener("htmx:beforeRequest", (event) => {
  if (event.detail.elt.id === "campaign" && document.hidden) event.preventDefault();
});

// --- polled figures: a chart stays the one that was drawn, and only takes the new numbers ------------

const drawn = '[data-chart], [data-chart-table][aria-pressed="true"]';

if (window.Idiomorph) {
  Idiomorph.defaults.callbacks.beforeNodeMorphed = (node) => !node.matches?.(drawn);
  Idiomorph.defaults.callbacks.beforeNodeRemoved = (node) => !node.matches?.(".chart-table");
}

document.addEventListener("htmx:afterSettle", (event) => {
  if (event.detail.elt.id !== "campaign") return;
  for (const button of document.querySelectorAll('[data-chart-table][aria-pressed="true"]')) {
    button.click(); // Back to the chart,
    button.click(); // and to a table of the new numbers.
  }
});
