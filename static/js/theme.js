// Runs before the first paint, so that nothing flashes: the looks a person chose on this device.
(() => {
  const root = document.documentElement;
  const chosen = (name) => {
    try {
      return localStorage.getItem(name);
    } catch {
      return null; // Storage is refused: the system's looks are fine.
    }
  };
  for (const name of ["theme", "density", "nav"]) {
    const value = chosen(name);
    if (value && !root.dataset[name]) root.dataset[name] = value;
  }
})();
