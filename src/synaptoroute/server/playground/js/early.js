// Before anything is drawn, so that a page in the other theme does not flash.
(() => {
  const theme = localStorage.getItem("synaptoroute.theme");
  if (theme === "dark" || theme === "light") document.documentElement.dataset.theme = theme;
})();
