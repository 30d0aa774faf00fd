"use strict";
// One page, no library. The station tells (server-sent events); the page shows, and asks by POST.

const at = (id) => document.getElementById(id);
const SILENT_MS = 3000; // nothing heard for so long: an old OK must not stand there
const SHAPES = {
  ok: "M10 26 L20 36 L39 13",
  alarm: "M24 6 L24 29 M24 41 L24 41.5",
  fault: "M12 12 L36 36 M36 12 L12 36",
  starting: "M24 8 L24 25 L35 32",
  lost: "M10 24 L14 24 M23 24 L25 24 M34 24 L38 24",
};
const ALARM_WORDS = {
  "normal": "no alarm",
  "unacknowledged-active": "waits to be acknowledged",
  "acknowledged-active": "acknowledged, still active",
  "returned-to-normal-unacknowledged": "over, waits to be acknowledged",
  "latched-unacknowledged": "latched, waits to be acknowledged",
  "latched-acknowledged": "latched, acknowledged: reset it",
  "shelved": "shelved",
};

const state = { status: null, columns: new Map(), now: 0, heardMs: 0, source: null, shown: 0, palette: null, fetching: false };

function put(node, text) {
  if (node.textContent !== text) node.textContent = text;
}
function number(value, digits = 4) {
  return value === null || value === undefined ? "–" : Number(value.toPrecision(digits)).toString();
}
function spell(seconds) {
  const s = Math.max(0, Math.round(seconds));
  if (s < 60) return `${s}\u00a0s`;
  if (s < 3600) return `${Math.floor(s / 60)}\u00a0min`;
  if (s < 86400) return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
  return `${Math.floor(s / 86400)} d ${Math.floor((s % 86400) / 3600)} h`;
}

// ---- contact -------------------------------------------------------------------------------------------------------
function connect() {
  if (state.source) state.source.close();
  const source = (state.source = new EventSource("/stream"));
  source.addEventListener("status", (e) => { state.heardMs = Date.now(); showStatus(JSON.parse(e.data)); });
  source.addEventListener("trend", (e) => takeTrend(JSON.parse(e.data)));
  source.addEventListener("events", (e) => showEvents(JSON.parse(e.data).events));
  source.onerror = () => {
    if (source.readyState === EventSource.CLOSED) setTimeout(begin, 1500);
  };
}
async function begin() {
  try {
    const answer = await fetch("/session");
    if (!(await answer.json()).open) return at("login").open || at("login").showModal();
  } catch {
    return setTimeout(begin, 1500);
  }
  if (!state.palette) state.palette = fetch("/palette").then((r) => r.arrayBuffer()).then(inverse);
  connect();
}
function watchContact() {
  const silentMs = Date.now() - state.heardMs;
  if (silentMs < SILENT_MS) return;
  const since = state.heardMs ? `Last heard of ${spell(silentMs / 1000)} ago. ` : "";
  showVerdict("lost", "NO CONTACT", `${since}Is the station running, and the network up?`);
  put(at("contact"), "no contact");
  at("view").classList.add("old");
  for (const id of ["acknowledge", "reset", "shelve"]) at(id).disabled = true;
}

