// The page: the list of stored plans at the route itself, one plan at /<id> below it.

import { client } from "./api.js";
import { h } from "./dom.js";
import { showList } from "./list.js";
import { showPlan } from "./plan.js";

/** Fills `root` for the current address. `context` is that of SkyPilot's dashboard; `signal` ends when the page is left. */
export async function show({ root, path, context, signal }) {
  const page = {
    root,
    signal,
    body: h("div", { class: "page" }),
    api: client(`${context.apiEndpoint}/plugins/api/melange`, signal),
    link: (id, ...children) => link(context, id ? `${path}/${encodeURIComponent(id)}` : path, children),
    open: (id) => context.navigate(id ? `${path}/${encodeURIComponent(id)}` : path),
  };
  await styled(root);
  if (signal.aborted) return;
  root.append(page.body);
  const id = planIdIn(location.pathname, path);
  await (id ? showPlan(page, id) : showList(page));
}

/** Waits for the style sheet, so that nothing is seen without it; the page works without it too. */
function styled(root) {
  const href = new URL("melange.css", import.meta.url).href;
  return new Promise((resolve) => root.append(h("link", { rel: "stylesheet", href, load: resolve, error: resolve })));
}

function planIdIn(pathname, path) {
  const rest = pathname.slice(pathname.indexOf(path) + path.length).split("/").filter(Boolean)[0] ?? "";
  try {
    return decodeURIComponent(rest);
  } catch {
    return rest;
  }
}

/** A link that stays within the dashboard, and opens elsewhere when asked to. */
function link(context, to, children) {
  return h("a", {
    href: `${context.basePath}${to}`,
    click: (event) => {
      if (event.ctrlKey || event.metaKey || event.shiftKey) return;
      event.preventDefault();
      context.navigate(to);
    },
  }, children);
}
