// What the page does. Runs as the body of a function of gradio's: element, trigger, props, watch are its arguments.
// The server holds everything; this draws its state, and sends what is asked for as "ask" events.
const $ = (selector) => element.querySelector(selector);
const root = $(".tim"), stage = $(".stage"), layers = $(".layers"), grid = $(".grid"), paint = $(".paint");
const KEY = "tim-explore";
let state = null;      // the last that the server has told
let seen = null;       // number of the answer that is looked at; null: the chosen one, or the first
let pinned = null;
let mode = "split", split = 0.5, other = "chosen", flicker = 0, flickerOn = true;
let view = { zoom: 1, x: 0, y: 0 };  // zoom 1 fits the stage; x and y are the middle, in parts of the picture
let painting = false, hasPaint = false, waiting = false;

const remember = (token) => { try { sessionStorage.setItem(KEY, token); } catch (_) { /* private windows */ } };
const remembered = () => { try { return sessionStorage.getItem(KEY); } catch (_) { return null; } };
const address = (path) => "tim/" + state.token + "/" + path;
const ask = (what, more) => {
  waiting = what !== "hello";
  if (waiting) root.classList.add("waiting");
  trigger("ask", Object.assign({ do: what, token: state && state.token }, more));
};

// ---- what is asked for -------------------------------------------------------------------------------------------
const wish = (more) => Object.assign({
  parent: state.wish.parent,
  kept: Number($(".kept").value),
  seed: Math.max(0, Math.trunc(Number($(".seed").value) || 0)),
  temperature: Number($(".variety").value),
  count: Number($(".count").value),
  mask: painting && hasPaint ? paint.toDataURL("image/png") : null,
}, more);
const draw = (more) => { if (state && state.wish) ask("draw", wish(more)); };
const choose = (id) => {
  // What was painted stays, so that a part can be changed again and again until the brush is put away.
  seen = null;
  draw({ parent: id, seed: 0 });
  $(".seed").value = 0;
};
const back = () => {
  if (!state.path || !state.path.length) return;
  seen = null;
  ask("back", { to: state.path.length > 1 ? state.path[state.path.length - 2] : null });
};
async function open(files) {
  if (!files.length) return;
  root.classList.add("waiting");
  const uploads = [];
  for (const file of files) {
    const answer = await fetch(address("upload?name=" + encodeURIComponent(file.name)), { method: "POST", body: file })
      .then((found) => found.json()).catch(() => ({ error: "The file could not be sent: does tim explore still run?" }));
    if (answer.error) return say(answer.error);
    uploads.push(answer.id);
  }
  begin({ uploads });
}
const begin = (more) => {
  seen = pinned = null;
  stopPainting();
  view = { zoom: 1, x: 0, y: 0 };
  ask("open", Object.assign({
    model: $(".towers").value, count: Number($(".count").value), temperature: Number($(".variety").value),
  }, more));
};
const say = (text) => {
  root.classList.remove("waiting");
  $(".message").hidden = !text;
  $(".message span").textContent = text || "";
};

