export const byId = (id) => document.getElementById(id);

/** show replaces the whole view, and moves the focus to its heading for those who do not see it change. */
export function show(template) {
  const first = byId("main").childElementCount === 0 || byId("main").querySelector("noscript");
  byId("main").replaceChildren(byId(template).content.cloneNode(true));
  if (!first) byId("main").querySelector("h1").focus();
}

/** say tells a change to those who see it and to those who hear it. */
export function say(text) {
  byId("state").textContent = text;
}

/** element makes an element with text and attributes. Texts of others are never HTML. */
export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}