// ---- verdict -------------------------------------------------------------------------------------------------------
function showVerdict(verdict, word, reason) {
  if (document.body.dataset.verdict !== verdict) {
    document.body.dataset.verdict = verdict;
    put(at("spoken"), `${word}. ${reason}`);
    document.title = `${word} – ${state.status ? state.status.station : "station"}`;
  }
  at("lamp-shape").setAttribute("d", SHAPES[verdict]);
  put(at("word"), word);
  put(at("reason"), reason);
}
function reasonOf(s) {
  const faults = Object.values(s.faults);
  if (faults.length) return `Cannot see: ${faults.join("; ")}`;
  if (s.verdict === "alarm") return `Alarm ${s.occurrence}: ${ALARM_WORDS[s.alarm]}`;
  if (s.verdict === "starting") return s.note || "No frame was scored yet.";
  if (s.shelved) return "The alarm is shelved: outputs are masked.";
  if (!s.acknowledged) return `Alarm ${s.occurrence} is over and waits to be acknowledged.`;
  return `Looks normal, ${s.fps.toFixed(1)} frames per second`;
}
function showStatus(s) {
  state.status = s;
  showVerdict(s.verdict, s.word, reasonOf(s));
  document.body.dataset.waiting = s.acknowledged ? "no" : "yes";
  put(at("station"), s.station);
  put(at("camera-name"), [s.bundle, s.camera].filter(Boolean).join(" · "));
  put(at("contact"), `live · up ${spell(s.uptime_s)}`);
  put(at("score"), number(s.score));
  put(at("score-name"), s.verdict === "fault" ? "Last score" : "Score");
  put(at("threshold"), number(s.threshold));
  put(at("alarm-state"), (s.occurrence ? `A${s.occurrence}: ` : "") + ALARM_WORDS[s.alarm] + (s.flooded ? ", flood" : ""));
  at("acknowledge").disabled = s.acknowledged;
  at("reset").disabled = s.alarm !== "latched-acknowledged";
  at("shelve").disabled = false;
  put(at("shelve"), s.shelved ? "Unshelve" : "Shelve");
  at("minutes").disabled = s.shelved;
  showFacts(s);
  showPictureAge(s);
}
function showFacts(s) {
  const camera = Object.keys(s.faults).length ? Object.values(s.faults).join("; ") : s.score === null ? "not seen yet" : "healthy";
  const health = [
    ["Camera", camera, Object.keys(s.faults).length > 0],
    ["Frame rate", `${s.fps.toFixed(1)} per second`],
    ["Frames judged", `${s.frames}, left out ${s.frames_left_out}`],
    ["Pipeline", `${s.memory_mb.toFixed(0)} MB, ${s.restarts} restarts`, s.restarts > 0],
    ...Object.entries(s.outputs).map(([name, text]) => [name, text, /lost|silent|failed/i.test(text)]),
  ];
  fill(at("health"), health);
  fill(at("identity"), [
    ["Bundle", `${s.bundle || "–"} ${s.bundle_identity.slice(0, 12)}`],
    ["Model", s.model_hash.slice(0, 12) || "–"],
    ["Engine", s.engine || "–"],
    ["Camera", s.camera || "–"],
    ["Threshold", s.note || "–"],
    ["Configuration", s.config_version],
  ]);
  const stages = at("stages");
  for (const [name, t] of Object.entries(s.stages)) {
    let row = stages.querySelector(`[data-stage="${name}"]`);
    if (!row) {
      row = stages.insertRow();
      row.dataset.stage = name;
      const head = document.createElement("th");
      head.scope = "row";
      head.textContent = name;
      row.append(head, ...[0, 1, 2].map(() => document.createElement("td")));
    }
    [t.p50_ms, t.p99_ms, t.max_ms].forEach((v, i) => put(row.cells[i + 1], v.toFixed(2)));
  }
}
function fill(list, facts) {
  while (list.children.length > 2 * facts.length) list.lastChild.remove();
  facts.forEach(([name, text, bad], i) => {
    if (!list.children[2 * i]) list.append(document.createElement("dt"), document.createElement("dd"));
    put(list.children[2 * i], name);
    put(list.children[2 * i + 1], text);
    list.children[2 * i + 1].classList.toggle("bad", Boolean(bad));
  });
}

// ---- live picture --------------------------------------------------------------------------------------------------
function showPictureAge(s) {
  const old = s.picture_age_s === null || s.picture_age_s > 2;
  at("view").classList.toggle("old", old);
  at("no-picture").hidden = !old;
  put(at("no-picture"), s.picture_age_s === null ? "No live picture yet" : `No live picture for ${spell(s.picture_age_s)}`);
  put(at("picture-note"), old ? "" : `frame ${s.picture}`);
  if (!document.hidden && !state.fetching && (old || s.picture !== state.shown)) showPicture();
}
async function showPicture() {
  state.fetching = true;
  try {
    const answer = await fetch("/live");
    if (answer.status === 200) {
      const bytes = await answer.arrayBuffer();
      const size = new DataView(bytes).getUint32(0);
      const [frame, heat] = await Promise.all([bytes.slice(4, 4 + size), bytes.slice(4 + size)].map(
        (part) => createImageBitmap(new Blob([part], { type: "image/jpeg" }))));
      paint(frame, heat, await state.palette);
      state.shown = Number(answer.headers.get("x-sequence"));
    }
  } catch { /* the next status tries again; silence is told by the verdict */ }
  state.fetching = false;
}
function paint(frame, heat, levels) {
  const below = at("frame"), above = at("heat");
  if (below.width !== frame.width || below.height !== frame.height) Object.assign(below, { width: frame.width, height: frame.height });
  below.getContext("2d").drawImage(frame, 0, 0);
  const scale = Math.min(1, 256 / heat.width);
  const width = Math.max(1, Math.round(heat.width * scale)), height = Math.max(1, Math.round(heat.height * scale));
  if (above.width !== width || above.height !== height) Object.assign(above, { width, height });
  const pen = above.getContext("2d", { willReadFrequently: true });
  pen.drawImage(heat, 0, 0, width, height);
  const image = pen.getImageData(0, 0, width, height), p = image.data;
  for (let i = 0; i < p.length; i += 4) p[i + 3] = levels[((p[i] >> 4) << 8) | ((p[i + 1] >> 4) << 4) | (p[i + 2] >> 4)];
  pen.putImageData(image, 0, 0);
}
// From a colour (4 bits per channel) back to its heat 0..255, which becomes its opacity.
function inverse(buffer) {
  const palette = new Uint8Array(buffer), levels = new Uint8Array(4096);
  for (let c = 0; c < 4096; c++) {
    const r = ((c >> 8) & 15) * 17, g = ((c >> 4) & 15) * 17, b = (c & 15) * 17;
    let best = Infinity;
    for (let t = 0; t < 256; t++) {
      const d = (palette[3 * t] - r) ** 2 + (palette[3 * t + 1] - g) ** 2 + (palette[3 * t + 2] - b) ** 2;
      if (d < best) { best = d; levels[c] = t < 24 ? 0 : t; }
    }
  }
  return levels;
}

