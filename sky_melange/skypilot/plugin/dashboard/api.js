// The plugin's routes. Every failure becomes an ApiError whose findings can be shown as they are.

/** `findings`: [{where, message, help}], at least one. `status` is 0 when nobody answered. */
export class ApiError extends Error {
  constructor(status, findings) {
    super(findings[0].message);
    this.status = status;
    this.findings = findings;
  }
}

/** Calls of the routes below `base`, ended when `signal` is. */
export function client(base, signal) {
  async function call(method, path, body) {
    const where = `${method} ${path}`;
    const request = { method, signal };
    if (body !== undefined) {
      request.body = JSON.stringify(body);
      request.headers = { "Content-Type": "application/json" };
    }
    let response;
    let text;
    try {
      response = await fetch(`${base}/${path}`, request);
      text = await response.text();
    } catch (error) {
      if (error.name === "AbortError") throw error;
      const help = "Check that the SkyPilot API server runs and can be reached, then try again.";
      throw new ApiError(0, [{ where, message: "The API server did not answer.", help }]);
    }
    const content = parsed(text);
    if (!response.ok) throw new ApiError(response.status, findingsOf(content, response, where));
    if (content === undefined && response.status !== 204) {
      throw new ApiError(response.status, [{ where, message: "The answer is no JSON.", help: "Is a proxy in between?" }]);
    }
    return content;
  }
  const plan = (id) => `plans/${encodeURIComponent(id)}`;
  const of = (name) => (name ? `?workload=${encodeURIComponent(name)}` : "");
  return {
    plans: () => call("GET", "plans"),
    plan: (id, name) => call("GET", plan(id) + of(name)),
    create: (name, texts) => call("POST", "plans", { name, ...texts }),
    remove: (id) => call("DELETE", plan(id)),
    check: (id, name) => call("POST", `${plan(id)}/check${of(name)}`, {}),
    reportAddress: (id, name) => `${base}/${plan(id)}/report${of(name)}`,
    replicas: (id, name) => call("GET", `${plan(id)}/replicas${of(name)}`),
  };
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** The plugin's own findings, or those of the server around it: FastAPI's text or list, or only a status. */
function findingsOf(content, response, where) {
  const { detail } = content ?? {};
  const list = Array.isArray(detail) ? detail : [detail];
  const findings = list.filter(Boolean).map((entry) =>
    typeof entry === "string"
      ? { where, message: entry }
      : {
          where: entry.where ?? (Array.isArray(entry.loc) ? entry.loc.join(".") : where),
          message: entry.message ?? entry.msg ?? JSON.stringify(entry),
          help: entry.help,
        });
  if (findings.length) return findings;
  const help = { 401: "Log in to SkyPilot again.", 403: "Ask an administrator of this SkyPilot server." }[response.status];
  return [{ where, message: `The API server answered ${response.status} ${response.statusText}`.trim(), help }];
}
