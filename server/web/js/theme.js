// Applies the chosen colours before anything is drawn: `light`, `dark`, or those of the system.
(() => {
  const chosen = localStorage.getItem("corral.theme");
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
})();
