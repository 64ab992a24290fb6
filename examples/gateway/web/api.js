// Calls of the API. The browser sends the session's cookie by itself; no script can read it.

/** call answers {status, body, wait}: the HTTP status, the JSON, and how many seconds to wait. Status 0 is no answer at all. */
export async function call(method, path, message, options = {}) {
  let response;
  try {
    response = await fetch(path, {
      method,
      headers: message === undefined ? {} : { "Content-Type": "application/json" },
      body: message === undefined ? undefined : JSON.stringify(message),
      cache: "no-store",
      redirect: "error",
      ...options,
    });
  } catch {
    return { status: 0, body: {}, wait: 0 };
  }
  const body = await response.json().catch(() => ({}));
  return { status: response.status, body, wait: Number(response.headers.get("Retry-After")) || 0 };
}

export const whoAmI = () => call("GET", "/v1/auth/whoami");
export const signIn = (username, password) =>
  call("POST", "/v1/auth/login", { username, password, credential: "CREDENTIAL_COOKIE", deviceName: device() });
export const signOut = () => call("POST", "/v1/auth/logout", {});
export const sessions = () => call("GET", "/v1/auth/sessions");
export const endSession = (handle) => call("POST", "/v1/auth/sessions:revoke", { scope: "SESSION_SCOPE_ONE", handle });
export const endAllSessions = () => call("POST", "/v1/auth/sessions:revoke", { scope: "SESSION_SCOPE_ALL" });
export const keys = () => call("GET", "/v1/auth/keys");
export const makeKey = (name) => call("POST", "/v1/auth/keys", { name, scopes: ["echo"] });
export const revokeKey = (id) => call("POST", "/v1/auth/keys:revoke", { id });
export const echo = (text, options) => call("POST", "/v1/echo", { text }, options);

/** device is what the user will know this browser by. */
function device() {
  const agent = navigator.userAgent;
  const find = (names) => names.find(([, mark]) => agent.includes(mark))?.[0];
  const browser = find([["Edge", "Edg/"], ["Firefox", "Firefox/"], ["Chrome", "Chrome/"], ["Safari", "Safari/"]]) ?? "Browser";
  const system = find([["Android", "Android"], ["iPhone", "iPhone"], ["iPad", "iPad"], ["Windows", "Windows"], ["macOS", "Mac OS"], ["Linux", "Linux"]]);
  return system ? `${browser} on ${system}` : browser;
}
