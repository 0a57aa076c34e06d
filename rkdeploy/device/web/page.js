const chinese = navigator.language.toLowerCase().startsWith("zh");
/* A text in the browser's language, with values in the places {0}, {1}, ... */
const say = (text, ...values) =>
  (chinese && ZH[text] || text).replace(/\{(\d)\}/g, (_, position) => values[position]);
const $ = id => document.getElementById(id);
const make = (tag, text, kind) => {
  const one = document.createElement(tag);
  if (text !== undefined) one.textContent = text;
  if (kind) one.className = kind;
  return one;
};
const grouped = value => value.toLocaleString("en");

if (chinese) {
  document.documentElement.lang = "zh-CN";
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const node = walk.currentNode, text = node.data.trim().replace(/\s+/g, " ");
    if (ZH[text]) node.data = ZH[text];
  }
  for (const one of document.querySelectorAll("main [aria-label]")) one.setAttribute("aria-label", say(one.getAttribute("aria-label")));
}

/* The streams: a card for each, with the newest frame's picture, objects and number. */

const cells = [];  // by the stream's position
let opened = null;  // position of the stream that is shown large; null for all of them
let now = null;  // the last status

function cell(name, several) {
  const card = make("article", undefined, "card stream"), frame = make(several ? "button" : "div", undefined, "frame waiting");
  const canvas = make("canvas"), note = make("span", say("Waiting for a frame"), "note");
  canvas.width = canvas.height = 0;
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", say("The newest frame with its detections"));
  frame.append(canvas, note);
  const full = make("button", undefined, "full");
  full.append($("full-icon").content.cloneNode(true));
  full.title = say("Full screen");
  full.setAttribute("aria-label", full.title);
  full.addEventListener("click", () => document.fullscreenElement ? document.exitFullscreen() : view.requestFullscreen());
  const view = make("div", undefined, "view");
  view.append(frame, full);
  card.append(view);
  const line = make("div", undefined, "line"), state = make("span", say("Connecting"), "state idle"), facts = make("span", "–", "facts");
  if (several) {
    line.append(make("h2", name), state, facts);
    card.append(line);
    frame.addEventListener("click", () => open(opened === null ? name : null));
  }
  const below = make("div", undefined, "below"), objects = make("div", say("No detections yet"), "objects");
  const number = make("span", "", "number");
  below.append(objects, number);
  card.append(below);
  return {name, card, frame, canvas, note, state, facts, objects, number, shown: null, rates: []};
}

function build(names) {
  if (names.length === cells.length && names.every((name, i) => name === cells[i].name)) return;
  cells.splice(0, cells.length, ...names.map(name => cell(name, names.length > 1)));
  $("streams").replaceChildren(...cells.map(one => one.card));
  choose();
}

function choose() {
  const named = cells.findIndex(one => "#" + encodeURIComponent(one.name) === location.hash);
  opened = cells.length > 1 && named >= 0 ? named : null;
  const grid = cells.length > 1 && opened === null;
  $("streams").className = cells.length < 2 ? "" : grid ? "several" : "large";
  $("streams").style.setProperty("--columns", grid ? Math.min(4, Math.ceil(Math.sqrt(cells.length))) : 1);
  cells.forEach((one, position) => {
    one.card.hidden = opened !== null && position !== opened;
    if (cells.length > 1) one.frame.setAttribute("aria-label", grid ? say("Show {0} large", one.name) : say("Show all streams"));
  });
  $("back").hidden = opened === null;
  watch();
  if (now) figures();
}

function open(name) {
  location.hash = name === null ? "" : encodeURIComponent(name);
}

addEventListener("hashchange", choose);
$("back").addEventListener("click", () => open(null));
addEventListener("keydown", event => {
  if (opened === null || event.ctrlKey || event.altKey || event.metaKey) return;
  const step = {ArrowLeft: -1, ArrowRight: 1}[event.key];
  if (event.key === "Escape") {
    if (!document.fullscreenElement) open(null);
  }
  else if (step) open(cells[(opened + step + cells.length) % cells.length].name);
});

