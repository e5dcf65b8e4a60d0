// The builder's lists of ticks: the closed list says what is ticked, and closes when one looks elsewhere.

function tellTicked(pick) {
  const ticked = pick.querySelectorAll("input:checked + span");
  const names = Array.from(ticked, (span) => span.textContent);
  pick.querySelector("[data-pick-text]").textContent = names.join(", ") || pick.dataset.pick;
}

document.addEventListener("change", (event) => {
  const pick = event.target.closest?.("[data-pick]");
  if (pick) tellTicked(pick);
});

function closeOthers(target) {
  for (const pick of document.querySelectorAll("[data-pick][open]")) {
    if (!pick.contains(target)) pick.open = false;
  }
}

document.addEventListener("click", (event) => closeOthers(event.target));
document.addEventListener("focusin", (event) => closeOthers(event.target));

document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  const pick = event.target.closest?.("[data-pick][open]");
  if (!pick) return;
  pick.open = false;
  pick.querySelector("summary").focus();
});
