// Behind picture.js: mouse, fingers and keys.
// ---- hands -------------------------------------------------------------------------------------------------------
const pointers = new Map();
stage.addEventListener("pointerdown", (event) => {
  if (event.button > 0 || !state || !state.size) return;
  stage.setPointerCapture(event.pointerId);
  const divides = event.target.closest(".divider");
  pointers.set(event.pointerId, { x: event.clientX, y: event.clientY, divides, spot: spot(event) });
  if (painting && seen !== null) { seen = null; show(); }  // one paints over the chosen answer
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
  if (!cell || !cell.dataset.id || event.detail > 1) return;  // a second click is no second choice
  if (event.detail) cell.blur();  // else the cell's next answer would be looked at, and saved, once the mouse has left
  choose(Number(cell.dataset.id));
});
const look = (event) => {
  const cell = event.target.closest(".cell"), id = cell && cell.dataset.id ? Number(cell.dataset.id) : null;
  if (id !== null && id !== seen) { seen = id; show(); }
};
// Where it moves, and not where a page that scrolls or another answer comes below a mouse at rest.
grid.addEventListener("pointermove", (event) => { if (event.pointerType === "mouse") look(event); });
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
    const cells = [...grid.children].filter((cell) => cell.dataset.id), columns = Number(grid.style.getPropertyValue("--columns"));
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
on(".again", "click", () => { const seed = seedOf(); if (seed !== null) $(".seed").value = (seed + 1) % (HIGHEST_SEED + 1); draw(); });
on(".stop", "click", () => ask("stop"));
on(".brush", "click", () => { if (painting) stopPainting(); else startPainting(); });
on(".clear", "click", clearPaint);
on(".inside", "click", () => { if (hasPaint) { draw(); if (isNarrow()) grid.scrollIntoView({ block: "nearest" }); } else say("Paint over the part of the picture that is to change, then draw inside."); });
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
// A tab that is duplicated gets a copy of what this one remembers. So a page holds its token by a lock of the browser's, and
// one that cannot have it begins anew. A page that is loaded again waits until it has let go of it.
const held = window.timExploreHolds = window.timExploreHolds || new Set();
const hold = (token) => new Promise((done) => {
  if (held.has(token) || !navigator.locks) return done(true);  // locks are there on this machine and by https
  const ends = new AbortController(), timer = setTimeout(() => ends.abort(), 3000);
  navigator.locks.request(KEY + token, { signal: ends.signal }, () => {
    clearTimeout(timer);
    held.add(token);
    done(true);
    return new Promise(() => {});  // until this page goes
  }).catch(() => done(false));
});
// Until the server answers: gradio listens a moment after this has run, or not at all if the server is gone.
const hello = (token) => { if (!state) { ask("hello", { token }); setTimeout(hello, 3000, token); } };
(async () => {
  let own = remembered();
  if (own && !(await hold(own))) {
    own = null;
    say("This tab is a copy of another one, which goes on: here you begin anew.");
  }
  if (!own) {
    own = drawToken();
    remember(own);
    hold(own);
  }
  setTimeout(hello, 50, own);
})();
