import * as api from "./api.js";
import { byId, element, say } from "./view.js";
import { span, time, trouble } from "./words.js";

let leave; // is called when nobody is signed in any more

export function showAccount(user, signedOut) {
  leave = signedOut;
  byId("who").textContent = user.name || user.id;
  byId("sign-out").addEventListener("click", async () => after(await api.signOut(), () => leave("You are signed out.")));
  byId("sign-out-everywhere").addEventListener("click", async () => after(await api.endAllSessions(), () => leave("You are signed out everywhere.")));
  byId("try").addEventListener("submit", async (event) => {
    event.preventDefault();
    showAnswer(await api.echo(event.target.text.value));
  });
  byId("stranger").addEventListener("click", callAsStranger);
  byId("make-key").addEventListener("submit", makeKey);
  byId("copy").addEventListener("click", async () => {
    await navigator.clipboard.writeText(byId("new-key").textContent).then(() => say("The key is copied."), () => say("Select the key to copy it."));
  });
  showSessions();
  showKeys();
}

/** callAsStranger calls without the cookie. */
export async function callAsStranger() {
  showAnswer(await api.echo("Hello, stranger", { credentials: "omit" }), true);
}

/** after goes on if the answer is good, and says what is wrong otherwise. */
function after(answer, next) {
  const alert = byId("trouble");
  if (!alert) return;
  alert.hidden = true;
  if (answer.status === 200) next(answer.body);
  else if (answer.status === 401 && answer.body.reason !== "STEP_UP_REQUIRED") leave(trouble(answer));
  else {
    alert.textContent = trouble(answer);
    alert.hidden = false;
  }
}

function showAnswer(answer, stranger = false) {
  const output = byId("answer");
  if (!output) return;
  const { status, body } = answer;
  const lines = [["HTTP", status], ["Code", body.code ?? (status === 200 ? "OK" : "")], ["Reason", body.reason], ["User", body.userId], ["Text", body.text ?? body.detail]];
  const list = element("dl");
  for (const [name, value] of lines) if (value !== undefined && value !== "") list.append(element("dt", {}, name), element("dd", {}, String(value)));
  output.replaceChildren(list);
  output.hidden = false;
  if (status === 401 && !stranger) leave(trouble(answer));
}

async function showSessions() {
  after(await api.sessions(), ({ sessions }) => {
    const now = Date.now();
    const current = sessions.find((s) => s.current);
    if (current)
      byId("expires").textContent = `This session ends after ${span(new Date(current.expiry) - now)} without use, and in ${span(new Date(current.end) - now)} in any case.`;
    byId("sessions").replaceChildren(...sessions.map(sessionItem));
  });
}

function sessionItem(session) {
  const device = session.deviceName || "Unknown device";
  const name = element("div", {}, device);
  if (session.current) name.append(element("span", { class: "tag" }, "this one"));
  name.append(element("small", {}, `Signed in ${time(session.created)}, last used ${time(session.seen)}${session.address ? `, from ${session.address}` : ""}`));
  const end = element("button", { type: "button", "aria-label": `End session on ${device}` }, "End");
  end.addEventListener("click", async () =>
    after(await api.endSession(session.handle), () => {
      if (session.current) leave("You are signed out.");
      else {
        say(`The session on ${device} has ended.`);
        showSessions();
      }
    }),
  );
  return element("li", {}, name, end);
}

async function showKeys() {
  after(await api.keys(), ({ keys }) => {
    const items = keys.map(keyItem);
    byId("keys").replaceChildren(...(items.length ? items : [element("li", { class: "none" }, "You have no keys.")]));
  });
}

function keyItem(key) {
  const name = element("div", {}, key.name || key.id);
  name.append(element("small", {}, `Made ${time(key.created)}, ${key.lastUsed ? `last used ${time(key.lastUsed)}` : "not used yet"}`));
  const revoke = element("button", { type: "button", "aria-label": `Revoke ${key.name || key.id}` }, "Revoke");
  revoke.addEventListener("click", async () =>
    after(await api.revokeKey(key.id), () => {
      byId("made").hidden = true;
      byId("new-key").textContent = "";
      say(`The key ${key.name} is revoked.`);
      showKeys();
    }),
  );
  return element("li", {}, name, revoke);
}

async function makeKey(event) {
  event.preventDefault();
  const form = event.target;
  after(await api.makeKey(form.name.value), ({ secret, key }) => {
    byId("new-key").textContent = secret;
    byId("made").hidden = false;
    form.reset();
    say(`The key ${key.name} is made.`);
    showKeys();
  });
}
