// Runs before the first paint, so that the dark theme never begins with a white flash.
(function () {
  try {
    const chosen = localStorage.getItem("usher.theme");
    if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
  } catch {
    // No storage: the system's theme holds.
  }
})();
