"use strict";
// One page over the service's own API. Whatever comes from the catalog is set as text, never as markup.

const at = (id) => document.getElementById(id);
const dials = ["language", "diversity", "calibration", "popularity", "novelty"];
const state = { history: [], said: new Map(), map: [], shown: [], talk: [], told: [], number: 0 };
let token = sessionStorage.getItem("token");

let longest = 10; // items of a list, fewer where the artifact has fewer
let other = false; // whether there is a second model to compare with

async function call(path, body) {
  const headers = body ? { "content-type": "application/json" } : {};
  if (token) headers.authorization = `Bearer ${token}`;
  const options = body ? { method: "POST", headers, body: JSON.stringify(body) } : { headers };
  const answer = await fetch(path, options);
  at("token-form").hidden = answer.status !== 401;
  const found = await answer.json();
  if (!answer.ok) throw new Error(found.error.message);
  return found;
}

function element(name, text, properties = {}) {
  const made = Object.assign(document.createElement(name), properties);
  if (text !== undefined) made.textContent = text;
  return made;
}

function fault(error) {
  at("fault").textContent = error ? error.message : "";
  at("fault").hidden = !error;
}

function asker() {
  const user = at("user").value.trim();
  const liked = [...state.said].filter(([, said]) => said === "like").map(([item]) => item);
  const against = [...state.said].filter(([, said]) => said === "not_interested").map(([item]) => item);
  const history = [...state.history.map((item) => item.item_id), ...(user ? [] : liked)];
  const where = [...at("context").querySelectorAll("select")].filter((select) => select.value);
  const context = Object.fromEntries(where.map((select) => [select.name, select.value]));
  return { ...(user ? { user } : {}), history, dislikes: user ? [] : against, context };
}

async function refresh() {
  const number = ++state.number;
  at("cards").classList.add("old");
  const steered = Object.fromEntries(dials.map((name) => [name, Number(at(name).value)]));
  for (const name of dials) document.querySelector(`output[for=${name}]`).textContent = at(name).value;
  const question = { ...asker(), sentence: at("sentence").value, k: longest };
  try {
    const talked = { ...asker(), ...steered, turns: state.talk.map((turn) => turn.said), k: longest };
    const asked = { ...question, ...steered, explain: at("explain").checked };
    const lists = [state.talk.length ? call("/v1/chat", talked) : call("/v1/recommend", asked)];
    if (at("compare").checked) lists.push(call("/v1/recommend", other ? { ...question, other } : { ...question, sentence: "" }));
    const [answer, plain] = await Promise.all(lists);
    if (number !== state.number) return; // a later question is on its way
    fault(null);
    show(answer, plain);
  } catch (error) {
    if (number === state.number) fault(error);
  } finally {
    at("cards").classList.remove("old");
  }
}

function show(answer, plain) {
  state.shown = answer.items;
  if (answer.reply) state.talk.at(-1).reply = answer.reply;
  showTalk();
  at("cards").replaceChildren(...answer.items.map(card));
  at("plain").hidden = !plain;
  at("plain").replaceChildren(...(plain ? plain.items.map(card) : []));
  const basis = { model: "what is known of them", sentence: "the sentence", popularity: "what most people like" };
  const notes = [...answer.notes];
  if (answer.unknown_items.length) notes.push(`not in the catalog: ${answer.unknown_items.length}`);
  const said = `By ${answer.basis.map((name) => basis[name]).join(" and ")}.`;
  at("basis").textContent = [said, ...notes].join(" ");
  const wish = answer.understood;
  const years = wish && [wish.year_from, wish.year_to].some(Boolean) ? `${wish.year_from ?? ""}–${wish.year_to ?? ""}` : "";
  const parts = wish ? [wish.tags.join(", "), wish.no_tags.map((tag) => `no ${tag}`).join(", "), years].filter(Boolean) : [];
  at("understood").textContent = parts.length ? `Understood: ${parts.join("; ")}` : "";
  draw();
}

