// Runs before the page is painted: the chosen theme, so that nothing flashes, and where
// Excalidraw finds its fonts, so that it asks no other host for them.
(function () {
  window.EXCALIDRAW_ASSET_PATH = "/excalidraw/0.18.1/";
  try {
    var theme = localStorage.getItem("roomkeeper.theme");
    if (theme === "light" || theme === "dark") {
      document.documentElement.dataset.theme = theme;
    }
  } catch (refused) {
    // Storage is closed to this page: the system's theme serves.
  }
})();
