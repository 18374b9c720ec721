// @ts-check
// Shows on the home page which process serves this tab, from its messages over /live.

/** @typedef {{port: number, pid: number, uptime_seconds: number, connections: number,
 *   lag_milliseconds: number, release: string}} Tick - the message that arrives each second */

const SERVICE_RESTART = 1012;
const SIGNED_OUT = 4401;
const SILENCE_MILLISECONDS = 10_000;
const LONGEST_PAUSE_SECONDS = 15;
const TRAIL_LENGTH = 12;

/** @param {string} name */
function part(name) {
  const element = document.getElementById(`live-${name}`);
  if (!element) throw new Error(`home.html has no element with the id live-${name}`);
  return element;
}

const panel = part("panel");
let failures = 0;
let timer = 0;

// The words of this script are in home.html, translated, with a place for one value.
/** @param {string} name - of a data- attribute @param {string} value */
function words(name, value) {
  return (panel.dataset[name] ?? "").replace(/\{\w+\}/, () => value);
}

/** @param {"connecting" | "connected" | "waiting" | "stopped"} state @param {string} value */
function setState(state, value = "") {
  panel.dataset.state = state;
  part("state").textContent = words(state, value);
}

function connect() {
  setState("connecting");
  const socket = new WebSocket(`${location.origin.replace("http", "ws")}/live`);
  socket.onclose = ({ code }) => lose(socket, code);
  socket.onmessage = ({ data }) => {
    watch(socket);
    show(JSON.parse(data));
  };
  watch(socket);
}

// A connection can break without a close (a sleeping laptop, another network): silence ends it, too.
/** @param {WebSocket} socket */
function watch(socket) {
  clearTimeout(timer);
  timer = setTimeout(lose, SILENCE_MILLISECONDS, socket);
}

/** @param {WebSocket} socket @param {number} [code] */
function lose(socket, code) {
  clearTimeout(timer);
  socket.onclose = socket.onmessage = null;
  socket.close();
  if (code === SIGNED_OUT) {
    setState("stopped");
    part("sign-in").hidden = false;
    return;
  }
  // A random pause spreads the clients of a stopped process, so that they do not all return at once.
  const longest = Math.min(2 ** failures, LONGEST_PAUSE_SECONDS);
  const seconds = Math.random() * (code === SERVICE_RESTART ? Math.max(longest, 2) : longest);
  failures += 1;
  setState("waiting", String(Math.ceil(seconds)));
  timer = setTimeout(resume, seconds * 1000);
}

// A hidden page waits until it is visible again.
function resume() {
  if (panel.dataset.state !== "waiting" || document.hidden) return;
  clearTimeout(timer);
  connect();
}

/** @param {Tick} tick */
function show(tick) {
  if (panel.dataset.state !== "connected") {
    failures = 0;
    setState("connected");
    draw(`${tick.port}/${tick.pid}`);
  }
  part("port").textContent = String(tick.port);
  part("pid").textContent = String(tick.pid);
  part("release").textContent = tick.release;
  part("uptime").textContent = duration(tick.uptime_seconds);
  part("connections").textContent = String(tick.connections);
  part("lag").textContent = `${tick.lag_milliseconds.toFixed(1)} ms`;
}

/** @param {number} total */
function duration(total) {
  const seconds = Math.floor(total);
  const minutes = Math.floor(total / 60);
  const hours = Math.floor(total / 3600);
  if (hours >= 24) return `${Math.floor(hours / 24)} d ${hours % 24} h`;
  if (hours > 0) return `${hours} h ${minutes % 60} min`;
  return minutes > 0 ? `${minutes} min ${seconds % 60} s` : `${seconds} s`;
}

// One line for each process, one dot for each of the last connections of this tab.
/** @param {string} newest - port and process id */
function draw(newest) {
  const past = sessionStorage.getItem("trail")?.split(" ") ?? [];
  const trail = [...past, newest].slice(-TRAIL_LENGTH);
  sessionStorage.setItem("trail", trail.join(" "));
  const lanes = [...new Set(trail)].sort();
  /** @param {string} server */
  const y = (server) => 20 * lanes.indexOf(server) + 10;
  const chart = part("trail");
  chart.setAttribute("height", String(20 * lanes.length));
  chart.setAttribute("aria-label", words("trail", trail.join(", ")));
  chart.replaceChildren(
    ...lanes.map((server) => shape("text", { x: 0, y: y(server) }, server)),
    ...lanes.map((server) => shape("line", { x1: 110, x2: "100%", y1: y(server), y2: y(server) })),
    ...trail.reverse().map((server, age) =>
      shape("circle", { cx: `${98 - 5.4 * age}%`, cy: y(server), r: 4 })),
  );
}

/** @param {string} name @param {Record<string, string | number>} attributes @param {string} text */
function shape(name, attributes, text = "") {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, String(value));
  element.textContent = text;
  return element;
}

document.addEventListener("visibilitychange", resume);
addEventListener("online", resume);
connect();