/* The pictures: one connection for all of them.  A part is a JSON object about a frame and its JPEG, each after its
   length in 4 bytes.  All that is said of a frame changes together with its picture. */

let watching = null;

async function watch() {
  if (watching) watching.abort();
  watching = null;
  if (!now || document.hidden) return;
  const mine = watching = new AbortController();
  try {
    const answer = await fetch("pictures" + (opened === null ? "" : "?stream=" + opened), {cache: "no-store", signal: mine.signal});
    if (!answer.ok) {
      const reason = await answer.text();  // all seats are taken
      for (const one of cells) if (one.shown === null) one.note.textContent = reason;
      throw new Error(reason);
    }
    const take = taker(answer.body.getReader());
    for (;;) {
      const facts = JSON.parse(new TextDecoder().decode(await take()));
      const picture = await createImageBitmap(new Blob([await take()], {type: "image/jpeg"}));
      if (mine.signal.aborted) return;
      show(cells[facts.stream], facts, picture);
      picture.close();
    }
  } catch (error) {
    if (mine.signal.aborted) return;
    setTimeout(() => { if (watching === mine) watch(); }, 2000);
  }
}

function taker(reader) {
  let chunks = [], size = 0;
  async function bytes(count) {
    while (size < count) {
      const {done, value} = await reader.read();
      if (done) throw new Error("The run has ended.");
      chunks.push(value);
      size += value.length;
    }
    const all = chunks.length === 1 ? chunks[0] : new Uint8Array(size);
    if (chunks.length > 1) chunks.reduce((at, one) => (all.set(one, at), at + one.length), 0);
    chunks = size > count ? [all.subarray(count)] : [];
    size -= count;
    return all.subarray(0, count);
  }
  return async () => {
    const length = await bytes(4);
    return bytes(new DataView(length.buffer, length.byteOffset).getUint32(0));
  };
}

function show(one, facts, picture) {
  const {canvas} = one;
  if (canvas.width !== picture.width || canvas.height !== picture.height) {
    canvas.width = picture.width;
    canvas.height = picture.height;
  }
  canvas.getContext("2d", {alpha: false}).drawImage(picture, 0, 0);
  one.frame.classList.remove("waiting");
  if (one.shown === null || one.shown.processed !== facts.processed) one.frame.classList.remove("stale");  // not one again
  one.note.hidden = !one.frame.classList.contains("stale");
  one.shown = facts;
  one.objects.replaceChildren(...(facts.objects.length ? facts.objects.map(([name, count]) => {
    const chip = make("span");
    if (count) chip.append(make("b", grouped(count)), " ");
    chip.append(name);
    return chip;
  }) : [say("Nothing in this frame")]), ...facts.places.map(place => {
    const counts = [place.entered, place.left].map(grouped);
    return make("span", place.inside === null ? say("{0}: {1} in, {2} out", place.name, ...counts)
      : say("{0}: {1} inside, {2} in, {3} out", place.name, grouped(place.inside), ...counts), "place");
  }));
  const time = new Date(facts.captured);
  one.number.replaceChildren(make("b", say("Frame {0}", grouped(facts.frame))), " " + time.toLocaleTimeString("en-GB") + "." + Math.floor(time.getMilliseconds() / 100));
  one.number.title = say("{0} × {1} pixels, captured {2}", facts.width, facts.height, time.toLocaleString(chinese ? "zh-CN" : "en-GB"));
  if ($("processed")) $("processed").textContent = grouped(processed(0));
}

/* Frames up to the pictures that are seen: of the one stream, or of all. */
function processed(otherwise) {
  const only = opened !== null ? cells[opened] : cells.length === 1 ? cells[0] : null;
  if (only !== null) return only.shown ? only.shown.processed : otherwise;
  return Math.max(...cells.map(one => one.shown ? one.shown.processed_of_all : 0)) || otherwise;
}

document.addEventListener("visibilitychange", watch);

/* The figures: once a second. */