function card(item) {
  const made = element("li", undefined, { className: "card" });
  made.dataset.item = item.item_id;
  made.append(element("h3", `${item.rank}. ${item.title}`));
  if (item.tags.length) made.append(element("p", item.tags.join(" · "), { className: "tags" }));
  if (item.parts) made.append(element("p", `score: ${told(item.parts)}`, { className: "parts" }));
  if (item.reason) {
    made.append(element("p", item.reason.text));
    if (Object.keys(item.reason.sources).length) made.append(...sources(item.reason.sources));
  }
  const buttons = element("div", undefined, { className: "buttons" });
  for (const [kind, text] of [["like", "Like"], ["not_interested", "Not interested"]]) {
    const button = element("button", text, { type: "button", onclick: () => say(item, kind) });
    button.setAttribute("aria-pressed", String(state.said.get(item.item_id) === kind));
    button.setAttribute("aria-label", `${text}: ${item.title}`);
    buttons.append(button);
  }
  made.append(buttons);
  return made;
}

// What each source lifts the score by, above that of an average item.
function sources(lifts) {
  const whole = Object.values(lifts).reduce((sum, lift) => sum + Math.abs(lift), 1e-9);
  const bar = element("div", undefined, { className: "sources" });
  bar.setAttribute("aria-hidden", "true");
  for (const [name, lift] of Object.entries(lifts)) {
    const part = element("span", undefined, { className: lift < 0 ? `${name} against` : name });
    part.style.width = `${(100 * Math.abs(lift)) / whole}%`;
    bar.append(part);
  }
  return [bar, element("p", `the model's: ${told(lifts)}`, { className: "parts" })];
}

function told(parts) {
  const moved = Object.entries(parts).filter(([, value]) => Math.abs(value) >= 0.005);
  return moved.map(([name, value]) => `${name} ${value.toFixed(2).replace("-", "−")}`).join(", ");
}

// The conversation: what was said, and the reply to each turn.
function showTalk() {
  at("turns").replaceChildren(...state.talk.flatMap(({ said, reply }) => [
    element("li", said, { className: "mine" }),
    ...(reply ? [element("li", reply)] : []),
  ]));
}

function speak(event) {
  event.preventDefault();
  const said = at("turn").value.trim();
  if (!said) return;
  talk([...state.talk, { said }].slice(-50));
}

function talk(turns) {
  state.talk = turns;
  at("turn").value = "";
  at("turn").focus();
  showTalk();
  refresh();
}

async function say(item, kind) {
  const user = at("user").value.trim();
  state.said.set(item.item_id, kind);
  if (!user && kind === "like") remember(item);
  try {
    const told = Object.entries(asker().context).filter(([name]) => state.told.includes(name));
    const done = { user, item_id: item.item_id, kind, context: Object.fromEntries(told) };
    if (user) await call("/v1/events", { events: [done] });
    await refresh();
  } catch (error) {
    fault(error);
  }
}

function remember(item) {
  if (!state.history.some((other) => other.item_id === item.item_id)) state.history.push(item);
  const entries = state.history.map((one) => {
    const entry = element("li", undefined);
    const remove = element("button", "×", { type: "button" });
    remove.setAttribute("aria-label", `Remove ${one.title}`);
    remove.onclick = () => {
      state.history = state.history.filter((other) => other !== one);
      state.said.delete(one.item_id);
      entry.remove();
      refresh();
    };
    entry.append(element("span", one.title), remove);
    return entry;
  });
  at("history").replaceChildren(...entries);
}

// A choice for each column that the model reads of where a request comes from; untouched, the hour is that of now.
function offer(columns) {
  at("context").replaceChildren(...Object.entries(columns).flatMap(([name, values]) => {
    const label = element("label", name.replace(/^./, (first) => first.toUpperCase()), { htmlFor: `context-${name}` });
    const select = element("select", undefined, { id: `context-${name}`, name, onchange: refresh });
    select.append(...["", ...values].map((value) => element("option", value || "not said", { value })));
    return [label, select];
  }));
}

let chosen = -1;
async function search() {
  const typed = at("find").value.trim();
  if (!typed) return close();
  try {
    const found = (await call(`/v1/items?k=8&q=${encodeURIComponent(typed)}`)).items;
    if (typed !== at("find").value.trim()) return;
    chosen = -1;
    at("found").replaceChildren(...found.map((item, place) => {
      const option = element("li", item.title, { id: `option-${place}`, onclick: () => take(item) });
      option.setAttribute("role", "option");
      option.item = item;
      return option;
    }));
    at("found").hidden = !found.length;
    at("find").setAttribute("aria-expanded", String(found.length > 0));
  } catch (error) {
    fault(error);
  }
}

