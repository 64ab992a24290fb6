// SPDX-License-Identifier: Apache-2.0

// Drives the page of examples/gateway in Chromium, and prints a line of JSON about each scenario: its name, and what was wrong.
import { createRequire } from "node:module";
import { createServer } from "node:http";
import { createServer as createTLSServer } from "node:https";
import { readFileSync } from "node:fs";
import { chromium } from "playwright-core";

// hasty is a server that lets few guesses pass, certificate one for a page of an attacker.
const { url, hasty, password, program, screenshots, certificate } = JSON.parse(process.argv[2]);
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const browser = await chromium.launch({ executablePath: program, args: ["--no-sandbox"] });

let wrong = []; // what the running scenario found

function want(holds, what) {
  if (!holds) wrong.push(what);
}

/** visit opens the page as a new visitor, who notices all that should not be. */
async function visit(options = {}, base = url) {
  const context = await browser.newContext({ ignoreHTTPSErrors: true, ...options });
  context.setDefaultTimeout(15000);
  const page = await context.newPage();
  await notice(page, base);
  await page.goto(base + "/");
  await button(page, "Sign in").waitFor();
  return page;
}

async function notice(page, base) {
  page.on("pageerror", (error) => wrong.push(`an error in a script: ${error}`));
  page.on("console", (message) => {
    // Chromium itself says this of the answers that a scenario is about.
    const expected = /^Failed to load resource: the server responded with a status of (401|403|429)/;
    if (message.type() === "error" && !expected.test(message.text())) wrong.push(`on the console: ${message.text()}`);
  });
  page.on("request", (request) => want(request.url().startsWith(base), `a request to ${request.url()}`));
}

const button = (page, name) => page.getByRole("button", { name, exact: true });
const heading = (page, name) => page.getByRole("heading", { name, exact: true });

async function fill(page, secret = password) {
  await page.getByRole("textbox", { name: "Name", exact: true }).fill("alice");
  await page.getByLabel("Password", { exact: true }).fill(secret);
  const answered = page.waitForResponse((response) => response.url().endsWith("/v1/auth/login"));
  await button(page, "Sign in").click();
  await (await answered).finished();
}

async function signIn(options = {}) {
  const page = await visit(options);
  await fill(page);
  await heading(page, "Your account").waitFor();
  return page;
}

async function shot(page, name) {
  if (screenshots) await page.screenshot({ path: `${screenshots}/${name}.png`, fullPage: true });
}

const text = (page, id) => page.locator(`#${id}`).innerText();
const items = (page, name) => page.getByRole("list", { name }).getByRole("listitem");

/** showsAccount finds what only the signed-in user may see. */
async function showsAccount(page) {
  const html = await page.content();
  const outside = html.replace(/<template[\s\S]*?<\/template>/g, "");
  return /alice|Signed in as|End session|echo_test_/.test(outside);
}

/** attack answers with a page that posts to what its address names: as a form, or from a script, with a body of no type or without a body. */
function attack(request, response) {
  response.setHeader("Content-Type", "text/html");
  const address = new URL(request.url, url);
  const target = url + address.searchParams.get("path");
  const post = (body) => `<script>fetch("${target}", {method: "POST", mode: "no-cors", credentials: "include", body: ${body}}).finally(() => document.title = "done")</script>`;
  response.end({
    "/form": `<form id="f" method="post" enctype="text/plain" action="${target}"><input name='{"name":"evil","a":"' value='"}'></form><script>f.submit()</script>`,
    "/fetch": post(`new Blob(['{"name":"evil"}'])`),
    "/bare": post("null"),
  }[address.pathname]);
}

async function listen(server) {
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  return [server, server.address().port];
}