// ---- the server's state ------------------------------------------------------------------------------------------
function told() {
  let next;
  try { next = JSON.parse(props.value); } catch (_) { return; }
  if (next.token === null && state) next = Object.assign({}, state, { message: next.message, drawing: false });
  const isNew = !state || state.file !== next.file || state.model !== next.model || state.token !== next.token;
  state = next;
  waiting = false;
  root.classList.remove("waiting");
  if (state.token) remember(state.token);
  say(state.message);
  const hasWork = Boolean(state.wish);
  $(".welcome").hidden = hasWork;
  $(".work").hidden = !hasWork;
  $(".saves").hidden = !hasWork;
  root.dataset.state = hasWork ? (state.drawing ? "drawing" : "ready") : "empty";
  showTowers();
  if (!hasWork) return;
  showControls(isNew);
  showGrid();
  showWay();
  showProgress();
  show();
}
function showTowers() {
  const select = $(".towers"), wanted = state.towers.map((one) => one.name).join();
  if (select.dataset.has !== wanted) {
    select.dataset.has = wanted;
    select.replaceChildren();
    for (const task of [...new Set(state.towers.map((one) => one.task))]) {
      const group = document.createElement("optgroup");
      group.label = task;
      for (const one of state.towers.filter((tower) => tower.task === task)) {
        group.append(new Option(one.name, one.name));
      }
      select.append(group);
    }
  }
  select.value = state.model;
  const tower = state.towers.find((one) => one.name === state.model);
  select.title = tower ? tower.what : "";
  $(".about").textContent = state.wish
    ? state.file + "  " + state.input.width + "×" + state.input.height + " → " + state.size.width + "×" + state.size.height
    : (tower ? tower.what : "");
}
function showControls(isNew) {
  const kept = $(".kept"), most = state.levels - 1, active = document.activeElement;
  kept.max = most;
  if (isNew) kept.value = Math.max(1, Math.floor(state.levels / 2));
  if (!state.drawing || isNew) {
    if (active !== $(".seed")) $(".seed").value = state.wish.seed;
    if (active !== $(".variety")) $(".variety").value = state.wish.temperature;
    if (state.wish.parent !== null && active !== kept) kept.value = state.wish.kept;
    if ([...$(".count").options].some((one) => one.text === String(state.wish.count))) $(".count").value = state.wish.count;
  }
  kept.disabled = most < 1;
  $(".brush").disabled = state.wish.parent === null;
  if (state.wish.parent === null && painting) stopPainting();
  showNumbers();
}
function showNumbers() {
  const kept = Number($(".kept").value), most = state.levels - 1;
  $(".keep output").textContent = kept + " of " + state.levels + " levels";
  const after = state.wish.parent === null ? "of the answer that you choose: " : "";
  $(".keep small").textContent = after + (kept === 0 ? "everything may change"
    : kept === most ? "only the finest detail changes" : kept === 1 ? "the broad strokes stay" : "more than the broad strokes stays");
  $(".variety-out").textContent = Number($(".variety").value).toFixed(1);
}
function showGrid() {
  const wanted = state.drawing ? state.wish.count : state.answers.length;
  while (grid.children.length > wanted) grid.lastChild.remove();
  while (grid.children.length < wanted) {
    const cell = document.createElement("button");
    cell.type = "button";
    cell.className = "cell";
    cell.append(new Image(), document.createElement("span"));
    cell.firstChild.draggable = false;
    grid.append(cell);
  }
  grid.style.setProperty("--columns", wanted <= 4 ? 2 : wanted <= 9 ? 3 : 4);
  grid.style.setProperty("--ratio", state.size.width + " / " + state.size.height);
  [...grid.children].forEach((cell, index) => {
    const one = state.answers[index], picture = cell.firstChild;
    cell.classList.toggle("coming", !one);
    cell.disabled = !one;
    if (!one) { cell.dataset.id = ""; picture.removeAttribute("src"); cell.lastChild.textContent = ""; return; }
    if (cell.dataset.id !== String(one.id)) { cell.dataset.id = one.id; picture.src = address("answer/" + one.id + ".png"); }
    cell.classList.toggle("visited", one.visited);
    cell.classList.toggle("pinned", one.id === pinned);
    cell.lastChild.textContent = one.short;
    cell.title = describe(one);
    picture.alt = "Answer " + (index + 1) + " of " + wanted + ". " + describe(one);
  });
}
const describe = (one) => "seed " + one.seed + ", sample " + one.number + (one.measures.length ? "; " + one.measures.join("; ") : "");
function crumb(label, id, isLast) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "crumb" + (isLast ? " here" : "");
  const picture = new Image();
  picture.alt = "";
  picture.src = address(id === null ? "input.png" : "answer/" + id + ".png");
  button.append(picture, label);
  button.addEventListener("click", () => { seen = null; ask("back", { to: id }); });
  if (isLast) button.setAttribute("aria-current", "step");
  return button;
}
function showWay() {
  const crumbs = $(".crumbs"), key = state.token + state.path.join() + state.file + state.model;
  if (crumbs.dataset.key !== key) {
    crumbs.dataset.key = key;
    crumbs.replaceChildren(crumb("input", null, !state.path.length));
    state.path.forEach((id, index) => crumbs.append(crumb("choice " + (index + 1), id, index === state.path.length - 1)));
    crumbs.scrollLeft = crumbs.scrollWidth;
  }
  const tree = $(".tree"), all = state.tree.map((one) => one.id).join() + "|" + state.path.join() + state.token;
  $(".history").hidden = state.tree.length < 2;
  if (tree.dataset.key === all) return;
  tree.dataset.key = all;
  const branch = (parent) => {
    const list = document.createElement("ul");
    for (const one of state.tree.filter((entry) => entry.parent === parent)) {
      const item = document.createElement("li");
      item.append(crumb("", one.id, one.id === state.wish.parent), branch(one.id));
      list.append(item);
    }
    return list;
  };
  tree.replaceChildren(branch(null));
}
function showProgress() {
  const share = state.candidates ? state.drawn / state.candidates : 0;
  $(".progress i").style.width = 100 * share + "%";
  const several = state.candidates > state.wish.count;
  $(".progress span").textContent = state.drawing
    ? state.drawn + " of " + state.candidates + " drawn"
    : (several && state.drawn === state.candidates ? "the " + state.answers.length + " most different of " + state.candidates
      : state.answers.length + " answers") + (state.wish.mask ? ", changed inside the mask only" : "");
}