function close() {
  at("found").hidden = true;
  at("find").setAttribute("aria-expanded", "false");
  at("find").removeAttribute("aria-activedescendant");
}

function take(item) {
  remember(item);
  at("find").value = "";
  close();
  refresh();
}

function keys(event) {
  const options = [...at("found").children];
  if (event.key === "Escape") return close();
  if (event.key === "Enter") {
    event.preventDefault();
    const option = options[Math.max(chosen, 0)];
    if (option && !at("found").hidden) take(option.item);
  }
  if (!["ArrowDown", "ArrowUp"].includes(event.key) || !options.length) return;
  event.preventDefault();
  chosen = (chosen + (event.key === "ArrowDown" ? 1 : -1) + options.length) % options.length;
  options.forEach((option, place) => option.setAttribute("aria-selected", String(place === chosen)));
  at("find").setAttribute("aria-activedescendant", options[chosen].id);
  options[chosen].scrollIntoView({ block: "nearest" });
}

function draw() {
  const canvas = at("map"), pen = canvas.getContext("2d");
  const style = getComputedStyle(document.documentElement);
  const [ink, soft, accent] = ["--ink", "--soft", "--accent"].map((name) => style.getPropertyValue(name));
  const place = (item) => [canvas.width * (0.5 + 0.45 * item.x), canvas.height * (0.5 - 0.45 * item.y)];
  pen.clearRect(0, 0, canvas.width, canvas.height);
  const shown = new Map(state.shown.map((item) => [item.item_id, item.rank]));
  pen.font = "15px system-ui, sans-serif";
  for (const item of state.map) {
    const [x, y] = place(item), rank = shown.get(item.item_id);
    pen.globalAlpha = rank ? 1 : 0.45;
    pen.fillStyle = rank ? accent : soft;
    pen.beginPath();
    pen.arc(x, y, rank ? 7 : 3, 0, 7);
    pen.fill();
  }
  pen.globalAlpha = 1;
  pen.fillStyle = ink;
  for (const item of state.map) {
    const rank = shown.get(item.item_id);
    if (!rank) continue;
    const [x, y] = place(item), right = x > canvas.width * 0.7;
    pen.textAlign = right ? "right" : "left";
    pen.fillText(`${rank}. ${item.title.slice(0, 32)}`, x + (right ? -11 : 11), y + 5);
  }
}

function point(event) {
  const canvas = at("map"), box = canvas.getBoundingClientRect();
  const x = ((event.clientX - box.left) / box.width - 0.5) / 0.45, y = (0.5 - (event.clientY - box.top) / box.height) / 0.45;
  const near = state.map.reduce((best, item) => {
    const far = (item.x - x) ** 2 + (item.y - y) ** 2;
    return far < best.far ? { far, item } : best;
  }, { far: 0.003, item: null }).item;
  at("point").textContent = near ? `${near.title}${near.tags.length ? `: ${near.tags.join(", ")}` : ""}` : "";
}

function soon(wait, act) {
  let timer;
  return () => {
    clearTimeout(timer);
    timer = setTimeout(act, wait);
  };
}

async function start() {
  try {
    const about = await call("/v1/model");
    at("model").textContent = `${about.model}: ${about.items.toLocaleString("en")} items, ${about.users.toLocaleString("en")} users`;
    at("users").replaceChildren(...about.some_users.map((user) => element("option", undefined, { value: user })));
    at("sentence").disabled = at("turn").disabled = !about.sentences;
    offer(about.context);
    state.told = about.event_context;
    other = Boolean(about.other);
    longest = Math.min(10, about.k_max);
    if (other) at("beside").textContent = `Beside ${about.other}`;
    state.map = (await call("/v1/map")).items;
    await refresh();
  } catch (error) {
    fault(error);
  }
}

const later = soon(180, refresh);
at("user").addEventListener("input", () => { state.said.clear(); later(); });
at("sentence").addEventListener("input", later);
at("find").addEventListener("input", soon(100, search));
at("find").addEventListener("keydown", keys);
at("chat").addEventListener("submit", speak);
at("over").addEventListener("click", () => talk([]));
at("map").addEventListener("mousemove", point);
for (const name of [...dials, "explain", "compare"]) at(name).addEventListener("input", later);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
at("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  token = at("token").value;
  sessionStorage.setItem("token", token);
  start();
});
start();
