"use strict";

const API = "/api/v1";
const KEY = "quant50-token";
const BUSY = ["starting", "running"];
const LOOK_AGAIN_MS = 2000;
const AT_THE_LIMIT = 0.001;

let readingIsGuarded = false;

const at = (id) => document.getElementById(id);
const money = (x) => x.toLocaleString("en-US", { minimumFractionDigits: 2, maximumFractionDigits: 2 });
const percent = (x) => `${x >= 0 ? "+" : "−"}${Math.abs(100 * x).toFixed(2)} %`;

// -- the API ------------------------------------------------------------------------------------

/** The part of the address after # never leaves the browser: take the token from it, and hide it. */
function takeToken() {
  const given = new URLSearchParams(location.hash.slice(1)).get("token");
  if (given) {
    sessionStorage.setItem(KEY, given);
    history.replaceState(null, "", location.pathname);
  }
}

function authorization() {
  const token = sessionStorage.getItem(KEY);
  return token ? { Authorization: `Bearer ${token}` } : {};
}

class Refused extends Error {
  constructor(status, summary) {
    super(summary);
    this.status = status;
  }
}

async function ask(path, options = {}) {
  const reply = await fetch(API + path, { ...options, headers: { ...authorization(), ...options.headers } });
  const body = await reply.json();
  if (!reply.ok) throw new Refused(reply.status, body.summary);
  return body;
}

const orNothing = (promise) => promise.catch((error) => {
  if (error.status === 404) return null;
  throw error;
});

// -- what is shown ------------------------------------------------------------------------------

function say(text, bad = false) {
  at("said").textContent = text;
  at("said").className = bad ? "bad" : "quiet";
}

function element(name, text = "", kind = "") {
  const made = document.createElement(name);
  made.textContent = text;
  made.className = kind;
  return made;
}

/** Replace the rows of a table; a cell is text, [text, class] or an element. */
function fill(id, rows, empty) {
  const body = at(id).tBodies[0];
  const width = at(id).tHead.rows[0].cells.length;
  body.replaceChildren(...rows.map((cells) => {
    const row = document.createElement("tr");
    for (const cell of cells) {
      if (cell instanceof Node) row.insertCell().append(cell);
      else row.append(element("td", ...[cell].flat()));
    }
    return row;
  }));
  if (!rows.length) body.insertRow().insertCell().append(element("span", empty, "quiet"));
  if (!rows.length) body.rows[0].cells[0].colSpan = width;
}

const state = (name) => element("span", name.replace("_", " "), `state ${name}`);

function draw(values) {
  const low = Math.min(...values), span = Math.max(...values) - low || 1;
  const points = values.map((v, i) => [300 * i / Math.max(values.length - 1, 1), 68 - 64 * (v - low) / span]);
  const line = "M" + points.map((p) => p.map((x) => x.toFixed(2)).join(",")).join("L");
  const paths = [["under", `${line}L300,72L0,72Z`], ["line", line]].map(([kind, d]) => {
    const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
    path.setAttribute("class", kind);
    path.setAttribute("d", d);
    return path;
  });
  at("curve").replaceChildren(...(values.length > 1 ? paths : []));
}

function showEquity(equity) {
  if (!equity.length) return;
  const [now, before] = [equity.at(-1), equity.at(-2)];
  at("equity").textContent = `$ ${money(now.equity)}`;
  const move = before ? (now.equity - now.flow) / before.equity - 1 : null;
  at("change").replaceChildren(
    ...(move === null ? [] : [element("span", percent(move), move < 0 ? "down" : "up"), " on ", element("span", now.session, "whole"), " · "]),
    `cash $ ${money(now.cash)}`,
  );
  draw(equity.map((row) => row.equity));
}

function showLimits(limits) {
  if (!limits.length) return;
  const breached = limits.filter((l) => l.breached);
  at("breaches").textContent = breached.length ? `${breached.length} breached` : "all kept";
  at("breaches").className = `figure ${breached.length ? "down" : ""}`;
  // room left as a share of the limit: the same sense for a cap and for a floor
  const room = (l) => l.headroom / (Math.abs(l.limit) || 1);
  const words = (some) => some.map((l) => l.rule.replaceAll("_", " ")).join(", ");
  const full = limits.filter((l) => room(l) < AT_THE_LIMIT);
  const tightest = [...limits].sort((a, b) => room(a) - room(b)).slice(0, 1);
  if (breached.length) at("tightest").textContent = words(breached);
  else if (full.length) at("tightest").textContent = `at the limit: ${words(full)}`;
  else at("tightest").textContent = `tightest: ${words(tightest)}, ${Math.round(100 * room(tightest[0]))} % left`;
}