// ---- the picture -------------------------------------------------------------------------------------------------
const entry = (id) => state.answers.find((one) => one.id === id) || (state.chosen && state.chosen.id === id ? state.chosen : null);
function current() {
  const id = seen !== null ? seen : state.wish.parent !== null ? state.wish.parent : (state.answers[0] || { id: null }).id;
  return id === null ? null : id;
}
function against() {
  // An answer is compared with another one, or with the input.
  const wanted = { input: null, chosen: state.wish.parent, pinned }[other];
  return wanted === current() ? null : wanted;
}
function setSource(picture, source) { if (picture.getAttribute("src") !== source) picture.setAttribute("src", source); }
const sourceOf = (id) => address(id === null ? "input.png" : "answer/" + id + ".png");
const nameOf = (id) => id === null ? "input" : id === state.wish.parent ? "chosen" : id === pinned ? "pinned"
  : "answer " + (1 + state.answers.findIndex((one) => one.id === id));
function show() {
  const b = painting ? state.wish.parent : current(), a = against(), looks = painting ? "one" : mode;
  const pictures = { a: $(".a"), b: $(".b"), spread: $(".spread") };
  layers.style.width = state.size.width + "px";
  layers.style.height = state.size.height + "px";
  setSource(pictures.a, sourceOf(a));
  if (b === null) pictures.b.removeAttribute("src"); else setSource(pictures.b, sourceOf(b));
  if (looks === "spread") setSource(pictures.spread, address("spread.png?of=" + state.answers.map((one) => one.id).join("-")));
  pictures.a.classList.toggle("input", a === null);
  stage.dataset.mode = looks;
  const two = looks === "split" || looks === "flicker" || looks === "difference";
  pictures.a.style.visibility = two || b === null ? "visible" : "hidden";
  pictures.b.style.visibility = b === null || (looks === "flicker" && !flickerOn) ? "hidden" : "visible";
  pictures.spread.style.visibility = looks === "spread" && state.answers.length > 1 ? "visible" : "hidden";
  $(".divider").style.display = looks === "split" ? "block" : "none";
  $(".tag.left").textContent = looks === "split" ? nameOf(a) : looks === "flicker" ? nameOf(flickerOn ? b : a)
    : looks === "difference" ? nameOf(a) + " and " + nameOf(b) : looks === "spread" ? "bright: the answers differ" : nameOf(b);
  $(".tag.right").textContent = looks === "split" ? nameOf(b) : "";
  const one = b === null ? null : entry(b);
  $(".shown").textContent = one ? nameOf(b) + ": " + describe(one) : "";
  [...grid.children].forEach((cell) => cell.classList.toggle("seen", cell.dataset.id === String(b)));
  for (const button of element.querySelectorAll("[data-mode]")) {
    if (button.tagName === "BUTTON") button.setAttribute("aria-pressed", button.dataset.mode === mode);
  }
  $(".other").value = other;
  $(".other").options[2].disabled = pinned === null;
  $(".other").style.visibility = $(".pin").style.visibility = painting ? "hidden" : "visible";
  const target = seen !== null && entry(seen) ? seen : b;
  if (target !== null) {
    $(".save-png").href = address("save/" + target + ".png");
    $(".save-choice").href = address("save/" + target + "/choice.json");
  }
  $(".save-sheet").href = address("save/sheet.png");
  place();
}
function scale() { return Math.min(stage.clientWidth / state.size.width, stage.clientHeight / state.size.height) * view.zoom; }
function place() {
  if (!state || !state.size) return;
  const s = scale(), width = state.size.width * s, height = state.size.height * s;
  const limit = (middle, own, all) => Math.max(-Math.max(own - all, 0) / 2 / own, Math.min(Math.max(own - all, 0) / 2 / own, middle));
  view.x = limit(view.x, width, stage.clientWidth);
  view.y = limit(view.y, height, stage.clientHeight);
  const left = stage.clientWidth / 2 - width * (0.5 + view.x), top = stage.clientHeight / 2 - height * (0.5 + view.y);
  layers.style.transform = "translate(" + left + "px," + top + "px) scale(" + s + ")";
  layers.classList.toggle("pixels", s > 7);
  const cut = Math.max(0, Math.min(state.size.width, (split * stage.clientWidth - left) / s));
  $(".b").style.clipPath = stage.dataset.mode === "split" ? "inset(0 0 0 " + cut + "px)" : "none";
  $(".divider").style.left = 100 * split + "%";
  $(".divider").setAttribute("aria-valuenow", Math.round(100 * split));
}
function zoom(times, x, y) {
  const before = scale(), next = Math.max(1, Math.min(40, view.zoom * times));
  const box = stage.getBoundingClientRect();
  const dx = (x === undefined ? 0 : x - box.left - box.width / 2), dy = (y === undefined ? 0 : y - box.top - box.height / 2);
  const after = before * next / view.zoom;  // what lies under the pointer stays there
  view.x += dx / state.size.width * (1 / before - 1 / after);
  view.y += dy / state.size.height * (1 / before - 1 / after);
  view.zoom = next;
  place();
}
function setMode(next) {
  mode = next;
  clearInterval(flicker);
  flickerOn = true;
  if (mode === "flicker") flicker = setInterval(() => { flickerOn = !flickerOn; show(); }, 600);
  if (painting) stopPainting(); else show();
}

