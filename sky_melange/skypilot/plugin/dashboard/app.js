// The page: the list of stored plans at the route itself, one plan or fleet at /<id> below it, a plan of a fleet at /<id>/<name>.

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
    link: (id, ...children) => link(context, address(path, id), children),
    linkToPart: (id, name) => link(context, address(path, id, name), [name]),
    open: (id) => context.navigate(address(path, id)),
  };
  await styled(root);
  if (signal.aborted) return;
  root.append(page.body);
  const [id, name] = partsIn(location.pathname, path);
  await (id ? showPlan(page, id, name) : showList(page));
}

const address = (path, ...parts) => [path, ...parts.filter(Boolean).map(encodeURIComponent)].join("/");

/** Waits for the style sheet, so that nothing is seen without it; the page works without it too. */
function styled(root) {
  const href = new URL("melange.css", import.meta.url).href;
  return new Promise((resolve) => root.append(h("link", { rel: "stylesheet", href, load: resolve, error: resolve })));
}

function partsIn(pathname, path) {
  return pathname.slice(pathname.indexOf(path) + path.length).split("/").filter(Boolean).map((part) => {
    try {
      return decodeURIComponent(part);
    } catch {
      return part;
    }
  });
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
