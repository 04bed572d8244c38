// Not a module: runs before the page is drawn, so that a chosen theme never flashes in late.
try {
  const theme = localStorage.getItem("pbrl.theme");
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
} catch {
  // storage forbidden: the system's theme it is
}