function showNewest(run) {
  at("session").textContent = run.run_date;
  at("state").textContent = run.state;
  at("state").className = `state ${run.state}`;
  at("run").textContent = run.run_id;
  at("stages").replaceChildren(...run.stages.map((s) => element("li", s.name, s.state)));
  at("simulated").textContent = run.simulated;
  at("simulated").hidden = !run.simulated;
  at("shadow").textContent = run.shadow;
  at("report").replaceChildren(reportLink(run, "Open the report"));
  showEquity(run.equity);
  showLimits(run.limits);
  if (run.message) say(run.message, true);
}

const counted = (n, what) => `${n} ${what}${n === 1 ? "" : "s"}`;

function showOrders(found) {
  const orders = found ? found.orders : [];
  const of = (side) => orders.filter((o) => o.side === side);
  const sum = (rows) => money(rows.reduce((total, o) => total + o.notional, 0));
  at("count").textContent = found ? found.total : "–";
  at("sides").replaceChildren(...(found ? ["buy", "sell"].map((side) =>
    element("span", `${counted(of(side).length, side)}, $ ${sum(of(side))}`, "line")) : []));
  at("orders-of").textContent = found ? `decided on ${found.run_date}` : "";
  fill("orders", orders.map((o) => [
    o.symbol, [o.side, o.side === "buy" ? "up" : "down"],
    [o.qty.toLocaleString("en-US", { maximumFractionDigits: 4 }), "n"], [money(o.price), "n"],
    [money(o.notional), "n"], o.intent, state(o.state), [o.reason, "quiet"],
  ]), "none yet");
}

/** A link to a report. Where reading needs the token, a plain link would carry none: fetch it. */
function reportLink(run, text = "open") {
  if (!run.report) return "";
  const link = element("a", text);
  link.href = run.report;
  link.target = "_blank";
  link.rel = "noopener";
  link.addEventListener("click", async (event) => {
    if (!readingIsGuarded) return;
    event.preventDefault();
    const reply = await fetch(run.report, { headers: authorization() });
    if (!reply.ok) return say((await reply.json()).summary, true);
    const kind = reply.headers.get("content-type").startsWith("application/pdf") ? "pdf" : "html";
    const saved = element("a");
    saved.href = URL.createObjectURL(await reply.blob());
    saved.download = `diario_${run.run_date.replaceAll("-", "")}.${kind}`;
    saved.click();
    URL.revokeObjectURL(saved.href);
  });
  return link;
}

function showRuns(runs) {
  const seconds = (run) => run.stages.reduce((total, s) => total + (s.seconds || 0), 0);
  fill("runs", runs.map((run) => [
    run.run_date, run.schedule, state(run.state), [seconds(run).toFixed(1), "n"], [run.run_id, "quiet"],
    reportLink(run),
  ]), "none yet: choose a session above, or `quant50 run`");
}

// -- what is done -------------------------------------------------------------------------------

async function look(id = null) {
  const health = await ask("/health");
  readingIsGuarded = health.data.token_to_read;
  at("version").textContent = `version ${health.data.version} · ${health.data.broker}`;
  const runs = await ask("/runs?limit=30");
  at("ask").hidden = true;
  at("desk").hidden = false;
  showRuns(runs.data);
  showOrders((await orNothing(ask("/orders?limit=1000")))?.data);
  const shown = id || (runs.data.find((run) => run.schedule === "daily") || {}).run_id;
  const run = shown ? (await ask(`/runs/${shown}`)).data : null;
  say(run ? "" : runs.summary);
  if (run) showNewest(run);
  if (run && !run.equity.length) await showOlderEquity(runs.data);
  const busy = health.data.busy || (run && BUSY.includes(run.state));
  at("start").querySelector("button").disabled = Boolean(busy);
  if (busy) setTimeout(() => attempt(() => look(id)), LOOK_AGAIN_MS);
}

/** A run that has not come so far has no equity yet: show that of the newest one that is whole. */
async function showOlderEquity(runs) {
  const whole = runs.find((run) => run.schedule === "daily" && run.state === "sealed");
  if (whole) showEquity((await ask(`/runs/${whole.run_id}`)).data.equity);
}

async function attempt(work) {
  try {
    await work();
  } catch (error) {
    if (error.status === 401) at("ask").hidden = false;
    say(error.message, true);
  }
}

async function start(event) {
  event.preventDefault();
  const date = at("date").value;
  const reply = await ask("/run", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(date ? { date } : {}),
  });
  await look(reply.data.run_id);
  say(reply.summary);
}

document.addEventListener("DOMContentLoaded", () => {
  takeToken();
  at("ask").addEventListener("submit", (event) => {
    event.preventDefault();
    sessionStorage.setItem(KEY, at("token").value);
    attempt(look);
  });
  at("start").addEventListener("submit", (event) => attempt(() => start(event)));
  attempt(look);
});
