// Runs before the first paint, so that nothing flashes: the looks a person chose on this device.
(() => {
  const root = document.documentElement;
  const isTablet = matchMedia("(min-width: 761px) and (max-width: 1180px)");
  const isWide = matchMedia("(min-width: 1181px)");

  const chosen = (name) => {
    try {
      return localStorage.getItem(name);
    } catch {
      return null; // Storage is refused: the system's looks are fine.
    }
  };

  // The navigation is a rail on tablets always, elsewhere when the person or the page wants it.
  const fitNavigation = () => {
    root.toggleAttribute("data-rail", isTablet.matches || (isWide.matches && root.dataset.nav === "rail"));
  };

  for (const name of ["theme", "density", "nav"]) {
    const value = chosen(name);
    if (value && !root.dataset[name]) root.dataset[name] = value;
  }
  fitNavigation();
  isTablet.addEventListener("change", fitNavigation);
  isWide.addEventListener("change", fitNavigation);
  document.addEventListener("navchange", fitNavigation);
})();