function stages(found) {
  const wait = now.on_npu ? "Wait for NPU" : now.backend ? say("Wait for {0}", now.backend) : "Wait for a context";
  const texts = [["capture", "Capture"], ["preprocess", "Preprocess"], ["context", wait], ["infer", "Inference"],
    ["decode", "Decode"], ["sink", "Sinks"], ["age", "Capture to sinks"]];
  const longest = Math.max(1, ...texts.map(([name]) => found[name].p99_ms));
  $("stages").replaceChildren(...texts.map(([name, text]) => {
    const one = found[name], row = make("tr"), bar = make("td", undefined, "bar"), head = make("th", say(text));
    head.scope = "row";
    bar.append(track(one.p50_ms / longest, one.p99_ms / longest));
    const shown = value => one.count ? value.toFixed(value < 100 ? 1 : 0) : "–";
    row.append(head, bar, make("td", shown(one.p50_ms)), make("td", shown(one.p99_ms)));
    return row;
  }));
}

function counts() {
  const of = opened === null ? now.stats : now.streams[opened];
  const rows = [["Processed", processed(of.processed)], ["Dropped before the network", of.dropped_before_network],
    ["Dropped before the sinks", of.dropped_before_sinks], ["Failed", of.failed]];
  if (opened === null) rows.push(["Contexts at work", say("{0} of {1}", now.stats.contexts_working, now.stats.contexts)]);
  if (of.reconnects || opened !== null) rows.push(["Source connected again", of.reconnects]);
  if (opened === null && of.contexts_rebuilt) rows.push(["Contexts opened again", of.contexts_rebuilt]);
  $("counts").replaceChildren(...rows.flatMap(([name, value]) => {
    const bad = name === "Failed" && value || name === "Contexts at work" && now.stats.contexts_working < now.stats.contexts;
    const figure = make("dd", value.toLocaleString("en"), bad ? "bad" : "");
    if (name === "Processed") figure.id = "processed";
    return [make("dt", say(name)), figure];
  }));
}

function track(share, second) {
  const bar = make("div", undefined, "track");
  for (const [tag, value] of [["u", second], ["i", share]]) {
    if (value === undefined) continue;
    const part = make(tag);
    part.style.width = Math.max(0, Math.min(100, 100 * value)) + "%";
    bar.append(part);
  }
  return bar;
}

function line(name, bar, value, kind, full) {
  const row = make("div", undefined, "core");
  if (full) row.title = say("A full bar is {0}.", full);
  row.append(make("span", name), bar, make("span", value, kind));
  return row;
}

const missing = reason => make("p", say("Not available here: {0}.", reason), "none");

const hertz = hz => hz >= 1e9 ? (hz / 1e9).toFixed(2) + " GHz" : (hz / 1e6).toFixed(0) + " MHz";

function board(found) {
  const load = found.npu_load_percent;
  $("load").replaceChildren(...(load === null ? [missing(found.why_no_npu_load)]
    : load.map((percent, core) => line(say("Core {0}", core), track(percent / 100), percent + " %"))));
  const heat = zone => zone.celsius / (zone.throttles_at_celsius || 100);
  $("temperature").replaceChildren(...(found.temperatures.length ? found.temperatures.map(zone =>
    line(zone.name.replace(/[-_]thermal$/, ""), track(heat(zone)), zone.celsius.toFixed(0) + " °C",
      heat(zone) >= 1 ? "bad" : heat(zone) > .9 ? "warn" : "",
      zone.throttles_at_celsius ? say("{0}, where it is slowed down", zone.throttles_at_celsius.toFixed(0) + " °C") : "100 °C"))
    : [missing(found.why_no_temperatures)]));
  if (found.throttled.length) $("temperature").append(make("p", say("Slowed down by heat: {0}", found.throttled.join(", ")), "bad"));
  const clocks = found.clocks.filter(clock => clock.current_hz !== null).map(clock =>
    line(clock.name, track(clock.current_hz / (clock.highest_hz || clock.current_hz)), hertz(clock.current_hz), "",
      clock.highest_hz && say("{0}, the highest that this board allows", hertz(clock.highest_hz))));
  if (found.why_no_npu_clock) clocks.unshift(missing(found.why_no_npu_clock));
  $("clocks").replaceChildren(...clocks);
  $("board").textContent = found.model || say("this machine");
}

