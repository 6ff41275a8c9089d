// Behind page.js: the picture that is looked at, what it is compared with, and the brush.
// ---- the picture -------------------------------------------------------------------------------------------------
const entry = (id) => state.answers.find((one) => one.id === id) || (state.chosen && state.chosen.id === id ? state.chosen : null);
function current() {
  const id = seen !== null && entry(seen) ? seen : state.wish.parent !== null ? state.wish.parent : (state.answers[0] || { id: null }).id;
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
  const b = current(), a = against(), looks = painting ? "one" : mode;
  root.classList.toggle("looking", painting && b !== state.wish.parent);  // at another one, over which nothing is painted
  const pictures = { a: $(".a"), b: $(".b"), spread: $(".spread") };
  layers.style.width = state.size.width + "px";
  layers.style.height = state.size.height + "px";
  setSource(pictures.a, sourceOf(a));
  if (b === null) pictures.b.removeAttribute("src"); else setSource(pictures.b, sourceOf(b));
  if (looks === "spread") setSource(pictures.spread, address("spread.png?of=" + state.answers.map((one) => one.id).join("-")));
  pictures.a.classList.toggle("input", a === null);
  stage.dataset.mode = looks;
  const two = looks === "split" || looks === "flicker" || looks === "difference";
  // One alone where they take turns: what is transparent in one would show the other.
  pictures.a.style.visibility = (two && !(looks === "flicker" && flickerOn)) || b === null ? "visible" : "hidden";
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
  $(".other").value = a === null ? "input" : other;  // what it is compared with: the chosen one not with itself
  $(".other").options[1].disabled = state.wish.parent === null;
  $(".other").options[2].disabled = pinned === null;
  $(".compare").hidden = painting;
  if (b !== null) {
    $(".save-png").href = address("save/" + b + ".png");
    $(".save-choice").href = address("save/" + b + "/choice.json");
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
  const halves = stage.dataset.mode === "split" && $(".b").getAttribute("src");
  $(".b").style.clipPath = halves ? "inset(0 0 0 " + cut + "px)" : "none";
  $(".a").style.clipPath = halves ? "inset(0 " + (state.size.width - cut) + "px 0 0)" : "none";
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
  seen = null;
  show();
  if (isNarrow()) stage.scrollIntoView({ block: "start" });
}
const isNarrow = () => matchMedia("(max-width: 800px)").matches;  // one column: the picture stands far above the buttons
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
  pen.strokeStyle = "#ff6ad5";  // few pictures have it
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