const scenarios = {
  "signs in, stays signed in, and out": async () => {
    const page = await signIn();
    want((await text(page, "who")) === "alice", `who: ${await text(page, "who")}`);
    await page.locator("#expires", { hasText: /30 minutes without use, and in 12 hours/ }).waitFor();
    want(await heading(page, "Your account").evaluate((e) => e === document.activeElement), "the focus did not follow the view");
    await page.reload();
    await heading(page, "Your account").waitFor();
    await button(page, "Sign out").click();
    await heading(page, "Sign in").waitFor();
    want(!(await showsAccount(page)), "the account is still in the page");
    await page.reload();
    await heading(page, "Sign in").waitFor();
  },
  "says what a wrong password is": async () => {
    const page = await visit();
    await fill(page, "guess");
    await page.getByRole("alert").filter({ hasText: "The name or password is wrong." }).waitFor();
    want((await page.locator("#who").count()) === 0, "somebody is signed in");
    want((await page.getByLabel("Password", { exact: true }).inputValue()) === "", "the wrong password is still there");
    await fill(page);
    await heading(page, "Your account").waitFor();
  },
  "makes guessers wait": async () => {
    const page = await visit({}, hasty);
    for (let i = 0; i < 3; i++) {
      await fill(page, `guess ${i}`);
      await page.getByRole("alert").filter({ hasText: /wrong|Wait/ }).waitFor();
      await page.getByRole("alert").filter({ hasText: i < 2 ? "wrong" : "Wait" }).waitFor();
    }
    const seconds = async () => Number(/Wait (\d+) second/.exec(await page.getByRole("alert").innerText())?.[1]);
    const first = await seconds();
    want(first > 1 && first <= 60, `the wait is ${first}`);
    want(await button(page, "Sign in").isDisabled(), "the button is not disabled");
    await page.waitForFunction((n) => Number(/Wait (\d+)/.exec(document.querySelector("[role=alert]").textContent)?.[1]) < n, first);
  },
  "calls the API, and shows what strangers get": async () => {
    const page = await signIn();
    await page.getByRole("textbox", { name: "Text to echo" }).fill("<b>hello</b>");
    await button(page, "Call").click();
    await page.locator("#answer", { hasText: "200" }).waitFor();
    for (const part of ["OK", "alice", "<b>hello</b>"]) want((await text(page, "answer")).includes(part), `no ${part} in ${await text(page, "answer")}`);
    await button(page, "Call without signing in").click();
    await page.locator("#answer", { hasText: "UNAUTHENTICATED" }).waitFor();
    for (const part of ["401", "CREDENTIALS_MISSING"]) want((await text(page, "answer")).includes(part), `no ${part} in ${await text(page, "answer")}`);
    want(await heading(page, "Your account").isVisible(), "the call of a stranger ended the session");
  },
  "notices that its session was ended in another window": async () => {
    const here = await signIn();
    const elsewhere = await signIn();
    await items(elsewhere, "Sessions").first().waitFor();
    const others = items(elsewhere, "Sessions").filter({ hasNotText: "this one" });
    while ((await others.count()) > 0) {
      const n = await others.count();
      await others.first().getByRole("button", { name: /^End session on / }).click();
      await elsewhere.waitForFunction((n) => document.querySelectorAll("#sessions li").length === n, n);
    }
    await heading(here, "Sign in").waitFor();
    want(!(await showsAccount(here)), "the account is still in the page");
    want(await heading(elsewhere, "Your account").isVisible(), "the other window is signed out too");
  },
  "signs out everywhere": async () => {
    const here = await signIn();
    const elsewhere = await signIn();
    await button(elsewhere, "Sign out everywhere").click();
    await heading(elsewhere, "Sign in").waitFor();
    await heading(here, "Sign in").waitFor();
    want((await here.context().request.get(url + "/v1/auth/whoami")).status() === 401, "the session is still good");
  },
  "makes a key, shows it once, and revokes it": async () => {
    const page = await signIn();
    await page.getByRole("textbox", { name: "Name of the key" }).fill("backup");
    await button(page, "Make a key").click();
    await page.locator("#new-key", { hasText: "echo_test_" }).waitFor();
    const key = await text(page, "new-key");
    const call = () => fetch(url + "/v1/echo/hello", { headers: { "X-Api-Key": key } }).then((r) => r.status);
    want((await call()) === 200, "the key is not good");
    await page.reload();
    await button(page, "Revoke backup").waitFor();
    want(!(await page.content()).includes(key), "the key is shown again");
    await button(page, "Revoke backup").click();
    await page.getByText("You have no keys.").waitFor();
    want((await call()) === 401, "the key is still good");
  },
  "does nothing for pages of other origins": async () => {
    const page = await signIn();
    const [evil, port] = await listen(createServer(attack));
    const origin = `http://localhost:${port}`; // another site than 127.0.0.1
    for (const path of ["/v1/auth/keys", "/v1/auth/logout", "/v1/auth/sessions:revoke"]) {
      const other = await page.context().newPage();
      const answered = other.waitForResponse((r) => r.url() === url + path && r.request().method() === "POST");
      await other.goto(`${origin}/form?path=${path}`);
      const status = (await answered).status();
      want(status === 401 || status === 403, `the form to ${path}: ${status}`);
      await other.goto(`${origin}/fetch?path=${path}`);
      await other.waitForFunction(() => document.title === "done");
      await other.close();
    }
    evil.close();
    // The same with the cookie, which the browser did not send: SameSite and the server's own check do not rely on each other.
    const cookies = await page.context().cookies(url);
    const cookie = cookies.map((c) => `${c.name}=${c.value}`).join("; ");
    for (const headers of [{ "Sec-Fetch-Site": "cross-site" }, { Origin: origin }, { "Content-Type": "text/plain" }, { "X-HTTP-Method-Override": "DELETE" }]) {
      const response = await fetch(url + "/v1/auth/keys", { method: "POST", headers: { "Content-Type": "application/json", Cookie: cookie, ...headers }, body: '{"name":"evil"}' });
      want(response.status === 403, `${JSON.stringify(headers)}: ${response.status}`);
    }
    await page.reload();
    await page.getByText("You have no keys.").waitFor();
  },
  "does nothing for another origin of its own site": async () => {
    const page = await signIn();
    // Ports do not tell sites apart: what listens on another one is sent the cookie in spite of SameSite.
    const [evil, port] = await listen(createTLSServer({ cert: certificate, key: certificate }, attack));
    for (const path of ["/v1/auth/keys", "/v1/auth/logout", "/v1/auth/sessions:revoke"])
      for (const how of ["form", "fetch", "bare"]) {
        const other = await page.context().newPage();
        const answered = other.waitForResponse((r) => r.url() === url + path && r.request().method() === "POST");
        await other.goto(`https://127.0.0.1:${port}/${how}?path=${path}`);
        const answer = await answered;
        const { cookie } = await answer.request().allHeaders(); // the browser does not tell what it sends for scripts of others
        want(how !== "form" || cookie?.startsWith("__Host-session="), `no cookie was sent to ${path}`);
        want(answer.status() === 403, `the ${how} to ${path}: ${answer.status()}`);
        await other.close();
      }
    evil.close();
    await page.reload();
    await page.getByText("You have no keys.").waitFor();
  },
  "keeps the cookie from scripts": async () => {
    const page = await signIn();
    want((await page.evaluate(() => document.cookie)) === "", "a script sees the cookie");
    want((await page.evaluate(() => localStorage.length + sessionStorage.length)) === 0, "something is kept in the browser");
    const cookies = await page.context().cookies();
    want(cookies.length === 1, `cookies: ${cookies.length}`);
    const { name, secure, httpOnly, sameSite, path } = cookies[0];
    want(name === "__Host-session" && secure && httpOnly && sameSite === "Lax" && path === "/", JSON.stringify({ name, secure, httpOnly, sameSite, path }));
    await button(page, "Sign out").click();
    await heading(page, "Sign in").waitFor();
    want((await page.context().cookies()).length === 0, "the cookie is still there");
  },
  "shows nothing private to the button back": async () => {
    const page = await signIn();
    await items(page, "Sessions").first().waitFor();
    await page.goto(url + "/icon.svg");
    await page.context().request.post(url + "/v1/auth/logout", { data: {} }); // signed out in another window meanwhile
    await page.goBack();
    await heading(page, "Sign in").waitFor();
    want(!(await showsAccount(page)), "the account is shown");
    // A page that the browser kept is emptied when it is left, and asks again when it is shown.
    await fill(page);
    await heading(page, "Your account").waitFor();
    await page.evaluate(() => dispatchEvent(new PageTransitionEvent("pagehide", { persisted: true })));
    want(!(await showsAccount(page)), "the account is kept when the page is left");
    await page.evaluate(() => dispatchEvent(new PageTransitionEvent("pageshow", { persisted: true })));
    await heading(page, "Your account").waitFor();
    await page.evaluate(() => dispatchEvent(new PageTransitionEvent("pagehide", { persisted: true })));
    await page.context().request.post(url + "/v1/auth/logout", { data: {} });
    await page.evaluate(() => dispatchEvent(new PageTransitionEvent("pageshow", { persisted: true })));
    await heading(page, "Sign in").waitFor();
  },
};