// ---- trend ---------------------------------------------------------------------------------------------------------
function takeTrend(told) {
  if (told.columns.length > 5) state.columns.clear();
  if (told.now < state.now) state.columns.clear(); // another start of the machine
  state.now = told.now;
  for (const [second, low, high] of told.columns) state.columns.set(second, [low, high]);
  for (const second of state.columns.keys()) if (second < told.now - 600) state.columns.delete(second);
  drawTrend();
}
function drawTrend() {
  const canvas = at("trend"), ratio = window.devicePixelRatio || 1;
  const width = canvas.clientWidth, height = canvas.clientHeight;
  if (!width || !height) return;
  canvas.width = width * ratio;
  canvas.height = height * ratio;
  const pen = canvas.getContext("2d"), css = getComputedStyle(document.documentElement);
  const colour = (name) => css.getPropertyValue(name).trim();
  pen.scale(ratio, ratio);
  const limit = state.status ? state.status.threshold : null;
  let top = limit === null ? 0 : 1.35 * limit;
  for (const [, high] of state.columns.values()) top = Math.max(top, 1.05 * high);
  top = top > 0 ? top : 1;
  const left = 44, bottom = height - 20;
  const x = (second) => left + (width - left - 6) * (1 - (state.now - second) / 600);
  const y = (score) => 6 + (bottom - 6) * (1 - Math.max(0, score) / top);
  pen.font = "12px system-ui, sans-serif";
  pen.fillStyle = colour("--quiet");
  pen.strokeStyle = colour("--line");
  pen.lineWidth = 1;
  for (const part of [0, 0.5, 1]) {
    pen.beginPath();
    pen.moveTo(left, y(part * top));
    pen.lineTo(width - 6, y(part * top));
    pen.stroke();
    pen.textAlign = "right";
    pen.fillText(number(part * top, 2), left - 6, y(part * top) + 4);
  }
  pen.textAlign = "center";
  for (const minutes of [10, 5, 0]) pen.fillText(minutes ? `−${minutes} min` : "now", Math.min(width - 20, Math.max(left + 18, x(state.now - 60 * minutes))), height - 4);
  const wide = Math.max(1.5, (width - left) / 600);
  for (const [second, [low, high]] of state.columns) {
    pen.fillStyle = colour(limit !== null && high > limit ? "--over" : "--trend");
    const above = y(high);
    pen.fillRect(x(second) - wide, above, wide, Math.max(2, y(low) - above));
  }
  if (limit === null) return;
  pen.strokeStyle = colour("--over");
  pen.setLineDash([6, 4]);
  pen.lineWidth = 1.5;
  pen.beginPath();
  pen.moveTo(left, y(limit));
  pen.lineTo(width - 6, y(limit));
  pen.stroke();
  const over = [...state.columns.values()].filter(([, high]) => high > limit).length;
  canvas.setAttribute("aria-label", `Score over the last ten minutes: ${over} seconds above the threshold ${number(limit)}`);
}

