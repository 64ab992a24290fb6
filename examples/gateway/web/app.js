import * as api from "./api.js";
import { showAccount } from "./account.js";
import { byId, say, show } from "./view.js";
import { trouble, waiting } from "./words.js";

let events; // tells that the session has ended
let countdown;

/** signedOut shows the form, and leaves nothing of the account behind. */
function signedOut(why = "") {
  events?.close();
  events = undefined;
  clearInterval(countdown);
  show("signed-out");
  say(why);
  byId("sign-in").addEventListener("submit", submit);
  byId("stranger").addEventListener("click", () => import("./account.js").then((m) => m.callAsStranger()));
}

function signedIn(user) {
  show("signed-in");
  say(`Signed in as ${user.name || user.id}.`);
  showAccount(user, signedOut);
  events?.close();
  events = new EventSource("/events");
  events.addEventListener("signed-out", () => check("Your session has ended."));
  events.addEventListener("error", () => {
    if (events?.readyState === EventSource.CLOSED) check("Your session has ended.");
  });
}

/** check asks the server who is signed in. It is also asked when the browser shows a page that it kept. */
async function check(why) {
  const answer = await api.whoAmI();
  if (answer.status === 200) {
    if (!document.getElementById("who")) signedIn(answer.body.user);
    else if (events?.readyState === EventSource.CLOSED) signedIn(answer.body.user);
  } else if (answer.status === 401) signedOut(why);
  else {
    signedOut();
    complain(trouble(answer));
  }
}

async function submit(event) {
  event.preventDefault();
  const form = event.target;
  const button = form.querySelector("button");
  button.disabled = true;
  const answer = await api.signIn(form.username.value, form.password.value);
  button.disabled = false;
  if (answer.status === 200) {
    signedIn(answer.body.issued.user);
    return;
  }
  form.password.value = "";
  if (answer.status === 429 && answer.wait > 0) wait(button, answer.wait);
  else {
    complain(answer.status === 401 ? "The name or password is wrong." : trouble(answer));
    form.password.focus();
  }
}

/** wait counts the seconds down, since trying before is of no use. */
function wait(button, seconds) {
  const end = Date.now() + seconds * 1000;
  const alert = byId("trouble");
  const tick = () => {
    const left = Math.ceil((end - Date.now()) / 1000);
    if (left > 0) {
      complain(waiting(left));
      return;
    }
    clearInterval(countdown);
    button.disabled = false;
    alert.removeAttribute("aria-live");
    complain("");
    say("You can try again now.");
  };
  button.disabled = true;
  clearInterval(countdown);
  tick();
  alert.setAttribute("aria-live", "off"); // the first second is said aloud, and the others are not
  countdown = setInterval(tick, 1000);
}

function complain(sentence) {
  const alert = byId("trouble");
  alert.textContent = sentence;
  alert.hidden = sentence === "";
}

// A page that the browser kept may show an account that was signed out of since.
addEventListener("pagehide", () => {
  events?.close();
  byId("main").replaceChildren();
  say("");
});
addEventListener("pageshow", (event) => {
  if (event.persisted) check();
});
check();