// ---- painting ----------------------------------------------------------------------------------------------------
function startPainting() {
  if (state.wish.parent === null) return say("Choose an answer first: a part of it can then be changed.");
  painting = true;
  if (paint.width !== state.size.width || paint.height !== state.size.height) { paint.width = state.size.width; paint.height = state.size.height; hasPaint = false; }
  root.classList.add("painting");
  $(".brushes").hidden = false;
  $(".brush").setAttribute("aria-pressed", "true");
  show();
}
function stopPainting() {
  painting = false;
  clearPaint();
  root.classList.remove("painting");
  $(".brushes").hidden = true;
  $(".brush").setAttribute("aria-pressed", "false");
  if (state && state.wish) show();
}
function clearPaint() { hasPaint = false; paint.getContext("2d").clearRect(0, 0, paint.width, paint.height); }
function stroke(from, to) {
  const pen = paint.getContext("2d");
  pen.strokeStyle = pen.fillStyle = "#fff";
  pen.lineWidth = 2 * Number($(".radius").value) / scale();
  pen.lineCap = "round";
  pen.beginPath();
  pen.moveTo(from.x, from.y);
  pen.lineTo(to.x + 0.01, to.y);
  pen.stroke();
  hasPaint = true;
}
const spot = (event) => {
  const box = layers.getBoundingClientRect();
  return { x: (event.clientX - box.left) / box.width * state.size.width, y: (event.clientY - box.top) / box.height * state.size.height };
};