// ---- events --------------------------------------------------------------------------------------------------------
function showEvents(events) {
  const list = at("events");
  at("no-events").hidden = events.length > 0;
  const known = new Map([...list.children].map((row) => [row.dataset.id, row]));
  events.forEach((event, i) => {
    const row = known.get(event.id) || at("event-row").content.firstElementChild.cloneNode(true);
    known.delete(event.id);
    dress(row, event);
    if (list.children[i] !== row) list.insertBefore(row, list.children[i] || null);
  });
  for (const row of known.values()) row.remove();
}
function dress(row, event) {
  row.dataset.id = event.id;
  row.className = `event ${event.kind}`;
  const isAlarm = event.kind === "alarm";
  put(row.querySelector(".title"), isAlarm ? `${event.id} score ${number(event.score)} over ${number(event.threshold)}` : `${event.id} ${event.reason}`);
  const lasted = event.ended_at === null ? "goes on" : `lasted ${spell(event.ended_at - event.began_at)}`;
  put(row.querySelector(".when"), `${new Date(1000 * event.began_at).toLocaleString()}, ${lasted}`);
  const badges = [];
  if (isAlarm) badges.push(event.acknowledged_at === null ? "not acknowledged" : `acknowledged by ${event.by}`);
  if (!event.announced) badges.push("not announced");
  if (event.mark !== "none") badges.push(event.mark === "false-alarm" ? "false alarm" : "true alarm");
  const box = row.querySelector(".badges");
  if (box.dataset.said !== badges.join()) {
    box.dataset.said = badges.join();
    box.replaceChildren(...badges.map((text) => {
      const badge = document.createElement("span");
      badge.className = text === "not acknowledged" ? "badge waits" : "badge";
      badge.textContent = text;
      return badge;
    }));
  }
  const thumb = row.querySelector(".thumb"), image = thumb.querySelector("img");
  thumb.classList.toggle("none", !event.picture);
  thumb.disabled = !event.picture;
  image.hidden = !event.picture;
  thumb.setAttribute("aria-label", event.picture ? `Show the picture of ${event.id}` : `No picture of ${event.id}`);
  if (event.picture && !image.getAttribute("src")) image.src = `/pictures/${event.id}.jpg`;
  thumb.onclick = () => enlarge(event);
  const mark = row.querySelector(".mark");
  mark.hidden = !isAlarm || !event.picture;
  const undo = event.mark === "false-alarm";
  put(mark, undo ? "Not a false alarm" : "Mark as false alarm");
  mark.onclick = () => ask("mark", { event: event.id, mark: undo ? "none" : "false-alarm" }, `${event.id} is being marked`);
}
function enlarge(event) {
  put(at("large-title"), at("events").querySelector(`[data-id="${event.id}"] .title`).textContent);
  at("large-picture").src = `/pictures/${event.id}.jpg`;
  at("large-picture").alt = `Picture of ${event.id} with its heat map`;
  at("large-frame").href = `/pictures/${event.id}.png`;
  at("large").showModal();
}

// ---- asking --------------------------------------------------------------------------------------------------------
async function post(path, body) {
  return fetch(path, { method: "POST", headers: { "Content-Type": "application/json", "X-Edge-Page": "1" }, body: JSON.stringify(body) });
}
async function ask(what, body, done) {
  const who = at("who").value.trim();
  try {
    const answer = await post(`/${what}`, who ? { ...body, who } : body);
    if (answer.status === 401) begin();
    put(at("answer"), answer.ok ? done : await answer.text());
  } catch {
    put(at("answer"), "The station did not answer. Nothing was changed.");
  }
}
at("acknowledge").onclick = () => ask("acknowledge", { up_to: state.status.occurrence }, `Acknowledged up to A${state.status.occurrence}`);
at("reset").onclick = () => ask("reset", {}, "Reset");
at("shelve").onclick = () => {
  const shelved = state.status.shelved, minutes = Number(at("minutes").value);
  ask("shelve", { seconds: shelved ? 0 : 60 * minutes }, shelved ? "Shelving has ended" : `Shelved for ${minutes} min`);
};
at("large-close").onclick = () => at("large").close();
at("opacity").oninput = () => {
  const percent = Number(at("opacity").value);
  put(at("opacity-said"), `${percent} %`);
  at("heat").style.opacity = String(percent / 100);
};
at("opacity").oninput();
try {
  at("who").value = localStorage.getItem("who") || "";
  at("who").onchange = () => localStorage.setItem("who", at("who").value.trim());
} catch { /* a browser without storage: the name is typed each time */ }
at("login-form").onsubmit = async (event) => {
  event.preventDefault();
  const answer = await post("/login", { token: at("token").value }).catch(() => null);
  at("token").value = "";
  if (answer && answer.ok) {
    at("login").close();
    begin();
  } else {
    put(at("login-answer"), answer ? await answer.text() : "The station does not answer.");
  }
};
window.addEventListener("resize", drawTrend);
setInterval(watchContact, 500);
begin();