/** views are looked at in each size and colour. */
const views = {
  "signed out": async (o) => visit(o),
  "wrong password": async (o) => {
    const page = await visit(o);
    await fill(page, "guess");
    await page.getByRole("alert").filter({ hasText: "wrong" }).waitFor();
    return page;
  },
  "throttled": async (o) => {
    const page = await visit(o, hasty);
    const alert = page.getByRole("alert").filter({ hasText: /wrong|Wait/ });
    do {
      await fill(page, "guess");
      await alert.waitFor();
    } while (!(await alert.innerText()).includes("Wait"));
    return page;
  },
  "signed in": async (o) => {
    const page = await signIn(o);
    await button(page, "Call").click();
    await page.locator("#answer", { hasText: "200" }).waitFor();
    await page.getByRole("textbox", { name: "Name of the key" }).fill("a-name-without-a-space-that-is-as-long-as-a-name-of-a-key-may-be");
    await button(page, "Make a key").click();
    await page.locator("#new-key", { hasText: "echo_test_" }).waitFor();
    await button(page, "Revoke a-name-without-a-space-that-is-as-long-as-a-name-of-a-key-may-be").waitFor();
    return page;
  },
};
for (const [view, open] of Object.entries(views))
  for (const width of [1280, 390])
    for (const colorScheme of ["light", "dark"])
      scenarios[`${view}, ${width} wide, ${colorScheme}, is for everybody`] = async () => {
        const page = await open({ viewport: { width, height: 800 }, colorScheme });
        await shot(page, `${view}-${width}-${colorScheme}`.replaceAll(" ", "-"));
        const overflow = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
        want(overflow <= 0, `${overflow} px are out of sight`);
        // Not as a script of the page, which may run none but its own.
        await page.evaluate(axe);
        const { violations } = await page.evaluate(() => globalThis.axe.run());
        for (const v of violations) if (v.impact === "serious" || v.impact === "critical") wrong.push(`${v.id}: ${v.help}: ${v.nodes.map((n) => n.target).join(" ")}`);
        const revoke = page.getByRole("button", { name: /^Revoke / });
        if ((await revoke.count()) > 0) {
          await revoke.first().click();
          await page.getByText("You have no keys.").waitFor();
        }
      };

for (const [name, run] of Object.entries(scenarios)) {
  wrong = [];
  try {
    await run();
  } catch (error) {
    wrong.push(String(error));
  }
  for (const context of browser.contexts()) await context.close();
  console.log(JSON.stringify({ name, wrong }));
}
await browser.close();