// ---- hands -------------------------------------------------------------------------------------------------------
const pointers = new Map();
stage.addEventListener("pointerdown", (event) => {
  if (event.button > 0 || !state || !state.size) return;
  stage.setPointerCapture(event.pointerId);
  const divides = event.target.closest(".divider");
  pointers.set(event.pointerId, { x: event.clientX, y: event.clientY, divides, spot: spot(event) });
  if (painting && pointers.size === 1) stroke(spot(event), spot(event));
});
stage.addEventListener("pointermove", (event) => {
  const last = pointers.get(event.pointerId);
  if (!last) return;
  const now = Object.assign({}, last, { x: event.clientX, y: event.clientY, spot: spot(event) });
  const two = pointers.size === 2 ? [...pointers.entries()].find(([id]) => id !== event.pointerId)[1] : null;
  pointers.set(event.pointerId, now);
  if (two) {
    const was = Math.hypot(last.x - two.x, last.y - two.y), is = Math.hypot(now.x - two.x, now.y - two.y);
    if (was > 0) zoom(is / was, (now.x + two.x) / 2, (now.y + two.y) / 2);
  } else if (last.divides) {
    const box = stage.getBoundingClientRect();
    split = Math.max(0, Math.min(1, (event.clientX - box.left) / box.width));
    place();
  } else if (painting) {
    stroke(last.spot, now.spot);
  } else {
    view.x -= (now.x - last.x) / scale() / state.size.width;
    view.y -= (now.y - last.y) / scale() / state.size.height;
    place();
  }
});
for (const name of ["pointerup", "pointercancel"]) stage.addEventListener(name, (event) => pointers.delete(event.pointerId));
stage.addEventListener("wheel", (event) => { event.preventDefault(); zoom(Math.exp(-event.deltaY / 400), event.clientX, event.clientY); }, { passive: false });
stage.addEventListener("dblclick", () => { if (!painting) { view = { zoom: 1, x: 0, y: 0 }; place(); } });
grid.addEventListener("click", (event) => {
  const cell = event.target.closest(".cell");
  if (cell && cell.dataset.id && event.detail < 2) choose(Number(cell.dataset.id));  // a second click is no second choice
});
const look = (event) => { const cell = event.target.closest(".cell"); if (cell && cell.dataset.id && !painting) { seen = Number(cell.dataset.id); show(); } };
grid.addEventListener("pointerover", (event) => { if (event.pointerType === "mouse") look(event); });
grid.addEventListener("focusin", look);
grid.addEventListener("pointerleave", () => {
  const focused = grid.contains(document.activeElement) ? Number(document.activeElement.dataset.id) : null;
  seen = focused || null;
  if (state && state.wish) show();
});
document.addEventListener("keydown", (event) => {
  if (!root.isConnected || !state || !state.wish || event.ctrlKey || event.metaKey || event.altKey) return;
  const at = document.activeElement, name = at ? at.tagName : "";
  if (name === "SELECT" || name === "TEXTAREA" || (name === "INPUT" && at.type !== "range")) return;
  const arrows = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -2, ArrowDown: 2 };
  if (event.key in arrows && at !== $(".divider") && name !== "INPUT") {
    event.preventDefault();
    const cells = [...grid.children].filter((cell) => !cell.disabled), columns = Number(grid.style.getPropertyValue("--columns"));
    const step = { "-2": -columns, "-1": -1, 1: 1, 2: columns }[arrows[event.key]], where = cells.indexOf(at);
    const next = where < 0 ? 0 : where + step;
    if (cells[next]) cells[next].focus();
  } else if (event.key in arrows && at === $(".divider")) {
    event.preventDefault();
    split = Math.max(0, Math.min(1, split + (arrows[event.key] > 0 ? 0.02 : -0.02)));
    place();
  } else if (event.key === "Backspace") {
    event.preventDefault();
    back();
  } else if (event.key === "Escape") {
    if (painting) stopPainting(); else if (state.drawing) ask("stop");
  } else if (!event.shiftKey) {
    const modes = ["one", "split", "flicker", "difference", "spread"];
    if (modes[Number(event.key) - 1]) setMode(modes[Number(event.key) - 1]);
    else if (event.key === "0") { view = { zoom: 1, x: 0, y: 0 }; place(); }
    else if (event.key === "n") $(".again").click();
    else if (event.key === "p") $(".pin").click();
    else if (event.key === "m") $(".brush").click();
  }
});
const on = (selector, name, does) => $(selector).addEventListener(name, does);
for (const button of element.querySelectorAll(".modes button")) button.addEventListener("click", () => setMode(button.dataset.mode));
for (const button of element.querySelectorAll("[data-zoom]")) button.addEventListener("click", () => {
  if (button.dataset.zoom === "fit") { view = { zoom: 1, x: 0, y: 0 }; place(); } else zoom(button.dataset.zoom === "in" ? 1.5 : 1 / 1.5);
});
on(".other", "change", () => { other = $(".other").value; show(); });
on(".pin", "click", () => { pinned = current(); other = "pinned"; if (mode === "one") setMode("split"); showGrid(); show(); });
on(".kept", "input", showNumbers);
on(".variety", "input", showNumbers);
on(".kept", "change", () => { if (state.wish.parent !== null) draw(); });
on(".variety", "change", () => draw());
on(".count", "change", () => draw());
on(".seed", "change", () => draw());
on(".again", "click", () => { $(".seed").value = 1 + Math.trunc(Number($(".seed").value) || 0); draw(); });
on(".stop", "click", () => ask("stop"));
on(".brush", "click", () => { if (painting) stopPainting(); else startPainting(); });
on(".clear", "click", clearPaint);
on(".inside", "click", () => { if (hasPaint) draw(); else say("Paint over the part of the picture that is to change, then draw inside."); });
on(".message .close", "click", () => say(""));
on(".towers", "change", () => { if (state.wish) begin({}); else { state.model = $(".towers").value; showTowers(); } });
on(".example", "click", () => begin({ example: true }));
on(".file", "change", () => { open([...$(".file").files]); $(".file").value = ""; });
const drop = $(".drop");
window.addEventListener("dragover", (event) => { event.preventDefault(); drop.hidden = false; });
window.addEventListener("dragleave", (event) => { if (!event.relatedTarget) drop.hidden = true; });
window.addEventListener("drop", (event) => { event.preventDefault(); drop.hidden = true; if (state) open([...event.dataTransfer.files]); });
window.addEventListener("pagehide", () => { if (state && state.token) navigator.sendBeacon(address("leave")); });
new ResizeObserver(place).observe(stage);

watch("value", told);
// Until the server answers: gradio listens a moment after this has run, or not at all if the server is gone.
const hello = () => { if (!state) { ask("hello", { token: remembered() }); setTimeout(hello, 1500); } };
setTimeout(hello, 50);
