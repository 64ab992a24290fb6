// What is said to people.

const sentences = {
  CREDENTIALS_MISSING: "You are not signed in.",
  CREDENTIALS_EXPIRED: "Your session has expired. Sign in again.",
  CREDENTIALS_REVOKED: "Your session was ended. Sign in again.",
  STEP_UP_REQUIRED: "Your sign-in is too long ago for this. Sign out, sign in again, and try once more.",
  PERMISSION_DENIED: "You are not allowed to do this.",
  TRANSPORT_INSECURE: "Open this page over HTTPS to sign in.",
};

/** trouble is a sentence about an answer that is none of 200. */
export function trouble({ status, body, wait }) {
  if (status === 0) return "The server cannot be reached. Check your connection and try again.";
  if (status === 429) return wait > 0 ? waiting(wait) : "Too many attempts. Try again later.";
  if (status === 503) return "The server is busy just now. Try again in a moment.";
  if (status >= 500) return "Something went wrong on the server. Try again later.";
  return sentences[body.reason] ?? (body.detail ? sentence(body.detail) : "That did not work. Try again.");
}

/** waiting says how long to wait after too many attempts. */
export const waiting = (seconds) => `Too many attempts. Wait ${count(seconds, "second")} before you try again.`;

function sentence(text) {
  return text.charAt(0).toUpperCase() + text.slice(1) + (/[.!?]$/.test(text) ? "" : ".");
}

export function count(n, unit) {
  return `${n} ${unit}${n === 1 ? "" : "s"}`;
}

/** span is a time to come in words, such as "30 minutes". */
export function span(milliseconds) {
  const minutes = Math.round(milliseconds / 60000);
  if (minutes < 1) return "less than a minute";
  if (minutes < 90) return count(minutes, "minute");
  return count(Math.round(minutes / 60), "hour");
}

export const time = (text) =>
  new Date(text).toLocaleString("en", { day: "numeric", month: "short", hour: "numeric", minute: "2-digit" });
