// What the page does: page.js, picture.js and hands.js, one behind the other, are the body of a function of gradio's, whose
// arguments are element, trigger, props and watch. The server holds everything; this draws its state, and sends what is
// asked for as "ask" events.
const $ = (selector) => element.querySelector(selector);
const root = $(".tim"), stage = $(".stage"), layers = $(".layers"), grid = $(".grid"), paint = $(".paint");
const KEY = "tim-explore", HIGHEST_SEED = 2147483647;
let state = null;      // the last that the server has told
let seen = null;       // number of the answer that is looked at; null: the chosen one, or the first
let pinned = null;
let mode = "split", split = 0.5, other = "chosen", flicker = 0, flickerOn = true;
let view = { zoom: 1, x: 0, y: 0 };  // zoom 1 fits the stage; x and y are the middle, in parts of the picture
let painting = false, hasPaint = false, asked = 0;

const remember = (token) => { try { sessionStorage.setItem(KEY, token); } catch (_) { /* private windows */ } };
const remembered = () => { try { return sessionStorage.getItem(KEY); } catch (_) { return null; } };
// Drawn here, so that to ask again is no second visit.
const drawToken = () => [...crypto.getRandomValues(new Uint8Array(24))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
const address = (path) => "tim/" + state.token + "/" + path;
const ask = (what, more) => {
  if (what !== "hello") say("");  // what was said before is not about this
  root.classList.toggle("waiting", what !== "hello");
  asked += 1;
  trigger("ask", Object.assign({ do: what, token: state && state.token, number: asked }, more));
};

// ---- what is asked for -------------------------------------------------------------------------------------------
const wish = (more) => Object.assign({
  parent: state.wish.parent,
  kept: Number($(".kept").value),
  seed: seedOf(),
  temperature: Number($(".variety").value),
  count: Number($(".count").value),
  mask: painting && hasPaint ? paint.toDataURL("image/png") : null,
}, more);
const seedOf = () => {  // null: it is none
  const text = $(".seed").value, seed = text === "" ? NaN : Number(text);  // letters are ""
  return Number.isInteger(seed) && seed >= 0 && seed <= HIGHEST_SEED ? seed : null;
};
const draw = (more) => {
  if (!state || !state.wish) return;
  const wanted = wish(more);
  if (wanted.seed === null) say("The seed must be a whole number from 0 to " + HIGHEST_SEED + ": nothing was drawn.");
  else ask("draw", wanted);
};
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
    if (answer.error) return failed(answer.error);
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

const failed = (text) => {
  say(text);
  if (text.startsWith("this session has ended")) ask("hello", { token: state.token });  // so that another can begin
};

// ---- the server's state ------------------------------------------------------------------------------------------
function told() {
  let next;
  try { next = JSON.parse(props.value); } catch (_) { return; }
  if (next.token === null && state) {
    if (next.message) failed(next.message);
    next = Object.assign({}, state, { message: null, drawing: false });
  }
  const isNew = !state || state.file !== next.file || state.model !== next.model || state.token !== next.token;
  state = next;
  root.classList.remove("waiting");
  if (state.token) remember(state.token);
  if (state.message) say(state.message);  // and stays, while work that goes on is told of
  const hasWork = Boolean(state.wish);
  $(".welcome").hidden = hasWork;
  $(".work").hidden = !hasWork;
  $(".saves").hidden = !hasWork;
  root.dataset.state = hasWork ? (state.drawing ? "drawing" : "ready") : "empty";
  showTowers();
  if (!hasWork) return;
  Object.assign(root.dataset, { seed: state.wish.seed, parent: state.wish.parent ?? "", file: state.file });
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
        group.append(new Option(one.name.split("/").pop(), one.name));
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
  if ((!state.drawing && state.asked === asked) || isNew) {  // else something newer was asked for meanwhile
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
  const after = state.wish.parent === null ? "once you choose: " : "";
  $(".keep small").textContent = after + (kept === 0 ? "everything may change"
    : kept === most && most > 1 ? "only the finest detail changes" : kept === 1 ? "the broad strokes stay" : "shapes stay, detail changes");
  $(".variety-out").textContent = Number($(".variety").value).toFixed(1);
}
function showGrid() {
  const wanted = state.drawing ? state.wish.count : state.answers.length;
  while (grid.children.length > wanted) grid.lastChild.remove();
  while (grid.children.length < wanted) {
    const cell = document.createElement("button");
    cell.type = "button";
    cell.className = "cell";
    cell.innerHTML = '<span class="frame"><img alt="" draggable="false"></span><span class="caption"><span></span> <span></span></span>';
    grid.append(cell);
  }
  grid.style.setProperty("--columns", wanted <= 4 ? 2 : wanted <= 9 ? 3 : 4);
  grid.style.setProperty("--ratio", state.size.width + " / " + state.size.height);
  [...grid.children].forEach((cell, index) => {
    const one = state.answers[index], picture = cell.querySelector("img"), [drawn, fits] = cell.lastChild.children;
    cell.classList.toggle("coming", !one);
    cell.setAttribute("aria-disabled", !one);  // not "disabled": the mouse would not be seen to leave it
    drawn.textContent = one ? "seed " + one.seed + " no. " + one.number : "";
    fits.textContent = one ? one.short : "";
    if (!one) { cell.dataset.id = ""; picture.removeAttribute("src"); return; }
    if (cell.dataset.id !== String(one.id)) { cell.dataset.id = one.id; picture.src = address("answer/" + one.id + ".png"); }
    cell.classList.toggle("visited", one.visited);
    cell.classList.toggle("pinned", one.id === pinned);
    cell.title = describe(one);
    picture.alt = "Answer " + (index + 1) + " of " + wanted + ". " + describe(one);
  });
}
const describe = (one) => "seed " + one.seed + ", no. " + one.number + (one.measures.length ? "; " + one.measures.join("; ") : "");
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
    ? state.drawn + " of " + state.candidates + (state.restoring ? " of your choices drawn again" : " drawn")
    : (several && state.drawn === state.candidates ? "the " + state.answers.length + " most different of " + state.candidates
      : state.answers.length + " answers") + (state.wish.mask ? ", changed inside the mask only" : "");
}