/* [kind, text] of a stream, or of the run. */
function state(of) {
  const ago = of.seconds_since_frame.toFixed(0);
  if (!now.stats) return ["idle", say("Starting")];
  if (!of.processed && of.healthy) return ["idle", say("No frame yet")];
  if (of.seconds_since_frame < 3) return ["good", say("Live")];
  return [of.healthy ? "warn" : "bad", say(of.processed ? "No frame for {0} s" : "No frame since {0} s", ago)];
}

function tell(element, [kind, text], base) {
  if (element.textContent !== text) element.textContent = text;
  element.className = base ? base + " " + kind : kind;
}

function spark(rates) {
  const most = Math.max(1, ...rates);
  const points = rates.length < 3 ? "" : rates.map((rate, i) =>
    (100 - (rates.length - 1 - i) * 100 / 59).toFixed(1) + "," + (40 - 38 * rate / most).toFixed(1)).join(" ");
  $("spark").setAttribute("points", points);
  $("area").setAttribute("points", points && points.split(",", 1)[0] + ",40 " + points + " 100,40");
}

const rates = [];
function keep(list, rate) {
  list.push(rate);
  if (list.length > 60) list.shift();
}

function streams() {
  now.streams.forEach((of, position) => {
    const one = cells[position], told = state(of);
    tell(one.state, told, "state");
    const lost = [["{0} dropped", of.dropped_before_network + of.dropped_before_sinks], ["{0} failed", of.failed],
      [of.reconnects === 1 ? "1 reconnect" : "{0} reconnects", of.reconnects]];
    const found = lost.filter(([, count]) => count).map(([text, count]) => say(text, grouped(count)));
    one.facts.textContent = [say("{0} per second", of.frames_per_second.toFixed(1)), ...found].join(" · ");
    one.frame.classList.toggle("stale", one.shown !== null && told[0] === "bad");
    if (one.shown !== null) one.note.hidden = told[0] !== "bad";
    if (told[0] === "bad") one.note.textContent = told[1];
    else if (one.shown === null && of.processed === 0) one.note.textContent = say("Waiting for a frame");
  });
}

function figures() {
  const live = now.streams.filter(of => of.seconds_since_frame < 3 && of.processed).length;
  const all = now.streams.length, summed = {...now, processed: now.stats ? now.stats.processed : 0};
  const partly = opened === null && live && live < all;
  tell($("health"), opened !== null ? state(now.streams[opened]) : partly ? ["warn", say("{0} of {1} live", live, all)] : state(summed));
  $("source").textContent = opened === null ? now.source : now.streams[opened].name;
  if (!now.stats) return;
  const of = opened === null ? now.stats : now.streams[opened];
  $("rate-of").textContent = say(opened === null && all > 1 ? "Frames per second, all streams" : "Frames per second");
  $("fps").textContent = of.frames_per_second.toFixed(1);
  spark(opened === null ? rates : cells[opened].rates);
  counts();
  stages(now.stats.stages);
}

let reached = false;
async function update() {
  try {
    const answer = await fetch("status", {cache: "no-store", signal: AbortSignal.timeout(5000)});
    if (answer.status === 401) { tell($("health"), ["bad", say("Token needed")]); reached = false; return; }
    now = await answer.json();
    document.title = now.title ? now.title + " - rkdeploy" : "rkdeploy";
    $("title").textContent = now.title || "rkdeploy";
    $("origin").textContent = now.figures_from || say("a run that has not started");
    const first = !cells.length;
    build(now.streams.map(of => of.name));
    if (!reached && !first) watch();
    reached = true;
    if (now.stats) {
      keep(rates, now.stats.frames_per_second);
      now.streams.forEach((of, position) => keep(cells[position].rates, of.frames_per_second));
      $("failure").hidden = !now.stats.last_failure;
      $("failure").className = "card " + (now.stats.contexts_working < now.stats.contexts ? "bad" : "idle");
      $("failure").textContent = say("Last failure: {0}", now.stats.last_failure);
    }
    streams();
    figures();
    board(now.board);
  } catch (error) {
    tell($("health"), ["bad", say("Not reached")]);
    reached = false;
  } finally {
    setTimeout(update, 1000);
  }
}
update();
