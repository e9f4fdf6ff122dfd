// What SkyPilot's dashboard loads (`js_extension_path`): one classic script. It registers the navigation entry and the
// route; the page itself is modules beside this file, fetched when the route is first opened.
(() => {
  "use strict";
  const here = document.currentScript.src;
  const path = "/plugins/melange";

  function register(api) {
    api.registerRoute({
      id: "sky-melange",
      path,
      navHref: path,
      title: "Mélange",
      mount: ({ container }) => mount(container, api.getContext()),
    });
    api.registerTopNavLink({ id: "sky-melange", label: "Mélange", href: path, icon: "piechart", order: 50 });
  }

  // The dashboard calls this for every address below `path`, and the function that it returns when the page is left.
  function mount(container, context) {
    const left = new AbortController();
    const root = document.createElement("div");
    root.className = "melange";
    container.replaceChildren(root);
    import(new URL("app.js", here).href)
      .then((app) => left.signal.aborted || app.show({ root, path, context, signal: left.signal }))
      .catch((error) => {
        root.setAttribute("role", "alert");
        root.textContent = `The Mélange page could not be loaded: ${error.message}. Reload the page.`;
      });
    return () => {
      left.abort();
      root.remove();
    };
  }

  // The dashboard announces its API again when it builds itself anew; ids make a second registration harmless.
  window.addEventListener("skydashboard:plugins-ready", (event) => register(event.detail));
  if (window.SkyDashboardPluginAPI) register(window.SkyDashboardPluginAPI);
})();
